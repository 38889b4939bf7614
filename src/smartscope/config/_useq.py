"""useq plans: read strictly, written back so that they load again.

useq ignores keys it does not know, tries the members of a union in turn and names all
of them when none fits. Here each part of a plan is held against the one model it is
meant to be, so that a misspelt key is found at any depth and named once.
"""

from __future__ import annotations

import datetime
import enum
import math
import warnings
from collections.abc import Mapping, Sized
from typing import TYPE_CHECKING, Any

import useq
from pydantic import BaseModel, ValidationError

from smartscope.config._explain import explain, found, models_in, near, unknown_key
from smartscope.config._yaml import Loc, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

# What useq reads although it is no field: names of older versions.
_OLD_NAMES = {useq.MDASequence: ("uid",), useq.Position: ("row", "col")}
_TIMES = (
    "days",
    "hours",
    "minutes",
    "seconds",
    "milliseconds",
    "microseconds",
    "weeks",
)
_MAX_ALONG_AXIS = 10_000_000
_MAX_WELLS = 100_000
# useq validators raise whatever Python raises on odd input.
_USEQ_RAISES = (
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    RecursionError,
)


def read_plan(raw: Any, loc: Loc, problems: list[Problem]) -> useq.MDASequence | None:
    """Validate a useq plan written as plain data; None if there are `problems`.

    Parameters
    ----------
    raw : dict
        As in a useq file, or as given to ``useq.MDASequence(**raw)``.
    loc : tuple
        Where it stands in its document.
    problems : list
        What is wrong is appended here.
    """
    before = len(problems)
    raw = _plain(raw)
    problems.extend(_not_finite(raw, loc))
    problems.extend(_check(raw, (useq.MDASequence,), loc))
    if len(problems) > before:
        return None
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            plan = useq.MDASequence.model_validate(raw)
    except ValidationError as error:
        problems.extend(explain(error, useq.MDASequence, loc))
        return None
    except _USEQ_RAISES as error:
        problems.append(Problem(loc, f"useq cannot read this plan ({error})"))
        return None
    for warning in said:
        if "ignored" in str(warning.message):
            text = str(warning.message).split(". Set ")[0]
            problems.append(Problem(loc, text, "remove what is ignored"))
        else:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
    problems.extend(runs(plan, loc))
    return plan if len(problems) == before else None


def runs(plan: useq.MDASequence, loc: Loc) -> Iterator[Problem]:
    """Yield what keeps a valid plan from giving its first planned event."""
    try:
        every = tuple(_sequences(plan, loc))
        wrong = [p for where, sequence in every for p in _times(sequence, where)]
        # Counting steps and taking the first divide by the times checked above.
        wrong = wrong or [p for w, s in every for p in _too_many(s, w)]
        yield from wrong
        if wrong:
            return
        # A grid without a field of view would be unfolded in steps of 1 um.
        gridded = any(sequence.grid_plan is not None for _, sequence in every)
        if not gridded and next(iter(plan), None) is None:
            fix = "add 'channels', 'stage_positions', 'time_plan', 'z_plan' or a grid"
            yield Problem(loc, "the plan takes no image", fix)
    except _USEQ_RAISES as error:
        yield Problem(loc, f"useq cannot carry out this plan ({error})", "correct it")


def _sequences(
    plan: useq.MDASequence, loc: Loc
) -> Iterator[tuple[Loc, useq.MDASequence]]:
    yield loc, plan
    if isinstance(plan.stage_positions, tuple):
        for i, position in enumerate(plan.stage_positions):
            if position.sequence is not None:
                where = (*loc, "stage_positions", i, "sequence")
                yield from _sequences(position.sequence, where)


def _phases(plan: useq.MDASequence, loc: Loc) -> Iterator[tuple[Loc, Any]]:
    where = (*loc, "time_plan")
    if isinstance(plan.time_plan, useq.MultiPhaseTimePlan):
        for i, phase in enumerate(plan.time_plan.phases):
            yield (*where, "phases", i), phase
    elif plan.time_plan is not None:
        yield where, plan.time_plan


def _times(plan: useq.MDASequence, loc: Loc) -> Iterator[Problem]:
    zero = datetime.timedelta(0)
    for where, phase in _phases(plan, loc):
        for name in ("interval", "duration"):
            if name in type(phase).model_fields and getattr(phase, name) < zero:
                text = f"found {getattr(phase, name).total_seconds():g} s"
                yield Problem((*where, name), text, "write a time of 0 or more")
        if isinstance(phase, useq.TIntervalDuration) and not phase.interval:
            text = "an interval of 0 never fills a duration"
            yield Problem((*where, "interval"), text, "write 'loops' for 'duration'")
        if isinstance(phase, useq.TDurationLoops) and phase.loops == 1:
            text = "a single loop has no duration"
            yield Problem((*where, "duration"), text, "write 'interval' instead")


