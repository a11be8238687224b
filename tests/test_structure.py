"""The house rules, read off the source: imports, compile options, kernels, documentation."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numba
import numpy as np
import pytest

import numba_ss
from numba_ss import reference
from numba_ss.kernels import _jit
from numba_ss.kernels.softmax.buffers import FIELDS
from tests.conftest import JIT, Problem, needs_jit

PACKAGE = Path(numba_ss.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
COMPILED = [path for path in sorted((PACKAGE / "kernels").rglob("*.py"))
            if path.stem not in ("__init__", "_jit", "_compiling", "_cache", "threads")]
TREES = {path: ast.parse(path.read_text()) for path in MODULES}

# What a room may import of the library, besides the kernels, the checks and the guards.
MAY_IMPORT = {
    "cli": {"word2vec", "retrieval", "distributed", "training", "logs", "engine", "io"},
    "word2vec": {"distributed", "training", "engine", "io"},
    "retrieval": {"distributed", "training", "logs", "engine", "io"},
    "distributed": {"training", "io"},
    "training": {"io"},
    "logs": {"io"},
    "engine": set(),
    "io": set(),
    "torch": {"engine"},
    "jax": {"engine"},
    "keras": {"torch", "jax"},
}
# Rooms whose names are a contract of their own, as those of the package are.
FACES = {"torch", "jax", "keras"}
KERNEL_ROOMS = {"kernels", "kernels.core", "kernels.softmax", "kernels.words", "kernels.retrieval"}
# Inside a room, a module imports only what stands behind it.
ORDER = {
    "": "__main__ _guards _optional _checks _types",
    "cli": "main word2vec_commands retrieve_commands cluster warm_up word2vec_parser retrieve_parser "
    "cluster_parser console",
    "word2vec": "estimator gensim_names cluster work blocks parts start run choice parameters model noise tasks plots corpus vectors neighbours lookup "
    "vocabulary sample",
    "retrieval": "estimator queries cluster blocks damping start parameters run held_out training_set growth "
    "model first_rows learner examples nearest metrics samplers id_vectors tower",
    "distributed": "ray_cluster ray_runtime local run rounds checkpoints cluster shards bundles "
    "routes work",
    "training": "run session events estimator signals",
    "logs": "splits interactions event_log sources keys times folders columns",
    "engine": "layer by_name top_k full_losses losses sampled_problem results candidate_sampling "
    "partition_sampler batch_samplers samplers sgd adaptive adam adagrad full_pass sampled_pass columns candidate_sampler remaining_draws "
    "rows workspace shards memory seeds autotune schedules",
    "io": "copies arrow text_columns csv_files text_files decoding inputs vector_files word2vec_files npz_files "
    "safetensors_files parquet_files packed_words stored_vectors foreign_vectors checkpoint progress files file_kinds set_aside",
    "torch": "layer functional optimizers work autograd unit_rows tensors threads",
    "jax": "functional",
    "keras": "layer",
    "kernels": "_jit _compiling _cache",
    "kernels.core": "transfer team calls row_tile tile rows llvm ids rng scalar finite threads",
    "kernels.softmax": "step phases all_classes ranking batch examples scatter inputs sampled_classes "
    "softmax uses adagrad adam buffers members sampling encodings arguments",
    "kernels.words": "damping train_windows skipgram cbow window_chunks row_updates windows text",
    "kernels.retrieval": "items tower histories",
}


def module_name(path):
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def imports(tree):
    """Yield every module that is imported, with the names of a ``from numba_ss import``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if (PACKAGE.parent / node.module.replace(".", "/")).is_dir():
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            else:
                yield node.module


def kernels_of(path):
    """Return (function, decorator name) for each compiled function of a module."""
    return [
        (node, decorator.id)
        for node in TREES[path].body
        if isinstance(node, ast.FunctionDef)
        for decorator in node.decorator_list
        if isinstance(decorator, ast.Name) and decorator.id.endswith("kernel")
    ]


def test_every_module_has_its_place():
    places = {f"{room}.{name}".lstrip(".") for room, names in ORDER.items() for name in names.split()}
    found = {module_name(path) for path in MODULES if path.stem != "__init__"}
    assert found == places | {"reference"}


