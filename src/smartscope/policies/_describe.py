"""What a policy does and what can be set, for people and for forms."""

from __future__ import annotations

import inspect
import types
import typing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import annotated_types

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from smartscope.policies._policy import Policy

_UNITS = {
    "_s": "s",
    "_ms": "ms",
    "_um": "um",
    "_um_s": "um/s",
    "_px": "px",
    "_percent": "%",
    "_mw": "mW",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterInfo:
    """One parameter of a policy.

    Attributes
    ----------
    name, kind, unit, doc : str
        `kind` in words, for example ``number above 0``; `unit` "" when it has none.
    required : bool
    default : object
        None when required.
    """

    name: str
    kind: str
    unit: str = ""
    required: bool = False
    default: Any = None
    doc: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyInfo:
    """What `smartscope policies show` says about a policy.

    Attributes
    ----------
    name, headline, doc : str
        Class name, first line and whole text of its documentation.
    per : str
    requires : tuple of str
    parameters : tuple of ParameterInfo
    source : str
        Its file.
    """

    name: str
    headline: str
    doc: str
    per: str
    requires: tuple[str, ...]
    parameters: tuple[ParameterInfo, ...]
    source: str


def describe(policy: type[Policy]) -> PolicyInfo:
    """Return what a policy does and every parameter with type, unit and default."""
    doc = inspect.cleandoc(policy.__doc__ or "")
    return PolicyInfo(
        name=policy.__name__,
        headline=doc.partition("\n")[0],
        doc=doc,
        per=policy.per,
        requires=policy.requires,
        parameters=tuple(
            _parameter(name, field) for name, field in policy.model_fields.items()
        ),
        source=inspect.getsourcefile(policy) or "",
    )


def _parameter(name: str, field: FieldInfo) -> ParameterInfo:
    required = field.is_required()
    return ParameterInfo(
        name=name,
        kind=_kind(field.annotation, tuple(field.metadata)),
        unit=_unit(name),
        required=required,
        default=None if required else field.get_default(call_default_factory=True),
        doc=inspect.cleandoc(field.description or ""),
    )


def _unit(name: str) -> str:
    # The longest suffix that fits: `speed_um_s` is um/s, not s.
    fits = [suffix for suffix in _UNITS if name.endswith(suffix)]
    return _UNITS[max(fits, key=len)] if fits else ""


def _kind(annotation: Any, bounds: tuple[Any, ...] = ()) -> str:
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _kind(args[0], (*args[1:], *bounds))
    if origin is Literal:
        return " or ".join(str(choice) for choice in args)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_kind(choice, bounds) for choice in args)
    if annotation is type(None):
        return "nothing"
    words = {int: "whole number", float: "number", str: "text", bool: "true or false"}
    if annotation not in words:
        return str(getattr(annotation, "__name__", annotation))
    limits = " and ".join(_bounds(bounds) if annotation in (int, float) else ())
    return f"{words[annotation]} {limits}".strip()


def _bounds(bounds: tuple[Any, ...]) -> list[str]:
    found: list[str] = []
    for bound in bounds:
        if isinstance(bound, annotated_types.Gt):
            found.append(f"above {bound.gt}")
        elif isinstance(bound, annotated_types.Ge):
            found.append(f"at least {bound.ge}")
        elif isinstance(bound, annotated_types.Lt):
            found.append(f"below {bound.lt}")
        elif isinstance(bound, annotated_types.Le):
            found.append(f"at most {bound.le}")
    return found
