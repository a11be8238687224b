"""skipgram.py: the gradients of a chunk of windows against the float64 specification."""

import pytest

from numba_ss import reference
from numba_ss.kernels.words.skipgram import skipgram_chunk
from tests.kernels.words.test_train_windows import check_chunk, check_gradient


@pytest.mark.parametrize("loss", ["sampled_softmax", "negative_sampling", "nce"])
@pytest.mark.parametrize(("num_words", "count"), [(5, 40), (300, 40), (300, 5), (40, 0)])
def test_skipgram_chunk(loss, num_words, count, rng):
    check_chunk("skipgram", skipgram_chunk, loss, num_words, count, rng)


def test_gradient_is_that_of_the_loss(rng):
    check_gradient(reference.skipgram, rng)
