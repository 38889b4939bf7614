"""The acquisition engine: pymmcore-plus runs it, the schedule feeds it.

A subclass of `MDAEngine`, so that every viewer and widget of pymmcore-plus sees a
normal acquisition, but strict where the default engine warns and goes on: a setting
that was refused or reads back otherwise never yields a frame. Frames are handed to
smartscope here, before they are yielded, never through ``frameReady``.
"""

from __future__ import annotations

import time
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pymmcore_plus.mda import MDAEngine, SkipEvent
from useq import AcquireImage, HardwareAutofocus, MDAEvent, MDASequence

from smartscope.control._framing import Framing, metadata
from smartscope.control._planned import Planned, Released
from smartscope.control._settings import Settings
from smartscope.control._switch import LightSwitch
from smartscope.core import Frame, HardwareError, StreamError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping

    from pymmcore_plus.metadata import FrameMetaV1, SummaryMetaV1

    from smartscope.config import Errors
    from smartscope.control._lights import LightPlan
    from smartscope.control._schedule import Schedule
    from smartscope.control._streamer import Streamer
    from smartscope.rig import Rig
    from smartscope.sources import Shot, Source

_AFTER_YOU_WALL_S = 0.00005


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What the engine tells the rest of the run. Called on the acquisition thread.

    Attributes
    ----------
    publish : gets every frame, before pymmcore-plus does
    intend : journals what is about to be exposed, before the light goes on
    note : journals anything else, by kind
    check : raises SafetyError if the event must not be executed
    lit : called after each exposure with its end and field, to charge the dose
    allow_light : False if the budget forbids this exposure and the run must end
    """

    publish: Callable[[Frame], None]
    intend: Callable[[Released, Mapping[str, float], float, int], None]
    note: Callable[[str, Mapping[str, object]], None]
    check: Callable[[MDAEvent, Mapping[str, float]], None]
    lit: Callable[[int, int], None]
    allow_light: Callable[[Mapping[str, float], float, int], bool]


class Engine(MDAEngine):
    """Executes what the schedule releases, strictly, and hands over frames.

    Parameters
    ----------
    rig : Rig
    source : Source
        Where pixels come from: the rig's camera or a specimen.
    schedule : Schedule
    lights : LightPlan
    hooks : Hooks
    errors : Errors
        Whether a failed planned event ends the run or is skipped.
    """

    def __init__(
        self,
        rig: Rig,
        source: Source,
        *,
        schedule: Schedule,
        lights: LightPlan,
        hooks: Hooks,
        errors: Errors,
    ) -> None:
        # Restoring the initial state would move the stage after the safe state.
        super().__init__(
            rig.core, use_hardware_sequencing=True, restore_initial_state=False
        )
        self._rig = rig
        self._source = source
        self._schedule = schedule
        self._lights = lights
        self.hooks = hooks
        self._errors = errors
        self._switch = LightSwitch(rig)
        self._settings = Settings(rig, schedule, self._switch)
        self.framing = Framing(rig)
        # In simulated time nothing may depend on which thread is faster.
        real = rig.clock.kind == "real"
        self._shut = self._switch.shut_meanwhile if real else self._switch.shut
        self._skips_in_a_row = 0
        self._stop_burst = False
        self.streamer: Streamer | None = None
        self.failed = 0
        schedule.merge = self._merge
        schedule.on_pause = self._on_pause

    # ------------------------------------------------------------------ protocol

    def setup_sequence(self, sequence: MDASequence) -> SummaryMetaV1 | None:
        """Prepare the rig; the sequence's setup event is applied strictly."""
        # The base class swallows errors of the setup event, so it must not see it.
        bare = sequence.model_copy(update={"setup": None})
        meta = super().setup_sequence(bare)
        if sequence.setup is not None:
            powers = self._lights.percent(None)
            self.hooks.check(sequence.setup, powers)
            self._rig.actuator.settle(*self._settings.issue(sequence.setup, powers))
        return meta

    def event_iterator(self, events: Iterable[MDAEvent]) -> Iterator[MDAEvent]:
        """Give the runner our schedule in place of the plan it was handed."""
        return self._schedule

    def setup_event(self, event: MDAEvent) -> None:
        """Set, settle and read back everything the event asks for.

        Raises
        ------
        HardwareError, SafetyError
            If it cannot be had; with ``errors.hardware: skip`` a `SkipEvent`.
        """
        released = self._released()
        if self.streamer is not None:
            return  # the pump sets the rig itself, each time it starts the camera
        try:
            self._prepare(released)
        except HardwareError as error:
            self._failed(released, error)
            raise SkipEvent(max(1, len(released.steps)), str(error)) from error

    def _prepare(self, released: Released) -> None:
        first = released.steps[0].event if released.steps else released.event
        powers = self._powers(first)
        self.hooks.check(first, powers)
        self._rig.actuator.settle(*self._settings.issue(first, powers))
        if released.steps:
            self._load(released.event)

    def _load(self, event: MDAEvent) -> None:
        try:
            self._load_sequenced_event(event)  # type: ignore[arg-type]
        except RuntimeError as error:
            raise HardwareError(f"the burst could not be loaded: {error}") from error

    def exec_event(self, event: MDAEvent) -> Iterator[Any]:
        """Expose; yields ``(image, event, meta)`` per frame, None for a lost one."""
        released = self._released()
        if isinstance(event.action, HardwareAutofocus):
            self._autofocus(released, event.action)
        elif isinstance(event.action, AcquireImage | None):
            yield from self._expose(released)
        elif self.streamer is not None:
            for frame, payload in self.streamer.run(event):
                yield frame.pixels, payload, self._metadata(frame, payload)
        else:
            self.hooks.note("custom_action", {"name": str(event.action)})

    def teardown_sequence(self, sequence: MDASequence) -> None:
        """Do nothing: the run applies the safe state, whatever ended it."""

    # --------------------------------------------------------------------- light

    def _powers(self, event: MDAEvent) -> dict[str, float]:
        if isinstance(event.action, HardwareAutofocus):
            return {}
        return self._lights.percent(event.channel.config if event.channel else None)

    def go_dark(self) -> None:
        """Shut the light out; for waits and pauses between events."""
        self._switch.off()

    def stay_dark(self) -> None:
        """Put no light on any more; from any thread, waits for nobody."""
        self._switch.bar()

    @property
    def is_ending(self) -> bool:
        """Whether no exposure may be begun any more."""
        stream = self.streamer
        stopped = self._schedule.stopped or (stream is not None and stream.stopping)
        return stopped or self._switch.is_barred

    def close(self) -> None:
        """Let go of what belongs to one run only."""
        self._switch.close()

    def _on_pause(self, paused: bool) -> None:
        self.hooks.note("pause", {"paused": paused})
        if paused:
            self._switch.off()

    # ------------------------------------------------------------------ exposing

    def _expose(self, released: Released) -> Iterator[Any]:
        steps = released.steps or (released.planned,)
        event = steps[0].event if released.steps else released.event
        exposure_ms = event.exposure or self._rig.core.getExposure()
        planned = self._powers(event)
        if not self.hooks.allow_light(planned, exposure_ms, len(steps)):
            self._switch.off()
            self._schedule.stop()
            return
        powers = self._powers(event)
        if powers != planned:  # the budget has just gone dark
            self._rig.actuator.settle(*self._settings.issue_powers(powers))
        self.hooks.intend(released, powers, exposure_ms, len(steps))
        if self._switch.is_barred:
            return
        self._stop_burst = False
        exposed = _nothing if event.keep_shutter_open else self._shut
        done = 0
        try:
            self._switch.on(powers)
            # Closed whatever happens here, or the camera would go on.
            with closing(self._shots(released, exposure_ms, exposed)) as shots:
                for shot in shots:
                    step = steps[done]
                    frame = self._step_frame(shot, step, released)
                    done += 1
                    self.hooks.publish(frame)
                    # Whoever waits for this frame goes first: what follows here is for
                    # viewers and for the books.
                    time.sleep(_AFTER_YOU_WALL_S)
                    if not event.keep_shutter_open:
                        self._switch.confirm()
                    payload = step.event if released.steps else released.event
                    meta = self._metadata(frame, payload)
                    signal = yield frame.pixels, payload, meta
                    self._stop_burst = signal == "cancel"
            self._skips_in_a_row = 0
        except (HardwareError, StreamError) as error:
            self._failed(released, error)
            # A placeholder for each missing frame keeps later ones in their place.
            yield from (None for _ in steps[done:])
        finally:
            if not event.keep_shutter_open:
                self._switch.off()
            self.hooks.lit(self._rig.clock.now_ns(), released.planned.position)

    def _step_frame(self, shot: Shot, step: Planned, released: Released) -> Frame:
        state = self._rig.state(shot.t_exposed_ns)
        if released.steps and released.event.z_sequence:  # type: ignore[attr-defined]
            # The focus follows the camera's trigger and tells nobody.
            state = replace(state, z_um=step.event.z_pos)
        return self.framing.frame(shot, step, state, due_s=released.due_s)

    # ------------------------------------------------------------ for the streamer

    def light_stream(self, event: MDAEvent, frames: int) -> bool:
        """Set the rig for a stream and put the light on; False if that is forbidden.

        Raises
        ------
        HardwareError, SafetyError
            If the settings cannot be had, or must not.
        """
        exposure_ms = event.exposure or self._rig.core.getExposure()
        planned = self._powers(event)
        if not self.hooks.allow_light(planned, exposure_ms, 1):
            return False
        powers = self._powers(event)  # the budget may have gone dark just now
        self.hooks.check(event, powers)
        self._rig.actuator.settle(*self._settings.issue(event, powers))
        released = replace(self._released(), event=event)
        self.hooks.intend(released, powers, exposure_ms, frames)
        if self.is_ending:  # while we waited for the devices or the disk
            return False
        self._switch.on(powers)
        return True

    def take_burst(self, steps: tuple[Planned, ...]) -> Iterator[Any]:
        """Take these frames now, hardware-timed in one go where the devices allow.

        Yields what `exec_event` yields; a failure is journalled as there.
        """
        merged = self._merge([step.event for step in steps])
        if merged is not None:
            parts = [Released(steps[0], merged, steps)]
        else:
            parts = [Released(step, step.event) for step in steps]
        for released in parts:
            try:
                self._prepare(released)
            except HardwareError as error:
                self._failed(released, error)
                continue
            yield from self._expose(released)

    def _shots(
        self, released: Released, exposure_ms: float, exposed: Callable[[], None]
    ) -> Generator[Shot]:
        if not released.steps:
            yield self._source.snap(exposure_ms, exposed)
            return
        with self._following_focus(released):
            yield from self._source.burst(
                len(released.steps),
                exposure_ms,
                exposed,
                lambda: self._stop_burst or self.is_ending,
            )

    @contextmanager
    def _following_focus(self, released: Released) -> Iterator[None]:
        """Let the focus step with the camera's trigger, for this burst only."""
        if not released.event.z_sequence:  # type: ignore[attr-defined]
            yield
            return
        core, focus = self._rig.core, self._rig.core.getFocusDevice()
        try:
            core.startStageSequence(focus)
        except RuntimeError as error:
            raise HardwareError(
                f"the focus sequence did not start: {error}", device=focus
            ) from error
        try:
            yield
        finally:
            # Or the triggers of the stream that goes on would step it further.
            core.stopStageSequence(focus)

    def _metadata(self, frame: Frame, event: MDAEvent) -> FrameMetaV1:
        group = event.channel.group if event.channel is not None else None
        return metadata(frame, event, self._get_current_props(group) if group else ())

    def _autofocus(self, released: Released, action: HardwareAutofocus) -> None:
        try:
            correction = self._execute_autofocus(action)
        except RuntimeError as error:
            raised = HardwareError(f"autofocus failed: {error}")
            self._failed(released, raised)
            return
        # The autofocus moved the focus past the actuator: look where it is now.
        self._rig.poll()
        height = self._rig.state(self._rig.clock.now_ns()).z_um
        self.hooks.check(MDAEvent(z_pos=height), {})
        self._schedule.shift(released.planned.position, 0.0, 0.0, correction)
        self.hooks.note("autofocus", {"dz_um": correction})

    # ------------------------------------------------------------------- helpers

    def _released(self) -> Released:
        if self._schedule.released is None:
            raise RuntimeError("the engine was driven by something else than its plan")
        return self._schedule.released

    def _merge(self, events: list[MDAEvent]) -> MDAEvent | None:
        """One hardware-sequenced event of all `events`, or None if devices refuse."""
        merged = list(super().event_iterator(events))
        if len(merged) != 1 or len(events) < 2:
            return None
        if any(event.slm_image is not None for event in events):
            return (
                None  # pymmcore-plus loads a sequence of patterns and never starts it
            )
        whole: Any = merged[0]
        if whole.z_sequence and not self._source.sequences_focus:
            return None
        if whole.x_sequence or whole.exposure_sequence or whole.property_sequences:
            return None
        return merged[0]

    def _failed(self, released: Released, error: HardwareError | StreamError) -> None:
        """Journal a planned event that gave no frame; raise if the run must end."""
        self._switch.off()
        self.failed += max(1, len(released.steps))
        self._skips_in_a_row += 1
        self.hooks.note(
            "fault",
            {
                "where": "acquisition",
                "message": str(error),
                "index": dict(released.event.index),
                "role": released.planned.role,
            },
        )
        if self._errors.hardware == "stop":
            raise error
        if self._skips_in_a_row > self._errors.max_skips:
            raise type(error)(
                f"{self._skips_in_a_row} planned events in a row failed, more than "
                f"errors.max_skips allows; the last one: {error}"
            ) from error


def _nothing() -> None:
    """The light stays on for the next event."""
