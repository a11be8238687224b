"""Compare training on a Ray cluster of this machine with training in one process.

    unshare -rn sh -c 'ip link set lo up; exec python -m benchmarks.compare_cluster CORPUS ...'
        --evaluation FOLDER --diginetica FILE [--only speed quality items kills memory]
        [--seeds 3] [--epochs 5] [--blocks 8 16 32] [--block-size 50000] [--repeat 10]
        [--num-words 20000000]

In a network namespace of its own, nothing of Ray listens beyond the loopback interface. Printed are

- speed: words a second of one process with one thread, and of workers with one thread each on the
  same text, repeated so that it is long; bytes a word that are pulled and pushed, and the workers'
  share of waiting; beside it what a model of a round expects, which is made from the figures of
  one worker, and what it expects of more machines;
- quality: analogies and similarities, mean over seeds, in one process and with more and more blocks
  in a round; FOLDER is the EVALUATION_FOLDER of ``compare_word2vec.py``;
- items: hits of an item recommender, in one process and with 8 blocks in a round; FILE is that of
  ``compare_retrieval.py``;
- kills: runs during which processes of workers and shards are killed at random, and whether each
  ends with the bits of a run that nobody disturbed;
- memory: training of a large table of ids, and the peak memory of each process.

Needs ``ray``.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import tempfile
import threading
import time
from pathlib import Path
from statistics import mean

import numpy as np

from benchmarks import retrieval_baselines
from benchmarks.compare_retrieval import DIGINETICA, run_task
from numba_ss import PackedCorpus, RayCluster, Word2Vec, analogies, similarity

PAIRS = ("EN-WS-353-ALL.txt", "EN-MEN-TR-3k.txt", "EN-SIMLEX-999.txt")
WORKERS = (1, 2, 3)
MACHINES, GIGABITS = (8, 64, 256), (10, 100)
KILLS = 40


def fit(corpus, cluster=None, **options):
    """Return a model that was trained with one thread, and the words a second of its epochs."""
    model = Word2Vec(num_threads=1, **options).fit(corpus, progress=False, cluster=cluster)
    seconds = sum(entry["seconds"] for entry in model.history_)
    return model, sum(entry["words"] for entry in model.history_) / seconds


def speed(args):
    """Print words a second, traffic and waiting, and what a model expects of more machines."""
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder, "text.txt")
        with text.open("wb") as out:
            for _ in range(args.repeat):
                out.write(Path(args.corpus).read_bytes())
        options = {"epochs": 1, "min_count": 5}
        fit(args.corpus, RayCluster(num_workers=2), **options)  # compiles
        _, alone = fit(text, **options)
        print(f"one process: {alone:,.0f} words/s")
        for size in (50_000, None):
            for workers in WORKERS:
                shards = min(workers, 2)
                cluster = RayCluster(num_workers=workers, num_shards=shards, block_size=size)
                model, rate = fit(text, cluster, **options)
                entry = model.history_[-1]
                moved = [entry[name] / entry["words"] for name in ("bytes_pulled", "bytes_pushed")]
                if workers == 1:
                    # Seconds of a word in the worker and in the shard.
                    work, merge = (1 - entry["waiting"]) / rate, entry["waiting"] / rate
                expected = 1 / (work / min(workers, os.cpu_count()) + merge / shards)
                print(
                    f"{workers} workers, blocks of {size or 'the default size'}: {rate:,.0f} "
                    f"words/s (the model expects {expected:,.0f}), {rate / alone:.2f} x; "
                    f"{moved[0]:.0f} bytes a word pulled, {moved[1]:.0f} pushed; "
                    f"{entry['waiting']:.0%} of the time waiting", flush=True,
                )
        print("the model for machines with 16 workers and 4 shards each:")
        for gigabits in GIGABITS:
            for machines in MACHINES:
                network = sum(moved) * 8 / (gigabits * 1e9)
                rate = machines / (work / 16 + merge / 4 + network)
                print(f"  {machines:4} machines, {gigabits:3} Gbit/s: {rate:14,.0f} words/s")


def quality(args):
    """Print the quality of vectors by the number of blocks in a round."""
    folder = Path(args.evaluation)
    for architecture in ("skipgram", "cbow"):
        for blocks in (None, *args.blocks):
            scores = []
            for seed in range(1, args.seeds + 1):
                cluster = blocks and RayCluster(
                    num_workers=2, blocks_per_round=blocks, block_size=args.block_size
                )
                model, _ = fit(
                    args.corpus, cluster, architecture=architecture, seed=seed,
                    epochs=args.epochs, min_count=5,
                )
                scores.append([
                    100 * analogies(model.vectors_, folder / "questions-words.txt").accuracy,
                    *(similarity(model.vectors_, folder / name).rho for name in PAIRS),
                ])
            shown = " ".join(f"{mean(column):.3f}" for column in zip(*scores, strict=True))
            print(f"{architecture}, {blocks or 'no'} blocks a round: {shown}", flush=True)


def items(args):
    """Print how many next clicks are found in one process and with 8 blocks in a round."""
    task = retrieval_baselines.read_diginetica(args.diginetica)
    for units, epochs in (((), DIGINETICA["epochs"]), ((64,), 6)):
        options = {**DIGINETICA, "hidden_units": units, "epochs": epochs, "num_threads": 1}
        for blocks in (None, 8):
            cluster = blocks and RayCluster(num_workers=2, blocks_per_round=blocks)
            found = run_task(task, options, timed=True, seen=False, cluster=cluster)
            print(
                f"hidden units {units}, {blocks or 'no'} blocks a round: "
                f"Recall@20 {found['Recall@20']:.4f}, MRR@20 {found['MRR@20']:.4f}", flush=True,
            )


def kills(args):
    """Print whether runs end with the same bits though their processes are killed."""
    options = {"epochs": 2, "min_count": 5}

    def cluster():
        return RayCluster(num_workers=2, num_shards=2, block_size=50_000, max_retries=KILLS)

    expected, _ = fit(args.corpus, cluster(), **options)
    killed = equal = runs = 0
    while killed < KILLS:
        done = threading.Event()
        count = [0]

        def kill(done=done, count=count, seed=runs):
            chance = random.Random(seed)
            while not done.wait(chance.uniform(2, 12)):
                victims = _processes("ray::", but="Agent")  # without these Ray ends itself
                if victims:
                    os.kill(chance.choice(victims), signal.SIGKILL)
                    count[0] += 1

        thread = threading.Thread(target=kill)
        thread.start()
        try:
            with tempfile.TemporaryDirectory() as folder:
                # Otherwise a killed shard sends the run back to its beginning.
                saved = {"checkpoint": Path(folder, "checkpoints"), "checkpoint_words": 500_000}
                model = Word2Vec(num_threads=1, **options).fit(
                    args.corpus, progress=False, cluster=cluster(), **saved
                )
        finally:
            done.set()
            thread.join()
        runs, killed = runs + 1, killed + count[0]
        equal += np.array_equal(model.vectors_.vectors, expected.vectors_.vectors)
    print(f"{killed} kills in {runs} runs, {equal} of which ended with the same bits")


def memory(args):
    """Print the peak memory of each process while a large table is trained."""
    rng = np.random.default_rng(0)
    ids = np.concatenate([
        np.arange(args.num_words), np.minimum(rng.zipf(1.2, 2_000_000), args.num_words) - 1
    ]).astype(np.int32)
    corpus = PackedCorpus(ids, np.append(np.arange(0, len(ids), 20), len(ids)))
    peaks, done = {}, threading.Event()

    def watch():
        while not done.wait(0.5):
            for process in _processes("ray::"):
                name, size = _resident(process)
                peaks[name] = max(peaks.get(name, 0), size)

    thread = threading.Thread(target=watch)
    thread.start()
    began = time.time()
    try:
        with tempfile.TemporaryDirectory() as folder:
            cluster = RayCluster(num_workers=2, num_shards=4, tables=folder)
            fit(corpus, cluster, vector_size=64, min_count=1, epochs=1, subsample=0)
    finally:
        done.set()
        thread.join()
    shown = ", ".join(f"{name} {size / 2**20:,.0f} MiB" for name, size in sorted(peaks.items()))
    print(f"{args.num_words:,} ids x 64 in {time.time() - began:.0f} s; peak of {shown}")


def _processes(name, but=None):
    """Return our processes whose command begins with a name, and does not contain another."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command, process = path.read_text(), int(path.parent.name)
            if command.startswith(name) and (but is None or but not in command):
                found += [process] if _is_ours(process) else []
        except OSError:  # it has ended
            continue
    return found


