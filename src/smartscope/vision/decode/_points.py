"""Heat maps to sub-pixel points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SQUARE = np.ones((3, 3), np.uint8)
# Under this share of its peak a neighbour is background, of which no logarithm tells.
_TAIL = 1e-3
# Neighbours of a point from which on pairs are not listed.
_CROWD = 32


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Points found in one image, one row each, in raster order.

    Attributes
    ----------
    y_px, x_px : ndarray (n,) float64
        Full-resolution pixels.
    score : ndarray (n,) float64
        Height of the peak.
    """

    y_px: NDArray[np.float64]
    x_px: NDArray[np.float64]
    score: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.y_px)


def heat_to_points(
    heat: NDArray[np.float32],
    *,
    threshold: float,
    min_distance_px: float,
    grid: int = 1,
    offsets: NDArray[np.float32] | None = None,
) -> Points:
    """Peaks of a heat map, to a fraction of a pixel.

    The highest peaks come first; a peak nearer than `min_distance_px` to a higher one
    is none. The fraction is the top of a parabola through the logarithm of the peak
    and its neighbours, which is exact for a Gaussian (Thevenaz 2000 reviews such
    fits); where a neighbour is not above 0, through the values themselves.

    Parameters
    ----------
    heat : ndarray (y, x) float32
    threshold : float
        Peaks must be above it.
    min_distance_px : float
        Full-resolution pixels.
    grid : int
        Full-resolution pixels per element of `heat`.
    offsets : ndarray (2, y, x) float32, optional
        Way ``(dy, dx)`` from the pixel of each element to the point,
        full-resolution pixels; taken instead of the parabola.
    """
    y, x = find_peaks(heat, threshold, min_distance_px / grid)
    score = heat[y, x].astype(np.float64)
    if offsets is None:
        dy, dx = refine(heat, y, x)
        return Points((y + dy) * grid, (x + dx) * grid, score)
    return Points(
        y * grid + _at(offsets[0], y, x), x * grid + _at(offsets[1], y, x), score
    )


def find_peaks(
    image: NDArray[np.float32],
    threshold: float,
    min_distance_px: float,
    most: int | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pixels ``(y, x)`` of the local maxima above `threshold`, in raster order.

    A maximum is the highest of its 3 x 3 neighbours, of a flat top the pixel nearest
    to its middle; of two nearer to each other than `min_distance_px` only the higher
    remains, of equal ones the first in raster order.

    Parameters
    ----------
    image : ndarray (y, x) float32
    most : int, optional
        Only so many maxima, the highest, are looked at.
    """
    if image.size == 0:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    highest = cv2.dilate(image, _SQUARE, borderType=cv2.BORDER_REPLICATE)
    tops = (image >= highest) & (image > threshold)
    y, x = _middles(tops, *np.nonzero(tops))
    # Highest first; they come in raster order and the sort is stable.
    order = np.argsort(-image[y, x], kind="stable")[:most]
    kept = np.sort(order[_apart(y[order], x[order], min_distance_px)])
    return y[kept], x[kept]


def refine(
    image: NDArray[np.float32], y: NDArray[np.int64], x: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Way ``(dy, dx)`` from peak pixels to the tops, within half a pixel.

    0 along an axis where the peak lies on the edge of the image.
    """
    height, width = image.shape
    at = _at(image, y, x)
    up, down = (
        _at(image, np.maximum(y - 1, 0), x),
        _at(image, np.minimum(y + 1, height - 1), x),
    )
    left, right = (
        _at(image, y, np.maximum(x - 1, 0)),
        _at(image, y, np.minimum(x + 1, width - 1)),
    )
    dy, dx = _vertex(up, at, down), _vertex(left, at, right)
    dy[(y == 0) | (y == height - 1)] = 0.0
    dx[(x == 0) | (x == width - 1)] = 0.0
    return dy, dx


def _at(
    image: NDArray[np.float32], y: NDArray[Any], x: NDArray[Any]
) -> NDArray[np.float64]:
    return np.asarray(image[y, x], dtype=np.float64)


def _vertex(
    before: NDArray[np.float64], at: NDArray[np.float64], after: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Offset of a parabola's top from its middle point, within half a pixel."""
    bell = np.minimum(before, after) > _TAIL * np.abs(at)
    rows = np.stack([before, at, after])
    rows[:, bell] = np.log(rows[:, bell])
    curve = rows[0] - 2.0 * rows[1] + rows[2]
    curve = np.where(curve < 0, curve, -1.0)
    return np.asarray(np.clip(0.5 * (rows[0] - rows[2]) / curve, -0.5, 0.5))


def _middles(
    tops: NDArray[np.bool_], y: NDArray[np.int64], x: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """One pixel ``(y, x)`` for each group of touching tops, in raster order."""
    mask = tops.view(np.uint8)
    beside = cv2.boxFilter(mask, cv2.CV_16U, (3, 3), normalize=False)
    if len(y) == 0 or beside[y, x].max() == 1:
        return y, x
    count, labels, _, middle = cv2.connectedComponentsWithStats(mask, connectivity=8)
    group = labels[y, x]
    away = (y - middle[group, 1]) ** 2 + (x - middle[group, 0]) ** 2
    order = np.lexsort((away, group))
    first = order[np.searchsorted(group[order], np.arange(1, count))]
    first.sort()
    return y[first], x[first]


def _apart(y: NDArray[Any], x: NDArray[Any], distance: float) -> NDArray[np.bool_]:
    """Which of the points, best first, have no better one nearer than `distance`."""
    keep = np.ones(len(y), dtype=np.bool_)
    if len(y) < 2:
        return keep
    points = np.column_stack([y, x])
    tree = cKDTree(points)
    # Far more pairs than points: ask only those that stand for their neighbours.
    area = max(1.0, float(np.ptp(y) + 1) * float(np.ptp(x) + 1))
    if len(y) * np.pi * distance**2 > _CROWD * area:
        reach = np.nextafter(distance, 0.0)
        for row in range(len(y)):
            if keep[row]:
                keep[tree.query_ball_point(points[row], reach)] = False
                keep[row] = True
        return keep
    pairs = tree.query_pairs(np.nextafter(distance, 0.0), output_type="ndarray")
    pairs = np.sort(pairs, axis=1)
    # By the better one: whether it stands is known before it puts out another.
    for first, second in pairs[np.argsort(pairs[:, 0], kind="stable")].tolist():
        if keep[first]:
            keep[second] = False
    return keep
