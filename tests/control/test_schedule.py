"""The schedule alone, on a virtual clock: what is released when, and why."""

from __future__ import annotations

import pytest
import useq

from smartscope.config import ScheduleConfig
from smartscope.control import Schedule
from smartscope.core import NS_PER_S, VirtualClock


def plan(**kwargs: object) -> useq.MDASequence:
    return useq.MDASequence(**kwargs)


def make(events: object, clock: VirtualClock, **config: object) -> Schedule:
    return Schedule(
        events,
        clock=clock,
        config=ScheduleConfig(**config),
        home=(0.0, 0.0, 0.0),
    )


def drive(schedule: Schedule, clock: VirtualClock, *, exposure_s=0.0, each=None):
    """Run to the end; rows of (seconds, role, index)."""
    rows = []
    for event in schedule:
        released = schedule.released
        rows.append(
            (
                clock.now_ns() / NS_PER_S,
                released.planned.role,
                dict(event.index),
            )
        )
        clock.sleep_ns(int(exposure_s * NS_PER_S))
        if each is not None:
            each(len(rows), released)
    return rows


TIMES = {"time_plan": {"interval": 5, "loops": 4}}
FITC = {"channels": [{"config": "FITC", "exposure": 10}]}


def test_baseline_runs_at_its_due_times() -> None:
    clock = VirtualClock()
    rows = drive(make(plan(**TIMES, **FITC), clock), clock, exposure_s=0.1)
    assert [r[0] for r in rows] == [0.0, 5.0, 10.0, 15.0]
    assert {r[1] for r in rows} == {"baseline"}


def test_released_events_carry_no_start_time_of_their_own() -> None:
    clock = VirtualClock()
    schedule = make(plan(**TIMES, **FITC), clock)
    assert all(event.min_start_time is None for event in schedule)


def test_groups_span_channels_and_planes_only() -> None:
    clock = VirtualClock()
    sequence = plan(
        axis_order="tpcz",
        time_plan={"interval": 1, "loops": 2},
        stage_positions=[(0, 0, 0), (100, 0, 0)],
        channels=["FITC", "DAPI"],
        z_plan={"range": 2, "step": 1},
    )
    groups: dict = {}
    schedule = make(sequence, clock)
    for _ in schedule:
        planned = schedule.released.planned
        key = (planned.position, planned.group)
        groups.setdefault(key, []).append(planned.last_of_group)
    assert len(groups) == 4
    assert all(last == [False] * 5 + [True] for last in groups.values())


def test_a_series_films_between_baseline_frames_and_counts_from_them() -> None:
    clock = VirtualClock()
    schedule = make(plan(**TIMES, **FITC), clock)

    def react(n: int, released: object) -> None:
        if n == 1:
            schedule.set_interval(0, 2.0, "7.0")
        if n == 6:
            schedule.set_interval(0, None, "9.0")

    rows = drive(schedule, clock, each=react)
    assert [(t, role) for t, role, _ in rows] == [
        (0.0, "baseline"),
        (2.0, "reaction"),
        (4.0, "reaction"),
        (5.0, "baseline"),
        (7.0, "reaction"),
        (9.0, "reaction"),
        (10.0, "baseline"),
        (15.0, "baseline"),
    ]


def test_reactions_have_an_index_of_their_own() -> None:
    clock = VirtualClock()
    schedule = make(plan(**TIMES, **FITC), clock)
    rows = drive(
        schedule,
        clock,
        each=lambda n, r: schedule.set_interval(0, 2.0, "1.0") if n == 1 else None,
    )
    indexes = [row[2] for row in rows if row[1] == "reaction"]
    assert [i["r"] for i in indexes] == list(range(1, len(indexes) + 1))
    assert all("t" not in i for i in indexes)
    assert [row[2]["t"] for row in rows if row[1] == "baseline"] == [0, 1, 2, 3]


def burst(schedule: Schedule, frames: int, **kwargs: object) -> int:
    wanted = {
        "interval_s": 0.0,
        "channel": None,
        "exposure_ms": None,
        "z_offsets_um": (),
        "cause": "3.0",
        "priority": 0,
    }
    return schedule.insert_burst(0, frames=frames, **{**wanted, **kwargs})


