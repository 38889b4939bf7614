"""How often hardware may be asked to do something."""

from __future__ import annotations

from collections import deque

from smartscope.core import NS_PER_S


class RateLimit:
    """At most `per_s` admissions in any second of the run's clock.

    Below one per second the window is longer, so that one admission fits.

    Parameters
    ----------
    per_s : float
        Above 0.
    """

    def __init__(self, per_s: float) -> None:
        window_s = max(1.0, 1.0 / per_s)
        self._window_ns = int(window_s * NS_PER_S)
        self._most = max(1, int(per_s * window_s + 1e-9))
        self._admitted: deque[int] = deque()

    def admit(self, t_ns: int) -> bool:
        """Count one at `t_ns`, or return False if that would be too many."""
        while self._admitted and t_ns - self._admitted[0] >= self._window_ns:
            self._admitted.popleft()
        if len(self._admitted) >= self._most:
            return False
        self._admitted.append(t_ns)
        return True
