"""smartscope: a whole run with safety, journal, vision and a policy, as users have."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import smartscope
from smartscope.bench._devices import CHANNEL, Log
from smartscope.bench._floor import burst_measured, finished
from smartscope.bench._measured import MS, Measured, latencies_ms, mark, peak_rss_mib
from smartscope.bench._notes import NOTES
from smartscope.bench._seam import SeamCore
from smartscope.config import Experiment, RigConfig, find_rig, load_rig
from smartscope.core import SmartscopeError
from smartscope.record import latency_steps

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from smartscope.bench._job import Job
    from smartscope.record import RunFolder
    from smartscope.runs import RunResult

HERE = Path(__file__).parent
STAGE, POLICY = HERE / "bench_stage.py", HERE / "bench_policy.py"
MANY_PER_S = 1_000_000.0


class BenchError(SmartscopeError):
    """A run of the bench did not end as it must."""


def bench_rig(**roles: str) -> RigConfig:
    """The shipped demo rig, without a limit on how often a policy may act."""
    shipped = load_rig(find_rig("demo_laser_rig"))
    data = shipped.model_dump(exclude={"source_file"})
    data["limits"]["actions_per_s"] = MANY_PER_S
    data["roles"] |= roles
    rig = RigConfig.model_validate(data)
    return rig.model_copy(update={"source_file": shipped.source_file})


def bench_experiment(
    job: Job, acquisition: Any, *, ask: str, vision: Sequence[Any] | None = None
) -> Experiment:
    """An experiment of the bench; light is on, and its budget is watched."""
    if vision is None:
        vision = [{"use": str(STAGE), "parameters": {"analysis": job.analysis}}]
    return Experiment.model_validate(
        {
            "name": "bench",
            "rig": "demo_laser_rig.yaml",
            "acquisition": acquisition,
            "light": {CHANNEL: {"488": {"power_percent": 1}}},
            "vision": vision,
            "policies": [{"use": str(POLICY), "ask": ask, "frames": job.frames}],
            "safety": {"dose_per_fov_relative": 1e9},
            "record": {"images": job.recorded, "compression": "none"},
            # A policy that is edited meanwhile must not change in the midst of a run.
            "reload": False,
        }
    )


def plan(job: Job, frames: int, interval_s: float = 0.0) -> dict[str, Any]:
    """A planned time series, by default as fast as it goes."""
    return {
        "channels": [{"config": CHANNEL, "exposure": job.exposure_ms}],
        "time_plan": {"interval": interval_s, "loops": frames},
    }


def snap(job: Job) -> dict[str, Any]:
    """A plan in lockstep; a property is set on every frame."""
    experiment = bench_experiment(job, plan(job, job.frames), ask="property")
    with measured(job, experiment, Log(job.frames)) as (result, log, peak):
        took = _took()
        in_core = {k: returned for k, (_, returned) in enumerate(log.snaps)}
        latency_ms = latencies_ms(in_core, applied_ns(result.folder), took)
        return _reactions(job, result, log, latency_ms, took, peak)


def following(job: Job) -> dict[str, Any]:
    """A plan of one frame; every frame asks for one more."""
    experiment = bench_experiment(job, plan(job, 1), ask="frame")
    with measured(job, experiment, Log(job.frames)) as (result, log, peak):
        analysed = {frame: ended for frame, _, _, ended, _ in NOTES.seen}
        entered = {k - 1: at for k, (at, _) in enumerate(log.snaps)}
        latency_ms = latencies_ms(analysed, entered)
        return _reactions(job, result, log, latency_ms, _took(), peak)


def stream(job: Job) -> dict[str, Any]:
    """A stream; a property is set on every frame that is seen."""
    camera = {
        "channel": CHANNEL,
        "exposure_ms": job.exposure_ms,
        "frames": job.frames,
    }
    experiment = bench_experiment(job, {"stream": camera}, ask="property")
    with measured(job, experiment, Log(job.frames)) as (result, log, peak):
        folder, took = result.folder, _took()
        numbers = {
            entry["frame_id"]: entry["image_number"]
            for entry in folder.entries("frame")
        }
        by_number = log.received_ns()
        received = {
            frame: by_number[number]
            for frame, number in numbers.items()
            if number in by_number
        }
        minus = None if job.analysis == "busy" else took
        applied = applied_ns(folder)
        got = Measured(
            asked=job.frames,
            published=len(numbers),
            seen=len(took),
            skipped=skipped(folder),
            lost=job.frames - len(set(numbers.values())),
            recorded=recorded(folder) if job.recorded else None,
            latency_ms=latencies_ms(received, applied, minus),
            peak_rss_mib=peak,
            # What is decided when the camera has stopped is refused.
            more={
                "not_applied": len(took) - len(applied),
                "steps_ms": latency_steps(folder.entries()),
            },
        )
        return finished(got, job, log, took)


def burst(job: Job) -> dict[str, Any]:
    """A plan in lockstep; every planned frame asks for a burst."""
    # A planned frame that is late comes before what was asked for later, so the plan
    # leaves room for its bursts.
    interval_s = 2 * job.frames * job.exposure_ms / 1000
    whole = plan(job, job.bursts, interval_s)
    experiment = bench_experiment(job, whole, ask="burst")
    log = Log(job.bursts * (job.frames + 1))
    with measured(job, experiment, log) as (_, log, _):
        decided = [at for _, role, _, _, at in NOTES.seen if role == "baseline"]
        took = {
            frame: ended - began
            for frame, role, began, ended, _ in NOTES.seen
            if role == "baseline"
        }
        times = _split_bursts(log)
        waits = [(burst[0] - at) / MS for at, burst in zip(decided, times, strict=True)]
        fps = [(len(b) - 1) * 1e9 / (b[-1] - b[0]) for b in times]
        return burst_measured(job, log, waits, fps, sum(map(len, times)), took)


@contextmanager
def measured(
    job: Job, experiment: Experiment, log: Log
) -> Iterator[tuple[RunResult, Log, float | None]]:
    """Run it; gives the result, the log, and the peak memory before anything is read.

    Raises
    ------
    BenchError
        If the run was not completed.
    """
    NOTES.clear()
    core = SeamCore(job)
    core.seam_log = log
    try:
        result = smartscope.run(
            experiment, rig=bench_rig(), core=core, output=job.scratch
        )
        log.marks.closed = mark()
        peak = peak_rss_mib()
        if result.outcome != "completed":
            raise BenchError(f"the run {result.outcome}: {result.message}")
        yield result, log, peak
    finally:
        core.close()


def applied_ns(folder: RunFolder) -> dict[int, int]:
    """When the command of each frame's reaction had been given, by frame id."""
    frame_of = {seen.number: seen.frame_ids[-1] for seen in folder.observations()}
    asked = {
        request.action_id: frame_of[decision.observation]
        for decision in folder.decisions
        for request in decision.requests
    }
    return {
        asked[outcome.action_id]: outcome.t_ns["applied"]
        for outcome in folder.outcomes
        if outcome.status == "applied"
    }