def _too_many(plan: useq.MDASequence, loc: Loc) -> Iterator[Problem]:
    for name, count in _counts(plan):
        if count > _MAX_ALONG_AXIS:
            text = f"{count:.2g} steps are more than a plan can hold"
            yield Problem((*loc, name), text, "ask for fewer")


def _counts(plan: useq.MDASequence) -> Iterator[tuple[str, float]]:
    for _, phase in _phases(plan, ()):
        yield "time_plan", phase.num_timepoints()
    if plan.z_plan is not None:
        yield "z_plan", plan.z_plan.num_positions()
    grid = plan.grid_plan
    if isinstance(grid, useq.GridRowsColumns):
        yield "grid_plan", grid.rows * grid.columns
    elif isinstance(grid, useq.RandomPoints):
        # Ordering n random points takes n x n steps.
        yield "grid_plan", grid.num_points ** (1 if grid.order is None else 2)


def _plain(raw: Any, key: str = "") -> Any:
    # Copied, because useq renames keys in place; lists of coordinates become the
    # tuples useq wants; a channel may be called 488.
    if isinstance(raw, dict):
        copy = {k: _plain(v, str(k)) for k, v in raw.items()}
        if key in ("channels", "channel"):
            copy = {k: _name(v) if k == "config" else v for k, v in copy.items()}
        return copy
    if isinstance(raw, list | tuple):
        if key == "stage_positions":
            return [tuple(v) if isinstance(v, list | tuple) else _plain(v) for v in raw]
        items = [_plain(v, key) for v in raw]
        return [_name(v) for v in items] if key == "channels" else items
    return _name(raw) if key == "channel" else raw


def _name(value: Any) -> Any:
    number = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if number else value


def _not_finite(raw: Any, loc: Loc) -> Iterator[Problem]:
    if isinstance(raw, dict):
        for key, value in raw.items():
            yield from _not_finite(value, (*loc, str(key)))
    elif isinstance(raw, list | tuple):
        for i, value in enumerate(raw):
            yield from _not_finite(value, (*loc, i))
    elif isinstance(raw, float) and not math.isfinite(raw):
        yield Problem(loc, f"found {raw}", "write a finite number")


def _check(
    raw: Any, models: tuple[type[BaseModel], ...], loc: Loc
) -> Iterator[Problem]:
    """Yield the problems of one part of a plan that is one of `models`."""
    if isinstance(raw, list):
        several = (useq.WellPlatePlan, useq.MultiPhaseTimePlan)
        models = tuple(m for m in models if m not in several)
        for i, item in enumerate(raw):
            yield from _check(item, models, (*loc, i))
    elif isinstance(raw, dict) and models and (raw or len(models) == 1):
        if useq.WellPlatePlan in models:
            models = (useq.WellPlatePlan,)
        model = _meant(raw, models)
        inner = [*_check_shape(raw, models, loc)]
        inner += _check_keys(raw, model, models, loc)
        yield from inner
        if not inner and model is not useq.MDASequence:
            yield from _check_alone(raw, model, loc)


def _check_shape(
    raw: dict[Any, Any], models: tuple[type[BaseModel], ...], loc: Loc
) -> Iterator[Problem]:
    kinds = [m.model_fields["type"].default for m in models if "type" in m.model_fields]
    if kinds and raw.get("type", kinds[0]) not in kinds:
        text = f"found {found(raw['type'])}, expected one of {', '.join(kinds)}"
        yield Problem((*loc, "type"), text)
    if useq.MDASequence not in models:
        return
    channels = raw.get("channels", ())
    if isinstance(channels, str) or not isinstance(channels, list | tuple):
        text = f"found {found(channels)}, expected a list"
        fix = f"write [{channels}]" if isinstance(channels, str) else "write [FITC]"
        yield Problem((*loc, "channels"), text, fix)
    for name in ("axis_order", "keep_shutter_open_across"):
        value = raw.get(name, "")
        letters = list(value) if isinstance(value, str | list | tuple) else [None]
        if not all(isinstance(v, str) and v.lower() in "tpgcz" for v in letters):
            text = f"found {found(value)}, expected some of the letters t, p, g, c, z"
            yield Problem((*loc, name), text)


