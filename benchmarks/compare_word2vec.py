"""Compare training word vectors with gensim: wall time, memory and quality.

    python benchmarks/compare_word2vec.py CORPUS EVALUATION_FOLDER [--gensim-python PATH]
        [--threads 2] [--only NAME ...] [--output results.json] [--chart chart.svg]

Both sides read the same lines of a thousand words, each in a process of its own, from its
start to its end: imports, counting words, training, writing vectors. A short run on the
first lines comes before, so that kernels are compiled and files are cached. Printed for
each row: wall seconds, how many times faster than gensim's of the same architecture, peak
memory, and the quality of the saved vectors; then the words a second of training alone,
beside what the machine's limits, measured in the same run, allow. Of several seeds, the
mean and the range.

EVALUATION_FOLDER has questions-words.txt, and pairs of words with people's scores in
EN-WS-353-ALL.txt, EN-MEN-TR-3k.txt and EN-SIMLEX-999.txt. With ``--output`` each run is
kept as soon as it ends, and a run that is there is not done again. Needs ``gensim``, if
need be in an environment of its own; the chart needs ``matplotlib``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import numpy as np

from numba_ss import __version__
from numba_ss.cli.main import build_parser
from numba_ss.kernels.words.window_chunks import GROUP
from numba_ss.word2vec.parameters import SUBSAMPLES

LINE, PIECE = 1000, 2**20  # words of a line, bytes read at a time
WARM_UP_LINES = 200
BURST_LINES = 150  # between two runs of look-alike articles
ANALOGIES = "questions-words.txt"
SIMILARITY = {
    "WS-353": "EN-WS-353-ALL.txt", "MEN": "EN-MEN-TR-3k.txt", "SimLex": "EN-SIMLEX-999.txt",
}
MOST_FREQUENT = 30_000  # words among which analogies are answered

GENSIM = """
import json, sys
import gensim
from gensim.models import Word2Vec
text, vectors, history, threads, seed, options = sys.argv[1:]
model = Word2Vec(corpus_file=text, workers=int(threads), seed=int(seed), **json.loads(options))
model.wv.save_word2vec_format(vectors, binary=True)
words = sum(model.wv.get_vecattr(word, "count") for word in model.wv.index_to_key)
entry = {"words": model.epochs * int(words), "seconds": model.total_train_time}
with open(history, "w") as file:
    json.dump([entry | {"version": gensim.__version__}], file)
