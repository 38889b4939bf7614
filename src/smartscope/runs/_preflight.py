"""What is refused before a folder is made and before light goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from useq import MDASequence

from smartscope.config import did_you_mean
from smartscope.control import LightPlan
from smartscope.core import ConfigError
from smartscope.safety import channel_powers

if TYPE_CHECKING:
    from smartscope.config import Experiment, RigConfig
    from smartscope.rig import Rig
    from smartscope.runs._files import Files
    from smartscope.runs._plan import PlanFacts
    from smartscope.safety import Guard

Place = tuple[float | None, float | None, float | None]


def check_limits(
    guard: Guard,
    experiment: Experiment,
    *,
    objective: str | None,
    home: Place = (None, None, None),
) -> None:
    """Check a whole plan or stream, its setup event too, against the limits.

    Parameters
    ----------
    objective : str or None
        Objective preset that is turned in.
    home : (x_um, y_um, z_um)
        Where the rig stands, for events that name no place.

    Raises
    ------
    ConfigError
        For the first thing that breaks one.
    """
    plan = experiment.acquisition
    if not isinstance(plan, MDASequence):
        guard.check_stream(plan, objective=objective)
        return
    if plan.setup is not None:
        guard.check_plan((plan.setup,), home=home, objective=objective)
    guard.check_plan(plan, home=home, objective=objective)


def check_objective(rig: RigConfig, objective: str | None) -> None:
    """Check that the rig file knows the objective that is turned in.

    Parameters
    ----------
    rig : RigConfig
        One without a turret, or without any calibration, is let through.
    objective : str or None
        Objective preset; None where it is not known.

    Raises
    ------
    ConfigError
        If others are calibrated: every length in the run would be wrong.
    """
    turret = None if rig.roles is None else rig.roles.objective
    if turret is None or objective is None or not rig.calibration:
        return
    if objective not in rig.calibration:
        raise ConfigError(
            f"{objective} is turned in, and only {', '.join(rig.calibration)} is "
            "calibrated",
            file=rig.source_file.name if rig.source_file else f"rig '{rig.name}'",
            field="calibration",
            fix=f"turn in a calibrated objective, or add {objective}: "
            "'smartscope calibrate' measures it",
        )


def light_plan(files: Files, facts: PlanFacts, objective: str | None) -> LightPlan:
    """Powers of every channel that is planned, or that a reaction may ask for."""
    experiment = files.experiment
    powers: dict[str, dict[str, float]] = {}
    for channel in dict.fromkeys((*facts.channels, *experiment.light)):
        percent = channel_powers(files.rig, experiment, channel, objective)
        lit = experiment.light.get(channel, {})
        powers[channel] = {line: percent[line] for line in lit}
    return LightPlan(tuple(files.rig.light), powers)


def presets_of(rig: Rig, facts: PlanFacts, channel: str) -> tuple[str, ...]:
    """Channel presets of the group that `channel` belongs to."""
    group = facts.groups.get(channel) or rig.devices.channel_group
    return tuple(rig.core.getAvailableConfigs(group)) if group else ()


def check_presets(experiment: Experiment, rig: Rig, facts: PlanFacts) -> None:
    """Check that every planned channel is a preset of this microscope.

    Raises
    ------
    ConfigError
        For the first that is not.
    """
    for channel in facts.channels:
        known = presets_of(rig, facts, channel)
        if channel not in known:
            raise experiment.problem(
                "acquisition.channels",
                f"this microscope has no channel preset '{channel}'",
                did_you_mean(channel, known),
            )
