"""Percentiles, medians, pairing, bars: arithmetic, without a microscope."""

from __future__ import annotations

import time
from datetime import datetime

import numpy as np
import pytest

from smartscope.bench._bars import BARS, bars_of
from smartscope.bench._catalogue import WORKS, soak
from smartscope.bench._measured import Marks, WallClock, latencies_ms, missing
from smartscope.bench._soak import growth_mib
from smartscope.bench._stats import over_runs, percentile, ratio, summarise


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.95, 0.99, 1.0])
@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_percentiles_are_those_of_numpy(share: float, count: int) -> None:
    values = sorted(np.random.default_rng(count).normal(size=count))
    assert percentile(values, share) == pytest.approx(np.quantile(values, share))


def test_a_summary_of_nothing_is_empty() -> None:
    assert summarise([]) == {}
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_a_summary_is_in_order() -> None:
    found = summarise([5.0, 1.0, 3.0, 2.0, 4.0])
    assert (found["min"], found["median"], found["max"], found["n"]) == (1, 3, 5, 5)
    assert found["median"] < found["p95"] < found["p99"] < found["max"]


def test_medians_are_taken_of_each_statistic() -> None:
    runs = [
        {"latency_ms": {"median": 1.0, "max": 9.0}, "fps": 10.0, "lost": 0},
        {"latency_ms": {"median": 3.0, "max": 7.0}, "fps": None, "lost": 2},
        {"latency_ms": {"median": 2.0, "max": 8.0}, "fps": 30.0, "lost": 0},
    ]
    whole = over_runs(runs)
    assert whole["latency_ms"] == {"median": 2.0, "max": 9.0}, "max is the worst"
    assert whole["fps"] == 20.0
    assert whole["lost"] == 2, "a median would hide a loss"


def test_what_no_run_measured_is_not_measured() -> None:
    assert over_runs([{"fps": None}, {"fps": None}]) == {"fps": None}
    assert over_runs([]) == {}
    assert ratio(3.0, None) is None
    assert ratio(None, 3.0) is None
    assert ratio(3.0, 0.0) is None
    assert ratio(3.0, 2.0) == 1.5


def test_times_are_paired_by_frame() -> None:
    # Frame 1 was skipped: pairing by place would give 2 - 1 to frame 2.
    began = {0: 0, 1: 1_000_000, 2: 2_000_000}
    done = {0: 500_000, 2: 4_000_000}
    minus = {0: 100_000, 2: 1_000_000}
    found = latencies_ms(began, done, minus)
    assert (found["n"], found["min"], found["max"]) == (2, 0.4, 1.0)


def test_frames_that_are_missing_are_counted_once() -> None:
    assert missing([0, 1, 2], 3) == 0
    assert missing([0, 2, 2, 7], 3) == 1
    assert missing([], 3) == 3


def test_wall_clock_text_becomes_a_time_between_two_readings() -> None:
    clock = WallClock()
    before = time.perf_counter_ns()
    text = datetime.now().isoformat(sep=" ", timespec="microseconds")
    after = time.perf_counter_ns()
    # A clock that is being set meanwhile may be off by this, not by hours.
    slack = 50_000_000
    assert before - slack <= clock.to_perf_ns(text) <= after + slack


def test_wall_clock_differences_are_exact() -> None:
    clock = WallClock()
    one = clock.to_perf_ns("2026-11-22 18:54:45.999999")
    two = clock.to_perf_ns("2026-11-22 18:54:46.000001")
    assert two - one == 2_000


def test_rates_count_intervals_not_frames() -> None:
    marks = Marks(first=(0, 1.0), last=(1_000_000_000, 1.5), closed=(2 * 10**9, 2.0))
    assert marks.fps(11) == 10.0
    assert marks.cpu_ms_per_frame(11) == 50.0
    written = marks.written(10, 1_000_000)
    assert written["written_mb_s"] == 5.0
    assert written["close_s"] == 1.0
    assert written["cpu_ms_per_frame_closed"] == 100.0
    assert Marks(first=(0, 1.0)).fps(11) is None


def test_memory_growth_leaves_the_beginning_out() -> None:
    rising_once = [(float(t), 100.0 if t < 5 else 300.0) for t in range(100)]
    assert growth_mib(rising_once) == 0.0
    leak = [(float(t), 100.0 + t) for t in range(100)]
    assert growth_mib(leak) == 80.0
    assert growth_mib(leak[:10]) is None


def test_every_bar_is_about_a_task_that_is_measured() -> None:
    tasks = {task.name for work in WORKS.values() for task in work}
    assert {bar.task for bar in BARS} <= tasks
    assert tasks - {bar.task for bar in BARS} == {"burst"}, "the table has no bar"


def test_the_full_soak_is_an_hour_and_a_quarter() -> None:
    assert [task.job.hold_s for task in soak(full=True)] == [3600.0, 900.0]
    assert [task.job.frames for task in soak(full=True)] == [72_000, 450_000]
    assert [task.job.hold_s for task in WORKS["soak"]] == [120.0, 120.0]
    assert all("soak" not in task.name for task in WORKS["all"])


def row(**changes):
    good = {
        "latency_ms": {"median": 0.2, "p99": 0.4, "max": 0.5},
        "fps": 800.0,
        "lost": 0,
        "cpu_ms_per_frame": 0.5,
        "peak_rss_mib": 150.0,
        "published": 300,
        "seen": 120,
        "skipped": 180,
        "recorded": 300,
        "more": {"unaccounted": 0, "rss_growth_mib": 1.0},
    }
    return {**good, **changes}


@pytest.mark.parametrize("bar", BARS, ids=lambda bar: f"{bar.task}: {bar.text}")
def test_every_bar_can_be_met_missed_and_not_measured(bar) -> None:
    floor = {"latency_ms": {"median": 0.2}, "fps": 800.0}
    bad = row(
        latency_ms={"median": 9000.0, "p99": 9000.0, "max": 9000.0},
        fps=100.0,
        lost=1,
        cpu_ms_per_frame=2.0,
        peak_rss_mib=900.0,
        seen=100,
        recorded=299,
        more={"unaccounted": 1, "rss_growth_mib": 99.0},
    )
    assert bar.judge(row(), floor)["met"] is True
    assert bar.judge(bad, floor)["met"] is False
    assert bar.judge({}, {})["met"] is None


def test_a_bar_is_met_at_its_limit() -> None:
    (bar,) = bars_of("B")
    at = {"latency_ms": {"median": 0.5}}
    above = {"latency_ms": {"median": 0.501}}
    assert bar.judge(at, {})["met"] is True
    assert bar.judge(above, {})["met"] is False
