"""Cellpose's flows to instances."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from smartscope.vision.decode._flow_error import flow_errors
from smartscope.vision.decode._regrow import fill_label_holes, keep_sizes

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Networks of this family give flows five times as long as a step.
_SCALE = np.float32(1 / 5)
# A seed is the fullest of 5 x 5 pixels and holds more than this many ends of paths; it
# grows five times by a pixel, over pixels that hold more than two.
_SEED_ENDS = 10
_GROW_ENDS = 2
_GROW_STEPS = 5
_SQUARE = np.ones((3, 3), np.uint8)
_WINDOW = np.ones((5, 5), np.uint8)
# Paths this near to each other, 1/px, have run together and are followed as one.
_TOGETHER = 16
# Points in one row of what OpenCV looks up; it takes no side above 32767.
_ROW = 256


def flows_to_labels(
    flows: NDArray[np.float32],
    cell_logit: NDArray[np.float32],
    *,
    threshold: float = 0.0,
    steps: int = 200,
    flow_threshold: float = 0.4,
    min_area_px: int = 15,
) -> NDArray[np.int32]:
    """Instances of a Cellpose model (Stringer et al. 2021; Pachitariu 2022).

    Every pixel of a cell walks along the flow; pixels whose walks end together are one
    instance. Instances whose own flow, by diffusion from their middle, differs from
    that of the model are dropped. Walks that have run together are followed as one,
    which changes no end by more than a sixteenth of a pixel.

    Parameters
    ----------
    flows : ndarray (2, y, x) float32
        Flow along y and along x, as the model gives it (five times a step).
    cell_logit : ndarray (y, x) float32
        Above `threshold` is cell.
    steps : int
        Steps of each walk.
    flow_threshold : float
        Greatest mean square difference of the flows; 0 or less keeps all.
    min_area_px : int
        Smaller instances are dropped.

    Returns
    -------
    labels : ndarray (y, x) int32
        0 is background. Holes are filled.
    """
    cell = cell_logit > threshold
    y, x = np.nonzero(cell)
    labels = np.zeros(cell.shape, np.int32)
    if len(y) == 0:
        return labels
    field = np.where(cell, flows * _SCALE, np.float32(0))
    ends = _walk(field, y, x, steps)
    labels[y, x] = _basins(ends, cell.shape)
    labels = keep_sizes(labels, 1)
    if flow_threshold > 0:
        good = flow_errors(labels, flows * _SCALE) <= flow_threshold
        number = np.append(0, np.where(good, np.arange(1, len(good) + 1), 0))
        labels = number.astype(np.int32)[labels]
    return keep_sizes(fill_label_holes(keep_sizes(labels, min_area_px)), min_area_px)


def _walk(
    field: NDArray[np.float32], y: NDArray[np.int64], x: NDArray[np.int64], steps: int
) -> NDArray[np.int64]:
    """Pixels ``(points, 2)``, y and x, in which the walks from ``(y, x)`` end."""
    height, width = field.shape[1:]
    vectors = np.ascontiguousarray(field[::-1].transpose(1, 2, 0))
    last = np.array([width - 1, height - 1], np.float32)
    at = np.column_stack([x, y]).astype(np.float32)
    path = np.arange(len(at))
    merge = 8
    for step in range(steps):
        if step == merge:
            at, path = _merged(at, path, width)
            merge *= 2
        at += _looked_up(vectors, at)
        np.clip(at, 0, last, out=at)
    return at[path, ::-1].astype(np.int64)


def _looked_up(
    vectors: NDArray[np.float32], at: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Vectors ``(points, 2)`` at points ``(x, y)``, between pixels linearly."""
    rows = -(-len(at) // _ROW)
    places = np.zeros((rows * _ROW, 2), np.float32)
    places[: len(at)] = at
    found = cv2.remap(
        vectors,
        places.reshape(rows, _ROW, 2),
        None,  # type: ignore[call-overload, unused-ignore]
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(found, dtype=np.float32).reshape(-1, 2)[: len(at)]


def _merged(
    at: NDArray[np.float32], path: NDArray[np.int64], width: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """One point for those that have run together, and which is now whose."""
    cell = np.rint(at * _TOGETHER).astype(np.int64)
    key = cell[:, 1] * (width * _TOGETHER + 1) + cell[:, 0]
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    return at[first], inverse[path]


def _basins(ends: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[np.int32]:
    """Number of the seed in whose pixels each walk ends, 0 for none."""
    width = shape[1]
    where = ends[:, 0] * width + ends[:, 1]
    count = np.bincount(where, minlength=shape[0] * width).astype(np.float32)
    count = count.reshape(shape)
    seed = (count >= cv2.dilate(count, _WINDOW)) & (count > _SEED_ENDS)
    y, x = np.nonzero(seed)
    # Where two grow into each other the fuller one has the higher number, and wins.
    order = np.argsort(count[y, x], kind="stable")
    grown = np.zeros(shape, np.float32)
    grown[y[order], x[order]] = np.arange(1, len(y) + 1)
    for _ in range(_GROW_STEPS):
        grown = np.asarray(cv2.dilate(grown, _SQUARE), dtype=np.float32)
        grown[count <= _GROW_ENDS] = 0
    return np.asarray(grown.ravel()[where], dtype=np.int32)
