"""Compare a training step, the sampler and the full softmax with TensorFlow's.

    python benchmarks/compare_tensorflow.py [--threads 2] [--chart chart.svg]

Both sides run in processes of their own that take turns, a burst of steps each, so
that neither disturbs the other and a noisy machine troubles both alike. The first steps of
a burst do not count: threads awake, and caches are still the other's. A step looks up the
input rows, computes sampled softmax (log-uniform, unique) with its gradients, and
subtracts them from the class rows, the biases and the input rows. Printed for each
shape: median milliseconds of both, their ratio, and our share of the roofline measured
in the same run, at which equal inputs are taken one by one: where they are taken together,
a step can be faster. Needs ``tensorflow-cpu``; the chart needs ``matplotlib``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time

import numpy as np

# (num_classes, dim, batch_size, num_sampled), and the ratio that is expected at least
SHAPES = {
    (1_000_000, 128, 512, 1024): 3,
    (1_000_000, 128, 512, 64): 10,
    (100_000, 100, 1024, 64): 10,
    (71_000, 300, 4096, 25): 5,
    (3_000, 32, 256, 100): 10,
    (1_000_000, 128, 128, 8192): 4,
}
SAMPLER_SHAPE = (1_000_000, 512, 1024)  # num_classes, batch_size, num_sampled
FULL_SHAPE = (1_000_000, 128, 256)  # num_classes, dim, batch_size
ROUNDS, STEPS, SKIPPED = 6, 70, 20
BATCHES = 50


def batches(num_classes, batch_size, even=False, count=BATCHES, seed=0):
    """Return pairs of input ids and labels, Zipf-distributed or all equally likely."""
    rng = np.random.default_rng(seed)

    def draw():
        if even:
            return rng.integers(0, num_classes, batch_size)
        return np.minimum(rng.zipf(1.3, batch_size), num_classes) - 1

    return [(draw(), draw()) for _ in range(count)]


def table(num_classes, dim, seed):
    """Return small random embeddings."""
    return np.random.default_rng(seed).standard_normal((num_classes, dim), np.float32) * 0.05


class OurSide:
    """The work, done by numba_ss."""

    def step(self, num_classes, dim, batch_size, num_sampled, even=False):
        import numba_ss

        layer = numba_ss.SampledSoftmax(
            num_classes, dim, num_sampled, weights=table(num_classes, dim, 0)
        )
        inputs = table(num_classes, dim, 1)
        data = [(ids, labels[:, None]) for ids, labels in batches(num_classes, batch_size, even)]
        return lambda i: layer.step_rows(inputs, *data[i % BATCHES])

    def sample(self, num_classes, batch_size, num_sampled):
        import numba_ss

        sampler = numba_ss.LogUniformSampler(num_classes, seed=0)
        labels = batches(num_classes, batch_size, count=1)[0][1][:, None]
        return lambda i: sampler.sample(labels, num_sampled)

    def full(self, num_classes, dim, batch_size):
        import numba_ss

        weights, biases = table(num_classes, dim, 0), np.zeros(num_classes, np.float32)
        inputs = table(batch_size, dim, 1)
        labels = batches(num_classes, batch_size, count=1)[0][1][:, None]
        return lambda i: numba_ss.softmax_loss(weights, biases, labels, inputs)


class TheirSide:
    """The same work, done by TensorFlow."""

    def __init__(self, threads):
        import tensorflow

        self.tf = tensorflow
        tensorflow.config.threading.set_intra_op_parallelism_threads(threads)

    def step(self, num_classes, dim, batch_size, num_sampled, even=False):
        tf = self.tf
        weights = tf.Variable(table(num_classes, dim, 0))
        biases = tf.Variable(tf.zeros([num_classes]))
        inputs = tf.Variable(table(num_classes, dim, 1))

        @tf.function
        def step(ids, labels):
            with tf.GradientTape() as tape:
                rows = tf.nn.embedding_lookup(inputs, ids)
                losses = tf.nn.sampled_softmax_loss(
                    weights, biases, labels, rows, num_sampled, num_classes
                )
                loss = tf.reduce_mean(losses)
            variables = (weights, biases, inputs)
            for variable, grad in zip(variables, tape.gradient(loss, variables), strict=True):
                update = tf.IndexedSlices(grad.values * 0.1, grad.indices)
                variable.scatter_sub(update)
            return loss

        data = [
            (tf.constant(ids), tf.constant(labels[:, None]))
            for ids, labels in batches(num_classes, batch_size, even)
        ]
        return lambda i: step(*data[i % BATCHES]).numpy()

    def sample(self, num_classes, batch_size, num_sampled):
        labels = self.tf.constant(batches(num_classes, batch_size, count=1)[0][1][:, None])
        draw = self.tf.random.log_uniform_candidate_sampler
        return lambda i: draw(labels, 1, num_sampled, True, num_classes, seed=0)[0].numpy()

    def full(self, num_classes, dim, batch_size):
        tf = self.tf
        weights, biases = tf.constant(table(num_classes, dim, 0)), tf.zeros([num_classes])
        inputs = tf.constant(table(batch_size, dim, 1))
        labels = tf.constant(batches(num_classes, batch_size, count=1)[0][1])

        @tf.function
        def loss():
            logits = tf.matmul(inputs, weights, transpose_b=True) + biases
            return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)

        return lambda i: loss().numpy()


def roofline(limits, num_classes, dim, batch_size, num_sampled):
    """Return the seconds that a step takes at the machine's limits."""
    columns = batch_size * (num_sampled + 1)
    compute = 6 * columns * dim / limits["sgemm"]
    memory = 8 * dim * (num_sampled + 2 * batch_size) / limits["rows"]
    return max(compute, memory) + columns / limits["exp"]


