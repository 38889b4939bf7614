"""The floor: raw pymmcore as a hand-written script uses it, one thread, spinning."""

from __future__ import annotations

import queue
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pymmcore

from smartscope.bench._analysis import ANALYSES
from smartscope.bench._devices import LED, Log, prepare
from smartscope.bench._measured import (
    MS,
    Measured,
    latencies_ms,
    mark,
    missing,
    peak_rss_mib,
)
from smartscope.bench._stats import summarise

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartscope.bench._job import Job

PATIENCE_NS = 10_000_000_000


@contextmanager
def opened(job: Job) -> Iterator[Any]:
    """A raw core with the devices of `prepare`."""
    core = pymmcore.CMMCore()
    core.setDeviceAdapterSearchPaths([job.adapters])
    try:
        prepare(core, job)
        yield core
    finally:
        core.unloadAllDevices()


def snap(job: Job) -> dict[str, Any]:
    """Snap, analyse, set the property, and again."""
    analyse = ANALYSES[job.analysis]
    log = Log(job.frames)
    in_core, done, took = {}, {}, {}
    with opened(job) as core:
        for k in range(job.frames):
            core.snapImage()
            in_core[k] = time.perf_counter_ns()
            log.counted()
            image = core.getImage()
            began = time.perf_counter_ns()
            analyse(image)
            took[k] = time.perf_counter_ns() - began
            core.setProperty(LED, "State", str((k + 1) % 2))
            done[k] = time.perf_counter_ns()
    return _reactions(job, log, latencies_ms(in_core, done, took), took)


def following(job: Job) -> dict[str, Any]:
    """Snap, analyse, and snap again because the analysis asked for it."""
    analyse = ANALYSES[job.analysis]
    log = Log(job.frames)
    entered, analysed, took = {}, {}, {}
    with opened(job) as core:
        for k in range(job.frames):
            entered[k - 1] = time.perf_counter_ns()
            core.snapImage()
            log.counted()
            image = core.getImage()
            began = time.perf_counter_ns()
            analyse(image)
            analysed[k] = time.perf_counter_ns()
            took[k] = analysed[k] - began
    return _reactions(job, log, latencies_ms(analysed, entered), took)


def stream(job: Job) -> dict[str, Any]:
    """Start the camera, spin until there is a frame, pop, analyse, set the property."""
    analyse = ANALYSES[job.analysis]
    log = Log(job.frames)
    took, done = {}, {}
    writer = _Writer(job) if job.recorded else None
    with opened(job) as core:
        core.startSequenceAcquisition(job.frames, 0.0, True)
        for number, image in popped(core, job.frames, log):
            began = time.perf_counter_ns()
            analyse(image)
            took[number] = time.perf_counter_ns() - began
            core.setProperty(LED, "State", str((len(took)) % 2))
            done[number] = time.perf_counter_ns()
            if writer is not None:
                writer.put(number, image)
        recorded = writer.close() if writer is not None else None
        log.marks.closed = mark()
    minus = None if job.analysis == "busy" else took
    got = Measured(
        asked=job.frames,
        published=len(log.pops),
        seen=len(done),
        skipped=0,
        lost=missing(done, job.frames),
        recorded=recorded,
        latency_ms=latencies_ms(log.received_ns(), done, minus),
    )
    return finished(got, job, log, took)


def burst(job: Job) -> dict[str, Any]:
    """Snap, analyse, then a burst that the camera times, as often as asked."""
    analyse = ANALYSES[job.analysis]
    waits_ms, fps, got_all, took = [], [], 0, {}
    log = Log(job.bursts * (job.frames + 1))
    with opened(job) as core:
        for k in range(job.bursts):
            core.snapImage()
            log.counted()
            image = core.getImage()
            began = time.perf_counter_ns()
            analyse(image)
            decided = time.perf_counter_ns()
            took[k] = decided - began
            core.startSequenceAcquisition(job.frames, 0.0, True)
            log.pops.clear()
            for _ in popped(core, job.frames, log):
                pass
            received = sorted(log.received_ns().values())
            got_all += len(received)
            waits_ms.append((received[0] - decided) / MS)
            fps.append((len(received) - 1) * 1e9 / (received[-1] - received[0]))
    return burst_measured(job, log, waits_ms, fps, got_all, took)


