"""What a light line of a rig gives: percent to mW and back, powers of a channel."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

from smartscope.config import did_you_mean
from smartscope.core import (
    mw_to_value,
    percent_to_value,
    value_to_mw,
    value_to_percent,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smartscope.config import Experiment, LightLine, RigConfig

T = TypeVar("T")


def of_objective(table: Mapping[str, T], objective: str | None) -> T | None:
    """Entry of the present objective, None if there is none.

    A rig without an objective turret has one objective, so its only entry holds.
    """
    if objective is None:
        return next(iter(table.values())) if len(table) == 1 else None
    return table.get(objective)


def percent_to_mw(line: LightLine, percent: float, objective: str | None) -> float:
    """Power at the sample, mW, of a line at `percent` of its range.

    Parameters
    ----------
    line : LightLine
    percent : float
        0..100.
    objective : str or None
        Objective preset that is turned in; None on a rig without a turret.

    Raises
    ------
    ValueError
        If the line has no calibration for this objective, or it does not reach there.
    """
    return value_to_mw(percent_to_value(percent, *line.range), _points(line, objective))


def mw_to_percent(line: LightLine, power_mw: float, objective: str | None) -> float:
    """Lowest percent of its range at which a line gives `power_mw` at the sample.

    Raises
    ------
    ValueError
        If the line has no calibration for this objective, or it does not reach there.
    """
    value = mw_to_value(power_mw, _points(line, objective))
    percent = value_to_percent(value, *line.range)
    if not -1e-9 <= percent <= 100.0 + 1e-9:
        raise ValueError(f"{power_mw:g} mW would take {percent:g} % of the range")
    return min(max(percent, 0.0), 100.0)


def reach_percent(line: LightLine, limit_mw: float, objective: str | None) -> float:
    """Percent up to which a line is known to stay within `limit_mw`; 0 if unknown."""
    points = of_objective(line.calibration, objective)
    if points is None or points[0][1] > limit_mw:
        return 0.0
    value = points[-1][0]
    for (va, pa), (vb, pb) in pairwise(points):
        if pb > limit_mw:
            value = va + (vb - va) * (limit_mw - pa) / (pb - pa)
            break
    return min(max(value_to_percent(value, *line.range), 0.0), 100.0)


def _points(line: LightLine, objective: str | None) -> tuple[tuple[float, float], ...]:
    points = of_objective(line.calibration, objective)
    if points is None:
        where = "this objective" if objective is None else f"objective {objective}"
        raise ValueError(f"there is no power calibration for {where}")
    return points


def channel_powers(
    rig: RigConfig, experiment: Experiment, channel: str | None, objective: str | None
) -> dict[str, float]:
    """Percent of range of every light line in a channel; lines not named are 0.

    Raises
    ------
    ConfigError
        If the rig has light lines and the channel says nothing about them, names a
        line the rig has not, or asks for mW that the calibration does not give.
    """
    powers = dict.fromkeys(rig.light, 0.0)
    if not rig.light or channel is None:
        return powers
    if channel not in experiment.light:
        example = f"{{{channel}: {{'{next(iter(rig.light))}': {{power_percent: 10}}}}}}"
        raise experiment.problem(
            "light",
            f"channel {channel} is planned, but nothing says how strong its light is",
            f"add 'light: {example}'",
        )
    for name, power in experiment.light[channel].items():
        field = f"light.{channel}.{name}"
        line = rig.light.get(name)
        if line is None:
            raise experiment.problem(
                field,
                f"the rig has no light line {name}",
                did_you_mean(name, rig.light),
            )
        if not power.power_mw:  # 0 mW is off, also where the calibration starts higher
            powers[name] = power.power_percent or 0.0
            continue
        try:
            powers[name] = mw_to_percent(line, power.power_mw, objective)
        except ValueError as error:
            raise experiment.problem(
                f"{field}.power_mw",
                str(error),
                f"use power_percent, or calibrate the line in {rig_file(rig)}",
            ) from None
    return powers


def file_of(experiment: Experiment) -> str:
    """How a person calls the experiment file."""
    file = experiment.source_file
    return "the experiment" if file is None else file.name


def rig_file(rig: RigConfig) -> str:
    """How a person calls the rig file."""
    return f"rig '{rig.name}'" if rig.source_file is None else rig.source_file.name