def test_a_burst_goes_before_a_baseline_without_due_times() -> None:
    clock = VirtualClock()
    schedule = make(
        plan(stage_positions=[(0, 0), (1, 0), (2, 0)], channels=["FITC"]), clock
    )
    rows = drive(
        schedule, clock, each=lambda n, r: burst(schedule, 2) if n == 1 else None
    )
    assert [r[1] for r in rows] == [
        "baseline",
        "reaction",
        "reaction",
        "baseline",
        "baseline",
    ]


def test_a_timed_burst_keeps_its_interval() -> None:
    clock = VirtualClock()
    schedule = make(plan(**TIMES, **FITC), clock)
    rows = drive(
        schedule,
        clock,
        each=lambda n, r: burst(schedule, 3, interval_s=1.0) if n == 1 else None,
    )
    assert [t for t, role, _ in rows if role == "reaction"] == [0.0, 1.0, 2.0]


def test_a_z_burst_is_grouped_by_time_point() -> None:
    clock = VirtualClock()
    schedule = make(plan(**TIMES, **FITC), clock)
    seen = []

    def react(n: int, released: object) -> None:
        if n == 1:
            burst(schedule, 2, z_offsets_um=(-1.0, 0.0, 1.0))
        if released.planned.role == "reaction":
            seen.append(
                (
                    released.planned.group[2],
                    released.event.z_pos,
                    released.planned.last_of_group,
                )
            )

    drive(schedule, clock, each=react)
    assert seen == [(k, z, z == 1.0) for k in (0, 1) for z in (-1.0, 0.0, 1.0)]


def test_the_focus_returns_after_a_z_burst() -> None:
    clock = VirtualClock()
    schedule = make(plan(**TIMES, **FITC), clock)
    heights = []

    def react(n: int, released: object) -> None:
        heights.append(released.event.z_pos)
        if n == 1:
            burst(schedule, 1, z_offsets_um=(-1.0, 1.0))

    drive(schedule, clock, each=react)
    assert heights == [None, -1.0, 1.0, 0.0, 0.0, 0.0]


def test_a_merged_burst_is_one_event() -> None:
    clock = VirtualClock()
    schedule = make(plan(**TIMES, **FITC), clock)
    schedule.merge = lambda events: useq.MDAEvent(metadata={"n": len(events)})
    rows = drive(
        schedule, clock, each=lambda n, r: burst(schedule, 5) if n == 1 else None
    )
    assert [r[1] for r in rows].count("reaction") == 1


def test_a_burst_outlasting_the_baseline_is_still_taken() -> None:
    clock = VirtualClock()
    schedule = make(plan(**TIMES, **FITC), clock)
    rows = drive(
        schedule, clock, each=lambda n, r: burst(schedule, 2) if n == 4 else None
    )
    assert [r[1] for r in rows][-2:] == ["reaction", "reaction"]


def test_a_series_ends_with_the_baseline() -> None:
    clock = VirtualClock()
    schedule = make(plan(**TIMES, **FITC), clock)
    rows = drive(
        schedule,
        clock,
        each=lambda n, r: schedule.set_interval(0, 1.0, "1.0") if n == 4 else None,
    )
    assert len(rows) == 4


def test_late_events_are_taken_by_default_and_superseded_when_declared() -> None:
    clock = VirtualClock()
    rows = drive(make(plan(**TIMES, **FITC), clock), clock, exposure_s=7.0)
    assert len(rows) == 4

    clock = VirtualClock()
    schedule = make(plan(**TIMES, **FITC), clock, late="supersede", late_after_s=1.5)
    dropped = []
    schedule.on_superseded = lambda planned, late_s: dropped.append(late_s)
    rows = drive(schedule, clock, exposure_s=7.0)
    assert [r[2]["t"] for r in rows] == [0, 2]
    assert dropped == [2.0, 2.0]
    assert schedule.superseded == 2


def test_superseding_drops_whole_groups() -> None:
    clock = VirtualClock()
    sequence = plan(time_plan={"interval": 5, "loops": 3}, channels=["FITC", "DAPI"])
    schedule = make(sequence, clock, late="supersede", late_after_s=1.5)
    rows = drive(schedule, clock, exposure_s=3.5)
    taken = [(r[2]["t"], r[2]["c"]) for r in rows]
    assert taken == [(0, 0), (0, 1), (2, 0), (2, 1)]


