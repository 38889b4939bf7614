"""Light power in percent of a line's range, as property value, and in mW."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from smartscope.core import ConfigError

if TYPE_CHECKING:
    from smartscope.config import LightLine


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

    def value(self, percent: float) -> float:
        """Property value that means `percent` of the range."""
        low, high = self.line.range
        # Interpolated from both ends, so that 0 and 100 percent are exact.
        share = percent / 100.0
        return low * (1.0 - share) + high * share

    def percent(self, value: float) -> float:
        """Percent of the range that property `value` means."""
        low, high = self.line.range
        return 100.0 * (value - low) / (high - low)

    def mw(self, percent: float, objective: str | None) -> float | None:
        """Power at the sample, mW; None without a calibration for `objective`."""
        points = self._points(objective)
        if points is None:
            return None
        values, powers = points
        return float(np.interp(self.value(percent), values, powers))

    def percent_of_mw(self, mw: float, objective: str | None) -> float:
        """Percent that gives `mw` at the sample.

        Raises
        ------
        ConfigError
            Without a calibration for `objective`, or beyond what it reaches.
        """
        points = self._points(objective)
        if points is None:
            raise ConfigError(
                f"line {self.name} has no calibration for objective {objective}, so "
                "a power in mW has no meaning",
                field=f"light.{self.name}.calibration",
                fix="measure two or more points at the sample, or give the power in "
                "percent",
            )
        values, powers = points
        if not powers[0] <= mw <= powers[-1]:
            raise ConfigError(
                f"line {self.name} reaches {powers[0]:g} to {powers[-1]:g} mW at "
                f"objective {objective}, not {mw:g} mW",
                field=f"light.{self.name}.calibration",
            )
        return self.percent(float(np.interp(mw, powers, values)))

    def _points(self, objective: str | None) -> tuple[list[float], list[float]] | None:
        points = self.line.calibration.get(objective or "")
        if points is None:
            return None
        return [p[0] for p in points], [p[1] for p in points]
