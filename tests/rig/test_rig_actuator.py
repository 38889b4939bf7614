"""Commands: numbered, issued without waiting, read back, believed only then."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest
from rig_helpers import DEMOS, rig_config, slow_config

from smartscope.core import (
    NS_PER_MS,
    HardwareError,
    RealClock,
    Roi,
    SafetyError,
    VirtualClock,
)
from smartscope.rig import Rig, create_core

# isort: split
import pymmcore
from pymmcore_plus.experimental.unicore import SLMDevice, StageDevice, UniMMCore


def now(rig: Rig) -> int:
    return rig.clock.now_ns()


def test_commands_count_from_one_and_settle_with_readback(rig: Rig):
    a = rig.actuator
    commands = [
        a.move_stage(120, -40),
        a.move_focus(7),
        a.set_power("488", 40),
        a.set_channel("DAPI"),
        a.set_exposure(25),
        a.set_shutter(True),
    ]
    assert [c.number for c in commands] == [1, 2, 3, 4, 5, 6]
    a.settle(*commands)
    read = {k: v for c in commands for k, v in c.readback.items()}
    assert read["x_um"] == pytest.approx(120, abs=0.01)
    assert read["y_um"] == pytest.approx(-40, abs=0.01)
    assert read["z_um"] == 7
    assert read["power_percent"] == pytest.approx(40)
    assert (read["channel"], read["shutter"]) == ("DAPI", "open")
    state = rig.state(now(rig))
    assert (state.epoch, state.settled_later, state.pending) == (6, (), ())
    assert state.power_percent == {"488": 40.0}
    assert state.power_mw == {"488": pytest.approx(5.0)}
    assert state.shutter_open is True
    assert rig.core.getProperty("Laser", "Voltage") == "4.0000"
    assert rig.take_external() == ()


def test_issuing_does_not_wait_for_the_move(open_rig: Any):
    rig = open_rig(clock=RealClock())
    command = rig.actuator.move_stage(4000, 0)
    assert rig.core.deviceBusy("XY")
    assert not command.is_over
    assert rig.state(now(rig)).pending == (1,)
    rig.actuator.settle(command)
    assert not rig.core.deviceBusy("XY")


def test_epoch_is_the_highest_with_all_before_it_settled(rig: Rig):
    a, clock = rig.actuator, rig.clock
    first, second, third = a.move_focus(1), a.set_exposure(5), a.set_power("488", 1)
    before = now(rig)
    clock.sleep_ns(1000)
    a.settle(second)
    state = rig.state(now(rig))
    assert (state.epoch, state.settled_later, state.pending) == (0, (2,), (1, 3))
    a.settle(first)
    state = rig.state(now(rig))
    assert (state.epoch, state.settled_later, state.pending) == (2, (), (3,))
    a.settle(third)
    assert rig.state(now(rig)).epoch == 3
    # A frame that was exposed before the first settling still says so.
    old = rig.state(before)
    assert (old.epoch, old.settled_later, old.pending) == (0, (), (1, 2, 3))


def test_a_state_in_the_past_has_the_values_of_the_past(rig: Rig):
    a, clock = rig.actuator, rig.clock
    a.settle(a.set_power("488", 10))
    clock.sleep_ns(NS_PER_MS)
    before = now(rig)
    clock.sleep_ns(NS_PER_MS)
    a.settle(a.set_power("488", 90))
    assert rig.state(before).power_percent == {"488": 10.0}
    assert rig.state(now(rig)).power_percent == {"488": 90.0}


def test_a_later_command_supersedes_and_is_the_one_verified(rig: Rig):
    a = rig.actuator
    first, second = a.move_stage(500, 0), a.move_stage(-30, 20)
    a.settle(first, second)
    assert first.superseded and not second.superseded
    assert first.error is None
    assert second.readback["x_um"] == pytest.approx(-30, abs=0.01)
    assert rig.state(now(rig)).epoch == 2


def test_settling_the_later_one_ends_the_superseded_one(rig: Rig):
    a = rig.actuator
    first, second = a.set_power("488", 10), a.set_power("488", 20)
    a.settle(second)
    assert first.is_over and first.superseded
    assert rig.state(now(rig)).pending == ()


def test_settle_waits_only_for_the_commanded_devices(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
):
    asked: list[str] = []
    real = rig.core.deviceBusy
    monkeypatch.setattr(
        rig.core, "deviceBusy", lambda d: (asked.append(d), real(d))[1], raising=True
    )
    rig.actuator.settle(rig.actuator.move_focus(2))
    assert set(asked) == {"Z"}


def test_a_stage_that_stops_elsewhere_raises_with_wanted_and_found(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
):
    # No demo stage can be blocked, so it is made to read back where it was.
    command = rig.actuator.move_stage(100, 0)
    monkeypatch.setattr(rig.core, "getXYPosition", lambda _: (41.0, 0.0))
    with pytest.raises(HardwareError) as caught:
        rig.actuator.settle(command)
    assert caught.value.device == "XY"
    assert str(caught.value) == (
        "XY: was told x_um 100, y_um 0 and is at x_um 41, y_um 0"
    )
    assert command.error is caught.value and command.is_over
    state = rig.state(now(rig))
    assert (state.x_um, state.epoch) == (41.0, 1)
    assert rig.history.at("x_um", now(rig)) == 41.0
    monkeypatch.undo()
    with pytest.raises(HardwareError):
        rig.actuator.settle(command)


def test_a_tolerance_of_the_rig_file_counts(
    open_rig: Any, monkeypatch: pytest.MonkeyPatch
):
    rig = open_rig(rig_config(tolerance_um={"XY": 60}))
    command = rig.actuator.move_stage(100, 0)
    monkeypatch.setattr(rig.core, "getXYPosition", lambda _: (41.0, 0.0))
    rig.actuator.settle(command)
    monkeypatch.undo()
    assert command.readback["x_um"] == 41.0
    assert rig.history.at("x_um", now(rig)) == 41.0


def test_a_device_that_stays_busy_is_named(rig: Rig, monkeypatch: pytest.MonkeyPatch):
    command = rig.actuator.move_focus(5)
    monkeypatch.setattr(rig.core, "deviceBusy", lambda _: True)
    with pytest.raises(HardwareError, match=r"Z: is still busy after 0\.02 s"):
        rig.actuator.settle(command, timeout_s=0.02)
    monkeypatch.undo()


def test_one_failure_does_not_leave_the_others_unsettled(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
):
    a = rig.actuator
    commands = [a.move_stage(50, 0), a.move_focus(4), a.set_exposure(12)]
    monkeypatch.setattr(rig.core, "getXYPosition", lambda _: (0.0, 0.0))
    with pytest.raises(HardwareError, match="XY"):
        a.settle(*commands)
    monkeypatch.undo()
    assert all(c.is_over for c in commands)
    assert [c.error is None for c in commands] == [False, True, True]


def test_a_refused_property_says_device_property_value_and_why(rig: Rig):
    with pytest.raises(HardwareError) as caught:
        rig.actuator.set_property("Camera", "Binning", 3)
    text = str(caught.value)
    assert text.startswith("Camera: setting Binning to 3 was refused: ")
    assert 'Cannot set property "Binning" to "3"' in text
    assert rig.state(now(rig)).epoch == 1
    assert rig.geometry.binning == 1


def test_a_refused_power_leaves_cache_and_history_at_the_truth(open_rig: Any):
    rig = open_rig(rig_config(light={"488": {"range": [0, 10]}}))
    a = rig.actuator
    a.settle(a.set_power("488", 20))
    # The light source itself refuses: its voltage ends at 10 V.
    with pytest.raises(HardwareError, match="Laser: setting Voltage to 12"):
        a.set_property("Laser", "Voltage", 12)
    assert rig.state(now(rig)).power_percent == {"488": 20.0}
    assert rig.history.at("power:488", now(rig)) == pytest.approx(20.0)


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda a: a.set_power("488", 101), "power goes from 0 to 100 percent"),
        (lambda a: a.set_power("488", float("nan")), "power goes from 0 to 100"),
        (lambda a: a.set_power("561", 1), "no light line '561'; known are: 488"),
        (lambda a: a.set_exposure(-3), "an exposure must be above 0 ms, not -3"),
        (lambda a: a.set_channel("FITCH"), "no preset 'FITCH'; did you mean 'FITC'?"),
        (lambda a: a.set_channel("x", "Chanel"), "no config group 'Chanel'"),
        (lambda a: a.set_property("Lasr", "Voltage", 1), "did you mean 'Laser'?"),
        (lambda a: a.set_property("Laser", "Volt", 1), "Laser: it has no property"),
        (lambda a: a.set_property("Laser", "Voltage", "hot"), "does not take 'hot'"),
        (lambda a: a.move_stage(float("nan"), 0), "not a finite number"),
        (lambda a: a.set_roi(Roi(500, 0, 100, 10)), "does not lie on the chip"),
        (lambda a: a.set_roi(Roi(-1, 0, 10, 10)), "does not lie on the chip"),
        (lambda a: a.show_pattern(np.zeros((2, 2))), "this rig has no slm"),
        (lambda a: a.switch_objective("60x"), "Objective: it has no objective '60x'"),
        (lambda a: a.move_focus(1, fine=True), "this rig has no fine_focus"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(rig: Rig, act: Any, words: str):
    with pytest.raises(HardwareError) as caught:
        act(rig.actuator)
    assert words in str(caught.value)
    assert rig.state(now(rig)).pending == ()


@pytest.mark.parametrize(
    "act",
    [
        lambda a: a.move_stage(5001, 0),
        lambda a: a.move_focus(-101),
        lambda a: a.set_exposure(2001),
        lambda a: a.set_power("488", 51),
        lambda a: a.set_property("Laser", "Voltage", 5.1),
    ],
)
def test_limits_of_the_rig_file_hold_even_here(open_rig: Any, act: Any):
    rig = open_rig(rig_config(limits={"power_percent": {"488": 50}}))
    with pytest.raises(SafetyError, match="limits\\."):
        act(rig.actuator)
    state = rig.state(now(rig))
    assert (state.epoch, state.pending) == (0, ())
    assert rig.core.getProperty("Laser", "Voltage") == "0.0000"


def test_power_limit_in_mw_holds_for_the_objective_in_use(open_rig: Any):
    rig = open_rig(rig_config(limits={"power_mw": {"488": 10.0}}))
    a = rig.actuator
    a.settle(a.set_power("488", 80))  # 10 mW at 10x
    with pytest.raises(SafetyError, match=r"11\.25 mW is above"):
        a.set_power("488", 90)
    a.settle(a.switch_objective("40x"))
    a.settle(a.set_power("488", 100))  # 8 mW at 40x
    assert rig.state(now(rig)).power_mw == {"488": pytest.approx(8.0)}


def test_power_scales_between_its_three_units(open_rig: Any):
    calibration = {"10x": [[1, 0.5], [2, 2.0], [3, 8.0]], "20x": None, "40x": None}
    light = {"488": {"range": [1, 3], "calibration": calibration}}
    safe = [["Shutter", "State", 0], ["Laser", "Voltage", 1]]
    rig = open_rig(rig_config(light=light, safe_state=safe))
    scale = rig.lights["488"]
    assert scale.value(0) == 1 and scale.value(100) == 3 and scale.value(25) == 1.5
    assert scale.percent(2.5) == 75
    assert scale.mw(75, "10x") == pytest.approx(5.0)
    assert scale.mw(75, "40x") is None


# ------------------------------------------------------------- presets (finding 6)


def test_finding_6_a_property_changed_since_is_applied_again(rig: Rig):
    a, core = rig.actuator, rig.core
    a.settle(a.set_channel("FITC"))
    a.settle(a.set_property("Emission", "Label", "Chroma-HQ700"))
    a.settle(a.set_channel("FITC"))
    assert core.getStateLabel("Emission") == "Chroma-HQ535"
    # Also when somebody else did it, by number or by label, seen or unseen.
    core.setState("Dichroic", 3)
    a.settle(a.set_channel("FITC"))
    assert core.getStateLabel("Dichroic") == "Q505LP"
    pymmcore.CMMCore.setProperty(core, "Excitation", "Label", "Empty")
    a.settle(a.set_channel("FITC"))
    assert core.getStateLabel("Excitation") == "Chroma-HQ480"


def test_a_preset_that_holds_is_left_alone(rig: Rig):
    applied: list[tuple[str, str]] = []
    rig.core.events.configSet.connect(lambda group, name: applied.append((group, name)))
    a = rig.actuator
    for preset in ("DAPI", "DAPI", "Cy5", "DAPI"):
        a.settle(a.set_channel(preset))
    assert [name for _, name in applied] == ["DAPI", "Cy5", "DAPI"]
    assert rig.state(now(rig)).epoch == 4


def test_light_set_by_a_preset_is_known_limited_and_traced(open_rig: Any):
    core = create_core()
    core.loadSystemConfiguration(str(DEMOS / "demo_laser.cfg"))
    core.defineConfig("Channel", "Bleach", "Laser", "Voltage", "9")
    core.defineConfig("Channel", "Dim", "Laser", "Voltage", "2")
    rig = open_rig(rig_config(limits={"power_percent": {"488": 50}}), core=core)
    a = rig.actuator
    with pytest.raises(SafetyError):
        a.set_channel("Bleach")
    a.settle(a.set_channel("Dim"))
    assert rig.state(now(rig)).power_percent == {"488": 20.0}
    assert rig.history.at("power:488", now(rig)) == pytest.approx(20.0)
    assert rig.take_external() == ()
    # An explicit power afterwards makes the preset not hold any more.
    a.settle(a.set_power("488", 5))
    a.settle(a.set_channel("Dim"))
    assert rig.core.getProperty("Laser", "Voltage") == "2.0000"


def test_a_preset_that_would_turn_the_objective_is_refused(open_rig: Any):
    core = create_core()
    core.loadSystemConfiguration(str(DEMOS / "demo_laser.cfg"))
    core.defineConfig("Channel", "Oil", "Objective", "State", "0")
    rig = open_rig(core=core)
    with pytest.raises(HardwareError, match="switch the objective first"):
        rig.actuator.set_channel("Oil")
    assert core.getState("Objective") == 1


# ------------------------------------------------------------------ camera geometry


def test_roi_is_in_sensor_pixels_whatever_the_binning(rig: Rig):
    a = rig.actuator
    a.settle(a.set_property("Camera", "Binning", 2))
    assert rig.geometry.roi == Roi(0, 0, 512, 512)
    a.settle(a.set_roi(Roi(100, 40, 200, 120)))
    assert list(rig.core.getROI("Camera")) == [50, 20, 100, 60]
    assert rig.core.getImageWidth() == 100
    state = rig.state(now(rig))
    assert (state.roi_px, state.binning) == (Roi(100, 40, 200, 120), 2)
    with pytest.raises(HardwareError, match="multiples of 2"):
        a.set_roi(Roi(101, 40, 200, 120))
    a.settle(a.set_roi(None))
    assert rig.geometry.roi == Roi(0, 0, 512, 512)


def test_roi_and_binning_are_refused_while_the_camera_runs(rig: Rig):
    rig.core.startContinuousSequenceAcquisition(0)
    try:
        with pytest.raises(HardwareError, match="roi cannot change while"):
            rig.actuator.set_roi(Roi(0, 0, 64, 64))
        with pytest.raises(HardwareError, match="binning cannot change while"):
            rig.actuator.set_property("Camera", "Binning", 2)
        rig.actuator.settle(rig.actuator.set_exposure(3))
        assert rig.core.isSequenceRunning()
    finally:
        rig.core.stopSequenceAcquisition()


# ---------------------------------------------------------------- settling and time


def test_virtual_time_is_that_of_the_timing_table(open_rig: Any):
    timing = {"stage_um_per_ms": 2.0, "stage_settle_ms": 30.0, "focus_settle_ms": 4.0}
    rig = open_rig(rig_config(timing=timing))
    a, start = rig.actuator, now(rig)
    command = a.move_stage(300, 400)
    assert now(rig) == start
    a.settle(command)
    assert now(rig) - start == (250 + 30) * NS_PER_MS
    # Together they take as long as the slower one.
    start = now(rig)
    a.settle(a.move_focus(5), a.move_stage(300, 410))
    assert now(rig) - start == pytest.approx((5 + 30) * NS_PER_MS, rel=1e-3)


def test_settle_ms_of_the_rig_file_is_waited_for(open_rig: Any):
    rig = open_rig(rig_config(settle_ms={"Z": 20.0}), RealClock())
    command = rig.actuator.move_focus(5)
    rig.actuator.settle(command)
    assert command.t_settled_ns - command.t_issued_ns >= 20 * NS_PER_MS


def test_backlash_comes_from_below(open_rig: Any, monkeypatch: pytest.MonkeyPatch):
    rig = open_rig(rig_config(backlash_um={"XY": 10, "Z": 3}))
    sent: list[tuple[str, Any]] = []
    core = rig.core
    go_xy, go_z = core.setXYPosition, core.setPosition
    monkeypatch.setattr(
        core, "setXYPosition", lambda d, *p: (sent.append((d, p)), go_xy(d, *p))
    )
    monkeypatch.setattr(
        core, "setPosition", lambda d, p: (sent.append((d, p)), go_z(d, p))
    )
    a = rig.actuator
    a.settle(a.move_stage(100, 100), a.move_focus(20))
    assert sent == [("XY", (100, 100)), ("Z", 20)]
    sent.clear()
    down, lower = a.move_stage(50, 120), a.move_focus(10)
    a.settle(down, lower)
    assert sorted(sent, key=lambda s: s[0]) == [
        ("XY", (40, 110)),
        ("XY", (50, 120)),
        ("Z", 7),
        ("Z", 10),
    ]
    assert down.readback["x_um"] == pytest.approx(50, abs=0.01)
    monkeypatch.undo()


def test_a_slow_stage_is_waited_for_and_read_back(open_rig: Any):
    rig = open_rig(slow_config(), RealClock())
    command = rig.actuator.move_stage(100, 50)
    assert rig.core.deviceBusy("XY")
    rig.actuator.settle(command)
    assert command.readback == {
        "x_um": pytest.approx(100, abs=0.1),
        "y_um": pytest.approx(50, abs=0.1),
    }
    assert rig.take_external() == ()


# ------------------------------------------------------------------------- history


def test_history_ramps_with_the_move_and_ends_at_the_readback(rig: Rig):
    a, start = rig.actuator, now(rig)
    a.settle(a.move_stage(100, -50))
    travel = int(np.hypot(100, 50) / 10 * NS_PER_MS)
    half = rig.history.at("x_um", start + travel // 2)
    assert half == pytest.approx(50, abs=0.1)
    assert rig.history.at("x_um", start + travel) == pytest.approx(100, abs=0.01)
    state = rig.state(now(rig))
    assert rig.history.at("x_um", now(rig)) == state.x_um
    assert rig.history.at("y_um", now(rig)) == state.y_um


def test_a_retargeted_move_ramps_from_where_it_was(rig: Rig):
    a, clock, start = rig.actuator, rig.clock, now(rig)
    first = a.move_stage(1000, 0)
    clock.sleep_ns(50 * NS_PER_MS)
    second = a.move_stage(0, 0)
    a.settle(first, second)
    assert rig.history.at("x_um", start + 50 * NS_PER_MS) == pytest.approx(500)
    assert rig.history.at("x_um", start + 75 * NS_PER_MS) == pytest.approx(250)
    assert rig.history.at("x_um", now(rig)) == pytest.approx(0, abs=0.01)


def test_light_and_shutter_are_traced_when_set(rig: Rig):
    a, clock = rig.actuator, rig.clock
    clock.sleep_ns(NS_PER_MS)
    a.settle(a.set_power("488", 30), a.set_shutter(True))
    on = now(rig)
    clock.sleep_ns(NS_PER_MS)
    a.settle(a.set_shutter(False))
    history = rig.history
    assert history.at("shutter", 0) == 0.0
    assert history.at("shutter", on) == 1.0
    assert history.at("shutter", now(rig)) == 0.0
    assert history.at("power:488", on) == pytest.approx(30)


def test_a_real_move_ends_in_history_when_it_ended(open_rig: Any):
    rig = open_rig(rig_config(timing={"stage_um_per_ms": 1e6}), RealClock())
    command = rig.actuator.move_stage(400, 0)  # the demo stage needs about 40 ms
    rig.actuator.settle(command)
    at_issue = command.t_issued_ns + 5 * NS_PER_MS
    assert rig.history.at("x_um", at_issue) < 390
    assert rig.history.at("x_um", now(rig)) == pytest.approx(400, abs=0.02)


# ------------------------------------------------------- objective, autofocus, SLM


def turret_config(**changes: Any) -> Any:
    calibration = {
        "10x": {"offset_um": [0, 0, 0]},
        "40x": {"offset_um": [12, -8, 5]},
    }
    return rig_config(calibration=calibration, **changes)


def test_objective_goes_by_the_escape_height_and_adds_its_offset(
    open_rig: Any, monkeypatch: pytest.MonkeyPatch
):
    rig = open_rig(turret_config(objective_escape_um=-50.0))
    core, a, log = rig.core, rig.actuator, []
    a.settle(a.move_stage(100, 100), a.move_focus(20))
    go_z = core.setPosition
    monkeypatch.setattr(
        core, "setPosition", lambda d, z: (log.append(("Z", z)), go_z(d, z))
    )
    core.events.propertyChanged.connect(
        lambda d, p, v: log.append((d, v)) if p == "Label" else None
    )
    command = a.switch_objective("40x")
    with pytest.raises(HardwareError, match="turret is turning"):
        a.move_focus(30)
    assert core.getState("Objective") == 1  # still lowering
    a.settle(command)
    assert command.readback == {"objective": "40x"}
    assert [entry for entry in log if entry[0] == "Z"] == [("Z", -50.0), ("Z", 25.0)]
    state = rig.state(now(rig))
    assert state.objective == "40x"
    assert state.x_um == pytest.approx(112, abs=0.02)
    assert state.y_um == pytest.approx(92, abs=0.02)
    assert state.z_um == pytest.approx(25)
    assert rig.history.at("magnification", now(rig)) == 40
    assert rig.pixel_map().pixel_um == 0.25
    assert rig.take_external() == ()
    monkeypatch.undo()


def test_a_turret_never_turns_when_the_focus_did_not_go_down(
    open_rig: Any, monkeypatch: pytest.MonkeyPatch
):
    rig = open_rig(turret_config(objective_escape_um=-50.0))
    command = rig.actuator.switch_objective("40x")
    monkeypatch.setattr(rig.core, "getPosition", lambda _: 0.0)
    with pytest.raises(HardwareError, match="Z: was sent to -50 um and is at 0 um"):
        rig.actuator.settle(command)
    monkeypatch.undo()
    assert rig.core.getState("Objective") == 1


def test_turning_by_property_goes_the_same_way(open_rig: Any):
    rig = open_rig(turret_config())
    command = rig.actuator.set_property("Objective", "State", 0)
    rig.actuator.settle(command)
    assert command.resource == "objective"
    assert rig.state(now(rig)).x_um == pytest.approx(12, abs=0.02)


def test_focus_lock_locks_moves_by_unlocking_and_locks_again(rig: Rig):
    a, core = rig.actuator, rig.core
    a.settle(a.lock_focus(True))
    assert core.isContinuousFocusLocked()
    command = a.move_focus(9)
    assert not core.isContinuousFocusEnabled()
    a.settle(command)
    assert core.getPosition("Z") == 9
    assert core.isContinuousFocusLocked()
    assert rig.take_external() == ()
    a.settle(a.lock_focus(False))
    assert not core.isContinuousFocusEnabled()


class OffsetDrive(StageDevice):
    """The offset drive of a hardware autofocus; the demo adapters have none."""

    def __init__(self) -> None:
        super().__init__()
        self.at = 0.0

    def home(self) -> None:
        self.at = 0.0

    def stop(self) -> None: ...

    def set_origin(self) -> None: ...

    def set_position_um(self, val: float) -> None:
        self.at = val

    def get_position_um(self) -> float:
        return self.at


class Mirrors(SLMDevice):
    """A digital mirror device of 40 x 30 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: np.ndarray | None = None
        self._loaded: np.ndarray | None = None

    def shape(self) -> tuple[int, ...]:
        return (30, 40)

    def dtype(self) -> Any:
        return np.uint8

    def set_image(self, pixels: np.ndarray) -> None:
        self._loaded = pixels

    def display_image(self) -> None:
        self.shown = self._loaded

    def set_exposure(self, interval_ms: float) -> None: ...

    def get_exposure(self) -> float:
        return 0.0


