"""From regions in a camera image to pixels of the SLM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from smartscope.core import Roi, SafetyError, image_to_sensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from smartscope.config import SlmAffine, SlmConfig
    from smartscope.core import HardwareState

    Polygons = Sequence[Sequence[tuple[float, float]]]

_BITS = 4
"""Vertices are drawn to 1/16 of a pixel."""
_MOST_SIDE = 1024
"""Side of the drawing on which the share outside of the SLM is counted."""


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """Regions as the SLM shows them.

    Attributes
    ----------
    light : ndarray, (y, x), uint8
        In SLM pixels: 255 lets through all the light.
    outside : float
        Share of the regions' area that lies outside of the SLM, 0..1.
    """

    light: NDArray[np.uint8]
    outside: float


def calibration_of(slm: SlmConfig | None, objective: str | None) -> SlmAffine | None:
    """Affine of this objective; on a rig without a turret, the only one there is."""
    table = {} if slm is None else slm.calibration
    if objective is None and len(table) == 1:
        return next(iter(table.values()))
    return table.get(objective or "")


def image_to_slm(
    affine: SlmAffine, seen: HardwareState, sensor_shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Affine from pixels of a camera image to SLM pixels.

    Parameters
    ----------
    affine : 2 x 3
        Unbinned sensor pixels ``(x, y)`` to SLM pixels ``(x, y)``.
    seen : HardwareState
        Of the image: its ROI, binning and orientation count.
    sensor_shape : (height, width)
        Unbinned; the region of an image that names none.

    Returns
    -------
    ndarray, (2, 3), float64
        ``(x, y)`` to ``(x, y)``.
    """
    height, width = sensor_shape
    to_sensor, shift = image_to_sensor(
        roi=seen.roi_px or Roi(0, 0, width, height),
        binning=seen.binning,
        orientation=seen.orientation,
    )
    matrix = np.asarray(affine, dtype=np.float64)
    linear = matrix[:, :2] @ to_sensor
    return np.column_stack([linear, matrix[:, :2] @ shift + matrix[:, 2]])


def slm_to_sensor(
    affine: SlmAffine | None, slm_shape: tuple[int, int], sensor_shape: tuple[int, int]
) -> SlmAffine:
    """Affine from SLM pixels to unbinned sensor pixels, ``(x, y)`` to ``(x, y)``.

    Parameters
    ----------
    affine : 2 x 3 or None
        The calibrated one, which goes the other way. None takes the SLM to cover the
        sensor from edge to edge: what a simulated one that nobody calibrated does.
    slm_shape, sensor_shape : (height, width)
    """
    if affine is None:
        (height, width), (rows, columns) = slm_shape, sensor_shape
        x, y = columns / width, rows / height
        return (x, 0.0, (x - 1) / 2), (0.0, y, (y - 1) / 2)
    matrix = np.asarray(affine, dtype=np.float64)
    inverse = np.linalg.inv(matrix[:, :2])
    shift = -inverse @ matrix[:, 2]
    (a, b), (d, e) = inverse.tolist()
    return (a, b, float(shift[0])), (d, e, float(shift[1]))


def transformed(affine: ArrayLike, points_yx: ArrayLike) -> NDArray[np.float64]:
    """Points ``(y, x)`` through a 2 x 3 affine of ``(x, y)``; shape ``(n, 2)``."""
    matrix = np.asarray(affine, dtype=np.float64)
    xy = np.asarray(points_yx, dtype=np.float64).reshape(-1, 2)[:, ::-1]
    return np.asarray((xy @ matrix[:, :2].T + matrix[:, 2])[:, ::-1])


def draw(
    polygons_px: Polygons,
    to_slm: ArrayLike,
    shape: tuple[int, int],
    intensity: int = 255,
) -> Drawn:
    """Draw regions of a camera image on the SLM.

    A pixel is lit when any part of a region touches it, so that no region is too small
    to show.

    Parameters
    ----------
    polygons_px : sequence of polygons
        Each a sequence of ``(y, x)`` points in pixels of the image. They may overlap.
    to_slm : array-like, (2, 3)
        See `image_to_slm`.
    shape : (height, width)
        Of the SLM.
    intensity : int
        Light inside, 0..255.

    Raises
    ------
    SafetyError
        If all of it lies outside of the SLM.
    """
    import cv2  # here: it takes a tenth of a second, and few rigs have an SLM

    corners = [transformed(to_slm, polygon)[:, ::-1] for polygon in polygons_px]
    light = np.zeros(shape, np.uint8)
    for polygon in corners:
        # One by one: drawn together, two that overlap would cancel each other.
        cv2.fillPoly(light, [_fixed(polygon)], int(intensity), shift=_BITS)
    outside = _outside(corners, shape) if corners else 0.0
    if outside >= 1.0:
        height, width = shape
        raise SafetyError(
            f"all of the pattern lies outside of the SLM's {width} x {height} pixels"
        )
    return Drawn(light, outside)


def _fixed(corners_xy: NDArray[np.float64]) -> NDArray[np.int32]:
    # Far outside it makes no difference how far.
    scaled = np.clip(np.rint(corners_xy * (1 << _BITS)), -(2**26), 2**26)
    return scaled.astype(np.int32)


def _outside(corners: list[NDArray[np.float64]], shape: tuple[int, int]) -> float:
    """Share of the area of all polygons together that lies outside of the SLM."""
    import cv2

    edge = np.array(shape[::-1]) - 0.5
    every = np.concatenate(corners)
    low, high = every.min(axis=0), every.max(axis=0)
    if (low >= -0.5).all() and (high <= edge).all():
        return 0.0
    if (high < -0.5).any() or (low > edge).any():
        return 1.0
    # Far more pixels than the SLM has would be needed for what reaches far out.
    zoom = min(1.0, _MOST_SIDE / max(1.0, float((high - low).max())))
    side = np.ceil((high - low) * zoom).astype(int) + 1
    canvas = np.zeros((side[1], side[0]), np.uint8)
    for polygon in corners:
        cv2.fillPoly(canvas, [_fixed((polygon - low) * zoom)], 1, shift=_BITS)
    all_of_it = int(np.count_nonzero(canvas))
    x = np.arange(side[0]) / zoom + low[0]
    y = np.arange(side[1]) / zoom + low[1]
    within = np.ix_((y >= -0.5) & (y <= edge[1]), (x >= -0.5) & (x <= edge[0]))
    return 1.0 - float(np.count_nonzero(canvas[within])) / max(1, all_of_it)
