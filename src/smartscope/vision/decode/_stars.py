"""StarDist's rays to polygons: non-maximum suppression and drawing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from smartscope.core import ModelError
from smartscope.vision.decode._overlap import Shapes

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Fractional bits of the corners that OpenCV draws.
_BITS = 4
# OpenCV fills the pixels that the outline runs through, also those whose centres lie
# outside: half a pixel too much all around.
_PEN_PX = 0.5
# So many proposals are looked at, or one of so many elements of a large map: more are
# not objects but a network that says "everywhere", and would cost seconds.
_MOST = 16384
_SHARE = 8
# Proposals that are held against each other at once.
_GROUP = 256
# Side of the window in which a winner of one round is the best, elements of the map.
_WINDOW = 5


@dataclass(frozen=True, slots=True, eq=False)
class Stars:
    """Star-convex objects, the surest first.

    Attributes
    ----------
    labels : ndarray (y, x) int32
        Object ``k`` of the lists below has label ``k + 1``; 0 is background.
    y_px, x_px : ndarray (n,) float64
        Centre of the rays, full-resolution pixels; not the centroid.
    score : ndarray (n,) float64
        Probability at the centre.
    outlines : ndarray (n, rays, 2) float32
        Corners ``(y, x)``, full-resolution pixels; may lie outside of the image.
    left_out : int
        Proposals that were not looked at, for there were too many.
    """

    labels: NDArray[np.int32]
    y_px: NDArray[np.float64]
    x_px: NDArray[np.float64]
    score: NDArray[np.float64]
    outlines: NDArray[np.float32]
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.y_px)


def rays_to_labels(
    prob: NDArray[np.float32],
    rays: NDArray[np.float32],
    *,
    shape: tuple[int, int],
    grid: int,
    threshold: float,
    nms: float = 0.4,
    exhaustive: bool = False,
) -> Stars:
    """Objects of a StarDist model (Schmidt et al. 2018).

    Every element of `prob` above `threshold` proposes a polygon. The surest proposal
    wins and puts out all that share more than `nms` of the smaller one's area with
    it, then the surest of the rest, and so on. Overlaps are taken from samples
    inside the smaller polygon. Of more proposals than objects could make (16384, or
    an eighth of a large map) the local maxima and then the surest are looked at.

    Parameters
    ----------
    prob : ndarray (y, x) float32
        0..1.
    rays : ndarray (rays, y, x) float32
        Ray ``k`` ends ``d sin(2 pi k / rays)`` down and ``d cos(2 pi k / rays)`` to
        the right, d in full-resolution pixels; at least 3.
    shape : (int, int)
        Height and width of the image; elements outside of it are left out.
    grid : int
        Full-resolution pixels per element.
    nms : float
        0..1.
    exhaustive : bool
        Test each proposal with each winner, with many samples: the plain method, slow.
        Otherwise all local maxima are taken at once, then those among what they left
        standing, and only doubtful overlaps are looked at closely.

    Raises
    ------
    ModelError
        A proposal has rays that are not finite.
    """
    height, width = (-(-side // grid) for side in shape)
    prob, rays = prob[:height, :width], rays[:, :height, :width]
    # In raster order; the sort keeps that among equals.
    place = np.flatnonzero(prob > threshold)
    proposed = len(place)
    if not exhaustive:
        place = _best(prob, place, max(_MOST, prob.size // _SHARE))
    place = place[np.argsort(-prob.ravel()[place], kind="stable")]
    y, x = np.divmod(place, max(prob.shape[1], 1))
    lengths = rays.reshape(len(rays), -1)[:, place].T
    if not np.isfinite(lengths).all():
        raise ModelError("the model gives rays that are not finite where objects are")
    shapes = Shapes.of(y * grid, x * grid, lengths)
    if exhaustive:
        kept = _one_by_one(shapes, nms)
    else:
        kept = _in_rounds(shapes, y, x, prob.shape, nms)
    return _drawn(shapes, prob[y, x], kept, shape, proposed - len(place))


def _best(
    prob: NDArray[np.float32], place: NDArray[np.int64], most: int
) -> NDArray[np.int64]:
    """At most so many proposals, in raster order: local maxima before all others."""
    if len(place) <= most:
        return place
    # Every object has a maximum, so none is lost but in a map gone wild.
    top = (prob >= cv2.dilate(prob, np.ones((3, 3), np.uint8))).ravel()[place]
    order = np.lexsort((-prob.ravel()[place], ~top))
    return np.sort(place[order[:most]])


def _one_by_one(shapes: Shapes, nms: float) -> NDArray[np.int64]:
    """Rows that win, each tested against all that are left."""
    left = np.arange(len(shapes))
    kept = []
    while len(left):
        best, left = left[:1], left[1:]
        kept.append(int(best[0]))
        _, near = shapes.near(best, left)
        pairs = np.broadcast_to(best, near.shape), left[near]
        out = near[shapes.shared(*pairs, rings=8) > nms]
        left = np.delete(left, out)
    return np.array(kept, dtype=np.int64)


def _in_rounds(
    shapes: Shapes,
    y: NDArray[np.int64],
    x: NDArray[np.int64],
    size: tuple[int, ...],
    nms: float,
) -> NDArray[np.int64]:
    """Rows that win; all local maxima of those left compete in one round."""
    left = np.arange(len(shapes))
    # The surer the higher, all different: a flat top has one maximum.
    height = np.zeros(size, np.float32)
    height[y, x] = len(left) - left
    window = np.ones((_WINDOW, _WINDOW), np.uint8)
    kept = np.empty(0, np.int64)
    while len(left):
        highest = cv2.dilate(height, window)
        top = highest[y[left], x[left]] == height[y[left], x[left]]
        winners = _surest(shapes, left[top], nms)
        height[y[left[top]], x[left[top]]] = 0
        left = left[~top]
        out = _put_out(shapes, left, winners, y, x, size, nms)
        height[y[left[out]], x[left[out]]] = 0
        left = left[~out]
        kept = np.concatenate([kept, winners])
    # One that won late may be surer than one that won early.
    return _surest(shapes, np.sort(kept), nms)


def _surest(shapes: Shapes, rows: NDArray[np.int64], nms: float) -> NDArray[np.int64]:
    """Rows (in order, surest first) that no surer winner among them puts out."""
    won = np.empty(0, np.int64)
    # In groups: what those before put out need not be held against each other.
    for first in range(0, len(rows), _GROUP):
        group = rows[first : first + _GROUP]
        i, j = shapes.near(group, won)
        lost = np.zeros(len(group), np.bool_)
        lost[i[shapes.clash(group[i], won[j], nms)]] = True
        won = np.concatenate([won, _surest_of(shapes, group[~lost], nms)])
    return won


def _surest_of(
    shapes: Shapes, rows: NDArray[np.int64], nms: float
) -> NDArray[np.int64]:
    i, j = shapes.near(rows, rows)
    once = i < j
    i, j = i[once], j[once]
    clash = shapes.clash(rows[i], rows[j], nms)
    i, j = i[clash], j[clash]
    order = np.argsort(i, kind="stable")
    wins = [True] * len(rows)
    for surer, other in zip(i[order].tolist(), j[order].tolist(), strict=True):
        if wins[surer]:
            wins[other] = False
    return rows[np.array(wins, dtype=np.bool_)]


def _put_out(
    shapes: Shapes,
    left: NDArray[np.int64],
    winners: NDArray[np.int64],
    y: NDArray[np.int64],
    x: NDArray[np.int64],
    size: tuple[int, ...],
    nms: float,
) -> NDArray[np.bool_]:
    """Which of `left` a surer winner puts out."""
    out = np.zeros(len(left), np.bool_)
    if len(left) == 0:
        return out
    # Nearly all fall to the winner next to them: that is tried first.
    free = np.ones(size, np.uint8)
    free[y[winners], x[winners]] = 0
    _, cell = cv2.distanceTransformWithLabels(
        free, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    owner = np.zeros(len(winners) + 1, np.int64)
    owner[cell[y[winners], x[winners]]] = winners
    nearest = owner[cell[y[left], x[left]]]
    surer = nearest < left
    out[surer] = shapes.clash(left[surer], nearest[surer], nms)
    rest = np.flatnonzero(~out)
    i, j = shapes.near(left[rest], winners)
    new = (winners[j] < left[rest[i]]) & (winners[j] != nearest[rest[i]])
    i, j = rest[i[new]], winners[j[new]]
    out[i[shapes.clash(left[i], j, nms)]] = True
    return out


def _drawn(
    shapes: Shapes,
    prob: NDArray[np.float32],
    kept: NDArray[np.int64],
    shape: tuple[int, int],
    left_out: int,
) -> Stars:
    """Draw the winners, the surest on top."""
    labels = _draw(shapes, kept, shape)
    y, x = shapes.y[kept].astype(np.int64), shapes.x[kept].astype(np.int64)
    # Only where others cover a centre may they cover all of an object.
    if (labels[y, x] != np.arange(1, len(kept) + 1)).any():
        seen = np.bincount(labels.ravel(), minlength=len(kept) + 1)[1:] > 0
        if not seen.all():
            kept = kept[seen]
            labels = _draw(shapes, kept, shape)
    return Stars(
        labels=labels,
        y_px=shapes.y[kept].astype(np.float64),
        x_px=shapes.x[kept].astype(np.float64),
        score=prob[kept].astype(np.float64),
        outlines=shapes.corners(kept),
        left_out=left_out,
    )


def _draw(
    shapes: Shapes, rows: NDArray[np.int64], shape: tuple[int, int]
) -> NDArray[np.int32]:
    labels = np.zeros(shape, np.int32)
    corners = shapes.corners(rows, _PEN_PX)[:, :, ::-1]
    fixed = np.rint(corners * (1 << _BITS)).astype(np.int32)
    for k in range(len(rows) - 1, -1, -1):
        cv2.fillPoly(labels, [fixed[k]], k + 1, cv2.LINE_8, _BITS)
    return labels
