"""How far the training of word vectors scales: its work is counted, and threads are modelled.

    python benchmarks/scaling_word2vec.py CORPUS [--threads 1 2 4 8 16 32 64] [--limit BYTES]
        [--architecture skipgram] [--vector-size 100] [--meeting SECONDS]

One thread measures what a batch takes in each of its two phases, what a call takes in Python, and
what reading takes beside. The work of each chunk and of each owner of rows is counted in the same
batches, and dealt to threads as `kernels.core.team` deals it. So a batch lasts as long as its
slowest threads in both phases, and twice the time in which threads meet; a call adds its Python.
Reading has threads of its own and must keep up. Memory that many cores share is not modelled.

Printed are the seconds of a million words that stay in the text, how many times faster than one
thread that is, and the shares of ideal speed that chunks and owners leave. Where this machine has
the threads, the measured time stands beside.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np

from numba_ss import Word2Vec
from numba_ss.kernels.core.threads import max_num_threads, use_threads
from numba_ss.kernels.words import row_updates, train_windows
from numba_ss.word2vec.corpus import open_corpus
from numba_ss.word2vec.model import _TASKS_A_THREAD
from numba_ss.word2vec.parameters import ARCHITECTURES, SUBSAMPLES, checked_parameters
from numba_ss.word2vec.run import _THREADS_A_READER, _WORDS_A_CALL, _WORK_A_CALL, read_pieces
from numba_ss.word2vec.start import _first_tables, make_model, make_noise
from numba_ss.word2vec.vocabulary import Vocabulary

RATE = 0.03
COUNTED = 64  # batches
REPEATS = 5


def makespan(costs, num_threads):
    """Return how long threads take for tasks: each first takes its own, then what is left."""
    num_tasks = min(_TASKS_A_THREAD * num_threads, row_updates.OWNERS)
    edges = [task * len(costs) // num_tasks for task in range(num_tasks + 1)]
    tasks = [sum(costs[first:last]) for first, last in pairwise(edges)]
    bounds = [thread * num_tasks // num_threads for thread in range(num_threads + 1)]
    own = [list(range(first, last)) for first, last in pairwise(bounds)]
    free = [0.0] * num_threads
    for _ in range(num_tasks):
        thread = int(np.argmin(free))
        order = (own[(thread + k) % num_threads] for k in range(num_threads))
        free[thread] += tasks[next(left for left in order if left).pop(0)]
    return max(free)


def seconds_of(function, repeats=REPEATS):
    """Return the least processor time of some calls."""
    times = []
    for _ in range(repeats):
        start = time.thread_time()
        function()
        times.append(time.thread_time() - start)
    return min(times)


class Measured:
    """A model and its thinned text, and what one thread takes for them."""

    def __init__(self, path, architecture, dim):
        corpus = open_corpus(path)
        vocabulary = Vocabulary.from_counts(*corpus.count())
        settled = checked_parameters(Word2Vec(dim, architecture=architecture).get_params())
        settled["subsample"] = SUBSAMPLES[architecture]
        noise = make_noise(vocabulary.counts, settled)
        self.model = make_model(_first_tables(noise, settled), noise, settled)
        self.model.start_epoch(0)
        start = time.thread_time()
        pieces = list(read_pieces(self.model, corpus, vocabulary, 0, 1))
        self.reading = time.thread_time() - start
        parts = [piece.stream[piece.first : piece.last] for piece in pieces]
        self.stream = np.concatenate(parts)
        self.words = sum(int(piece.words.sum()) for piece in pieces)
        size = self.model.batch_size
        most = min(_WORDS_A_CALL, _WORK_A_CALL // self.model.work_a_window)
        self.batches = max(1, most // size)  # of a call
        self.num_batches = len(self.stream) // size
        with use_threads(1):
            self.learn(min(len(self.stream), 50 * size))  # compiles; rows are zeros no longer
            self.call = self._python_of_a_call()
            self.chunks, self.owners, self.seconds = self._count()

    def learn(self, last):
        """Learn from the text up to `last`, in calls as a training run makes them."""
        step = self.batches * self.model.batch_size
        rates = np.full(self.batches, RATE, np.float32)
        for first in range(0, last, step):
            count = -(-(min(first + step, last) - first) // self.model.batch_size)
            stop = min(first + step, last)
            self.model.learn(self.stream, first, stop, 0, rates[:count])

    def _python_of_a_call(self):
        kernel, train_windows.train_windows = train_windows.train_windows, lambda *_: None
        try:
            rates = np.full(self.batches, RATE, np.float32)
            return seconds_of(lambda: self.model.learn(self.stream, 0, 1, 0, rates), 50)
        finally:
            train_windows.train_windows = kernel

    def _count(self):
        """Return the work of chunks and of owners in some batches, and a batch's two phases."""
        size, rate = self.model.batch_size, np.full(1, RATE, np.float32)
        chunks, owners, whole, updates = [], [], [], []
        for b in np.linspace(0, self.num_batches - 1, COUNTED).astype(int).tolist():
            first = b * size
            whole.append(
                seconds_of(lambda f=first: self.model.learn(self.stream, f, f + size, 0, rate), 2)
            )
            work = self.model._work
            # A window's own work is about that of a pair.
            chunks.append((work.sizes.sum(axis=1) + work.sizes.shape[1]).tolist())
            present = np.zeros(row_updates.OWNERS)
            for words, weights in (
                (work.in_words, work.in_weights), (work.out_words, work.out_weights)
            ):
                present += np.bincount(
                    words[weights != 0] % row_updates.OWNERS, minlength=row_updates.OWNERS
                )
            owners.append(present.tolist())
            updates.append(self._update(row_updates.OWNERS) - self._update(0))
        updating = float(np.median(updates))
        gradients = float(np.median(whole)) - self.call - updating
        return chunks, owners, (gradients, updating)

    def _update(self, owners):
        work, lists, model = self.model._work, self.model._lists, self.model._model
        mean = lists.means[0, 0]
        one = np.float32(1)
        met = row_updates.Met(work.in_samples, mean, one, one, one)
        none = np.empty(0, np.float32)
        of_outputs = row_updates.Occurrences(
            work.out_words, work.out_weights, work.out_starts, work.out_order, work.grad_outputs,
            none,
        )
        of_inputs = row_updates.Occurrences(
            work.in_words, work.in_weights, work.in_starts, work.in_order, work.grad_inputs, none
        )
        return seconds_of(lambda: (
            row_updates.update_rows(
                0, 0, owners, of_outputs, met, model.outputs, model.num_vectors, lists
            ),
            row_updates.update_rows(
                0, 0, owners, of_inputs, met, model.inputs, model.num_vectors, lists
            ),
        ), 2)

    def predicted(self, num_threads, meeting):
        """Return the seconds of the text, and what chunks and owners leave of ideal speed."""
        shares = []
        for counted in (self.chunks, self.owners):
            spans = [makespan(costs, num_threads) / sum(costs) for costs in counted]
            shares.append(float(np.mean(spans)))
        busy = sum(share * part for share, part in zip(shares, self.seconds, strict=True))
        meetings = 2 * meeting if num_threads > 1 else 0.0
        calls = self.num_batches / self.batches
        training = self.num_batches * (busy + meetings) + calls * self.call
        readers = max(1, num_threads // _THREADS_A_READER)
        return max(training, self.reading / readers), [1 / num_threads / s for s in shares]

    def measured(self, num_threads):
        """Return the least wall seconds of training, of two runs."""
        times = []
        with use_threads(num_threads):
            for _ in range(3):  # the first compiles
                start = time.perf_counter()
                self.learn(self.num_batches * self.model.batch_size)
                times.append(time.perf_counter() - start)
        return min(times[1:])


def main():
    """Measure, and print a line for each number of threads."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64])
    parser.add_argument("--limit", type=int, default=20_000_000, help="bytes of the corpus to use")
    parser.add_argument("--architecture", choices=ARCHITECTURES, default="skipgram")
    parser.add_argument("--vector-size", type=int, default=100)
    parser.add_argument("--meeting", type=float, default=2e-6, help="seconds for all to meet")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "text.txt")
        with open(args.corpus, "rb") as source:
            path.write_bytes(source.read(args.limit))
        found = Measured(path, args.architecture, args.vector_size)
    millions = found.words / 1e6
    size, (gradients, updating) = found.model.batch_size, found.seconds
    print(
        f"{found.words:,} words stay, {found.num_batches} batches of {size}, "
        f"{len(found.chunks[0])} chunks, {row_updates.OWNERS} owners\n"
        f"a window: gradients {1e9 * gradients / size:.0f} ns, updates {1e9 * updating / size:.0f} "
        f"ns; a call of {found.batches} batches: {1e6 * found.call:.0f} us in Python, "
        f"{found.call * found.num_batches / found.batches / millions:.4f} s a million words; "
        f"reading, beside: {found.reading / millions:.3f} s a million words\n"
    )
    print("threads | s / million words | speedup | chunks' share | owners' share | measured s")
    alone = found.predicted(1, args.meeting)[0]
    for threads in args.threads:
        seconds, shares = found.predicted(threads, args.meeting)
        real = "-"
        if threads <= max_num_threads():
            real = f"{found.measured(threads) / millions:.3f}"
        cells = [f"{seconds / millions:.3f}", f"{alone / seconds:.1f}"]
        cells += [f"{share:.0%}" for share in shares]
        print(" | ".join([str(threads), *cells, real]), flush=True)


if __name__ == "__main__":
    main()
