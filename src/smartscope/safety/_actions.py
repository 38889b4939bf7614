"""What each kind of action may not do. Add a kind to the core, add its check here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from math import isfinite
from numbers import Integral, Real
from operator import attrgetter
from types import MappingProxyType, NoneType
from typing import TYPE_CHECKING, Any, NamedTuple

from smartscope.config import did_you_mean
from smartscope.core import (
    Acquire,
    Action,
    ConfigError,
    HardwareState,
    Keep,
    MoveFocus,
    MoveStage,
    SetExposure,
    SetInterval,
    SetPower,
    SetProperty,
    SetRoi,
    ShiftPosition,
    ShowPattern,
    SwitchObjective,
)
from smartscope.safety._light import channel_powers, file_of, of_objective

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smartscope.safety._envelope import Envelope

Position = tuple[float | None, float | None, float | None]


class Situation(NamedTuple):
    """Where everything stands when an action is about to be carried out.

    Attributes
    ----------
    state : HardwareState
    planned_um : (x, y, z)
        Planned position of the view, without its offset; None is not planned.
    offset_um : (x, y, z)
        What is added to it now.
    powers : mapping of line to percent
        Powers of the frames to come; the present ones where it says nothing.
    sensor_px : (height, width) or None
        Whole sensor, unbinned; None is not known.
    """

    state: HardwareState
    planned_um: Position = (None, None, None)
    offset_um: tuple[float, float, float] = (0.0, 0.0, 0.0)
    powers: Mapping[str, float] = MappingProxyType({})
    sensor_px: tuple[int, int] | None = None

    def next_um(self, axis: int) -> float | None:
        """Where the next frame of the view is taken along an axis (x, y, z)."""
        here = (self.state.x_um, self.state.y_um, self.state.z_um)[axis]
        planned = self.planned_um[axis]
        return here if planned is None else planned + self.offset_um[axis]


def refuse(action: Action, at: Situation, envelope: Envelope) -> str | None:
    """None, or why this action must not be carried out."""
    if not _surely_sound(action) and (unsound := _unsound_number(action)):
        return unsound
    check = _CHECKS.get(type(action))
    return check(action, at, envelope) if check else None


def _surely_sound(action: Action) -> bool:
    """Whether every field holds what is plainly right; False says nothing."""
    kind = type(action)
    values_of, right = _FIELDS.get(kind) or _read_fields(kind)
    for value, right_types in zip(values_of(action), right, strict=True):
        is_a = type(value)
        if is_a not in right_types:
            return False
        if is_a is float:
            if not isfinite(value):
                return False
        elif is_a is int and not -_LARGE < value < _LARGE:
            return False
    return True


def _read_fields(kind: type[Action]) -> _Fields:
    entries = dataclasses.fields(kind)
    right = [_PLAIN.get(str(entry.type), _ANY_PLAIN) for entry in entries]
    # Every action has several fields, so the getter gives a tuple.
    found = attrgetter(*(entry.name for entry in entries)), tuple(right)
    _FIELDS[kind] = found
    return found


def _unsound_number(action: Action) -> str | None:
    # Actions come from users' policies and dataclasses check no types.
    for entry in dataclasses.fields(action):
        value = getattr(action, entry.name)
        kinds = _KINDS.get(str(entry.type))
        if kinds is not None and not isinstance(value, kinds):
            return f"{entry.name} is {value!r}, expected {entry.type}"
        for number in _numbers(value):
            if not isfinite(number):
                return f"{entry.name} is {number}, which is no number to act on"
    return None


_KINDS: dict[str, tuple[type, ...]] = {
    "int": (Integral,),
    "int | None": (Integral, NoneType),
    "float": (Real,),
    "float | None": (Real, NoneType),
    "str": (str,),
    "str | None": (str, NoneType),
}
_PLAIN: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "int | None": (NoneType, int),
    "float": (float, int),
    "float | None": (NoneType, float, int),
    "str": (str,),
    "str | None": (NoneType, str),
}
_ANY_PLAIN: tuple[type, ...] = (float, int, str, NoneType)
_LARGE = 2**53

# What reads all fields of an action at once, and what each may plainly hold.
_Fields = tuple[Callable[[Action], tuple[Any, ...]], tuple[tuple[type, ...], ...]]
_FIELDS: dict[type[Action], _Fields] = {}


def _numbers(value: Any) -> list[float]:
    if isinstance(value, Real):
        return [float(value)]
    if isinstance(value, tuple):
        return [number for item in value for number in _numbers(item)]
    return []


def _interval(action: SetInterval, at: Situation, envelope: Envelope) -> str | None:
    if action.interval_s is not None and action.interval_s <= 0:
        return f"interval {action.interval_s:g} s is not above 0"
    return None


def _keep(action: Keep, at: Situation, envelope: Envelope) -> str | None:
    for name, seconds in (("before_s", action.before_s), ("after_s", action.after_s)):
        if seconds < 0:
            return f"{name} {seconds:g} is below 0"
    record = envelope.experiment.record
    if record.keep == "asked" and action.before_s > record.ring_s:
        return (
            f"the {action.before_s:g} s before are asked for, and only "
            f"{record.ring_s:g} s are held (record.ring_s of "
            f"{file_of(envelope.experiment)})"
        )
    return None


def _move_stage(action: MoveStage, at: Situation, envelope: Envelope) -> str | None:
    return envelope.lacks("stage") or envelope.stage(action.x_um, action.y_um)


def _move_focus(action: MoveFocus, at: Situation, envelope: Envelope) -> str | None:
    return envelope.lacks("focus") or envelope.focus(action.z_um)


def _shift(action: ShiftPosition, at: Situation, envelope: Envelope) -> str | None:
    moved = [
        None if (here := at.next_um(axis)) is None else here + step
        for axis, step in enumerate((action.dx_um, action.dy_um, action.dz_um))
    ]
    if action.dx_um or action.dy_um:
        refused = envelope.lacks("stage") or envelope.stage(moved[0], moved[1])
        if refused or moved[0] is None or moved[1] is None:
            return refused or "the stage position is unknown"
    if action.dz_um:
        refused = envelope.lacks("focus") or envelope.focus(moved[2])
        if refused or moved[2] is None:
            return refused or "the focus position is unknown"
    return None


def _power(action: SetPower, at: Situation, envelope: Envelope) -> str | None:
    return envelope.power(action.line, action.power_percent, at.state.objective)


def _exposure(action: SetExposure, at: Situation, envelope: Envelope) -> str | None:
    return envelope.exposure(action.exposure_ms)


def _acquire(action: Acquire, at: Situation, envelope: Envelope) -> str | None:
    if action.frames < 1:
        return f"a burst of {action.frames} frames is none"
    if action.interval_s < 0:
        return f"interval {action.interval_s:g} s is below 0"
    exposure_ms = action.exposure_ms
    if exposure_ms is None:
        exposure_ms = at.state.exposure_ms
    # Without an interval the shutter stays open over the whole burst.
    points = len(action.z_offsets_um) or 1
    in_one_go = 1 if action.interval_s > 0 else action.frames * points
    if refused := envelope.exposure(exposure_ms, in_one_go):
        return refused
    return (
        _acquire_stage(action, envelope)
        or _acquire_focus(action, at, envelope)
        or _acquire_light(action, at, envelope)
    )


def _acquire_stage(action: Acquire, envelope: Envelope) -> str | None:
    if action.x_um is None and action.y_um is None:
        return None
    return envelope.lacks("stage") or envelope.stage(action.x_um, action.y_um)


def _acquire_focus(action: Acquire, at: Situation, envelope: Envelope) -> str | None:
    if not any(action.z_offsets_um) and action.z_um is None:
        return None
    if refused := envelope.lacks("focus") or envelope.focus(action.z_um):
        return refused
    z_um = at.next_um(2) if action.z_um is None else action.z_um
    if z_um is None:
        return "the focus position is unknown"
    for step in action.z_offsets_um:
        if refused := envelope.focus(z_um + step):
            return refused
    return None


def _acquire_light(action: Acquire, at: Situation, envelope: Envelope) -> str | None:
    if action.channel is None or not envelope.rig.light:
        return None
    known = envelope.experiment.light
    if action.channel not in known:
        return (
            f"nothing says how strong the light of channel {action.channel} is; "
            f"{did_you_mean(action.channel, known)}"
        )
    objective = at.state.objective
    try:
        powers = channel_powers(
            envelope.rig, envelope.experiment, action.channel, objective
        )
    except ConfigError as error:
        return error.problem
    return envelope.powers(powers, objective)


def _roi(action: SetRoi, at: Situation, envelope: Envelope) -> str | None:
    x, y, w, h = action.x_px, action.y_px, action.width_px, action.height_px
    if x is None and y is None and w is None and h is None:
        return None
    if x is None or y is None or w is None or h is None:
        return "a region needs x_px, y_px, width_px and height_px, or none of them"
    if x < 0 or y < 0 or w < 1 or h < 1:
        return f"the region {x}, {y}, {w} x {h} px is no region"
    if at.sensor_px is None:
        return None
    height, width = at.sensor_px
    if x + w > width or y + h > height:
        return (
            f"the region {x}, {y}, {w} x {h} px is outside of the sensor's "
            f"{width} x {height} px"
        )
    return None


def _property(action: SetProperty, at: Situation, envelope: Envelope) -> str | None:
    return envelope.reserved(action.device, action.property)


def _objective(
    action: SwitchObjective, at: Situation, envelope: Envelope
) -> str | None:
    if refused := envelope.lacks("objective"):
        return refused
    table = envelope.rig.calibration
    old, new = table.get(at.state.objective or ""), table.get(action.objective)
    none = (0.0, 0.0, 0.0)
    step = [
        b - a
        for a, b in zip(
            old.offset_um if old else none, new.offset_um if new else none, strict=True
        )
    ]
    here = (at.state.x_um, at.state.y_um, at.state.z_um)
    x, y, z = (None if h is None else h + s for h, s in zip(here, step, strict=True))
    now = {**at.state.power_percent, **at.powers}
    powers = {line: now.get(line, 0.0) for line in envelope.rig.light}
    return (
        envelope.stage(x, y)
        or envelope.focus(z)
        or envelope.powers(powers, action.objective)
    )


def _pattern(action: ShowPattern, at: Situation, envelope: Envelope) -> str | None:
    if refused := envelope.lacks("slm"):
        return refused
    if not 0 <= action.intensity <= 255:
        return f"intensity {action.intensity} is not between 0 and 255"
    for polygon in action.polygons_px:
        if len(polygon) < 3:
            return f"a polygon of {len(polygon)} points encloses nothing"
        if any(len(point) != 2 for point in polygon):
            return "a point of a polygon is (y, x)"
    slm, objective = envelope.rig.slm, at.state.objective
    known = {} if slm is None else slm.calibration
    if action.polygons_px and of_objective(known, objective) is None:
        through = f"objective {objective}" if objective else "this objective"
        return (
            f"the SLM is not calibrated for {through} (slm.calibration of "
            f"{envelope.rig_file}); run 'smartscope calibrate --slm'"
        )
    return None


_CHECKS: dict[type[Action], Callable[[Any, Situation, Envelope], str | None]] = {
    Keep: _keep,
    SetInterval: _interval,
    Acquire: _acquire,
    ShiftPosition: _shift,
    MoveStage: _move_stage,
    MoveFocus: _move_focus,
    SetPower: _power,
    SetExposure: _exposure,
    SetRoi: _roi,
    SetProperty: _property,
    SwitchObjective: _objective,
    ShowPattern: _pattern,
}
