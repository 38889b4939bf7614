"""Core types to plain JSON values and back, without loss; `dump` is the fast way out.

Floats survive exactly (shortest round-trip text), NaN and infinities become null in
arrays and must not occur elsewhere. Pixels are never encoded, nor is what a request
was decided on: its observation has that.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Callable, Mapping
from functools import cache
from json.encoder import encode_basestring_ascii
from operator import attrgetter
from typing import Any, TypeVar

import numpy as np

from smartscope.core.actions import ACTION_KINDS, Action
from smartscope.core.frame import HardwareState, View
from smartscope.core.geometry import Orientation, PixelMap, Roi

T = TypeVar("T")
_ACTIONS: dict[str, type[Action]] = {kind.__name__: kind for kind in ACTION_KINDS}
_NEVER = ("pictures", "pixels", "seen")
# Frozen parts that many lines share: while nothing changes, it is the same object.
_SHARED = (HardwareState, Orientation, PixelMap, Roi, View)
_REMEMBERED = 64
# Arrays of these become Python's own numbers.
_NUMBERS = "bBhHiIlLqQefd"
_PLAIN = json.JSONEncoder(allow_nan=False, separators=(",", ":"))


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


def dump(value: Any) -> str:
    """Return the JSON text of ``encode(value)``, several times faster.

    The text is what ``json.dumps(encode(value), allow_nan=False)`` makes with the
    separators ``,`` and ``:``, byte for byte. A `HardwareState`, `PixelMap`, `Roi`
    or `View` that was dumped before is known again by identity: none may ever change.

    Raises
    ------
    TypeError
        For a type that is no core type and no plain value.
    ValueError
        For NaN and infinities outside of arrays.
    """
    return _TEXT[type(value)](value)


class _Texts(dict[type, Callable[[Any], str]]):
    """How to write each type, found when a value of it is first met."""

    def __missing__(self, kind: type) -> Callable[[Any], str]:
        write = self[kind] = _writer(kind)
        return write


def _writer(kind: type) -> Callable[[Any], str]:
    # The order is that of `encode`.
    plain: dict[type, Callable[[Any], str]] = {
        str: encode_basestring_ascii, int: int.__repr__, float: _float_text,
    }  # fmt: skip
    for base, write in plain.items():
        if issubclass(kind, base):
            return write
    if dataclasses.is_dataclass(kind):
        write = _dataclass_writer(kind)
        return _remembering(write) if kind in _SHARED else write
    if issubclass(kind, Mapping):
        return _mapping_text
    if issubclass(kind, tuple | list):
        return _sequence_text
    if issubclass(kind, np.ndarray):
        return _array_text
    # Numpy's numbers, and everything that is refused.
    return lambda value: _PLAIN.encode(encode(value))


def _dataclass_writer(kind: type) -> Callable[[Any], str]:
    names = [f.name for f in dataclasses.fields(kind) if f.name not in _NEVER]
    head = [f'"do":"{kind.__name__}"'] if issubclass(kind, Action) else []
    form = ",".join([*head, *(f"{encode_basestring_ascii(n)}:%s" for n in names)])
    if len(names) < 2:
        # From attrgetter one field would come bare.
        return lambda value: (
            f"{{{form}}}" % tuple(dump(getattr(value, n)) for n in names)
        )
    get = attrgetter(*names)
    form = f"{{{form}}}"
    return lambda value: form % tuple([_TEXT[type(v)](v) for v in get(value)])


def _remembering(write: Callable[[Any], str]) -> Callable[[Any], str]:
    # The value is kept beside its text, so that its id stays its own.
    known: dict[int, tuple[Any, str]] = {}

    def text(value: Any) -> str:
        found = known.get(id(value))
        if found is not None:
            return found[1]
        made = write(value)
        if len(known) >= _REMEMBERED:
            known.clear()
        known[id(value)] = (value, made)
        return made

    return text


def _float_text(value: float) -> str:
    if not math.isfinite(value):
        raise ValueError("Out of range float values are not JSON compliant")
    return float.__repr__(value)


def _mapping_text(value: Mapping[Any, Any]) -> str:
    parts = [
        f"{encode_basestring_ascii(str(k))}:{_TEXT[type(v)](v)}"
        for k, v in value.items()
    ]
    return "{" + ",".join(parts) + "}"


def _sequence_text(value: tuple[Any, ...] | list[Any]) -> str:
    return "[" + ",".join([_TEXT[type(v)](v) for v in value]) + "]"


def _array_text(value: np.ndarray[Any, Any]) -> str:
    if value.shape == (0,):
        return "[]"
    if value.ndim == 1 and value.dtype.char in _NUMBERS:
        text = ",".join(map(repr, value.tolist()))
        # Only "nan" and "inf" have this letter.
        if "n" not in text:
            return f"[{text}]"
    return _PLAIN.encode(encode(value))


_TEXT = _Texts(
    {
        type(None): {None: "null"}.__getitem__,
        bool: ("false", "true").__getitem__,
        int: repr,
    }
)


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
