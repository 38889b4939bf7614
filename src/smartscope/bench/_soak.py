"""A long run: memory over time, and every frame accounted for."""

from __future__ import annotations

import threading
import time
from collections import Counter
from statistics import median
from typing import TYPE_CHECKING, Any

import smartscope
from smartscope.bench._devices import CHANNEL, Log
from smartscope.bench._measured import Measured, mark, missing, peak_rss_mib, rss_mib
from smartscope.bench._notes import NOTES
from smartscope.bench._seam import SeamCore
from smartscope.bench._smartscope import (
    BenchError,
    bench_experiment,
    bench_rig,
    recorded,
)

if TYPE_CHECKING:
    from smartscope.bench._job import Job
    from smartscope.record import RunFolder

_SAMPLES = 240


class Sampler:
    """Resident memory of this process, at even times, on a thread of its own."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.samples: list[tuple[float, float]] = []

    def __enter__(self) -> Sampler:
        self._began = time.perf_counter()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def until(self, last: tuple[int, float] | None) -> list[tuple[float, float]]:
        """Samples up to the last frame: making the tables afterwards takes memory."""
        end_s = float("inf") if last is None else last[0] / 1e9 - self._began
        return [(t_s, mib) for t_s, mib in self.samples if t_s <= end_s]

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            now_mib = rss_mib()
            if now_mib is not None:
                self.samples.append((time.perf_counter() - self._began, now_mib))


def growth_mib(samples: list[tuple[float, float]]) -> float | None:
    """Memory of the last tenth of the samples less that of the second tenth, MiB.

    The first tenth is left out: pools and pages are still being touched then. None
    for fewer than 20 samples.
    """
    tenth = len(samples) // 10
    if tenth < 2:
        return None
    sizes = [mib for _, mib in samples]
    return median(sizes[-tenth:]) - median(sizes[tenth : 2 * tenth])


def soak(job: Job) -> dict[str, Any]:
    """Stream for `job.hold_s`, react to every frame seen, and account for all."""
    NOTES.clear()
    NOTES.keep = False
    core = SeamCore(job)
    core.seam_log = log = Log(job.frames, keep=False)
    camera = {
        "channel": CHANNEL,
        "exposure_ms": job.exposure_ms,
        "frames": job.frames,
    }
    experiment = bench_experiment(job, {"stream": camera}, ask="property")
    try:
        with Sampler(max(0.05, job.hold_s / _SAMPLES)) as sampler:
            result = smartscope.run(
                experiment, rig=bench_rig(), core=core, output=job.scratch
            )
        log.marks.closed = mark()
        peak = peak_rss_mib()
        if result.outcome != "completed":
            raise BenchError(f"the run {result.outcome}: {result.message}")
        return _account(job, result.frames, result.folder, log, sampler, peak)
    finally:
        core.close()


def _account(
    job: Job,
    published: int,
    folder: RunFolder,
    log: Log,
    sampler: Sampler,
    peak: float | None,
) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    numbers: set[int] = set()
    passed_over = 0
    for entry in folder.entries():
        counts[entry["kind"]] += 1
        if entry["kind"] == "frame":
            numbers.add(entry["image_number"])
        elif entry["kind"] == "skipped":
            passed_over += int(entry.get("frames", 1))
    seen = counts["observation"]
    got = Measured(
        asked=job.frames,
        published=published,
        seen=seen,
        skipped=passed_over,
        lost=missing(numbers, job.frames),
        recorded=recorded(folder) if job.recorded else None,
        fps=log.marks.fps(job.frames),
        cpu_ms_per_frame=log.marks.cpu_ms_per_frame(job.frames),
        peak_rss_mib=peak,
        more={
            "journalled": counts["frame"],
            "unaccounted": abs(published - counts["frame"])
            + abs(published - seen - passed_over),
            "rss_growth_mib": growth_mib(sampler.until(log.marks.last)),
            "rss_mib": [[round(t, 1), round(m, 1)] for t, m in sampler.samples],
        },
    )
    return got.to_dict()