def test_imports_go_down_only():
    names = {module_name(path) for path in MODULES}
    for path in MODULES:
        name = module_name(path)
        room, _, stem = name.rpartition(".")
        if stem == "__init__" or name in ("reference", "__main__"):
            continue
        for imported in imports(TREES[path]):
            if not imported.startswith("numba_ss.") or imported == "numba_ss.__version__":
                continue
            target = imported.removeprefix("numba_ss.")
            target = target if target in names else target.rpartition(".")[0]
            other, _, last = target.rpartition(".")
            if other == room:
                order = ORDER[room].split()
                assert order.index(last) > order.index(stem), f"{name} imports {target}"
            elif room in KERNEL_ROOMS:
                assert other == "kernels.core" or target == "kernels._jit", f"{name} imports {target}"
            elif other == "":
                assert last in ("_checks", "_guards", "_optional", "_types"), f"{name} imports {target}"
            else:
                allowed = MAY_IMPORT.get(room, set()) | KERNEL_ROOMS
                assert other in allowed, f"{name} imports {target}"


def test_a_room_says_what_it_is_for_and_imports_nothing():
    for path in MODULES:
        if path.stem == "__init__" and path.parent != PACKAGE:
            assert ast.get_docstring(TREES[path]), path
            assert path.parent.name in FACES or not list(imports(TREES[path])), path


def test_only_kernels_import_numba():
    for path in MODULES:
        used = {imported.split(".")[0] for imported in imports(TREES[path])}
        if "kernels" not in path.parts:
            assert not used & {"numba", "llvmlite"}, path
        if path.name == "reference.py":
            assert used <= {"__future__", "collections", "math", "typing", "numpy"}
        assert "reference" not in {i.rpartition(".")[2] for i in imports(TREES[path])}, path


def test_llvm_code_is_written_in_one_place():
    """Kernels that need it stand on `core.llvm`, so the rest can be read without knowing LLVM."""
    for path in MODULES:
        if module_name(path) != "kernels.core.llvm":
            used = set(imports(TREES[path]))
            assert not {name for name in used if name.split(".")[0] == "llvmlite"}, path
            assert not {"builder", "cgutils"}.intersection(names_used(TREES[path])), path


MOST_ARGUMENTS, USUAL_ARGUMENTS = 12, 8  # of any function of the kernels, and of 95 in 100


def test_kernels_take_few_arguments():
    counts = {
        f"{module_name(path)}.{node.name}": len(node.args.posonlyargs + node.args.args + node.args.kwonlyargs)
        for path in MODULES if "kernels" in path.parts
        for node in ast.walk(TREES[path]) if isinstance(node, ast.FunctionDef)
    }
    too_many = {name: count for name, count in counts.items() if count > MOST_ARGUMENTS}
    assert not too_many
    many = {name: count for name, count in counts.items() if count > USUAL_ARGUMENTS}
    assert len(many) <= len(counts) / 20, many


def test_compile_options_stand_in_one_place():
    for path in MODULES:
        if path.name == "_jit.py":
            continue
        for node in ast.walk(TREES[path]):
            if isinstance(node, ast.keyword):
                assert node.arg not in ("fastmath", "cache", "parallel", "nogil"), path
            if isinstance(node, (ast.Name, ast.Attribute)):
                name = node.id if isinstance(node, ast.Name) else node.attr
                assert name not in ("jit", "njit"), path


def test_library_is_silent():
    for path in MODULES:
        calls = [node for node in ast.walk(TREES[path]) if isinstance(node, ast.Call)]
        assert not [c for c in calls if getattr(c.func, "id", "") == "print"], path


@pytest.mark.parametrize("path", COMPILED, ids=lambda path: path.stem)
def test_kernels_raise_and_allocate_nothing(path):
    for function, _ in kernels_of(path):
        for node in ast.walk(function):
            assert not isinstance(node, (ast.Raise, ast.Assert, ast.Pow, ast.MatMult)), function.name
            if isinstance(node, ast.Attribute):
                assert node.attr not in ("empty", "zeros", "ones", "full", "dot"), function.name
            if isinstance(node, ast.Call):
                assert getattr(node.func, "id", "") != "print", function.name


@pytest.mark.parametrize("path", COMPILED, ids=lambda path: path.stem)
def test_one_prange_and_first(path):
    parallel = {f.name for p in COMPILED for f, kind in kernels_of(p) if kind == "parallel_kernel"}
    for function, kind in kernels_of(path):
        calls = [c for c in ast.walk(function) if isinstance(c, ast.Call)]
        names = [getattr(c.func, "id", "") for c in calls]
        assert names.count("prange") == (kind == "parallel_kernel"), function.name
        assert not parallel & set(names), f"{function.name} calls a parallel kernel"
        if kind == "parallel_kernel":
            assert not {"integers", "numbers"} & set(names), f"{function.name}: see buffers.py"
            body = [node for node in function.body if not isinstance(node, ast.Expr)]
            assert len(body) == 1, function.name
            assert isinstance(body[0], ast.For), function.name
            assert "num_chunks" in [a.arg for a in function.args.args], function.name


