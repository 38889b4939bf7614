"""What a run looks like from outside, for a terminal or a window to look at.

Writers are the loop's threads and never wait; a viewer takes snapshots when it likes
and can disturb nothing.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from smartscope.core import NS_PER_MS, Nothing

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from smartscope.core import Decision, Frame, Observation, Outcome

_RECENT = 12
_SAMPLES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorState:
    """One look at a run.

    Attributes
    ----------
    phase : str
        ``preparing``, ``running``, ``paused``, ``finishing`` or ``done``.
    experiment_phase : str
        Name of the experiment's phase; "" where it has none.
    t_s, planned, frames, reactions, skipped, failed
        Run time and counts so far; `planned` is None when unknown.
    interval_s : field -> interval of its fast series, only where one runs.
    events, decisions : recent ones, newest last, ready to print.
    dose, dose_fraction
        In words, and of the budget (None without a budget).
    latency_ms : stage -> (p50, p99, max)
    image : ndarray (y, x) or None
        Newest frame, and `marks`: ``(y_px, x_px, track_id)`` of what was tracked.
    """

    phase: str = "preparing"
    experiment_phase: str = ""
    t_s: float = 0.0
    planned: int | None = None
    frames: int = 0
    reactions: int = 0
    skipped: int = 0
    failed: int = 0
    interval_s: Mapping[int, float] = field(default_factory=dict)
    events: tuple[str, ...] = ()
    decisions: tuple[tuple[float, str, str], ...] = ()
    faults: tuple[str, ...] = ()
    dose: str = ""
    dose_fraction: float | None = None
    latency_ms: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    image: NDArray[np.uint16] | None = None
    marks: tuple[tuple[float, float, int], ...] = ()
    tracks: int = 0
    interlocks: tuple[str, ...] = ()


class Monitor:
    """Collects what viewers want to see. Thread-safe, bounded memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._state: dict[str, object] = {"phase": "preparing"}
        self._events: deque[str] = deque(maxlen=_RECENT)
        self._decisions: deque[tuple[float, str, str]] = deque(maxlen=_RECENT)
        self._faults: deque[str] = deque(maxlen=_RECENT)
        self._samples: dict[str, deque[float]] = {}
        self._received: dict[int, int] = {}
        self._intervals: dict[int, float] = {}
        self._frames = self._reactions = 0

    def set(self, **values: object) -> None:
        """Set fields of `MonitorState` by name."""
        with self._lock:
            self._state.update(values)

    def filming(self, position: int, interval_s: float | None) -> None:
        """Note at which interval a field is filmed as a reaction, None for not."""
        with self._lock:
            if interval_s is None:
                self._intervals.pop(position, None)
            else:
                self._intervals[position] = interval_s

    def framed(self, frame: Frame, t_s: float) -> None:
        """Count a frame that was acquired."""
        with self._lock:
            self._frames += 1
            self._reactions += frame.role == "reaction"
            self._state.update(t_s=t_s, image=frame.pixels)
            self._received[frame.frame_id] = time.perf_counter_ns()
            if len(self._received) > _SAMPLES:
                self._received.pop(next(iter(self._received)))

    def observed(self, seen: Observation, frame: Frame) -> None:
        """Note an observation: marks for the picture, onsets, time it took."""
        with self._lock:
            at = seen.detections
            marks = tuple(
                (float(at.y_px[t.detection]), float(at.x_px[t.detection]), t.track_id)
                for t in seen.tracks
                if t.detection is not None
            )
            self._state.update(marks=marks, tracks=len(marks))
            self._sample("frame to observation", frame.frame_id)
            for event in seen.events:
                if event.state == "onset":
                    self._events.append(
                        f"{seen.t_s:7.1f} s  {event.kind} (score {event.score:.2f}) "
                        f"at {event.x_um:.0f}, {event.y_um:.0f} um"
                    )

    def decided(self, decision: Decision, t_s: float) -> None:
        """Note what a policy asked for; non-events are left to the journal."""
        with self._lock:
            for request in decision.requests:
                if not isinstance(request.action, Nothing):
                    text = f"{type(request.action).__name__}: {request.action.reason}"
                    self._decisions.append((t_s, decision.policy, text))

    def told(self, t_s: float, who: str, words: str) -> None:
        """Note something that people want to know beside the decisions."""
        with self._lock:
            self._decisions.append((t_s, who, words))

    def acted(self, outcome: Outcome, frame_id: int | None) -> None:
        """Note the time from the pixels being ours to the action being done."""
        with self._lock:
            if outcome.status in ("rejected", "failed", "outbid", "expired"):
                t_s = float(str(self._state.get("t_s", 0.0)))
                words = f"{outcome.status}: {outcome.message}"
                self._decisions.append((t_s, outcome.policy, words))
            if outcome.status in ("applied", "scheduled"):
                self._sample(f"frame to {outcome.status}", frame_id)

    def fault(self, message: str) -> None:
        """Note something that went wrong."""
        with self._lock:
            self._faults.append(message)

    def latencies(self) -> dict[str, dict[str, float]]:
        """Per stage: count, p50, p95, p99 and max, in ms of wall time.

        Wall time, because a scaled or virtual run clock says nothing about speed.
        """
        with self._lock:
            samples = {stage: list(values) for stage, values in self._samples.items()}
        # Sorted outside: the thread that acquires takes the lock for every frame.
        for values in samples.values():
            values.sort()
        return {
            stage: {
                "count": len(values),
                **{f"p{q}": _percentile(values, q / 100) for q in (50, 95, 99)},
                "max": values[-1],
            }
            for stage, values in samples.items()
        }

    def snapshot(self) -> MonitorState:
        """Return the run as it looks now."""
        latency = {
            stage: (row["p50"], row["p99"], row["max"])
            for stage, row in self.latencies().items()
        }
        with self._lock:
            return MonitorState(
                **self._state,  # type: ignore[arg-type]
                interval_s=dict(self._intervals),
                frames=self._frames,
                reactions=self._reactions,
                events=tuple(self._events),
                decisions=tuple(self._decisions),
                faults=tuple(self._faults),
                latency_ms=latency,
            )

    def _sample(self, stage: str, frame_id: int | None) -> None:
        received = self._received.get(frame_id) if frame_id is not None else None
        if received is not None:
            samples = self._samples.setdefault(stage, deque(maxlen=_SAMPLES))
            samples.append((time.perf_counter_ns() - received) / NS_PER_MS)


def _percentile(ordered: list[float], fraction: float) -> float:
    return ordered[min(len(ordered) - 1, int(fraction * len(ordered)))]
