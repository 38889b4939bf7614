"""Protocol buffers as bytes: fields by their numbers, values where they lie.

Only the wire format is known here (protobuf.dev/programming-guides/encoding), no
message; walking one takes no package and copies nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_VARINT, _FIXED64, LENGTH, _FIXED32 = 0, 1, 2, 5
"""How the value of a field is written."""


def fields(message: bytes | memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field; ValueError where the message is cut off."""
    view = memoryview(message)
    at = 0
    while at < len(view):
        tag, at = _read_varint(view, at)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, at = _read_varint(view, at)
            yield number, value
            continue
        if kind == LENGTH:
            size, at = _read_varint(view, at)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"a field of unknown kind {kind}")
        if at + size > len(view):
            raise ValueError(f"{at + size - len(view)} bytes are missing")
        yield number, view[at : at + size]
        at += size


def packed(view: memoryview) -> list[int]:
    """Whole numbers that lie one behind the other in one field."""
    numbers, at = [], 0
    while at < len(view):
        value, at = _read_varint(view, at)
        numbers.append(value)
    return numbers


def block(value: int | memoryview) -> memoryview:
    """Value of a field that holds bytes; ValueError where it is a number."""
    if isinstance(value, int):
        raise ValueError("a number where a message belongs")
    return value


def _read_varint(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(view) or shift > 63:
            raise ValueError("the message is cut off")
        byte = view[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
