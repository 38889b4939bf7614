"""What the devices did, asked in every way."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smartscope.core import DeviceHistory


def test_a_jump_holds_from_its_time_on() -> None:
    history = DeviceHistory()
    history.set("shutter", 0, 0)
    history.set("shutter", 100, 1)
    history.set("shutter", 200, 0)
    assert [history.at("shutter", t) for t in (-5, 0, 99, 100, 150, 199, 200, 300)] == [
        0, 0, 0, 1, 1, 1, 0, 0,
    ]  # fmt: skip
    assert history.at("unknown", 5, default=7.0) == 7.0
    assert history.keys() == ("shutter",)


def test_a_ramp_is_even() -> None:
    history = DeviceHistory()
    history.set("x_um", 0, 10)
    history.ramp("x_um", 100, 200, 30)
    assert [history.at("x_um", t) for t in (50, 100, 125, 150, 200, 999)] == [
        10, 10, 15, 20, 30, 30,
    ]  # fmt: skip


def test_a_new_move_cuts_the_one_under_way() -> None:
    history = DeviceHistory()
    history.set("x_um", 0, 0)
    history.ramp("x_um", 0, 100, 100)
    history.ramp("x_um", 50, 60, 0)
    assert [history.at("x_um", t) for t in (25, 50, 55, 60, 100)] == [25, 50, 25, 0, 0]
    history.ramp("x_um", 60, 160, 100)
    history.set("x_um", 110, -1)
    assert [history.at("x_um", t) for t in (109, 110, 160)] == [49, -1, -1]


def test_a_move_that_takes_no_time_is_a_jump() -> None:
    history = DeviceHistory()
    history.set("z_um", 0, 1)
    history.ramp("z_um", 10, 10, 5)
    assert [history.at("z_um", t) for t in (9, 10, 11)] == [1, 5, 5]


def test_segments_cut_where_a_slope_changes() -> None:
    history = DeviceHistory()
    history.set("power:488", 0, 0)
    history.set("power:488", 100, 50)
    history.set("x_um", 0, 0)
    history.ramp("x_um", 50, 150, 10)
    rows = list(history.segments(("power:488", "x_um", "nothing"), 0, 200))
    assert [(a, b) for a, b, _ in rows] == [(0, 50), (50, 100), (100, 150), (150, 200)]
    assert [row["power:488"] for *_, row in rows] == [
        (0, 0),
        (0, 0),
        (50, 50),
        (50, 50),
    ]
    assert [row["x_um"] for *_, row in rows] == [(0, 0), (0, 5), (5, 10), (10, 10)]
    assert all(row["nothing"] == (0, 0) for *_, row in rows)


def test_jumps_at_the_ends_belong_inside_or_outside() -> None:
    history = DeviceHistory()
    history.set("shutter", 0, 0)
    history.set("shutter", 100, 1)
    history.set("shutter", 200, 0)
    (row,) = history.segments(("shutter",), 100, 200)
    assert row == (100, 200, {"shutter": (1.0, 1.0)})
    assert list(history.segments(("shutter",), 100, 100)) == []


# The same examples everywhere, however busy the machine is.
STEADY = settings(
    derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TIMES = st.integers(0, 60)
VALUES = st.integers(-5, 5).map(float)
CHANGES = st.lists(
    st.tuples(st.sampled_from("ab"), TIMES, st.integers(0, 25), VALUES), max_size=14
).map(lambda rows: sorted(rows, key=lambda row: row[1]))


def brute_force(changes: list[Any], key: str, t: float) -> float:
    """Value of a trace just after `t`, by playing every change in turn."""
    start, end, low, high = 0.0, 0.0, 0.0, 0.0
    first = True

    def present(now: float) -> float:
        if now >= end:
            return high
        return low + (high - low) * (now - start) / (end - start)

    for name, since, duration, target in changes:
        if name != key:
            continue
        if since > t and not first:
            break
        before = target if first else present(since)
        start, end, low, high = since, since + duration, before, target
        first = False
    return 0.0 if first else (low if t < start else present(t))


def played(changes: list[Any]) -> DeviceHistory:
    history = DeviceHistory()
    for key, since, duration, target in changes:
        if duration:
            history.ramp(key, since, since + duration, target)
        else:
            history.set(key, since, target)
    return history


@settings(STEADY)
@given(changes=CHANGES)
def test_every_value_is_the_one_played(changes: list[Any]) -> None:
    history = played(changes)
    for key in "ab":
        for t in range(-2, 90):
            assert history.at(key, t) == pytest.approx(brute_force(changes, key, t))


@settings(STEADY)
@given(changes=CHANGES, ends=st.tuples(TIMES, st.integers(0, 90)))
def test_segments_agree_with_dense_sampling(
    changes: list[Any], ends: tuple[int, int]
) -> None:
    t0, t1 = min(ends), max(ends)
    history = played(changes)
    rows = list(history.segments(("a", "b"), t0, t1))
    assert sum(b - a for a, b, _ in rows) == t1 - t0
    edges = [t for a, b, _ in rows for t in (a, b)]
    assert edges == sorted(edges)
    assert all(a < b for a, b, _ in rows)
    for a, b, values in rows:
        for key, (first, last) in values.items():
            inside = np.linspace(a, b, 9)[1:-1]
            expected = [brute_force(changes, key, t) for t in inside]
            straight = first + (last - first) * (inside - a) / (b - a)
            np.testing.assert_allclose(straight, expected, atol=1e-9)


def changed_by_segments(history: DeviceHistory, t0: int, t1: int) -> set[str]:
    return {
        key
        for a, _, values in history.segments(history.keys(), t0, t1)
        for key, (first, last) in values.items()
        if first != last or history.at(key, a) != history.at(key, t0)
    }


@settings(STEADY, max_examples=300)
@given(changes=CHANGES, ends=st.tuples(TIMES, TIMES), forgotten=st.booleans())
def test_changes_are_those_that_segments_show(
    changes: list[Any], ends: tuple[int, int], forgotten: bool
) -> None:
    t0, t1 = min(ends), max(ends)
    history = played(changes)
    wanted = changed_by_segments(history, t0, t1)
    if forgotten:
        history.forget_before(t0)
    assert history.changes(t0, t1) == wanted


def test_changes_inside_an_exposure() -> None:
    history = DeviceHistory()
    history.set("camera", 0, 0)
    assert history.changes(0, 100) == frozenset()
    history.set("shutter", 0, 0)
    history.set("power:488", 0, 20)
    history.set("power:488", 100, 50)
    history.ramp("x_um", 50, 150, 10)  # the first value ever: it was there before
    history.ramp("x_um", 150, 250, 30)
    history.set("camera", 60, 1)
    assert history.changes(0, 50) == frozenset()
    assert history.changes(0, 100) == frozenset()  # a jump at the end comes after it
    assert history.changes(0, 101) == {"power:488"}
    assert history.changes(100, 150) == frozenset()  # and one at the start before
    assert history.changes(100, 151) == {"x_um"}
    assert history.changes(200, 220) == {"x_um"}  # began before, ends after
    assert history.changes(250, 999) == frozenset()
    # A pulse that is over by the end counts, one of no length does not.
    for t_ns, is_open in ((300, 1), (310, 0), (400, 1), (400, 0)):
        history.set("shutter", t_ns, is_open)
    assert history.changes(290, 320) == {"shutter"}
    assert history.changes(390, 410) == frozenset()


def test_changes_of_a_move_that_was_cut_short() -> None:
    history = DeviceHistory()
    history.set("x_um", 0, 0)
    history.ramp("x_um", 0, 1000, 100)
    history.ramp("x_um", 10, 20, 0)
    assert history.changes(15, 18) == {"x_um"}
    assert history.changes(20, 900) == frozenset()


@settings(STEADY)
@given(changes=CHANGES, cut=TIMES)
def test_forgetting_changes_nothing_from_there_on(changes: list[Any], cut: int) -> None:
    whole, short = played(changes), played(changes)
    short.forget_before(cut)
    for key in "ab":
        for t in range(cut, 90):
            assert short.at(key, t) == whole.at(key, t)
    wanted = list(whole.segments(("a", "b"), cut, 90))
    assert list(short.segments(("a", "b"), cut, 90)) == wanted


def test_a_long_run_is_forgotten() -> None:
    history = DeviceHistory()
    for t in range(2000):
        history.set("shutter", t, t % 2)
        history.set_pattern(t, t, f"pattern {t}")
        history.forget_before(t - 10)
    trace = history._traces["shutter"]
    assert len(trace.t_ns) < 60
    assert len(history._patterns) < 30
    assert history.at("shutter", 1999) == 1
    assert history.patterns(1995, 1996) == {1995: "pattern 1995", 1996: "pattern 1996"}


def test_a_long_stream_with_a_command_a_frame_is_bounded() -> None:
    """Light on and off, a repeated power, a tracked stage; forgotten once a second."""
    history = DeviceHistory()
    longest, period = 0, 1_250_000
    for i in range(8000):
        t_ns = i * period
        history.set("shutter", t_ns, i % 2)
        history.set("power:488", t_ns, 5)
        history.ramp("x_um", t_ns, t_ns + 3 * period, i % 9)
        history.ramp("z_um", t_ns, t_ns + period, 4)
        history.set_pattern(t_ns, i, i)
        if i % 800 == 0:
            history.forget_before(t_ns - 2 * period)
        longest = max(longest, *(len(t.t_ns) for t in history._traces.values()))
    assert longest <= 2 * 804
    assert len(history._patterns) <= 804
    # What never changes keeps its first points, without anybody forgetting anything.
    assert len(history._traces["power:488"].t_ns) == 1
    assert len(history._traces["z_um"].t_ns) <= 2


def test_commands_at_one_moment_of_virtual_time_are_bounded() -> None:
    history = DeviceHistory()
    history.set("x_um", 0, 0)
    for i in range(1000):
        history.ramp("x_um", 7, 20, i % 5)
        history.ramp("z_um", 7, 20, 3)
    history.forget_before(7)
    assert all(len(trace.t_ns) <= 3 for trace in history._traces.values())


def test_repeating_a_value_costs_nothing() -> None:
    history = DeviceHistory()
    for t in range(100):
        history.set("power:488", t, 5)
    assert len(history._traces["power:488"].t_ns) == 1


def test_patterns_are_numbered_and_forgotten_with_their_trace() -> None:
    history = DeviceHistory()
    assert history.patterns(0, 5) == {}
    history.set_pattern(0, 0, "dark")
    history.set_pattern(10, 1, "left")
    history.set_pattern(20, 2, "right")
    assert [history.at("slm", t) for t in (9, 10, 19, 20)] == [0, 1, 1, 2]
    assert history.patterns(0, 9) == {0: "dark"}
    assert history.patterns(12, 20) == {1: "left", 2: "right"}
    assert history.changes(5, 15) == {"slm"}
    history.forget_before(15)
    assert (history.pattern(0), history.pattern(1)) == (None, "left")
    history.set_pattern(30, 2, "right")  # shown again
    history.forget_before(40)
    assert history.patterns(0, 99) == {2: "right"}


def test_threads_may_write_and_read() -> None:
    history = DeviceHistory()
    failures: list[BaseException] = []

    def write(key: str) -> None:
        for t in range(300):
            history.ramp(key, t, t + 5, t % 7)

    def read() -> None:
        try:
            for t in range(300):
                for a, b, _ in history.segments(("a", "b"), 0, t):
                    assert a < b
                history.forget_before(t // 2)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(key,)) for key in "ab"]
    threads.append(threading.Thread(target=read))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
