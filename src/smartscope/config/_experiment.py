"""The experiment file: what to image, look for, react to, and how much light."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import useq
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PlainValidator,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from smartscope.config._base import File, LineName, Name, Section
from smartscope.config._explain import found, refuse
from smartscope.config._paths import find_experiment
from smartscope.config._plan import Stream, read_acquisition
from smartscope.config._rig import Limits
from smartscope.config._score import ScoreConfig  # noqa: TC001 read by pydantic
from smartscope.config._together import (
    PhaseConfig,
    ResourceConfig,
    problems_together,
)
from smartscope.config._yaml import Problem
from smartscope.core import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartscope.config._yaml import Document


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str | int) else value


def _place(value: Any) -> int | str:
    if isinstance(value, str) and value:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    text = f"found {found(value)}, expected the number or the name of a position"
    raise refuse((), text, "numbers count from 0")


Place = Annotated[int | str, PlainValidator(_place)]
OneOrMore = Annotated[tuple[Name, ...], BeforeValidator(_listed)]


class Power(Section):
    """Power of one line in one channel: percent of its range, or mW at the sample."""

    power_percent: float | None = Field(None, ge=0, le=100)
    power_mw: float | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _one_unit(self) -> Power:
        if (self.power_percent is None) == (self.power_mw is None):
            text = "a power needs exactly one of 'power_percent' and 'power_mw'"
            raise refuse((), text, "write one of them")
        return self


class ScheduleConfig(Section):
    """How planned events and reactions share time.

    Attributes
    ----------
    pacing : str
        ``lockstep``: the next planned event waits for the decision on this one, at
        most `decision_deadline_s`; ``free``: it does not.
    on_deadline : str
        What happens when the decision does not come in time: ``go_on`` with the next
        planned event, ``repeat`` the same one (twice at most, then go on), or
        ``stop``.
    vision : str
        What vision takes of a stream, or of a plan paced ``free``: the ``latest``
        frame, all as long as no more than `vision_backlog` wait (``bounded``: then the
        oldest is dropped; ``lossless``: then the run ends).
    late : str
        A baseline event whose time has passed by more than `late_after_s`:
        ``take`` it late, or ``supersede`` it (journalled, not taken).
    """

    pacing: Literal["lockstep", "free"] = "lockstep"
    decision_deadline_s: PositiveFloat = 10.0
    on_deadline: Literal["go_on", "repeat", "stop"] = "go_on"
    vision: Literal["latest", "bounded", "lossless"] = "latest"
    vision_backlog: PositiveInt = 64
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
    """One vision stage, written ``- segment: {method: otsu, on: {channel: FITC}}``.

    Attributes
    ----------
    use : str
        Name of the stage.
    on : dict
        What it looks at, for example ``{channel: FITC, z: max}``; a stage may take a
        list of channels.
    parameters : dict
        All remaining keys: the fields of the stage.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    use: str
    on: dict[str, Name | tuple[Name, ...]] = {}
    parameters: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _from_written(cls, raw: Any) -> Any:
        if isinstance(raw, str):
            return {"use": raw}
        if not isinstance(raw, dict):
            text = f"found {found(raw)}, expected a stage"
            raise refuse((), text, "write '- segment: {method: otsu}'")
        if "use" in raw:
            if "on" in (raw.get("parameters") or ()):
                text = "no key of a stage can be called 'on'"
                raise refuse(("parameters", "on"), text, "give it to the stage itself")
            return raw
        name, *others = map(str, raw) if raw else ("segment",)
        if others or not raw:
            text = "a stage needs one name" if raw else "a stage without a name"
            fix = f"indent '{others[0]}' below '{name}:'" if others else "name it"
            raise refuse((), text, fix)
        inner = {} if raw[name] is None else raw[name]
        if not isinstance(inner, dict):
            text = f"found {found(inner)}, expected the keys of the stage"
            raise refuse((name,), text, f"write '{name}: {{key: value}}'")
        rest = {k: v for k, v in inner.items() if k != "on"}
        return {"use": name, "on": inner.get("on", {}), "parameters": rest}


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
    positions : list of int or str
        Stage positions it looks at, by number or by name; empty means all.
    phase : list of str
        Phases in which it looks; empty means all.
    arm : str
        Arm of a comparison it belongs to: its positions are drawn by the seed, as
        many for each arm; empty means all positions.
    lease_s : float or None
        What it has won stays its own for so long, see `ResourceConfig`; None as the
        resource says.
    rest_s : float
        Cool-down: after an action of it was carried out at a position, it gets
        nothing there for so long. What gives something back never waits.
    parameters : dict
        All remaining keys: the fields of the policy.
    """

    model_config = ConfigDict(frozen=True)

    use: str
    name: Name = ""
    priority: int = 0
    positions: tuple[Place, ...] = ()
    phase: OneOrMore = ()
    arm: Name = ""
    lease_s: NonNegativeFloat | None = None
    rest_s: NonNegativeFloat = 0.0
    parameters: dict[str, Any] = {}

    KEYS: ClassVar[tuple[str, ...]] = (
        "use",
        "name",
        "priority",
        "positions",
        "phase",
        "arm",
        "lease_s",
        "rest_s",
        "parameters",
    )
    """Keys of the entry itself, which no parameter of a policy can be called."""

    @property
    def called(self) -> str:
        """Name in journal and report: `name`, or else `use`."""
        return self.name or self.use

    @model_validator(mode="before")
    @classmethod
    def _from_written(cls, raw: Any) -> Any:
        if isinstance(raw, str):
            return {"use": raw}
        if not isinstance(raw, dict) or "use" not in raw:
            text = (
                "'use' is missing" if isinstance(raw, dict) else f"found {found(raw)}"
            )
            fix = "write '- use: rate_switch' with the policy's fields below"
            raise refuse((), text, fix)
        nested = raw.get("parameters", {})
        if not isinstance(nested, dict):
            text = f"found {found(nested)}, expected the fields of the policy"
            raise refuse(("parameters",), text, "write 'key: value' lines")
        flat = {str(k): v for k, v in raw.items() if k not in cls.KEYS}
        for key in flat.keys() & nested.keys():
            raise refuse((key,), f"'{key}' is there twice", "remove one")
        own = {k: v for k, v in raw.items() if k in cls.KEYS}
        return {**own, "parameters": {**nested, **flat}}


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

    `path` is the parent of the run folder. `max_backlog_s` and `max_backlog_mb` bound
    what waits for the disk; beyond them the run stops with that reason, never a
    silent drop.

    Attributes
    ----------
    keep : str
        ``all`` writes every frame; ``asked`` (streams only) holds the newest frames
        in memory and writes those a policy asks for with `smartscope.core.Keep`.
        The journal tells of every frame either way.
    ring_s, ring_mb : float
        How far back a policy can ask: the memory holds no older and no more frames.
    """

    path: Path = Path("runs")
    images: bool = True
    labels: bool = True
    compression: Literal["none", "zstd"] = "zstd"
    keep: Literal["all", "asked"] = "all"
    ring_s: PositiveFloat = 5.0
    ring_mb: PositiveFloat = 256.0
    max_backlog_s: PositiveFloat = 2.0
    max_backlog_mb: PositiveFloat = 512.0
    min_free_mb: PositiveFloat = 200.0

    @model_validator(mode="after")
    def _asked_frames_have_room(self) -> RecordConfig:
        if self.keep == "all":
            return self
        if not self.images:
            text = "nothing can be kept for the asking without images"
            raise refuse(("keep",), text, "write 'images: true', or 'keep: all'")
        if self.ring_mb > self.max_backlog_mb:
            text = (
                f"the ring holds {self.ring_mb:g} MB, and only "
                f"{self.max_backlog_mb:g} MB may wait for the disk (max_backlog_mb)"
            )
            raise refuse(("ring_mb",), text, "make it smaller, or the backlog larger")
        return self


