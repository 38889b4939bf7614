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
_ALIKE = 1.3
_ODD_IN_A_ROW = 3
_GAP = 1.6
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
    period_s : float
        Usual time between two frames; 0 until one has been seen.
    empty_s : float
        Latest moment (`time.perf_counter`) at which no frame was known to wait.
    waited : bool
        Whether the last `wait` looked in vain at least once, so that its frame was
        seen to come; False from `came` until the next one.
    """

    def __init__(self, spin_s: float) -> None:
        self._spin_s = spin_s
        self._last_s: float | None = None
        self._guess_s = 0.0
        self._settled = False
        self._odd: list[float] = []
        self.period_s = 0.0
        self.empty_s = 0.0
        self.waited = False

    def begin(self) -> None:
        """Let this thread nap for microseconds; call it once, on the waiting thread.

        Linux stretches every sleep by 50 us unless a thread asks it not to. Others
        take what time.sleep gives.
        """
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)

    def expect(self, period_s: float) -> None:
        """Forget what was learnt; frames are hardly closer than `period_s` now.

        How far apart they are is told by the frames alone: readout or a trigger may
        make the period many times the exposure.
        """
        self._last_s = None
        self._guess_s = period_s
        self._settled, self.waited = False, False
        self._odd.clear()
        self.period_s = 0.0
        self.empty_s = time.perf_counter()

    def shift(self, by_s: float) -> None:
        """Frames are that much further apart from now on, below 0 for closer."""
        self._last_s = None
        self._settled = False
        self._odd.clear()
        if self.period_s > 0:
            self.period_s = max(0.0, self.period_s + by_s)

    def came(self, t_s: float, *, on_time: bool) -> None:
        """Learn from a frame that came at `t_s` (`time.perf_counter`).

        Only frames that were waited for (`on_time`) tell when they came; one that lay
        in the buffer came at a time nobody saw.
        """
        self.waited = False
        if on_time:
            if self._last_s is not None:
                self._learn(t_s - self._last_s)
            self._last_s = self.empty_s = t_s
        else:
            self._last_s = None

    def _learn(self, found_s: float) -> None:
        period_s = self.period_s
        alike = found_s <= _ALIKE * period_s and period_s <= _ALIKE * found_s
        if not self._settled:
            # The first frames are irregular; until two intervals agree, the latest
            # one is the best guess.
            self.period_s, self._settled = found_s, alike
        elif alike:
            self._odd.clear()
            self.period_s += _SMOOTHING * (found_s - period_s)
        else:
            self._doubt(found_s)

    def _doubt(self, found_s: float) -> None:
        """One odd interval is a gap or a late look, several alike are a new period."""
        odd = self._odd
        odd.append(found_s)
        del odd[:-_ODD_IN_A_ROW]
        if len(odd) == _ODD_IN_A_ROW and max(odd) <= _ALIKE * min(odd):
            self.period_s = sum(odd) / len(odd)
            odd.clear()
        elif found_s < _GAP * self.period_s:
            self.period_s += _SMOOTHING * (found_s - self.period_s)

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
        self.waited = False
        while not there():
            self.waited = True
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
                apart_s = self.period_s or self._guess_s
                time.sleep(max(_LATE_SLEEP_S, min(apart_s / 8, 0.001)))
        return True
