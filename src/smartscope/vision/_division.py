"""The rule that turns one ending track and two new objects into a division."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smartscope.vision._linker import Followed, Objects

# Daughters together against the mother before rounding. Condensed chromatin covers
# less; much more means that two cells had been seen as one.
_SUM_OF_AREAS = (0.25, 1.25)
_ONE_AREA = 0.85
_ALIKE = 0.5
# Distance between the daughters over the sum of their radii. The pieces of one nucleus
# that segmentation broke lie closer than two that have parted.
_GAP = 1.15


@dataclass(frozen=True, slots=True)
class Division:
    """Rows in the frame's objects of two daughters, and the row of their mother."""

    mother: int
    first: int
    second: int


def find_divisions(
    mothers: Sequence[tuple[int, Followed, int | None]],
    places: Sequence[tuple[float, float]],
    free: Sequence[int],
    objects: Objects,
    distance_um: float,
) -> list[Division]:
    """Divisions that explain objects nobody else claims.

    A mother was linked to one daughter (she seems to shrink and jump) or was not
    found; the other daughter, or both, are `free`. Both lie within `distance_um` of
    where she was expected, on either side of her, are alike in size and brightness,
    and together no larger than she was before rounding.

    Parameters
    ----------
    mothers : (row, track, linked object or None)
        Tracks that may divide.
    places : (x_um, y_um) per mother
        Where each was expected.
    free : rows of objects
        Without a track, or with one only just born.

    Returns
    -------
    list of Division
        No mother and no object twice; the most symmetric first.
    """
    found: list[tuple[float, Division]] = []
    spare = np.array(sorted(free), dtype=np.int64)
    if not len(spare):
        return []
    xy = objects.xy_um[spare]
    for (row, track, linked), place in zip(mothers, places, strict=True):
        near = np.hypot(xy[:, 0] - place[0], xy[:, 1] - place[1]) <= distance_um
        rows = [int(k) for k in spare[near] if k != linked]
        pairs = (
            combinations(rows, 2)
            if linked is None
            else ((linked, other) for other in rows)
        )
        for a, b in pairs:
            doubt = _doubt(track, place, a, b, objects, distance_um)
            if doubt is not None:
                found.append((doubt, Division(row, a, b)))
    found.sort(key=lambda item: (item[0], item[1].mother, item[1].first))
    taken: set[int] = set()
    mothers_used: set[int] = set()
    out = []
    for _, division in found:
        daughters = {division.first, division.second}
        if division.mother not in mothers_used and not daughters & taken:
            mothers_used.add(division.mother)
            taken |= daughters
            out.append(division)
    return out


def _doubt(
    track: Followed,
    place: tuple[float, float],
    a: int,
    b: int,
    objects: Objects,
    distance_um: float,
) -> float | None:
    """How far from a perfect division this pair is; None if it is none."""
    pa, pb = objects.xy_um[a], objects.xy_um[b]
    apart = float(np.hypot(*(pa - pb)))
    middle = (pa + pb) / 2
    off = float(np.hypot(middle[0] - place[0], middle[1] - place[1]))
    if apart > 1.5 * distance_um or off > 0.6 * distance_um:
        return None
    small, large = sorted((float(objects.area_um2[a]), float(objects.area_um2[b])))
    dim, bright = sorted((float(objects.bright[a]), float(objects.bright[b])))
    if small < _ALIKE * large or dim < _ALIKE * bright:
        return None
    radii = np.sqrt(small / np.pi) + np.sqrt(large / np.pi)
    if apart < _GAP * radii:
        return None
    total = (small + large) / track.area_um2
    if not _SUM_OF_AREAS[0] <= total <= _SUM_OF_AREAS[1]:
        return None
    if large > _ONE_AREA * track.area_um2:
        return None
    return off / distance_um + (1 - small / large) + (1 - dim / bright)
