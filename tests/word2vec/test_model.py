"""model.py: tables that learn, whatever way the text is cut, and are handed over."""

from itertools import product

import numpy as np
import pytest

from numba_ss.word2vec import start
from tests.kernels.words.test_train_windows import OPTIONS, make_model, make_stream, rates
from tests.word2vec.test_estimator import ARCHITECTURES, LOSSES


def test_release_hands_over_the_tables_in_their_own_memory(rng):
    model = make_model(rng)
    want = model.tables.inputs.copy(), model.tables.outputs.copy()
    own = model.tables.wide
    got = model.release()
    for have, expected, table in zip(got, want, own, strict=True):
        np.testing.assert_array_equal(have, expected)
        assert have.flags.c_contiguous
        assert np.shares_memory(have, table)
    assert not any(table.size for table in model.tables.wide)


def test_cutting_the_stream_changes_nothing(rng):
    stream = make_stream(rng, 300)
    results = []
    for starts in ([0], [0, 48], [0, 48, 96]):
        model = make_model(np.random.default_rng(1))
        for begin in starts:
            low = max(begin - model.window, 0)
            part = stream[low:]
            stop = len(stream) if begin == starts[-1] else begin + 48
            for first in range(begin, stop, 48):
                last = min(first + 48, len(stream))
                model.learn(part, first - low, last - low, low, rates(0.1))
        results.append(model.tables.inputs.copy())
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_the_longest_vector_is_known_from_the_start(rng):
    model = make_model(rng)
    lengths = np.linalg.norm(np.concatenate([model.tables.inputs, model.tables.outputs]), axis=1)
    assert model.tables.longest == pytest.approx(lengths.max(), rel=1e-6)


@pytest.mark.parametrize(("architecture", "loss"), list(product(ARCHITECTURES, LOSSES)))
def test_the_loss_at_the_start_is_that_of_the_first_vectors(architecture, loss, rng):
    settled = OPTIONS | {"architecture": architecture, "loss": loss, "vector_size": 100}
    noise = start.make_noise(np.arange(3000, 0, -1), settled)
    model = start.make_model(start._first_tables(noise, settled), noise, settled)
    model.start_epoch(0)
    model.learn(make_stream(rng, 3000, 500), 0, 480, 0, np.zeros(10, np.float32))
    mean = model.losses.sum() / model.pairs.sum()
    assert mean == pytest.approx(model.loss_at_start, rel=0.02)
