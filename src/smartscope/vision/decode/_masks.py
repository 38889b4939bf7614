"""Foreground, border and distance maps to instances."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from smartscope.vision.decode._basins import Basins
from smartscope.vision.decode._regrow import fill_label_holes, keep_sizes

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

# Two peaks are two objects where the way between them falls below this share of the
# lower one. Tuned on outlines of real nuclei.
_NECK = 0.92
_SMOOTH_PX = 1.0
# Smaller pieces, px, are spurs of the object they hang on, whatever their neck.
_SPUR_PX = 12


def masks_to_labels(
    foreground: NDArray[np.float32],
    *,
    border: NDArray[np.float32] | None = None,
    distance: NDArray[np.float32] | None = None,
    threshold: float,
    min_area_px: float = 0,
    max_area_px: float | None = None,
    fill_holes: bool,
) -> NDArray[np.int32]:
    """Instances of a semantic segmentation, touching ones cut by a watershed.

    With `border`, the connected cores in which the foreground exceeds the border by
    `threshold` are the objects, grown to the pixels nearest to them. Without, the
    cuts run through the valleys of `distance`, or of the distance to the background
    where the model gives none; only a valley deep enough cuts.

    Parameters
    ----------
    foreground : ndarray (y, x) float32
        Above `threshold` is object.
    border : ndarray (y, x) float32, optional
        Probability of being the border of an object.
    distance : ndarray (y, x) float32, optional
        Higher towards the middle of an object, in any unit.
    min_area_px, max_area_px : float, float or None
        Smaller and larger objects are dropped; None is no limit.
    fill_holes : bool
        Fill holes that one object alone encloses.

    Returns
    -------
    labels : ndarray (y, x) int32
        1, 2, ... without gaps; 0 is background.
    """
    mask = foreground > threshold
    labels = np.zeros(mask.shape, np.int32)
    if not mask.any():
        return labels
    spur = max(_SPUR_PX, min_area_px)
    if border is not None:
        basins, group = _by_cores(mask, foreground - border > threshold)
    else:
        if distance is None:
            distance = _depth(mask)
        basins, group = _by_valleys(mask, distance, spur)
    labels.ravel()[basins.where] = group[basins.basin] + 1
    if fill_holes:
        labels = fill_label_holes(labels)
    return keep_sizes(labels, min_area_px, max_area_px)


def _depth(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Distance to the nearest pixel outside of the mask, 0 there, px."""
    depth = cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, 5)
    return np.asarray(depth, dtype=np.float32)


def _by_valleys(
    mask: NDArray[np.bool_], distance: NDArray[np.float32], spur_px: float
) -> tuple[Basins, NDArray[np.int64]]:
    hills = cv2.GaussianBlur(distance, (0, 0), _SMOOTH_PX)
    basins = Basins.of(np.asarray(hills, dtype=np.float32), mask)
    return basins, basins.joined(_shallow(basins, spur_px))


def _shallow(basins: Basins, spur_px: float) -> Callable[[int, int, float], bool]:
    """Rule: the valley is shallow, or one side is a spur."""

    def joins(a: int, b: int, saddle: float) -> bool:
        if min(basins.area[a], basins.area[b]) < spur_px:
            return True
        return bool(saddle >= _NECK * min(basins.peak[a], basins.peak[b]))

    return joins


def _by_cores(
    mask: NDArray[np.bool_], core: NDArray[np.bool_]
) -> tuple[Basins, NDArray[np.int64]]:
    core &= mask
    _, number = cv2.connectedComponents(core.view(np.uint8), connectivity=4)
    basins = Basins.of(_depth(core) - _depth(~core), mask)
    inside = number.ravel()[basins.where]
    of_basin = np.zeros(len(basins.peak), np.int64)
    of_basin[basins.basin[inside > 0]] = inside[inside > 0]
    held = of_basin.tolist()

    def joins(a: int, b: int, saddle: float) -> bool:
        if held[a] and held[b] and held[a] != held[b]:
            return False
        held[a] = held[b] = held[a] or held[b]
        return True

    return basins, basins.joined(joins)