def python_core(**devices: Any) -> UniMMCore:
    core = UniMMCore()
    core.loadSystemConfiguration(str(DEMOS / "demo_laser.cfg"))
    for label, device in devices.items():
        core.loadPyDevice(label, device)
        core.initializeDevice(label)
    return core


def test_while_locked_the_offset_drive_moves_the_focus(open_rig: Any):
    core = python_core(Offset=OffsetDrive())
    config = rig_config(roles={"autofocus": {"state": "Autofocus", "offset": "Offset"}})
    rig = open_rig(config, core=core)
    a = rig.actuator
    a.settle(a.move_focus(10))
    a.settle(a.lock_focus(True))
    command = a.move_focus(14)
    a.settle(command)
    assert command.readback == {"focus_offset": 4.0}
    assert core.getPosition("Z") == 10  # the lock moves it on a real stand
    assert core.isContinuousFocusLocked()
    assert rig.history.at("z_um", now(rig)) == rig.state(now(rig)).z_um
    a.settle(a.lock_focus(False))
    a.settle(a.move_focus(11))
    assert core.getPosition("Z") == 11


def test_fine_focus_adds_to_the_focus(open_rig: Any):
    core = python_core(Piezo=OffsetDrive())
    rig = open_rig(rig_config(roles={"fine_focus": "Piezo"}), core=core)
    a = rig.actuator
    a.settle(a.move_focus(10))
    a.settle(a.move_focus(12.5, fine=True))
    assert (core.getPosition("Z"), core.getPosition("Piezo")) == (10, 2.5)
    assert rig.state(now(rig)).z_um == pytest.approx(12.5)
    a.settle(a.move_focus(20))
    assert (core.getPosition("Z"), core.getPosition("Piezo")) == (17.5, 2.5)
    assert rig.history.at("z_um", now(rig)) == pytest.approx(20)


