"""Light power in its three units: percent of range, property value, mW at the sample.

The one place where they are converted. A calibration is a list of
``(property value, mW at the sample)`` points with rising values; between them power is
interpolated along straight lines, outside of them it is unknown and refused.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def percent_to_value(percent: float, low: float, high: float) -> float:
    """Property value at `percent` of the range from `low` (0 %) to `high` (100 %).

    Raises
    ------
    ValueError
        If `percent` is not within 0..100.
    """
    if not 0.0 <= percent <= 100.0:
        raise ValueError(f"{percent:g} % is not between 0 and 100 %")
    if percent == 100.0:
        return high  # exactly, whatever rounding would do
    return low + (high - low) * percent / 100.0


def value_to_percent(value: float, low: float, high: float) -> float:
    """Percent of the range from `low` (0 %) to `high` (100 %) at a property value.

    Not clipped: a value outside of the range gives less than 0 or more than 100.
    """
    return 100.0 * (value - low) / (high - low)


def value_to_mw(value: float, points: Sequence[tuple[float, float]]) -> float:
    """Power at the sample, mW, at a property value.

    Parameters
    ----------
    value : float
        Property value.
    points : sequence of (property value, mW)
        Two or more, values rising.

    Raises
    ------
    ValueError
        If `value` lies outside of the calibrated values.
    """
    first, last = points[0][0], points[-1][0]
    # Tiny overshoots come from the conversion of percent, not from the user.
    slack = 1e-9 * max(abs(first), abs(last), 1.0)
    if not first - slack <= value <= last + slack:
        raise ValueError(
            f"property value {value:g} is outside of the calibrated {first:g} to "
            f"{last:g}"
        )
    i = min(max(bisect_right([p[0] for p in points], value), 1), len(points) - 1)
    (va, pa), (vb, pb) = points[i - 1], points[i]
    part = min(max((value - va) / (vb - va), 0.0), 1.0)
    return pa + (pb - pa) * part


def mw_to_value(power_mw: float, points: Sequence[tuple[float, float]]) -> float:
    """Lowest property value that gives `power_mw` at the sample.

    Raises
    ------
    ValueError
        If the power lies outside of the calibration, or if the calibration falls
        somewhere, so that a power has no single value.
    """
    powers = [p[1] for p in points]
    if any(b < a for a, b in pairwise(powers)):
        raise ValueError("the calibration falls somewhere, so mW cannot be turned back")
    slack = 1e-9 * max(abs(powers[-1]), 1.0)
    inside = powers[0] - slack <= power_mw <= powers[-1] + slack
    if not (math.isfinite(power_mw) and inside):
        raise ValueError(
            f"{power_mw:g} mW is outside of the calibrated {powers[0]:g} to "
            f"{powers[-1]:g} mW"
        )
    i = bisect_left(powers, power_mw)
    if i == 0:
        return points[0][0]
    if i == len(points):
        return points[-1][0]
    (va, pa), (vb, pb) = points[i - 1], points[i]
    # Rounding must not lead past a point of the calibration, which may be a limit.
    return min(va + (vb - va) * ((power_mw - pa) / (pb - pa)), vb)
