"""One run on recorded pixels: the whole loop, no devices."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from smartscope.config import resolve
from smartscope.control import Actor, RunState, outcome_of
from smartscope.core import (
    NS_PER_S,
    ConfigError,
    MoveStage,
    Pause,
    PixelMap,
    ShiftPosition,
    Stop,
    make_clock,
)
from smartscope.record import ImageLayout
from smartscope.runs._ending import INTERRUPTED, Ending
from smartscope.runs._loop import context_of, controller_of, pipeline_of, policies_of
from smartscope.runs._models import warm_up
from smartscope.runs._plan import survey
from smartscope.runs._record import start_record
from smartscope.runs._reload import Reloads
from smartscope.runs._result import RunResult, close_record
from smartscope.runs._unfamiliar import FamiliarityWatch
from smartscope.safety import Guard, Interlocks
from smartscope.sources import Mosaic, RecordedFrames, recorded_frames

if TYPE_CHECKING:
    from smartscope.control import Controller
    from smartscope.core import HardwareState, Outcome, Request
    from smartscope.record import RunWriter
    from smartscope.runs._files import Files
    from smartscope.runs._live import Options

_SLOW_SOURCE_WAITS_S = 30.0


def open_recorded(files: Files, channel: str) -> RecordedFrames:
    """Open the recording of a rig file; raises `ConfigError` with its line."""
    config = files.rig.recording
    if config is None:
        raise ConfigError("the rig has no recording", field="recording")
    try:
        return recorded_frames(
            config, resolve(files.rig.source_file, config.path), channel
        )
    except ConfigError as error:
        raise files.rig.located(error) from error


class RecordedRun:
    """Plays a recording through vision and policies; a mosaic can be moved in.

    The clock is virtual unless the rig says otherwise: as fast as vision allows. Every
    frame is seen and decided before the next one comes, so nothing is skipped.

    Raises
    ------
    ConfigError
        If the recording is none, or does not fit the experiment.
    """

    def __init__(self, files: Files, options: Options) -> None:
        config = files.rig.recording
        if config is None:
            raise ConfigError("the rig has no recording", field="recording")
        self._files = files
        self._options = options
        self._monitor = options.monitor
        self._facts = survey(files.experiment, files.rig.timing)
        # The rig file's default, real time, would make everybody wait for nothing.
        kind = "virtual" if files.rig.clock.kind == "real" else files.rig.clock.kind
        self._clock = make_clock(kind, files.rig.clock.speed)
        self._channel = (self._facts.channels or (config.channel_name,))[0]
        self._source = open_recorded(files, self._channel)
        self._state = RunState()
        self._interlocks = Interlocks()
        self._state.interlocks = lambda: self._interlocks.active
        self._state.on_over = self._end_by
        self._reloads: Reloads | None = None
        self._stop: str = ""
        self._now: HardwareState | None = None
        try:
            self._fit(files)
        except BaseException:
            self._source.close()
            raise

    def _fit(self, files: Files) -> None:
        self._guard = Guard(files.rig, files.experiment)
        channels = self._facts.channels or (self._channel,)
        self._facts.channels = channels
        self._pipeline = pipeline_of(files, channels)
        self._context = context_of(files, self._facts, pixel_um=self._source.pixel_um)
        self._policies = policies_of(files, self._context, self._facts)

    def run(self) -> RunResult:
        """Play the recording to its end."""
        writer = self._start_record()
        controller = controller_of(
            self._files,
            pipeline=self._pipeline,
            policies=self._policies,
            actor=Actor(
                self._handlers(),
                clock=self._clock,
                check=self._check,
                shadow=self._options.shadow,
                without="replay",
            ),
            records=writer,
            clock=self._clock,
            state=self._state,
            monitor=self._monitor,
        )
        start = self._clock.now_ns()
        try:
            um = self._source.pixel_um
            warm_up(
                self._pipeline,
                self._source.shape,
                writer.note,
                self._monitor,
                pixel_map=PixelMap(((um, 0.0), (0.0, um)), (0.0, 0.0)),
            )
            self._state.unfamiliar = FamiliarityWatch(
                self._interlocks,
                self._monitor,
                note=writer.note,
                pause=self._end_by,
                end=self._end_by,
            )
            self._monitor.set(phase="running", planned=self._source.count)
            writer.note("start", {"start_ns": start})
            self._watch_files(writer)
            controller.start(start)
            ending = self._play(controller, writer, start)
        except BaseException as error:
            ending = Ending.failed(error)
        if self._reloads is not None:
            self._reloads.close()
        summary: dict[str, Any] = {
            "planned": self._source.count,
            "failed": 0,
            "skipped": 0,
            "superseded": 0,
            "duration_s": (self._clock.now_ns() - start) / NS_PER_S,
            "dose": {},
        }
        return close_record(writer, ending, self._monitor, summary)

    def _watch_files(self, writer: RunWriter) -> None:
        if self._options.reload and self._files.experiment.reload:
            monitor = self._monitor
            self._reloads = Reloads(self._files, self._policies, writer.note, monitor)
            self._state.reloads = self._reloads.take
            self._reloads.start()

    def close(self) -> None:
        """Close the recording."""
        self._source.close()

    def _start_record(self) -> RunWriter:
        source, layouts = self._source, []
        if source.sizes is not None:
            layouts.append(
                ImageLayout(
                    name="recording",
                    sizes=source.sizes,
                    shape_yx=source.shape,
                    dtype=source.dtype,
                    channels=(self._channel,),
                    pixel_um=source.pixel_um,
                )
            )
        return start_record(
            self._files,
            parent=self._options.parent,
            layouts=layouts,
            clock=self._clock,
            context=self._context,
            policies=self._policies,
            channels=self._facts.channels,
            shadow=self._options.shadow,
            fields=self._facts.names,
        )

    def _play(self, controller: Controller, writer: RunWriter, start: int) -> Ending:
        for frame in self._source.frames(start):
            while not self._clock.wait_until(frame.t_exposed_ns, self._options.stop):
                if self._options.stop.is_set():
                    break
            if self._options.stop.is_set():
                return Ending("stopped", "stopped by a person", INTERRUPTED)
            now = max(frame.t_received_ns, self._clock.now_ns())
            frame = replace(frame, t_published_ns=now)
            self._now = frame.state
            writer.frame(frame, wait_s=_SLOW_SOURCE_WAITS_S)
            self._monitor.framed(frame, (frame.t_exposed_ns - start) / NS_PER_S)
            controller.handle(frame)
            if self._state.failure is not None:
                return Ending.failed(self._state.failure)
            if self._stop:
                return Ending("stopped", self._stop, 0)
            # Other threads (a terminal, a window) get their turn in a fast replay.
            time.sleep(0)
        return Ending("completed", "the recording is over", 0)

    def _check(self, request: Request) -> str | None:
        state = self._now
        if state is None:
            return "nothing was seen yet"
        return self._guard.check_action(
            request, state=state, planned=(state.x_um, state.y_um, state.z_um)
        )

    # ------------------------------------------------------------------ actions

    def _handlers(self) -> dict[Any, Any]:
        handlers: dict[Any, Any] = {Stop: self._end, Pause: self._end}
        if isinstance(self._source, Mosaic):
            handlers |= {MoveStage: self._move, ShiftPosition: self._shift}
        return handlers

    def _end_by(self, reason: object) -> None:
        self._stop = str(reason)

    def _end(self, request: Request, action: Stop | Pause) -> Outcome:
        self._stop = f"policy {request.policy} ended the run: {action.reason}"
        return outcome_of(request, "scheduled")

    def _move(self, request: Request, action: MoveStage) -> Outcome:
        return self._moved(request, action.x_um, action.y_um)

    def _shift(self, request: Request, action: ShiftPosition) -> Outcome:
        if action.dz_um:
            return outcome_of(request, "rejected", "a mosaic has no focus")
        x_um, y_um = self._mosaic().stage_um
        return self._moved(request, x_um + action.dx_um, y_um + action.dy_um)

    def _moved(self, request: Request, x_um: float, y_um: float) -> Outcome:
        x_um, y_um = self._mosaic().move_to(x_um, y_um)
        return replace(
            outcome_of(request, "applied"), readback={"x_um": x_um, "y_um": y_um}
        )

    def _mosaic(self) -> Mosaic:
        if not isinstance(self._source, Mosaic):
            raise TypeError("only a mosaic has a stage")
        return self._source
