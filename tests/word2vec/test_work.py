"""The work of word vectors: marks in a text, blocks and rounds."""

import pickle

import numpy as np
import pytest

from numba_ss import Word2Vec
from numba_ss.distributed.local import LocalCluster
from numba_ss.word2vec import work
from numba_ss.word2vec.noise import Noise
from numba_ss.word2vec.parameters import checked_parameters
from numba_ss.word2vec.work import Text, WordWork, measure

NUM_WORDS = 40


def make_work(rng, lengths, monkeypatch, *, block_size=60, blocks_per_round=3, subsample=1e-2):
    monkeypatch.setattr(work, "_STRIDE", 16)
    parts = [rng.integers(-1, NUM_WORDS, length).astype(np.int32) for length in lengths]
    ids = np.concatenate([*parts, np.empty(0, np.int32)])
    counts = np.bincount(ids[ids >= 0], minlength=NUM_WORDS)
    given = Word2Vec(5, min_count=0, epochs=2, subsample=subsample, batch_size=16, window=3)
    settled = checked_parameters(given.get_params())
    noise = Noise(
        counts, sampler="unigram", distortion=0.75, num_sampled=4, subsample=subsample, seed=1
    )
    cluster = LocalCluster()
    text = Text.of([cluster.put(part) for part in parts], lengths)
    before = measure(text, noise.draws(), range(2), cluster)
    made = WordWork(
        settled, noise, text, before, 0, None, block_size=block_size,
        blocks_per_round=blocks_per_round,
    )
    return made, noise, ids


@pytest.mark.parametrize("lengths", [[500], [1, 0, 300, 17, 16], [0, 5], [33, 33, 33]])
@pytest.mark.parametrize("blocks_per_round", [1, 3, 50])
def test_the_blocks_are_the_thinned_text(lengths, blocks_per_round, rng, monkeypatch):
    made, noise, ids = make_work(rng, lengths, monkeypatch, blocks_per_round=blocks_per_round)
    for epoch in range(2):
        stream = noise.thin(ids, epoch, 0)
        rounds = made.rounds(epoch)
        assert all(len(blocks) <= blocks_per_round for blocks in rounds)
        assert sorted(block for blocks in rounds for block in blocks) == list(
            range(-(-len(stream) // made.size))
        )
        read = []
        for block in range(-(-len(stream) // made.size)):
            prepared = made.prepare(epoch, block)
            ids_of, _, own, position, first, last, *_ = prepared.payload["block"]
            own = np.append(ids_of, noise.num_words)[own]
            np.testing.assert_array_equal(own, stream[position : position + len(own)])
            assert position + first == block * made.size
            assert first in (position + first, 3)
            assert len(own) - last in (len(stream) - position - last, 3)
            read.append(own[first:last])
            assert prepared.payload["words"] == np.count_nonzero(own[first:last] < NUM_WORDS)
        np.testing.assert_array_equal(np.concatenate(read), stream)


def test_a_round_has_the_next_block_of_each_stretch(rng, monkeypatch):
    made, _, _ = make_work(rng, [2000], monkeypatch, blocks_per_round=4, subsample=0)
    rounds = made.rounds(0)
    assert len(rounds) > 3
    assert list(rounds[0]) == [0, len(rounds), 2 * len(rounds), 3 * len(rounds)]
    assert [next(iter(blocks)) for blocks in rounds] == list(range(len(rounds)))


def test_the_rate_falls_from_round_to_round(rng, monkeypatch):
    made, _, _ = make_work(rng, [4000], monkeypatch, blocks_per_round=5)
    means = [
        [made.prepare(epoch, block).payload["block"][-2].mean() for block in blocks]
        for epoch in range(2) for blocks in made.rounds(epoch)
    ]
    for rates in means:
        assert np.ptp(rates) < 1e-3  # of 0.035 at the start
    falling = [np.mean(rates) for rates in means]
    assert np.all(np.diff(falling) < 0)


def test_by_default_an_epoch_has_forty_rounds(rng, monkeypatch):
    made, _, _ = make_work(rng, [40_000], monkeypatch, block_size=None, subsample=0)
    assert 35 <= len(made.rounds(0)) <= 45


def test_by_default_the_rows_of_a_block_are_few(rng, monkeypatch):
    monkeypatch.setattr(work, "_BYTES", 4 * 5 * 70)  # of at most 40 inputs and 40 outputs
    made, _, _ = make_work(rng, [40_000], monkeypatch, block_size=None, subsample=0)
    prepared = [made.prepare(0, block) for block in range(100)]
    rows = np.mean([sum(map(len, block.ids.values())) for block in prepared])
    assert 35 < rows < 70
    monkeypatch.setattr(work, "_BYTES", 0)
    made, _, _ = make_work(rng, [40_000], monkeypatch, block_size=None, subsample=0)
    assert made.size == made.batch_size



def test_a_pickled_work_prepares_the_same(rng, monkeypatch):
    made, _, _ = make_work(rng, [300], monkeypatch)
    other = pickle.loads(pickle.dumps(made))
    one, two = (w.prepare(1, 2) for w in (made, other))
    for name, ids in one.ids.items():
        np.testing.assert_array_equal(ids, two.ids[name])
        np.testing.assert_array_equal(
            made.first_rows(name, 3, 9), other.first_rows(name, 0, NUM_WORDS)[3:9]
        )