def skipped(folder: RunFolder) -> int:
    """Frames that vision passed over, as the journal counts them."""
    return sum(int(entry.get("frames", 1)) for entry in folder.entries("skipped"))


def recorded(folder: RunFolder) -> int:
    """Frames whose pixels are on disk."""
    return sum(folder.has_image(frame.frame_id) for frame in folder.frames)


def _took() -> dict[int, int]:
    return {frame: ended - began for frame, _, began, ended, _ in NOTES.seen}


def _split_bursts(log: Log) -> list[list[int]]:
    """Times at which the core received the frames of each burst."""
    bursts: list[list[int]] = []
    for _, number, text in log.pops:
        if int(number) == 0:
            bursts.append([])
        bursts[-1].append(log.wall.to_perf_ns(text))
    return bursts


def _reactions(
    job: Job,
    result: RunResult,
    log: Log,
    latency_ms: dict[str, float],
    took: dict[int, int],
    peak: float | None,
) -> dict[str, Any]:
    got = Measured(
        asked=job.frames,
        published=result.frames,
        seen=len(took),
        skipped=skipped(result.folder),
        lost=job.frames - result.frames,
        latency_ms=latency_ms,
        peak_rss_mib=peak,
        more={"steps_ms": latency_steps(result.folder.entries())},
    )
    return finished(got, job, log, took)