class Experiment(File):
    """A whole experiment, validated; `smartscope.Experiment` in Python.

    Everything that is wrong is a `ConfigError`, from a file and in Python alike.

    Attributes
    ----------
    rig : path
        The rig file, relative to the experiment file.
    acquisition : useq.MDASequence or Stream
        In a file: a useq plan, ``{useq: my_plan.yaml}`` or ``{stream: {...}}``.
    light : channel preset -> light line -> power
        Every channel of the plan must be named when the rig has light lines.
    vision, policies
        In order.
    phases : list of PhaseConfig
        One after the other; none is one phase without a name.
    resources : resource -> ResourceConfig
        Leases and cool-downs, for example ``stage`` or ``light:488``.
    reload : bool
        What is edited of the policies' parameters and files while the run goes on
        takes effect.
    seed : int
        Seed of everything random in vision and policies.
    score : ScoreConfig or None
        How `smartscope score` judges the policies; a run does not look at it.
    source_file : path or None
        Where it was read from; other paths are relative to its folder.

    Examples
    --------
    >>> experiment = Experiment(
    ...     name="divisions",
    ...     rig="demo_rig.yaml",
    ...     acquisition={"channels": ["FITC"]},
    ...     vision=[{"segment": {"method": "otsu"}}, "track"],
    ...     policies=[{"use": "rate_switch", "trigger": "mitosis"}],
    ... )
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    name: Name
    description: str = ""
    rig: Path
    acquisition: useq.MDASequence | Stream
    light: dict[Name, dict[LineName, Power]] = Field(default_factory=dict)
    vision: tuple[StageUse, ...] = ()
    policies: tuple[PolicyUse, ...] = ()
    phases: tuple[PhaseConfig, ...] = ()
    resources: dict[Name, ResourceConfig] = Field(default_factory=dict)
    reload: bool = True
    schedule: ScheduleConfig = ScheduleConfig()
    errors: Errors = Errors()
    safety: Safety = Safety()
    record: RecordConfig = RecordConfig()
    seed: int = 0
    score: ScoreConfig | None = None

    @classmethod
    def _find(cls, path: str | Path) -> Path:
        return find_experiment(path)

    @classmethod
    def _prepare(
        cls, data: dict[str, Any], document: Document, problems: list[Problem]
    ) -> dict[str, Any]:
        if "acquisition" not in data:
            _refuse_other_files(document)
            return data
        plan = read_acquisition(data["acquisition"], document, problems)
        # Another plan stands in for a wrong one, so that the rest is looked at too.
        return {**data, "acquisition": plan or Stream(exposure_ms=1.0, frames=1)}

    def _between_sections(self) -> Iterator[Problem]:
        if self.record.keep == "asked" and not isinstance(self.acquisition, Stream):
            text = "only a stream can be kept for the asking; a plan is kept whole"
            yield Problem(("record", "keep"), text, "write 'keep: all'")
        names = [policy.called for policy in self.policies]
        for i, name in enumerate(names):
            if name in names[:i]:
                text = f"two policies are called '{name}'"
                yield Problem(("policies", i), text, "give one of them a 'name'")
        yield from problems_together(self)


def _refuse_other_files(document: Document) -> None:
    keys = document.data.keys()
    if document.path is None or not keys:
        return
    if "micromanager" in keys or "recording" in keys:
        problem, fix = "this is a rig file", "give the experiment file that names it"
        raise ConfigError(problem, file=document.file, fix=fix)
    if keys <= useq.MDASequence.model_fields.keys():
        fix = "name it in an experiment: 'acquisition: {useq: ...}'"
        raise ConfigError("this is a useq plan", file=document.file, fix=fix)
