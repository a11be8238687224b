"""Compare the output layer for PyTorch with a sampled softmax in plain PyTorch.

    python benchmarks/compare_torch.py [--threads 2] [--rounds 20]

A step is the loss, its backward pass and the update of the touched rows by SGD. The hidden
states are all different, the labels Zipf-distributed. The three sides take turns in one
process, a short burst of steps each; the first steps of a burst do not count. Printed for each
shape: milliseconds of wall time a step, median and best, and the ratios to the layer's; and
besides what `numba_ss.SampledSoftmax.step` takes on the same arrays, the same work without
PyTorch. `nn.CrossEntropyLoss` over all classes takes a few steps only. Then what PyTorch itself
takes of a step, in microseconds, by a layer that computes nothing; the memory that a step
allocates; and what a step takes when a body of PyTorch's own is before the layer, against the
two one after the other, and each alone. Needs ``torch``.
"""

from __future__ import annotations

# Before PyTorch: what it tells OpenMP is for both sides.
import numba_ss.torch  # isort: skip

import argparse
import statistics
import time
import tracemalloc

import numpy as np
import torch

from numba_ss.torch import SampledSoftmax

# num_classes, dim, batch_size, num_sampled
SHAPES = [(200_000, 128, 256, 1024), (1_000_000, 128, 128, 8192)]
BATCHES, STEPS, SKIPPED = 20, 14, 4
RATE = 0.1


class PlainSoftmax(torch.nn.Module):
    """The baseline: sampled softmax with unique log-uniform candidates, in PyTorch alone.

    Labels and candidates are looked up together, with sparse gradients; the logits of the
    candidates are one matrix product; log Q is subtracted and accidental hits are masked.
    """

    def __init__(self, dim, num_classes, num_sampled):
        super().__init__()
        self.num_classes, self.num_sampled = num_classes, num_sampled
        self.weight = torch.nn.Embedding(num_classes, dim, sparse=True)
        self.bias = torch.nn.Embedding(num_classes, 1, sparse=True)
        torch.nn.init.normal_(self.weight.weight, std=dim**-0.5)
        torch.nn.init.zeros_(self.bias.weight)
        self.log_range = float(np.log(num_classes + 1))

    def sample(self):
        """Return distinct candidates, and how many draws they took."""
        drawn, tries = torch.empty(0, dtype=torch.int64), 0
        while len(drawn) < self.num_sampled:
            count = 2 * self.num_sampled
            more = (torch.rand(count, dtype=torch.float64) * self.log_range).exp().long() - 1
            tries += count
            drawn = torch.cat([drawn, more.clamp(max=self.num_classes - 1)]).unique()
        # As many as asked for; what is expected of a class is a little less for it.
        keep = torch.randperm(len(drawn))[: self.num_sampled]
        return drawn[keep], tries * self.num_sampled / len(drawn)

    def log_q(self, ids, tries):
        """Return the log of the expected counts."""
        ids = ids.float()
        p = ((ids + 2) / (ids + 1)).log() / self.log_range
        return (-torch.expm1(tries * torch.log1p(-p))).log()

    def forward(self, hidden, labels):
        sampled, tries = self.sample()
        ids = torch.cat([labels, sampled])
        rows, biases = self.weight(ids), self.bias(ids)[:, 0] - self.log_q(ids, tries)
        batch_size = len(labels)
        true = (hidden * rows[:batch_size]).sum(dim=1) + biases[:batch_size]
        others = torch.addmm(biases[batch_size:], hidden, rows[batch_size:].T)
        others = others.masked_fill(labels[:, None] == sampled, -torch.inf)
        logits = torch.cat([true[:, None], others], dim=1)
        zeros = torch.zeros(batch_size, dtype=torch.int64)
        return torch.nn.functional.cross_entropy(logits, zeros)


def batches(num_classes, dim, batch_size):
    """Return pairs of hidden states and labels."""
    rng = np.random.default_rng(0)
    return [
        (
            torch.from_numpy(rng.standard_normal((batch_size, dim), np.float32)).requires_grad_(),
            torch.from_numpy(np.minimum(rng.zipf(1.3, batch_size), num_classes) - 1),
        )
        for _ in range(BATCHES)
    ]


def training(layer, optimizer):
    """Return a function that takes a step on a batch."""

    def step(hidden, labels):
        optimizer.zero_grad()
        layer(hidden, labels).backward()
        optimizer.step()

    return step


def sides(num_classes, dim, num_sampled):
    """Return steps of the layer, of plain PyTorch and of the engine without PyTorch."""
    ours = SampledSoftmax(dim, num_classes, num_sampled, seed=0)
    plain = PlainSoftmax(dim, num_classes, num_sampled)
    engine = numba_ss.SampledSoftmax(
        num_classes, dim, num_sampled, num_threads=torch.get_num_threads(), learning_rate=RATE
    )
    return {
        "layer": training(ours, ours.optimizer("sgd", lr=RATE)),
        "plain PyTorch": training(plain, torch.optim.SGD(plain.parameters(), lr=RATE)),
        "engine alone": lambda hidden, labels: engine.step(
            hidden.detach().numpy(), labels[:, None].numpy()
        ),
    }


