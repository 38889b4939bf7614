"""Which part of the sensor shows a place: for small regions that are read out fast."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from smartscope.core import Roi, image_to_sensor

if TYPE_CHECKING:
    from smartscope.core import Observation

_STEP_PX = 8
"""Cameras round what is no multiple of this; better we do it, and know."""


def region_around(
    seen: Observation, x_um: float, y_um: float, side_um: float
) -> Roi | None:
    """Square of the sensor that shows this place, for `SetRoi`.

    It is moved inside of what the image shows, and never larger than that.

    Parameters
    ----------
    seen : Observation
        As a rule of the full chip.
    x_um, y_um : float
        Middle of the region in the sample.
    side_um : float
        Its side is rounded up to a multiple of 8 sensor pixels.

    Returns
    -------
    Roi or None
        In unbinned sensor pixels; None where the place is not in the image.

    Examples
    --------
    >>> from smartscope.testing import sight
    >>> region_around(sight(), 10.0, 0.0, side_um=20.0)
    Roi(x_px=50, y_px=30, width_px=40, height_px=40)
    """
    if not np.isfinite([x_um, y_um]).all():
        return None
    state, (height, width) = seen.state, seen.shape
    point = seen.pixel_map.to_image((x_um, y_um), state.x_um or 0.0, state.y_um or 0.0)
    if not ((point >= -0.5) & (point <= [height - 0.5, width - 0.5])).all():
        return None
    binning = state.binning
    turned = state.orientation.transpose
    across, down = (height, width) if turned else (width, height)
    shown = state.roi_px or Roi(0, 0, across * binning, down * binning)
    matrix, shift = image_to_sensor(
        roi=shown, binning=binning, orientation=state.orientation
    )
    x, y = matrix @ point[::-1] + shift
    side = side_um / seen.pixel_map.pixel_um * binning
    x_px, width_px = _span(x, side, shown.x_px, shown.width_px)
    y_px, height_px = _span(y, side, shown.y_px, shown.height_px)
    return Roi(x_px, y_px, width_px, height_px)


def _span(middle: float, side: float, low: int, length: int) -> tuple[int, int]:
    """First pixel and number of pixels along one axis, inside of ``[low, length)``."""
    size = _STEP_PX * int(np.ceil(min(side, float(length)) / _STEP_PX))
    size = min(max(size, _STEP_PX), length)
    first = int(np.rint(middle - (size - 1) / 2))
    return min(max(first, low), low + length - size), size