def test_offsets_move_the_events_to_come_of_that_field_only() -> None:
    clock = VirtualClock()
    sequence = plan(
        time_plan={"interval": 1, "loops": 2},
        stage_positions=[(10, 20, 1), (50, 60, 2)],
    )
    schedule = make(sequence, clock)
    places = []

    def react(n: int, released: object) -> None:
        event = released.event
        places.append((event.x_pos, event.y_pos, event.z_pos))
        if n == 2:
            schedule.shift(0, 3.0, -2.0, 0.5)

    drive(schedule, clock, each=react)
    assert places == [(10, 20, 1), (50, 60, 2), (13, 18, 1.5), (50, 60, 2)]
    assert schedule.base(0) == (10, 20, 1)
    assert schedule.offset(0) == (3.0, -2.0, 0.5)


def test_an_offset_of_a_plan_without_positions_starts_from_home() -> None:
    clock = VirtualClock()
    schedule = Schedule(
        plan(**TIMES),
        clock=clock,
        config=ScheduleConfig(),
        home=(100.0, 200.0, 5.0),
    )
    places = []

    def react(n: int, released: object) -> None:
        places.append((released.event.x_pos, released.event.y_pos))
        if n == 1:
            schedule.shift(0, 1.0, 2.0, 0.0)

    drive(schedule, clock, each=react)
    assert places == [(None, None)] + [(101.0, 202.0)] * 3


def test_exposure_amendments_follow_the_channel() -> None:
    clock = VirtualClock()
    sequence = plan(
        time_plan={"interval": 1, "loops": 2},
        channels=[
            {"config": "FITC", "exposure": 10},
            {"config": "DAPI", "exposure": 20},
        ],
    )
    schedule = make(sequence, clock)
    exposures = []

    def react(n: int, released: object) -> None:
        exposures.append(released.event.exposure)
        if n == 2:
            schedule.set_exposure("DAPI", 33.0)

    drive(schedule, clock, each=react)
    assert exposures == [10, 20, 10, 33.0]


def test_stop_ends_at_once() -> None:
    clock = VirtualClock()
    schedule = make(plan(**TIMES, **FITC), clock)
    rows = drive(schedule, clock, each=lambda n, r: schedule.stop() if n == 2 else None)
    assert len(rows) == 2


def test_a_cancelled_runner_gets_one_more_event_so_that_it_reports_the_cancel() -> None:
    clock = VirtualClock()
    schedule = make(plan(**TIMES, **FITC), clock)
    schedule.runner_phase = lambda: "finishing"
    assert next(schedule) == useq.MDAEvent()


def test_event_timer_resets_move_later_due_times() -> None:
    clock = VirtualClock()
    sequence = plan(
        time_plan=[{"interval": 2, "loops": 2}, {"interval": 5, "loops": 2}], **FITC
    )
    rows = drive(make(sequence, clock), clock)
    started = [t for t, _, _ in rows]
    assert started[0] == 0.0
    assert started[1] == 2.0
    assert started[-1] - started[-2] == 5.0


def test_a_burst_at_a_field_never_seen_is_refused() -> None:
    clock = VirtualClock()
    schedule = make(plan(**TIMES, **FITC), clock)
    with pytest.raises(LookupError, match="nothing was acquired at field 0"):
        burst(schedule, 2)


@pytest.mark.parametrize("dated", [True, False])
def test_bursts_without_end_do_not_starve_the_baseline(dated) -> None:
    clock = VirtualClock()
    times = {"interval": 1 if dated else 0, "loops": 4}
    schedule = make(plan(time_plan=times, **FITC), clock)
    roles = []
    for _ in schedule:
        roles.append(schedule.released.planned.role)
        clock.sleep_ns(int(0.4 * NS_PER_S))
        if len(roles) > 60:
            break
        if schedule.released.planned.last_of_group:
            burst(schedule, 3, cause=f"{len(roles)}.0")
    # Each frame asks for three more, and still the plan is done in its time.
    baseline = [i for i, role in enumerate(roles) if role == "baseline"]
    assert len(baseline) == 4
    assert baseline[-1] < 40