def measure(steps, data, rounds, count=STEPS, skipped=SKIPPED):
    """Return the median and the best milliseconds of each side, by turns."""
    times = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            for i in range(count):
                data[i % len(data)][0].grad = None
                start = time.perf_counter()
                step(*data[i % len(data)])
                if i >= skipped:
                    times[name].append(1e3 * (time.perf_counter() - start))
    return {name: (statistics.median(values), min(values)) for name, values in times.items()}


def full_softmax(num_classes, dim):
    """Return a step of `nn.CrossEntropyLoss` over all classes."""
    linear = torch.nn.Linear(dim, num_classes)
    loss = torch.nn.CrossEntropyLoss()
    return training(
        lambda hidden, labels: loss(linear(hidden), labels),
        torch.optim.SGD(linear.parameters(), lr=RATE),
    )


def compare(shape, rounds):
    """Print one shape."""
    num_classes, dim, batch_size, num_sampled = shape
    data = batches(num_classes, dim, batch_size)
    result = measure(sides(num_classes, dim, num_sampled), data, rounds)
    full = measure({"full softmax": full_softmax(num_classes, dim)}, data, 1, 3, 1)
    print(f"{num_classes:,} classes, dim {dim}, batch {batch_size}, {num_sampled:,} sampled")
    ours = result["layer"]
    for name, (median, best) in (result | full).items():
        print(
            f"  {name:14} {median:9.2f} ms, best {best:9.2f} ms;"
            f" {median / ours[0]:7.2f} and {best / ours[1]:7.2f} x the layer's"
        )


class Nothing(torch.autograd.Function):
    """A loss of 0 whose gradients have the shapes of the layer's, and no numbers of theirs."""

    @staticmethod
    def forward(ctx, ids, hidden, weight, bias):
        """Return 0."""
        ctx.save_for_backward(hidden, weight, bias)
        ctx.ids = ids
        return torch.zeros(())

    @staticmethod
    def backward(ctx, _):
        """Return gradients as they were allocated."""
        hidden, weight, bias = ctx.saved_tensors
        grads = (
            torch.sparse_coo_tensor(
                ctx.ids[None], torch.empty(len(ctx.ids), *table.shape[1:]), table.shape,
                check_invariants=False,
            )
            for table in (weight, bias)
        )
        return None, torch.empty_like(hidden), *grads


class DoesNothing(torch.optim.Optimizer):
    """An optimizer that looks at gradients, and leaves the parameters."""

    def __init__(self, parameters):
        super().__init__(parameters, {})

    def step(self):
        """Touch the memory of nothing."""
        for parameter in self.param_groups[0]["params"]:
            parameter.grad._indices().numpy(), parameter.grad._values().numpy()


def floor(shape, rounds):
    """Print what PyTorch takes of a step in which nothing is computed."""
    num_classes, dim, batch_size, num_sampled = shape
    layer = SampledSoftmax(dim, num_classes, num_sampled)
    optimizer = DoesNothing(layer.parameters())
    ids = torch.randint(0, num_classes, (batch_size + num_sampled,))
    step = training(lambda h, _: Nothing.apply(ids, h, layer.weight, layer.bias), optimizer)
    result = measure({"": step}, batches(num_classes, dim, batch_size), rounds)[""]
    print(f"PyTorch itself: {1e3 * result[0]:.0f} us a step, best {1e3 * result[1]:.0f} us")


def memory():
    """Print what a step allocates beside a table of half a million classes."""
    layer = SampledSoftmax(128, 500_000, num_sampled=1024, seed=0)
    step = training(layer, layer.optimizer("sgd", lr=RATE))
    data = batches(500_000, 128, 256)
    step(*data[0])
    tracemalloc.start()
    step(*data[1])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    table = layer.weight.numel() * 4
    print(f"memory of a step: {peak / 1e6:.1f} MB, of the table: {table / 1e6:.1f} MB")


def body_and_layer(rounds):
    """Print what a body and the layer take together, and apart.

    Apart in turns, so that each finds the caches as the other leaves them, and alone.
    """
    num_classes, dim, batch_size, num_sampled = SHAPES[0]
    body = torch.nn.Sequential(
        torch.nn.Linear(dim, 512), torch.nn.ReLU(), torch.nn.Linear(512, dim)
    )
    of_body = torch.optim.SGD(body.parameters(), lr=RATE)
    layer = SampledSoftmax(dim, num_classes, num_sampled, seed=0)
    alone = training(layer, layer.optimizer("sgd", lr=RATE))

    def body_alone(hidden, labels):
        of_body.zero_grad()
        body(hidden).square().mean().backward()
        of_body.step()

    def in_turns(hidden, labels):
        body_alone(hidden, labels)
        alone(hidden, labels)

    def both(hidden, labels):
        of_body.zero_grad()
        alone(body(hidden), labels)
        of_body.step()

    data = batches(num_classes, dim, batch_size)
    sides = {"body": body_alone, "layer": alone, "in turns": in_turns, "both": both}
    result = measure(sides, data, rounds)
    for i, name in enumerate(("median", "best")):
        body, layer, turns, both = (values[i] for values in result.values())
        print(
            f"body and layer, {name}: {both:.2f} ms together, {turns:.2f} ms in turns,"
            f" {body:.2f} + {layer:.2f} ms alone"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for shape in SHAPES:
        compare(shape, options.rounds)
    floor(SHAPES[0], options.rounds)
    memory()
    body_and_layer(options.rounds)


if __name__ == "__main__":
    main()