def test_a_pattern_is_shown_and_kept_in_the_history(open_rig: Any):
    mirrors = Mirrors()
    rig = open_rig(rig_config(roles={"slm": "DMD"}), core=python_core(DMD=mirrors))
    assert rig.can("slm")
    image = np.zeros((30, 40), np.uint8)
    image[3, 5] = 200
    a = rig.actuator
    command = a.show_pattern(image)
    a.settle(command)
    assert command.readback == {"pattern": 1.0, "lit_percent": 0.0833}
    assert mirrors.shown is not None and np.array_equal(mirrors.shown, image)
    image[:] = 0  # ours to reuse: the history keeps a copy
    assert rig.history.at("slm", now(rig)) == 1
    assert rig.history.pattern(1)[3, 5] == 200
    with pytest.raises(HardwareError, match="uint8 of 30 x 40"):
        a.show_pattern(np.zeros((40, 30), np.uint8))


# ------------------------------------------------------------------------- threads


def test_two_threads_command_without_losing_or_mixing_numbers(open_rig: Any):
    rig = open_rig(clock=RealClock())
    a, failures, numbers = rig.actuator, [], []
    each = 40

    def work(act: Any) -> None:
        try:
            for i in range(each):
                command = act(i)
                numbers.append(command.number)
                a.settle(command)
        except Exception as error:
            failures.append(error)

    jobs = [
        lambda i: a.set_power("488", i % 100),
        lambda i: a.move_focus(i % 20),
        lambda i: a.set_power("488", 100 - i % 100),
    ]
    threads = [threading.Thread(target=work, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(numbers) == list(range(1, 3 * each + 1))
    state = rig.state(now(rig))
    assert (state.epoch, state.pending) == (3 * each, ())
    volts = float(rig.core.getProperty("Laser", "Voltage"))
    assert state.power_percent["488"] == pytest.approx(volts * 10)
    assert rig.history.at("power:488", now(rig)) == pytest.approx(volts * 10)


def test_one_command_may_be_settled_by_two_threads(open_rig: Any):
    rig = open_rig(clock=RealClock())
    command = rig.actuator.move_stage(800, 0)
    other = threading.Thread(target=rig.actuator.settle, args=(command,))
    other.start()
    rig.actuator.settle(command)
    other.join()
    assert command.is_over and command.error is None


def test_a_failing_listener_of_somebody_else_fails_no_command(rig: Rig):
    def broken(*_: Any) -> None:
        raise ValueError("not our problem")

    rig.core.events.configSet.connect(broken)
    rig.core.events.propertyChanged.connect(broken)
    rig.core.events.roiSet.connect(broken)
    a = rig.actuator
    a.settle(a.set_channel("DAPI"), a.set_power("488", 3), a.set_roi(Roi(0, 0, 64, 64)))
    assert rig.state(now(rig)).channel == "DAPI"


def test_outside_listeners_hear_of_properties_set_by_us(rig: Rig):
    heard = threading.Event()
    rig.core.events.propertyChanged.connect(
        lambda d, p, v: heard.set() if (d, p, v) == ("Laser", "Voltage", "7") else None
    )
    rig.actuator.settle(rig.actuator.set_power("488", 70))
    assert heard.wait(5)


def test_a_closed_rig_takes_no_command():
    rig = Rig.open(rig_config(), VirtualClock(), base_dir=DEMOS)
    rig.close()
    with pytest.raises(HardwareError, match="the rig is closed"):
        rig.actuator.set_shutter(True)


def test_a_snap_and_a_command_on_its_adapter(open_rig: Any, record_property: Any):
    """The camera's adapter is locked for the whole snap; the Utilities one is not."""
    rig = open_rig(rig_config(limits=None), RealClock())
    rig.core.setExposure(300)
    snap = threading.Thread(target=rig.core.snapImage)
    snap.start()
    time.sleep(0.03)
    start = time.perf_counter()
    shut = rig.actuator.set_shutter(False)
    shutter_s = time.perf_counter() - start
    power = rig.actuator.set_power("488", 1)
    power_s = time.perf_counter() - start
    snap.join()
    rig.actuator.settle(shut, power)
    record_property("shutter_s", shutter_s)
    record_property("power_s", power_s)
    assert shut.number < power.number
