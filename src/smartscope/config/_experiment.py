"""The experiment file: what to image, look for, react to, and how much light."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import useq
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from smartscope.config._rig import Limits, LineName, Section


class RoiConfig(Section):
    """Region read out, sensor pixels."""

    x_px: int = Field(ge=0)
    y_px: int = Field(ge=0)
    width_px: PositiveInt
    height_px: PositiveInt


class Stream(Section):
    """Continuous acquisition, for `frames` or for `duration_s`, exactly one of them.

    Attributes
    ----------
    channel : str or None
        Preset of the channel group; None leaves the rig as it is.
    group : str or None
        Channel group; None takes the rig's role.
    """

    channel: str | None = None
    group: str | None = None
    exposure_ms: PositiveFloat
    roi: RoiConfig | None = None
    frames: PositiveInt | None = None
    duration_s: PositiveFloat | None = None

    @model_validator(mode="after")
    def _one_end(self) -> Stream:
        if (self.frames is None) == (self.duration_s is None):
            raise ValueError("a stream needs exactly one of 'frames' and 'duration_s'")
        return self


class Power(Section):
    """Power of one line in one channel: percent of its range, or mW at the sample."""

    power_percent: float | None = Field(None, ge=0, le=100)
    power_mw: float | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _one_unit(self) -> Power:
        if (self.power_percent is None) == (self.power_mw is None):
            raise ValueError("give exactly one of 'power_percent' and 'power_mw'")
        return self


class ScheduleConfig(Section):
    """How planned events and reactions share time.

    Attributes
    ----------
    pacing : str
        ``lockstep``: the next planned event waits for the decision on this one, at
        most `decision_deadline_s`; ``free``: it does not.
    late : str
        A baseline event whose time has passed by more than `late_after_s`:
        ``take`` it late, or ``supersede`` it (journalled, not taken).
    """

    pacing: Literal["lockstep", "free"] = "lockstep"
    decision_deadline_s: PositiveFloat = 10.0
    on_deadline: Literal["go_on", "stop"] = "go_on"
    late: Literal["take", "supersede"] = "take"
    late_after_s: PositiveFloat = 1.0


class Errors(Section):
    """What a failure does: ``stop`` ends the run, ``skip`` goes on without the frame.

    `max_skips` bounds how many planned events in a row may be skipped.
    """

    hardware: Literal["stop", "skip"] = "stop"
    policy: Literal["stop", "skip"] = "stop"
    vision: Literal["stop", "skip"] = "stop"
    max_skips: PositiveInt = 10


class StageUse(BaseModel):
    """One vision stage: ``- segment: {method: otsu}``; keys belong to the stage."""

    model_config = ConfigDict(frozen=True)

    use: str
    on: dict[str, str] = {}
    parameters: dict[str, Any] = {}


class PolicyUse(BaseModel):
    """One policy.

    Attributes
    ----------
    use : str
        Shipped name, entry point name, or a path ``my_policy.py`` (``:Class`` if the
        file holds several), relative to the experiment.
    name : str
        How this instance is called in journal and report; default the `use` name.
    priority : int
        Added to the priority of its actions.
    positions : list of int
        Stage positions it looks at; empty means all.
    parameters : dict
        All remaining keys: the fields of the policy.
    """

    model_config = ConfigDict(frozen=True)

    use: str
    name: str = ""
    priority: int = 0
    positions: tuple[int, ...] = ()
    parameters: dict[str, Any] = {}


class Safety(Limits):
    """Tighter limits than the rig's, and the light budget.

    Attributes
    ----------
    dose_per_fov_j_cm2 : float or None
        Light budget of each field of view, J/cm2; needs a calibrated line.
    dose_per_fov_relative : float or None
        The same in percent-seconds (power percent x lit seconds) without calibration.
    on_budget : str
        ``stop`` ends the run before the budget is passed, ``warn`` only says so,
        ``dark`` goes on without light.
    """

    dose_per_fov_j_cm2: PositiveFloat | None = None
    dose_per_fov_relative: PositiveFloat | None = None
    on_budget: Literal["stop", "warn", "dark"] = "stop"


class RecordConfig(Section):
    """What is kept, and where.

    `path` is the parent of the run folder. `max_backlog_s` bounds what waits for the
    disk; when it is full the run stops with that reason, never a silent drop.
    """

    path: Path = Path("runs")
    images: bool = True
    labels: bool = True
    compression: Literal["none", "zstd"] = "zstd"
    max_backlog_s: PositiveFloat = 2.0
    max_backlog_mb: PositiveFloat = 512.0
    min_free_mb: PositiveFloat = 200.0


class Experiment(BaseModel):
    """A whole experiment, validated; `smartscope.Experiment` in Python.

    Attributes
    ----------
    rig : path
        The rig file, relative to the experiment file.
    acquisition : useq.MDASequence or Stream
    light : channel preset -> light line -> power
        Every channel of the plan must be named when the rig has light lines.
    vision, policies
        In order.
    seed : int
        Seed of everything random in vision and policies.
    source_file : path or None
        Where it was read from; other paths are relative to its folder.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    name: str
    description: str = ""
    rig: Path
    acquisition: useq.MDASequence | Stream
    light: dict[str, dict[LineName, Power]] = {}
    vision: tuple[StageUse, ...] = ()
    policies: tuple[PolicyUse, ...] = ()
    schedule: ScheduleConfig = ScheduleConfig()
    errors: Errors = Errors()
    safety: Safety = Safety()
    record: RecordConfig = RecordConfig()
    seed: int = 0
    source_file: Path | None = None
