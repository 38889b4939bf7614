"""One run on devices: real ones, Micro-Manager's demo devices, or a specimen."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from useq import MDASequence

from smartscope.control import (
    Actor,
    Engine,
    Hooks,
    Inbox,
    LiveActions,
    PlanActions,
    RunState,
    Schedule,
    StreamControl,
    Streamer,
)
from smartscope.core import (
    NS_PER_S,
    Acquire,
    PolicyError,
    RecordError,
    Roi,
    SafetyError,
)
from smartscope.runs._acquisition import Acquisition, steadily
from smartscope.runs._ending import INTERRUPTED, Ending
from smartscope.runs._light import LightAccount
from smartscope.runs._loop import (
    context_of,
    controller_of,
    pipeline_of,
    policies_of,
)
from smartscope.runs._plan import layouts, survey
from smartscope.runs._preflight import (
    check_limits,
    check_presets,
    light_plan,
    presets_of,
)
from smartscope.runs._record import start_record
from smartscope.runs._result import RunResult, close_record
from smartscope.runs._truth import TruthLog
from smartscope.safety import Guard, Interlocks
from smartscope.sources import CameraSource, SpecimenSource
from smartscope.specimen import make_specimen

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping
    from pathlib import Path

    from pymmcore_plus import CMMCorePlus
    from useq import MDAEvent

    from smartscope.config import RoiConfig
    from smartscope.control import Controller, Monitor, Planned, Released
    from smartscope.core import Frame, Request
    from smartscope.record import ImageLayout, RunWriter
    from smartscope.rig import Rig
    from smartscope.runs._files import Files
    from smartscope.sources import Source
    from smartscope.specimen import Specimen

_SLOW_SOURCE_WAITS_S = 30.0
_DECIDE_WALL_S = 0.0005
_PATIENCE_S = 10.0
_KEPT_NS = 60 * NS_PER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a run was asked for, apart from its files."""

    parent: Path
    monitor: Monitor
    stop: threading.Event
    shadow: bool = False
    core: CMMCorePlus | None = None


