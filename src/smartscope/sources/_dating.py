"""When a frame of a stream was exposed, told from when it came."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartscope.core import NS_PER_MS, NS_PER_S

if TYPE_CHECKING:
    from smartscope.config import RigConfig


class Dating:
    """Estimates start, end and uncertainty of each exposure. Used from one thread.

    It came between the last look in vain and the one that found it. And a frame that
    is under way while the exposure changes has the old exposure still, but nobody knows
    which one that is: its exposure was the one or the other. So what is told is the
    middle of what is possible, and how far off the truth may be.

    Parameters
    ----------
    config : RigConfig
        Says how long readout and transfer take, as far as known.
    """

    def __init__(self, config: RigConfig) -> None:
        known_ms = config.camera.readout_ms
        self._transfer_ns = int((known_ms or 0.0) * NS_PER_MS)
        unsure_ms = config.timing.readout_ms if known_ms is None else known_ms
        self._unsure_ns = int(unsure_ms * NS_PER_MS)
        self.begin(0, 0.0)

    def begin(self, t_ns: int, exposure_ms: float) -> None:
        """Start with the first frame of a stream; the camera starts after `t_ns`."""
        self._begun_ns = self._last_ns = self._changed_ns = t_ns
        self._exposure_ns = self._longest_ns = int(exposure_ms * NS_PER_MS)

    def date(
        self,
        noticed_ns: int,
        exposure_ms: float,
        *,
        behind: int,
        unseen_s: float,
        period_s: float,
    ) -> tuple[int, int, int]:
        """Date one frame.

        Parameters
        ----------
        noticed_ns : int
            When it was found, run clock.
        exposure_ms : float
            As set now.
        behind : int
            Frames that wait behind it.
        unseen_s : float
            For how long nobody had looked in vain: it came since then.
        period_s : float
            From frame to frame.

        Returns
        -------
        tuple of int
            Start and end of its exposure, and how far the start may be off, ns.
        """
        exposure_ns = int(exposure_ms * NS_PER_MS)
        if exposure_ns != self._exposure_ns:
            self._longest_ns = max(exposure_ns, self._longest_ns)
            self._exposure_ns = exposure_ns
            self._changed_ns = noticed_ns
        longest_ns = self._longest_ns
        period_ns = max(longest_ns, int(period_s * NS_PER_S))
        # Had it come a period earlier, one more would wait behind it.
        late_ns = min(int(unseen_s * NS_PER_S), (behind + 1) * period_ns)
        if noticed_ns - late_ns > self._changed_ns:
            # It came after the change, so the next one begins after it.
            self._longest_ns = exposure_ns
        # It came within this time before `came_ns`.
        window_ns = min(late_ns, period_ns)
        came_ns = noticed_ns - self._transfer_ns - (late_ns - window_ns)
        shorter_ns = longest_ns - exposure_ns
        end_ns = came_ns - window_ns // 2
        start_ns = end_ns - exposure_ns - shorter_ns // 2
        # No exposure begins before the one before it, none before the camera.
        if start_ns < self._last_ns:
            start_ns, end_ns = self._last_ns, max(end_ns, self._last_ns)
        self._last_ns = start_ns
        unsure_ns = self._unsure_ns + (window_ns + shorter_ns + 1) // 2
        return start_ns, end_ns, min(unsure_ns, start_ns - self._begun_ns)