def _is_ours(process):
    """Return whether this process started a process, or one that did. Others may use Ray, too."""
    while process not in (0, os.getpid()):
        stat = Path(f"/proc/{process}/stat").read_text()
        process = int(stat.rpartition(")")[2].split()[1])  # its parent
    return process != 0


def _resident(process):
    """Return the name of a process of Ray, and its memory without what it shares."""
    try:
        name = Path(f"/proc/{process}/cmdline").read_text().split("\0")[0].strip()
        pages = Path(f"/proc/{process}/statm").read_text().split()
    except OSError:
        return "ended", 0
    return name, (int(pages[1]) - int(pages[2])) * os.sysconf("SC_PAGE_SIZE")


def main():
    """Run the parts that are asked for."""
    parts = {
        "speed": speed, "quality": quality, "items": items, "kills": kills, "memory": memory
    }
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus")
    parser.add_argument("--evaluation", help="folder of analogies and word pairs, for quality")
    parser.add_argument("--diginetica", help="file of Diginetica's clicks, for items")
    parser.add_argument("--only", nargs="+", choices=parts, default=list(parts))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--blocks", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--block-size", type=int, default=50_000)
    parser.add_argument("--repeat", type=int, default=10, help="how often the text is repeated")
    parser.add_argument("--num-words", type=int, default=20_000_000)
    args = parser.parse_args()
    if "quality" in args.only and args.evaluation is None:
        parser.error("expected --evaluation for quality, got none")
    if "items" in args.only and args.diginetica is None:
        parser.error("expected --diginetica for items, got none")
    for name in args.only:
        parts[name](args)


if __name__ == "__main__":
    main()
