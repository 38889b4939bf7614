"""Core types to plain JSON values and back, without loss.

Floats survive exactly (shortest round-trip text), NaN and infinities become null in
arrays and must not occur elsewhere. Pixels are never encoded.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

import numpy as np

from smartscope.core.actions import ACTION_KINDS, Action

T = TypeVar("T")
_ACTIONS: dict[str, type[Action]] = {kind.__name__: kind for kind in ACTION_KINDS}
_NEVER = ("pictures", "pixels")


def encode(value: Any) -> Any:
    """Return `value` as JSON-ready dicts, lists, numbers, strings and None.

    Raises
    ------
    TypeError
        For a type that is no core type and no plain value.
    """
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        out = {
            f.name: encode(getattr(value, f.name))
            for f in dataclasses.fields(value)
            if f.name not in _NEVER
        }
        return {"do": type(value).__name__, **out} if isinstance(value, Action) else out
    if isinstance(value, Mapping):
        return {str(k): encode(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [encode(v) for v in value]
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            value = value.astype(object)
            value[~np.isfinite(value.astype(float))] = None
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"cannot write a {type(value).__name__} into the journal")


def decode(kind: type[T], data: Any) -> T:
    """Rebuild a core type from what `encode` made of it.

    Raises
    ------
    TypeError, KeyError, ValueError
        If `data` is not what `encode` makes of a `kind`.
    """
    return typing.cast("T", _decode(kind, data))


@cache
def _hints(kind: type) -> dict[str, Any]:
    # The core modules import each other's types for checkers only; give them here.
    import smartscope.core as core

    names = {name: getattr(core, name) for name in core.__all__}
    names |= {"np": np, "NDArray": np.typing.NDArray, "Mapping": Mapping}
    return typing.get_type_hints(kind, localns=names)


def _decode(hint: Any, data: Any) -> Any:
    if hint is Any or data is None:
        return _none(hint) if data is None else data
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _decode_union(args, data)
    if origin is np.ndarray:
        return _array(args, data)
    if origin is tuple:
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(_decode(args[0], item) for item in data)
        return tuple(_decode(a, item) for a, item in zip(args, data, strict=True))
    if origin is Mapping or origin is dict:
        return {k: _decode(args[1], v) for k, v in data.items()}
    if isinstance(hint, type) and issubclass(hint, Action):
        return _dataclass(_ACTIONS[data["do"]], {k: data[k] for k in data if k != "do"})
    if dataclasses.is_dataclass(hint):
        return _dataclass(typing.cast("type", hint), data)
    if hint is float:
        return float(data)
    if hint in (int, str, bool):
        if not isinstance(data, hint):
            raise TypeError(f"expected {hint.__name__}, found {data!r}")
        return data
    raise TypeError(f"cannot read a {hint} from a journal")


def _none(hint: Any) -> None:
    args = typing.get_args(hint)
    if hint is Any or hint is type(None) or type(None) in args:
        return None
    raise TypeError(f"expected {hint}, found null")


def _decode_union(args: tuple[Any, ...], data: Any) -> Any:
    plain: dict[Any, Any] = {str: str, int: int, float: (int, float), bool: bool}
    choices = [a for a in args if a is not type(None)]
    if len(choices) == 1:
        return _decode(choices[0], data)
    for choice in choices:
        if choice in plain and isinstance(data, plain[choice]):
            return data
    raise TypeError(f"expected one of {choices}, found {data!r}")


def _array(args: tuple[Any, ...], data: Any) -> np.ndarray[Any, Any]:
    (scalar,) = typing.get_args(args[1])
    if np.issubdtype(scalar, np.floating):
        data = [np.nan if v is None else v for v in data]
    return np.asarray(data, dtype=scalar)


def _dataclass(kind: type, data: Mapping[str, Any]) -> Any:
    hints = _hints(kind)
    return kind(**{name: _decode(hints[name], value) for name, value in data.items()})
