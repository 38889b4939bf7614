"""What others change: joysticks, knobs, programs; and what only looks like it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pymmcore
import pytest
from rig_helpers import slow_config

from smartscope.core import NS_PER_S, RealClock

if TYPE_CHECKING:
    from smartscope.rig import ExternalChange, Rig


def until_noticed(rig: Rig, resource: str, patience_s: float = 5.0) -> ExternalChange:
    """Wait for the watcher thread; a test fails when it never says so."""
    deadline = time.perf_counter() + patience_s
    while time.perf_counter() < deadline:
        for change in rig.take_external():
            if change.resource == resource:
                return change
        time.sleep(0.005)
    raise AssertionError(f"nobody noticed that {resource} changed")


def test_a_joystick_is_noticed_named_and_followed(open_rig: Any):
    rig = open_rig(slow_config(), RealClock())
    a = rig.actuator
    a.settle(a.move_stage(10, 10))
    rig.core.setProperty("XY", "ExternallySetSteps", "400; -200")
    change = until_noticed(rig, "stage")
    assert change.before == {"x_um": pytest.approx(10), "y_um": pytest.approx(10)}
    # The stage is still slewing when it is noticed first; in the end it is there.
    deadline = time.perf_counter() + 5
    while rig.state(rig.clock.now_ns()).x_um != pytest.approx(40.0):
        assert time.perf_counter() < deadline
        time.sleep(0.005)
    assert rig.history.at("x_um", rig.clock.now_ns()) == pytest.approx(40.0)
    assert rig.history.at("y_um", rig.clock.now_ns()) == pytest.approx(-20.0)


def test_state_names_it_until_it_is_taken(open_rig: Any):
    rig = open_rig()
    rig.core.setXYPosition(300, 0)
    rig.core.waitForDevice("XY")
    rig.poll()
    assert rig.state(rig.clock.now_ns()).external == ("stage",)
    (change,) = rig.take_external()
    assert change.now["x_um"] == pytest.approx(300, abs=0.01)
    assert rig.state(rig.clock.now_ns()).external == ()
    assert rig.take_external() == ()


def test_a_continued_change_keeps_where_it_began(rig: Rig):
    for x_um in (100, 200):
        rig.core.setXYPosition(x_um, 0)
        rig.core.waitForDevice("XY")
        rig.poll()
    (change,) = rig.take_external()
    assert change.before["x_um"] == 0.0
    assert change.now["x_um"] == pytest.approx(200, abs=0.01)


@pytest.mark.parametrize(
    ("act", "resource", "found"),
    [
        (lambda c: c.setPosition("Z", 12.0), "focus", {"z_um": 12.0}),
        (
            lambda c: c.setShutterOpen("Shutter", True),
            "shutter",
            {"shutter": "open"},
        ),
        (
            lambda c: c.setProperty("Laser", "Voltage", 2),
            "light:488",
            {"power_percent": 20.0, "Voltage": 2.0},
        ),
        (lambda c: c.setState("Objective", 3), "objective", {"objective": "20x"}),
        (lambda c: c.setExposure(33.0), "exposure", {"exposure_ms": 33.0}),
        (
            lambda c: c.setROI(0, 0, 64, 32),
            "roi",
            {"roi": "x 0, y 0, 64 x 32", "binning": 1.0},
        ),
        (lambda c: c.setConfig("Channel", "Cy5"), "channel", {"channel": "Cy5"}),
        (
            lambda c: c.setStateLabel("Dichroic", "89402bs"),
            "channel",
            {"channel": "none"},
        ),
        (
            lambda c: c.enableContinuousFocus(True),
            "autofocus",
            {"autofocus": "locked"},
        ),
    ],
)
def test_every_resource_is_looked_after(
    rig: Rig, act: Any, resource: str, found: dict[str, Any]
):
    act(rig.core)
    rig.poll()
    change = until_noticed(rig, resource)
    assert change.now == found
    state = rig.state(rig.clock.now_ns())
    if resource == "light:488":
        assert state.power_percent == {"488": 20.0}
        assert rig.history.at("power:488", rig.clock.now_ns()) == 20.0
    if resource == "roi":
        assert rig.pixel_map().origin_px == (255.5, 255.5)
        assert state.roi_px is not None and state.roi_px.width_px == 64


def test_a_change_through_the_core_is_noticed_without_polling(rig: Rig):
    rig.core.setProperty("Laser", "Voltage", 4)
    assert until_noticed(rig, "light:488").now["power_percent"] == 40.0


def test_a_silent_knob_is_noticed_when_idle(open_rig: Any):
    rig = open_rig(clock=RealClock())
    # Past pymmcore-plus: the demo output itself notifies nobody.
    pymmcore.CMMCore.setProperty(rig.core, "Laser", "Voltage", "4")
    assert until_noticed(rig, "light:488").now["power_percent"] == 40.0


def test_a_silent_knob_is_noticed_after_a_command_that_took_long(open_rig: Any):
    rig = open_rig(clock=RealClock())
    command = rig.actuator.set_exposure(5)
    # While it is under way nobody is asked about anything.
    pymmcore.CMMCore.setProperty(rig.core, "Laser", "Voltage", "4")
    time.sleep(0.7)
    assert rig.take_external() == ()
    rig.actuator.settle(command)
    assert until_noticed(rig, "light:488").now["power_percent"] == 40.0


def test_a_lost_focus_lock_is_noticed(open_rig: Any):
    rig = open_rig(clock=RealClock())
    a = rig.actuator
    a.settle(a.lock_focus(True))
    rig.core.enableContinuousFocus(False)
    change = until_noticed(rig, "autofocus")
    assert (change.before, change.now) == (
        {"autofocus": "locked"},
        {"autofocus": "off"},
    )


def test_a_held_focus_that_moves_is_no_external_change(rig: Rig):
    a = rig.actuator
    a.settle(a.lock_focus(True))
    rig.core.setPosition("Z", 3.0)  # as the lock does, to hold
    rig.poll()
    assert rig.take_external() == ()
    assert rig.state(rig.clock.now_ns()).z_um == 3.0


def test_our_own_moves_are_not_external(open_rig: Any):
    rig = open_rig(slow_config(), RealClock())
    a = rig.actuator
    for i in range(6):
        a.settle(a.move_stage(30 * (i % 2), 20), a.set_power("488", i), a.move_focus(i))
    time.sleep(0.05)
    rig.poll()
    assert rig.take_external() == ()


def test_a_notification_that_comes_late_is_not_external(rig: Rig):
    a, events = rig.actuator, rig.core.events
    a.settle(a.move_stage(30, 20), a.set_power("488", 50), a.set_shutter(True))
    # Micro-Manager delivers these on its own thread, at times long after the fact.
    events.XYStagePositionChanged.emit("XY", 12.0, 8.0)
    events.propertyChanged.emit("Laser", "Voltage", "0.0000")
    events.shutterOpenChanged.emit("Shutter", False)
    rig.actuator.settle(a.move_focus(3))
    time.sleep(0.05)
    rig.poll()
    assert rig.take_external() == ()
    state = rig.state(rig.clock.now_ns())
    assert state.x_um == pytest.approx(30, abs=0.02)
    assert state.power_percent == {"488": 50.0}


def test_a_move_under_way_is_seen_under_way(open_rig: Any):
    rig = open_rig(slow_config(), RealClock())
    command = rig.actuator.move_stage(200, 0)
    seen = set()
    deadline = time.perf_counter() + 5
    while rig.core.deviceBusy("XY") and time.perf_counter() < deadline:
        seen.add(rig.state(rig.clock.now_ns()).x_um)
        time.sleep(0.001)
    rig.actuator.settle(command)
    assert any(0 < x_um < 200 for x_um in seen)
    assert rig.state(rig.clock.now_ns()).x_um == pytest.approx(200, abs=0.1)


def ages_s(rig: Rig) -> dict[str, float]:
    now = rig.clock.now_ns()
    confirmed = rig.state(now).confirmed_ns
    return {name: (now - t_ns) / NS_PER_S for name, t_ns in confirmed.items()}


def test_idle_polling_keeps_values_young(open_rig: Any):
    rig = open_rig(clock=RealClock())
    opened = rig.state(rig.clock.now_ns()).confirmed_ns["stage"]
    deadline = time.perf_counter() + 10
    while ages_s(rig)["stage"] > 0.7 or (
        rig.state(rig.clock.now_ns()).confirmed_ns["stage"] == opened
    ):
        assert time.perf_counter() < deadline, "nobody asked the stage"
        time.sleep(0.1)


def test_with_a_virtual_clock_nothing_is_polled(rig: Rig):
    time.sleep(0.6)
    rig.clock.sleep_ns(NS_PER_S)
    ages = ages_s(rig)
    assert ages["stage"] == ages["light:488"] == 1.0
