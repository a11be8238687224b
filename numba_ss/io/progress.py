"""The progress of long work: a bar on a terminal, otherwise lines in the log.

Compiling kernels is not progress: the bar says when that happens, and the time it takes counts
neither for the speed nor for the time left.
"""

from __future__ import annotations

import logging
import sys
from datetime import timedelta
from importlib.util import find_spec
from math import inf
from time import monotonic
from types import TracebackType
from typing import Any

from numba_ss import _checks
from numba_ss._types import Show
from numba_ss.kernels._compiling import Compilations

log = logging.getLogger("numba_ss")

# Seconds between two lines in the log, on a terminal and elsewhere.
ON_TERMINAL, ELSEWHERE = 5.0, 30.0


def check_show(name: str, show: Any) -> None:
    """Require a valid value for whether progress is shown."""
    if not isinstance(show, bool) and show != "auto":
        _checks.fail(name, 'True, False or "auto"', repr(show))


class Progress:
    """Show how far a task is, how fast it runs, and how long it will still take.

    On a terminal and in a notebook, with tqdm installed, this is the bar of ``tqdm.auto``.
    Otherwise it is a line, at level INFO of the logger ``"numba_ss"``, every 5 seconds on a
    terminal, every 30 seconds elsewhere, and at the end.

    Parameters
    ----------
    total : int or None
        Units of work in total; None if that is not known.
    unit : str, default="words"
        The name of a unit.
    desc : str, default=""
        The name of the task, such as "epoch 1/5".
    show : {"auto", True, False}, default="auto"
        True shows the bar even if standard error is not a terminal; False shows and logs nothing.
    initial : int, default=0
        Units that were done before the task was resumed; they do not count for the speed.

    Examples
    --------
    >>> with Progress(1000, unit="words", desc="epoch 1/5", show=False) as bar:
    ...     for _ in range(10):
    ...         bar.update(100, loss=2.5, learning_rate=0.025)
    >>> bar.done
    1000
    """

    def __init__(
        self, total: int | None, unit: str = "words", desc: str = "",
        show: Show = "auto", *, initial: int = 0,
    ) -> None:
        self.total = None if total is None else _checks.integer("total", total, 0)
        self.done = self.initial = _checks.integer("initial", initial, 0)
        self.unit = unit
        self.desc = desc
        check_show("show", show)
        if show is True and find_spec("tqdm") is None:
            raise ImportError(
                'show=True needs tqdm for its bar: pip install "numba-ss[all]", or show="auto"'
            )
        self._show = show
        self._is_told = False  # whether the log has a line of the latest numbers
        self._figures: dict[str, float] = {}
        self._bar: Any = None
        self._compilations = Compilations(self._say_compiling)
        self._left_out = 0.0  # seconds of compilations that the bar's clock has left out

    def __enter__(self) -> Progress:
        terminal = sys.stderr is not None and sys.stderr.isatty()
        watched = terminal or _in_notebook()
        if self._show is True or (self._show and watched and find_spec("tqdm") is not None):
            self._bar = self._open_bar()
        every = ON_TERMINAL if terminal else ELSEWHERE
        self._every = every if self._show and self._bar is None else inf
        self._start = monotonic()
        self._due = self._start + self._every
        self._compilations.start()
        return self

    def update(self, n: int, **figures: float) -> None:
        """Count `n` more units, and show the latest figures.

        Parameters
        ----------
        n : int
            Units done since the last call.
        figures : float
            Figures such as ``loss`` and ``learning_rate``; each is shown until it is replaced.

        Examples
        --------
        >>> with Progress(10, show=False) as bar:
        ...     bar.update(4, loss=2.5)
        >>> bar.done
        4
        """
        if n or not figures.items() <= self._figures.items():
            self._is_told = False
        self.done += n
        self._figures.update(figures)
        if self._bar is not None:
            self._leave_out_compilations()
            self._bar.set_postfix_str(_listed(self._figures), refresh=False)
            self._bar.update(n)
        elif monotonic() >= self._due:
            self._log()

    def describe(self, desc: str) -> None:
        """Change the name of the task. Without a bar, a last line of the old task is logged first.

        Parameters
        ----------
        desc : str
            Such as "epoch 2/5".
        """
        if desc == self.desc:
            return
        if self._bar is not None:
            self._bar.set_description(desc, refresh=False)
        elif self._every < inf and not self._is_told:
            self._log()
        self.desc = desc

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._compilations.stop()
        if self._bar is not None:
            self._leave_out_compilations()
            self._bar.close()
        elif self._every < inf and kind is None and not self._is_told:
            self._log()

    def _log(self) -> None:
        log.info("%s", self._line())
        self._is_told = True
        self._due = monotonic() + self._every

    def _open_bar(self) -> Any:
        from tqdm.auto import tqdm  # type: ignore[import-untyped, import-not-found]

        return tqdm(
            total=self.total, desc=self.desc, unit=f" {self.unit}", unit_scale=True,
            initial=self.initial, dynamic_ncols=True, file=sys.stderr,
        )

    def _say_compiling(self) -> None:
        """Show it until the next update; the log has a line of its own."""
        if self._bar is not None:
            self._bar.set_postfix_str("compiling")

    def _leave_out_compilations(self) -> None:
        more = self._compilations.seconds - self._left_out
        self._left_out += more
        if more and not self._bar.disable:  # by an environment variable of tqdm
            self._bar.start_t += more
            self._bar.last_print_t += more

    def _line(self) -> str:
        seconds = monotonic() - self._start - self._compilations.seconds
        speed = (self.done - self.initial) / seconds if seconds > 0 else 0.0
        parts = [f"{_short(self.done)} {self.unit} in {_clock(seconds)}"]
        if self.total:
            share = self.done / self.total
            parts[0] = f"{share:.0%} of {_short(self.total)} {self.unit} in {_clock(seconds)}"
        parts.append(f"{_short(speed)} {self.unit}/s")
        if self._figures:
            parts.append(_listed(self._figures))
        if self.total and speed > 0 and self.done < self.total:
            parts.append(f"{_clock((self.total - self.done) / speed)} left")
        return (f"{self.desc}: " if self.desc else "") + ", ".join(parts)


def _in_notebook() -> bool:
    """Return whether the output goes to a notebook."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return "IPKernelApp" in getattr(shell, "config", ())


def _listed(figures: dict[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in figures.items())


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def _short(number: float) -> str:
    """Return a number with three digits and a unit, such as 1.23k or 45.6M."""
    for unit in ("", "k", "M"):
        if number < 999.5:
            return f"{number:.3g}{unit}"
        number /= 1000
    return f"{number:.3g}G"
