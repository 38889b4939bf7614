"""Commands by the thousand: superseded, settled newest first, none lost."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pymmcore
import pytest

from smartscope.core import HardwareError, RealClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartscope.rig import Command, Rig

MANY = 5000


class Follower:
    """Settles what another thread issues, a handful at a time, as a run does."""

    def __init__(self, rig: Rig) -> None:
        self.commands: list[Command] = []
        self.failures: list[BaseException] = []
        self._rig = rig
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()

    def finish(self) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        done = 0
        while not self._over.is_set() or done < len(self.commands):
            batch = self.commands[done:]
            done += len(batch)
            try:
                self._rig.actuator.settle(*reversed(batch))
            except BaseException as error:
                self.failures.append(error)
            time.sleep(0.001)


def issue_many(rig: Rig, acts: list[Callable[[int], Command]]) -> list[list[Command]]:
    """Every act issues `MANY` commands on a thread, and another one settles them."""
    followers = [Follower(rig) for _ in acts]

    def issue(act: Callable[[int], Command], follower: Follower) -> None:
        for i in range(MANY):
            follower.commands.append(act(i))

    issuers = [
        threading.Thread(target=issue, args=pair)
        for pair in zip(acts, followers, strict=True)
    ]
    for thread in (*followers, *issuers):
        thread.start()
    for thread in issuers:
        thread.join()
    for follower in followers:
        follower.finish()
    assert [f.failures for f in followers] == [[] for _ in acts]
    return [f.commands for f in followers]


def test_thousands_of_commands_on_a_property_and_on_the_stage(open_rig: Any):
    rig = open_rig(clock=RealClock())
    a = rig.actuator
    gains, moves = issue_many(
        rig,
        [
            lambda i: a.set_property("Camera", "Gain", i % 7),
            lambda i: a.move_stage(i % 50, -(i % 30)),
        ],
    )
    every = gains + moves
    assert sorted(c.number for c in every) == list(range(1, 2 * MANY + 1))
    assert all(c.is_over and c.error is None for c in every)
    # Each ended after its own issue, and superseded ones no later than the last.
    assert all(c.t_issued_ns <= c.t_settled_ns for c in every)
    assert not gains[-1].superseded and not moves[-1].superseded
    last = MANY - 1
    assert gains[-1].readback == {"property:Camera.Gain": str(last % 7)}
    assert rig.core.getProperty("Camera", "Gain") == str(last % 7)
    assert moves[-1].readback["x_um"] == pytest.approx(last % 50, abs=0.02)
    assert moves[-1].readback["y_um"] == pytest.approx(-(last % 30), abs=0.02)
    state = rig.state(rig.clock.now_ns())
    assert (state.epoch, state.settled_later, state.pending) == (2 * MANY, (), ())
    assert state.x_um == pytest.approx(last % 50, abs=0.02)
    assert rig.history.at("x_um", rig.clock.now_ns()) == state.x_um
    assert rig.take_external() == ()


def test_nothing_grows_with_the_number_of_commands(open_rig: Any):
    rig = open_rig(clock=RealClock())
    a, book, cache = rig.actuator, rig._bench.book, rig._bench.cache
    for i in range(MANY):
        a.settle(a.set_power("488", i % 90))
        if i % 100 == 0:
            rig.history.forget_before(rig.clock.now_ns())
    assert not book._pending and not any(book._lines.values())
    assert len(book._over) <= 4096
    assert len(cache._past) <= 512
    assert rig._watcher._calls.qsize() <= 1
    assert len(rig.history._traces["power:488"].t_ns) <= 2 * 100 + 1


def test_superseded_commands_end_with_the_newest_at_the_price_of_one(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
):
    a = rig.actuator
    commands = [a.set_power("488", i % 100) for i in range(200)]
    asked: list[str] = []
    core = rig.core
    busy, read = core.deviceBusy, core.getProperty
    monkeypatch.setattr(core, "deviceBusy", lambda d: (asked.append("b"), busy(d))[1])
    monkeypatch.setattr(
        core, "getProperty", lambda d, p: (asked.append("r"), read(d, p))[1]
    )
    a.settle(*commands)
    assert asked == ["b", "r"]
    assert [c.superseded for c in commands] == [True] * 199 + [False]
    assert all(c.readback["power_percent"] == pytest.approx(99) for c in commands)


def test_an_old_command_alone_sees_the_newest_through(rig: Rig):
    a = rig.actuator
    old, newest = a.move_stage(400, 0), a.move_stage(20, 0)
    a.settle(old)
    assert old.superseded and newest.is_over
    assert newest.readback["x_um"] == pytest.approx(20, abs=0.02)
    assert rig.state(rig.clock.now_ns()).epoch == 2


def test_the_newest_fails_and_the_overtaken_ones_do_not(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
):
    a = rig.actuator
    old, newest = a.move_stage(400, 0), a.move_stage(20, 0)
    monkeypatch.setattr(rig.core, "getXYPosition", lambda _: (7.0, 0.0))
    a.settle(old)
    assert old.is_over and old.error is None
    with pytest.raises(HardwareError, match="XY: was told x_um 20, y_um 0 and is at"):
        a.settle(newest)
    monkeypatch.undo()


def test_little_patience_for_an_old_command_fails_no_new_one(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
):
    a = rig.actuator
    old, newest = a.move_stage(400, 0), a.move_stage(20, 0)
    monkeypatch.setattr(rig.core, "deviceBusy", lambda _: True)
    with pytest.raises(HardwareError, match=r"XY: is still busy after 0\.02 s"):
        a.settle(old, timeout_s=0.02)
    assert old.is_over and not newest.is_over
    monkeypatch.undo()
    a.settle(newest)
    assert newest.error is None
    assert newest.readback["x_um"] == pytest.approx(20, abs=0.02)


def test_a_stage_that_never_rests_holds_nobody_up(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
):
    """Superseded while it is waited for, a command ends though the stage is busy."""
    a = rig.actuator
    monkeypatch.setattr(rig.core, "deviceBusy", lambda _: True)
    commands = [a.move_stage(10, 0)]
    thread = threading.Thread(target=a.settle, args=(commands[0],))
    thread.start()
    while not commands[0].taken:
        time.sleep(0.001)
    commands.append(a.move_stage(20, 0))
    thread.join(5)
    assert not thread.is_alive()
    assert commands[0].is_over and commands[0].error is None
    assert commands[0].readback == {}
    assert not commands[1].is_over
    monkeypatch.undo()
    a.settle(commands[1])


def test_presets_that_were_overtaken_are_still_looked_after(open_rig: Any):
    """An overtaken preset had changed the light; the newest one does not."""
    rig = open_rig()
    rig.core.defineConfig("Film", "Bright", "Laser", "Voltage", "4")
    rig.core.defineConfig("Film", "Fine", "Camera", "Gain", "2")
    a = rig.actuator
    old, newest = a.set_channel("Bright", "Film"), a.set_channel("Fine", "Film")
    # The device lost what it was told, and notifies nobody.
    pymmcore.CMMCore.setProperty(rig.core, "Laser", "Voltage", "1")
    a.settle(newest)
    assert old.is_over
    assert rig.state(rig.clock.now_ns()).power_percent == {"488": 10.0}


# -------------------------------------------------------------------- announcements


def test_listeners_hear_the_newest_value_of_what_is_set_without_end(open_rig: Any):
    rig = open_rig(clock=RealClock())
    heard: list[str] = []
    rig.core.events.propertyChanged.connect(
        lambda d, p, v: heard.append(v) if (d, p) == ("Camera", "Gain") else None
    )
    start = time.perf_counter()
    for i in range(2000):
        rig.actuator.set_property("Camera", "Gain", i % 8)
    rig.actuator.set_property("Camera", "Gain", -5)
    deadline = time.perf_counter() + 5
    while heard[-1:] != ["-5"]:
        assert time.perf_counter() < deadline, heard[-5:]
        time.sleep(0.005)
    assert len(heard) <= (time.perf_counter() - start) / 0.02 + 2


def test_every_property_is_announced_once_and_in_order(open_rig: Any):
    rig = open_rig(clock=RealClock())
    heard: list[tuple[str, str]] = []
    rig.core.events.propertyChanged.connect(lambda d, p, v: heard.append((p, v)))
    wanted = [("Gain", "3"), ("Offset", "2"), ("CCDTemperature", "1")]
    for prop, value in wanted:
        rig.actuator.set_property("Camera", prop, value)
    rig.close()  # ends the thread that announces, with all it had to say
    assert heard[: len(wanted)] == wanted


def test_a_silent_knob_is_noticed_among_commands_without_end(open_rig: Any):
    rig = open_rig(clock=RealClock())
    # Past pymmcore-plus: the demo output itself notifies nobody.
    pymmcore.CMMCore.setProperty(rig.core, "Laser", "Voltage", "4")
    deadline = time.perf_counter() + 10
    while not any(c.resource == "light:488" for c in rig.take_external()):
        assert time.perf_counter() < deadline, "nobody asked the laser"
        rig.actuator.settle(rig.actuator.set_property("Camera", "Gain", 3))
        time.sleep(0.0005)
    assert rig.state(rig.clock.now_ns()).power_percent == {"488": 40.0}
