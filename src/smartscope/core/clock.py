"""One clock for schedule, specimen, vision and policies, in three kinds.

All times are integer nanoseconds on a monotonic scale that starts anywhere;
only differences mean something. Wall-clock time appears in the journal header only.
"""

from __future__ import annotations

import threading
import time
from typing import Protocol

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000


class Clock(Protocol):
    """What the loop knows about time. Thread-safe."""

    kind: str

    def now_ns(self) -> int:
        """Present time in nanoseconds of this clock."""
        ...

    def sleep_ns(self, duration_ns: int) -> None:
        """Let `duration_ns` of this clock pass (a simulated exposure, a settling)."""
        ...

    def account_ns(self, duration_ns: int) -> None:
        """Account for work that hardware has just done and that took `duration_ns`.

        Real and scaled clocks saw it pass already; the virtual clock advances.
        """
        ...

    def wait_until(self, t_ns: int, wake: threading.Event) -> bool:
        """Wait until `t_ns` or until `wake` is set; True if the time was reached."""
        ...


def _sleep_wall(duration_s: float) -> None:
    # Sleeping whole milliseconds and spinning the rest keeps short waits honest on
    # Windows, where a timed lock has the granularity of the system timer.
    end = time.perf_counter() + duration_s
    while (left := end - time.perf_counter()) > 0:
        if left > 0.002:
            time.sleep(left - 0.0015)
        else:
            time.sleep(0)


class RealClock:
    """Wall time: one second is one second."""

    kind = "real"

    def now_ns(self) -> int:
        """Present time in nanoseconds."""
        return time.perf_counter_ns()

    def sleep_ns(self, duration_ns: int) -> None:
        """Sleep for `duration_ns`."""
        _sleep_wall(duration_ns / NS_PER_S)

    def account_ns(self, duration_ns: int) -> None:
        """Do nothing: the time has passed."""

    def wait_until(self, t_ns: int, wake: threading.Event) -> bool:
        """Wait until `t_ns` or `wake`; True if the time was reached."""
        return _wait(self, t_ns, wake, 1.0)


class ScaledClock:
    """`speed` seconds of this clock pass in each wall second.

    Parameters
    ----------
    speed : float
        Specimen seconds per wall second, above 0.
    """

    kind = "scaled"

    def __init__(self, speed: float) -> None:
        if not speed > 0:
            raise ValueError(f"clock speed must be above 0, got {speed}")
        self.speed = speed
        self._start_ns = time.perf_counter_ns()

    def now_ns(self) -> int:
        """Present time in nanoseconds of this clock."""
        return int((time.perf_counter_ns() - self._start_ns) * self.speed)

    def sleep_ns(self, duration_ns: int) -> None:
        """Sleep until `duration_ns` of this clock have passed."""
        _sleep_wall(duration_ns / self.speed / NS_PER_S)

    def account_ns(self, duration_ns: int) -> None:
        """Do nothing: the time has passed."""

    def wait_until(self, t_ns: int, wake: threading.Event) -> bool:
        """Wait until `t_ns` or `wake`; True if the time was reached."""
        return _wait(self, t_ns, wake, self.speed)


class VirtualClock:
    """Time moves only when something takes time; nothing sleeps.

    Exposures, moves and settling advance it by the rig's timing table; waiting for
    a due time jumps there.
    """

    kind = "virtual"

    def __init__(self, start_ns: int = 0) -> None:
        self._now_ns = start_ns
        self._lock = threading.Lock()

    def now_ns(self) -> int:
        """Present time in nanoseconds of this clock."""
        with self._lock:
            return self._now_ns

    def sleep_ns(self, duration_ns: int) -> None:
        """Advance by `duration_ns` at once."""
        with self._lock:
            self._now_ns += max(0, int(duration_ns))

    def account_ns(self, duration_ns: int) -> None:
        """Advance by `duration_ns` at once."""
        self.sleep_ns(duration_ns)

    def wait_until(self, t_ns: int, wake: threading.Event) -> bool:
        """Jump to `t_ns` unless `wake` is set already; True if the time was reached."""
        if wake.is_set():
            return self.now_ns() >= t_ns
        with self._lock:
            self._now_ns = max(self._now_ns, int(t_ns))
        return True


def _wait(
    clock: RealClock | ScaledClock, t_ns: int, wake: threading.Event, speed: float
) -> bool:
    while (left_ns := t_ns - clock.now_ns()) > 0:
        if wake.is_set():
            return False
        left_s = left_ns / speed / NS_PER_S
        if left_s > 0.02:
            # A long wait may be woken; the last 20 ms are slept without a timed lock.
            wake.wait(left_s - 0.015)
        else:
            _sleep_wall(min(left_s, 0.005))
    return True


def make_clock(kind: str, speed: float = 1.0) -> RealClock | ScaledClock | VirtualClock:
    """Return the clock of `kind`: ``real``, ``scaled`` (with `speed`) or ``virtual``.

    Raises
    ------
    ValueError
        For any other kind, or a speed that is not above 0.
    """
    if kind == "real":
        return RealClock()
    if kind == "scaled":
        return ScaledClock(speed)
    if kind == "virtual":
        return VirtualClock()
    raise ValueError(f"unknown clock kind {kind!r}; use real, scaled or virtual")
