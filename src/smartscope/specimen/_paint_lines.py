"""Blurred straight lines: the pieces of filaments.

A line segment convolved with a Gaussian is a product of a Gaussian across and a
difference of two error functions along. That is exact and additive: the pieces of a
bent filament join without a seam, and its sum of photons is its length times what it
gives per length, at any blur.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from smartscope.specimen._paint_spots import add_patches, chunks, in_view

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TAIL = 3.5


def paint_lines(
    canvas: NDArray[np.float32],
    start_yx: NDArray[np.float64],
    end_yx: NDArray[np.float64],
    sigma_px: NDArray[np.float64],
    per_px: NDArray[np.float64],
) -> None:
    """Add line segments to `canvas` (y, x).

    Parameters
    ----------
    start_yx, end_yx : ndarray (n, 2)
        Image pixels.
    sigma_px : ndarray (n,)
        Standard deviation of the cross-section, blur included.
    per_px : ndarray (n,)
        Sum of each segment over its length in pixels.
    """
    along = end_yx - start_yx
    length = np.maximum(np.linalg.norm(along, axis=1), 1e-9)
    reach = np.ceil(length / 2 + _TAIL * sigma_px).astype(np.int64) + 1
    middle = (start_yx + end_yx) / 2
    order = in_view(middle, reach.astype(np.float64), canvas.shape)
    for rows in chunks(order, 2 * reach + 1):
        size = int(reach[rows].max())
        corner = np.round(middle[rows]).astype(np.int64)
        steps = np.arange(-size, size + 1)
        offset = (steps - (middle[rows] - corner)[:, :, None]).astype(np.float32)
        dy, dx = offset[:, 0, :, None], offset[:, 1, None, :]
        unit = (along[rows] / length[rows, None]).astype(np.float32)[:, :, None, None]
        scale = (1 / sigma_px[rows]).astype(np.float32)[:, None, None]
        half = (length[rows] / (2 * sigma_px[rows])).astype(np.float32)[:, None, None]
        u = (unit[:, 0] * dy + unit[:, 1] * dx) * scale
        v = (unit[:, 0] * dx - unit[:, 1] * dy) * scale
        patches = special.ndtr(half - u)
        patches -= special.ndtr(-half - u)
        v *= v
        v *= np.float32(-0.5)
        patches *= np.exp(v)
        peak = per_px[rows] / (np.sqrt(2 * np.pi) * sigma_px[rows])
        patches *= peak.astype(np.float32)[:, None, None]
        add_patches(canvas, patches, corner - size)
