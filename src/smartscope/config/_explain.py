"""What pydantic found wrong, in words for a person."""

from __future__ import annotations

import difflib
import re
import typing
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticCustomError

from smartscope.config._yaml import Loc, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pydantic_core import ErrorDetails

_OURS = "smartscope"
_TAG = re.compile(r"str|int|float|bool|[a-z]+(-[a-z]+)*\[.*\]")
_EXAMPLES = {
    "name": "name: my experiment",
    "rig": "rig: my_rig.yaml",
    "acquisition": "acquisition: {channels: [{config: FITC, exposure: 20}]}",
    "micromanager": "micromanager: {config: my_microscope.cfg}",
    "roles": "roles: {camera: Camera}",
    "axes": "axes: [t, p]",
}
_EXPECTED = {
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a smaller number",
    "string_type": "text",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "path_type": "the name of a file",
    "dict_type": "'key: value' lines",
    "mapping_type": "'key: value' lines",
    "model_type": "'key: value' lines",
    "model_attributes_type": "'key: value' lines",
    "list_type": "a list",
    "tuple_type": "a list",
    "sequence_type": "a list",
    "iterable_type": "a list",
    "is_instance_of": "something else",
    "time_delta_type": "a time",
    "time_delta_parsing": "a time",
    "none_required": "nothing",
    "uuid_type": "a UUID",
}
_COMPARED = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}


def refuse(loc: Loc, text: str, fix: str = "") -> PydanticCustomError:
    """Make the error a validator raises about something at `loc` below itself."""
    context = {"problem": text, "fix": fix, "loc": list(loc)}
    return PydanticCustomError(_OURS, "{problem}", context)


