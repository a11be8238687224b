"""_guards.py: one thread changes an object, several read it, and a fork forgets both."""

import copy
import gc
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from numba_ss import _guards
from numba_ss._guards import alone, guard_of, of_a_moment, reading

SECONDS = 60  # after which something hangs


class Item:
    """Notes how many threads are inside."""

    def __init__(self):
        self.inside = self.most = self.number = 0

    @alone
    def change(self):
        self.inside += 1
        self.most = max(self.most, self.inside)
        number = self.number
        threading.Event().wait(0.001)
        self.number = number + 1
        self.inside -= 1

    @alone
    def hold(self, call=lambda: None):
        """Call a function while no other thread comes in."""
        return call()

    @alone
    def change_again(self):
        self.change()
        return self.read()

    @reading
    def read(self, meet=None):
        """Return the number, after meeting others inside."""
        if meet is not None:
            meet.wait(SECONDS)
        return self.number

    @of_a_moment
    def ask(self, between):
        before = self.number
        between()
        return before, self.number


def test_changes_come_one_after_the_other():
    item = Item()
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(item.change) for _ in range(80)]:
            done.result(SECONDS)
    assert item.number == 80
    assert item.most == 1


def test_readers_run_side_by_side_and_not_beside_a_change():
    item, meet = Item(), threading.Barrier(4)
    with ThreadPoolExecutor(5) as pool:
        # Three wait for each other and for this thread inside: none keeps the others out.
        readers = [pool.submit(item.read, meet) for _ in range(3)]
        while guard_of(item).readers < 3:
            pass
        change = pool.submit(item.change)
        with pytest.raises(TimeoutError):
            change.result(0.1)
        meet.wait(SECONDS)
        assert [reader.result(SECONDS) for reader in readers] == [0, 0, 0]
        change.result(SECONDS)
    assert item.number == 1


def test_who_changes_may_enter_again():
    assert Item().change_again() == 1


def test_an_error_opens_the_door():
    item, none = Item(), {}
    with pytest.raises(KeyError):
        item.hold(lambda: none[0])
    with pytest.raises(KeyError), guard_of(item).reading():
        raise KeyError
    with ThreadPoolExecutor(1) as pool:
        pool.submit(item.change).result(SECONDS)


def test_a_question_is_answered_by_what_was_there_when_it_was_asked():
    item = Item()
    assert item.ask(item.change) == (0, 0)
    assert item.number == 1


def test_a_guard_lives_as_long_as_its_object():
    gc.collect()
    before = len(_guards._guards)
    item = Item()
    guard = guard_of(item)
    assert guard_of(item) is guard
    assert guard_of(Item()) is not guard
    del item
    gc.collect()
    assert len(_guards._guards) == before


def test_objects_may_share_a_guard():
    class Part:
        def __init__(self, whole):
            self._guarded_as = whole

    item = Item()
    assert guard_of(Part(item)) is guard_of(Part(item)) is guard_of(item)
    assert guard_of(Part(Part(item))) is guard_of(item)


def test_copies_have_guards_of_their_own():
    item = Item()
    with guard_of(item).door:
        for other in (copy.copy(item), copy.deepcopy(item), pickle.loads(pickle.dumps(item))):
            assert guard_of(other) is not guard_of(item)
            with ThreadPoolExecutor(1) as pool:
                pool.submit(other.change).result(SECONDS)


def test_the_name_and_the_signature_stay():
    assert Item.change.__name__ == "change"
    assert Item.read.__doc__.startswith("Return the number")


FORK = """
import os, sys, threading
import numba_ss
from numba_ss._guards import alone, guard_of
class Item:
    @alone
    def hold(self, call=lambda: None):
        return call()
free, mine, torn, read = Item(), Item(), Item(), Item()
inside, leave = threading.Barrier(2), threading.Event()
def wait():
    with guard_of(read).reading():
        inside.wait()
        leave.wait()
threading.Thread(target=torn.hold, args=(wait,), daemon=True).start()
inside.wait()
guard_of(free)
def fork():
    pid = os.fork()
    if pid == 0:
        try:
            for item in (free, mine, read):
                item.hold()
            try:
                torn.hold()
            except numba_ss.ArgumentError as error:
                assert "when this process was forked" in str(error), error
                os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
code = mine.hold(fork)
leave.set()
torn.hold()
sys.exit(code)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_does_not_wait_for_threads_of_its_parent():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK], timeout=SECONDS, capture_output=True,
        text=True, check=False,
    )
    assert done.returncode == 0, done.stderr
