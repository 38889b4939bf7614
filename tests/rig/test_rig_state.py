"""The stamp of a frame: the same object while nothing changes, and never wrong."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from rig_helpers import slow_config

from smartscope.core import NS_PER_MS, NS_PER_S, HardwareError, RealClock
from smartscope.rig._commands import WINDOW, CommandBook

if TYPE_CHECKING:
    from smartscope.rig import Rig


def now(rig: Rig) -> int:
    return rig.clock.now_ns()


# ------------------------------------------------------------------ one and the same


def test_the_same_state_while_nothing_changes(rig: Rig):
    rig.actuator.settle(rig.actuator.set_power("488", 10))
    first = rig.state(now(rig))
    for _ in range(50):
        rig.clock.sleep_ns(NS_PER_MS)
        assert rig.state(now(rig)) is first
    # A command under way is said, and then said again by the same object.
    command = rig.actuator.move_focus(3)
    second = rig.state(now(rig))
    assert second.pending == (2,)
    rig.clock.sleep_ns(NS_PER_MS)
    assert rig.state(now(rig)) is second
    rig.actuator.settle(command)
    third = rig.state(now(rig))
    assert (third.epoch, third.z_um) == (2, 3.0)
    # What belongs to no state changes its epoch only.
    rig.actuator.settle(rig.actuator.set_property("Camera", "Gain", 2))
    assert rig.state(now(rig)).confirmed_ns is third.confirmed_ns


def test_older_states_stay_as_they_were(rig: Rig):
    a = rig.actuator
    seen: list[tuple[int, Any]] = []
    for percent in (10.0, 20.0, 30.0):
        rig.clock.sleep_ns(NS_PER_MS)
        a.settle(a.set_power("488", percent))
        rig.clock.sleep_ns(NS_PER_MS)
        seen.append((now(rig), rig.state(now(rig))))
    for t_ns, state in seen:
        again = rig.state(t_ns)
        assert again.power_percent == state.power_percent
        assert (again.epoch, again.pending) == (state.epoch, state.pending)
        assert again.confirmed_ns == state.confirmed_ns


def test_external_changes_make_a_new_state_and_taking_them_another(rig: Rig):
    before = rig.state(now(rig))
    rig.core.setPosition("Z", 12.0)
    rig.poll()
    during = rig.state(now(rig))
    assert (before.external, during.external) == ((), ("focus",))
    rig.take_external()
    after = rig.state(now(rig))
    assert (after.external, after.z_um) == ((), 12.0)
    assert rig.state(now(rig)) is after


def test_the_pixel_map_is_kept_until_it_changes(rig: Rig):
    first = rig.pixel_map()
    rig.poll()  # reads an equal geometry
    assert rig.pixel_map() is first
    rig.actuator.settle(rig.actuator.set_property("Camera", "Binning", 2))
    assert rig.pixel_map() is not first


# -------------------------------------------------------------------- confirmed when


def test_a_confirmed_change_is_dated_at_once_and_a_command_is_no_confirmation(
    rig: Rig,
):
    a = rig.actuator
    opened = rig.state(now(rig)).confirmed_ns
    rig.clock.sleep_ns(NS_PER_MS)
    command = a.set_power("488", 10)
    told = rig.state(now(rig))
    assert told.power_percent == {"488": 10.0}
    assert told.confirmed_ns is opened
    rig.clock.sleep_ns(NS_PER_MS)
    a.settle(command)
    read = rig.state(now(rig)).confirmed_ns
    assert read["light:488"] == command.t_settled_ns
    assert read["stage"] == opened["stage"]
    assert not [name for name in read if name.startswith("property:")]


def test_mere_confirmations_show_once_a_second(rig: Rig):
    # The states of 3 s with a poll every 10 ms.
    states = []
    for _ in range(300):
        rig.clock.sleep_ns(10 * NS_PER_MS)
        rig.poll()
        states.append(rig.state(now(rig)))
        age_ns = now(rig) - states[-1].confirmed_ns["stage"]
        assert 0 <= age_ns <= NS_PER_S
    assert 3 <= len({id(state) for state in states}) <= 4
    # The mapping of a state never changes afterwards.
    assert states[0].confirmed_ns["stage"] < states[-1].confirmed_ns["stage"]


def test_commands_for_every_frame_make_new_states_but_keep_the_confirmations(rig: Rig):
    states = []
    for i in range(300):
        rig.clock.sleep_ns(10 * NS_PER_MS)
        rig.poll()
        rig.actuator.settle(rig.actuator.set_property("Camera", "Gain", i % 8))
        states.append(rig.state(now(rig)))
    assert [state.epoch for state in states] == list(range(1, 301))
    assert 3 <= len({id(state.confirmed_ns) for state in states}) <= 5


# --------------------------------------------------------------------------- epochs


def settled(book: CommandBook, t_ns: int, number: int) -> tuple[bool, bool]:
    """Whether a stamp says that a command had settled, and that it was under way."""
    epoch, later, pending = book.stamp(t_ns)
    return number <= epoch or number in later, number in pending


def test_stamps_agree_with_what_every_command_says(rig: Rig):
    """Commands on many resources settle in any order; every moment is stamped right."""
    book, clock = CommandBook(rig.clock), rig.clock
    commands, moments = [], []
    for i in range(60):
        name = f"r{i % 7}"
        commands.append(book.open(name, {}, frozenset({name, "shared"})))
        clock.sleep_ns(10)
        moments.append(now(rig))
        clock.sleep_ns(10)
        if i % 3 == 2:
            book.close(commands[i - i % 5], {})
        clock.sleep_ns(10)
        moments.append(now(rig))
    assert book.is_pending("shared")
    for command in reversed(commands):
        clock.sleep_ns(10)
        book.close(command, {})
        moments.append(now(rig))
    assert not book.any_pending() and not book.is_pending("shared")
    for t_ns in moments:
        over = [c.number for c in commands if c.t_settled_ns <= t_ns]
        way = [c.number for c in commands if c.t_issued_ns <= t_ns < c.t_settled_ns]
        epoch, later, pending = book.stamp(t_ns)
        assert set(over) == set(range(1, epoch + 1)) | set(later)
        assert list(pending) == way
        assert epoch + 1 not in over


def test_a_stamp_lists_the_newest_only_and_its_epoch_is_right_still(rig: Rig):
    book = CommandBook(rig.clock)
    slow = book.open("stage", {}, frozenset({"stage"}))
    for _ in range(1000):
        quick = book.open("light", {}, frozenset({"light"}))
        rig.clock.sleep_ns(1)
        book.close(quick, {})
    epoch, later, pending = book.stamp(now(rig))
    assert (epoch, pending) == (0, ())
    assert later == tuple(range(1002 - WINDOW, 1002))
    book.close(slow, {})
    assert book.stamp(now(rig)) == (1001, (), ())


def test_a_late_settling_is_told_by_every_frame_meanwhile(open_rig: Any):
    """A slow stage under way, quick commands settled meanwhile on another thread."""
    rig = open_rig(slow_config(), RealClock())
    rig.core.setProperty("XY", "SlewTimePerStep_s", "0.0004")
    a, failures = rig.actuator, []
    stage = a.move_stage(150, 0)

    def see_through() -> None:
        try:
            a.settle(stage)
        except HardwareError as error:
            failures.append(error)

    settler = threading.Thread(target=see_through)
    settler.start()
    stamps = []
    for i in range(20):
        a.settle(a.set_power("488", i))
        state = rig.state(now(rig))
        stamps.append((state.epoch, state.settled_later, state.pending))
    told_ns = now(rig)
    assert rig.core.deviceBusy("XY"), "the stage was faster than twenty commands"
    settler.join()
    assert not failures
    for i, stamp in enumerate(stamps):
        assert stamp == (0, tuple(range(2, i + 3)), (1,))
    state = rig.state(now(rig))
    assert (state.epoch, state.settled_later, state.pending) == (21, (), ())
    # Frames that were exposed before still say that it was under way.
    assert rig.state(told_ns).pending == (1,)
    assert rig.state(told_ns).epoch == 0
    assert rig.state(stage.t_settled_ns - 1).epoch == 0
    assert rig.state(stage.t_settled_ns).epoch == 21


def test_a_value_counts_from_when_it_was_told_and_its_epoch_from_when_it_was_seen(
    rig: Rig,
):
    a, clock = rig.actuator, rig.clock
    a.settle(a.set_power("488", 70))
    clock.sleep_ns(NS_PER_MS)
    before = now(rig)
    clock.sleep_ns(NS_PER_MS)
    command = a.set_power("488", 35)
    clock.sleep_ns(NS_PER_MS)
    between = now(rig)
    clock.sleep_ns(NS_PER_MS)
    a.settle(command)
    states = [rig.state(t) for t in (before, between, now(rig))]
    assert [s.power_percent["488"] for s in states] == [70.0, 35.0, 35.0]
    assert [(s.epoch, s.pending) for s in states] == [(1, ()), (1, (2,)), (2, ())]


def test_threads_may_ask_while_others_command(open_rig: Any):
    """What a state says of a power and of its epoch always fits together."""
    rig = open_rig(clock=RealClock())
    a, over, failures = rig.actuator, threading.Event(), []

    def ask() -> None:
        epoch = 0
        while not over.is_set():
            state = rig.state(now(rig))
            if state.epoch < epoch:
                failures.append("the epoch went back")
            epoch = state.epoch
            # Command n sets n percent; settled ones are in force.
            if state.power_percent["488"] < min(epoch, 99):
                failures.append(f"{state.power_percent} in epoch {epoch}")
            time.sleep(0)

    readers = [threading.Thread(target=ask) for _ in range(2)]
    for reader in readers:
        reader.start()
    for i in range(1, 100):
        a.settle(a.set_power("488", i))
    over.set()
    for reader in readers:
        reader.join()
    assert failures == []