class LiveRun:
    """Wires one run on an open rig, and runs it.

    Everything that can be refused is refused in the constructor, before a folder is
    made and before light goes on.

    Raises
    ------
    ConfigError
        If experiment and rig do not fit.
    """

    def __init__(self, files: Files, rig: Rig, options: Options) -> None:
        self._files = files
        self._rig = rig
        self._clock = rig.clock
        self._options = options
        self._monitor = options.monitor
        self._experiment = files.experiment
        self._facts = survey(files.experiment, files.rig.timing)
        self._interlocks = Interlocks()
        self._state = RunState()
        self._state.on_failure = self._halt
        self._state.interlocks = lambda: self._interlocks.active
        self._ended: Ending | None = None
        self._writer: RunWriter | None = None
        self._specimen: Specimen | None = None
        self._truth: TruthLog | None = None
        self._start_ns = self._clock.now_ns()
        self._objective = rig.objective
        self._source = self._make_source()
        check_presets(self._experiment, rig, self._facts)
        self._guard = Guard(files.rig, self._experiment)
        self._lights = light_plan(files, self._facts, self._objective)
        self._schedule = self._make_schedule()
        self._pipeline = pipeline_of(files, self._facts.channels)
        self._pixel_map = rig.pixel_map()
        self._context = context_of(
            files,
            self._facts,
            objective=self._objective,
            pixel_um=self._pixel_map.pixel_um,
        )
        self._policies = policies_of(files, self._context)
        stream = files.stream
        self._stream = StreamControl(rig, stream, self._lights) if stream else None
        # A plan in lockstep, and anything in virtual time, waits for every decision.
        self._in_step = self._clock.kind == "virtual" or (
            stream is None and self._experiment.schedule.pacing == "lockstep"
        )
        self._inbox = Inbox(latest=not self._in_step)

    # ------------------------------------------------------------------ building

    def _make_source(self) -> Source:
        config = self._files.rig.specimen
        if config is None:
            return CameraSource(self._rig)
        self._specimen = make_specimen(
            config.kind, seed=config.seed, parameters=config.parameters
        )
        self._truth = TruthLog(self._specimen, self._facts.duration_s)
        return SpecimenSource(self._rig, self._specimen)

    def _make_schedule(self) -> Schedule:
        plan, state = self._experiment.acquisition, self._rig.state(0)
        home = (state.x_um, state.y_um, state.z_um)
        check_limits(
            self._guard, self._experiment, objective=self._objective, home=home
        )
        return Schedule(
            plan if isinstance(plan, MDASequence) else (),
            clock=self._clock,
            config=self._experiment.schedule,
            home=home,
        )

    def _make_actor(self) -> Actor:
        handlers = (
            self._stream.handlers()
            if self._stream is not None
            else {
                **LiveActions(self._rig).handlers(),
                **PlanActions(self._schedule, self._lights).handlers(),
            }
        )
        return Actor(
            handlers,
            clock=self._clock,
            check=self._check_action,
            shadow=self._options.shadow,
        )

    def _make_engine(self, account: LightAccount) -> Engine:
        engine = Engine(
            self._rig,
            self._source,
            schedule=self._schedule,
            lights=self._lights,
            errors=self._experiment.errors,
            hooks=Hooks(
                publish=self._publish,
                intend=lambda *what: self._intend(account, *what),
                note=self.note,
                check=self._check_event,
                lit=lambda t_ns, position: self._charge(account, t_ns, position),
                allow_light=account.allow,
            ),
        )
        schedule, runner = self._schedule, self._rig.core.mda
        schedule.runner_phase = lambda: str(runner.status.phase)
        schedule.on_superseded = self._superseded
        schedule.request_pause = lambda: runner.set_paused(True)
        schedule.on_wait = engine.go_dark
        if self._in_step:
            schedule.wait_decided = self._wait_decided
        return engine

    # --------------------------------------------------------------------- life

    def run(self) -> RunResult:
        """Record and acquire to the end, whatever it is, and leave the light off."""
        account = LightAccount(
            self._rig,
            self._files.rig,
            self._experiment,
            lights=self._lights,
            interlocks=self._interlocks,
            monitor=self._monitor,
            note=self.note,
            end=self._end_by,
        )
        engine = self._make_engine(account)
        if self._files.stream is not None and self._files.stream.roi is not None:
            self._read_out(self._files.stream.roi)
        acquisition = Acquisition(self._rig.core, engine, lambda: self._events(engine))
        try:
            self._writer = self._start_record()
            self._actor = self._make_actor()
            controller = self._make_controller(self._writer)
        except BaseException:
            acquisition.end()
            if self._writer is not None:
                self._writer.abort()
            raise
        try:
            self._begin(controller)
            acquisition.start()
            acquisition.wait(self._look_for_stop)
            ending = self._ending(acquisition)
        except BaseException as error:
            ending = Ending.failed(error)
        return self._finish(engine, account, acquisition, controller, ending)

    def _read_out(self, roi: RoiConfig) -> None:
        region = Roi(roi.x_px, roi.y_px, roi.width_px, roi.height_px)
        self._rig.actuator.settle(self._rig.actuator.set_roi(region))
        self._pixel_map = self._rig.pixel_map()

    def _make_controller(self, writer: RunWriter) -> Controller:
        return controller_of(
            self._files,
            pipeline=self._pipeline,
            policies=self._policies,
            actor=self._actor,
            records=writer,
            clock=self._clock,
            state=self._state,
            monitor=self._monitor,
        )

    def _begin(self, controller: Controller) -> None:
        self._pipeline.warm_up(self._source.geometry()[0])
        start = self._start_ns = self._clock.now_ns()
        self.note("start", {"start_ns": start})
        self._schedule.start(start)
        if self._specimen is not None:
            self._specimen.start(start)
        self._monitor.set(phase="running", planned=self._facts.frames)
        controller.start(start, self._inbox)

    def _look_for_stop(self) -> None:
        if self._options.stop.is_set() and self._ended is None:
            self._ended = Ending("stopped", "stopped by a person", INTERRUPTED)
            self._halt()

    def _start_record(self) -> RunWriter:
        shape, dtype = self._source.geometry()
        camera = self._rig.core.getCameraDevice()
        pixel_um = self._pixel_map.pixel_um
        planned: tuple[ImageLayout, ...] = ()
        if self._stream is None:
            planned = layouts(
                self._facts,
                shape_yx=shape,
                dtype=dtype,
                pixel_um=pixel_um,
                camera=camera,
            )
        self._writer = writer = start_record(
            self._files,
            parent=self._options.parent,
            layouts=planned,
            clock=self._clock,
            context=self._context,
            policies=self._policies,
            channels=self._facts.channels,
            pixel_map=self._pixel_map,
            shadow=self._options.shadow,
        )
        role = "stream" if self._stream is not None else "reaction"
        writer.open_growing(role, camera, shape, dtype, pixel_um=pixel_um)
        return writer

    def _ending(self, acquisition: Acquisition) -> Ending:
        if self._state.failure is not None:
            return Ending.failed(self._state.failure)
        if acquisition.failure is not None:
            return Ending.failed(acquisition.failure)
        if self._ended is not None:
            return self._ended
        if acquisition.cancelled:
            return Ending("cancelled", "cancelled through pymmcore-plus", INTERRUPTED)
        by_policy = self._schedule.stopped or (
            self._stream is not None and self._stream.ended_by_policy
        )
        if by_policy:
            return Ending("stopped", "a policy ended the run", 0)
        return Ending("completed", "the plan is done", 0)

    def _events(self, engine: Engine) -> Any:
        if self._stream is None or self._files.stream is None:
            return self._experiment.acquisition
        engine.streamer = Streamer(
            self._rig,
            self._source,
            self._files.stream,
            control=self._stream,
            hooks=engine.hooks,
            frame=engine.frame,
        )
        roles = self._files.rig.roles
        group = self._files.stream.group or (roles.channel_group if roles else None)
        event = engine.streamer.event(group or "Channel")
        self._schedule.only(event)
        return [event]

    def _finish(
        self,
        engine: Engine,
        account: LightAccount,
        acquisition: Acquisition,
        controller: Controller,
        ending: Ending,
    ) -> RunResult:
        """Light first, then everything else; once more when nobody can act any more."""
        self._actor.close()
        steadily(self._rig.apply_safe_state)
        steadily(self._halt)
        steadily(acquisition.end)
        steadily(self._inbox.close)
        came_back = steadily(lambda: controller.join(_PATIENCE_S))
        ending = ending.with_light(steadily(self._rig.apply_safe_state))
        if not came_back and self._ended is None and self._state.failure is None:
            self._state.fail(
                PolicyError(
                    "a policy or vision stage did not come back for "
                    f"{_PATIENCE_S:g} s and was left behind; does it loop for ever?"
                )
            )
        if self._state.failure is not None and ending.outcome != "failed":
            ending = Ending.failed(self._state.failure)
        return steadily(lambda: self._close(engine, account, ending))

    def _close(
        self, engine: Engine, account: LightAccount, ending: Ending
    ) -> RunResult:
        writer = self._writer
        if writer is None:
            raise RuntimeError("a run without a record cannot finish")
        account.ledger.advance(self._clock.now_ns())
        if self._truth is not None:
            try:
                for name, columns in self._truth.tables().items():
                    writer.write_table(name, columns)
            except RecordError as error:
                ending = ending.after(error)
        summary = {
            "planned": self._facts.frames,
            "failed": engine.failed,
            "skipped": self._inbox.skipped,
            "superseded": self._schedule.superseded,
            "dropped_groups": self._pipeline.dropped_groups,
            "duration_s": (self._clock.now_ns() - self._start_ns) / NS_PER_S,
            "dose": account.ledger.summary(),
        }
        return close_record(writer, ending, self._monitor, summary)

    # -------------------------------------------------------------------- hooks

    def note(self, kind: str, data: Mapping[str, Any]) -> None:
        """Write a journal entry."""
        if kind == "pause":
            self._monitor.set(phase="paused" if data["paused"] else "running")
        if self._writer is not None:
            self._writer.note(kind, data)

    def _publish(self, frame: Frame) -> None:
        if self._writer is None:
            raise RuntimeError("a frame came before the record was open")
        # A camera cannot wait for the disk; a simulated one can.
        waits = 0.0 if self._specimen is None else _SLOW_SOURCE_WAITS_S
        self._writer.frame(frame, wait_s=waits)
        for change in self._rig.take_external():
            self.note("external", {"change": change.resource, "now": change.now})
        if self._truth is not None:
            self._truth.sample(frame.t_received_ns)
        position = frame.view.position
        self._monitor.filming(position, self._schedule.interval_s(position))
        self._monitor.framed(frame, (frame.t_exposed_ns - self._start_ns) / NS_PER_S)
        for replaced in self._inbox.put(frame):
            self.note("skipped", {"frame_id": replaced.frame_id, "by": "vision"})
        self._monitor.set(skipped=self._inbox.skipped)
        if self._clock.kind == "virtual":
            # Else what a policy sees of the clock would depend on how busy we are.
            self._wait_decided()

    def _intend(
        self,
        account: LightAccount,
        released: Released,
        powers: Mapping[str, float],
        exposure_ms: float,
    ) -> None:
        if self._writer is None:
            raise RuntimeError("an exposure was planned before the record was open")
        frames = max(1, len(released.steps))
        if self._stream is not None:
            frames = self._facts.frames
        dose = account.planned(powers, exposure_ms, frames)
        self._writer.note(
            "intent",
            {
                "index": dict(released.event.index),
                "role": released.planned.role,
                "cause": released.planned.cause,
                "position": released.planned.position,
                "frames": frames,
                "exposure_ms": exposure_ms,
                "power_percent": dict(powers),
                "dose": dose.to_dict(),
                "due_s": released.due_s,
                "late_s": released.late_s,
            },
            flush=True,
        )

    def _charge(self, account: LightAccount, t_ns: int, position: int) -> None:
        account.charge(t_ns, position)
        needed = account.ledger.charged_ns
        if self._specimen is not None:
            needed = min(needed, self._specimen.needs_history_from_ns)
        # A frame of a stream is dated back, so some of what is charged is kept.
        self._rig.history.forget_before(needed - _KEPT_NS)

    def _check_event(self, event: MDAEvent, powers: Mapping[str, float]) -> None:
        self._guard.check_event(event, powers=powers, objective=self._rig.objective)

    def _check_action(self, request: Request) -> str | None:
        action = request.action
        if isinstance(action, Acquire) and action.channel is not None:
            if action.channel not in presets_of(self._rig, self._facts, action.channel):
                return f"this microscope has no channel preset '{action.channel}'"
        now = self._clock.now_ns()
        position = request.view.position
        return self._guard.check_action(
            request,
            state=self._rig.state(now),
            planned=self._schedule.base(position),
            offset=self._schedule.offset(position),
            powers=self._lights.highest(),
            sensor_px=self._rig.sensor_shape,
            t_ns=now,
        )

    def _superseded(self, planned: Planned, late_s: float) -> None:
        index = dict(planned.event.index)
        self.note("superseded", {"index": index, "late_s": late_s})

    # ---------------------------------------------------------------------- end

    def _halt(self) -> None:
        self._schedule.stop()
        if self._stream is not None:
            self._stream.stop()

    def _end_by(self, error: SafetyError) -> None:
        if self._ended is None:
            self._ended = Ending("stopped", str(error), error.exit_code)
        self._halt()

    def _wait_decided(self) -> None:
        """Wait for the decision on the last frame; called between planned events."""
        config = self._experiment.schedule
        deadline = time.perf_counter() + config.decision_deadline_s
        while not self._inbox.idle and self._state.failure is None:
            if time.perf_counter() > deadline:
                self._deadline_passed()
                return
            time.sleep(_DECIDE_WALL_S)

    def _deadline_passed(self) -> None:
        config = self._experiment.schedule
        text = f"no decision within {config.decision_deadline_s:g} s"
        self.note("deadline", {"message": text, "then": config.on_deadline})
        self._monitor.fault(text)
        if config.on_deadline == "stop":
            self._state.fail(
                PolicyError(
                    f"{text}; make vision and policies faster, raise "
                    "schedule.decision_deadline_s, or set schedule.on_deadline to go_on"
                )
            )
