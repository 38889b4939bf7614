"""What one run gave: times paired by frame, counts, CPU and memory."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smartscope.bench._stats import summarise

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MS = 1e6


@dataclass(slots=True, kw_only=True)
class Measured:
    """One run of one peer. None is not measured, or means nothing here.

    Attributes
    ----------
    asked, published, seen, skipped, lost, recorded : int or None
        Frames asked of the camera, handed to the program, analysed, passed over on
        purpose and counted so, missing without being passed over, written.
    latency_ms, analysis_ms : dict
        ``min``, ``median``, ``p95``, ``p99``, ``max``, ``n``; empty if there is none.
    fps : float or None
        Frames taken out of the camera per second, first to last frame.
    cpu_ms_per_frame : float or None
        Of this process and its children, first to last frame.
    peak_rss_mib : float or None
        Highest resident memory of the process.
    written_mb_s, close_s, cpu_ms_per_frame_closed : float or None
        Rate from the first frame until everything is written and closed; how long
        that takes after the last frame; CPU per frame over all of it.
    more : dict
        Numbers that only this work has.
    """

    asked: int | None = None
    published: int | None = None
    seen: int | None = None
    skipped: int | None = None
    lost: int | None = None
    recorded: int | None = None
    latency_ms: dict[str, float] = field(default_factory=dict)
    analysis_ms: dict[str, float] = field(default_factory=dict)
    fps: float | None = None
    cpu_ms_per_frame: float | None = None
    peak_rss_mib: float | None = None
    written_mb_s: float | None = None
    close_s: float | None = None
    cpu_ms_per_frame_closed: float | None = None
    more: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


class WallClock:
    """Turns the core's wall-clock text into times of `time.perf_counter_ns`."""

    def __init__(self) -> None:
        # The narrowest of some readings: a thread switch between the two would shift
        # every latency of the run.
        readings = []
        for _ in range(20):
            before = time.perf_counter_ns()
            wall = time.time_ns()
            after = time.perf_counter_ns()
            readings.append((after - before, wall - (before + after) // 2))
        self._offset_ns = min(readings)[1]

    def to_perf_ns(self, text: str) -> int:
        """Time of `text`, as ``2026-01-31 12:00:00.123456`` in local time."""
        whole = datetime.fromisoformat(text)
        micro = whole.microsecond
        seconds = int(whole.replace(microsecond=0).timestamp())
        return seconds * 1_000_000_000 + micro * 1000 - self._offset_ns


@dataclass(slots=True)
class Marks:
    """CPU and wall time at the first and last frame, and when all was closed."""

    first: tuple[int, float] | None = None
    last: tuple[int, float] | None = None
    closed: tuple[int, float] | None = None

    def cpu_ms_per_frame(self, frames: int) -> float | None:
        """CPU from first to last frame, per frame; None below two frames."""
        if self.first is None or self.last is None or frames < 2:
            return None
        return (self.last[1] - self.first[1]) * 1000 / (frames - 1)

    def fps(self, frames: int) -> float | None:
        """Frames per second from first to last frame; None below two frames."""
        if self.first is None or self.last is None or frames < 2:
            return None
        return (frames - 1) * 1e9 / (self.last[0] - self.first[0])

    def written(self, frames: int, frame_bytes: int) -> dict[str, float | None]:
        """The fields of `Measured` about writing; empty before the last mark."""
        if self.first is None or self.last is None or self.closed is None:
            return {}
        seconds = (self.closed[0] - self.first[0]) / 1e9
        return {
            "written_mb_s": frames * frame_bytes / 1e6 / seconds,
            "close_s": (self.closed[0] - self.last[0]) / 1e9,
            "cpu_ms_per_frame_closed": (self.closed[1] - self.first[1]) * 1000 / frames,
        }


def mark() -> tuple[int, float]:
    """Now, and CPU seconds used by this process and its ended children."""
    times = os.times()
    children = times.children_user + times.children_system
    return time.perf_counter_ns(), time.process_time() + children


def latencies_ms(
    began_ns: Mapping[int, int],
    done_ns: Mapping[int, int],
    minus_ns: Mapping[int, int] | None = None,
) -> dict[str, float]:
    """Summary of ``done - began``, less `minus_ns`, of every frame that has both.

    The keys are frames: a time is never paired with that of another frame.
    """
    return summarise(
        (done_ns[k] - began_ns[k] - (minus_ns[k] if minus_ns is not None else 0)) / MS
        for k in done_ns
        if k in began_ns
    )


def missing(numbers: Iterable[int], asked: int) -> int:
    """Frames of 0..asked-1 that are not among `numbers`."""
    return asked - len(set(numbers) & set(range(asked)))


def peak_rss_mib() -> float | None:
    """Highest resident memory of this process so far, MiB; None where unknown."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not `ru_maxrss`: that of a child begins at what its parent had.
        return _status_mib(status, "VmHWM")
    if sys.platform == "win32":
        return None
    import resource

    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(size) / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def rss_mib() -> float | None:
    """Resident memory of this process now, MiB; None where unknown."""
    status = Path("/proc/self/status")
    return _status_mib(status, "VmRSS") if status.exists() else None


def _status_mib(status: Path, key: str) -> float | None:
    for line in status.read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) / 1024
    return None
