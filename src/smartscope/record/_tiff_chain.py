"""Whether a TIFF still has its tail: its chain of pages, followed byte by byte.

Common readers log a broken chain and go on with the pages that are left, so a
recording cut off while it was copied looks like a shorter one.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from pathlib import Path

_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4}
_TYPE_BYTES |= {12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_CODES = {3: "H", 4: "I", 13: "I", 16: "Q"}
_DESCRIPTION = 270
_OFFSETS, _COUNTS = (273, 324), (279, 325)


@dataclass(frozen=True, slots=True)
class Cut:
    """What is missing first.

    Attributes
    ----------
    page : int
        Counted from 0.
    description : bool
        The description of that page is missing, its directory is there.
    """

    page: int
    description: bool = False


def find_cut(path: Path) -> Cut | None:
    """Find the first page that does not lie within the file, with its pixels.

    Returns
    -------
    Cut or None
        None when every page is whole, or this is no TIFF.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(16)
        order = {b"II": "<", b"MM": ">"}.get(head[:2])
        if order is None:
            return None
        chain = _Chain(file, size, order, big=head[2:4] in (b"+\0", b"\0+"))
        return chain.follow(head)


class _Chain:
    def __init__(self, file: BinaryIO, size: int, order: str, *, big: bool) -> None:
        self._file = file
        self._size = size
        self._order = order
        self._value_bytes = 8 if big else 4
        self._value = "Q" if big else "I"
        self._count = "Q" if big else "H"

    def follow(self, head: bytes) -> Cut | None:
        start = head[self._value_bytes :][: self._value_bytes]
        if len(start) < self._value_bytes:
            return Cut(0)
        at = self._one(self._value, start)
        seen: set[int] = set()
        while at and at not in seen:
            page = len(seen)
            seen.add(at)
            directory = self._directory(at)
            if directory is None:
                return Cut(page)
            entries, at = directory
            cut = self._tags(page, entries)
            if cut is not None:
                return cut
        # A file that is being written has no first page yet.
        return None if seen else Cut(0)

    def _directory(self, at: int) -> tuple[list[bytes], int] | None:
        """Tags of the directory at this place, and where the next one is."""
        count_bytes = struct.calcsize(self._count)
        length = 4 + 2 * self._value_bytes
        raw = self._read(at, count_bytes)
        if raw is None:
            return None
        count = self._one(self._count, raw)
        raw = self._read(at + count_bytes, count * length + self._value_bytes)
        if raw is None:
            return None
        tags = [raw[k * length : (k + 1) * length] for k in range(count)]
        return tags, self._one(self._value, raw[count * length :])

    def _tags(self, page: int, entries: list[bytes]) -> Cut | None:
        where: list[int] = []
        lengths: list[int] = []
        for entry in entries:
            tag, kind = struct.unpack(self._order + "HH", entry[:4])
            count = self._one(self._value, entry[4 : 4 + self._value_bytes])
            n_bytes = count * _TYPE_BYTES.get(kind, 1)
            raw: bytes | None = entry[4 + self._value_bytes :][:n_bytes]
            if n_bytes > self._value_bytes:
                place = self._one(self._value, entry[4 + self._value_bytes :])
                if place + n_bytes > self._size:
                    return Cut(page, description=tag == _DESCRIPTION)
                raw = self._read(place, n_bytes) if tag in _OFFSETS + _COUNTS else None
            if raw is not None and tag in _OFFSETS + _COUNTS and kind in _CODES:
                values = struct.unpack(f"{self._order}{count}{_CODES[kind]}", raw)
                (where if tag in _OFFSETS else lengths).extend(values)
        ends = (a + b for a, b in zip(where, lengths, strict=False))
        return Cut(page) if max(ends, default=0) > self._size else None

    def _read(self, at: int, length: int) -> bytes | None:
        if at + length > self._size:
            return None
        self._file.seek(at)
        return self._file.read(length)

    def _one(self, code: str, raw: bytes) -> int:
        return int(struct.unpack_from(self._order + code, raw)[0])
