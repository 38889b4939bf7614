"""Cuts touching objects apart by the shape of their outline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from smartscope.vision._images import smooth

if TYPE_CHECKING:
    from numpy.typing import NDArray

_EIGHT = tuple((y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0))
_ALONG = np.linspace(0.0, 1.0, 11)[1:-1]
# A neck as wide as this many times the smaller radius joins two peaks for certain
# only when they are also close; farther apart they never shared an outline.
_REACH = 3.0


def distance_inside(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Distance to the nearest background pixel, at most 8 % too small.

    The larger of chessboard and (scaled) taxicab distance; scipy's exact Euclidean
    transform takes five times as long.
    """
    chess = ndimage.distance_transform_cdt(mask, "chessboard").astype(np.float32)
    taxi = ndimage.distance_transform_cdt(mask, "taxicab").astype(np.float32)
    taxi *= np.float32(np.sqrt(0.5))
    return np.asarray(np.maximum(chess, taxi, out=chess))


def split_touching(
    labels: NDArray[np.int32],
    count: int,
    *,
    min_radius_px: float,
    neck: float,
) -> tuple[NDArray[np.int32], int]:
    """Split every component at its necks.

    Seeds are the peaks of the distance transform; two peaks belong to one object
    unless the distance falls below `neck` times the smaller peak between them (an
    h-maxima rule relative to size). Pixels go to the seed with the smallest power
    distance, which cuts along the line through the two notches of a neck: the
    watershed of the inscribed circles.

    Parameters
    ----------
    labels : ndarray (y, x) int32
        Connected components 1..count.
    min_radius_px : float
        Peaks lower than this are no objects of their own.
    neck : float
        0..1; smaller splits less.

    Returns
    -------
    labels, count
        New labels; the first piece of each component keeps its label.
    """
    mask = labels > 0
    if count == 0 or mask.all():
        return labels, count
    distance = smooth(distance_inside(mask), 1.0)
    y, x = _peaks(distance, mask, min_radius_px)
    component = labels[y, x].astype(np.int64)
    radius = distance[y, x].astype(np.float64)
    several = np.bincount(component, minlength=count + 1)[component] > 1
    y, x = y[several], x[several]
    component, radius = component[several], radius[several]
    if len(y) == 0:
        return labels, count
    keep = _merge(distance, y, x, component, radius, neck)
    return _assign(labels, count, y[keep], x[keep], component[keep], radius[keep])


def _peaks(
    distance: NDArray[np.float32], mask: NDArray[np.bool_], least: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    padded = np.pad(distance, 1)
    height, width = distance.shape
    top = mask & (distance >= least)
    for dy, dx in _EIGHT:
        top &= distance >= padded[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]
    y, x = np.nonzero(top)
    return y, x


def _merge(
    distance: NDArray[np.float32],
    y: NDArray[np.int64],
    x: NDArray[np.int64],
    component: NDArray[np.int64],
    radius: NDArray[np.float64],
    neck: float,
) -> NDArray[np.int64]:
    """Indices of the peaks that remain, highest of each merged group."""
    points = np.column_stack([y, x]).astype(np.float64)
    pairs = cKDTree(points).query_pairs(_REACH * radius.max(), output_type="ndarray")
    i, j = pairs[:, 0], pairs[:, 1]
    small = np.minimum(radius[i], radius[j])
    apart = np.hypot(*(points[i] - points[j]).T)
    near = (component[i] == component[j]) & (apart <= _REACH * (small + 1))
    i, j, small = i[near], j[near], small[near]
    line = points[i, None] + (points[j] - points[i])[:, None] * _ALONG[:, None]
    at = np.rint(line).astype(np.int64)
    saddle = distance[at[..., 0], at[..., 1]].min(axis=1, initial=np.inf)
    joined = saddle >= neck * small
    # Highest first, then position: the same seeds whatever order pairs come in.
    order = np.lexsort((x, y, -radius))
    root = np.arange(len(y))
    rank = np.empty(len(y), dtype=np.int64)
    rank[order] = root
    for a, b in zip(i[joined].tolist(), j[joined].tolist(), strict=True):
        ra, rb = _find(root, a), _find(root, b)
        if ra != rb:
            high, low = (ra, rb) if rank[ra] < rank[rb] else (rb, ra)
            root[low] = high
    return np.array([k for k in order.tolist() if root[k] == k], dtype=np.int64)


def _find(root: NDArray[np.int64], k: int) -> int:
    while root[k] != k:
        root[k] = root[root[k]]
        k = int(root[k])
    return k


def _assign(
    labels: NDArray[np.int32],
    count: int,
    y: NDArray[np.int64],
    x: NDArray[np.int64],
    component: NDArray[np.int64],
    radius: NDArray[np.float64],
) -> tuple[NDArray[np.int32], int]:
    seeds = np.bincount(component, minlength=count + 1)
    shared = np.flatnonzero(seeds > 1)
    if len(shared) == 0:
        return labels, count
    out = labels.copy()
    boxes = ndimage.find_objects(labels)
    for label in shared.tolist():
        box = boxes[label - 1]
        py, px = np.nonzero(labels[box] == label)
        py, px = py + box[0].start, px + box[1].start
        own = np.flatnonzero(component == label)
        power = (py[:, None] - y[own]) ** 2 + (px[:, None] - x[own]) ** 2
        nearest = np.argmin(power - radius[own] ** 2, axis=1)
        new = np.append(label, np.arange(count + 1, count + len(own)))
        out[py, px] = new[nearest]
        count += len(own) - 1
    return out, count
