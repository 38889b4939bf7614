"""Every peer does every work, on a few frames: counts, order, pairing."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import pymmcore
import pytest

from smartscope.bench import _smartscope
from smartscope.bench._catalogue import BURST, STARTUP, WORKS, A
from smartscope.bench._devices import LED, Log
from smartscope.bench._harness import job_of
from smartscope.bench._measured import Measured
from smartscope.bench._seam import SeamCore

if TYPE_CHECKING:
    from pathlib import Path

FRAMES = 12
SHORT = [task.shortened(FRAMES) for task in WORKS["all"]]
ROWS = [
    pytest.param(task, entrant, id=f"{task.name}-{task.name_of(entrant)}")
    for task in SHORT
    for entrant in task.entrants
]
STREAMS = [p for p in ROWS if p.values[0].job.kind == "stream"]
SNAPS = [p for p in ROWS if p.values[0].job.kind in ("snap", "next")]
LIGHTS = [p for p in ROWS if p.values[0].job.kind == "light"]


def peers(task):
    return [pytest.param(e, id=e.peer) for e in task.entrants]


def measure(task, entrant, scratch: Path) -> Measured:
    return Measured(**job_of(task, entrant, scratch).run())


@pytest.mark.parametrize(("task", "entrant"), STREAMS)
def test_a_stream_accounts_for_every_frame(task, entrant, tmp_path) -> None:
    got = measure(task, entrant, tmp_path)
    assert got.asked == FRAMES
    assert got.published == FRAMES
    assert got.lost == 0
    assert got.seen + got.skipped == FRAMES
    assert got.recorded == (FRAMES if entrant.recorded else None)
    if entrant.peer != "smartscope":
        assert got.seen == FRAMES
    # One frame in vision and one that waits, when the camera stops.
    refused = got.more.get("not_applied", 0)
    assert refused <= 2
    assert got.latency_ms["n"] + refused == got.seen
    assert got.latency_ms["min"] > 0, "no reaction comes before its frame"
    assert got.analysis_ms["n"] == got.seen
    assert got.fps > 0
    assert got.cpu_ms_per_frame > 0
    assert (got.written_mb_s is None) == (not entrant.recorded)
    if entrant.recorded:
        assert got.close_s > 0
    if task.name == "C4":
        assert got.latency_ms["min"] > 8, "the lag holds the analysis of 8 ms"


@pytest.mark.parametrize(("task", "entrant"), SNAPS)
def test_snaps_react_once_to_every_frame(task, entrant, tmp_path) -> None:
    got = measure(task, entrant, tmp_path)
    assert (got.asked, got.published, got.seen) == (FRAMES, FRAMES, FRAMES)
    assert (got.skipped, got.lost) == (0, 0)
    # The last frame asks for none after it.
    assert got.latency_ms["n"] == FRAMES - (task.job.kind == "next")
    assert got.latency_ms["min"] > 0
    assert got.analysis_ms["min"] > 0
    assert 0 < got.fps < 1000 / task.job.exposure_ms, "exposures do not overlap"


@pytest.mark.parametrize("entrant", peers(BURST))
def test_bursts_come_whole(entrant, tmp_path) -> None:
    task = BURST.shortened(FRAMES)
    got = measure(task, entrant, tmp_path)
    bursts = task.job.bursts
    assert (got.asked, got.published, got.lost) == (bursts * FRAMES,) * 2 + (0,)
    assert got.seen == bursts, "one decision each"
    assert got.latency_ms["n"] == bursts
    assert got.latency_ms["min"] >= task.job.exposure_ms, "an exposure lies between"
    assert got.fps > 0


@pytest.mark.parametrize(("task", "entrant"), LIGHTS)
def test_the_shutter_is_closed_long_before_the_rest_ends(
    task, entrant, tmp_path
) -> None:
    got = measure(task, entrant, tmp_path)
    assert got.latency_ms["n"] == 1
    assert 0 < got.latency_ms["max"] < task.job.hold_s * 1000


@pytest.mark.parametrize("entrant", peers(STARTUP))
def test_a_start_gives_a_frame(entrant, tmp_path) -> None:
    job = replace(job_of(STARTUP, entrant, tmp_path), spawned_ns=time.time_ns())
    got = Measured(**job.run())
    assert (got.asked, got.published, got.lost) == (1, 1, 0)
    assert got.latency_ms["min"] > 0


@pytest.mark.parametrize("task", [t.shortened(60) for t in WORKS["soak"]], ids=str)
def test_a_soak_accounts_for_every_frame(task, tmp_path) -> None:
    (entrant,) = task.entrants
    got = measure(
        replace(task, job=replace(task.job, exposure_ms=5.0)), entrant, tmp_path
    )
    assert (got.asked, got.published, got.lost) == (60, 60, 0)
    assert got.more["journalled"] == 60
    assert got.more["unaccounted"] == 0
    assert got.seen + got.skipped == 60
    assert got.recorded == (60 if entrant.recorded else None)


class _Spy(pymmcore.CMMCore):
    """Below everything: when the LED was told, and when the driver returned."""

    told: ClassVar[list[tuple[int, int]]] = []

    def setProperty(self, device, name, value) -> None:
        began = time.perf_counter_ns()
        pymmcore.CMMCore.setProperty(self, device, name, value)
        if device == LED:
            self.told.append((began, time.perf_counter_ns()))


class SpiedCore(SeamCore, _Spy):
    pass


def test_applied_is_never_stamped_before_the_driver_returned(
    tmp_path, monkeypatch
) -> None:
    _Spy.told.clear()
    monkeypatch.setattr(_smartscope, "SeamCore", SpiedCore)
    task = A.shortened(FRAMES)
    job = job_of(task, task.entrants[-1], tmp_path)
    experiment = _smartscope.bench_experiment(
        job, _smartscope.plan(job, FRAMES), ask="property"
    )
    with _smartscope.measured(job, experiment, Log(FRAMES)) as (result, _, _):
        applied = _smartscope.applied_ns(result.folder)
    assert sorted(applied) == list(range(FRAMES))
    told = _Spy.told
    assert len(told) == FRAMES
    for frame, (_, returned) in enumerate(told):
        assert returned <= applied[frame]
        if frame + 1 < FRAMES:
            assert applied[frame] <= told[frame + 1][0]
