"""Where pixels lie: registration, calibration, and Micro-Manager's own affine."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from rig_helpers import rig_config
from scipy import ndimage

from smartscope.core import HardwareError, Orientation, Roi, SafetyError
from smartscope.rig import Rig, calibrate, create_core, measure_shift

SIDE = 768


def cells(seed: int = 0, side: int = SIDE, count: int = 150) -> np.ndarray:
    """Blobs of several sizes on a dark ground, (y, x) float64."""
    rng = np.random.default_rng(seed)
    image = np.zeros((side, side))
    for radius in (2.0, 4.0, 7.0):
        spots = np.zeros((side, side))
        y, x = rng.integers(0, side, (2, count))
        spots[y, x] = rng.uniform(0.3, 1.0, count) * radius**2
        image += ndimage.gaussian_filter(spots, radius, mode="wrap")
    return image / image.max()


SCENE = cells()


def look(
    matrix: np.ndarray,
    origin: tuple[float, float],
    stage: tuple[float, float],
    shape: Any,
) -> np.ndarray:
    """Picture of SCENE (1 um grid, centred on stage 0, 0) through ``dX = matrix @ d``.

    Written out here, not with the code under test: the thing at sample place X is seen
    at image pixel ``origin + matrix^-1 (X - stage)``.
    """
    y, x = np.mgrid[: shape[0], : shape[1]]
    offset = np.stack([x - origin[0], y - origin[1]], axis=-1)
    sample = offset @ matrix.T + np.asarray(stage)
    centre = (SIDE - 1) / 2
    rows, columns = sample[..., 1] + centre, sample[..., 0] + centre
    picture = ndimage.map_coordinates(SCENE, [rows, columns], order=3, mode="wrap")
    return np.asarray(np.clip(picture, 0, None))


@pytest.mark.parametrize(
    "shift", [(0, 0), (0.5, -0.25), (12.3, -20.7), (-60.4, 33.9), (0.0, 70.2)]
)
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_shifts_are_found_to_a_fraction_of_a_pixel(
    shift: tuple[float, float], noise: float
):
    eye, rng = np.eye(2), np.random.default_rng(1)
    # The stage moves against the shift: what lay at d lies at d - D.
    first = look(eye, (128, 128), (0, 0), (256, 256))
    second = look(eye, (128, 128), (-shift[1], -shift[0]), (256, 256))
    first = first + rng.normal(0, noise, first.shape)
    second = second + rng.normal(0, noise, second.shape)
    found = measure_shift(first, second)
    near = 0.05 if noise == 0 else 0.25
    assert found.dy_px == pytest.approx(shift[0], abs=near)
    assert found.dx_px == pytest.approx(shift[1], abs=near)
    assert found.confidence > 0.4


def test_uneven_light_and_integer_pixels_do_not_hold_the_shift_back():
    y = np.linspace(0.3, 1.0, 256)[:, None]
    eye = np.eye(2)
    first = (look(eye, (128, 128), (0, 0), (256, 256)) * y * 900 + 100).astype("u2")
    second = (look(eye, (128, 128), (-9, 14), (256, 256)) * y * 900 + 100).astype("u2")
    found = measure_shift(first, second)
    assert (found.dx_px, found.dy_px) == pytest.approx((9, -14), abs=0.1)


def test_noise_alone_has_no_confidence():
    rng = np.random.default_rng(2)
    for _ in range(5):
        found = measure_shift(rng.normal(size=(128, 128)), rng.normal(size=(128, 128)))
        assert found.confidence < 0.25
    assert measure_shift(np.zeros((64, 64)), np.zeros((64, 64))).confidence == 0


def test_a_periodic_picture_has_no_confidence():
    y, x = np.mgrid[:256, :256]
    grid = np.sin(y * 2 * np.pi / 16) * np.sin(x * 2 * np.pi / 16)
    assert measure_shift(grid, np.roll(grid, 3, axis=1)).confidence < 0.25


def test_pictures_that_cannot_be_compared_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        measure_shift(np.zeros((64, 64)), np.zeros((64, 65)))
    with pytest.raises(ValueError, match="too small"):
        measure_shift(np.zeros((16, 64)), np.zeros((16, 64)))


def turned(degrees: float, scale: float, mirrored: bool) -> np.ndarray:
    angle = np.deg2rad(degrees)
    rotation = np.array(
        [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    )
    return np.asarray(scale * rotation @ np.diag([-1.0 if mirrored else 1.0, 1.0]))


def true_view(
    sensor: np.ndarray, rig: Rig
) -> tuple[np.ndarray, tuple[float, float], tuple[int, int]]:
    """Image matrix, origin and shape, derived by hand from the sensor's."""
    state = rig.state(rig.clock.now_ns())
    roi, binning = state.roi_px, state.binning
    assert roi is not None
    flip = rig.geometry.orientation
    shape = (roi.height_px // binning, roi.width_px // binning)

    # Follow two image pixels and the first one to the sensor, step by step.
    def to_sensor(x: float, y: float) -> np.ndarray:
        height, width = shape[::-1] if flip.transpose else shape
        if flip.mirror_y:
            y = height - 1 - y
        if flip.mirror_x:
            x = width - 1 - x
        if flip.transpose:
            x, y = y, x
        return np.array(
            [
                roi.x_px + x * binning + (binning - 1) / 2,
                roi.y_px + y * binning + (binning - 1) / 2,
            ]
        )

    first = to_sensor(0, 0)
    step = np.stack([to_sensor(1, 0) - first, to_sensor(0, 1) - first], axis=1)
    height, width = rig.sensor_shape
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    origin = np.linalg.solve(step, centre - first)
    if flip.transpose:
        shape = shape[::-1]
    return sensor @ step, (float(origin[0]), float(origin[1])), shape


CAMERAS = [
    pytest.param(0.0, False, {}, None, id="plain"),
    pytest.param(37.0, True, {}, Roi(128, 100, 256, 288), id="rotated mirrored"),
    pytest.param(
        37.0,
        True,
        {"Binning": 2, "TransposeMirrorX": 1},
        Roi(60, 100, 320, 256),
        id="rotated mirrored binned roi",
    ),
    pytest.param(
        -91.0,
        False,
        {"TransposeXY": 1, "TransposeMirrorY": 1},
        Roi(40, 200, 320, 256),
        id="transposed",
    ),
    pytest.param(
        180.0,
        False,
        {"TransposeXY": 1, "TransposeCorrection": 1},
        Roi(128, 128, 256, 256),
        id="corrected",
    ),
]


@pytest.mark.parametrize(("degrees", "mirrored", "properties", "roi"), CAMERAS)
def test_calibrate_finds_the_affine_of_any_camera(
    open_rig: Any,
    degrees: float,
    mirrored: bool,
    properties: dict[str, int],
    roi: Roi | None,
):
    rig = open_rig(rig_config(calibration={"10x": {"pixel_um": 0.8, "affine": None}}))
    a, truth = rig.actuator, turned(degrees, 0.8, mirrored)
    for name, value in properties.items():
        a.settle(a.set_property("Camera", name, value))
    a.settle(a.set_roi(roi), a.move_stage(11, -7))
    assert not rig.is_calibrated
    rng = np.random.default_rng(5)
    places = []

    def grab() -> np.ndarray:
        state = rig.state(rig.clock.now_ns())
        assert state.x_um is not None and state.y_um is not None
        places.append((state.x_um, state.y_um))
        matrix, origin, shape = true_view(truth, rig)
        picture = look(matrix, origin, places[-1], shape)
        return np.asarray(rng.poisson(picture * 500) + 100, dtype=np.uint16)

    result = calibrate(rig, grab)
    assert np.asarray(result.affine) == pytest.approx(truth, abs=0.004)
    assert result.pixel_um == pytest.approx(0.8, rel=0.004)
    assert result.objective == "10x"
    assert result.residual_px < 0.2
    assert result.confidence > 0.3
    assert len(places) == result.moves + 1 == 9
    state = rig.state(rig.clock.now_ns())
    assert (state.x_um, state.y_um) == pytest.approx((11, -7), abs=0.02)
    # With it in the rig file the pixel map points to where things are.
    config = rig_config(calibration={"10x": result.to_config().model_dump()})
    rig.close()
    again = open_rig(config)
    a = again.actuator
    for name, value in properties.items():
        a.settle(a.set_property("Camera", name, value))
    a.settle(a.set_roi(roi))
    matrix, origin, _ = true_view(truth, again)
    spot = np.array([30.0, 90.0])  # x, y in the image
    x_um, y_um = again.pixel_map().to_sample(spot[::-1], 50.0, 60.0)
    expected = np.array([50.0, 60.0]) + matrix @ (spot - origin)
    assert (x_um, y_um) == pytest.approx(tuple(expected), abs=1.0)
    assert again.is_calibrated


def test_calibrate_the_demo_camera_itself(open_rig: Any):
    """Its beads move one pixel per um: the affine of the shipped rig files."""
    core = create_core()
    core.loadSystemConfiguration()
    rig = open_rig(rig_config("demo_rig.yaml"), core=core)
    core.setProperty("Camera", "Mode", "Fluorescent Beads")

    def grab() -> np.ndarray:
        core.snapImage()
        return core.getImage()

    result = calibrate(rig, grab, step_um=40)
    shipped = rig.config.calibration["10X"].affine
    assert np.asarray(result.affine) == pytest.approx(np.asarray(shipped), abs=0.01)


def test_nothing_to_see_is_said_and_the_stage_goes_home(rig: Rig):
    rng = np.random.default_rng(3)
    with pytest.raises(HardwareError, match="too little to register"):
        calibrate(rig, lambda: rng.normal(size=(128, 128)), step_um=20)
    assert rig.state(rig.clock.now_ns()).x_um == pytest.approx(0, abs=0.02)


def test_a_picture_that_stays_is_said(rig: Rig):
    picture = look(np.eye(2), (64, 64), (0, 0), (128, 128))
    with pytest.raises(HardwareError, match=r"moved only 0\.0 pixels"):
        calibrate(rig, lambda: picture, step_um=20)


def test_a_picture_that_follows_unevenly_is_said(rig: Rig):
    rng = np.random.default_rng(4)

    def grab() -> np.ndarray:
        state = rig.state(rig.clock.now_ns())
        jump = rng.normal(0, 6, 2)
        place = (state.x_um + jump[0], state.y_um + jump[1])
        return look(np.eye(2), (128, 128), place, (256, 256))

    with pytest.raises(HardwareError, match="does not follow the stage evenly"):
        calibrate(rig, grab, step_um=30)


def test_calibrating_at_the_end_of_the_travel_is_refused(rig: Rig):
    a = rig.actuator
    a.settle(a.move_stage(4990, 0))
    picture = look(np.eye(2), (128, 128), (0, 0), (256, 256))
    with pytest.raises(SafetyError):
        calibrate(rig, lambda: picture, step_um=30)
    assert rig.state(rig.clock.now_ns()).x_um == pytest.approx(4990, abs=0.02)


# ---------------------------------------------------------------- Micro-Manager's own


def with_affine(*numbers: float, pixel_um: float = 0.5) -> Any:
    core = create_core()
    core.loadSystemConfiguration(
        str(rig_config().source_file.parent / "demo_laser.cfg")
    )
    core.setPixelSizeUm("Res20x", pixel_um)
    core.setPixelSizeAffine("Res20x", list(numbers))
    core.setStateLabel("Objective", "Nikon 20X Plan Fluor ELWD")
    return core


def test_micro_managers_affine_counts_where_it_agrees_with_the_pixel_size(
    open_rig: Any,
):
    core = with_affine(0.0, -0.5, 0.0, 0.5, 0.0, 0.0)
    rig = open_rig(rig_config(calibration={"20x": None}), core=core)
    assert rig.is_calibrated
    assert np.asarray(rig.pixel_map().matrix) == pytest.approx(
        np.array([[0, -0.5], [0.5, 0]])
    )
    # Binning scales what Micro-Manager hands out; it must not count twice.
    a = rig.actuator
    a.settle(a.set_property("Camera", "Binning", 2))
    assert rig.pixel_map().pixel_um == pytest.approx(1.0)


@pytest.mark.parametrize(
    "numbers",
    [
        pytest.param((1.0, 0.0, 0.0, 0.0, 1.0, 0.0), id="never set"),
        pytest.param((0.25, 0.0, 0.0, 0.0, 0.25, 0.0), id="another scale"),
    ],
)
def test_micro_managers_affine_is_not_believed_where_it_does_not(
    open_rig: Any, numbers: tuple[float, ...]
):
    rig = open_rig(rig_config(calibration={"20x": None}), core=with_affine(*numbers))
    assert not rig.is_calibrated
    assert rig.pixel_map().pixel_um == pytest.approx(0.5)


def test_the_rig_file_goes_before_micro_manager(open_rig: Any):
    affine = [[0.0, 0.52], [0.52, 0.0]]
    config = rig_config(calibration={"20x": {"pixel_um": 0.52, "affine": affine}})
    rig = open_rig(config, core=with_affine(0.5, 0.0, 0.0, 0.0, 0.5, 0.0))
    assert rig.pixel_map().pixel_um == pytest.approx(0.52)
    assert rig.is_calibrated


def test_pixel_map_is_composed_once_per_geometry(rig: Rig):
    first = rig.pixel_map()
    assert rig.pixel_map() is first
    a = rig.actuator
    a.settle(a.set_roi(Roi(100, 0, 100, 100)))
    second = rig.pixel_map()
    assert second.origin_px == (155.5, 255.5)
    a.settle(a.set_property("Camera", "TransposeMirrorX", 1))
    assert rig.geometry.orientation == Orientation(mirror_x=True)
    assert rig.pixel_map().matrix == ((-1.0, 0.0), (0.0, 1.0))
