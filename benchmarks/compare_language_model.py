"""Train a language model with sampled softmax and with full softmax, and compare perplexities.

    python benchmarks/compare_language_model.py CORPUS [--minutes 6] [--chart chart.svg]

CORPUS is a text of words between white space, compressed by xz or not; its first 20 MB are
read. Two models are trained on the same batches in the same order: word embeddings, an LSTM and
an output layer over all words that occur twice, which is `numba_ss.torch.SampledSoftmax`, or
`nn.Linear` with `nn.CrossEntropyLoss`. They begin with the same numbers, biases with the
logarithms of how often words come. The optimizer is Adam at the same rate everywhere. Tables of
which few rows have a gradient get it by `RowOptimizer`: both models' word embeddings, and the
sampled layer. Everything else gets it by `torch.optim.Adam(fused=True)`, PyTorch's fastest.

The sides take turns, and each is trained for the given minutes of processor time, so that what
else the machine does, and evaluation, do not count. With one thread these are the minutes of a
free machine; threads that wait for each other count, too. Perplexity is that of the last words
of the text, over all classes, computed by PyTorch for both sides. Printed for both: perplexities
after the same steps and after the same minutes. Needs ``torch``; the chart needs
``matplotlib``.
"""

from __future__ import annotations

import argparse
import copy
import lzma
import math
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np

try:
    import torch
except ModuleNotFoundError:
    sys.exit("skipped: PyTorch is not installed (pip install 'numba-ss[torch]')")
from torch.nn.functional import cross_entropy, linear

from numba_ss.torch import RowOptimizer, SampledSoftmax

UNKNOWN = "<unknown>"
HELD_OUT = 12_800  # words at the end of the text
DROPOUT = 0.2


def read_words(path, size):
    """Return a text's first words as ids, and how often each comes: frequent ones first."""
    with (lzma.open if path.suffix == ".xz" else open)(path, "rb") as file:
        words = file.read(size).decode().split()[:-1]  # the last may be cut in two
    counts = Counter(words[:-HELD_OUT])
    rare = [word for word, count in counts.items() if count == 1]
    for word in rare:
        del counts[word]
    counts[UNKNOWN] = len(rare)
    ordered = dict(counts.most_common())
    ids = {word: i for i, word in enumerate(ordered)}
    words = torch.tensor([ids.get(word, ids[UNKNOWN]) for word in words])
    return words, torch.tensor([*ordered.values()])


