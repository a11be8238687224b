"""rounds.py: the bits are those of a plain loop, however it is split, stopped and interrupted."""

import numpy as np
import pytest

from numba_ss.distributed.checkpoints import RoundFolder
from numba_ss.distributed.cluster import ClusterError, Lost
from numba_ss.distributed.local import LocalCluster
from numba_ss.distributed.rounds import Rounds
from tests.distributed.toy import Given, Toy

EPOCHS = 2


def plain(toy, epochs=EPOCHS):
    """Train in a plain loop over whole tables."""
    tables = {name: toy.first_rows(name, 0, table.num_rows) for name, table in toy.tables.items()}
    for epoch in range(epochs):
        for blocks in toy.rounds(epoch):
            old = {name: table.copy() for name, table in tables.items()}
            returned = {name: np.zeros(len(table), int) for name, table in tables.items()}
            trained = []
            for block in blocks:
                prepared = toy.prepare(epoch, block)
                rows = {name: Given(old[name][ids]) for name, ids in prepared.ids.items()}
                trained.append((prepared.ids, toy.train(prepared, rows, len(blocks)).rows))
                for name, ids in prepared.ids.items():
                    returned[name][ids] += 1
            for ids, new in trained:
                for name in ids:
                    own, alone = ids[name], returned[name][ids[name]] == 1
                    tables[name][own[alone]] = new[name][alone]
                    tables[name][own[~alone]] += new[name][~alone] - old[name][own[~alone]]
    return tables


def result(rounds):
    return {name: rounds.rows(name, 0, table.num_rows) for name, table in rounds.work.tables.items()}


def train(rounds, epochs=EPOCHS):
    for epoch in range(rounds.place.epoch, epochs):
        for _ in rounds.epoch(epoch):
            pass
    return result(rounds)


def same(one, other):
    return all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("num_workers", [1, 2, 3, 7])
@pytest.mark.parametrize("num_shards", [1, 2, 5])
def test_the_bits_are_those_of_a_plain_loop(num_workers, num_shards):
    assert same(train(Rounds(LocalCluster(num_workers, num_shards), Toy())), plain(Toy()))


def test_a_planted_answer_is_found():
    toy = Toy()
    rows = train(Rounds(LocalCluster(2, 2), toy), epochs=12)
    for name, table in toy.tables.items():
        answer = toy.answer(name, np.arange(table.num_rows))
        gap = np.abs(rows[name] - answer).mean()
        assert gap < 0.05 * np.abs(toy.first_rows(name, 0, table.num_rows) - answer).mean()


def test_figures_come_in_the_order_of_the_blocks():
    rounds = Rounds(LocalCluster(3, 2), Toy(num_blocks=10))
    done = list(rounds.epoch(0))
    assert [one.index for one in done] == [0, 1, 2]
    assert [figures["block"] for one in done for figures in one.figures] == list(range(10))
    assert all(0 < one.lengths[name] < 100 for one in done for name in ("inputs", "outputs"))
    traffic = rounds.traffic
    assert (traffic.rounds, traffic.blocks) == (3, 10)
    assert traffic.rows == 10 * 120 + 8 * 120  # two blocks do without the second table
    assert traffic.bytes_pushed == 10 * 120 * (4 * 7 + 8) + 8 * 120 * (4 * 9 + 8)
    assert traffic.bytes_pulled < traffic.bytes_pushed
    assert traffic.seconds > 0


def test_between_rounds_the_shards_are_where_the_caller_is():
    toy, rounds = Toy(), Rounds(LocalCluster(2, 3), Toy())
    first = rounds.epoch(0)
    next(first)
    one = Toy(num_blocks=4)
    assert same(result(rounds), plain(one, 1))
    ids = np.array([5, 0, 399, 7])
    np.testing.assert_array_equal(rounds.look_up("inputs", ids), result(rounds)["inputs"][ids])
    np.testing.assert_array_equal(rounds.rows("inputs", 13, 17), result(rounds)["inputs"][13:17])
    first.close()
    assert same(train(rounds), plain(toy))


@pytest.mark.parametrize("num_shards", [1, 3])
def test_a_run_goes_on_from_its_files(tmp_path, num_shards):
    rounds = Rounds(LocalCluster(2, 2), Toy())
    for epoch in range(EPOCHS):
        for done in rounds.epoch(epoch):
            if (epoch, done.index) == (1, 0):
                rounds.save(RoundFolder(tmp_path), {"words": 7})
    found = RoundFolder(tmp_path).load()
    assert found.state == {"words": 7}
    resumed = Rounds(LocalCluster(3, num_shards), Toy(), found.saved)
    assert (resumed.place.epoch, resumed.place.index, resumed.place.rounds) == (1, 1, 4)
    assert same(train(resumed), plain(Toy()))
    resumed.restore(found.saved)
    assert [done.index for done in resumed.epoch(1)] == [1, 2]
    assert same(result(resumed), plain(Toy()))


class Fragile(LocalCluster):
    """Loses its shards at some of the calls of `wait`."""

    max_losses = 3

    def __init__(self, *arguments, fails):
        super().__init__(*arguments)
        self.fails, self.calls, self.starts = set(fails), 0, 0

    def start_shards(self, work, saved):
        self.starts += 1
        return super().start_shards(work, saved)

    def wait(self, references):
        self.calls += 1
        if self.calls in self.fails:
            self.shards = []
            raise Lost("shard 0 is gone")
        return super().wait(references)


@pytest.mark.parametrize("is_saving", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_lost_shards_change_no_bit(tmp_path, seed, is_saving):
    fails = np.random.default_rng(seed).choice(np.arange(1, 14), 5, replace=False)
    cluster, folder = Fragile(2, 3, fails=fails.tolist()), RoundFolder(tmp_path)
    cluster.max_losses = 5
    rounds = Rounds(cluster, Toy())
    seen = []
    for epoch in range(EPOCHS):
        for done in rounds.epoch(epoch):
            seen.append((epoch, done.index))
            if is_saving and done.index != 1:
                rounds.save(folder, {"seen": len(seen)})
                assert (rounds.place.epoch, rounds.place.index) == (epoch, done.index + 1)
    assert seen == [(epoch, index) for epoch in range(EPOCHS) for index in range(3)]
    assert same(result(rounds), plain(Toy()))
    assert cluster.starts > 1


def test_shards_that_are_lost_again_and_again_end_the_run():
    cluster = Fragile(1, 1, fails=[])
    rounds = Rounds(cluster, Toy())
    steps = rounds.epoch(0)
    next(steps)
    cluster.fails = set(range(cluster.calls + 1, cluster.calls + 100))
    with pytest.raises(ClusterError, match="round 1 of epoch 1: lost 4 times in a row: shard 0 is gone"):
        next(steps)
    assert cluster.starts == 4


def test_an_error_of_the_work_is_the_caller_s(tmp_path):
    class Wrong(Toy):
        def train(self, prepared, rows, num_blocks):
            raise FileNotFoundError("text.txt")

    with pytest.raises(FileNotFoundError, match=r"text\.txt"):
        next(Rounds(LocalCluster(), Wrong()).epoch(0))