"""
GENSIM_OPTIONS = {
    "vector_size": 100, "window": 5, "negative": 5, "sample": 1e-4, "min_count": 5,
    "alpha": 0.025, "epochs": 5,
}


class Row(NamedTuple):
    """A way to train: what it is held against, its options, and whether seeds vary."""

    label: str
    rival: str
    options: list[str]
    threads: int
    varies: bool = False

    @property
    def is_gensim(self):
        return self.label.startswith("gensim")


def all_rows(threads, epochs):
    """Return the rows of the table by name; `epochs` are those of the long run."""
    by = {"skipgram": "gensim-skipgram", "cbow": "gensim-cbow"}  # who each is held against

    def gensim(name, title, **options):
        return Row(f"gensim {title}", name, [json.dumps(GENSIM_OPTIONS | options)], threads)

    def ours(
        title, options="", architecture="skipgram", threads=threads, varies=False, rival=None
    ):
        flags = f"--architecture {architecture} --min-count 5 --epochs 5 {options}".split()
        return Row(f"numba_ss {title}", rival or by[architecture], flags, threads, varies)

    return {
        "gensim-skipgram": gensim("gensim-skipgram", "skip-gram", sg=1),
        "gensim-cbow": gensim("gensim-cbow", "CBOW", sg=0, cbow_mean=1),
        "gensim-window-15": gensim("gensim-window-15", "skip-gram, window 15", sg=1, window=15),
        "skipgram": ours("skip-gram", varies=True),
        "cbow": ours("CBOW", architecture="cbow", varies=True),
        "skipgram-long": ours(f"skip-gram, {epochs} epochs", f"--epochs {epochs}"),
        "skipgram-300": ours("skip-gram, 300 dimensions", "--vector-size 300"),
        "skipgram-250k": ours(
            "skip-gram, 250,000 words", "--min-count 1 --max-vocabulary 250000"
        ),
        "skipgram-1-thread": ours("skip-gram, 1 thread", threads=1),
        "skipgram-48": ours("skip-gram, 48 sampled", "--num-sampled 48", varies=True),
        "skipgram-rate": ours("skip-gram, rate 0.04", "--learning-rate 0.04", varies=True),
        "window-15": ours("skip-gram, window 15", "--window 15", rival="gensim-window-15"),
        "negative-sampling": ours("skip-gram, negative sampling", "--loss negative_sampling"),
        "sampled-logistic": ours("skip-gram, sampled logistic", "--loss sampled_logistic"),
        "nce": ours("skip-gram, NCE", "--loss nce"),
    }


def look_alikes(rng):
    """Return a run of short articles made of one template, in lines of LINE words.

    Every encyclopedia, catalogue and log has such: words that are rare elsewhere come hundreds
    of times within a few thousand words.
    """

    def word():
        return "".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), 7))

    county, province, *places = (word() for _ in range(4))
    words = []
    for _ in range(400):
        place = places[rng.integers(2)]
        words += f"{word()} is a village in {place} district of {county} county in the".split()
        words += f"{province} province it lies near {place} and the capital {county}".split()
    lines = [words[start : start + LINE] for start in range(0, len(words), LINE)]
    return "".join(" ".join(line) + "\n" for line in lines).encode()


def write_lines(corpus, path, limit, bursts=False):
    """Write a text, or its first `limit` bytes, in lines of LINE words.

    With `bursts` a run of look-alike articles follows every BURST_LINES lines.
    """
    rng = np.random.default_rng(1)
    written = 0
    left, cut, words = limit, b"", []
    with open(corpus, "rb") as source, open(path, "wb") as target:
        while piece := source.read(PIECE if left is None else min(PIECE, left)):
            left = left and left - len(piece)
            words += (cut + piece).split()
            # The last word may go on in the next piece.
            cut = b"" if piece[-1:].isspace() else words.pop()
            whole = len(words) // LINE * LINE
            for start in range(0, whole, LINE):
                target.write(b" ".join(words[start : start + LINE]) + b"\n")
                written += 1
                if bursts and written % BURST_LINES == 0:
                    target.write(look_alikes(rng))
            del words[:whole]
        if left != 0 and cut:
            words.append(cut)
        if words:
            target.write(b" ".join(words) + b"\n")


def run(command, threads):
    """Run a process; return its output, wall seconds and peak memory in bytes."""
    names = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    environment = os.environ | dict.fromkeys(names, str(threads))
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=errors, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            raise SystemExit(f"{errors.read().decode()}\n{command} ended so")
        output.seek(0)
        unit = 1 if sys.platform == "darwin" else 1024
        return output.read().decode(), seconds, unit * usage.ru_maxrss


def train(row, seed, text, folder, gensim_python):
    """Return the wall seconds, peak bytes, history and path of the vectors of one run."""
    vectors, history = folder / ("v.bin" if row.is_gensim else "v.npz"), folder / "history.json"
    if row.is_gensim:
        command = [gensim_python, "-c", GENSIM, text, vectors, history, row.threads, seed]
    else:
        command = [
            sys.executable, "-m", "numba_ss", "word2vec", text, "-o", vectors, "--history",
            history, "--quiet", "--num-threads", row.threads, "--seed", seed,
        ]
    _, seconds, peak = run([*map(str, command), *row.options], row.threads)
    return seconds, peak, json.loads(history.read_text()), vectors


def judge(vectors, folder):
    """Return the quality of saved vectors, and what bounds need to know of the text."""
    from numba_ss.word2vec.noise import keep_probabilities
    from numba_ss.word2vec.tasks import analogies, similarity
    from numba_ss.word2vec.vectors import WordVectors

    loaded = WordVectors.load(vectors)
    found = {"analogies": analogies(loaded, folder / ANALOGIES, MOST_FREQUENT).accuracy}
    found |= {name: similarity(loaded, folder / file).rho for name, file in SIMILARITY.items()}
    if loaded.counts is not None:
        found["num_words"] = len(loaded)
        for name, share in SUBSAMPLES.items():
            kept = loaded.counts * keep_probabilities(loaded.counts, share)
            found[f"kept_{name}"] = kept.sum() / loaded.counts.sum()
    return found


def settings(options):
    """Return all options of a run of ours, with the defaults of those not given."""
    return build_parser().parse_args(["word2vec", *options])


def window_bounds(limits, options):
    """Return the seconds of a window at the machine's limits: by flops, and by bytes.

    A window has m words of context on average; G windows share S noise words. Three products, the
    forward one and two gradients, take 2 D flops for each target and each word of its context, and
    for each noise word and each word in the stretch of about G + m words that their contexts make.
    CBOW has one vector in place of the context, which costs 2 m D to make and as much to hand its
    gradient on. The row of a noise word is read and written once for G windows; the target's row
    is read twice and written, and so is the input row of each word of the text.
    """
    num_sampled, dim, window = options.num_sampled, options.vector_size, options.window
    if options.architecture == "cbow":
        m = window + 1  # twice the mean of 1 .. window
        flops = 6 * (num_sampled + 1) * dim + 4 * m * dim
    else:
        m = 2 * sum(1 / d for d in range(1, window + 1))
        flops = 6 * (m + num_sampled * (GROUP + m) / GROUP) * dim
    numbers = (2 * num_sampled / GROUP + 3 + 3) * dim
    return flops / limits["sgemm"], 4 * numbers / limits["rows"]


def measure(row, seed, text, folder, args):
    """Train once, judge the vectors, and measure the machine's limits beside."""
    seconds, peak, history, vectors = train(row, seed, text, folder, args.gensim_python)
    me = [sys.executable, __file__, str(args.corpus), str(args.evaluation)]
    quality = json.loads(run([*me, "--judge", str(vectors)], args.threads)[0])
    result = {"seconds": seconds, "peak": peak, "history": history, **quality}
    if not row.is_gensim:
        # Rows of tables as large as both of the model's.
        shape = 2 * quality["num_words"], settings(row.options).vector_size
        flags = "--threads", row.threads, "--num-rows", shape[0], "--dim", shape[1]
        command = [sys.executable, Path(__file__).with_name("roofline.py"), *flags]
        result["limits"] = json.loads(run(list(map(str, command)), row.threads)[0])
    return result


