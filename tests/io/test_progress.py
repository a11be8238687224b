"""progress.py: bar, lines or silence, on a clock and a terminal that are made up."""

import io
import logging
import sys
from types import SimpleNamespace

import pytest

from numba_ss import ArgumentError
from numba_ss.io import progress
from numba_ss.io.progress import Progress


class Screen(io.StringIO):
    """What is written to standard error, on a terminal or elsewhere."""

    def __init__(self, terminal):
        super().__init__()
        self.terminal = terminal

    def isatty(self):
        return self.terminal


@pytest.fixture
def clock(monkeypatch):
    """A list with the time of day in it."""
    now = [1000.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def screen(monkeypatch, caplog):
    """Make standard error a terminal or not; with tqdm or without."""
    caplog.set_level(logging.INFO, "numba_ss")

    def set_up(terminal, tqdm=False):
        stream = Screen(terminal)
        monkeypatch.setattr("sys.stderr", stream)
        if tqdm:
            pytest.importorskip("tqdm")
        else:
            monkeypatch.setattr(progress, "find_spec", lambda _: None)
        return stream

    return set_up


def lines(caplog):
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(("terminal", "every"), [(True, 5), (False, 30)])
def test_a_line_now_and_then(screen, clock, caplog, terminal, every):
    stream = screen(terminal)
    with Progress(8_000_000, desc="epoch 1/5") as bar:
        for second in range(1, 3 * every):
            clock[0] += 1
            bar.update(20_000, loss=2.34567, learning_rate=0.025)
            assert len(caplog.records) == second // every
    assert len(caplog.records) == 3
    left = {5: "0:06:35", 30: "0:06:10"}[every]
    share = {5: "1%", 30: "8%"}[every]
    assert lines(caplog)[0] == (
        f"epoch 1/5: {share} of 8M words in 0:00:{every:02}, 20k words/s, "
        f"loss 2.346, learning rate 0.025, {left} left"
    )
    assert {record.levelno for record in caplog.records} == {logging.INFO}
    assert stream.getvalue() == ""


def test_last_line(screen, clock, caplog):
    screen(False)
    with Progress(3000, unit="pairs") as bar:
        clock[0] += 2
        bar.update(3000, loss=0.5)
    assert lines(caplog) == ["100% of 3k pairs in 0:00:02, 1.5k pairs/s, loss 0.5"]


def test_a_line_that_was_logged_is_not_repeated(screen, clock, caplog):
    screen(True)
    with Progress(20, desc="epoch 1/2") as bar:
        clock[0] += 5
        bar.update(10)
        bar.describe("epoch 2/2")
        clock[0] += 5
        bar.update(10)
    assert [line.partition(":")[0] for line in lines(caplog)] == ["epoch 1/2", "epoch 2/2"]


@pytest.mark.parametrize(("n", "loss", "told"), [(0, 0.5, 1), (1, 0.5, 2), (0, 0.4, 2)])
def test_a_line_is_repeated_only_with_news(screen, clock, caplog, n, loss, told):
    screen(True)
    with Progress(20) as bar:
        clock[0] += 5
        bar.update(10, loss=0.5)
        bar.update(n, loss=loss)
    assert len(lines(caplog)) == told


def test_each_stage_leaves_a_line(screen, clock, caplog):
    """A line is logged for each stage, but not if the same stage begins twice."""
    screen(False)
    with Progress(20, desc="epoch 1/2") as bar:
        for stage in ("epoch 1/2", "epoch 2/2"):
            bar.describe(stage)
            clock[0] += 5
            bar.update(10)
    first, last = lines(caplog)
    assert first.startswith("epoch 1/2: 50% of 20 words in 0:00:05")
    assert last.startswith("epoch 2/2: 100% of 20 words in 0:00:10")


def test_the_bar_says_the_stage(screen):
    pytest.importorskip("tqdm")
    stream = screen(True, tqdm=True)
    with Progress(20, desc="epoch 1/2", show=True) as bar:
        bar.describe("epoch 2/2")
        bar.update(20)
    assert "epoch 2/2" in stream.getvalue()


def test_total_unknown(screen, clock, caplog):
    screen(False)
    with Progress(None, desc="counting") as bar:
        clock[0] += 10
        bar.update(25_000_000)
    assert lines(caplog) == ["counting: 25M words in 0:00:10, 2.5M words/s"]


def test_nothing_to_do(screen, clock, caplog):
    screen(False)
    with Progress(0) as bar:
        bar.update(0)
    assert lines(caplog) == ["0 words in 0:00:00, 0 words/s"]


def test_resumed_work_does_not_count_for_the_speed(screen, clock, caplog):
    screen(False)
    with Progress(1000, initial=500) as bar:
        clock[0] += 100
        bar.update(100)
    assert lines(caplog)[-1] == "60% of 1k words in 0:01:40, 1 words/s, 0:06:40 left"


class Kernels:
    """Compilations that are made up, in the place of those of Numba."""

    def __init__(self, begins):
        self.seconds, self.begin, self.heard = 0.0, begins, False
        self.made.append(self)

    def start(self):
        self.heard = True

    def stop(self):
        self.heard = False


@pytest.fixture
def compiles(monkeypatch, clock):
    """A function that spends some seconds compiling, while a bar is open."""
    made = Kernels.made = []
    monkeypatch.setattr(progress, "Compilations", Kernels)

    def compiles(seconds):
        assert made[-1].heard
        made[-1].begin()
        clock[0] += seconds
        made[-1].seconds += seconds

    yield compiles
    assert not any(kernels.heard for kernels in made)


def test_compiling_counts_neither_for_the_speed_nor_for_the_time_left(screen, clock, caplog, compiles):
    screen(True)
    with Progress(1000) as bar:
        compiles(60)
        clock[0] += 1
        bar.update(100)
        compiles(40)
        clock[0] += 9
        bar.update(900)
    first, last = lines(caplog)
    assert first == "10% of 1k words in 0:00:01, 100 words/s, 0:00:09 left"
    assert last == "100% of 1k words in 0:00:10, 100 words/s"


def test_the_bar_says_each_time_that_it_compiles(screen, clock, compiles, monkeypatch):
    monkeypatch.setattr("tqdm.std.time", lambda: clock[0])
    stream = screen(True, tqdm=True)

    def shown():
        return stream.getvalue().rstrip().split("\r")[-1]

    with Progress(1000, show=True) as bar:
        for seconds in (60, 40):
            compiles(seconds)
            assert ", compiling]" in shown()
            clock[0] += 1
            bar.update(100, loss=2.5)
            assert "100 words/s, loss 2.5]" in shown()
        clock[0] += 8
        bar.update(800)
    assert "[00:10<00:00, 100 words/s, loss 2.5]" in shown()


def test_a_bar_that_is_switched_off_compiles_on(screen, clock, compiles, monkeypatch):
    tqdm = pytest.importorskip("tqdm")
    off = tqdm.std.tqdm
    monkeypatch.setattr("tqdm.auto.tqdm", lambda **given: off(**given, disable=True))
    stream = screen(True, tqdm=True)
    with Progress(10) as bar:
        compiles(5)
        bar.update(10)
    assert stream.getvalue() == ""


def test_figures_stay_until_given_anew(screen, clock, caplog):
    screen(False)
    with Progress(10) as bar:
        bar.update(1, loss=3.0, learning_rate=0.1)
        clock[0] += 60
        bar.update(1, loss=2.0)
        bar.update(1, loss=1.0)
    assert ["loss 2, learning rate 0.1" in line for line in lines(caplog)] == [True, False]
    assert "loss 1, learning rate 0.1" in lines(caplog)[1]


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("tqdm", [True, False])
def test_not_shown(screen, clock, caplog, terminal, tqdm):
    stream = screen(terminal, tqdm)
    with Progress(10, show=False) as bar:
        clock[0] += 1e6
        bar.update(10, loss=1.0)
    assert bar.done == 10
    assert stream.getvalue() == ""
    assert lines(caplog) == []


@pytest.mark.parametrize(("terminal", "show"), [(True, "auto"), (True, True), (False, True)])
def test_bar(screen, caplog, terminal, show):
    stream = screen(terminal, tqdm=True)
    with Progress(4_000_000, desc="epoch 2/5", show=show, initial=1_000_000) as bar:
        bar.update(2_000_000, loss=2.34567, learning_rate=0.025)
    last = stream.getvalue().rstrip().split("\r")[-1]
    assert last.startswith("epoch 2/5:  75%|")
    assert "3.00M/4.00M" in last
    assert "words/s, loss 2.346, learning rate 0.025]" in last
    assert stream.getvalue().endswith("\n")
    assert lines(caplog) == []


def test_no_bar_elsewhere(screen, clock, caplog):
    stream = screen(False, tqdm=True)
    with Progress(10) as bar:
        bar.update(10)
    assert stream.getvalue() == ""
    assert len(lines(caplog)) == 1


@pytest.mark.parametrize(("config", "shown"), [({"IPKernelApp": {}}, True), ({}, False)])
def test_a_notebook_shows_a_bar_by_default(screen, monkeypatch, caplog, config, shown):
    shell = SimpleNamespace(config=config)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    stream = screen(False, tqdm=True)
    with Progress(10) as bar:
        bar.update(10)
    assert ("10.0/10.0" in stream.getvalue()) == shown
    assert len(lines(caplog)) == (not shown)


@pytest.mark.parametrize("tqdm", [True, False])
def test_an_error_inside_leaves_the_terminal_clean(screen, caplog, tqdm):
    stream = screen(True, tqdm)

    def work(bar):
        bar.update(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Progress(10) as bar:
        work(bar)
    assert bar.done == 3
    assert stream.getvalue().endswith("\n") == tqdm
    assert lines(caplog) == []


def test_without_standard_error(monkeypatch, clock, caplog):
    caplog.set_level(logging.INFO, "numba_ss")
    monkeypatch.setattr("sys.stderr", None)
    with Progress(10) as bar:
        bar.update(10)
    assert len(lines(caplog)) == 1


def test_a_bar_without_tqdm(screen):
    screen(True)
    with pytest.raises(ImportError, match=r'pip install "numba-ss\[all\]"'):
        Progress(10, show=True)


@pytest.mark.parametrize(
    "bad", [{"total": -1}, {"total": 1.5}, {"initial": -1}, {"show": "yes"}, {"show": 1}]
)
def test_bad_arguments(bad):
    with pytest.raises(ArgumentError, match=next(iter(bad))):
        Progress(**{"total": 1, **bad})


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (7.5, "7.5"), (999, "999"), (999.6, "1k"), (1234, "1.23k"), (999_700, "1M"),
     (16_937_783, "16.9M"), (2.5e9, "2.5G")],
)
def test_readable_numbers(number, text):
    assert progress._short(number) == text
