"""The pixel map against a sensor that is really cropped, binned and turned."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smartscope.core import (
    Matrix,
    Orientation,
    PixelMap,
    Roi,
    compose_pixel_map,
    image_to_sensor,
)

# The same examples everywhere, however busy the machine is.
STEADY = settings(
    derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
NOTHING = Orientation()


def binned(image: np.ndarray[Any, Any], n: int) -> np.ndarray[Any, Any]:
    height, width = image.shape[0] // n * n, image.shape[1] // n * n
    cut = image[:height, :width]
    return cut.reshape(height // n, n, width // n, n).mean(axis=(1, 3))


def read_out(
    sensor: np.ndarray[Any, Any], roi: Roi, binning: int, turned: Orientation
) -> np.ndarray[Any, Any]:
    """What a driver does: crop, bin, transpose, mirror in x, mirror in y."""
    image = sensor[
        roi.y_px : roi.y_px + roi.height_px, roi.x_px : roi.x_px + roi.width_px
    ]
    image = binned(image, binning)
    image = image.T if turned.transpose else image
    image = image[:, ::-1] if turned.mirror_x else image
    return image[::-1] if turned.mirror_y else image


@st.composite
def cameras(draw: st.DrawFn) -> tuple[tuple[int, int], Roi, int, Orientation]:
    height, width = draw(st.integers(4, 23)), draw(st.integers(4, 23))
    binning = draw(st.integers(1, 3))
    x, y = draw(st.integers(0, width - 3)), draw(st.integers(0, height - 3))
    smallest = min(binning, width - x, height - y)
    roi = Roi(
        x, y, draw(st.integers(smallest, width - x)),
        draw(st.integers(smallest, height - y)),
    )  # fmt: skip
    binning = min(binning, roi.width_px, roi.height_px)
    turned = Orientation(*draw(st.tuples(st.booleans(), st.booleans(), st.booleans())))
    return (height, width), roi, binning, turned


NUMBERS = st.floats(-3, 3).map(lambda v: round(v, 3))
MATRICES = st.tuples(st.tuples(NUMBERS, NUMBERS), st.tuples(NUMBERS, NUMBERS)).filter(
    lambda m: abs(m[0][0] * m[1][1] - m[0][1] * m[1][0]) > 0.05
)


@settings(STEADY)
@given(camera=cameras())
def test_each_image_pixel_is_where_the_sensor_says(camera: Any) -> None:
    shape, roi, binning, turned = camera
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(float)
    sensor_x = read_out(columns, roi, binning, turned)
    sensor_y = read_out(rows, roi, binning, turned)
    matrix, shift = image_to_sensor(roi=roi, binning=binning, orientation=turned)
    y, x = np.mgrid[: sensor_x.shape[0], : sensor_x.shape[1]]
    mapped = np.stack([x.ravel(), y.ravel()], axis=1) @ matrix.T + shift
    np.testing.assert_allclose(mapped[:, 0], sensor_x.ravel(), atol=1e-9)
    np.testing.assert_allclose(mapped[:, 1], sensor_y.ravel(), atol=1e-9)


@settings(STEADY)
@given(camera=cameras(), affine=MATRICES, stage=st.tuples(NUMBERS, NUMBERS))
def test_each_image_pixel_is_where_the_sample_is(
    camera: Any, affine: Matrix, stage: tuple[float, float]
) -> None:
    shape, roi, binning, turned = camera
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(float)
    dx, dy = columns - (shape[1] - 1) / 2, rows - (shape[0] - 1) / 2
    (a, b), (c, d) = affine
    sample_x = read_out(stage[0] + a * dx + b * dy, roi, binning, turned)
    sample_y = read_out(stage[1] + c * dx + d * dy, roi, binning, turned)
    pixel_map = compose_pixel_map(
        affine, sensor_shape=shape, roi=roi, binning=binning, orientation=turned
    )
    y, x = np.mgrid[: sample_x.shape[0], : sample_x.shape[1]]
    points = np.stack([y.ravel(), x.ravel()], axis=1)
    sample = pixel_map.to_sample(points, *stage)
    np.testing.assert_allclose(sample[:, 0], sample_x.ravel(), atol=1e-8)
    np.testing.assert_allclose(sample[:, 1], sample_y.ravel(), atol=1e-8)
    np.testing.assert_allclose(pixel_map.to_image(sample, *stage), points, atol=1e-7)


@settings(STEADY)
@given(camera=cameras(), affine=MATRICES, start=st.tuples(NUMBERS, NUMBERS))
def test_moving_the_stage_to_a_cell_centres_it(
    camera: Any, affine: Matrix, start: tuple[float, float]
) -> None:
    # Wherever a cell shows, going to its sample coordinates brings it to the origin.
    shape, roi, binning, turned = camera
    pixel_map = compose_pixel_map(
        affine, sensor_shape=shape, roi=roi, binning=binning, orientation=turned
    )
    target = pixel_map.to_sample((1.0, 2.0), *start)
    seen = pixel_map.to_image(target, *target)
    np.testing.assert_allclose(seen[::-1], pixel_map.origin_px, atol=1e-9)


@settings(STEADY)
@given(camera=cameras(), affine=MATRICES)
def test_pixel_size_scales_with_binning_alone(camera: Any, affine: Matrix) -> None:
    shape, roi, binning, turned = camera
    (a, b), (c, d) = affine
    made = compose_pixel_map(
        affine, sensor_shape=shape, roi=roi, binning=binning, orientation=turned
    )
    expected = binning * np.sqrt(abs(a * d - b * c))
    assert made.pixel_um == pytest.approx(expected)


def test_a_single_point_keeps_its_shape() -> None:
    pixel_map = PixelMap(((0.5, 0.0), (0.0, -0.5)), (10.0, 20.0))
    assert pixel_map.to_sample((20, 10), 3, 4).tolist() == [3, 4]
    assert pixel_map.to_sample((22, 14), 3, 4).tolist() == [5, 3]
    assert pixel_map.to_image((5, 3), 3, 4).tolist() == [22, 14]
    assert pixel_map.to_sample([[20, 10]] * 3, 3, 4).shape == (3, 2)
    assert pixel_map.to_sample(np.empty((0, 2)), 3, 4).shape == (0, 2)


def test_the_middle_of_a_full_chip_is_the_stage_position() -> None:
    full = compose_pixel_map(
        ((0.0, -0.65), (0.65, 0.0)), sensor_shape=(512, 640), roi=Roi(0, 0, 640, 512)
    )
    assert full.centre_sample((512, 640), 7.0, -3.0) == pytest.approx((7.0, -3.0))
    part = compose_pixel_map(
        ((1.0, 0.0), (0.0, 1.0)), sensor_shape=(512, 640), roi=Roi(640 - 64, 0, 64, 64)
    )
    assert part.centre_sample((64, 64), 0.0, 0.0) == pytest.approx((288.0, -224.0))


def test_mirroring_twice_is_turning_by_half() -> None:
    roi = Roi(2, 3, 8, 6)
    once, shift = image_to_sensor(roi=roi, binning=1, orientation=NOTHING)
    both, far = image_to_sensor(
        roi=roi, binning=1, orientation=Orientation(mirror_x=True, mirror_y=True)
    )
    np.testing.assert_array_equal(both, -once)
    np.testing.assert_array_equal(far - shift, [7, 5])