class Results:
    """Runs that are done: in a file, if there is one, as soon as each ends."""

    def __init__(self, path, text):
        self._path, self.runs = path, []
        if path is not None and path.exists():
            kept = json.loads(path.read_text())
            if kept["text"] != text:
                raise SystemExit(f"{path}: of another text: {kept['text']}, not {text}")
            self.runs = kept["runs"]
        self._text = text

    def of(self, row):
        """Return the runs of a row."""
        return [run for run in self.runs if Row(*run["row"]) == row]

    def add(self, row, seed, result):
        """Keep one run more."""
        self.runs.append({"row": row, "seed": seed, **result})
        if self._path is not None:
            text = json.dumps({"text": self._text, "runs": self.runs}, indent=1)
            partial = self._path.with_name(f"{self._path.name}.part")
            partial.write_text(text)
            os.replace(partial, self._path)


def span(values, form="{:.1f}"):
    """Return the mean of some values and, of more than one, their range."""
    text = form.format(mean(values))
    if len(values) > 1:
        text += f" ({form.format(min(values))}-{form.format(max(values))})"
    return text


def column(runs, name):
    """Return one figure of each run."""
    return [run[name] for run in runs]


def rate(runs):
    """Return the words a second of training alone, of all epochs together."""
    entries = [entry for run in runs for entry in run["history"]]
    return sum(column(entries, "words")) / sum(column(entries, "seconds"))


def print_quality(done):
    """Print what a user gets: time, memory, vectors."""
    tasks = ["analogies", *SIMILARITY]
    print(" | ".join(["system", "seconds", "gensim's / its seconds", "peak MB", *tasks]))
    rivals = {row.rival: runs for row, runs in done.values() if row.is_gensim}
    for row, runs in done.values():
        seconds = column(runs, "seconds")
        rival = rivals.get(row.rival)
        ratio = f"{mean(column(rival, 'seconds')) / mean(seconds):.2f}" if rival else "-"
        peak = span([value / 1e6 for value in column(runs, "peak")], "{:.0f}")
        scores = [span(column(runs, "analogies"), "{:.1%}")]
        scores += [span(column(runs, name), "{:.3f}") for name in SIMILARITY]
        print(" | ".join([row.label, span(seconds), ratio, peak, *scores]))


def print_bounds(done):
    """Print the words a second of training alone, and what the machine's limits allow."""
    bounds = ["by flops", "by bytes", "share of the lower", "sgemm Gflop/s", "rows GB/s"]
    print(" | ".join(["\ntraining alone", "thousand words/s", *bounds]))
    for row, runs in done.values():
        entries = [entry for run in runs for entry in run["history"]]
        speeds = [entry["words"] / entry["seconds"] / 1e3 for entry in entries]
        cells = [row.label, span(speeds, "{:.0f}")]
        if not row.is_gensim:
            # The best that the machine gave counts.
            names, measured = runs[0]["limits"], column(runs, "limits")
            limits = {name: max(column(measured, name)) for name in names}
            options = settings(row.options)
            windows = runs[0][f"kept_{options.architecture}"]  # of each word of the text
            seconds = [windows * bound for bound in window_bounds(limits, options)]
            cells += [f"{1e-3 / bound:.0f}" for bound in seconds]
            cells.append(f"{rate(runs) * max(seconds):.0%}")
            cells += [f"{limits['sgemm'] / 1e9:.0f}", f"{limits['rows'] / 1e9:.1f}"]
        print(" | ".join(cells))


def print_scaling(many, one):
    """Print what more threads than one give."""
    whole = mean(column(one[1], "seconds")) / mean(column(many[1], "seconds"))
    training = rate(many[1]) / rate(one[1])
    print(f"\n{many[0].threads} threads / 1: training {training:.2f}, whole {whole:.2f}")