def _check_alone(
    raw: dict[Any, Any], model: type[BaseModel], loc: Loc
) -> Iterator[Problem]:
    # Alone, because inside a plan useq does not say in which item of a list it was.
    if model is useq.WellPlate and _wells(raw) > _MAX_WELLS:
        yield Problem(loc, f"{_wells(raw):.2g} wells", "check rows and columns")
        return
    if model is useq.WellPlatePlan and isinstance(plate := raw.get("plate"), str):
        known = [str(name) for name in useq.registered_well_plate_keys()]
        if plate not in known:
            guess = near(plate, known)
            fix = f"did you mean '{guess}'?" if guess else "known: " + ", ".join(known)
            yield Problem((*loc, "plate"), f"unknown plate '{plate}'", fix)
            return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they come again with the whole plan
            model.model_validate(_plain(raw))
    except ValidationError as error:
        yield from explain(error, model, loc)
    except _USEQ_RAISES as error:
        yield Problem(loc, f"useq cannot read this ({error})")


def _wells(raw: dict[Any, Any]) -> float:
    sides = (raw.get("rows"), raw.get("columns"))
    return math.prod(s for s in sides if isinstance(s, int | float))


def _check_keys(
    raw: dict[Any, Any],
    model: type[BaseModel],
    models: tuple[type[BaseModel], ...],
    loc: Loc,
) -> Iterator[Problem]:
    known = _known(model)
    anywhere = [name for m in models for name in _known(m)]
    for key, value in raw.items():
        here = (*loc, str(key))
        if key in known:
            annotation = getattr(model.model_fields.get(key), "annotation", None)
            if isinstance(value, dict) and annotation is datetime.timedelta:
                yield from _check_time(value, here)
            else:
                yield from _check(value, models_in(annotation), here)
        elif key in anywhere:
            together = {n for m in models if key in _known(m) for n in _known(m)}
            apart = [k for k in raw if k in known and k not in together]
            others = " and ".join(f"'{k}'" for k in apart or known)
            fix = "remove the one or the other"
            yield Problem(here, f"'{key}' does not go with {others}", fix)
        else:
            names = {n: None for m in (model, *models) for n in m.model_fields}
            yield unknown_key(here, names, _below(model))


def _check_time(raw: dict[Any, Any], loc: Loc) -> Iterator[Problem]:
    for key, value in raw.items():
        if key not in _TIMES:
            yield unknown_key((*loc, str(key)), _TIMES)
        elif isinstance(value, bool) or not isinstance(value, int | float):
            text = f"found {found(value)}, expected a number"
            yield Problem((*loc, str(key)), text)


def _known(model: type[BaseModel]) -> tuple[str, ...]:
    old = (n for m, names in _OLD_NAMES.items() if issubclass(model, m) for n in names)
    return (*model.model_fields, *old)


def _below(model: type[BaseModel]) -> dict[str, str]:
    if model is not useq.MDASequence:
        return {}
    return {
        inner: name
        for name, field in reversed(model.model_fields.items())
        if name not in ("setup", "stage_positions")
        for m in models_in(field.annotation)
        for inner in m.model_fields
    }


def _meant(raw: dict[Any, Any], models: tuple[type[BaseModel], ...]) -> type[BaseModel]:
    """Return which of `models` the keys of `raw` are meant for."""

    def fits(model: type[BaseModel]) -> tuple[int, int, int]:
        names = [n for n in raw if n in _known(model)]
        fields = model.model_fields
        asked = [n for n, f in fields.items() if f.is_required()]
        kind = fields["type"].default if "type" in fields else None
        missing = sum(n not in raw for n in asked)
        return (kind is not None and raw.get("type") == kind, len(names), -missing)

    return max(models, key=fits)


def plan_as_data(value: Any) -> Any:
    """Return a plan, or a part of one, as plain data that `read_plan` takes.

    Everything is spelt out except what is empty by default: useq's own short forms
    drop the `type` of actions and cannot be read back.
    """
    if isinstance(value, BaseModel):
        return {
            name: _field_as_data(name, getattr(value, name))
            for name, field in type(value).model_fields.items()
            if not (empty(getattr(value, name)) and empty(default_of(field)))
        }
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(k): plan_as_data(v) for k, v in value.items()}
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, tuple | list):
        return [plan_as_data(v) for v in value]
    return value


def _field_as_data(name: str, value: Any) -> Any:
    return "".join(map(str, value)) if name == "axis_order" else plan_as_data(value)


def default_of(field: FieldInfo) -> Any:
    """Return what a field is when nothing is written."""
    return field.get_default(call_default_factory=True, validated_data={})


def empty(value: Any) -> bool:
    """Tell whether a value is None or holds nothing."""
    return value is None or (isinstance(value, Sized) and len(value) == 0)
