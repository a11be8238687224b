"""Shared pieces of the tests: golden numbers, random problems, both compile modes."""

import json
import lzma
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from numba_ss.engine.columns import Columns

JIT = os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0")
needs_jit = pytest.mark.skipif(not JIT, reason="needs compiled kernels")

settings.register_profile("numba_ss", deadline=None, max_examples=40 if JIT else 5)
settings.load_profile("numba_ss")


@pytest.fixture(autouse=True)
def _quiet_overflow():
    """Uninterpreted kernels warn where compiled ones wrap around or divide by zero.

    This holds for one thread: tests of several need compiled kernels.
    """
    if JIT:
        yield
    else:
        with np.errstate(all="ignore"):
            yield


@pytest.fixture(scope="session", autouse=True)
def _interruptible():
    """A shell that runs the tests in the background makes them deaf to Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def golden():
    """TensorFlow 2.21's own samples, expected counts, losses and gradients."""
    path = Path(__file__).parent / "data" / "tf_golden.json.xz"
    return json.loads(lzma.decompress(path.read_bytes()))


@pytest.fixture
def rng():
    return np.random.default_rng(20261122)


@pytest.fixture(
    params=[
        ("progress: expected True, False or \"auto\", got 'yes'", {"progress": "yes"}),
        ("callbacks: .*got None", {"callbacks": None}),
        (r"callbacks\[1\]: .*got 5", {"callbacks": [print, 5]}),
        ("checkpoint_minutes: ", {"checkpoint_minutes": -1}),
        ("checkpoint: .*got 5", {"checkpoint": 5}),
        ("resume: expected a folder as checkpoint=, got none", {"resume": True}),
        ("resume: expected True or False, got 1", {"resume": 1}),
    ],
    ids=lambda param: next(iter(param[1])),
)
def bad_fit_arguments(request):
    """Arguments that every trainer's `fit` refuses, and what it says."""
    return request.param


class Problem:
    """A random batch over a small model, with expected counts of its own."""

    def __init__(
        self, rng, num_classes=60, dim=9, batch_size=7, num_true=1, num_sampled=11,
        dtype=np.float32, scale=1.0, ragged=False,
    ):
        self.weights = (scale * rng.standard_normal((num_classes, dim))).astype(dtype)
        self.biases = rng.standard_normal(num_classes).astype(dtype)
        self.inputs = rng.standard_normal((batch_size, dim)).astype(dtype)
        self.labels = rng.integers(0, num_classes, (batch_size, num_true))
        if ragged:
            absent = rng.random(self.labels.shape) < 0.4
            absent[:, rng.integers(num_true)] = False
            self.labels[absent] = -1
        self.sampled = rng.choice(num_classes, num_sampled, replace=False)
        self.true_count = rng.uniform(0.05, 2, self.labels.shape).astype(np.float32)
        self.sampled_count = rng.uniform(0.05, 2, num_sampled).astype(np.float32)
        self.grad_output = rng.standard_normal(batch_size).astype(dtype)

    @property
    def arguments(self):
        """The positional arguments of a functional loss."""
        num_sampled = self.sampled.shape[-1]
        return (
            self.weights, self.biases, self.labels, self.inputs, num_sampled,
            len(self.weights), self.labels.shape[1],
            (self.sampled, self.true_count, self.sampled_count),
        )

    def columns(self, remove_hits=True, subtract_log_q=True):
        """The same as the pass wants it."""
        return Columns(
            self.labels, self.true_count.astype(self.weights.dtype), self.labels.shape[1],
            self.sampled, self.sampled_count.astype(self.weights.dtype), remove_hits,
            subtract_log_q,
        )


def densify(rows, values, num_classes):
    """Add up gradient rows, in float64, to an array of the model's shape."""
    out = np.zeros((num_classes, *np.shape(values)[1:]))
    np.add.at(out, rows, values)
    return out


def names(folder):
    """Return what a folder holds, by name."""
    return sorted(path.name for path in folder.iterdir())
