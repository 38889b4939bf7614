"""Waiting for the next frame without burning a core and without being late."""

from __future__ import annotations

import ctypes
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_LONGEST_SLEEP_S = 0.005
_LATE_SLEEP_S = 0.0001
_NAP_S = 0.00004
_SMOOTHING = 0.1
_PR_SET_TIMERSLACK = 29


class Arrivals:
    """Predicts the next frame from those before: sleeps, then looks all the time.

    MMCore has no "a frame has come" callback, so somebody has to look. Looking all the
    time takes a whole core; sleeping in steps makes every frame late by half a step.

    Parameters
    ----------
    spin_s : float
        How long to look before and after the predicted moment; 0 never does.

    Attributes
    ----------
    empty_s : float
        Latest moment (`time.perf_counter`) at which no frame was known to wait.
    """

    def __init__(self, spin_s: float) -> None:
        self._spin_s = spin_s
        self._last_s: float | None = None
        self.period_s = 0.0
        self.empty_s = 0.0

    def begin(self) -> None:
        """Let this thread nap for microseconds; call it once, on the waiting thread.

        Linux stretches every sleep by 50 us unless a thread asks it not to. Others
        take what time.sleep gives.
        """
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)

    def expect(self, period_s: float) -> None:
        """Forget what was learnt; frames are now that far apart."""
        self._last_s = None
        self.period_s = period_s
        self.empty_s = time.perf_counter()

    def shift(self, by_s: float) -> None:
        """Frames are that much further apart from now on, below 0 for closer."""
        self._last_s = None
        self.period_s = max(0.0, self.period_s + by_s)

    def came(self, t_s: float, *, on_time: bool) -> None:
        """Learn from a frame that came at `t_s` (`time.perf_counter`).

        Only frames that were waited for (`on_time`) tell when they came; one that lay
        in the buffer came at a time nobody saw.
        """
        if on_time and self._last_s is not None:
            found = t_s - self._last_s
            if found < 2 * self.period_s or self.period_s == 0:
                self.period_s += _SMOOTHING * (found - self.period_s)
        self._last_s = t_s if on_time else None
        if on_time:
            self.empty_s = t_s

    def wait(self, there: Callable[[], int], checked: Callable[[], bool]) -> bool:
        """Wait until `there()` is not 0.

        Parameters
        ----------
        there : function
            How many frames can be taken.
        checked : function
            Called between sleeps: False ends the waiting; it may raise.

        Returns
        -------
        bool
            False if `checked` ended it.
        """
        now = time.perf_counter()
        due = now if self._last_s is None else self._last_s + self.period_s
        last_look = due + self._spin_s
        while not there():
            now = self.empty_s = time.perf_counter()
            if now < due - self._spin_s:
                if not checked():
                    return False
                time.sleep(min(due - self._spin_s - now, _LONGEST_SLEEP_S))
            elif now < last_look:
                # A nap and not a bare spin: who spins in Python takes the interpreter
                # back before the thread that has the last frame has woken up for it.
                time.sleep(_NAP_S)
            else:
                if not checked():
                    return False
                time.sleep(max(_LATE_SLEEP_S, min(self.period_s / 8, 0.001)))
        return True