def test_every_kernel_has_a_twin_and_a_test():
    tests = "".join(path.read_text() for path in Path(__file__).parent.rglob("test_*.py"))
    names = [f.name for path in COMPILED for f, _ in kernels_of(path) if f.name[0] != "_"]
    # A chunk's part of a kernel does what the kernel does.
    public = {name.removesuffix("_chunk") for name in names}
    assert len(public) > 25
    for name in [*public, "exp", "log", "log1p"]:
        assert callable(getattr(reference, name, None)), f"reference.{name} is missing"
        assert re.search(rf"\b{name}\b", tests), f"no test names {name}"


def test_one_test_file_a_module():
    for path in MODULES:
        stem = path.stem.lstrip("_")
        if stem not in ("init__", "main__", "reference", "types"):
            room = Path(__file__).parent / path.relative_to(PACKAGE).parent
            assert (room / f"test_{stem}.py").exists(), path


def documented(text, section="Parameters"):
    """Return the names in a section of a numpydoc docstring."""
    found = re.search(rf"{section}\n-+\n(.*?)(\n\n[A-Z][A-Za-z ]+\n-+\n|\Z)", text or "", re.S)
    lines = [line for line in found[1].splitlines() if line[:1].strip()] if found else []
    return [name.strip() for line in lines for name in line.split(" : ")[0].split(",")]


def public():
    """Yield the names that are a contract, and what they stand for."""
    for name in numba_ss.__all__:
        yield name, getattr(numba_ss, name)
    for room in sorted(FACES):
        try:
            face = importlib.import_module(f"numba_ss.{room}")
        except ModuleNotFoundError:  # an extra
            continue
        for name in face.__all__:
            yield f"{room}.{name}", getattr(face, name)


def public_functions():
    for name, item in public():
        if inspect.isfunction(item):
            yield pytest.param(item, id=name)
        elif inspect.isclass(item) and not issubclass(item, (tuple, Exception)):
            yield pytest.param(item, id=name)
            for attribute, method in inspect.getmembers(item, inspect.isfunction):
                ours = method.__module__.startswith("numba_ss")
                if ours and attribute[0] != "_" and documented(inspect.getdoc(method)):
                    yield pytest.param(method, id=f"{name}.{attribute}")


@pytest.mark.parametrize("item", list(public_functions()))
def test_documented_parameters_are_the_signature_s(item):
    parameters = [name for name in inspect.signature(item).parameters if name != "self"]
    names = documented(inspect.getdoc(item))
    assert inspect.getdoc(item)
    if names or inspect.isfunction(item):
        assert sorted(names) == sorted(parameters)


def test_type_checkers_see_the_public_names():
    """They do not run code, so names are imported for them and listed literally."""
    tree = TREES[PACKAGE / "__init__.py"]
    lists = [
        ast.literal_eval(node.value) for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "__all__"
    ]
    assert lists == [sorted(numba_ss._HOME)]
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.name: node.module.removeprefix("numba_ss.")
        for node in block.body for alias in node.names
    }
    assert seen == numba_ss._HOME


def names_used(tree):
    """Yield every identifier of a module, also those that are written as a string."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        for field in ("id", "attr", "arg", "name", "asname", "module"):
            yield from (getattr(node, field, None) or "").split(".")


def names_defined(body):
    """Yield the names of a module's or a class's body: functions, classes, constants, fields."""
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
            yield from names_defined(node.body if isinstance(node, ast.ClassDef) else [])
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            yield from (name.id for name in ast.walk(node) if isinstance(name, ast.Name))


PACKAGE_NAMES = {
    name
    for path in MODULES
    for name in (*path.relative_to(PACKAGE.parent).with_suffix("").parts, *names_defined(TREES[path].body))
} | set(FIELDS)


OTHERS = {"tf", "np", "torch", "nn", "jax", "keras"}  # under which names of other libraries are quoted


def unknown_names(path):
    """Return the backticked names in a module's docstrings that nothing is called."""
    known = PACKAGE_NAMES | set(names_used(TREES[path]))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    nodes = [node for node in ast.walk(TREES[path]) if isinstance(node, documented)]
    quoted = {
        name
        for node in nodes
        for name in re.findall(r"(?<![`:])`([\w.]+)`(?!`)", ast.get_docstring(node) or "")
    }
    # Names of other libraries are theirs.
    return {n for n in quoted if n.split(".")[0] not in OTHERS and n.split(".")[-1] not in known}


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_names_in_docstrings_exist(path):
    assert not unknown_names(path)


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_private_classes_and_functions_document_what_they_have(path):
    for node in ast.walk(TREES[path]):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name not in numba_ss.__all__:
            text = ast.get_docstring(node)
            names = [*documented(text), *documented(text, "Attributes")]
            assert set(names) <= set(names_used(node)), node.name


