"""full_pass.py: walks over all classes; the gradients are tested with the kernels and losses."""

import numpy as np
import pytest

from numba_ss import reference
from numba_ss.engine import full_pass
from numba_ss.kernels.core.llvm import LANES
from numba_ss.kernels.softmax.sampled_classes import BLOCK


@pytest.mark.parametrize("logistic", [False, True])
def test_normalizers_do_not_depend_on_the_examples_of_a_walk(logistic, rng, monkeypatch):
    weights, biases = rng.standard_normal((300, 5)), rng.standard_normal(300)
    inputs = rng.standard_normal((BLOCK + 9, 5))
    whole = full_pass.normalizers(weights, biases, inputs, logistic)
    np.testing.assert_allclose(
        whole, reference.normalize(inputs @ weights.T + biases, logistic), rtol=1e-12
    )
    monkeypatch.setattr(full_pass, "EXAMPLES", BLOCK)
    np.testing.assert_array_equal(full_pass.normalizers(weights, biases, inputs, logistic), whole)


def test_label_logits(rng):
    weights, biases = rng.standard_normal((9, 4)), rng.standard_normal(9)
    inputs, labels = rng.standard_normal((2, 4)), np.array([[3, -1], [5, 5]])
    logits, targets = full_pass.label_logits(weights, biases, inputs, labels)
    scores = inputs @ weights.T + biases
    np.testing.assert_allclose(logits, [[scores[0, 3], 0], [scores[1, 5]] * 2])
    np.testing.assert_array_equal(targets, [[1, 0], [0.5, 0.5]])


def test_transposed_inputs(rng):
    inputs = rng.standard_normal((BLOCK + 3, 5)).astype(np.float32)
    padded = full_pass.padded_inputs(inputs)
    np.testing.assert_array_equal(padded[: len(inputs), :5], inputs)
    assert not padded[len(inputs) :].any()
    assert not padded[:, 5:].any()
    blocks = full_pass.transposed(padded, len(inputs), 5)
    assert blocks.shape[0] == 2
    assert blocks.shape[1] % LANES == 0
    np.testing.assert_array_equal(blocks[1, :5, :3], inputs[BLOCK:].T)