def popped(core: Any, frames: int, log: Log) -> Iterator[tuple[int, Any]]:
    """Image number and pixels of each frame; spins as a hand-written script does."""
    got, seen_ns = 0, time.perf_counter_ns()
    while got < frames:
        if core.getRemainingImageCount() == 0:
            if time.perf_counter_ns() - seen_ns > PATIENCE_NS:
                return
            continue
        number, image, seen_ns = pop(core, log)
        got += 1
        yield number, image


def pop(core: Any, log: Log) -> tuple[int, Any, int]:
    """Number and pixels of the next frame, and when they were taken out."""
    tags = pymmcore.Metadata()
    image = core.popNextImageMD(tags)
    seen_ns = time.perf_counter_ns()
    number = tags.GetSingleTag("ImageNumber").GetValue()
    received = tags.GetSingleTag("TimeReceivedByCore").GetValue()
    log.pops.append((seen_ns, number, received))
    log.counted()
    return int(number), image, seen_ns


def burst_measured(
    job: Job,
    log: Log,
    waits_ms: list[float],
    fps: list[float],
    got: int,
    took: dict[int, int],
) -> dict[str, Any]:
    """What any peer's bursts gave: `fps` is that inside the bursts."""
    asked = job.bursts * job.frames
    measured = Measured(
        asked=asked,
        published=got,
        seen=len(took),
        lost=asked - got,
        latency_ms=summarise(waits_ms),
        analysis_ms=summarise(ns / MS for ns in took.values()),
        fps=summarise(fps).get("median"),
        cpu_ms_per_frame=log.marks.cpu_ms_per_frame(log.frames),
        peak_rss_mib=peak_rss_mib(),
    )
    return measured.to_dict()


def finished(got: Measured, job: Job, log: Log, took: dict[int, int]) -> dict[str, Any]:
    """Fill in what every peer measures alike, and return plain values."""
    got.analysis_ms = summarise(ns / MS for ns in took.values())
    got.fps = log.marks.fps(job.frames)
    got.cpu_ms_per_frame = log.marks.cpu_ms_per_frame(job.frames)
    if got.peak_rss_mib is None:
        got.peak_rss_mib = peak_rss_mib()
    if job.recorded:
        written = log.marks.written(job.frames, 2 * job.size_px**2)
        got.written_mb_s = written.get("written_mb_s")
        got.close_s = written.get("close_s")
        got.cpu_ms_per_frame_closed = written.get("cpu_ms_per_frame_closed")
    return got.to_dict()


def _reactions(
    job: Job, log: Log, latency_ms: dict[str, float], took: dict[int, int]
) -> dict[str, Any]:
    got = Measured(
        asked=job.frames,
        published=job.frames,
        seen=len(took),
        skipped=0,
        lost=job.frames - len(took),
        latency_ms=latency_ms,
    )
    return finished(got, job, log, took)


class _Writer:
    """A second thread that writes planes as they come, as a careful script does."""

    def __init__(self, job: Job) -> None:
        import tensorstore

        side = job.size_px
        grid = {"chunk_shape": [1, side, side]}
        self._array = tensorstore.open(
            {
                "driver": "zarr3",
                "kvstore": {
                    "driver": "file",
                    "path": str(Path(job.scratch) / "f.zarr"),
                },
                "metadata": {
                    "shape": [job.frames, side, side],
                    "data_type": "uint16",
                    "chunk_grid": {"name": "regular", "configuration": grid},
                },
            },
            create=True,
        ).result()
        self._waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._written = 0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def put(self, number: int, image: Any) -> None:
        """Let this plane be written."""
        self._waiting.put((number, image))

    def close(self) -> int:
        """Wait for the last plane; returns how many were written."""
        self._waiting.put(None)
        self._thread.join()
        return self._written

    def _run(self) -> None:
        while (item := self._waiting.get()) is not None:
            number, image = item
            self._array[number].write(image).result()
            self._written += 1
