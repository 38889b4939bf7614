"""What a plan amounts to: fields, sizes, channels, time. Read once, before the run."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from useq import AcquireImage, MDASequence

from smartscope.control import Fields, read_baseline
from smartscope.core import ConfigError
from smartscope.record import ImageLayout

if TYPE_CHECKING:
    from smartscope.config import Experiment, Timing

_SIZED = ("t", "c", "z")


@dataclass(slots=True)
class PlanFacts:
    """A plan, counted.

    Attributes
    ----------
    frames : int
        Planned exposures, reactions not included.
    duration_s : float
        Last due time plus what the exposures take by the rig's timing table.
    channels : tuple of str
        Channel presets in order of first use; ("",) of a plan without channels is ().
    groups : channel -> config group it belongs to
    sizes : field -> {"t": n, "c": n, "z": n}
    names : field -> name
    exposure_ms : channel -> longest planned exposure
    interval_s : float or None
        Of the time plan, when it has one.
    """

    frames: int = 0
    duration_s: float = 0.0
    channels: tuple[str, ...] = ()
    groups: dict[str, str] = field(default_factory=dict)
    sizes: dict[int, dict[str, int]] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    grid: dict[int, int] = field(default_factory=dict)
    exposure_ms: dict[str, float] = field(default_factory=dict)
    interval_s: float | None = None
    z_step_um: float | None = None

    @property
    def planes(self) -> int:
        """Planes of the longest z axis; 1 without."""
        return max((sizes.get("z", 1) for sizes in self.sizes.values()), default=1)


def survey(experiment: Experiment, timing: Timing) -> PlanFacts:
    """Count the plan of an experiment.

    Raises
    ------
    ConfigError
        If it acquires nothing.
    """
    plan = experiment.acquisition
    if not isinstance(plan, MDASequence):
        return _survey_stream(experiment)
    facts, fields = PlanFacts(), Fields()
    sizes: dict[int, dict[str, int]] = defaultdict(dict)
    channels: dict[str, None] = {}
    busy_s = 0.0
    for planned in read_baseline(plan, fields):
        event = planned.event
        if not isinstance(event.action, AcquireImage | None):
            continue
        facts.frames += 1
        if event.channel is not None:
            channels[event.channel.config] = None
            facts.groups[event.channel.config] = event.channel.group
        name = event.channel.config if event.channel else ""
        exposure_ms = event.exposure or 0.0
        facts.exposure_ms[name] = max(facts.exposure_ms.get(name, 0.0), exposure_ms)
        taken_ms = exposure_ms + timing.readout_ms + timing.snap_overhead_ms
        busy_s = max(busy_s, planned.due_s or 0.0) + taken_ms / 1000
        for axis in _SIZED:
            if axis in event.index:
                size = max(sizes[planned.position].get(axis, 0), event.index[axis] + 1)
                sizes[planned.position][axis] = size
        facts.names.setdefault(planned.position, fields.name(planned.position))
        facts.grid.setdefault(planned.position, event.index.get("g", 0))
    if not facts.frames:
        raise ConfigError(
            "the plan acquires no image",
            file=_file(experiment),
            field="acquisition",
            fix="give it channels, a time plan or positions",
        )
    facts.duration_s = busy_s
    facts.channels = tuple(channels)
    facts.sizes = {p: _ordered(sizes[p]) for p in facts.names}
    facts.interval_s = _interval_s(plan)
    facts.z_step_um = getattr(plan.z_plan, "step", None)
    return facts


def layouts(
    facts: PlanFacts,
    *,
    shape_yx: tuple[int, int],
    dtype: str,
    pixel_um: float | None,
    camera: str,
) -> tuple[ImageLayout, ...]:
    """One image for each field of the plan, in its natural axes."""
    return tuple(
        ImageLayout(
            name=facts.names[position],
            sizes=sizes,
            shape_yx=shape_yx,
            dtype=dtype,
            channels=facts.channels if "c" in sizes else facts.channels[:1],
            pixel_um=pixel_um,
            time_interval_s=facts.interval_s,
            z_step_um=facts.z_step_um,
            position=position,
            position_name=facts.names[position],
            camera=camera,
            fixed={"g": facts.grid[position]},
        )
        for position, sizes in facts.sizes.items()
    )


def _survey_stream(experiment: Experiment) -> PlanFacts:
    stream = experiment.acquisition
    if isinstance(stream, MDASequence):
        raise TypeError("a plan is no stream")
    period_s = stream.exposure_ms / 1000
    frames = stream.frames or max(1, int((stream.duration_s or 0.0) / period_s))
    channel = stream.channel
    return PlanFacts(
        frames=frames,
        duration_s=stream.duration_s or frames * period_s,
        channels=(channel,) if channel else (),
        groups={channel: stream.group} if channel and stream.group else {},
        names={0: "p0"},
        exposure_ms={channel or "": stream.exposure_ms},
        interval_s=period_s,
    )


def _ordered(sizes: dict[str, int]) -> dict[str, int]:
    return {axis: sizes[axis] for axis in _SIZED if axis in sizes}


def _interval_s(plan: MDASequence) -> float | None:
    interval = getattr(plan.time_plan, "interval", None)
    seconds = interval.total_seconds() if interval is not None else None
    return seconds or None


def _file(experiment: Experiment) -> str:
    return str(experiment.source_file or "")
