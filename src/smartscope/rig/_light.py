"""Light power in percent of a line's range, as property value, and in mW."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartscope.core import percent_to_value, value_to_percent
from smartscope.safety import percent_to_mw

if TYPE_CHECKING:
    from smartscope.config import LightLine

_REMEMBERED = 64


class LightScale:
    """Converts the power of one light line between its three units.

    Parameters
    ----------
    name : str
        The line, for messages.
    line : LightLine
    """

    def __init__(self, name: str, line: LightLine) -> None:
        self.name = name
        self.line = line
        self.device, self.property = line.power
        self.low, self.high = line.range
        self._shown: dict[tuple[float, str | None], tuple[float, float | None]] = {}

    def value(self, percent: float) -> float:
        """Property value that means `percent` (0..100) of the range."""
        return percent_to_value(percent, self.low, self.high)

    def percent(self, value: float) -> float:
        """Percent of the range that property `value` means."""
        return value_to_percent(value, self.low, self.high)

    def shown(self, value: float, objective: str | None) -> tuple[float, float | None]:
        """Percent of the range and mW as a state shows them; a few are remembered.

        They are asked for on the acquisition thread, after each change of a power.
        """
        key = (value, objective)
        found = self._shown.get(key)
        if found is None:
            percent = round(self.percent(value), 6)
            found = percent, self.mw(percent, objective)
            if len(self._shown) >= _REMEMBERED:
                self._shown.clear()
            self._shown[key] = found
        return found

    def mw(self, percent: float, objective: str | None) -> float | None:
        """Power at the sample, mW; None where the calibration does not say."""
        try:
            return percent_to_mw(self.line, percent, objective)
        except ValueError:
            return None
