"""Whether a TIFF still has its tail: its chain of pages, followed byte by byte.

Common readers log a broken chain and go on with the pages that are left, so a
recording cut off while it was copied looks like a shorter one.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from pathlib import Path

_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4}
_TYPE_BYTES |= {12: 8, 13: 4, 16: 8, 17: 8, 18: 8}


def first_cut_page(path: Path) -> tuple[int, bool] | None:
    """Find the first page whose directory or tags lie beyond the end of the file.

    Returns
    -------
    (number, reached) or None
        Page counted from 0, and whether its directory was still there (then one of
        its tags was cut off). None when all of them are whole, or this is no TIFF.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(16)
        order = {b"II": "<", b"MM": ">"}.get(head[:2])
        if order is None or len(head) < 8:
            return None
        big = struct.unpack(order + "H", head[2:4])[0] == 43
        if big and len(head) < 16:
            return (0, False)
        at = struct.unpack(
            order + ("Q" if big else "I"), head[8:] if big else head[4:8]
        )
        return _follow(file, size, at[0], order, big=big)


def _follow(
    file: BinaryIO, size: int, at: int, order: str, *, big: bool
) -> tuple[int, bool] | None:
    count_code, offset_code = ("Q", "Q") if big else ("H", "I")
    entry_bytes, value_bytes = (20, 8) if big else (12, 4)
    head_bytes = 8 if big else 2
    seen: set[int] = set()
    while at and at not in seen:
        number = len(seen)
        seen.add(at)
        if at + head_bytes > size:
            return number, False
        file.seek(at)
        (count,) = struct.unpack(order + count_code, file.read(head_bytes))
        length = count * entry_bytes
        if at + head_bytes + length + value_bytes > size:
            return number, False
        entries = file.read(length)
        for k in range(count):
            _, kind, n = struct.unpack_from(
                order + "HH" + offset_code, entries, k * entry_bytes
            )
            n_bytes = n * _TYPE_BYTES.get(kind, 1)
            (value,) = struct.unpack_from(
                order + offset_code, entries, (k + 1) * entry_bytes - value_bytes
            )
            if n_bytes > value_bytes and value + n_bytes > size:
                return number, True
        (at,) = struct.unpack(order + offset_code, file.read(value_bytes))
    return None