def worker(side, threads):
    """Answer requests, a JSON line each, until the input ends."""
    ours = OurSide() if side == "ours" else TheirSide(threads)
    work = None
    for line in sys.stdin:
        request = json.loads(line)
        if "limits" in request:
            from roofline import machine_limits  # beside this script

            answer = machine_limits(threads)
        elif "prepare" in request:
            work = getattr(ours, request["prepare"])(*request["shape"])
            answer = "ready"
        else:
            answer = []
            for i in range(request["steps"]):
                start = time.perf_counter()
                work(i)
                answer.append(time.perf_counter() - start)
        print("\n" + json.dumps(answer), flush=True)


class Side:
    """A process that does one side's work."""

    def __init__(self, name, threads):
        self.name = name
        environment = os.environ | {
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "NUMBA_NUM_THREADS": str(threads),
            "OPENBLAS_NUM_THREADS": str(threads),
        }
        command = [sys.executable, __file__, "--worker", name, "--threads", str(threads)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def ask(self, **request):
        """Send a request and wait for its answer."""
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        while line := self._process.stdout.readline():
            if line.startswith(("[", "{", '"')):
                return json.loads(line)
        raise RuntimeError(f"the process of side {self.name!r} ended")


def prepare(sides, kind, shape):
    """Let both sides make what they need."""
    for side in sides:
        side.ask(prepare=kind, shape=shape)


def take_turns(sides, rounds=ROUNDS, steps=STEPS, skipped=SKIPPED):
    """Return the median seconds of each side."""
    times = {side.name: [] for side in sides}
    for _ in range(rounds):
        for side in sides:
            times[side.name] += side.ask(steps=steps)[skipped:]
    return {name: float(np.median(values)) for name, values in times.items()}


def draw_chart(rows, path):
    """Draw both sides' milliseconds for each shape."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.subplots()
    place = np.arange(len(rows))
    for offset, name, colour in ((-0.2, "tensorflow", "#c8c8c8"), (0.2, "numba_ss", "#1f6fb4")):
        values = [row[name] for row in rows]
        axes.barh(place + offset, values, 0.38, label=name, color=colour)
    for i, row in enumerate(rows):
        axes.annotate(
            f"{row['ratio']:.1f} x", (row["numba_ss"], i + 0.2), xytext=(4, 0),
            textcoords="offset points", va="center", fontsize=9,
        )
    labels = ["{:,} x {}, batch {}, {} sampled".format(*row["shape"]) for row in rows]
    axes.set_yticks(place, labels, fontsize=9)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("milliseconds for a training step (median, log scale)")
    axes.set_xlim(left=min(row["numba_ss"] for row in rows) / 3)
    figure.legend(frameon=False, loc="outside upper center", ncols=2)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


def main():
    """Run the comparison and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--chart", help="write a chart to this file (.svg, .png)")
    parser.add_argument("--worker", choices=["ours", "theirs"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        worker(args.worker, args.threads)
        return
    sides = [Side("ours", args.threads), Side("theirs", args.threads)]
    limits: dict[str, float] = {}
    rows = []
    for shape, bar in SHAPES.items():
        # Measured anew beside each shape: the best that the machine gave counts.
        for name, value in sides[0].ask(limits=True).items():
            limits[name] = max(value, limits.get(name, 0))
        prepare(sides, "step", shape)
        seconds = take_turns(sides)
        rows.append(
            {
                "shape": shape,
                "bar": bar,
                "tensorflow": 1e3 * seconds["theirs"],
                "numba_ss": 1e3 * seconds["ours"],
                "ratio": seconds["theirs"] / seconds["ours"],
            }
        )
    print(
        f"{args.threads} threads; the machine: sgemm {limits['sgemm'] / 1e9:.0f} Gflop/s, "
        f"random rows {limits['rows'] / 1e9:.1f} GB/s, exp {limits['exp'] / 1e9:.2f} G/s"
    )
    print("classes dim batch sampled | TensorFlow ms | numba_ss ms | ratio (bar) | roofline share")
    for row in rows:
        share = 1e3 * roofline(limits, *row["shape"]) / row["numba_ss"]
        print(
            "{:,} {} {} {}".format(*row["shape"]),
            f"| {row['tensorflow']:.2f} | {row['numba_ss']:.3f} | {row['ratio']:.1f} "
            f"({row['bar']}) | {share:.0%}",
        )
    shape = next(iter(SHAPES))
    prepare(sides, "step", (*shape, True))
    seconds = take_turns(sides)
    print(
        "{:,} {} {} {}, all inputs differ".format(*shape),
        f"| {1e3 * seconds['theirs']:.2f} | {1e3 * seconds['ours']:.3f} | "
        f"{seconds['theirs'] / seconds['ours']:.1f} | "
        f"{roofline(limits, *shape) / seconds['ours']:.0%}",
    )
    prepare(sides, "sample", SAMPLER_SHAPE)
    seconds = take_turns(sides)
    print(
        f"log-uniform, unique, {SAMPLER_SHAPE[2]:,} of {SAMPLER_SHAPE[0]:,}, batch "
        f"{SAMPLER_SHAPE[1]} | {1e3 * seconds['theirs']:.3f} | {1e3 * seconds['ours']:.3f} | "
        f"{seconds['theirs'] / seconds['ours']:.1f} (5)"
    )
    prepare(sides, "full", FULL_SHAPE)
    seconds = take_turns(sides, 3, 3, 1)
    rate = 2 * np.prod(FULL_SHAPE, dtype=float) / seconds["ours"]
    print(
        f"softmax_loss, {FULL_SHAPE[2]} x {FULL_SHAPE[0]:,} x {FULL_SHAPE[1]} | "
        f"{1e3 * seconds['theirs']:.0f} | {1e3 * seconds['ours']:.0f} | "
        f"{seconds['theirs'] / seconds['ours']:.1f} | "
        f"{rate / limits['sgemm']:.0%} of the sgemm rate (70 %)"
    )
    if args.chart:
        draw_chart(rows, args.chart)


if __name__ == "__main__":
    main()
