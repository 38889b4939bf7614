"""Opening a rig: what fits, and the sentence for what does not."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from rig_helpers import DEMOS, rig_config

from smartscope.core import ConfigError, HardwareError, RealClock, VirtualClock
from smartscope.rig import Rig, create_core

# isort: split
from pymmcore_plus import CMMCorePlus
from pymmcore_plus.core.events import CMMCoreSignaler


@pytest.mark.parametrize(
    "file", ["demo_laser_rig.yaml", "demo_rig.yaml", "specimen_rig.yaml"]
)
def test_shipped_rigs_open_dark_calibrated_and_complete(open_rig: Any, file: str):
    rig = open_rig(rig_config(file))
    state = rig.state(rig.clock.now_ns())
    assert (state.x_um, state.y_um, state.z_um) == (0.0, 0.0, 0.0)
    assert state.shutter_open is False
    assert all(power == 0 for power in state.power_percent.values())
    assert state.objective is not None and state.objective.lower() == "10x"
    assert (state.roi_px.width_px, state.roi_px.height_px) == (512, 512)
    assert state.epoch == 0 and state.external == ()
    assert rig.is_calibrated
    assert rig.pixel_map().pixel_um == 1.0
    assert rig.history.at("magnification", rig.clock.now_ns()) == 10.0
    for role in ("camera", "stage", "focus", "shutter", "objective", "autofocus"):
        assert rig.can(role)
    assert not rig.can("slm")


def test_demo_laser_configuration_has_what_the_rig_file_says(rig: Rig):
    assert rig.core.getFocusDirection("Z").name == "TowardSample"
    assert set(rig.core.getAvailableConfigs("Objective")) == {"10x", "20x", "40x"}
    assert set(rig.core.getAvailableConfigs("System")) == {"Startup", "Shutdown"}
    assert rig.can("light:488")
    state = rig.state(rig.clock.now_ns())
    assert state.channel == "FITC"
    assert state.power_mw == {"488": 0.0}
    assert rig.core.getBytesPerPixel() == 2
    assert not rig.core.getAutoShutter()


def test_our_own_core_opens_dark_whatever_the_shutter_was(open_rig: Any):
    # The demo shutter is open every other time when it is loaded.
    for _ in range(8):
        rig = open_rig(rig_config("demo_rig.yaml"))
        assert not rig.core.getShutterOpen("White Light Shutter")
        assert rig.state(rig.clock.now_ns()).shutter_open is False


def sentence(**changes: Any) -> str:
    with pytest.raises((ConfigError, HardwareError)) as caught:
        Rig.open(rig_config(**changes), VirtualClock(), base_dir=DEMOS).close()
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_misspelt_role_names_file_field_device_and_fix():
    text = sentence(roles={"stage": "XYY"})
    assert text == (
        "demo_laser_rig.yaml: roles.stage: device 'XYY' is not in demo_laser.cfg; "
        "did you mean 'XY'?"
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"roles": {"stage": "Z"}}, "roles.stage: device 'Z' is not an xy stage"),
        ({"roles": {"camera": "Camara"}}, "did you mean 'Camera'?"),
        ({"roles": {"shutter": "Laser"}}, "is not a shutter"),
        ({"roles": {"fine_focus": "Z"}}, "focus and fine focus are one device"),
        ({"roles": {"channel_group": "Chanel"}}, "did you mean 'Channel'?"),
        ({"roles": {"slm": "SLM"}}, "roles.slm: device 'SLM' is not in"),
        (
            {"roles": {"autofocus": {"state": "Autofocus", "offset": "XY"}}},
            "roles.autofocus.offset: device 'XY' is not a focus drive",
        ),
        (
            {"light": {"488": {"power": ["Laser", "Volts"]}}},
            "light.488.power: device 'Laser' has no property 'Volts'; did you mean "
            "'Voltage'?",
        ),
        (
            {"light": {"488": {"power": ["Laser", "Real Voltage"]}}},
            "Laser.Real Voltage can only be read",
        ),
        (
            {"light": {"488": {"range": [0, 20]}}},
            "light.488.range: Laser.Voltage takes",
        ),
        (
            {"light": {"488": {"calibration": {"10x": [[0, 5], [10, 1]]}}}},
            "light.488.calibration.10x: the power at the sample must rise",
        ),
        ({"light": {"488": {"field_um": {"100x": [1, 1]}}}}, "light.488.field_um.100x"),
        ({"safe_state": [["Shuter", "State", 0]]}, "safe_state[0]: device 'Shuter'"),
        ({"safe_state": [["Shutter", "State", 7]]}, "takes 0 or 1, not 7"),
        (
            {"safe_state": [["Laser", "Voltage", 11]]},
            "safe_state[0]: Laser.Voltage takes 0 to 10, not 11",
        ),
        (
            {
                "light": {"488": {"gate": "always"}},
                "safe_state": [["Shutter", "State", 0]],
            },
            "safe_state: it does not switch light line '488' off; add [Laser, Voltage,"
            " 0] to safe_state",
        ),
        (
            {
                "light": {"488": {"gate": "camera_ttl"}},
                "safe_state": [["Laser", "Voltage", 3]],
            },
            "does not switch light line '488' off",
        ),
        ({"roles": {"stage": None}}, "limits.stage_um: no stage fills the role"),
        ({"settle_ms": {"ZZ": 5}}, "settle_ms.ZZ: device 'ZZ' is not in"),
        ({"calibration": {"11x": {"pixel_um": 1}}}, "calibration.11x: there is no"),
        ({"roles": {"objective": None}}, "3 objectives are named but no turret"),
        ({"capabilities": {"expsure": "restart"}}, "did you mean 'exposure'?"),
        (
            {"micromanager": {"config": "nowhere.cfg"}},
            "micromanager.config: the Micro-Manager configuration 'nowhere.cfg' does",
        ),
    ],
)
def test_what_does_not_fit_is_one_sentence(changes: dict[str, Any], words: str):
    text = sentence(**changes)
    assert words in text
    assert text.startswith("demo_laser_rig.yaml: ")


CFG = "Property,Core,Initialize,0\n{}\nProperty,Core,Initialize,1\n{}\n"


@pytest.mark.parametrize(
    ("device", "later", "words"),
    [
        ("Device,Camera,Hamamtsu,HCam", "", "line 2: device 'Camera': there is no"),
        (
            "Device,Camera,DemoCamera,DCamm",
            "",
            "adapter 'DemoCamera' has no device 'DCamm'; did you mean 'DCam'?",
        ),
        (
            "Device,Camera,DemoCamera,DCam",
            "Property,Camera,Nope,3",
            "broken.cfg, line 4: Line 4: Property,Camera,Nope,3 Error in device",
        ),
        ("Device,Camera,DemoCamera", "", "broken.cfg, line 2"),
        (
            "Device,Shutter,Utilities,Multi Shutter\nDevice,Shutter,DemoCamera,DCam",
            "",
            "broken.cfg",
        ),
    ],
)
def test_broken_cfg_names_file_line_and_fix(
    tmp_path: Any, device: str, later: str, words: str
):
    cfg = tmp_path / "broken.cfg"
    cfg.write_text(CFG.format(device, later), encoding="utf-8")
    assert words in sentence(micromanager={"config": str(cfg)})


def test_a_failed_opening_leaves_a_users_core_as_it_was():
    core = create_core()
    core.loadSystemConfiguration()
    core.setAutoShutter(True)
    wrong = rig_config("demo_rig.yaml", roles={"stage": "XYY"})
    with pytest.raises(ConfigError):
        Rig.open(wrong, VirtualClock(), base_dir=DEMOS, core=core)
    assert core.getAutoShutter()
    right = Rig.open(
        rig_config("demo_rig.yaml"), VirtualClock(), base_dir=DEMOS, core=core
    )
    right.close()


def test_a_recording_has_no_microscope_to_open():
    config = rig_config(
        micromanager=None,
        roles=None,
        light=None,
        safe_state=None,
        recording={"path": "film.tif"},
    )
    with pytest.raises(ConfigError, match="no microscope to open"):
        Rig.open(config, VirtualClock(), base_dir=DEMOS)


def test_safe_state_defaults_to_the_shutdown_preset(open_rig: Any):
    rig = open_rig(rig_config(safe_state=None))
    assert ("White Light Shutter", "State", "0") in rig.safe_state
    assert ("Laser", "Voltage", "0") in rig.safe_state


def test_safe_state_without_list_or_preset_is_every_light(open_rig: Any):
    config = rig_config(safe_state=None)
    core = create_core()
    core.loadSystemConfiguration(str(DEMOS / "demo_laser.cfg"))
    core.deleteConfig("System", "Shutdown")
    rig = open_rig(config, core=core)
    assert rig.safe_state == (("Shutter", "State", "0"), ("Laser", "Voltage", "0"))


def test_our_core_is_never_the_global_singleton(rig: Rig):
    assert CMMCorePlus.instance() is not rig.core


def test_a_users_singleton_stays_the_singleton(open_rig: Any):
    mine = CMMCorePlus.instance()
    rig = open_rig()
    assert CMMCorePlus.instance() is mine
    assert rig.core is not mine


def test_our_core_has_psygnal_events_whatever_the_environment(
    open_rig: Any, monkeypatch: pytest.MonkeyPatch
):
    import os

    monkeypatch.setenv("PYMM_SIGNALS_BACKEND", "qt")
    rig = open_rig()
    assert isinstance(rig.core.events, CMMCoreSignaler)
    assert os.environ["PYMM_SIGNALS_BACKEND"] == "qt"


def test_the_import_changes_no_logging_and_writes_no_file():
    code = (
        "import logging, os\n"
        "import smartscope.rig\n"
        "assert logging.getLogger().level == logging.WARNING\n"
        "handlers = logging.getLogger('pymmcore-plus').handlers\n"
        "files = [h for h in handlers if isinstance(h, logging.FileHandler)]\n"
        "assert not files, files\n"
        "assert 'PYTEST_RUNNING' not in os.environ\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        env=_plain_environment(),
        check=False,
    )
    assert done.returncode == 0, done.stderr


def _plain_environment() -> dict[str, str]:
    import os

    left_out = ("PYTEST_RUNNING", "PYMM_LOG_FILE")
    return {k: v for k, v in os.environ.items() if k not in left_out}


def test_refuse_without_says_what_is_missing_and_why(rig: Rig):
    rig.refuse_without("stage", "policy 'follow_cell'")
    with pytest.raises(ConfigError) as caught:
        rig.refuse_without("slm", "policy 'stimulate'")
    assert str(caught.value).startswith(
        "demo_laser_rig.yaml: roles.slm: policy 'stimulate' needs a slm, and this rig "
        "has none"
    )
    with pytest.raises(ConfigError, match="light line '561'"):
        rig.refuse_without("light:561", "channel TRITC")


def test_capabilities_come_from_devices_and_the_rig_file(open_rig: Any):
    rig = open_rig(rig_config(capabilities={"exposure": "restart"}))
    table = rig.capabilities
    assert table.of("power") == table.of("stage") == table.of("focus") == "live"
    assert table.of("roi") == table.of("binning") == "restart"
    assert table.of("exposure") == "restart"
    assert table.of("Camera.Gain") == "live"


def test_capabilities_see_what_devices_can_sequence(open_rig: Any):
    core = create_core()
    core.loadSystemConfiguration(str(DEMOS / "demo_laser.cfg"))
    core.setProperty("Z", "UseSequences", "Yes")
    core.setProperty("Camera", "UseExposureSequences", "Yes")
    rig = open_rig(core=core)
    assert rig.capabilities.of("focus") == "sequenceable"
    assert rig.capabilities.of("exposure") == "sequenceable"
    assert rig.capabilities.of("stage") == "live"


def test_state_costs_no_device_call_and_little_time(
    open_rig: Any, monkeypatch: pytest.MonkeyPatch
):
    rig = open_rig(clock=RealClock())

    def forbidden(*_: Any) -> Any:
        raise AssertionError("a device was asked")

    for name in ("getXYPosition", "getPosition", "getProperty", "getShutterOpen"):
        monkeypatch.setattr(rig.core, name, forbidden, raising=True)
    state = rig.state(rig.clock.now_ns())
    assert state.x_um == 0.0
    assert set(state.confirmed_ns) >= {
        "stage",
        "focus",
        "light:488",
        "shutter",
        "channel",
    }
    rig.pixel_map()
    monkeypatch.undo()
