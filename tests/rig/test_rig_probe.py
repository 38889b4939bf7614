"""What a camera bears while it runs: tried out on the demo camera, in the dark."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from rig_helpers import DEMOS, HERE, rig_config
from test_rig_actuator import Mirrors, python_core

from smartscope.core import ConfigError, HardwareError, RealClock, Roi
from smartscope.rig import Rig, create_core, probe
from smartscope.rig._film import Film, Seen, counters, gaps, intervals_ms
from smartscope.rig._home import Home, preset_without_light
from smartscope.rig._trials import Trials
from smartscope.testing import FaultyCore, fails

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from smartscope.rig import ProbeReport

CFG = str(DEMOS / "demo_laser.cfg")


@dataclass
class Witness:
    """Looks at the light whenever the probe asks whether it should end."""

    rig: Rig
    end_after: int = 10**9
    looks: int = 0
    lit: list[str] = field(default_factory=list)

    def __call__(self) -> bool:
        self.looks += 1
        core = self.rig.core
        if core.getShutterOpen("Shutter") or core.getShutterOpen("White Light Shutter"):
            self.lit.append("shutter")
        if float(core.getProperty("Laser", "Voltage")):
            self.lit.append("laser")
        return self.looks > self.end_after


@pytest.fixture
def faulty() -> Iterator[FaultyCore]:
    core = FaultyCore(CFG)
    yield core
    core.close()


@pytest.fixture
def lit_rig(faulty: FaultyCore, open_rig: Callable[..., Rig]) -> Rig:
    """A core somebody uses: shutter open, laser on, everything off its defaults."""
    faulty.setXYPosition("XY", 12.0, -34.0)
    faulty.setPosition("Z", 5.0)
    faulty.waitForSystem()
    faulty.setExposure("Camera", 33.0)
    faulty.setProperty("Camera", "UseExposureSequences", "Yes")
    faulty.setProperty("Camera", "Binning", "2")
    faulty.setROI("Camera", 16, 32, 128, 96)
    faulty.setConfig("Channel", "Rhodamine")
    faulty.defineConfig("Channel", "A laser", "Laser", "Voltage", "8")
    faulty.setProperty("Laser", "Voltage", 5.0)
    faulty.setShutterOpen("Shutter", True)
    rig: Rig = open_rig(rig_config(), RealClock(), core=faulty)
    return rig


def as_it_was(rig: Rig) -> dict[str, Any]:
    core = rig.core
    core.waitForSystem()
    return {
        "xy": tuple(round(um, 3) + 0.0 for um in core.getXYPosition("XY")),
        "z": round(core.getPosition("Z"), 3),
        "exposure": core.getExposure("Camera"),
        "binning": core.getProperty("Camera", "Binning"),
        "roi": tuple(core.getROI("Camera")),
        "channel": core.getCurrentConfig("Channel"),
        "objective": core.getProperty("Objective", "Label"),
    }


def verdicts(report: ProbeReport) -> dict[str, str | None]:
    return {verdict.parameter: verdict.how for verdict in report.verdicts}


@pytest.fixture(scope="module")
def demo() -> tuple[ProbeReport, Witness, str]:
    """The shipped rig, probed once; its file says that exposure needs a restart."""
    config = rig_config(capabilities={"exposure": "restart"})
    rig = Rig.open(config, RealClock(), base_dir=DEMOS)
    try:
        witness = Witness(rig)
        report = probe(rig, stopped=witness)
        return report, witness, rig.capabilities.of("exposure")
    finally:
        rig.close()


def test_the_demo_camera(demo: tuple[ProbeReport, Witness, str]):
    report, witness, _ = demo
    assert verdicts(report) == {
        "exposure": "live",
        "roi": "restart",
        "binning": "restart",
        "shutter": "live",
        "power": "live",
        "stage": "live",
        "focus": "live",
        "channel": "live",
        "objective": None,
    }
    assert report.is_complete and report.not_restored == () and report.lost == 0
    assert (report.channels, report.has_image_number, report.counters) == (1, True, ())
    by_name = {verdict.parameter: verdict for verdict in report.verdicts}
    assert by_name["exposure"].after_frames == 0
    assert by_name["roi"].note == "the stream ended without an error"
    assert "refused while the camera runs" in by_name["binning"].note
    assert "--turn-objective" in by_name["objective"].note
    assert [rate.exposure_ms for rate in report.rates] == [2.0, 10.0, 50.0]
    assert all(rate.interval_ms >= rate.exposure_ms for rate in report.rates)
    assert None not in (report.first_frame_ms, report.stop_ms, report.restart_ms)
    assert witness.looks > 100 and witness.lit == []


def test_the_rig_file_has_the_last_word(demo: tuple[ProbeReport, Witness, str]):
    report, _, in_use = demo
    assert verdicts(report)["exposure"] == "live"
    assert in_use == "restart"


def test_the_findings_are_what_a_rig_file_takes(
    demo: tuple[ProbeReport, Witness, str], open_rig: Callable[..., Rig]
):
    report, *_ = demo
    found = report.to_config()
    assert set(found) == {"capabilities", "camera"}
    assert "objective" not in found["capabilities"]
    # Opening checks the names of the parameters against the devices.
    again = open_rig(rig_config(**found))
    for parameter, how in found["capabilities"].items():
        assert again.capabilities.of(parameter) == how
    assert again.config.readout_ms == report.readout_ms


def test_light_goes_off_and_all_else_comes_back(lit_rig: Rig):
    assert lit_rig.core.getShutterOpen("Shutter")
    before = as_it_was(lit_rig)
    assert before["roi"] == (16, 32, 128, 96) and before["channel"] == "Rhodamine"
    witness = Witness(lit_rig)
    report = probe(lit_rig, turn_objective=True, stopped=witness)
    assert verdicts(report)["objective"] == "live"
    # The demo camera says so once its sequences are switched on.
    assert verdicts(report)["exposure"] == "sequenceable"
    assert report.not_restored == ()
    assert as_it_was(lit_rig) == before
    assert witness.looks > 100 and witness.lit == []
    assert not lit_rig.core.getShutterOpen("Shutter")
    assert float(lit_rig.core.getProperty("Laser", "Voltage")) == 0
    # Nobody is told that somebody else had changed it meanwhile.
    assert lit_rig.take_external() == ()
    assert lit_rig.geometry.roi == Roi(32, 64, 256, 192)
    assert not lit_rig.core.isSequenceRunning()


@pytest.mark.parametrize("after", [0, 60, 300, 600])
def test_asked_to_end_it_puts_everything_back(lit_rig: Rig, after: int):
    before = as_it_was(lit_rig)
    report = probe(lit_rig, stopped=Witness(lit_rig, end_after=after))
    assert not report.is_complete and report.not_restored == ()
    assert len(report.verdicts) < 9
    assert as_it_was(lit_rig) == before
    assert not lit_rig.core.isSequenceRunning()
    assert not lit_rig.core.getShutterOpen("Shutter")
    # It is free for the next one.
    with lit_rig.exclusive("a run"):
        pass


def test_ctrl_c_and_errors_put_everything_back(lit_rig: Rig):
    before = as_it_was(lit_rig)
    looks = iter(range(10**6))

    def interrupt() -> bool:
        if next(looks) == 200:
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        probe(lit_rig, stopped=interrupt)
    assert as_it_was(lit_rig) == before
    assert not lit_rig.core.isSequenceRunning()
    assert not lit_rig.core.getShutterOpen("Shutter")


def test_what_is_refused_while_filming_and_what_at_all(
    lit_rig: Rig, faulty: FaultyCore
):
    before = as_it_was(lit_rig)

    def films(*args: object) -> bool:
        return bool(faulty.isSequenceRunning())

    faulty.inject("setXYPosition", fails("axis is armed", when=films))
    there = Home(lit_rig)
    assert there.exposure_ms == 33.0
    faulty.inject(
        "setPosition", fails("drive is locked", when=lambda *args: args[-1] != 5.0)
    )
    report = probe(lit_rig)
    by_name = {verdict.parameter: verdict for verdict in report.verdicts}
    assert by_name["stage"].how == "restart"
    assert by_name["stage"].note == "refused while the camera runs: axis is armed"
    assert (by_name["focus"].how, by_name["focus"].note) == (
        "refused",
        "drive is locked",
    )
    found = report.to_config()["capabilities"]
    assert found["stage"] == "restart" and "focus" not in found
    assert as_it_was(lit_rig) == before


def test_what_cannot_be_put_back_is_said(lit_rig: Rig, faulty: FaultyCore):
    def is_home(*args: Any) -> bool:
        return bool(abs(args[-2] - 12.0) < 0.5)

    faulty.inject("setXYPosition", fails("it is stuck", when=is_home))
    report = probe(lit_rig)
    assert len(report.not_restored) == 1
    assert report.not_restored[0].startswith("stage is not as it was")
    assert "it is stuck" in report.not_restored[0]


def test_light_that_stays_on_is_not_filmed_under(lit_rig: Rig, faulty: FaultyCore):
    def is_laser(*args: object) -> bool:
        return args[0] == "Laser"

    faulty.inject("setProperty", fails("interlock", when=is_laser))
    with pytest.raises(HardwareError, match=r"the light does not go off: .*interlock"):
        probe(lit_rig)
    assert not lit_rig.core.getShutterOpen("Shutter")
    assert as_it_was(lit_rig)["exposure"] == 33.0


def test_a_preset_that_may_make_light_is_left_alone(lit_rig: Rig):
    core = lit_rig.core
    home = Home(lit_rig)
    assert preset_without_light(lit_rig, home) == "Cy5"
    # Each of them would come first, by its name.
    core.defineConfig("Channel", "A shutter", "White Light Shutter", "State", "1")
    core.defineConfig("Channel", "An objective", "Objective", "State", "0")
    core.defineConfig("Channel", "Another mode", "Camera", "Mode", "Noise")
    assert core.getAvailableConfigs("Channel")[:4] == (
        "A laser",
        "A shutter",
        "An objective",
        "Another mode",
    )
    assert preset_without_light(lit_rig, Home(lit_rig)) == "Cy5"
    for preset in ("Cy5", "DAPI", "FITC"):
        core.deleteConfig("Channel", preset)
    assert preset_without_light(lit_rig, Home(lit_rig)) is None


def test_a_wheel_that_the_safe_state_names_is_a_lamp(open_rig: Callable[..., Rig]):
    wheel = ["Emission", "State", 0]
    safe = [["Shutter", "State", 0], ["Laser", "Voltage", 0], wheel]
    rig = open_rig(rig_config(safe_state=safe))
    # All presets set its label.
    assert preset_without_light(rig, Home(rig)) is None
    trials = Trials(rig, Home(rig)).all(turn_objective=False)
    (channel,) = [trial for trial in trials if trial.parameter == "channel"]
    assert channel.steps == () and "no lamp" in channel.note


def test_an_slm_is_shown_a_dark_pattern(open_rig: Callable[..., Rig]):
    mirrors = Mirrors()
    rig = open_rig(rig_config(roles={"slm": "DMD"}), core=python_core(DMD=mirrors))
    trials = Trials(rig, Home(rig)).all(turn_objective=False)
    (slm,) = [trial for trial in trials if trial.parameter == "slm"]
    for step in slm.steps:
        command = step()
        assert command is not None
        rig.actuator.settle(command)
    assert mirrors.shown is not None and mirrors.shown.shape == (30, 40)
    assert not mirrors.shown.any()


def test_limits_of_the_rig_file_hold(open_rig: Callable[..., Rig]):
    config = rig_config(
        limits={
            "exposure_ms": [10.0, 11.0],
            "stage_um": {"x": [-5, 0.5], "y": [-5, 5]},
            "focus_um": [-0.5, 5],
        }
    )
    rig = open_rig(config, RealClock())
    places: list[tuple[float, float]] = []
    heights: list[float] = []

    def watch() -> bool:
        places.append(rig.core.getXYPosition("XY"))
        heights.append(rig.core.getPosition("Z"))
        assert 10.0 <= rig.core.getExposure("Camera") <= 11.0
        return False

    report = probe(rig, stopped=watch)
    by_name = {verdict.parameter: verdict for verdict in report.verdicts}
    assert by_name["exposure"].how is None
    assert "no second exposure" in by_name["exposure"].note
    assert (by_name["stage"].how, by_name["focus"].how) == ("live", "live")
    assert min(x for x, _ in places) == pytest.approx(-1.0, abs=0.1)
    assert max(x for x, _ in places) <= 0.5
    assert max(heights) == pytest.approx(1.0, abs=0.1) and min(heights) >= -0.5


def test_a_parameter_that_does_not_exist_has_no_effect_to_wait_for(
    open_rig: Callable[..., Rig],
):
    late = {"exposure": 1, "Laser.Voltage": 2}
    rig = open_rig(rig_config(camera={"effect_after_frames": late}))
    assert rig.config.camera.effect_after_frames == late
    with pytest.raises(ConfigError) as caught:
        open_rig(rig_config(camera={"effect_after_frames": {"exposur": 1}}))
    assert str(caught.value) == (
        "demo_laser_rig.yaml: camera.effect_after_frames.exposur: there is no "
        "parameter 'exposur'; did you mean 'exposure'?"
    )


def test_nothing_is_probed_while_a_run_drives_the_rig(rig: Rig):
    with rig.exclusive("film divisions"):
        with pytest.raises(HardwareError, match="already driven by 'film divisions'"):
            probe(rig)
    assert rig.core.getExposure("Camera") == 10.0


def test_a_live_view_is_not_taken_over(lit_rig: Rig):
    lit_rig.core.startContinuousSequenceAcquisition(0)
    try:
        with pytest.raises(HardwareError, match="the camera is running"):
            probe(lit_rig)
        assert lit_rig.core.isSequenceRunning()
        # What somebody films with is not switched off under them.
        assert lit_rig.core.getShutterOpen("Shutter")
    finally:
        lit_rig.core.stopSequenceAcquisition()


def test_a_camera_without_frames_ends_the_probe(
    open_rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
):
    rig = open_rig(rig_config(), RealClock())
    monkeypatch.setattr("smartscope.rig._probe._Prober._patience_s", lambda self: 0.05)
    # A camera that waits for a trigger that never comes.
    monkeypatch.setattr(Film, "_take", lambda self: self._over.wait())
    with pytest.raises(HardwareError, match="it gave no frames; look at its trigger"):
        probe(rig)
    assert not rig.core.isSequenceRunning()
    assert rig.core.getExposure("Camera") == 10.0


# ------------------------------------------------------------------ on paper


def films(*numbers: int, step_ms: float = 10.0, **tags: Callable[[int], str]):
    return [
        Seen(
            n * step_ms / 1e3,
            (4, 4),
            {"ImageNumber": str(n), **{name: tag(n) for name, tag in tags.items()}},
        )
        for n in numbers
    ]


def test_counters_count_every_frame_of_every_film():
    fast = films(
        *range(8),
        step_ms=1.0,
        Frame=lambda n: str(n + 100),
        Clock=lambda n: f"{n * 1.0}",
        Same=lambda n: "5",
        Name=lambda n: f"frame {n}",
    )
    slow = films(
        *range(8),
        step_ms=7.0,
        Frame=lambda n: str(n),
        Clock=lambda n: f"{n * 7.0}",
        Same=lambda n: "5",
        Name=lambda n: f"frame {n}",
    )
    assert counters([fast]) == ("Clock", "Frame")
    assert counters([fast, slow]) == ("Frame",)
    assert counters([fast, films(0, 1, 3, Frame=lambda n: str(n))]) == ()
    assert counters([]) == ()


def test_gaps_and_intervals():
    assert gaps(films(0, 1, 2)) == 0
    assert gaps(films(0, 3, 4, 6)) == 3
    assert intervals_ms(films(0, 1, 3)) == pytest.approx([10.0, 20.0])
    stamps = {"TimeReceivedByCore": lambda n: f"2026-11-22 18:00:00.{n:03d}500"}
    # Micro-Manager's own stamps count, not when we looked.
    assert intervals_ms(films(0, 1, 3, **stamps)) == pytest.approx([1.0, 2.0])


# ----------------------------------------------------------- one grey camera


def opened(camera: str, *settings: tuple[str, str, str], **changes: Any) -> Rig:
    core = create_core()
    core.loadSystemConfiguration(str(HERE / "multi_camera.cfg"))
    for setting in settings:
        core.setProperty(*setting)
    config = rig_config(
        **{
            "name": "two cameras",
            "micromanager": {"config": str(HERE / "multi_camera.cfg")},
            "roles": {
                "camera": camera,
                **dict.fromkeys(("stage", "focus", "autofocus", "objective")),
                **dict.fromkeys(("shutter", "channel_group")),
            },
            "light": None,
            "safe_state": None,
            "limits": None,
            "calibration": None,
            **changes,
        }
    )
    try:
        return Rig.open(config, RealClock(), base_dir=HERE, core=core)
    finally:
        assert core.getCameraDevice() in ("Left", camera)


def test_several_cameras_in_one_are_refused():
    with pytest.raises(ConfigError) as caught:
        opened("Both")
    assert str(caught.value) == (
        "demo_laser_rig.yaml: roles.camera: camera 'Both' joins 2 cameras into one, "
        "and smartscope films with one camera at a time; name one of its cameras: "
        "Left, Right"
    )
    assert caught.value.exit_code == 2


def test_each_of_them_alone_is_welcome():
    for camera in ("Left", "Right"):
        rig = opened(camera)
        assert rig.core.getCameraDevice() == camera
        core = rig.core
        rig.close()
        # A core that was lent is given back as it was.
        assert core.getCameraDevice() == "Left"


def test_one_camera_in_a_joint_is_one_camera():
    rig = opened("Both", ("Both", "Physical Camera 2", "Undefined"))
    assert rig.core.getNumberOfCameraChannels() == 1
    rig.close()


def test_colour_pictures_are_refused():
    with pytest.raises(ConfigError) as caught:
        opened("Right", ("Right", "PixelType", "32bitRGB"))
    assert "roles.camera: camera 'Right' delivers colour pictures" in str(caught.value)
    assert "set its pixel type to a grey one" in caught.value.fix


def test_threads_of_a_probe_end(open_rig: Callable[..., Rig]):
    rig = open_rig(rig_config(), RealClock())
    looks = iter(range(10**6))
    probe(rig, stopped=lambda: next(looks) > 20)
    assert "smartscope-probe" not in {thread.name for thread in threading.enumerate()}
