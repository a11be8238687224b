"""ray_runtime.py: Ray for real, in a network that has only the loopback device."""

import contextlib
import importlib.util
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from numba_ss import ArgumentError
from numba_ss.distributed.cluster import ClusterError
from numba_ss.distributed.local import LocalCluster
from numba_ss.distributed.ray_runtime import RayRuntime, _require_resources
from numba_ss.distributed.rounds import Rounds
from tests.distributed.test_rounds import plain, same, train
from tests.distributed.toy import Toy, checksum

ROOT = Path(__file__).parents[2]


def isolated():
    """Return the command that gives a process a network of its own, or None."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return None
    for options in ("-n", "-rn"):
        command = ["unshare", options, "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
        if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
            return command
    return None


HAS_RAY = importlib.util.find_spec("ray") is not None
ISOLATED = isolated() if HAS_RAY else None
pytestmark = [
    pytest.mark.skipif(not HAS_RAY, reason="needs Ray"),
    pytest.mark.skipif(HAS_RAY and ISOLATED is None, reason="needs unshare and ip: Ray is to listen to nobody"),
]


def on_ray(case, *arguments, status=0):
    """Run a function of `on_ray`; return what it prints."""
    command = [*ISOLATED, sys.executable, "-m", "tests.distributed.on_ray", case, *map(str, arguments)]
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    # Ray's workers are to be as fast as other tests that run at the same time.
    environment = os.environ | {"PYTHONPATH": paths, "RAY_worker_niceness": "0"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment,
        start_new_session=True,
    )
    try:
        printed, errors = process.communicate(timeout=900)
    finally:
        with contextlib.suppress(ProcessLookupError):  # what a killed driver leaves
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == status, errors[-4000:]
    return json.loads(printed.splitlines()[-1]) if status == 0 else None


def test_an_address_where_nobody_answers():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ClusterError, match=f"head node of a running Ray cluster, got {address}"):
            RayRuntime(1, 1, address, {}, 0)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return on_ray("all_cases", tmp_path_factory.mktemp("processes"))


def test_the_bits_are_the_same_for_any_number_of_workers_and_shards(found):
    assert len(found["bits"]) == 5
    for numbers, result in found["bits"].items():
        assert result == found["bits"]["local"], numbers


def test_functions_run_on_workers_and_arrays_stay_there(found):
    error = found["pieces"].pop("error")
    assert found["pieces"] == {
        "map": [2, 3, 4], "store": [100_000, 3], "read": [sum(range(100_000))], "put": ["text"],
    }
    assert error == f"This happened on the node {platform.node()}."


def test_blocks_of_a_data_set_come_in_their_order_each_time(found):
    lines = [f"{part} {line}" for part in range(4) for line in range(3)]
    assert found["tables"] == [lines, lines]


def test_an_error_names_what_failed_and_where(found):
    kind, text, note = found["errors"]["raise"]
    assert (kind, note) == ("FileNotFoundError", f"This happened on the node {platform.node()}.")
    assert "no such text: 'text.txt'" in text
    kind, text = found["errors"]["exit"]
    assert kind == "ClusterError"
    assert "the process of a worker died 3 times at the same blocks" in text
    kind, text = found["errors"]["version"]
    assert kind == "ClusterError"
    assert text.startswith(f"node {platform.node()} (127.0.0.1): expected numba_ss 0.0.1, as here, got ")
    assert found["errors"]["without"] == [2]


def test_what_no_node_has_is_told(caplog):
    nodes = [
        {"Alive": True, "Resources": {"CPU": 2.0, "GPU": 1.0}}, {"Alive": True, "Resources": {"CPU": 9.0}},
        {"Alive": False, "Resources": {"CPU": 99.0}},
    ]
    ray = SimpleNamespace(nodes=lambda: nodes)
    for wanted in ({"CPU": 9}, {"CPU": 1, "GPU": 1}, {"CPU": 0, "TPU": 0}):
        _require_resources(ray, wanted, is_here=True)
    assert not caplog.messages
    message = r"resources_per_worker: expected what this machine has \(CPU: 2, GPU: 1\), got CPU: 9, GPU: 1"
    with pytest.raises(ArgumentError, match=message):
        _require_resources(ray, {"CPU": 9, "GPU": 1}, is_here=True)
    _require_resources(ray, {"CPU": 10}, is_here=False)
    assert caplog.messages == ["no node has what a worker needs (CPU: 10): training waits until one joins"]


def test_killed_workers_and_shards_change_no_bit(found):
    assert found["kills"]["killed"] == ["worker", "shard"] * 4
    assert found["kills"]["bits"] == found["kills"]["local"]


def test_ray_ends_with_the_block_that_started_it(found):
    assert found["still there"] is False


def test_a_killed_driver_is_resumed_with_the_same_bits(tmp_path):
    on_ray("killed", tmp_path, status=-signal.SIGKILL)
    found = on_ray("resumed", tmp_path)
    rounds = Rounds(LocalCluster(), Toy())
    assert same(train(rounds), plain(Toy()))
    assert found == {"state": {"seen": 1}, "bits": checksum(rounds)}
