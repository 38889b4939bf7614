from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from smartscope.core import (
    HardwareState,
    Orientation,
    Roi,
    compose_pixel_map,
)
from smartscope.policies import region_around
from smartscope.testing import sight

AFFINE = ((0.5, 0.1), (-0.1, 0.5))


def seen(roi, binning=1, orientation=None):
    orientation = orientation or Orientation()
    shape = (roi.height_px // binning, roi.width_px // binning)
    return replace(
        sight(),
        shape=shape[::-1] if orientation.transpose else shape,
        state=HardwareState(
            x_um=100.0,
            y_um=-50.0,
            roi_px=roi,
            binning=binning,
            orientation=orientation,
        ),
        pixel_map=compose_pixel_map(
            AFFINE,
            sensor_shape=(480, 640),
            roi=roi,
            binning=binning,
            orientation=orientation,
        ),
    )


@pytest.mark.parametrize("binning", [1, 2])
@pytest.mark.parametrize("roi", [Roi(0, 0, 640, 480), Roi(64, 32, 400, 320)])
@pytest.mark.parametrize(
    "orientation",
    [
        Orientation(),
        Orientation(transpose=True, mirror_x=True),
        Orientation(mirror_y=True),
    ],
)
def test_the_place_is_in_the_middle_whatever_the_camera_does(roi, binning, orientation):
    # Sensor pixel (300, 200) of the chip, as the affine says where that is.
    x_um, y_um = np.array([100.0, -50.0]) + AFFINE @ np.array([-19.5, -39.5])
    found = region_around(seen(roi, binning, orientation), x_um, y_um, 30.0)
    assert abs(found.x_px + (found.width_px - 1) / 2 - 300) <= binning / 2 + 0.5
    assert abs(found.y_px + (found.height_px - 1) / 2 - 200) <= binning / 2 + 0.5
    assert found.width_px == found.height_px == 64, "30 um are 59 px"


def test_it_stays_inside_of_what_is_shown():
    whole = Roi(0, 0, 640, 480)
    corner = np.array([100.0, -50.0]) + AFFINE @ np.array([-317.5, 238.5])
    assert region_around(seen(whole), *corner, 20.0) == Roi(0, 440, 40, 40)
    assert region_around(seen(whole), 100.0, -50.0, 1e6) == whole
    assert region_around(seen(whole), 100.0, -50.0, 1e-6).width_px == 8


def test_what_is_not_in_the_image_has_no_region():
    whole = seen(Roi(0, 0, 640, 480))
    assert region_around(whole, 1e6, 0.0, 20.0) is None
    assert region_around(whole, math.nan, 0.0, 20.0) is None
