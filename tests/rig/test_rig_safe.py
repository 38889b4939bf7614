"""The safe state, the lock, and closing."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time
from typing import Any

import pytest
from rig_helpers import DEMOS, rig_config, slow_config

from smartscope.core import HardwareError, RealClock, VirtualClock
from smartscope.rig import Rig, create_core

# isort: split
from pymmcore_plus.experimental.unicore import ShutterDevice, UniMMCore


def lit(rig: Rig) -> Rig:
    a = rig.actuator
    a.settle(a.set_power("488", 60), a.set_shutter(True))
    return rig


def test_safe_state_is_dark_verified_and_known(rig: Rig):
    lit(rig)
    rig.core.setShutterOpen("White Light Shutter", True)
    assert rig.apply_safe_state() == ()
    core, t_ns = rig.core, rig.clock.now_ns()
    assert not core.getShutterOpen("Shutter")
    assert not core.getShutterOpen("White Light Shutter")
    assert float(core.getProperty("Laser", "Voltage")) == 0
    state = rig.state(t_ns)
    assert state.shutter_open is False
    assert state.power_percent == {"488": 0.0}
    assert rig.history.at("shutter", t_ns) == 0
    assert rig.history.at("power:488", t_ns) == 0
    assert rig.take_external() == ()


def test_shutters_go_first_then_power_then_the_rest(open_rig: Any):
    safe = [
        ["Camera", "Gain", 0],
        ["Laser", "Voltage", 0],
        ["White Light Shutter", "State", 0],
    ]
    rig = open_rig(rig_config(safe_state=safe))
    told: list[str] = []
    port = rig._bench.port
    port.on_set = lambda device, prop, value: told.append(device)
    rig.apply_safe_state()
    # "Shutter" is not of the camera's adapter: it never has to wait for a snap.
    order = ["Shutter", "White Light Shutter", "Laser", "Camera"]
    assert list(dict.fromkeys(told)) == order


class StickyShutter(ShutterDevice):
    """A shutter whose blade can be held."""

    def __init__(self) -> None:
        super().__init__()
        self.is_open, self.held = False, False

    def get_open(self) -> bool:
        return self.is_open

    def set_open(self, open: bool) -> None:
        if self.held and not open:
            raise RuntimeError("the blade is stuck")
        self.is_open = open


def test_what_fails_is_a_sentence_and_the_rest_goes_on(open_rig: Any):
    shutter = StickyShutter()
    core = UniMMCore()
    core.loadSystemConfiguration(str(DEMOS / "demo_laser.cfg"))
    core.loadPyDevice("Blade", shutter)
    core.initializeDevice("Blade")
    rig = lit(open_rig(rig_config(roles={"shutter": "Blade"}), core=core))
    shutter.held = True
    failures = rig.apply_safe_state()
    assert any("Blade: closing was refused: the blade is stuck" in f for f in failures)
    assert any("Blade: the shutter is not closed" in f for f in failures)
    assert float(core.getProperty("Laser", "Voltage")) == 0
    assert rig.state(rig.clock.now_ns()).shutter_open is True
    assert rig.history.at("shutter", rig.clock.now_ns()) == 1
    shutter.held = False
    assert rig.apply_safe_state() == ()


def test_a_device_that_takes_the_word_but_not_the_value_is_found_out(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
):
    lit(rig)
    real = rig.core.getProperty
    monkeypatch.setattr(
        rig.core,
        "getProperty",
        lambda d, p: "1.5" if (d, p) == ("Laser", "Voltage") else real(d, p),
    )
    failures = rig.apply_safe_state()
    monkeypatch.undo()
    assert failures == ("Laser: Voltage is 1.5 and should be 0",)


def test_safe_state_waits_for_no_lock_of_ours(rig: Rig):
    lit(rig)
    table = rig._bench.table
    with table.get("shutter").lock, table.get("light:488").lock:
        thread = threading.Thread(target=rig.apply_safe_state)
        thread.start()
        thread.join(10)
        assert not thread.is_alive()
    assert not rig.core.getShutterOpen("Shutter")


def test_a_command_overridden_by_the_safe_state_is_not_verified(rig: Rig):
    command = rig.actuator.set_power("488", 60)
    rig.apply_safe_state()
    rig.actuator.settle(command)
    assert command.superseded
    assert rig.state(rig.clock.now_ns()).power_percent == {"488": 0.0}


# ------------------------------------------------------------- one driver (finding 4)


def test_finding_4_one_core_one_rig():
    core = create_core()
    core.loadSystemConfiguration(str(DEMOS / "demo_laser.cfg"))
    first = Rig.open(rig_config(), VirtualClock(), base_dir=DEMOS, core=core)
    with pytest.raises(HardwareError, match="already driven by the open rig"):
        Rig.open(rig_config(), VirtualClock(), base_dir=DEMOS, core=core)
    assert first.state(first.clock.now_ns()).x_um == 0
    first.actuator.settle(first.actuator.move_focus(1))
    first.close()
    Rig.open(rig_config(), VirtualClock(), base_dir=DEMOS, core=core).close()


def test_finding_4_one_rig_one_run(rig: Rig):
    with rig.exclusive("run 1"):
        with pytest.raises(HardwareError, match="already driven by 'run 1'"):
            with rig.exclusive("run 2"):
                pass
    with rig.exclusive("run 2"):
        pass


def test_a_core_that_acquires_is_not_taken():
    import useq

    core = create_core()
    core.loadSystemConfiguration(str(DEMOS / "demo_laser.cfg"))
    plan = useq.MDASequence(time_plan={"interval": 60, "loops": 5})
    thread = core.run_mda(plan)
    deadline = time.perf_counter() + 5
    while not core.mda.is_running() and time.perf_counter() < deadline:
        time.sleep(0.001)
    try:
        with pytest.raises(HardwareError, match="this core is acquiring"):
            Rig.open(rig_config(), VirtualClock(), base_dir=DEMOS, core=core)
    finally:
        core.mda.cancel()
        thread.join()


# --------------------------------------------------------------------------- closing


def test_close_goes_to_the_safe_state_and_is_idempotent():
    core = create_core()
    core.loadSystemConfiguration(str(DEMOS / "demo_laser.cfg"))
    rig = Rig.open(rig_config(), VirtualClock(), base_dir=DEMOS, core=core)
    lit(rig)
    core.startContinuousSequenceAcquisition(0)
    rig.close()
    rig.close()
    assert not core.isSequenceRunning()
    assert not core.getShutterOpen("Shutter")
    assert float(core.getProperty("Laser", "Voltage")) == 0
    assert rig.apply_safe_state() == ()


def test_closing_waits_for_a_moving_stage():
    core = create_core()
    core.loadSystemConfiguration(str(DEMOS / "demo_laser.cfg"))
    rig = Rig.open(rig_config(), RealClock(), base_dir=DEMOS, core=core)
    rig.actuator.move_stage(2000, 0)
    rig.close()
    assert not core.deviceBusy("XY")


def test_a_users_core_is_given_back_as_it_was():
    from pymmcore_plus.mda import MDAEngine

    core = create_core()
    core.loadSystemConfiguration()
    core.setAutoShutter(True)
    core.setShutterDevice("LED Shutter")
    core.setChannelGroup("LightPath")
    core.setXYPosition(70, 0)
    core.waitForDevice("XY")
    engine = core.mda.engine
    rig = Rig.open(
        rig_config("demo_rig.yaml"), VirtualClock(), base_dir=DEMOS, core=core
    )
    assert rig.core is core
    assert not core.getAutoShutter()
    assert core.getShutterDevice() == "White Light Shutter"
    assert rig.state(rig.clock.now_ns()).x_um == pytest.approx(70, abs=0.01)
    other = MDAEngine(core)
    core.mda.set_engine(other)
    rig.close()
    assert core.getAutoShutter()
    assert core.getShutterDevice() == "LED Shutter"
    assert core.getChannelGroup() == "LightPath"
    assert core.mda.engine is engine
    assert "XY" in core.getLoadedDevices()
    heard = []
    core.events.propertyChanged.connect(lambda *a: heard.append(a))
    core.setProperty("Camera", "Gain", 3)
    assert heard  # its events still work


@pytest.mark.parametrize("closing", ["rig.close()", "pass"])
def test_finding_11_the_process_ends_cleanly(closing: str):
    """A stage move left behind by a module-global rig aborted the interpreter."""
    code = textwrap.dedent(
        f"""
        import sys
        sys.path.insert(0, {str(DEMOS.parent / "tests" / "rig")!r})
        from rig_helpers import DEMOS, slow_config
        from smartscope.core import RealClock
        from smartscope.rig import Rig
        rig = Rig.open(slow_config(), RealClock(), base_dir=DEMOS)
        for i in range(5):
            rig.actuator.move_stage(20.0 * i, 0)
        {closing}
        """
    )
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def test_a_slow_rig_closes_too(open_rig: Any):
    rig = open_rig(slow_config(), RealClock())
    rig.actuator.move_stage(100, 0)
    rig.close()
