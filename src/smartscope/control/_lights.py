"""How strong each light line is in each channel, as planned and as amended."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class LightPlan:
    """Power of every line for every exposure; lines not named in a channel are 0.

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
        self._amended: dict[str, float] = {}
        self._dark = False
        self._lock = threading.Lock()

    def percent(self, channel: str | None) -> dict[str, float]:
        """Percent of range of every line while `channel` is exposed."""
        with self._lock:
            planned = self._channels.get(channel or "", {})
            return {
                line: 0.0
                if self._dark or line not in planned
                else self._amended.get(line, planned[line])
                for line in self.lines
            }

    def highest(self) -> dict[str, float]:
        """Percent of range of every line where it is strongest."""
        with self._lock:
            channels = tuple(self._channels)
        each = [self.percent(channel) for channel in channels]
        return {n: max((p[n] for p in each), default=0.0) for n in self.lines}

    def uses(self, line: str) -> bool:
        """Whether any channel of the experiment uses this line."""
        return any(line in powers for powers in self._channels.values())

    def amend(self, line: str, percent: float) -> None:
        """Use this power from now on, in every channel that uses the line."""
        with self._lock:
            self._amended[line] = percent

    def go_dark(self) -> None:
        """No light from now on, whatever is planned (the budget is spent)."""
        with self._lock:
            self._dark = True
