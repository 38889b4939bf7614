"""How strong each light line is in each channel, as planned and as amended."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_Powers = dict[str, float]


class LightPlan:
    """Power of every line for every exposure; lines not named in a channel are 0.

    Thread-safe; what is returned belongs to the caller.

    Parameters
    ----------
    lines : sequence of str
        Every light line of the rig.
    channels : channel -> line -> percent of the line's range
        From the experiment, milliwatts already converted.
    """

    def __init__(
        self, lines: tuple[str, ...], channels: Mapping[str, Mapping[str, float]]
    ) -> None:
        self.lines = lines
        self._channels = {name: dict(powers) for name, powers in channels.items()}
        self._used = frozenset().union(*self._channels.values())
        self._none = dict.fromkeys(lines, 0.0)
        self._amended: _Powers = {}
        self._dark = False
        self._lock = threading.Lock()
        # Asked for with every frame and rarely changed. Replaced as a whole, never
        # written into: another thread may be reading.
        self._now: tuple[dict[str, _Powers], _Powers] = self._worked_out()

    def percent(self, channel: str | None) -> dict[str, float]:
        """Percent of range of every line while `channel` is exposed."""
        return self._now[0].get(channel or "", self._none).copy()

    def highest(self) -> dict[str, float]:
        """Percent of range of every line where it is strongest."""
        return self._now[1].copy()

    def uses(self, line: str) -> bool:
        """Whether any channel of the experiment uses this line."""
        return line in self._used

    def amend(self, line: str, percent: float) -> None:
        """Use this power from now on, in every channel that uses the line."""
        with self._lock:
            self._amended[line] = percent
            self._now = self._worked_out()

    def go_dark(self) -> None:
        """No light from now on, whatever is planned (the budget is spent)."""
        with self._lock:
            self._dark = True
            self._now = self._worked_out()

    def _worked_out(self) -> tuple[dict[str, _Powers], _Powers]:
        """Powers of each channel, and the highest of each line."""
        if self._dark:
            return {}, self._none
        each = {
            channel: {
                line: self._amended.get(line, planned[line]) if line in planned else 0.0
                for line in self.lines
            }
            for channel, planned in self._channels.items()
        }
        return each, {
            line: max((powers[line] for powers in each.values()), default=0.0)
            for line in self.lines
        }
