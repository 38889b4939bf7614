"""What is acquired: a useq plan or a stream, from every form it may be written in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import useq
from pydantic import Field, PositiveFloat, PositiveInt, ValidationError, model_validator

from smartscope.config._base import Name, Section
from smartscope.config._explain import explain, found, refuse
from smartscope.config._paths import exists, resolve
from smartscope.config._useq import read_plan, runs
from smartscope.config._yaml import Document, Loc, Problem, read_document

_AT: Loc = ("acquisition",)


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

    channel: Name | None = None
    group: str | None = None
    exposure_ms: PositiveFloat
    roi: RoiConfig | None = None
    frames: PositiveInt | None = None
    duration_s: PositiveFloat | None = None

    @model_validator(mode="after")
    def _one_end(self) -> Stream:
        if (self.frames is None) == (self.duration_s is None):
            raise refuse(
                (),
                "a stream needs exactly one of 'frames' and 'duration_s'",
                "write one of them",
            )
        return self


def read_acquisition(
    raw: Any, document: Document, problems: list[Problem]
) -> useq.MDASequence | Stream | None:
    """Read the `acquisition` of an experiment; None if there are `problems`.

    Parameters
    ----------
    raw : MDASequence, Stream or dict
        The dict is a useq plan, ``{useq: file}`` or ``{stream: {...}}``.
    document : Document
        Where it stands; a useq file is looked for beside it.
    problems : list
        What is wrong is appended here.

    Raises
    ------
    ConfigError
        If a useq file that is named is wrong.
    """
    if isinstance(raw, Stream):
        return raw
    if isinstance(raw, useq.MDASequence):
        problems.extend(runs(raw, _AT))
        return raw
    if not isinstance(raw, dict):
        text = f"found {found(raw)}, expected a plan"
        fix = "write channels, time_plan, ... below it, or 'useq:' or 'stream:'"
        problems.append(Problem(_AT, text, fix))
        return None
    for form in ("useq", "stream"):
        if form in raw:
            for key in raw.keys() - {form}:
                text = f"'{key}' does not go with '{form}'"
                problems.append(Problem((*_AT, str(key)), text, "remove one of them"))
            read = _read_file if form == "useq" else _read_stream
            return read(raw[form], document, problems)
    if raw and raw.keys() <= Stream.model_fields.keys():
        text = f"'{next(iter(raw))}' belongs to a stream"
        problems.append(Problem(_AT, text, "write these keys under 'stream:'"))
        return None
    return read_plan(raw, _AT, problems)


def _read_stream(
    raw: Any, document: Document, problems: list[Problem]
) -> Stream | None:
    try:
        return Stream.model_validate(raw)
    except ValidationError as error:
        problems.extend(explain(error, Stream, (*_AT, "stream")))
        return None


def _read_file(
    raw: Any, document: Document, problems: list[Problem]
) -> useq.MDASequence | None:
    where = (*_AT, "useq")
    if not isinstance(raw, str | Path):
        text = f"found {found(raw)}, expected the name of a file"
        problems.append(Problem(where, text))
        return None
    path = resolve(document.path, Path(raw))
    if path.suffix.lower() not in (".yaml", ".yml", ".json"):
        text = f"'{raw}' is no .yaml or .json file"
        problems.append(Problem(where, text, "name a useq MDASequence file"))
        return None
    if not exists(path):
        text = f"there is no file '{raw}'"
        fix = "check its name" if path.is_absolute() else "put it beside this file"
        problems.append(Problem(where, text, fix))
        return None
    named = read_document(path)
    inside: list[Problem] = []
    plan = read_plan(named.data, (), inside)
    named.raise_first(inside)
    return plan
