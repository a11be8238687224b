"""Ways to stop a run at a chosen point, for the tests of both trainers."""

import os
import signal


def at_event(kind, number, action):
    """Return a callback that does something at the first, second ... event of a kind."""
    seen = []

    def callback(event):
        seen.append(event.kind)
        if event.kind == kind and seen.count(kind) == number:
            action()

    return callback


def in_epoch(kind, epoch, error):
    """Return a callback that raises at the first event of a kind after so many epochs."""

    def callback(event):
        if event.kind == kind and event.epoch == epoch:
            raise error

    return callback


def interrupt():
    raise KeyboardInterrupt


def send_interrupt():
    os.kill(os.getpid(), signal.SIGINT)
