"""Filled closed outlines with a blurred rim: large cells, animals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FINE = 4
"""Each pixel is filled as this many by this many."""
_SHIFT = 4
"""OpenCV's fixed-point bits for corners."""
_TAIL = 4.0


def paint_outline(
    canvas: NDArray[np.float32],
    outline_yx: NDArray[np.float64],
    blur_px: float,
    peak: float,
) -> None:
    """Add one filled polygon, blurred, to `canvas` (y, x); cut at the border.

    Parameters
    ----------
    outline_yx : ndarray (k, 2)
        Corners in order, image pixels; close together for a smooth outline.
    peak : float
        Inside, without blur.
    """
    margin = int(np.ceil(_TAIL * blur_px)) + 1
    low = np.floor(outline_yx.min(axis=0)).astype(np.int64) - margin
    high = np.ceil(outline_yx.max(axis=0)).astype(np.int64) + margin + 1
    # What lies further outside than the blur reaches is not seen.
    low = np.maximum(low, -margin)
    high = np.minimum(high, np.array(canvas.shape) + margin)
    if (high <= low).any():
        return
    height, width = (high - low).tolist()
    fine = np.zeros((height * _FINE, width * _FINE), np.uint8)
    corners = (outline_yx - low + 0.5) * _FINE - 0.5
    fixed = np.round(corners[:, ::-1] * (1 << _SHIFT)).astype(np.int32)
    cv2.fillPoly(fine, [fixed], 255, shift=_SHIFT)
    patch = cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)
    filled = patch.astype(np.float32) * np.float32(peak / 255.0)
    if blur_px > 0.1:
        side = 2 * margin - 1
        blurred = cv2.GaussianBlur(
            filled, (side, side), blur_px, borderType=cv2.BORDER_CONSTANT
        )
        filled = np.asarray(blurred, np.float32)
    y0, x0 = np.maximum(low, 0).tolist()
    y1, x1 = np.minimum(high, np.array(canvas.shape)).tolist()
    if y0 < y1 and x0 < x1:
        top, left = low.tolist()
        canvas[y0:y1, x0:x1] += filled[y0 - top : y1 - top, x0 - left : x1 - left]
