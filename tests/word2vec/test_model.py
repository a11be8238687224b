"""model.py: tables that learn, whatever way the text is cut, and are handed over."""

import numpy as np
import pytest

from tests.kernels.words.test_train_windows import make_model, make_stream, rates


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
        for start in starts:
            low = max(start - model.window, 0)
            part = stream[low:]
            stop = len(stream) if start == starts[-1] else start + 48
            for first in range(start, stop, 48):
                last = min(first + 48, len(stream))
                model.learn(part, first - low, last - low, low, rates(0.1))
        results.append(model.tables.inputs.copy())
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_the_longest_vector_is_known_from_the_start(rng):
    model = make_model(rng)
    lengths = np.linalg.norm(np.concatenate([model.tables.inputs, model.tables.outputs]), axis=1)
    assert model.tables.longest == pytest.approx(lengths.max(), rel=1e-6)


def test_the_loss_of_zeros_is_what_zero_vectors_give(rng):
    for loss in ("sampled_softmax", "negative_sampling"):
        model = make_model(rng, loss=loss)
        model._model.inputs[:] = 0
        model.learn(make_stream(rng, 300), 0, 48, 0, rates(0.0))
        outputs, num_sampled = model._work.out_words, model._model.num_sampled
        noise, targets = outputs[:, :num_sampled], outputs[:, num_sampled:]
        drops = (noise == 300).any() or np.isin(targets[targets < 300], noise).any()
        mean = model.losses.sum() / model.pairs.sum()
        assert mean == pytest.approx(model.loss_of_zeros, rel=0.01 if drops else 1e-5)
