"""One run on devices: real ones, Micro-Manager's demo devices, or a specimen."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from useq import MDASequence

from smartscope.control import (
    LATEST,
    Appetite,
    Engine,
    Hooks,
    RunState,
    Schedule,
    Streamer,
    Subscription,
)
from smartscope.core import NS_PER_S, PolicyError, RecordError, Roi
from smartscope.runs._acquisition import Acquisition, steadily
from smartscope.runs._acting import Acting
from smartscope.runs._ending import Ending
from smartscope.runs._feed import Feed
from smartscope.runs._light import LightAccount
from smartscope.runs._loop import (
    context_of,
    controller_of,
    pipeline_of,
    policies_of,
)
from smartscope.runs._models import warm_up
from smartscope.runs._pacing import Pacing
from smartscope.runs._plan import layouts, survey
from smartscope.runs._preflight import (
    check_limits,
    check_objective,
    check_presets,
    light_plan,
)
from smartscope.runs._quick import quick_threads
from smartscope.runs._record import start_record
from smartscope.runs._reload import Reloads
from smartscope.runs._result import RunResult, close_record
from smartscope.runs._stopping import Stopping
from smartscope.runs._truth import TruthLog
from smartscope.runs._unfamiliar import FamiliarityWatch
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
    from smartscope.control import Controller, Monitor, Planned
    from smartscope.core import Frame
    from smartscope.record import ImageLayout, RunWriter
    from smartscope.rig import Rig
    from smartscope.runs._files import Files
    from smartscope.sources import Source
    from smartscope.specimen import Specimen

_PATIENCE_S = 10.0
_ACCOUNT_WALL_S = 0.05
_BUFFERS = {True: 512, False: 16}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a run was asked for, apart from its files."""

    parent: Path
    monitor: Monitor
    stop: threading.Event
    shadow: bool = False
    reload: bool = True
    core: CMMCorePlus | None = None
    subscriptions: tuple[Subscription, ...] = ()


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
        self._state.interlocks = lambda: self._interlocks.active
        self._state.external = rig.take_external
        self._reloads: Reloads | None = None
        self._looked_s = 0.0
        self._writer: RunWriter | None = None
        self._specimen: Specimen | None = None
        self._truth: TruthLog | None = None
        self._start_ns = self._clock.now_ns()
        self._objective = rig.objective
        check_objective(files.rig, self._objective)
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
        self._policies = policies_of(files, self._context, self._facts)
        virtual = self._clock.kind == "virtual"
        # A plan in lockstep, and anything in virtual time, waits for every decision.
        self._in_step = virtual or (
            files.stream is None and self._experiment.schedule.pacing == "lockstep"
        )
        self._acting = Acting(
            rig,
            guard=self._guard,
            facts=self._facts,
            lights=self._lights,
            schedule=self._schedule,
            stream=files.stream,
            virtual=virtual,
            shadow=options.shadow,
            failed=self._state.fail,
            asked_only=self._experiment.record.keep == "asked",
        )
        self._stream = self._acting.stream
        self._stopping = Stopping(rig, self._state, self._schedule, self._acting)
        self._state.on_failure = self._stopping.halt
        self._state.on_over = self._stopping.complete
        self._feed = Feed(self._state, self._monitor, simulated=self._source.simulated)
        self._state.unfamiliar = FamiliarityWatch(
            self._interlocks,
            self._monitor,
            note=self._feed.note,
            pause=lambda reason: rig.core.mda.set_paused(True),
            end=self._stopping.end_by,
        )
        self._frames = self._feed.hub.add(Subscription("vision", self._appetite()))
        for subscription in options.subscriptions:
            self._feed.hub.add(subscription)
        self._pacing = Pacing(
            self._experiment.schedule,
            self._frames,
            self._feed,
            self._state,
            self._monitor,
        )

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

    def _appetite(self) -> Appetite:
        if self._in_step:
            return Appetite("lossless")
        wanted = self._experiment.schedule
        if wanted.vision == "latest":
            return LATEST
        return Appetite(wanted.vision, wanted.vision_backlog)

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

    def _make_engine(self, account: LightAccount) -> Engine:
        engine = Engine(
            self._rig,
            self._source,
            schedule=self._schedule,
            lights=self._lights,
            errors=self._experiment.errors,
            hooks=Hooks(
                publish=self._feed.publish,
                intend=account.intend,
                note=self._feed.note,
                check=self._check_event,
                lit=account.charge,
                allow_light=account.allow,
            ),
        )
        schedule, runner = self._schedule, self._rig.core.mda
        schedule.runner_phase = lambda: str(runner.status.phase)
        schedule.on_superseded = self._superseded
        schedule.request_pause = lambda: runner.set_paused(True)
        schedule.on_wait = engine.go_dark
        if self._in_step:
            schedule.wait_decided = self._pacing.wait_decided
            self._pacing.repeat = schedule.repeat
            self._pacing.in_group = lambda: schedule.in_group
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
            note=self._feed.note,
            end=self._stopping.end_by,
            history_from_ns=self._history_from_ns,
        )
        engine = self._make_engine(account)
        if self._stream is None or self._source.simulated:
            self._feed.each = lambda frame: self._after_frame(account, frame)
        if self._files.stream is not None and self._files.stream.roi is not None:
            self._read_out(self._files.stream.roi)
        acquisition = Acquisition(self._rig.core, engine, lambda: self._events(engine))
        try:
            self._writer = self._acting.writer = self._start_record()
            controller = self._make_controller(self._writer)
        except BaseException:
            acquisition.end()
            if self._writer is not None:
                self._writer.abort()
            raise
        try:
            with quick_threads():
                self._begin(controller)
                acquisition.start()
                acquisition.wait(lambda: self._look(account, engine, acquisition))
            ending = self._stopping.ending(acquisition)
        except BaseException as error:
            ending = Ending.failed(error)
        return steadily(
            lambda: self._finish(engine, account, acquisition, controller, ending)
        )

    def _read_out(self, roi: RoiConfig) -> None:
        region = Roi(roi.x_px, roi.y_px, roi.width_px, roi.height_px)
        self._rig.actuator.settle(self._rig.actuator.set_roi(region))
        self._pixel_map = self._rig.pixel_map()

    def _make_controller(self, writer: RunWriter) -> Controller:
        return controller_of(
            self._files,
            pipeline=self._pipeline,
            policies=self._policies,
            actor=self._acting.actor,
            records=writer,
            clock=self._clock,
            state=self._state,
            monitor=self._monitor,
        )

    def _begin(self, controller: Controller) -> None:
        warm_up(
            self._pipeline,
            self._source.geometry()[0],
            self._feed.note,
            self._monitor,
            planes=self._facts.planes,
            pixel_map=self._pixel_map,
        )
        start = self._start_ns = self._clock.now_ns()
        self._feed.start_ns = start
        self._feed.note("start", {"start_ns": start})
        self._pacing.declare(in_step=self._in_step)
        self._schedule.start(start)
        if self._specimen is not None:
            self._specimen.start(start)
        first = self._experiment.phases[0].name if self._experiment.phases else ""
        self._monitor.set(
            phase="running", planned=self._facts.frames, experiment_phase=first
        )
        if self._options.reload and self._experiment.reload:
            note = self._feed.note
            self._reloads = Reloads(self._files, self._policies, note, self._monitor)
            self._state.reloads = self._reloads.take
            self._reloads.start()
        controller.start(start, self._frames)

    def _look(
        self, account: LightAccount, engine: Engine, acquisition: Acquisition
    ) -> None:
        """Heed those outside, who are not to wait for a listener or an exposure."""
        told = self._options.stop.is_set()
        self._stopping.heed(engine, acquisition, told=told)
        if self._stream is None:
            return
        self._stream.paused = acquisition.paused
        now_s = time.perf_counter()
        if not self._source.simulated and now_s - self._looked_s >= _ACCOUNT_WALL_S:
            self._looked_s = now_s
            account.look_after(self._stream)

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
        self._writer = self._feed.writer = writer = start_record(
            self._files,
            parent=self._options.parent,
            layouts=planned,
            clock=self._clock,
            context=self._context,
            policies=self._policies,
            channels=self._facts.channels,
            pixel_map=self._pixel_map,
            shadow=self._options.shadow,
            fields=self._facts.names,
        )
        role = "stream" if self._stream is not None else "reaction"
        writer.open_growing(role, camera, shape, dtype, pixel_um=pixel_um)
        return writer

    def _events(self, engine: Engine) -> Any:
        if self._stream is None or self._files.stream is None:
            return self._experiment.acquisition
        engine.streamer = Streamer(
            self._rig,
            self._source,
            self._files.stream,
            control=self._stream,
            engine=engine,
            arrived=self._acting.actor.later,
            buffers=_BUFFERS[self._experiment.record.images],
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
        self._stopping.go_dark(engine)
        acquisition.end()
        if self._reloads is not None:
            self._reloads.close()
        self._acting.close(_PATIENCE_S)
        engine.close()
        self._feed.hub.close()
        came_back = self._await(controller)
        ending = ending.with_light(self._rig.apply_safe_state())
        if not came_back and not self._stopping.has_reason:
            self._state.fail(
                PolicyError(
                    "a policy or vision stage did not come back for "
                    f"{_PATIENCE_S:g} s and was left behind; does it loop for ever?"
                )
            )
        if self._state.failure is not None and ending.outcome != "failed":
            ending = Ending.failed(self._state.failure)
        return self._close(engine, account, ending)

    def _await(self, controller: Controller) -> bool:
        """Wait for what is still to be seen; False if nothing moves any more."""
        seen = self._frames.delivered
        while not controller.join(_PATIENCE_S):
            if self._frames.delivered == seen:
                return False
            seen = self._frames.delivered
        return True

    def _close(
        self, engine: Engine, account: LightAccount, ending: Ending
    ) -> RunResult:
        writer = self._writer
        if writer is None:
            raise RuntimeError("a run without a record cannot finish")
        if self._stream is not None:
            account.charge(self._clock.now_ns(), 0)
        account.ledger.advance(self._clock.now_ns())
        if self._truth is not None:
            try:
                for name, columns in self._truth.tables().items():
                    writer.write_table(name, columns)
            except RecordError as error:
                ending = ending.after(error)
        self._feed.note_subscribers(engine, self._source)
        summary = {
            "planned": self._facts.frames,
            "failed": engine.failed,
            "skipped": self._frames.skipped + self._frames.dropped,
            "superseded": self._schedule.superseded,
            "dropped_groups": self._pipeline.dropped_groups,
            "duration_s": (self._clock.now_ns() - self._start_ns) / NS_PER_S,
            "dose": account.ledger.summary(),
        }
        return close_record(writer, ending, self._monitor, summary)

    # -------------------------------------------------------------------- hooks

    def _after_frame(self, account: LightAccount, frame: Frame) -> None:
        if self._truth is not None:
            self._truth.sample(frame.t_received_ns)
        position = frame.view.position
        self._monitor.filming(position, self._schedule.interval_s(position))
        if self._stream is not None:
            account.look_after(self._stream, frame)
        if self._clock.kind == "virtual":
            # Else what a policy sees of the clock would depend on how busy we are.
            self._pacing.wait_decided()

    def _history_from_ns(self) -> int | None:
        return self._specimen.needs_history_from_ns if self._specimen else None

    def _check_event(self, event: MDAEvent, powers: Mapping[str, float]) -> None:
        self._guard.check_event(event, powers=powers, objective=self._rig.objective)

    def _superseded(self, planned: Planned, late_s: float) -> None:
        index = dict(planned.event.index)
        self._feed.note("superseded", {"index": index, "late_s": late_s})
