"""A block: its own numbers for words, its draws, and its training."""

import numpy as np
import pytest

from numba_ss import Word2Vec
from numba_ss.word2vec.blocks import BlockTrainer, directions_of, prepare_block
from numba_ss.word2vec.model import draws_of
from numba_ss.word2vec.parameters import checked_parameters
from numba_ss.word2vec.start import _first_tables, make_model, make_noise
from tests.conftest import needs_jit
from tests.distributed.toy import Given

NUM_WORDS, DIM, BATCH = 60, 9, 32
COUNTS = np.arange(NUM_WORDS, 0, -1)


def settled(**options):
    given = Word2Vec(DIM, min_count=1, subsample=0, epochs=1, batch_size=BATCH, **options)
    return checked_parameters(given.get_params())


def make_stream(rng, length):
    stream = rng.integers(0, NUM_WORDS, length)
    stream[rng.random(length) < 0.1] = NUM_WORDS
    return stream


def block_of(options, stream, position, first, last, rate=0.05):
    rates = np.full(-(-(last - first) // BATCH), rate, np.float32)
    num_draws = draws_of(BATCH, options["num_sampled"])
    return prepare_block(make_noise(COUNTS, options), num_draws, 3, stream, position, first, last, rates)


def test_numbers_stand_for_the_words_of_the_text_and_of_the_draws(rng):
    options = settled()
    stream = make_stream(rng, 200)
    block = block_of(options, stream, 1000, 5, 5 + 4 * BATCH)
    with_separator = np.append(block.ids, NUM_WORDS)
    np.testing.assert_array_equal(with_separator[block.stream], stream)
    assert len(set(block.ids)) == len(block.ids)
    assert set(block.ids[: block.num_met]) == set(stream) - {NUM_WORDS}
    assert block.drawn.max() < len(block.ids)
    np.testing.assert_array_equal(block.log_q, make_noise(COUNTS, options).log_q[block.ids])


@pytest.mark.parametrize("stream", [[NUM_WORDS] * 40, [7] * 40, [7, NUM_WORDS] * 20])
@pytest.mark.parametrize("num_blocks", [1, 8])
def test_blocks_of_few_words(stream, num_blocks):
    options = settled()
    block = block_of(options, np.array(stream), 0, 0, 40)
    rows = np.full((len(block.ids), DIM), 0.1, np.float32)
    inputs, outputs, loss, pairs = BlockTrainer(options, BATCH, options["num_sampled"]).train(
        block, Given(rows[: block.num_met]), Given(rows), num_blocks
    )
    assert np.isfinite(inputs).all()
    assert np.isfinite(outputs).all()
    assert np.isfinite(loss)
    assert (pairs > 0) == (stream[:2] == [7, 7])


@pytest.mark.parametrize("architecture", ["skipgram", "cbow"])
@pytest.mark.parametrize("loss", ["sampled_softmax", "nce", "sampled_logistic"])
def test_a_block_is_trained_as_one_machine_trains_it(architecture, loss, rng):
    options = settled(architecture=architecture, loss=loss)
    tables = rng.standard_normal((2, NUM_WORDS, DIM)).astype(np.float32) / 3
    model = make_model(tables, make_noise(COUNTS, options), options)
    trainer = BlockTrainer(options, BATCH, options["num_sampled"])
    for position in (0, 96, 960):  # the memory of the trainer is used again
        stream = make_stream(rng, 150)
        block = block_of(options, stream, position, 0, 3 * BATCH)
        before = [table.copy() for table in (model.tables.inputs, model.tables.outputs)]
        model.start_epoch(3)
        model.losses[:], model.pairs[:] = 0, 0
        model.learn(stream, 0, 3 * BATCH, position, block.rates)
        met = block.ids[: block.num_met]
        inputs, outputs, total, pairs = trainer.train(
            block, Given(before[0][met]), Given(before[1][block.ids]), 1
        )
        np.testing.assert_array_equal(inputs[: len(met), :DIM], model.tables.inputs[met])
        np.testing.assert_array_equal(outputs[:-1, :DIM], model.tables.outputs[block.ids])
        others = np.setdiff1d(np.arange(NUM_WORDS), block.ids)
        np.testing.assert_array_equal(before[1][others], model.tables.outputs[others])
        assert (total, pairs) == (model.losses.sum(), model.pairs.sum())


def test_a_block_of_a_round_learns_in_the_same_direction_but_less(rng):
    options = settled()
    block = block_of(options, make_stream(rng, 400), 0, 0, 12 * BATCH, rate=0.5)
    rows = rng.standard_normal((2, len(block.ids), DIM)).astype(np.float32)
    met = Given(rows[0, : block.num_met])
    results = [
        BlockTrainer(options, BATCH, options["num_sampled"]).train(block, met, Given(rows[1]), n)[1]
        for n in (1, 8, 64)
    ]
    steps = [result[:-1, :DIM] - rows[1] for result in results]
    lengths = [np.linalg.norm(step) for step in steps]
    assert lengths[0] > 1.2 * lengths[1] > 1.2 * 1.2 * lengths[2]
    for step in steps[1:]:
        assert np.all(np.einsum("ij,ij->i", step, steps[0]) >= 0)


@needs_jit
@pytest.mark.parametrize("loss", ["nce", "negative_sampling"])
def test_rounds_of_a_logistic_loss_do_not_overshoot(loss, rng):
    """At a low rate little is damped but what all inputs have in common: each round is better."""
    settings = Word2Vec(20, min_count=1, subsample=0, batch_size=512, loss=loss).get_params()
    options, shares = checked_parameters(settings), 1 / np.arange(1, 3001)
    shares /= shares.sum()
    noise = make_noise(np.maximum(1, 1e6 * shares).astype(np.int64), options)
    tables, size, losses = list(_first_tables(noise, options)), 40 * 512, []
    trainer = BlockTrainer(options, 512, noise.num_sampled)
    for n in range(8):
        changes, total = [np.zeros_like(table) for table in tables], np.zeros(2)
        for position in range(8 * n * size, 8 * (n + 1) * size, size):
            block = prepare_block(
                noise, draws_of(512, noise.num_sampled), 0, rng.choice(3000, size, p=shares),
                position, 0, size, np.full(40, 5e-4, np.float32),
            )
            both = block.ids[: block.num_met], block.ids
            before = [table[ids] for table, ids in zip(tables, both, strict=True)]
            *after, loss, pairs = trainer.train(block, *map(Given, before), 8)
            for change, ids, new, old in zip(changes, both, after, before, strict=True):
                change[ids] += new[: len(ids), :20] - old
            total += loss, pairs
        for table, change in zip(tables, changes, strict=True):
            table += change
        losses.append(total[0] / total[1])
    assert max(np.divide(losses[1:], losses[:-1])) < 1.005


def test_directions_are_those_of_largest_variance(rng):
    rows = np.zeros((500, 16), np.float32)
    rows[:, 3] = 5 * rng.standard_normal(500) + 1
    rows[:, 7] = rng.standard_normal(500)
    for is_centered in (True, False):
        found = directions_of(rows, is_centered=is_centered)
        assert abs(found.vectors[0, 3]) > 0.99
        assert found.values[0] > 10 * found.values[1] > 100 * found.values[2]
