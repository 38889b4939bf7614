"""What the light of one line comes to, through one objective."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from smartscope.core import value_to_mw, value_to_percent
from smartscope.safety._light import of_objective

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smartscope.config import LightLine
    from smartscope.safety._dosemap import DoseMap
    from smartscope.safety._patterned import PatternMap

GATE_KEY = {"shutter": "shutter", "camera_ttl": "camera"}

Ends = tuple[float, float]


class Lamp:
    """A light line as it shines through one objective.

    Parameters
    ----------
    name : str
    line : LightLine
    objective : str or None

    Attributes
    ----------
    keys : tuple of str
        Traces of the device history that say how much light falls where: its power,
        and the stage.
    gate : str or None
        Trace of what lets the light through, None where nothing does.
    calibrated : bool
        Whether power and lit area are both known.
    leaks : bool
        Whether the calibration says that light is left at 0 %.
    booked : DoseMap or None
        Where its light is booked, once there was any.
    patterned : PatternMap or None
        Where its light through patterns of the SLM is booked.
    """

    def __init__(self, name: str, line: LightLine, objective: str | None) -> None:
        self.name = name
        self.line = line
        self.keys = (f"power:{name}", "x_um", "y_um")
        self.gate = GATE_KEY.get(line.gate)
        self.field_um = of_objective(line.field_um, objective)
        self._points = of_objective(line.calibration, objective)
        self.calibrated = self._points is not None and self.field_um is not None
        self._steady: Ends | None = None  # percent, and the mW it gives
        self.leaks = self.mean_mw((0.0, 0.0)) > 0
        self.booked: DoseMap | None = None
        self.patterned: PatternMap | None = None

    def mean_mw(self, percent: Ends) -> float:
        """Mean power at the sample, mW, while percent goes evenly between its ends.

        0 where the line has no calibration for this objective.
        """
        if self._points is None:
            return 0.0
        if percent[0] != percent[1]:
            return _mean_mw(self.line, self._points, percent)
        # Mostly the power is that of the last exposure.
        steady = self._steady
        if steady is None or steady[0] != percent[0]:
            power_mw = _charged_mw(self.line, self._points, percent[0])
            steady = self._steady = (percent[0], power_mw)
        return steady[1]


def _mean_mw(line: LightLine, points: Sequence[Ends], percent: Ends) -> float:
    """Mean of the power over a change of percent.

    Exact: the power is a chain of straight lines over the percent, so the mean over
    each straight piece is that of its ends.
    """
    low, high = sorted(percent)
    knots = [value_to_percent(value, *line.range) for value, _ in points]
    edges = [low, *(k for k in (0.0, *knots) if low < k < high), high]
    edges = sorted(set(edges))
    powers = [_charged_mw(line, points, edge) for edge in edges]
    area = sum(
        (b - a) * (pa + pb) / 2
        for a, b, pa, pb in zip(edges, edges[1:], powers, powers[1:], strict=False)
    )
    return area / (high - low)


def _charged_mw(line: LightLine, points: Sequence[Ends], percent: float) -> float:
    """Power that is charged, mW: the calibration, continued where it does not reach.

    Below the first point light goes straight to nothing at 0 %; above the last it
    rises on as steeply as anywhere in the calibration.
    """
    value = line.range[0] + (line.range[1] - line.range[0]) * percent / 100.0
    (v0, p0), (v1, p1) = points[0], points[-1]
    if value > v1:
        steepest = max((pb - pa) / (vb - va) for (va, pa), (vb, pb) in pairwise(points))
        return p1 + max(steepest, 0.0) * (value - v1)
    if value < v0:
        if percent <= 0:
            return 0.0
        return p0 * percent / value_to_percent(v0, *line.range)
    return value_to_mw(value, points)
