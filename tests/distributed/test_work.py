"""work.py: the toy that the other tests train is what it says a work is."""

import numpy as np

from tests.distributed.toy import Given, Toy


def test_the_toy_is_a_pure_function_of_block_and_rows():
    toy = Toy()
    prepared, again = toy.prepare(1, 3), Toy().prepare(1, 3)
    rows = {
        name: Given(toy.first_rows(name, 0, toy.tables[name].num_rows)[ids])
        for name, ids in prepared.ids.items()
    }
    once, twice = toy.train(prepared, rows, 4), toy.train(again, rows, 4)
    assert once.figures == twice.figures
    for name, ids in prepared.ids.items():
        assert len(set(ids.tolist())) == len(ids)
        assert once.rows[name].shape == (len(ids), toy.tables[name].dim)
        np.testing.assert_array_equal(once.rows[name], twice.rows[name])


def test_the_toy_has_first_rows_in_pieces():
    toy = Toy()
    pieces = [toy.first_rows("outputs", start, start + 59) for start in range(0, 413, 59)]
    np.testing.assert_array_equal(np.concatenate(pieces), toy.first_rows("outputs", 0, 413))
