"""skipgram.py: the gradients of a chunk of windows against the float64 specification."""

import numpy as np
import pytest

from numba_ss import reference
from numba_ss.kernels.words.skipgram import skipgram_chunk
from tests.kernels.words.test_train_windows import check_chunk, check_gradient, make_model


@pytest.mark.parametrize("loss", ["sampled_softmax", "negative_sampling", "nce"])
@pytest.mark.parametrize(("num_words", "count"), [(5, 40), (300, 40), (300, 5), (40, 0)])
def test_skipgram_chunk(loss, num_words, count, rng):
    check_chunk("skipgram", skipgram_chunk, loss, num_words, count, rng)


def test_gradient_is_that_of_the_loss(rng):
    check_gradient(reference.skipgram, rng)


def test_nothing_is_written_behind_the_scores(rng):
    model = make_model(rng, window=1, batch_size=64)
    stream = rng.integers(0, 300, 32)  # as many lanes as fill whole vectors
    stream[24] = model.num_words  # so the last eight targets have an odd number of them
    scores, end = model._work.scores[0], (model._model.num_sampled + 30) * 32
    scores[end:] = 7
    skipgram_chunk(model._model, model._work, 0, stream, 1, 31, 0, np.float32(0.1))
    assert np.any(scores[end - 32 : end] != 0)
    assert np.all(scores[end:] == 7)