def near(word: str, known: Iterable[str]) -> str:
    """Return the word of `known` that `word` may stand for, or ""."""
    names = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), names, n=1, cutoff=0.6)
    return names[close[0]] if close else ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a clause that names the nearest of `known`, or else all of them."""
    names = sorted(known)
    if guess := near(word, names):
        return f"did you mean '{guess}'?"
    return "known are: " + ", ".join(names) if names else "there are none"


def unknown_key(
    loc: Loc, known: Iterable[str], elsewhere: Mapping[str, str] | None = None
) -> Problem:
    """Make the problem of the key at the end of `loc`, which is none of `known`.

    `elsewhere` says below which key each name of a neighbouring section belongs.
    """
    names = list(known)
    key = str(loc[-1])
    if guess := near(key, names):
        fix = f"did you mean '{guess}'?"
    elif elsewhere and key in elsewhere:
        fix = f"it belongs under '{elsewhere[key]}'"
    elif not names:
        fix = "remove it"
    else:
        fix = "known here: " + ", ".join(sorted(names))
    return Problem(loc, f"unknown key '{key}'", fix, unknown=True)


def found(value: Any) -> str:
    """Describe a wrong value in a few words."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}" if value else "an empty list"
    if isinstance(value, dict):
        keys = ", ".join(str(k) for k in list(value)[:3])
        return f"the keys {keys}" if value else "an empty mapping"
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def models_in(annotation: Any) -> tuple[type[BaseModel], ...]:
    """All models an annotation mentions, in order."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return (annotation,)
    return tuple(m for a in typing.get_args(annotation) for m in models_in(a))


def models_at(root: type[BaseModel], loc: Loc) -> tuple[type[BaseModel], ...]:
    """Models that may stand at `loc` of a `root`."""
    here: tuple[type[BaseModel], ...] = (root,)
    for part in loc:
        fields = [m.model_fields[part] for m in here if part in m.model_fields]
        if fields:
            here = tuple(m for f in fields for m in models_in(f.annotation))
    return here


def explain(
    error: ValidationError, root: type[BaseModel], prefix: Loc = ()
) -> list[Problem]:
    """Translate what pydantic found wrong with a `root` that stands at `prefix`."""
    problems: dict[Loc, Problem] = {}
    for detail in error.errors(include_url=False):
        problem = _translate(detail, root, prefix)
        # Of the members of a union only the first complaint is kept.
        problems.setdefault((*problem.loc, problem.missing), problem)
    return list(_without_echoes(problems.values()))


def _without_echoes(problems: Iterable[Problem]) -> Iterator[Problem]:
    # A misspelt key is both unknown and missing: say it once.
    every = list(problems)
    guessed = {
        (p.loc[:-1], p.fix.split("'")[1])
        for p in every
        if p.fix.startswith("did you mean '")
    }
    for problem in every:
        if not problem.missing or (problem.loc, problem.missing) not in guessed:
            yield problem


def _without_tags(loc: Loc, root: type[BaseModel]) -> Loc:
    # pydantic names the members of unions and its own wrappers in between.
    kept: Loc = ()
    for part in loc:
        models = {m.__name__ for m in models_at(root, kept)}
        if not _TAG.fullmatch(str(part)):
            kept = kept if part in models and kept else (*kept, part)
    return kept


def _translate(detail: ErrorDetails, root: type[BaseModel], prefix: Loc) -> Problem:
    kind, value = detail["type"], detail["input"]
    context: dict[str, Any] = detail.get("ctx", {})
    loc = _without_tags(detail["loc"], root)
    if kind in ("extra_forbidden", "missing") and detail["loc"]:
        # This last part is a key, whatever it looks like.
        loc = (*_without_tags(detail["loc"][:-1], root), detail["loc"][-1])
    where = prefix + loc
    if kind == _OURS:
        below = (*where, *context["loc"])
        return Problem(below, context["problem"], context["fix"])
    if kind == "extra_forbidden":
        return _extra(where, loc, root)
    if kind in ("missing", "missing_argument"):
        return _missing(where)
    if kind in ("literal_error", "enum"):
        return _choice(where, value, context["expected"])
    if kind in _COMPARED:
        words, name = _COMPARED[kind]
        text = f"found {found(value)}, expected {words} {context[name]:g}"
        return Problem(where, text)
    if kind in ("too_long", "too_short"):
        bound = context.get("max_length", context.get("min_length"))
        count = context["actual_length"]
        less = "at least" if kind == "too_short" else "at most"
        return Problem(where, f"found {count} values, expected {less} {bound}")
    if kind == "union_tag_not_found":
        return Problem(where, "'type' is missing", "add 'type: custom'", missing="type")
    if kind == "value_error":
        return Problem(where, str(context["error"]))
    if kind in _EXPECTED:
        text = f"found {found(value)}, expected {_EXPECTED[kind]}"
        return Problem(where, text, _fix(kind, value))
    return Problem(where, f"found {found(value)}: {detail['msg']}")


def _fix(kind: str, value: Any) -> str:
    if value is None:
        return "write a value, or remove the line"
    if kind.startswith("time_delta"):
        return "write seconds, {minutes: 5} or '0:05:00'"
    if kind == "string_type" and isinstance(value, int | float):
        return "put it in quotes if it is a name"
    return ""


def _extra(where: Loc, loc: Loc, root: type[BaseModel]) -> Problem:
    models = models_at(root, loc[:-1])
    known = [name for m in models for name in visible(m)]
    elsewhere: dict[str, str] = {}
    if len(loc) == 1:
        for name in visible(root):
            for model in models_in(root.model_fields[name].annotation):
                for inner in visible(model):
                    elsewhere.setdefault(inner, name)
    return unknown_key(where, known, elsewhere)


def visible(model: type[BaseModel]) -> list[str]:
    """Names of the fields a file may hold."""
    return [n for n, f in model.model_fields.items() if not f.exclude]


def _missing(where: Loc) -> Problem:
    name = where[-1]
    if isinstance(name, int):
        return Problem(where[:-1], f"value {name + 1} of the list is missing")
    fix = f"add '{_EXAMPLES.get(name, f'{name}: ...')}'"
    return Problem(where[:-1], f"'{name}' is missing", fix, missing=name)


def _choice(where: Loc, value: Any, expected: str) -> Problem:
    guess = near(value, expected.split("'")[1::2]) if isinstance(value, str) else ""
    text = f"found {found(value)}, expected {expected}"
    return Problem(where, text, f"did you mean '{guess}'?" if guess else "")
