"""What a StarDist network is taught: object probability and lengths of rays."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class RayTable:
    """Truth of every object pixel of one image; background takes no memory.

    Attributes
    ----------
    row : ndarray (y, x) int32
        Row of the arrays below; -1 on background.
    prob : ndarray (n,) float32
        Distance to the object's border over its largest value in the object, 0..1.
    radius_px : ndarray (n,) float32
        Radius of a disk of the object's area.
    rays : ndarray (n, rays) float16
        Lengths, pixels; ray ``k`` points ``sin(2 pi k / rays)`` down and
        ``cos(2 pi k / rays)`` to the right.
    """

    row: NDArray[np.int32]
    prob: NDArray[np.float32]
    radius_px: NDArray[np.float32]
    rays: NDArray[np.float16]


def directions(rays: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Unit steps ``(down, right)`` of each ray."""
    angle = 2 * np.pi * np.arange(rays) / rays
    return np.sin(angle), np.cos(angle)


def ray_table(labels: NDArray[np.integer], rays: int = 32) -> RayTable:
    """Compute the truth of one label image, object by object.

    A ray ends half a step before the first pixel that is not of its object, or outside
    of the image (the convention of Schmidt et al. 2018: a polygon through the ends
    holds the centres of the object's pixels).

    Parameters
    ----------
    labels : ndarray (y, x) of integers
        0 is background.
    """
    row = np.full(labels.shape, -1, np.int32)
    prob, radius, lengths = [], [], []
    filled = 0
    for label, window in _windows(labels):
        mask = labels[window] == label
        inside = np.flatnonzero(mask.ravel())
        row[window][mask] = np.arange(filled, filled + len(inside), dtype=np.int32)
        filled += len(inside)
        prob.append(_depth(mask, window, labels.shape).ravel()[inside])
        radius.append(
            np.full(len(inside), math.sqrt(len(inside) / math.pi), np.float32)
        )
        lengths.append(_march(mask, rays).reshape(rays, -1)[:, inside].T)
    if not prob:
        nothing = np.zeros(0, np.float32)
        return RayTable(row, nothing, nothing, np.zeros((0, rays), np.float16))
    return RayTable(
        row, np.concatenate(prob), np.concatenate(radius), np.concatenate(lengths)
    )


def _windows(labels: NDArray[np.integer]) -> list[tuple[int, tuple[slice, slice]]]:
    from scipy import ndimage

    found = ndimage.find_objects(labels.astype(np.int32, copy=False))
    return [(k, (w[0], w[1])) for k, w in enumerate(found, start=1) if w is not None]


def _depth(
    mask: NDArray[np.bool_], window: tuple[slice, slice], shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """Distance to the border over its maximum; the edge of the image is no border."""
    padded = np.zeros((mask.shape[0] + 2, mask.shape[1] + 2), np.uint8)
    padded[1:-1, 1:-1] = mask
    if window[0].start == 0:
        padded[0] = padded[1]
    if window[0].stop == shape[0]:
        padded[-1] = padded[-2]
    if window[1].start == 0:
        padded[:, 0] = padded[:, 1]
    if window[1].stop == shape[1]:
        padded[:, -1] = padded[:, -2]
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[
        1:-1, 1:-1
    ]
    return np.asarray(depth / max(float((depth * mask).max()), 1.0), np.float32)


def _march(mask: NDArray[np.bool_], rays: int) -> NDArray[np.float16]:
    """Lengths ``(rays, y, x)``: the mask moves along each ray until it is gone."""
    height, width = mask.shape
    reach = max(height, width) + 1
    padded = np.zeros((height + 2 * reach, width + 2 * reach), np.uint8)
    padded[reach : reach + height, reach : reach + width] = mask
    lengths = np.empty((rays, height, width), np.float16)
    for k, (down, right) in enumerate(zip(*directions(rays), strict=True)):
        step = 1.0 / max(abs(down), abs(right))
        alive = mask.astype(np.uint8)
        steps = np.zeros(mask.shape, np.uint16)
        for n in range(1, reach + 1):
            y = reach + round(n * step * down)
            x = reach + round(n * step * right)
            alive &= padded[y : y + height, x : x + width]
            # Looking costs more than a step; a few steps of nothing change nothing.
            if n % 4 == 0 and not alive.any():
                break
            steps += alive
        lengths[k] = (steps + 0.5) * step
    return lengths


def turn(rays: int, flip_y: bool, flip_x: bool, transpose: bool) -> NDArray[np.intp]:
    """Old ray that each new ray takes when the image is flipped, then transposed.

    `rays` must be a multiple of 4.
    """
    old = np.arange(rays)
    if flip_y:
        old = old[(-np.arange(rays)) % rays]
    if flip_x:
        old = old[(rays // 2 - np.arange(rays)) % rays]
    if transpose:
        old = old[(rays // 4 - np.arange(rays)) % rays]
    return old


def to_border(size: int, grid: int, rays: int) -> NDArray[np.float32]:
    """Length of rays to the edge of a square crop, ``(size/grid, size/grid, rays)``."""
    down, right = directions(rays)
    place = np.arange(0, size, grid, dtype=np.float64)
    with np.errstate(divide="ignore"):

        def along(unit: NDArray[np.float64]) -> NDArray[np.float64]:
            ahead = np.where(
                unit > 0, size - 0.5 - place[:, None], place[:, None] + 0.5
            )
            return np.where(np.abs(unit) < 1e-9, np.inf, ahead / np.abs(unit))

        y, x = along(down), along(right)
    return np.minimum(y[:, None, :], x[None, :, :]).astype(np.float32)