def batches(ids, batch_size, length):
    """Yield inputs and labels, (length, batch_size): as many places in the text, read in turn."""
    columns = ids[: len(ids) // batch_size * batch_size].reshape(batch_size, -1).T
    for start in range(0, len(columns) - length, length):
        yield columns[start : start + length], columns[start + 1 : start + length + 1]


class Body(torch.nn.Module):
    """What both sides have before the output layer."""

    def __init__(self, num_classes, dim):
        super().__init__()
        self.words = torch.nn.Embedding(num_classes, dim, sparse=True)
        torch.nn.init.normal_(self.words.weight, std=dim**-0.5)
        self.lstm = torch.nn.LSTM(dim, dim)
        self.dropout = torch.nn.Dropout(DROPOUT)

    def forward(self, ids, state):
        hidden, state = self.lstm(self.dropout(self.words(ids)), state)
        return self.dropout(hidden), [part.detach() for part in state]


class FullSoftmax(torch.nn.Linear):
    """The output layer that computes the loss over all classes."""

    def forward(self, hidden, labels):
        return cross_entropy(super().forward(hidden).flatten(0, 1), labels.flatten())


class Side:
    """A model in training, with a clock of its own."""

    def __init__(self, label, layer, options, ids, counts):
        self.label, self.layer, self.options = label, layer, options
        torch.manual_seed(options.seed)
        self.body = Body(len(counts), options.dim)
        torch.nn.init.normal_(layer.weight, std=options.dim**-0.5)
        layer.bias.detach().copy_((counts / counts.sum()).log())
        rows, rest = [self.body.words.weight], list(self.body.lstm.parameters())
        (rest if isinstance(layer, FullSoftmax) else rows).extend(layer.parameters())
        self.optimizers = [
            RowOptimizer(rows, "adam", lr=options.rate),
            torch.optim.Adam(rest, lr=options.rate, fused=True),
        ]
        self.training, self.held_out = ids[:-HELD_OUT], ids[-HELD_OUT:]
        self.state, self.batches = None, iter(())
        self.steps, self.seconds, self.curve = 0, 0.0, []

    def train(self, steps, seconds):
        """Train until one of both is reached."""
        threads = self.options.threads
        started = time.process_time() - threads * self.seconds
        while self.steps < steps and self.seconds < seconds:
            self.step()
            self.seconds = (time.process_time() - started) / threads

    def step(self):
        """Train on the next batch, after the last on the first again."""
        batch = next(self.batches, None)
        if batch is None:
            self.state = None
            self.batches = batches(self.training, self.options.batch_size, self.options.length)
            batch = next(self.batches)
        hidden, self.state = self.body(batch[0], self.state)
        self.layer(hidden, batch[1]).backward()
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        self.steps += 1

    @torch.no_grad()
    def evaluate(self):
        """Add a point to the curve: steps, seconds, perplexity of the held-out text."""
        self.body.eval()
        losses, state = [], None
        for ids, labels in batches(self.held_out, self.options.batch_size, self.options.length):
            hidden, state = self.body(ids, state)
            for h, y in zip(hidden, labels, strict=True):  # little at once stays in a cache
                logits = linear(h, self.layer.weight, self.layer.bias)
                losses.append(cross_entropy(logits, y).item())
        self.body.train()
        self.curve.append((self.steps, self.seconds, math.exp(np.mean(losses))))
        print(f"{self.label}: {self.steps:,} steps, {self.seconds:.0f} s of training, "
              f"perplexity {self.curve[-1][2]:.1f}", file=sys.stderr, flush=True)


def train(sides, seconds):
    """Train all sides for as long, and evaluate them after the same numbers of steps.

    The side that was trained for less has the next turn.
    """
    milestones = [round(100 * 2 ** (i / 2)) for i in range(50)]
    while (side := min(sides, key=lambda side: side.seconds)).seconds < seconds:
        side.train(next(steps for steps in milestones if steps > side.steps), seconds)
        side.evaluate()


def compare(sampled, full):
    """Print what both sides reached after the same steps, and after the same time."""
    ours = {steps: perplexity for steps, _, perplexity in sampled.curve}
    common = [(steps, perplexity) for steps, _, perplexity in full.curve if steps in ours]
    print("steps | full softmax | sampled softmax | ratio")
    for steps, theirs in common[-6:]:
        print(f"{steps:,} | {theirs:.1f} | {ours[steps]:.1f} | {ours[steps] / theirs:.3f}")
    print("\nside | steps | minutes | ms a step | perplexity | lowest")
    for side in full, sampled:
        steps, seconds, last = side.curve[-1]
        lowest = min(perplexity for *_, perplexity in side.curve)
        print(f"{side.label} | {steps:,} | {seconds / 60:.1f} | {1e3 * seconds / steps:.0f} | "
              f"{last:.1f} | {lowest:.1f}")


def draw_chart(sides, path):
    """Draw the perplexities over minutes, and over steps."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import StrMethodFormatter

    figure = Figure(figsize=(8, 3.6), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for side, colour in zip(sides, ("#1f6fb4", "#8c8c8c"), strict=True):
        steps, seconds, perplexity = zip(*side.curve, strict=True)
        for axes, x in zip(panels, (np.array(seconds) / 60, steps), strict=True):
            axes.plot(x, perplexity, ".-", color=colour, label=side.label)
    for axes, name in zip(panels, ("minutes of training", "steps"), strict=True):
        axes.set(xscale="log", yscale="log", xlabel=name)
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("held-out perplexity")
    panels[0].yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    panels[0].yaxis.set_minor_formatter(StrMethodFormatter("{x:,g}"))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, loc="outside upper center", ncols=2)
    figure.savefig(path)


def build_arguments():
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("corpus", type=Path, help="a text of words between white space")
    parser.add_argument("--bytes", type=int, default=20_000_000, help="of the text to read")
    parser.add_argument("--minutes", type=float, default=6, help="of training, for each side")
    parser.add_argument("--dim", type=int, default=128, help="of embeddings and hidden states")
    parser.add_argument("--batch-size", type=int, default=16, help="places in the text")
    parser.add_argument("--length", type=int, default=20, help="words of a place in a batch")
    parser.add_argument("--num-sampled", type=int, default=8192)
    parser.add_argument("--rate", type=float, default=2e-3, help="Adam's learning rate")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--chart", help="write a chart to this file (.svg, .png)")
    return parser


def main():
    """Run the comparison and print its tables."""
    options = build_arguments().parse_args()
    if not options.corpus.is_file():
        sys.exit(f"skipped: there is no text {options.corpus}")
    torch.set_num_threads(options.threads)
    ids, counts = read_words(options.corpus, options.bytes)
    num_classes = len(counts)
    print(f"{len(ids):,} words, {num_classes:,} classes, {options}\n")
    layers = {
        "sampled softmax": SampledSoftmax(
            options.dim, num_classes, options.num_sampled, seed=options.seed
        ),
        "full softmax": FullSoftmax(options.dim, num_classes),
    }
    sides = [Side(label, layer, options, ids, counts) for label, layer in layers.items()]
    copy.deepcopy(sides[0]).train(1, math.inf)  # compile
    train(sides, 60 * options.minutes)
    compare(*sides)
    if options.chart:
        draw_chart(sides, options.chart)


if __name__ == "__main__":
    main()
