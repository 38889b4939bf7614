"""Planned events: the baseline read lazily from a useq sequence, and reactions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from useq import MDAEvent

_GATHERED_AXES = ("c", "z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One event to be acquired, and why.

    Attributes
    ----------
    event : useq.MDAEvent
        As planned; offsets and overrides are added when it is released.
    role : str
        ``baseline`` or ``reaction``.
    cause : str
        ``plan`` or the id of the action that asked for it.
    position : int
        Number of the field (stage position x grid cell), counted from 0.
    group, last_of_group
        See `smartscope.core.Frame`.
    due_s : float or None
        Seconds after the event timer's zero; None is "right after the one before".
    own_exposure : bool
        Its exposure was asked for, so no general change of exposure applies.
    own_place : bool
        Its place was asked for, so no offset of the field is added.
    """

    event: MDAEvent
    role: str = "baseline"
    cause: str = "plan"
    position: int = 0
    group: tuple[str | int, ...] = ()
    last_of_group: bool = True
    due_s: float | None = None
    own_exposure: bool = False
    own_place: bool = False


@dataclass(frozen=True, slots=True)
class Released:
    """A planned event on its way to the engine, with everything added.

    Attributes
    ----------
    planned : Planned
    event : MDAEvent
        With offset, exposure and ROI amended and no start time of its own: it is
        due now.
    steps : tuple of Planned
        The parts of a hardware-sequenced burst; empty for a single event.
    due_s : float or None
        When it was due, seconds since the start of the run.
    late_s : float
        How much later than due it was released.
    """

    planned: Planned
    event: MDAEvent
    steps: tuple[Planned, ...] = ()
    due_s: float | None = None
    late_s: float = 0.0


class Fields:
    """Numbers the fields of a plan: one per stage position and grid cell."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[int, int], int] = {}
        self._names: dict[int, str] = {}

    def number(self, event: MDAEvent) -> int:
        """Number of the field an event images, given in order of first sight."""
        key = (event.index.get("p", 0), event.index.get("g", 0))
        number = self._numbers.setdefault(key, len(self._numbers))
        if event.pos_name:
            self._names.setdefault(number, event.pos_name)
        return number

    def name(self, number: int) -> str:
        """Name of a field as the plan gives it, else ``p0``, ``p1``..."""
        return self._names.get(number, f"p{number}")

    def __len__(self) -> int:
        return len(self._numbers)


def read_baseline(events: Iterable[MDAEvent], fields: Fields) -> Iterator[Planned]:
    """Turn useq events into planned ones, lazily, with their group over c and z."""
    upcoming = iter(events)
    event = next(upcoming, None)
    group = _group(event) if event is not None else ()
    while event is not None:
        following = next(upcoming, None)
        following_group = _group(following) if following is not None else None
        yield Planned(
            event=event,
            position=fields.number(event),
            group=group,
            last_of_group=following_group != group,
            due_s=event.min_start_time,
        )
        event, group = following, following_group or ()


def _group(event: MDAEvent) -> tuple[str | int, ...]:
    axes = sorted([(a, i) for a, i in event.index.items() if a not in _GATHERED_AXES])
    return ("plan", *[part for axis in axes for part in axis])


def plus(base: float | None, offset: float) -> float | None:
    """Add, where there is something to add to."""
    return None if base is None else base + offset


def reindexed(event: MDAEvent, number: int) -> MDAEvent:
    """A copy under its own axis ``r``: reactions have no place in the plan's grid."""
    kept = {axis: i for axis, i in event.index.items() if axis != "t"}
    return event.model_copy(
        update={
            "index": {**kept, "r": number},
            "min_start_time": None,
            "reset_event_timer": False,
        }
    )


def template_of(group: list[Planned], channel: str | None) -> Planned:
    """Planned event a burst is modelled on: this channel, the middle plane."""
    matching = [
        planned
        for planned in group
        if planned.event.channel and planned.event.channel.config == channel
    ] or group
    return matching[len(matching) // 2]


def burst_of(
    template: Planned,
    cause: str,
    *,
    number: int,
    frames: int,
    channel: str | None,
    exposure_ms: float | None,
    heights_um: tuple[float | None, ...],
    place_um: Mapping[str, float] = MappingProxyType({}),
) -> tuple[Planned, ...]:
    """Events of a burst, numbered from `number`; what is None stays as in `template`.

    Without `heights_um` each time point is one frame where the focus is; with them it
    is one plane for each, and a group. `place_um` holds ``x_pos``, ``y_pos`` and
    ``z_pos`` of a burst that is taken elsewhere.
    """
    update: dict[str, Any] = dict(place_um)
    if channel is not None and template.event.channel is not None:
        named = template.event.channel.model_copy(update={"config": channel})
        update["channel"] = named
    if exposure_ms is not None:
        update["exposure"] = exposure_ms
    planes = len(heights_um) or 1
    steps = []
    for k in range(frames * planes):
        event = reindexed(template.event, number + k)
        point, plane = divmod(k, planes)
        if heights_um:
            update["index"] = {**event.index, "z": plane}
            update["z_pos"] = heights_um[plane]
        steps.append(
            replace(
                template,
                event=event.model_copy(update=update),
                role="reaction",
                cause=cause,
                group=("burst", cause, point),
                last_of_group=plane == planes - 1,
                due_s=None,
                own_exposure=exposure_ms is not None,
                own_place=bool(place_um),
            )
        )
    return tuple(steps)


def copies(group: list[Planned], kind: str, number: int, cause: str) -> list[Planned]:
    """The same events again, as one group of reactions."""
    return [
        replace(
            planned,
            event=reindexed(planned.event, number),
            role="reaction",
            cause=cause,
            group=(kind, number),
            due_s=None,
        )
        for planned in group
    ]
