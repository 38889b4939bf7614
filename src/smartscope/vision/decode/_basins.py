"""Watersheds: every pixel climbs to a peak, peaks that share a hill are joined."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


# Neighbours of 3 x 3 by rank among equally high ones: the pixel itself above all.
_BY_MARK = (8, 7, 6, 5, 3, 2, 1, 0, 4)


@dataclass(frozen=True, slots=True, eq=False)
class Basins:
    """Pixels of a mask by the peak they climb to.

    Attributes
    ----------
    where : ndarray (pixels,) int64
        Flat index in the image, ascending.
    basin : ndarray (pixels,) int64
        0..count-1.
    peak : ndarray (count,) float64
        Height of the peak.
    area : ndarray (count,) int64
    passes : ndarray (n, 2) int64
        Pairs of basins that touch, the highest pass first.
    saddle : ndarray (n,) float64
        Height of the pass.
    """

    where: NDArray[np.int64]
    basin: NDArray[np.int64]
    peak: NDArray[np.float64]
    area: NDArray[np.int64]
    passes: NDArray[np.int64]
    saddle: NDArray[np.float64]

    @classmethod
    def of(cls, height: NDArray[np.float32], mask: NDArray[np.bool_]) -> Basins:
        """Let each pixel of `mask` (y, x) climb `height` (y, x) steeply.

        A step goes to the highest of the eight neighbours inside of the mask (the
        rainfall watershed of Vincent and Soille 1991 seen from above).
        """
        ridge = np.full((mask.shape[0] + 2, mask.shape[1] + 2), -np.inf, np.float32)
        np.copyto(ridge[1:-1, 1:-1], height, where=mask)
        padded = np.flatnonzero(ridge > -np.inf)
        width = ridge.shape[1]
        level = ridge.ravel()
        place = np.empty(ridge.size, np.int64)
        place[padded] = np.arange(len(padded))
        ways = _ways(width)
        up = place[padded + ways[_steepest(ridge).ravel()[padded]]]
        while not np.array_equal(up, further := up[up]):
            up = further
        top = np.flatnonzero(up == np.arange(len(up)))
        count, group = _summits(padded[top], ridge.shape)
        number = np.empty(len(up), np.int64)
        number[top] = group
        basin = number[up]
        area = np.bincount(basin, minlength=count)
        of_pixel = np.zeros(ridge.shape, np.int32)
        of_pixel.ravel()[padded] = basin + 1
        passes, saddle = _passes(ridge, of_pixel)
        # Without the margin.
        where = padded - 2 * (padded // width) - (width - 1)
        peak = np.empty(count)
        peak[group] = level[padded[top]]
        return cls(where, basin, peak, area, passes, saddle)

    def joined(self, joins: Callable[[int, int, float], bool]) -> NDArray[np.int64]:
        """Which group each basin ends in, by the number of its highest basin.

        Passes are looked at from the highest down; ``joins(a, b, saddle)`` is asked
        with two groups and says whether they become one.
        """
        root = list(range(len(self.peak)))
        rank = np.empty(len(root), np.int64)
        rank[np.argsort(-self.peak, kind="stable")] = np.arange(len(root))
        order = rank.tolist()
        for (a, b), saddle in zip(
            self.passes.tolist(), self.saddle.tolist(), strict=True
        ):
            a, b = _find(root, a), _find(root, b)
            if a != b and joins(a, b, saddle):
                high, low = (a, b) if order[a] < order[b] else (b, a)
                root[low] = high
                self.area[high] += self.area[low]
        return np.array([_find(root, k) for k in range(len(root))], dtype=np.int64)


def _ways(width: int) -> NDArray[np.int64]:
    """Flat way to each of the 3 x 3 neighbours; 4 is the pixel itself."""
    dy, dx = np.divmod(np.arange(9), 3)
    return np.asarray((dy - 1) * width + dx - 1)


def _steepest(ridge: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Number of the highest neighbour of each pixel, as `_ways` counts them."""
    highest = cv2.dilate(ridge, np.ones((3, 3), np.uint8))
    height, width = ridge.shape[0] - 2, ridge.shape[1] - 2
    goal = highest[1:-1, 1:-1]
    best = np.zeros(goal.shape, np.uint8)
    # The highest mark wins: a pixel as high as any around it is a peak.
    for mark, k in enumerate(_BY_MARK):
        dy, dx = divmod(k, 3)
        found = cv2.compare(ridge[dy : dy + height, dx : dx + width], goal, cv2.CMP_EQ)
        best = np.maximum(best, np.asarray(found, np.uint8) & np.uint8(mark))
    return np.pad(np.array(_BY_MARK, np.uint8)[best], 1)


def _summits(
    tops: NDArray[np.int64], shape: tuple[int, ...]
) -> tuple[int, NDArray[np.int64]]:
    """How many summits there are, and which each top is part of: flat ones are one."""
    mask = np.zeros(shape, np.uint8)
    mask.ravel()[tops] = 1
    beside = cv2.boxFilter(mask, cv2.CV_16U, (3, 3), normalize=False)
    if np.asarray(beside).ravel()[tops].max() == 1:
        return len(tops), np.arange(len(tops))
    count, labels = cv2.connectedComponents(mask, connectivity=8)
    return count - 1, labels.ravel()[tops].astype(np.int64) - 1


def _passes(
    ridge: NDArray[np.float32], basin: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Pairs of basins that touch with the height between them, highest first."""
    ones, others, heights = [], [], []
    level, flat, width = ridge.ravel(), basin.ravel(), ridge.shape[1]
    for way in (1, width - 1, width, width + 1):
        a, b = flat[:-way], flat[way:]
        seam = np.flatnonzero((a != b) & (a > 0) & (b > 0))
        ones.append(np.minimum(a[seam], b[seam]) - 1)
        others.append(np.maximum(a[seam], b[seam]) - 1)
        heights.append(np.minimum(level[seam], level[seam + way]))
    one, other, height = map(np.concatenate, (ones, others, heights))
    order = np.lexsort((-height, other, one))
    one, other, height = one[order], other[order], height[order]
    first = np.ones(len(one), np.bool_)
    first[1:] = (one[1:] != one[:-1]) | (other[1:] != other[:-1])
    one, other, height = one[first], other[first], height[first]
    order = np.argsort(-height, kind="stable")
    pairs = np.column_stack([one[order], other[order]])
    return pairs, height[order].astype(np.float64)


def _find(root: list[int], k: int) -> int:
    while root[k] != k:
        root[k] = root[root[k]]
        k = root[k]
    return k
