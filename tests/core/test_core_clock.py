"""Three clocks, one meaning."""

from __future__ import annotations

import threading

import pytest

from smartscope.core import (
    NS_PER_MS,
    NS_PER_S,
    Clock,
    RealClock,
    ScaledClock,
    VirtualClock,
    make_clock,
)

CLOCKS = [RealClock, lambda: ScaledClock(50.0), lambda: ScaledClock(0.5), VirtualClock]
IDS = ["real", "scaled", "slow", "virtual"]


@pytest.fixture(params=CLOCKS, ids=IDS)
def clock(request: pytest.FixtureRequest) -> Clock:
    made: Clock = request.param()
    return made


def test_time_never_runs_backwards(clock: Clock) -> None:
    seen = [clock.now_ns() for _ in range(200)]
    assert seen == sorted(seen)
    assert all(isinstance(t, int) for t in seen)


@pytest.mark.parametrize("duration_ns", [0, 1, 3 * NS_PER_MS])
def test_a_sleep_lasts_at_least_what_was_asked(clock: Clock, duration_ns: int) -> None:
    before = clock.now_ns()
    clock.sleep_ns(duration_ns)
    assert clock.now_ns() - before >= duration_ns


def test_waiting_reaches_the_time(clock: Clock) -> None:
    due = clock.now_ns() + 4 * NS_PER_MS
    assert clock.wait_until(due, threading.Event())
    assert clock.now_ns() >= due


def test_a_time_that_has_passed_is_reached_at_once(clock: Clock) -> None:
    now = clock.now_ns()
    awake = threading.Event()
    assert clock.wait_until(now, awake)
    awake.set()
    assert clock.wait_until(now, awake)


def test_a_set_wake_ends_the_wait_before_its_time(clock: Clock) -> None:
    awake = threading.Event()
    awake.set()
    due = clock.now_ns() + 3600 * NS_PER_S
    assert not clock.wait_until(due, awake)
    assert clock.now_ns() < due


@pytest.mark.parametrize("kind", ["real", "scaled"])
def test_a_wake_from_another_thread_ends_a_long_wait(kind: str) -> None:
    clock = make_clock(kind, 2.0)
    awake, waiting = threading.Event(), threading.Event()

    def wake() -> None:
        waiting.wait()
        awake.set()

    thread = threading.Thread(target=wake)
    thread.start()
    due = clock.now_ns() + 3600 * NS_PER_S
    waiting.set()
    reached = clock.wait_until(due, awake)
    thread.join()
    assert not reached
    assert clock.now_ns() < due


def test_a_wait_does_not_clear_the_wake(clock: Clock) -> None:
    awake = threading.Event()
    awake.set()
    clock.wait_until(clock.now_ns() + 3600 * NS_PER_S, awake)
    assert awake.is_set()


def test_virtual_time_moves_only_when_something_takes_time() -> None:
    clock = VirtualClock(start_ns=5)
    assert [clock.now_ns() for _ in range(3)] == [5, 5, 5]
    clock.sleep_ns(10)
    clock.account_ns(7)
    assert clock.now_ns() == 22
    assert clock.wait_until(1000, threading.Event())
    assert clock.now_ns() == 1000
    assert clock.wait_until(400, threading.Event())
    clock.sleep_ns(-50)
    assert clock.now_ns() == 1000


def test_virtual_time_is_shared_by_threads() -> None:
    clock = VirtualClock()

    def work() -> None:
        for _ in range(500):
            clock.account_ns(3)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock.now_ns() == 4 * 500 * 3


@pytest.mark.parametrize("kind", ["real", "scaled"])
def test_accounting_does_not_wait(kind: str) -> None:
    clock = make_clock(kind, 1.0)
    before = clock.now_ns()
    clock.account_ns(3600 * NS_PER_S)
    assert clock.now_ns() - before < 3600 * NS_PER_S


def test_a_fast_clock_runs_ahead_of_a_slow_one() -> None:
    fast, slow = ScaledClock(100.0), ScaledClock(0.01)
    f0, s0 = fast.now_ns(), slow.now_ns()
    fast.sleep_ns(200 * NS_PER_MS)  # two wall milliseconds
    s1, f1 = slow.now_ns(), fast.now_ns()
    assert f1 - f0 >= 200 * NS_PER_MS
    assert s1 - s0 < f1 - f0


def test_clocks_by_name() -> None:
    for kind in ("real", "scaled", "virtual"):
        assert make_clock(kind, 2.0).kind == kind
    with pytest.raises(ValueError, match="use real, scaled or virtual"):
        make_clock("sideral")
    for speed in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="above 0"):
            make_clock("scaled", speed)
