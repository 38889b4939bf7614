"""Cuts touching objects apart by the shape of their outline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from smartscope.vision._images import smooth

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from smartscope.vision._regions import Regions

    Box = tuple[slice, slice]

_EIGHT = tuple((y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0))
_ALONG = np.linspace(0.0, 1.0, 11)[1:-1]
# A neck as wide as this many times the smaller radius joins two peaks for certain
# only when they are also close; farther apart they never shared an outline.
_REACH = 3.0
# Area over the area of the ellipse with the same moments: objects above this have no
# neck worth a look.
_WHOLE = 0.97


def split_touching(
    labels: NDArray[np.int32],
    regions: Regions,
    *,
    min_radius_px: float,
    neck: float,
) -> tuple[NDArray[np.int32], int]:
    """Split every component at its necks.

    Seeds are the peaks of the Euclidean distance transform; two peaks belong to one
    object unless the distance falls below `neck` times the smaller peak between them
    (an h-maxima rule relative to size). Pixels go to the seed with the smallest power
    distance, which cuts along the line through the two notches of a neck: the
    watershed of the inscribed circles.

    Parameters
    ----------
    labels : ndarray (y, x) int32
        Connected components 1..count.
    regions : Regions
        Their pixels.
    min_radius_px : float
        Peaks lower than this are no objects of their own.
    neck : float
        0..1; smaller splits less.

    Returns
    -------
    labels, count
        New labels; the first piece of each component keeps its label.
    """
    _, compactness = regions.shapes()
    bent = np.flatnonzero(compactness < _WHOLE)
    if len(bent) == 0:
        return labels, regions.count
    boxes: list[Any] = ndimage.find_objects(labels)
    places = _Sheet.pack([boxes[k] for k in bent.tolist()])
    sheet = np.zeros(places.shape, dtype=np.int32)
    for k, box, place in zip(bent.tolist(), places.boxes, places.places, strict=True):
        piece = labels[box]
        sheet[place] = np.where(piece == k + 1, piece, np.int32(0))
    pieces, count = _split_sheet(sheet, regions.count, places, min_radius_px, neck)
    if count == regions.count:
        return labels, count
    out = labels.copy()
    for k, box, place in zip(bent.tolist(), places.boxes, places.places, strict=True):
        np.copyto(out[box], pieces[place], where=labels[box] == k + 1)
    return out, count


@dataclass(frozen=True, slots=True)
class _Sheet:
    """Where boxes of an image lie on a sheet with a margin around each.

    The distance transform costs by the pixel: a sheet of the few objects in question
    takes a fraction of the whole image.
    """

    boxes: list[Box]
    places: list[Box]
    shape: tuple[int, int]

    @classmethod
    def pack(cls, boxes: list[Box]) -> _Sheet:
        """Lay the boxes on shelves, in the order given."""
        sizes = [(b[0].stop - b[0].start, b[1].stop - b[1].start) for b in boxes]
        area = sum((h + 1) * (w + 1) for h, w in sizes)
        width = max(int(1.2 * area**0.5), max(w for _, w in sizes) + 2)
        y = x = 1
        shelf = 0
        places = []
        for h, w in sizes:
            if x + w + 1 > width:
                x, y, shelf = 1, y + shelf + 1, 0
            places.append((slice(y, y + h), slice(x, x + w)))
            x, shelf = x + w + 1, max(shelf, h)
        return cls(boxes, places, (y + shelf + 1, width))


def _split_sheet(
    labels: NDArray[np.int32],
    count: int,
    sheet: _Sheet,
    min_radius_px: float,
    neck: float,
) -> tuple[NDArray[np.int32], int]:
    mask = labels > 0
    exact = ndimage.distance_transform_edt(mask).astype(np.float32)
    distance = smooth(exact, 1.0)
    y, x = _peaks(distance, mask, min_radius_px)
    component = labels[y, x].astype(np.int64)
    radius = distance[y, x].astype(np.float64)
    several = np.bincount(component, minlength=count + 1)[component] > 1
    y, x = y[several], x[several]
    component, radius = component[several], radius[several]
    if len(y) == 0:
        return labels, count
    keep = _merge(distance, y, x, component, radius, neck)
    y, x, component, radius = y[keep], x[keep], component[keep], radius[keep]
    return _assign(labels, count, sheet, y, x, component, radius)


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
    sheet: _Sheet,
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
    place_of = {int(labels[place].max()): place for place in sheet.places}
    for label in shared.tolist():
        box = place_of[label]
        py, px = np.nonzero(labels[box] == label)
        py, px = py + box[0].start, px + box[1].start
        own = np.flatnonzero(component == label)
        power = (py[:, None] - y[own]) ** 2 + (px[:, None] - x[own]) ** 2
        nearest = np.argmin(power - radius[own] ** 2, axis=1)
        new = np.append(label, np.arange(count + 1, count + len(own)))
        out[py, px] = new[nearest]
        count += len(own) - 1
    return out, count
