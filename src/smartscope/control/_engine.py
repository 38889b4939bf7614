"""The acquisition engine: pymmcore-plus runs it, the schedule feeds it.

A subclass of `MDAEngine`, so that every viewer and widget of pymmcore-plus sees a
normal acquisition, but strict where the default engine warns and goes on: a setting
that was refused or reads back otherwise never yields a frame. Frames are handed to
smartscope here, before they are yielded, never through ``frameReady``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pymmcore_plus.mda import MDAEngine, SkipEvent
from useq import AcquireImage, HardwareAutofocus, MDAEvent, MDASequence

from smartscope.control._switch import LightSwitch
from smartscope.core import (
    Frame,
    HardwareError,
    HardwareState,
    Roi,
    StreamError,
    View,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from pymmcore_plus.metadata import SummaryMetaV1

    from smartscope.config import Errors
    from smartscope.control._lights import LightPlan
    from smartscope.control._planned import Planned, Released
    from smartscope.control._schedule import Schedule
    from smartscope.control._stream import Streamer
    from smartscope.rig import Command, Rig
    from smartscope.sources import Shot, Source


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
    intend: Callable[[Released, Mapping[str, float], float], None]
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
        self._skips_in_a_row = 0
        self._stop_burst = False
        self.streamer: Streamer | None = None
        self.frames = 0
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
            self._rig.actuator.settle(*self._set(sequence.setup, powers))
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
        first = released.steps[0].event if released.steps else event
        powers = self._powers(first)
        try:
            self.hooks.check(first, powers)
            self._rig.actuator.settle(*self._set(first, powers))
            if released.steps:
                self._load(event)
        except HardwareError as error:
            self._failed(released, error)
            raise SkipEvent(max(1, len(released.steps)), str(error)) from error

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
            yield from self._stream(released, self.streamer)
        else:
            self.hooks.note("custom_action", {"name": str(event.action)})

    def teardown_sequence(self, sequence: MDASequence) -> None:
        """Do nothing: the run applies the safe state, whatever ended it."""

    # ------------------------------------------------------------------- setting

    def _set(self, event: MDAEvent, powers: Mapping[str, float]) -> list[Command]:
        """Issue every command the event asks for, stage first: it takes longest."""
        actuator, commands = self._rig.actuator, []
        if event.x_pos is not None or event.y_pos is not None:
            state = self._rig.state(self._rig.clock.now_ns())
            commands.append(
                actuator.move_stage(
                    _known(event.x_pos, state.x_um), _known(event.y_pos, state.y_um)
                )
            )
        if event.z_pos is not None:
            commands.append(actuator.move_focus(event.z_pos))
        if event.channel is not None:
            commands.append(
                actuator.set_channel(event.channel.config, event.channel.group)
            )
        properties = [
            actuator.set_property(device, name, value)
            for device, name, value in event.properties or ()
        ]
        if event.roi is not None:
            # Binning is a property, and regions count in binned pixels.
            actuator.settle(*properties)
        commands += properties
        commands += self._set_powers(powers)
        if event.exposure is not None:
            commands.append(actuator.set_exposure(event.exposure))
        if (roi := self._roi(event)) is not None:
            commands.append(actuator.set_roi(None if roi == "full" else roi))
        if event.slm_image is not None:
            commands.append(actuator.show_pattern(event.slm_image.data))
        return commands

    def _roi(self, event: MDAEvent) -> Any:
        if self._schedule.roi is not None:
            return self._schedule.roi
        if event.roi is None:
            return None
        # As in Micro-Manager, a region of useq counts in pixels of the binned image.
        planned, binning = event.roi, self._rig.geometry.binning
        return Roi(
            planned.offset_x * binning,
            planned.offset_y * binning,
            planned.width * binning,
            planned.height * binning,
        )

    def _powers(self, event: MDAEvent) -> dict[str, float]:
        if isinstance(event.action, HardwareAutofocus):
            return {}
        return self._lights.percent(event.channel.config if event.channel else None)

    def go_dark(self) -> None:
        """Shut the light out; for waits and pauses between events."""
        self._switch.off()

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
            self._rig.actuator.settle(*self._set_powers(powers))
        self.hooks.intend(released, powers, exposure_ms)
        self._stop_burst = False
        exposed = _nothing if event.keep_shutter_open else self._switch.off
        done = 0
        try:
            self._switch.on(powers)
            for shot in self._shots(released, exposure_ms, exposed):
                step = steps[done]
                frame = self._step_frame(shot, step, released)
                done += 1
                self.hooks.publish(frame)
                payload = step.event if released.steps else released.event
                meta = self.get_frame_metadata(payload, include_position=True)
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

    def _set_powers(self, powers: Mapping[str, float]) -> list[Command]:
        dark = self._switch.beforehand(powers)
        return [self._rig.actuator.set_power(line, p) for line, p in dark.items()]

    def _step_frame(self, shot: Shot, step: Planned, released: Released) -> Frame:
        state = self._rig.state(shot.t_exposed_ns)
        if released.steps and released.event.z_sequence:  # type: ignore[attr-defined]
            # The focus follows the camera's trigger and tells nobody.
            state = replace(state, z_um=step.event.z_pos)
        return self.frame(shot, step, state, due_s=released.due_s)

    def _stream(self, released: Released, streamer: Streamer) -> Iterator[Any]:
        event = released.event
        exposure_ms = event.exposure or self._rig.core.getExposure()
        planned = self._powers(event)
        if not self.hooks.allow_light(planned, exposure_ms, 1):
            return
        powers = self._powers(event)
        self.hooks.intend(released, powers, exposure_ms)
        try:
            self._rig.actuator.settle(*self._set_powers(powers))
            self._switch.on(powers)
            for frame, payload in streamer.run(event, self._switch.off):
                meta = self.get_frame_metadata(payload, include_position=False)
                if (signal := (yield frame.pixels, payload, meta)) is not None:
                    # A camera that runs cannot wait in the dark, so a pause ends it.
                    self.hooks.note("stream_ended", {"by": str(signal)})
                    streamer.stop()
        finally:
            self._switch.off()
            self.hooks.lit(self._rig.clock.now_ns(), released.planned.position)

    def _shots(
        self, released: Released, exposure_ms: float, exposed: Callable[[], None]
    ) -> Iterator[Shot]:
        if not released.steps:
            yield self._source.snap(exposure_ms, exposed)
            return
        if released.event.z_sequence:  # type: ignore[attr-defined]
            self._rig.core.startStageSequence(self._rig.core.getFocusDevice())
        yield from self._source.burst(
            len(released.steps),
            exposure_ms,
            exposed,
            lambda: self._stop_burst or self._schedule.stopped,
        )

    def frame(
        self,
        shot: Shot,
        planned: Planned,
        state: HardwareState,
        *,
        due_s: float | None = None,
        role: str = "",
    ) -> Frame:
        """Give a shot its identity, its state and its place in the sample."""
        history = self._rig.history
        changed = {
            key
            for a, b, values in history.segments(
                history.keys(), shot.t_exposed_ns, shot.t_end_ns
            )
            for key, (v0, v1) in values.items()
            if v0 != v1 or history.at(key, a) != history.at(key, shot.t_exposed_ns)
        } - {"camera"}
        frame = Frame(
            frame_id=self.frames,
            pixels=shot.pixels,
            view=View(planned.position, self._rig.core.getCameraDevice()),
            role=role or planned.role,
            index=dict(planned.event.index),
            cause=planned.cause,
            t_exposed_ns=shot.t_exposed_ns,
            exposed_uncertainty_ns=shot.exposed_uncertainty_ns,
            t_received_ns=shot.t_received_ns,
            t_published_ns=self._rig.clock.now_ns(),
            state=state,
            pixel_map=self._rig.pixel_map(),
            image_number=shot.image_number,
            mixed=bool(changed),
            moving=bool(changed & {"x_um", "y_um"}),
            planned_s=due_s,
            group=planned.group,
            last_of_group=planned.last_of_group,
        )
        self.frames += 1
        return frame

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


def _known(wanted: float | None, present: float | None) -> float:
    if wanted is not None:
        return wanted
    if present is None:
        raise HardwareError("the stage position is unknown, so it cannot be kept")
    return present


def _nothing() -> None:
    """The light stays on for the next event."""