MANY = {
    "axis_order": "tpcz",
    "stage_positions": [(0, 0, 0), (1, 0, 0), (2, 0, 0)],
    "channels": ["FITC", "DAPI"],
    "z_plan": {"range": 1, "step": 1},
}


def test_a_late_group_is_taken_again_whole_before_all_else() -> None:
    clock = VirtualClock()
    schedule = make(plan(**MANY), clock)
    granted, taken = [], []
    for event in schedule:
        planned = schedule.released.planned
        channel = event.channel.config
        taken.append((planned.role, planned.cause, channel, event.z_pos))
        if len(taken) == 4:
            burst(schedule, 1)
        if len(taken) in (2, 4):
            granted.append(schedule.repeat())
    assert granted == [False, True], "in the midst of a group it goes on"
    again = taken[4:8]
    assert [row[2:] for row in again] == [row[2:] for row in taken[:4]]
    assert {row[:2] for row in again} == {("reaction", "deadline")}
    assert taken[8][:2] == ("reaction", "3.0"), "the burst comes after it"
    assert [row[0] for row in taken[9:]] == ["baseline"] * 8


def test_a_group_is_repeated_twice_in_a_row_at_most() -> None:
    clock = VirtualClock()
    schedule = make(plan(**TIMES, **FITC), clock)
    granted = []
    rows = drive(schedule, clock, each=lambda n, r: granted.append(schedule.repeat()))
    assert granted == [True, True, False] * 4
    assert [row[1] for row in rows] == ["baseline", "reaction", "reaction"] * 4
    assert [row[0] for row in rows if row[1] == "baseline"] == [0.0, 5.0, 10.0, 15.0]
    assert len({tuple(row[2].items()) for row in rows}) == 12, "each has its own index"


def test_only_planned_groups_are_repeated() -> None:
    clock = VirtualClock()
    schedule = make(plan(**TIMES, **FITC), clock)
    granted = {}

    def react(n: int, released: object) -> None:
        if n == 1:
            burst(schedule, 1)
        if released.planned.group[0] == "burst":
            granted["burst"] = schedule.repeat()
            schedule.set_interval(0, 2.0, "7.0")
        if released.planned.group[0] == "series":
            granted["series"] = schedule.repeat()
            schedule.set_interval(0, None, "8.0")

    rows = drive(schedule, clock, each=react)
    assert granted == {"burst": False, "series": False}
    assert [row[1] for row in rows] == [
        "baseline",
        *["reaction"] * 2,
        *["baseline"] * 3,
    ]


def test_a_repeat_counts_for_the_series_and_outlives_it() -> None:
    clock = VirtualClock()
    schedule = make(plan(**TIMES, **FITC), clock)

    def react(n: int, released: object) -> None:
        if n == 1:
            schedule.set_interval(0, 2.0, "7.0")
            clock.sleep_ns(NS_PER_S)
            assert schedule.repeat()
        if n == 3:
            schedule.set_interval(0, None, "8.0")

    rows = drive(schedule, clock, each=react)
    assert [row[0] for row in rows] == [0.0, 1.0, 3.0, 5.0, 10.0, 15.0]
    schedule = make(plan(**TIMES, **FITC), VirtualClock())
    next(schedule)
    assert schedule.repeat()
    schedule.set_interval(0, None, "8.0")
    next(schedule)
    assert schedule.released.planned.cause == "deadline"


def test_nothing_is_repeated_before_anything_was_taken() -> None:
    assert not make(plan(**TIMES, **FITC), VirtualClock()).repeat()


def test_the_planes_of_a_burst_have_numbers_of_their_own() -> None:
    schedule = make(plan(**MANY), VirtualClock())
    planes = []
    for n, event in enumerate(schedule, 1):
        if n == 4:
            burst(schedule, 2, z_offsets_um=(-3, 0, 0, 3), channel="DAPI")
        planned = schedule.released.planned
        if planned.group[0] == "burst":
            planes.append((planned.group[2], event.index["z"], planned.last_of_group))
    assert planes == [(k, z, z == 3) for k in range(2) for z in range(4)]
