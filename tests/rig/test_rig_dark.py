"""Light off goes first: while the camera snaps, a stage moves, commands wait."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from rig_helpers import rig_config, slow_config

from smartscope.core import HardwareError, RealClock

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from smartscope.rig import Rig

SNAP_MS = 2000.0
PATIENCE_S = 20.0


class Log:
    """What happened, in order; the device calls by the rig's own hook."""

    def __init__(self, rig: Rig) -> None:
        self.entries: list[str] = []
        rig._bench.port.on_set = self._told

    def _told(self, device: str, prop: str, value: str) -> None:
        self.entries.append(f"{device} {value}")

    def at(self, entry: str) -> int:
        return self.entries.index(entry)


def lit(rig: Rig) -> Rig:
    a = rig.actuator
    a.settle(a.set_power("488", 60), a.set_shutter(True))
    return rig


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.perf_counter() + PATIENCE_S
    while not holds():
        assert time.perf_counter() < deadline, what
        time.sleep(0.001)


def snapping(rig: Rig, log: Log) -> threading.Thread:
    """A snap of two seconds; returns once the camera's adapter is locked by it."""
    rig.core.setExposure(SNAP_MS)
    begun = threading.Event()

    def snap() -> None:
        begun.set()
        rig.core.snapImage()
        log.entries.append("snapped")

    thread = threading.Thread(target=snap)
    thread.start()
    assert begun.wait(PATIENCE_S)
    time.sleep(0.1)
    return thread


def dark(rig: Rig) -> None:
    core, t_ns = rig.core, rig.clock.now_ns()
    assert not core.getShutterOpen("Shutter")
    assert float(core.getProperty("Laser", "Voltage")) == 0
    state = rig.state(t_ns)
    assert (state.shutter_open, state.power_percent) == (False, {"488": 0.0})
    assert rig.history.at("shutter", t_ns) == 0
    assert rig.history.at("power:488", t_ns) == 0


def test_during_a_snap_the_shutter_closes_before_the_snap_returns(open_rig: Any):
    rig = lit(open_rig(rig_config(), RealClock()))
    log = Log(rig)
    snap = snapping(rig, log)
    failures = rig.apply_safe_state()
    snap.join()
    assert failures == ()
    # The laser is of the camera's own adapter, the shutter that gates it is not.
    assert log.entries[0] == "Shutter 0"
    assert log.at("Shutter 0") < log.at("snapped")
    assert log.at("Shutter 0") < log.at("Laser 0")
    dark(rig)


def test_a_shutter_of_the_cameras_adapter_waits_for_the_snap(open_rig: Any):
    """Micro-Manager locks the adapter; what other adapters can do is done before."""
    config = rig_config(
        roles={"shutter": "White Light Shutter"},
        safe_state=[["Shutter", "State", 0], ["Laser", "Voltage", 0]],
    )
    rig = open_rig(config, RealClock())
    rig.core.setShutterOpen("Shutter", True)
    lit(rig)
    log = Log(rig)
    snap = snapping(rig, log)
    stop = threading.Thread(target=rig.apply_safe_state)
    stop.start()
    until(lambda: not rig.core.getShutterOpen("Shutter"), "the other stayed open")
    time.sleep(0.2)
    assert log.entries == ["Shutter 0"]  # nor has the snap returned
    snap.join()
    stop.join()
    assert not rig.core.getShutterOpen("White Light Shutter")
    assert not rig.core.getShutterOpen("Shutter")


def test_a_running_stream_holds_no_shutter_up(open_rig: Any):
    config = rig_config(roles={"shutter": "White Light Shutter"})
    rig = lit(open_rig(config, RealClock()))
    rig.core.setExposure(SNAP_MS)
    rig.core.startContinuousSequenceAcquisition(0)
    assert rig.apply_safe_state() == ()
    # All is dark, and the first frame has not come yet.
    assert rig.core.getRemainingImageCount() == 0
    assert rig.core.isSequenceRunning()
    rig.core.stopSequenceAcquisition()
    assert not rig.core.getShutterOpen("White Light Shutter")


def test_during_a_stage_move_everything_is_dark_before_it_arrives(open_rig: Any):
    rig = lit(open_rig(slow_config(), RealClock()))
    rig.core.setProperty("XY", "SlewTimePerStep_s", "0.001")
    move = rig.actuator.move_stage(200, 0)
    settled: list[str] = []

    def settle() -> None:
        rig.actuator.settle(move)
        settled.append("settled")

    settler = threading.Thread(target=settle)
    settler.start()
    assert rig.apply_safe_state() == ()
    assert rig.core.deviceBusy("XY")
    assert settled == [] and not move.is_over
    dark(rig)
    settler.join()
    # The move is nobody's light: it goes on, and is verified as any other.
    assert not move.superseded and move.error is None


