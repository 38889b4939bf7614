"""Plain pymmcore-plus, used as its documentation says."""

from __future__ import annotations

import queue
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from useq import MDAEvent, MDASequence

from smartscope.bench._analysis import ANALYSES
from smartscope.bench._devices import CHANNEL, GROUP, LED, Log
from smartscope.bench._floor import burst_measured, finished
from smartscope.bench._measured import MS, Measured, latencies_ms, mark, missing
from smartscope.bench._seam import SeamCore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartscope.bench._job import Job


@contextmanager
def opened(job: Job, *, sequenced: bool) -> Iterator[SeamCore]:
    """A core; `sequenced` lets the camera time a series."""
    core = SeamCore(job)
    engine: Any = core.mda.engine
    # An event queue has to be without: the engine would wait for the next event, to
    # join it to this one, before it took this one.
    engine.use_hardware_sequencing = sequenced
    try:
        yield core
    finally:
        core.close()


def snap(job: Job) -> dict[str, Any]:
    """Event queue; the property is set in the callback, which asks for the next."""
    return _queued(job, react=True)


def following(job: Job) -> dict[str, Any]:
    """Event queue; the callback asks for the next event."""
    return _queued(job, react=False)


def _queued(job: Job, *, react: bool) -> dict[str, Any]:
    analyse, took, analysed, done = ANALYSES[job.analysis], {}, {}, {}
    waiting: queue.Queue[MDAEvent | None] = queue.Queue()
    log = Log(job.frames)
    with opened(job, sequenced=False) as core:
        core.seam_log = log

        def on_frame(image: Any, event: MDAEvent, meta: Any) -> None:
            k = event.index["t"]
            began = time.perf_counter_ns()
            analyse(image)
            analysed[k] = time.perf_counter_ns()
            took[k] = analysed[k] - began
            if react:
                core.setProperty(LED, "State", str((k + 1) % 2))
                done[k] = time.perf_counter_ns()
            more = k + 1 < job.frames
            waiting.put(_event(job, k + 1) if more else None)

        core.mda.events.frameReady.connect(on_frame)
        waiting.put(_event(job, 0))
        core.run_mda(iter(waiting.get, None)).join()
    if react:
        in_core = {k: returned for k, (_, returned) in enumerate(log.snaps)}
        latency_ms = latencies_ms(in_core, done, took)
    else:
        entered = {k - 1: at for k, (at, _) in enumerate(log.snaps)}
        latency_ms = latencies_ms(analysed, entered)
    got = Measured(
        asked=job.frames,
        published=len(log.snaps),
        seen=len(took),
        skipped=0,
        lost=job.frames - len(took),
        latency_ms=latency_ms,
    )
    return finished(got, job, log, took)


def stream(job: Job) -> dict[str, Any]:
    """A sequenced time series; the property is set in the callback."""
    analyse, took, done = ANALYSES[job.analysis], {}, {}
    log = Log(job.frames)
    output = Path(job.scratch) / "plain.ome.zarr" if job.recorded else None
    with opened(job, sequenced=True) as core:
        core.seam_log = log

        def on_frame(image: Any, event: MDAEvent, meta: Any) -> None:
            number = int(meta["camera_metadata"]["ImageNumber"])
            began = time.perf_counter_ns()
            analyse(image)
            took[number] = time.perf_counter_ns() - began
            core.setProperty(LED, "State", str((len(took)) % 2))
            done[number] = time.perf_counter_ns()

        core.mda.events.frameReady.connect(on_frame)
        core.run_mda(_series(job), output=output).join()
        log.marks.closed = mark()
    got = Measured(
        asked=job.frames,
        published=len(log.pops),
        seen=len(done),
        skipped=0,
        lost=missing(done, job.frames),
        recorded=planes(output) if output is not None else None,
        latency_ms=latencies_ms(
            log.received_ns(), done, None if job.analysis == "busy" else took
        ),
    )
    return finished(got, job, log, took)


def burst(job: Job) -> dict[str, Any]:
    """One event; when its callback asks for it, a sequenced series."""
    analyse, got = ANALYSES[job.analysis], 0
    took: dict[int, int] = {}
    decided: list[int] = []
    waits_ms, fps = [], []
    log = Log(job.bursts * (job.frames + 1))
    with opened(job, sequenced=True) as core:
        core.seam_log = log
        asked = threading.Event()

        def on_frame(image: Any, event: MDAEvent, meta: Any) -> None:
            if asked.is_set():
                return
            began = time.perf_counter_ns()
            analyse(image)
            decided.append(time.perf_counter_ns())
            took[len(took)] = decided[-1] - began
            asked.set()

        core.mda.events.frameReady.connect(on_frame)
        for _ in range(job.bursts):
            asked.clear()
            log.pops.clear()
            core.run_mda([_event(job, 0)]).join()
            core.run_mda(_series(job)).join()
            received = sorted(log.received_ns().values())
            got += len(received)
            waits_ms.append((received[0] - decided[-1]) / MS)
            fps.append((len(received) - 1) * 1e9 / (received[-1] - received[0]))
    return burst_measured(job, log, waits_ms, fps, got, took)


def planes(zarr: Path) -> int:
    """Planes that lie in an OME-Zarr: files of its chunks, of one plane each."""
    return sum(path.is_file() for path in (zarr / "0" / "c").rglob("*"))


def _event(job: Job, k: int) -> MDAEvent:
    channel = {"config": CHANNEL, "group": GROUP}
    return MDAEvent(index={"t": k}, channel=channel, exposure=job.exposure_ms)


def _series(job: Job) -> MDASequence:
    return MDASequence(
        channels=[{"config": CHANNEL, "group": GROUP, "exposure": job.exposure_ms}],
        time_plan={"interval": 0, "loops": job.frames},
    )
