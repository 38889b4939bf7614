"""The SLM: geometry of patterns, what it is told, what goes wrong, its calibration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from rig_helpers import rig_config

from smartscope.core import (
    ConfigError,
    HardwareError,
    HardwareState,
    Orientation,
    Roi,
    SafetyError,
    VirtualClock,
)
from smartscope.rig import Rig, calibrate_slm, demo_devices
from smartscope.rig._pattern import draw, image_to_slm, slm_to_sensor, transformed
from smartscope.rig.demo_devices import DemoSlm

if TYPE_CHECKING:
    from collections.abc import Callable

AFFINE = ((-0.6, 0.1, 330.0), (0.15, 0.7, -20.0))
SENSOR = (512, 512)
REGION = ((100.0, 20.0), (100.0, 60.0), (140.0, 60.0), (140.0, 20.0))
SQUARE = ((10.0, 20.0), (10.0, 60.0), (40.0, 60.0), (40.0, 20.0))


def slm_config(**changes: Any) -> Any:
    return rig_config("slm_rig.yaml", specimen=None, clock=None, **changes)


@pytest.fixture
def rig(open_rig: Callable[..., Rig]) -> Rig:
    config = slm_config(slm={"calibration": {"10x": AFFINE}})
    return open_rig(config)


def seen_by(rig: Rig) -> HardwareState:
    return rig.state(rig.clock.now_ns())


# ----------------------------------------------------------------------- geometry


@pytest.mark.parametrize("binning", [1, 2, 4])
@pytest.mark.parametrize("roi", [None, Roi(64, 32, 256, 128)])
@pytest.mark.parametrize(
    "orientation",
    [
        Orientation(),
        Orientation(mirror_x=True),
        Orientation(mirror_y=True),
        Orientation(transpose=True),
        Orientation(transpose=True, mirror_x=True, mirror_y=True),
    ],
)
def test_a_polygon_comes_back_through_both_affines(binning, roi, orientation):
    seen = HardwareState(roi_px=roi, binning=binning, orientation=orientation)
    to_slm = image_to_slm(AFFINE, seen, SENSOR)
    small = [(3.0, 5.0), (3.0, 30.0), (28.0, 30.0), (28.0, 5.0)]
    on_slm = transformed(to_slm, small)
    sensor = transformed(slm_to_sensor(AFFINE, (300, 400), SENSOR), on_slm)
    # From the sensor back to the image by cutting, binning and turning real pixels.
    at = roi or Roi(0, 0, 512, 512)
    chip = np.zeros(SENSOR)
    for y, x in sensor:
        # The centre of a binned pixel lies between those it sums.
        chip[int(np.floor(y + 1e-6)), int(np.floor(x + 1e-6))] = 1
    image = chip[at.y_px : at.y_px + at.height_px, at.x_px : at.x_px + at.width_px]
    rows, columns = image.shape[0] // binning, image.shape[1] // binning
    image = image.reshape(rows, binning, columns, binning).sum(axis=(1, 3))
    if orientation.transpose:
        image = image.T
    if orientation.mirror_x:
        image = image[:, ::-1]
    if orientation.mirror_y:
        image = image[::-1]
    found = {(float(y), float(x)) for y, x in np.argwhere(image)}
    assert found == set(small)


def test_an_uncalibrated_simulated_slm_covers_the_sensor():
    to_sensor = slm_to_sensor(None, (300, 400), SENSOR)
    corners = transformed(to_sensor, [(-0.5, -0.5), (299.5, 399.5)])
    assert corners.tolist() == pytest.approx(
        np.array([[-0.5, -0.5], [511.5, 511.5]]), abs=1e-9
    )


PLAIN = np.array([[1.0, 0, 0], [0, 1, 0]])


def test_what_is_drawn_is_what_was_asked_for():
    drawn = draw([SQUARE, SQUARE], PLAIN, (100, 100), 77)
    assert drawn.outside == 0.0
    expected = np.zeros((100, 100), np.uint8)
    expected[10:41, 20:61] = 77  # overlapping regions do not cancel each other
    assert np.array_equal(drawn.light, expected)
    dot = draw([((5.2, 5.2), (5.2, 5.3), (5.3, 5.2))], PLAIN, (100, 100))
    assert dot.light[5, 5] == 255


@pytest.mark.parametrize(
    ("left", "outside"), [(20.0, 0.0), (-20.0, 0.5), (-30.0, 0.75), (80.0, 0.5)]
)
def test_the_share_outside_is_told(left, outside):
    box = ((10.0, left), (10.0, left + 40), (50.0, left + 40), (50.0, left))
    drawn = draw([box], PLAIN, (100, 100))
    assert drawn.outside == pytest.approx(outside, abs=0.03)
    twice = draw([box, box], PLAIN, (100, 100))  # the same place counts once
    assert twice.outside == drawn.outside


def test_a_region_that_reaches_far_out_and_one_all_outside():
    huge = ((-1e6, -1e6), (-1e6, 1e6), (1e6, 1e6), (1e6, -1e6))
    drawn = draw([huge], PLAIN, (100, 100))
    assert drawn.light.min() == 255
    assert drawn.outside > 0.999
    for shift in (200.0, -200.0, 1e9):
        far = [(y + shift, x) for y, x in SQUARE]
        with pytest.raises(SafetyError, match="all of the pattern lies outside"):
            draw([far], PLAIN, (100, 100))


# ---------------------------------------------------------------------- rig files


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"slm": {"line": "561"}}, "the rig has no light line '561'"),
        ({"roles": {"slm": None}}, "no device fills the role it describes"),
        ({"slm": {"off_level": 255}}, "off and on are the same level"),
        (
            {"slm": {"calibration": {"10x": [[1, 2, 0], [2, 4, 0]]}}},
            "maps the image onto a line",
        ),
        ({"slm": {"on_level": 256}}, "256"),
        ({"slm": {"trigger": 1}}, "trigger"),
    ],
)
def test_a_wrong_section_is_refused(changes, said):
    with pytest.raises(ConfigError, match=said):
        slm_config(**changes)


def test_a_calibration_of_an_objective_that_is_not_there_is_refused(open_rig):
    with pytest.raises(ConfigError, match="there is no objective '60x'") as raised:
        open_rig(slm_config(slm={"calibration": {"60x": AFFINE}}))
    assert raised.value.field == "slm.calibration.60x"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("#py pyDevice,SLM,no_such_module,Slm", "cannot be loaded"),
        ("#py pyDevice,SLM,smartscope.rig.demo_devices,Nothing", "'Nothing'"),
        ("#py Delay,SLM,3", "only pyDevice and Property are known here"),
    ],
)
def test_a_python_device_that_cannot_be_loaded_names_its_line(
    open_rig, tmp_path, line, said
):
    text = Path("demo_configs/demo_laser.cfg").read_text(encoding="utf-8")
    cfg = tmp_path / "own.cfg"
    cfg.write_text(text + line + "\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=said) as raised:
        open_rig(slm_config(micromanager={"config": str(cfg)}))
    assert raised.value.line == text.count("\n") + 1


# ------------------------------------------------------------------------- acting


def shown(rig: Rig) -> np.ndarray:
    return rig.core.getSLMImage("SLM")  # type: ignore[attr-defined]


def test_regions_are_shown_numbered_and_read_back(rig: Rig):
    assert rig.history.at("slm", rig.clock.now_ns()) == 0  # dark from the start
    act, before = rig.actuator, seen_by(rig)
    command = act.show_regions([REGION], before, 200)
    act.settle(command)
    share = 100 * np.count_nonzero(shown(rig)) / shown(rig).size
    assert command.readback == {
        "pattern": 1.0,
        "lit_percent": pytest.approx(share, abs=1e-3),
        "outside_percent": 0.0,
    }
    assert set(np.unique(shown(rig))) == {0, 200}
    expected = draw([REGION], image_to_slm(AFFINE, before, SENSOR), (300, 400), 200)
    assert np.array_equal(shown(rig), expected.light)
    after = seen_by(rig)
    assert after.epoch == command.number == before.epoch + 1
    assert np.array_equal(rig.history.pattern(1), expected.light)
    clear = act.show_regions((), after)
    act.settle(clear)
    assert clear.readback == {"pattern": 0.0, "lit_percent": 0.0}
    assert shown(rig).max() == 0


def test_regions_count_in_the_image_that_was_seen(rig: Rig):
    act = rig.actuator
    act.settle(act.set_property("Camera", "Binning", "2"))
    act.settle(act.set_roi(Roi(100, 60, 200, 200)))
    seen = seen_by(rig)
    assert (seen.binning, seen.roi_px) == (2, Roi(100, 60, 200, 200))
    act.settle(act.set_roi(None))
    act.settle(act.set_property("Camera", "Binning", "1"))
    act.settle(act.show_regions([REGION], seen))
    binned = shown(rig)
    whole = [(60 + 2 * y + 0.5, 100 + 2 * x + 0.5) for y, x in REGION]
    act.settle(act.show_regions([whole], seen_by(rig)))
    assert binned.any()
    assert np.array_equal(shown(rig), binned)


def test_an_orientation_is_part_of_what_was_seen(rig: Rig):
    act = rig.actuator
    act.settle(act.set_property("Camera", "TransposeMirrorX", "1"))
    assert seen_by(rig).orientation == Orientation(mirror_x=True)
    act.settle(act.show_regions([REGION], seen_by(rig)))
    mirrored = shown(rig)
    act.settle(act.set_property("Camera", "TransposeMirrorX", "0"))
    turned = [(y, 511 - x) for y, x in REGION]
    act.settle(act.show_regions([turned], seen_by(rig)))
    assert np.array_equal(shown(rig), mirrored)


def test_levels_follow_the_rig_file(open_rig: Callable[..., Rig]):
    levels = {"off_level": 240, "on_level": 40, "calibration": {"10x": AFFINE}}
    rig = open_rig(slm_config(slm=levels))
    act = rig.actuator
    assert set(np.unique(shown(rig))) == {240}
    act.settle(act.show_regions([REGION], seen_by(rig), 255))
    assert set(np.unique(shown(rig))) == {40, 240}
    assert set(np.unique(rig.history.pattern(1))) == {0, 255}
    act.settle(act.show_regions([REGION], seen_by(rig), 51))
    assert set(np.unique(shown(rig))) == {200, 240}
    assert set(np.unique(rig.history.pattern(2))) == {0, 51}


def test_a_pattern_that_dwells_goes_dark_by_itself(open_rig: Callable[..., Rig]):
    config = slm_config(slm={"dwell_ms": 30, "calibration": {"10x": AFFINE}})
    rig = open_rig(config)
    act = rig.actuator
    act.settle(act.show_regions([REGION], seen_by(rig)))
    assert rig.core.getSLMExposure("SLM") == 30
    shows = [
        (start_ns, end_ns)
        for start_ns, end_ns, values in rig.history.segments(("slm",), 0, 10**9)
        if values["slm"][0] == 1
    ]
    assert [end - start for start, end in shows] == [30_000_000]
    assert rig.history.at("slm", shows[0][1]) == 0


def test_plans_give_whole_images_and_single_values(rig: Rig):
    act = rig.actuator
    image = np.zeros((300, 400), int)
    image[5, 7] = 9
    act.settle(act.show_pattern(image.tolist()))
    assert shown(rig)[5, 7] == 9
    act.settle(act.show_pattern(True))
    assert shown(rig).min() == 255
    act.settle(act.show_pattern(17))
    assert set(np.unique(shown(rig))) == {17}
    act.settle(act.show_pattern(image.astype(bool)))
    assert shown(rig).max() == 255
    for wrong in (np.zeros((400, 300), np.uint8), image * 100, image + 0.5):
        with pytest.raises(HardwareError, match="a pattern must be uint8 of 300 x 400"):
            act.show_pattern(wrong)


@pytest.mark.parametrize("how", ["apply", "close"])
def test_the_safe_state_is_dark(rig: Rig, how: str):
    act = rig.actuator
    act.settle(act.show_pattern(255))
    device = rig.core._pydevices["SLM"]  # type: ignore[attr-defined]
    assert device.get_image().min() == 255
    if how == "apply":
        assert rig.apply_safe_state() == ()
        assert rig.history.at("slm", rig.clock.now_ns()) == 0
    else:
        rig.close()
    assert device.get_image().max() == 0


class Colours(DemoSlm):
    """As a display of three colours, which Micro-Manager counts as 32 bit."""

    def shape(self) -> tuple[int, ...]:
        return (300, 400, 3)


def test_a_colour_slm_shows_white(open_rig, monkeypatch):
    monkeypatch.setattr(demo_devices, "DemoSlm", Colours)
    rig = open_rig(slm_config(slm={"calibration": {"10x": AFFINE}}))
    act = rig.actuator
    command = act.show_regions([REGION], seen_by(rig))
    act.settle(command)
    assert command.readback["pattern"] == 1.0
    assert shown(rig).shape == (300, 400, 3)
    assert (shown(rig).min(axis=2) == shown(rig).max(axis=2)).all()
    assert rig.apply_safe_state() == ()
    assert shown(rig).max() == 0


def test_the_safe_state_has_a_second_way_to_go_dark(rig, monkeypatch):
    act = rig.actuator
    act.settle(act.show_pattern(255))
    device, calls = rig.core._pydevices["SLM"], []
    take = device.set_image

    def once(pixels: np.ndarray) -> None:
        calls.append(pixels)
        if len(calls) == 1:
            raise RuntimeError("a busy moment")
        take(pixels)

    monkeypatch.setattr(device, "set_image", once)
    assert rig.apply_safe_state() == ()
    assert len(calls) == 2
    assert shown(rig).max() == 0


# ------------------------------------------------------------------------- faults


def broken(rig: Rig, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    device = rig.core._pydevices["SLM"]  # type: ignore[attr-defined]

    def fails(*_: Any) -> None:
        raise RuntimeError("the controller is overheated")

    monkeypatch.setattr(device, name, fails)


@pytest.mark.parametrize("name", ["set_image", "display_image", "get_image"])
def test_an_slm_that_refuses_is_heard(rig, monkeypatch, name):
    act = rig.actuator
    act.settle(act.show_regions([REGION], seen_by(rig)))
    broken(rig, name, monkeypatch)
    with pytest.raises(HardwareError, match="overheated"):
        act.settle(act.show_pattern(255))
    if name == "get_image":
        return  # what it shows is not known, and what was told holds
    assert rig.history.at("slm", rig.clock.now_ns()) == 1
    (failure,) = rig.apply_safe_state()
    assert "overheated" in failure
    monkeypatch.undo()
    assert rig.apply_safe_state() == ()


def test_an_slm_that_shows_something_else_is_found_out(rig, monkeypatch):
    act = rig.actuator
    device = rig.core._pydevices["SLM"]
    monkeypatch.setattr(device, "display_image", lambda: None)
    command = act.show_regions([REGION], seen_by(rig))
    with pytest.raises(HardwareError, match="pattern unknown"):
        act.settle(command)
    # From here on nobody knows where the light falls.
    assert rig.history.at("slm", rig.clock.now_ns()) == -1
    assert rig.history.pattern(-1) is None


def test_what_cannot_be_mapped_is_refused(rig: Rig):
    act, seen = rig.actuator, seen_by(rig)
    far = [[(y + 5000, x) for y, x in REGION]]
    with pytest.raises(SafetyError, match="all of the pattern lies outside"):
        act.show_regions(far, seen)
    act.settle(act.switch_objective("20x"))
    with pytest.raises(SafetyError, match="chosen through objective 10x, and 20x"):
        act.show_regions([REGION], seen)
    act.settle(act.show_regions((), seen))  # dark is dark through any


def test_an_slm_without_calibration_shows_whole_images_only(open_rig):
    rig = open_rig(slm_config(slm=None))
    act = rig.actuator
    act.settle(act.show_pattern(255))
    with pytest.raises(SafetyError, match="not calibrated for objective 10x"):
        act.show_regions([REGION], seen_by(rig))


# -------------------------------------------------------------------- calibration

PLANTED = {
    "turned and mirrored": ((-0.69, 0.06, 362.0), (0.05, 0.71, -44.0)),
    "sees a small part of the SLM": ((0.12, 0.02, 140.0), (-0.02, 0.12, 150.0)),
    "SLM smaller than the field": ((1.6, 0.3, -280.0), (-0.3, 1.6, -130.0)),
    "sheared": ((0.5, 0.25, 60.0), (0.0, 0.6, -5.0)),
}


class Scene:
    """A camera that looks at the SLM through a planted affine, onto a slide."""

    def __init__(self, rig: Rig, affine: Any, *, slide: str = "even") -> None:
        self.rig = rig
        self.rng = np.random.default_rng(3)
        self.affine = np.asarray(affine, float)
        y, x = np.mgrid[:512, :512]
        self.slide = np.ones((512, 512))
        if slide == "structured":
            cells = self.rng.random((512, 512)).astype(np.float32)
            cells = cv2.GaussianBlur(cells, (0, 0), 6)
            low, high = cells.min(), cells.max()
            self.slide = 0.2 + (cells - low) / (high - low)
        if slide == "dark":
            self.slide *= 0.0
        self.slide *= 1.0 - 0.3 * (x / 512 - 0.4) ** 2 - 0.2 * (y / 512) ** 2
        self.reflex = False

    def __call__(self) -> np.ndarray:
        at = self.rig.geometry
        light = cv2.warpAffine(
            shown(self.rig).astype(np.float32),
            self.affine,
            (512, 512),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        )
        light = cv2.GaussianBlur(light, (0, 0), 2.5)
        if self.reflex and 0 < (light > 100).sum() < 60_000:
            self.reflex = False
            light = np.roll(light, (97, 60), axis=(0, 1))  # a ghost, once
        photons = 4.0 + 3.0 * self.slide * light
        chip = self.rng.poisson(photons) + self.rng.normal(100, 1.5, photons.shape)
        image = chip[
            at.roi.y_px : at.roi.y_px + at.roi.height_px,
            at.roi.x_px : at.roi.x_px + at.roi.width_px,
        ]
        n = at.binning
        image = image.reshape(image.shape[0] // n, n, -1, n).sum(axis=(1, 3))
        if at.orientation.transpose:
            image = image.T
        if at.orientation.mirror_x:
            image = image[:, ::-1]
        return np.clip(image[::-1] if at.orientation.mirror_y else image, 0, 65535)


def worst_off_px(found: Any, planted: Any) -> float:
    """Largest distance over the sensor, in sensor pixels."""
    corners = np.array([(0, 0), (0, 511), (511, 0), (511, 511)])
    there = transformed(found, corners) - transformed(planted, corners)
    scale = abs(np.linalg.det(np.asarray(planted)[:, :2])) ** 0.5
    return float(np.linalg.norm(there, axis=1).max() / scale)


@pytest.mark.parametrize("name", PLANTED)
def test_calibration_finds_the_planted_affine(rig: Rig, name: str):
    result = calibrate_slm(rig, Scene(rig, PLANTED[name]))
    assert worst_off_px(result.affine, PLANTED[name]) < 0.5
    assert result.objective == "10x"
    assert result.spots >= 6
    assert result.residual_px < 0.4
    assert shown(rig).max() == 0


def test_calibration_through_roi_binning_mirror_and_structure(rig: Rig):
    act = rig.actuator
    act.settle(act.set_property("Camera", "Binning", "2"))
    act.settle(act.set_roi(Roi(64, 32, 400, 420)))
    act.settle(act.set_property("Camera", "TransposeMirrorY", "1"))
    planted = PLANTED["turned and mirrored"]
    scene = Scene(rig, planted, slide="structured")
    scene.reflex = True
    result = calibrate_slm(rig, scene)
    assert worst_off_px(result.affine, planted) < 1.0
    assert not scene.reflex  # the ghost was seen, and left out


def test_calibration_refuses_when_it_sees_nothing(rig: Rig):
    scene = Scene(rig, PLANTED["sheared"], slide="dark")
    with pytest.raises(HardwareError, match="no difference between all of the SLM"):
        calibrate_slm(rig, scene)
    assert shown(rig).max() == 0


def test_calibration_refuses_what_is_no_slm(rig: Rig):
    planted = PLANTED["sheared"]
    scene = Scene(rig, planted)
    rng = np.random.default_rng(0)

    def jumping() -> np.ndarray:
        scene.affine = np.asarray(planted) + [[0, 0, rng.normal(0, 25)]] * 2
        return scene()

    with pytest.raises(HardwareError, match=r"do not lie as on a flat SLM|camera saw"):
        calibrate_slm(rig, jumping)


def test_calibration_needs_an_slm(open_rig: Callable[..., Rig]):
    bare = open_rig(rig_config())
    with pytest.raises(HardwareError, match="has no SLM"):
        calibrate_slm(bare, lambda: np.zeros((4, 4)))


def test_a_virtual_clock_is_what_these_rigs_run_on(rig: Rig):
    assert isinstance(rig.clock, VirtualClock)