def test_commands_that_wait_for_the_camera_end_after_the_shutter_and_stay_dark(
    open_rig: Any,
):
    """Hundreds stand in line for the light while the camera snaps; the stop passes."""
    rig = lit(open_rig(rig_config(), RealClock()))
    a, log, commands = rig.actuator, Log(rig), []
    snap = snapping(rig, log)

    def brighten(i: int) -> None:
        commands.append(a.set_power("488", 30 + i % 50))

    threads = [threading.Thread(target=brighten, args=(i,)) for i in range(200)]
    for thread in threads:
        thread.start()
    until(lambda: rig._bench.gate._inside == 200, "the commands do not stand in line")
    stop = threading.Thread(target=rig.apply_safe_state)
    stop.start()
    until(lambda: not rig.core.getShutterOpen("Shutter"), "the shutter stayed open")
    assert commands == []
    assert "snapped" not in log.entries
    for thread in (snap, stop, *threads):
        thread.join()
    # One had reached the device before the stop; whoever came last, it is dark.
    told = [e for e in log.entries if e.startswith("Laser") and e != "Laser 0"]
    assert len(told) <= 1
    a.settle(*commands)
    assert len(commands) == 200
    assert all(c.superseded and c.is_over and c.error is None for c in commands)
    dark(rig)
    assert rig.state(rig.clock.now_ns()).epoch == max(c.number for c in commands)
    # And the rig goes on as before.
    a.settle(a.set_power("488", 20))
    assert rig.state(rig.clock.now_ns()).power_percent == {"488": 20.0}


def test_a_command_on_its_way_in_is_dropped(rig: Rig):
    lit(rig)
    a, log, commands = rig.actuator, Log(rig), []
    light = rig._bench.table.get("light:488")
    with light.lock:
        thread = threading.Thread(target=lambda: commands.append(a.set_power("488", 9)))
        thread.start()
        until(lambda: rig._bench.gate._inside == 1, "the command did not come")
        assert rig.apply_safe_state() == ()
    thread.join()
    (command,) = commands
    a.settle(command)
    assert command.superseded and command.is_over
    assert log.entries[0] == "Shutter 0"
    assert "Laser 0.9" not in log.entries
    dark(rig)


def test_a_command_that_reaches_the_device_last_is_undone(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
):
    """No adapter can be made to answer so late, so the port is held up instead."""
    lit(rig)
    a, port, commands = rig.actuator, rig._bench.port, []
    reached, go_on = threading.Event(), threading.Event()
    real = port.set_property

    def late(device: str, prop: str, value: str) -> None:
        if value == "9":
            reached.set()
            assert go_on.wait(PATIENCE_S)
        real(device, prop, value)

    monkeypatch.setattr(port, "set_property", late)
    thread = threading.Thread(target=lambda: commands.append(a.set_power("488", 90)))
    thread.start()
    assert reached.wait(PATIENCE_S)
    log = Log(rig)
    assert rig.apply_safe_state() == ()
    go_on.set()
    thread.join()
    lasers = [entry for entry in log.entries if entry.startswith("Laser")]
    assert lasers == ["Laser 0", "Laser 9", "Laser 0"]
    assert commands[0].superseded
    dark(rig)


def test_what_is_wrong_at_the_first_look_is_told_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
):
    """As by a command that got the adapter's lock between setting and looking."""
    lit(rig)
    port, log = rig._bench.port, Log(rig)
    real, looked = port.get_property, []

    def look(device: str, prop: str) -> str:
        if device == "Laser" and not looked:
            looked.append(device)
            rig.core.setProperty("Laser", "Voltage", 7)
        return real(device, prop)

    monkeypatch.setattr(port, "get_property", look)
    assert rig.apply_safe_state() == ()
    assert log.entries.count("Laser 0") == 2
    dark(rig)


def test_it_goes_first_among_commands_issued_without_end(open_rig: Any):
    rig = lit(open_rig(clock=RealClock()))
    a, over, failures = rig.actuator, threading.Event(), []
    issued = [0, 0]

    def issue(i: int, act: Callable[[int], Any]) -> None:
        try:
            while not over.is_set():
                act(issued[i])
                issued[i] += 1
        except HardwareError as error:
            failures.append(error)

    acts: list[Callable[[int], Any]] = [
        lambda n: a.set_property("Camera", "Gain", n % 8),
        lambda n: a.move_stage(n % 40, 0),
    ]
    threads = [threading.Thread(target=issue, args=pair) for pair in enumerate(acts)]
    for thread in threads:
        thread.start()
    until(lambda: min(issued) > 200, "the commands do not come")
    assert rig._bench.book.any_pending()
    assert rig.apply_safe_state() == ()
    # Nothing that was issued before has been settled by then, nor waited for.
    assert rig._bench.book.any_pending()
    assert rig.state(rig.clock.now_ns()).epoch <= 2
    dark(rig)
    over.set()
    for thread in threads:
        thread.join()
    assert failures == []
    dark(rig)
