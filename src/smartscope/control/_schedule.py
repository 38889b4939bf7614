"""The iterator that feeds the engine: due times, reactions, pause, stop, cancel.

The baseline keeps its own due times and count. Reactions come in two forms: *bursts*
go before everything that is due, and a *series* films a field at an interval of its
own until it is withdrawn. When a baseline frame of the same field is taken, the
series counts its interval from there, so that no field is lit twice for one sight.
A group whose decision came too late can be taken once more, before all else.
"""

from __future__ import annotations

import heapq
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from useq import AcquireImage, MDAEvent

from smartscope.control._amendments import Amendments, Offset, Position
from smartscope.control._planned import (
    Fields,
    Planned,
    Released,
    burst_of,
    copies,
    plus,
    read_baseline,
    template_of,
)
from smartscope.core import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from smartscope.config import ScheduleConfig
    from smartscope.core import Clock, Roi

_POLL_WALL_S = 0.02
_MOST_REPEATS = 2
_REPEATED = "deadline"


@dataclass(slots=True)
class _Series:
    interval_ns: int
    cause: str
    next_ns: int


class Schedule:
    """Iterator of `MDAEvent` for one plan. Methods are thread-safe.

    Parameters
    ----------
    events : iterable of MDAEvent
        The baseline, usually a `useq.MDASequence`.
    clock : Clock
    config : ScheduleConfig
    home : (x_um, y_um, z_um), each may be None
        Where the rig stands at the start: the base of offsets of events that name
        no position.
    """

    def __init__(
        self,
        events: Iterable[MDAEvent],
        *,
        clock: Clock,
        config: ScheduleConfig,
        home: tuple[float | None, float | None, float | None],
    ) -> None:
        self.fields = Fields()
        self.released: Released | None = None
        self._clock = clock
        self._config = config
        self._amend = Amendments(home)
        self._baseline = read_baseline(events, self.fields)
        self._head = next(self._baseline, None)
        self._following: Planned | None = None
        self._start_ns = self._timer_ns = clock.now_ns()
        self._bursts: list[tuple[int, int, int, tuple[Planned, ...]]] = []
        self._series: dict[int, _Series] = {}
        self._queue: list[Planned] = []
        self._last_group: dict[int, list[Planned]] = {}
        self._repeats = 0
        self._pushed = 0
        self._after_burst = False
        self._reactions = 0
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._stopping = False
        self._superseding: tuple[str | int, ...] | None = None
        self.superseded = 0
        # Set by whoever runs the schedule.
        self.wait_decided: Callable[[], None] = _nothing
        self.runner_phase: Callable[[], str] = lambda: "waiting"
        self.on_superseded: Callable[[Planned, float], None] = lambda planned, late: (
            None
        )
        self.request_pause: Callable[[], None] = _nothing
        self.on_wait: Callable[[], None] = _nothing
        self.on_pause: Callable[[bool], None] = lambda paused: None
        self.merge: Callable[[list[MDAEvent]], MDAEvent | None] = lambda events: None

    # ---------------------------------------------------------------- reactions

    def start(self, t_ns: int) -> None:
        """Set the zero of all due times."""
        with self._lock:
            self._start_ns = self._timer_ns = t_ns

    def set_interval(self, position: int, interval_s: float | None, cause: str) -> None:
        """Film `position` every `interval_s` from its last frame on; None ends it."""
        with self._lock:
            if interval_s is None:
                self._series.pop(position, None)
                self._queue = [
                    planned
                    for planned in self._queue
                    if planned.position != position or planned.group[0] != "series"
                ]
            else:
                step = int(interval_s * NS_PER_S)
                self._series[position] = _Series(
                    step, cause, self._clock.now_ns() + step
                )
        self._wake.set()

    def interval_s(self, position: int) -> float | None:
        """Interval of the series that films this field now, or None."""
        with self._lock:
            series = self._series.get(position)
            return series.interval_ns / NS_PER_S if series else None

    def insert_burst(
        self,
        position: int,
        *,
        frames: int,
        interval_s: float,
        channel: str | None,
        exposure_ms: float | None,
        z_offsets_um: tuple[float, ...],
        cause: str,
        priority: int,
        place_um: Position = (None, None, None),
    ) -> int:
        """Take a burst before the baseline goes on; returns how many frames.

        `place_um` is (x, y, z) of a burst that is taken elsewhere; None is as planned.

        Raises
        ------
        LookupError
            If nothing was acquired at `position` yet, so nothing says how.
        """
        with self._lock:
            template = template_of(self._acquired(position), channel)
            elsewhere = self._amend.elsewhere(position, template.event, place_um)
            self._amend.explicit_z |= bool(z_offsets_um)
            focus_um = self._amend.base(2, elsewhere.get("z_pos", template.event.z_pos))
            points = burst_of(
                template,
                cause,
                number=self._reactions + 1,
                frames=frames,
                channel=channel,
                exposure_ms=exposure_ms,
                heights_um=tuple(plus(focus_um, dz_um) for dz_um in z_offsets_um),
                place_um=elsewhere,
            )
            self._reactions += len(points)
            now = self._clock.now_ns()
            if interval_s == 0:
                self._push(now, priority, points)
            else:
                step_ns, planes = int(interval_s * NS_PER_S), len(points) // frames
                for k in range(frames):
                    point = points[k * planes : (k + 1) * planes]
                    self._push(now + k * step_ns, priority, point)
        self._wake.set()
        return len(points)

    def shift(self, position: int, dx_um: float, dy_um: float, dz_um: float) -> Offset:
        """Amend the offset of a field; returns the new one."""
        with self._lock:
            return self._amend.shift(position, dx_um, dy_um, dz_um)

    def offset(self, position: int) -> Offset:
        """Offset added to every planned position of a field, um."""
        with self._lock:
            return self._amend.offset(position)

    def base(self, position: int) -> tuple[float | None, float | None, float | None]:
        """Planned place of a field without its offset, um; home where none is named."""
        with self._lock:
            group = self._last_group.get(position)
            event = template_of(group, None).event if group else None
            base = self._amend.base
            return (
                base(0, event.x_pos if event else None),
                base(1, event.y_pos if event else None),
                base(2, event.z_pos if event else None),
            )

    def set_exposure(self, channel: str | None, exposure_ms: float) -> None:
        """Use this exposure from now on in `channel` (None: in every one)."""
        with self._lock:
            self._amend.set_exposure(channel, exposure_ms)

    def set_roi(self, roi: Roi | None) -> None:
        """Read out this region from the next event on; None is the full chip."""
        with self._lock:
            self._amend.roi = roi or "full"

    @property
    def roi(self) -> Roi | Literal["full"] | None:
        """Region asked for by a reaction: a `Roi`, ``full``, or None (as planned)."""
        return self._amend.roi

    @property
    def in_group(self) -> bool:
        """Whether frames of the group that was begun last are still to come."""
        released = self.released
        if released is None:
            return False
        return not (released.steps or (released.planned,))[-1].last_of_group

    def repeat(self) -> bool:
        """Take the planned group that was released last again, before all else.

        Returns
        -------
        bool
            False where nothing is repeated: in the midst of a group, after a reaction
            or an event that takes no image, and after two repeats in a row.
        """
        with self._lock:
            last = self.released.planned if self.released is not None else None
            if last is None or not last.last_of_group:
                return False
            group = self._last_group.get(last.position)
            if last.cause != _REPEATED:
                self._repeats = 0
                if group is None or group[-1] is not last:
                    return False
            if group is None or self._repeats >= _MOST_REPEATS:
                return False
            self._repeats += 1
            again = self._copies(group, _REPEATED, _REPEATED)
            self._queue = [*again, *self._queue]
            self._postpone_series(last.position, self._clock.now_ns())
            return True

    # -------------------------------------------------------------- run control

    def stop(self) -> None:
        """End after the present event, in order."""
        self._stopping = True
        self._wake.set()

    def pause(self) -> None:
        """Hold back events until somebody resumes the runner; due times move along."""
        self.request_pause()
        self._wake.set()

    # ----------------------------------------------------------------- iterator

    def only(self, event: MDAEvent) -> None:
        """Release this one event and nothing else: a whole stream."""
        with self._lock:
            self._baseline, self._following = iter(()), None
            self._head = Planned(event=event, role="stream")

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopping

    def __iter__(self) -> Schedule:
        return self

    def __next__(self) -> MDAEvent:
        if self._following is None:
            # Read while the decision is made, not between it and the next exposure.
            self._following = next(self._baseline, None)
        while True:
            self.wait_decided()
            phase = self.runner_phase()
            if phase == "finishing":
                # The runner was cancelled from outside. Ending the iteration would
                # make it report "completed"; one more event lets it see the cancel.
                return MDAEvent()
            if self._stopping:
                raise StopIteration
            if phase == "paused" and self._head is not None:
                self._sit_out_pause()
                continue
            self._wake.clear()
            with self._lock:
                released = self._pick(self._clock.now_ns())
            if isinstance(released, Released):
                self.released = released
                return released.event
            if released is None:
                raise StopIteration
            self.on_wait()
            self._wait(released)

    def _sit_out_pause(self) -> None:
        began = self._clock.now_ns()
        self.on_pause(True)
        while self.runner_phase() == "paused" and not self._stopping:
            time.sleep(_POLL_WALL_S)
        with self._lock:
            lost = self._clock.now_ns() - began
            self._timer_ns += lost
            for series in self._series.values():
                series.next_ns += lost
            self._bursts = [
                (due + lost, priority, n, points)
                for due, priority, n, points in self._bursts
            ]
        self.on_pause(False)

    def _wait(self, until_ns: int) -> None:
        speed = getattr(self._clock, "speed", 1.0)
        if self._clock.kind != "virtual":
            # In steps, because a cancel from outside wakes nobody.
            step = int(_POLL_WALL_S * speed * NS_PER_S)
            until_ns = min(until_ns, self._clock.now_ns() + step)
        self._clock.wait_until(until_ns, self._wake)

    def _pick(self, now: int) -> Released | int | None:
        """What is due now, else the time to wait until, else None at the end."""
        self._drop_superseded(now)
        if self._queue:
            return self._release(self._queue.pop(0), now, now)
        head_ns = self._head_due_ns(now)
        if self._bursts and self._bursts[0][0] <= now:
            due, _, _, points = self._bursts[0]
            if not self._baseline_first(head_ns, due):
                heapq.heappop(self._bursts)
                self._after_burst = True
                return self._release_burst(points, now, due)
            return self._release_head(now, head_ns)
        if self._head is None and not self._bursts:
            return None
        position, series_ns = self._next_series()
        if self._head is not None and self._head_ready(now, head_ns, series_ns):
            return self._release_head(now, head_ns)
        if series_ns is not None and series_ns <= now:
            self._queue = self._series_group(position, now)
            return self._release(self._queue.pop(0), now, series_ns)
        waits = [t for t in (head_ns, series_ns) if t is not None]
        if self._bursts:
            waits.append(self._bursts[0][0])
        return min(waits)

    def _baseline_first(self, head_ns: int | None, burst_ns: int) -> bool:
        """Whether a baseline event goes before a burst: bursts must not starve it."""
        if self._head is None:
            return False
        if head_ns is None:
            return self._after_burst
        return head_ns <= burst_ns

    def _head_ready(self, now: int, head_ns: int | None, series_ns: int | None) -> bool:
        if head_ns is None:
            # An undated baseline takes what time the series leaves.
            return series_ns is None or series_ns > now
        return head_ns <= now and (series_ns is None or head_ns <= series_ns)

    def _head_due_ns(self, now: int) -> int | None:
        if self._head is None or self._head.due_s is None:
            return None
        if self._head.event.reset_event_timer:
            # Its zero is its own release, so it is due as soon as its turn comes.
            return now
        return self._timer_ns + int(self._head.due_s * NS_PER_S)

    def _next_series(self) -> tuple[int, int | None]:
        if not self._series or self._head is None:
            return -1, None
        position = min(self._series, key=lambda p: (self._series[p].next_ns, p))
        return position, self._series[position].next_ns

    def _acquired(self, position: int) -> list[Planned]:
        group = self._last_group.get(position)
        if not group:
            raise LookupError(f"nothing was acquired at field {position} yet")
        return group

    def _series_group(self, position: int, now: int) -> list[Planned]:
        series = self._series[position]
        series.next_ns = max(series.next_ns + series.interval_ns, now)
        return self._copies(self._last_group[position], "series", series.cause)

    def _copies(self, group: list[Planned], kind: str, cause: str) -> list[Planned]:
        self._reactions += 1
        return copies(group, kind, self._reactions, cause)

    def _postpone_series(self, position: int, now: int) -> None:
        if self._series and (series := self._series.get(position)):
            series.next_ns = now + series.interval_ns

    def _release_head(self, now: int, head_ns: int | None) -> Released:
        planned = self._head
        if planned is None:
            raise RuntimeError("the baseline is exhausted")
        if planned.event.reset_event_timer:
            self._timer_ns = now
        self._advance_head()
        self._after_burst = False
        if isinstance(planned.event.action, AcquireImage | None):
            last = self._last_group.get(planned.position)
            if last is None or last[0].group != planned.group:
                self._last_group[planned.position] = [planned]
            else:
                last.append(planned)
        self._postpone_series(planned.position, now)
        return self._release(planned, now, head_ns)

    def _advance_head(self) -> None:
        self._head = self._following or next(self._baseline, None)
        self._following = None

    def _drop_superseded(self, now: int) -> None:
        if self._config.late != "supersede":
            return
        late_ns = int(self._config.late_after_s * NS_PER_S)
        while self._head is not None:
            begun = self._last_group.get(self._head.position)
            if begun and begun[0].group == self._head.group:
                return  # a group once begun is finished
            due = self._head_due_ns(now)
            dropping = self._superseding == self._head.group
            if not dropping and (due is None or now - due <= late_ns):
                return
            self._superseding = self._head.group
            self.superseded += 1
            self.on_superseded(self._head, (now - (due or now)) / NS_PER_S)
            self._advance_head()

    def _release_burst(
        self, points: tuple[Planned, ...], now: int, due_ns: int
    ) -> Released:
        """Release a burst as one hardware-timed sequence, or else frame by frame."""
        if len(points) > 1:
            steps = tuple(replace(p, event=self._amend.apply(p)) for p in points)
            merged = self.merge([step.event for step in steps])
            if merged is not None:
                return self._released(steps[0], merged, now, due_ns, steps)
            self._queue = [*points[1:], *self._queue]
        return self._release(points[0], now, due_ns)

    def _release(self, planned: Planned, now: int, due_ns: int | None) -> Released:
        return self._released(planned, self._amend.apply(planned), now, due_ns, ())

    def _released(
        self,
        planned: Planned,
        event: MDAEvent,
        now: int,
        due_ns: int | None,
        steps: tuple[Planned, ...],
    ) -> Released:
        due = now if due_ns is None else due_ns
        return Released(
            planned,
            event,
            steps,
            None if due_ns is None else (due - self._start_ns) / NS_PER_S,
            max(0.0, (now - due) / NS_PER_S),
        )

    def _push(self, due: int, priority: int, points: tuple[Planned, ...]) -> None:
        # The running number keeps the order of equals and spares comparing events.
        self._pushed += 1
        heapq.heappush(self._bursts, (due, -priority, self._pushed, points))


def _nothing() -> None:
    """Stands where nobody asked to be told."""