def test_a_name_that_nothing_is_called_is_found(monkeypatch):
    tree = ast.parse('def area(width):\n    "Square of `width`, not `height`, as `tf.square`."')
    monkeypatch.setitem(TREES, "sample", tree)
    assert unknown_names("sample") == {"height"}


def test_everything_public_is_documented():
    for name, item in public():
        assert inspect.getdoc(item), name


def test_the_package_s_docstring_lists_every_public_name_once():
    listed = re.findall(r"^    (\w+) +\S", numba_ss.__doc__, re.M)
    assert sorted(listed) == numba_ss.__all__


def test_importing_compiles_nothing():
    script = (
        "import numba_ss, numba_ss.kernels.softmax.batch as b, numba_ss.kernels.softmax.phases as p, numba_ss.kernels.softmax.sampling as s, sys;"
        "sys.exit(len(b._input_block.signatures) + len(b._input_block.inner.signatures)"
        " + len(s.draw_candidates.signatures)"
        " + len(p.forward_inputs.parallel.signatures))"
        if JIT
        else "import numba_ss"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def check_specialisations():
    """Use the API with arrays of every layout, type and flag; count what was compiled."""
    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float64):
        problem = Problem(rng, num_true=2, dtype=dtype)
        weights, biases, labels, inputs, *rest = problem.arguments
        read_only = weights.copy()
        read_only.flags.writeable = False
        for loss in (numba_ss.sampled_softmax_loss, numba_ss.nce_loss):
            loss(weights, biases, labels, inputs, *rest)
            loss(np.asfortranarray(weights), biases, labels.tolist(), inputs[:, ::-1], *rest)
            loss(read_only, biases, labels.astype(np.int32), inputs, *rest)
        numba_ss.softmax_loss_and_grad(weights, biases, labels, inputs)
        numba_ss.top_k(weights, biases, inputs, 3)
    layer = numba_ss.SampledSoftmax(60, 9, 11)
    layer.step(inputs, labels[:, :1])
    layer.step_rows(layer.weights, labels[:, 0].copy(), labels[:, :1])
    for path in COMPILED:
        module = importlib.import_module(f"numba_ss.{module_name(path)}")
        for function, kind in kernels_of(path):
            item = getattr(module, function.name)
            forms = [item.serial, item.parallel] if kind == "parallel_kernel" else [item, item.inner]
            for form in forms:
                singles = [
                    [re.sub(r"Literal\[(\w+)\]\(.*?\)", r"\1", str(kind)).replace("int64", "int") for kind in signature]
                    for signature in form.signatures
                    if "float64" not in str(signature)
                ]
                for one, other in combinations(singles, 2):
                    # What is None chooses: the kind of loss, what of a pass is wanted.
                    pairs = zip(one, other, strict=True)
                    same = all(a == b or "none" in (a, b) for a, b in pairs)
                    assert same, f"{function.name}: {one}, {other}"


@needs_jit
def test_one_specialisation_a_type():
    """In a process of its own, because other tests call kernels with other types."""
    script = "from tests import test_structure; test_structure.check_specialisations()"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=PACKAGE.parent, capture_output=True,
        text=True, check=False,
    )
    assert done.returncode == 0, done.stderr


def test_options_of_the_decorators():
    assert {"nnan", "ninf", "fast"}.isdisjoint(_jit.FASTMATH)
    if JIT:
        assert isinstance(_jit.kernel(lambda x: x), numba.core.registry.CPUDispatcher)


def test_no_workplace_words():
    """The project speaks of the project alone."""
    root = PACKAGE.parent
    listed = [*MODULES, *(root / "benchmarks").glob("*.py"), *root.rglob("README.md"), *Path(__file__).parent.rglob("*.py")]
    words = ["/wo" + "rk/", "is" + "sue #", "/" + "tmp/", "sess" + "ion of"]
    for path in listed:
        if path.exists():
            text = path.read_text()
            assert not [word for word in words if word in text], path