def places(points, top):
    """Return heights in a column at the right, for points may lie close to each other."""
    gap, heights = top / 15, []
    for y, *_ in points:
        heights.append(max(y, heights[-1] + gap) if heights else y)
    above = top - gap / 2
    for i in reversed(range(len(heights))):
        heights[i] = min(heights[i], above)
        above = heights[i] - gap
    return heights


def draw_chart(done, path):
    """Draw the share of solved analogies over the wall seconds of each row."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    points = []
    for row, runs in done.values():
        seconds = column(runs, "seconds")
        solved = [100 * share for share in column(runs, "analogies")]
        x, y = mean(seconds), mean(solved)
        points.append((y, -x, row.label))
        axes.errorbar(
            x, y, xerr=[[x - min(seconds)], [max(seconds) - x]],
            yerr=[[y - min(solved)], [max(solved) - y]], fmt="o", capsize=2,
            color="#8c8c8c" if row.is_gensim else "#1f6fb4",
        )
    axes.margins(0.08)
    axes.set_xlim(left=0)
    axes.set_ylim(0, 1.15 * max(points)[0])
    points.sort()
    for (y, x, label), place in zip(points, places(points, axes.get_ylim()[1]), strict=True):
        axes.annotate(
            label, (-x, y), xytext=(1.02, place), textcoords=axes.get_yaxis_transform(),
            va="center", fontsize=9,
            arrowprops={"arrowstyle": "-", "color": "#d0d0d0", "relpos": (0, 0.5)},
        )
    axes.set_xlabel("wall seconds of the whole process")
    axes.set_ylabel(f"analogies solved, % ({MOST_FREQUENT:,} words)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


def build_arguments():
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("corpus", type=Path, help="a text of words between white space")
    parser.add_argument("evaluation", type=Path, help="folder of analogies and word pairs")
    parser.add_argument("--gensim-python", default=sys.executable, help="a Python with gensim")
    parser.add_argument("--seeds", type=int, default=3, help="runs of the default settings")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=list(all_rows(2, 1)))
    parser.add_argument("--long-epochs", type=int, default=15, help="of the long run")
    parser.add_argument("--limit", type=int, help="bytes of the corpus to use")
    parser.add_argument(
        "--bursts", action="store_true", help="put runs of look-alike articles into the corpus"
    )
    parser.add_argument("--output", type=Path, help="keep the runs in this file (.json)")
    parser.add_argument("--chart", help="write a chart to this file (.svg, .png)")
    parser.add_argument("--judge", type=Path, help=argparse.SUPPRESS)
    return parser


def do_missing(rows, args):
    """Do the runs that are not there yet; return the text's size and each row's runs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text, short = folder / "text.txt", folder / "short.txt"
        write_lines(args.corpus, text, args.limit, args.bursts)
        with open(text, "rb") as lines:
            short.write_bytes(b"".join(islice(lines, WARM_UP_LINES)))
        size = text.stat().st_size
        results = Results(args.output, {"name": args.corpus.name, "bytes": size})
        for row in rows.values():
            seeds = range(1, 1 + (args.seeds if row.varies else 1))
            missing = sorted({*seeds} - {*column(results.of(row), "seed")})
            if missing:
                train(row, 1, short, folder, args.gensim_python)  # compile
            for seed in missing:
                print(f"{row.label}, seed {seed} ...", file=sys.stderr, flush=True)
                results.add(row, seed, measure(row, seed, text, folder, args))
    return size, {name: (row, results.of(row)) for name, row in rows.items()}


def main():
    """Run the comparison and print its tables."""
    parser = build_arguments()
    args = parser.parse_args()
    # In a process of its own, for children count the memory of whoever starts them.
    if args.judge:
        print(json.dumps(judge(args.judge, args.evaluation)))
        return
    for path in args.corpus, *(args.evaluation / f for f in [ANALOGIES, *SIMILARITY.values()]):
        if not path.is_file():
            parser.error(f"{path}: expected a file")
    rows = all_rows(args.threads, args.long_epochs)
    if args.only:
        rows = {name: rows[name] for name in rows if name in args.only}
    size, done = do_missing(rows, args)
    theirs = [runs[0]["history"][0] for row, runs in done.values() if row.is_gensim]
    systems = [f"numba_ss {__version__}", *{f"gensim {entry['version']}" for entry in theirs}]
    print(f"{args.threads} threads, {size:,} bytes of text, {', '.join(systems)}\n")
    print_quality(done)
    print_bounds(done)
    if {"skipgram", "skipgram-1-thread"} <= done.keys():
        print_scaling(done["skipgram"], done["skipgram-1-thread"])
    if args.chart:
        draw_chart(done, args.chart)


if __name__ == "__main__":
    main()
