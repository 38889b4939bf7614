"""When something may happen: thresholds, rests, counts. Time is `seen.t_s`, seconds."""

from __future__ import annotations

import math
from collections import deque


class Hysteresis:
    """On at a high score, off at a lower one, and never for a moment only.

    Parameters
    ----------
    on, off : float
        Switches on at `on` or above, off below `off`; `off` <= `on`.
    min_on_s, min_off_s : float
        Stays at least so long, whatever the score does.

    Examples
    --------
    >>> busy = Hysteresis(on=0.8, off=0.4, min_on_s=10)
    >>> [busy.update(score, t_s) for t_s, score in enumerate([0.5, 0.9, 0.5, 0.1])]
    [False, True, True, True]
    """

    def __init__(
        self, on: float, off: float, min_on_s: float = 0.0, min_off_s: float = 0.0
    ) -> None:
        if not off <= on:
            raise ValueError(f"off ({off:g}) must not be above on ({on:g})")
        self.on = on
        self.off = off
        self.min_on_s = min_on_s
        self.min_off_s = min_off_s
        self.is_on = False
        self.since_s = -math.inf
        """When it last switched; minus infinity before the first time."""
        self._spent = False

    def update(self, score: float, t_s: float) -> bool:
        """Take the score at `t_s`; return whether it is on now. NaN counts as low."""
        low = not score >= self.off
        if low:
            self._spent = False
        if self.is_on:
            if low and t_s - self.since_s >= self.min_on_s:
                self._switch(False, t_s)
        elif score >= self.on and not self._spent and self.left_s(t_s) <= 0:
            self._switch(True, t_s)
        return self.is_on

    def release(self, t_s: float) -> None:
        """Switch off now, and stay off until the score has once been below `off`."""
        self._spent = True
        if self.is_on:
            self._switch(False, t_s)

    def left_s(self, t_s: float) -> float:
        """Seconds it must still stay as it is, 0 if it may switch."""
        least = self.min_on_s if self.is_on else self.min_off_s
        return max(0.0, self.since_s + least - t_s)

    def _switch(self, is_on: bool, t_s: float) -> None:
        self.is_on = is_on
        self.since_s = t_s


class Cooldown:
    """Not again before `seconds` have passed.

    Examples
    --------
    >>> rest = Cooldown(5)
    >>> [rest.take(t_s) for t_s in (0, 2, 5)]
    [True, False, True]
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._until_s = -math.inf

    def ready(self, t_s: float) -> bool:
        """Whether it may happen at `t_s`."""
        return t_s >= self._until_s

    def take(self, t_s: float) -> bool:
        """If it may happen at `t_s`, start the cool-down and return True."""
        if not self.ready(t_s):
            return False
        self._until_s = t_s + self.seconds
        return True

    def left_s(self, t_s: float) -> float:
        """Seconds until it may happen again, 0 if it may."""
        return max(0.0, self._until_s - t_s)


class Debounce:
    """True only after `times` observations in a row said so.

    Examples
    --------
    >>> sure = Debounce(2)
    >>> [sure.update(said) for said in (True, False, True, True, True)]
    [False, False, False, True, True]
    """

    def __init__(self, times: int) -> None:
        if times < 1:
            raise ValueError(f"times must be 1 or more, got {times}")
        self.times = times
        self.count = 0

    def update(self, said: bool) -> bool:
        """Take what this observation says; return whether it is sure now."""
        self.count = self.count + 1 if said else 0
        return self.count >= self.times


class RateLimiter:
    """At most `most` times in any `per_s` seconds.

    Examples
    --------
    >>> few = RateLimiter(2, per_s=10)
    >>> [few.take(t_s) for t_s in (0, 1, 2, 10)]
    [True, True, False, True]
    """

    def __init__(self, most: int, per_s: float) -> None:
        if most < 1 or not per_s > 0:
            raise ValueError("most must be 1 or more, and per_s above 0")
        self.most = most
        self.per_s = per_s
        self._taken_s: deque[float] = deque()

    def take(self, t_s: float) -> bool:
        """Count one at `t_s` and return True, or False if that would be too many."""
        while self._taken_s and t_s - self._taken_s[0] >= self.per_s:
            self._taken_s.popleft()
        if len(self._taken_s) >= self.most:
            return False
        self._taken_s.append(t_s)
        return True
