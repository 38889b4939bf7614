"""Continuous acquisition under pymmcore-plus, with reactions while the camera runs."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from useq import CustomAction, MDAEvent

from smartscope.control._actor import LiveActions, amend_power, outcome_of, roi_of
from smartscope.control._planned import Planned
from smartscope.core import (
    NS_PER_S,
    HardwareError,
    Pause,
    SetExposure,
    SetPower,
    SetRoi,
    ShiftPosition,
    Stop,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from smartscope.config import Stream
    from smartscope.control._actor import Handler
    from smartscope.control._engine import Hooks
    from smartscope.control._lights import LightPlan
    from smartscope.core import Action, Frame, Outcome, Request, Roi
    from smartscope.rig import Rig
    from smartscope.sources import Source

STREAM_ACTION = "smartscope.stream"
_TAP_WALL_S = 0.002


class StreamControl:
    """What reactions may change in a running stream. Thread-safe.

    Live parameters are applied at once while the camera runs; a region change stops
    the camera, sets it and starts again, and the dead time is journalled.
    """

    def __init__(self, rig: Rig, config: Stream, lights: LightPlan) -> None:
        self._rig = rig
        self._lights = lights
        self._live = LiveActions(rig)
        self._lock = threading.Lock()
        self._restart: list[Roi | None] = []
        self._channel = config.channel
        self.exposure_ms = config.exposure_ms
        self.stopping = False
        self.ended_by_policy = False

    def stop(self) -> None:
        """End the stream after the present frame."""
        self.stopping = True

    def powers(self, channel: str | None) -> dict[str, float]:
        """Percent of range of every light line now."""
        return self._lights.percent(channel)

    def interrupted(self) -> bool:
        """Whether the camera has to stop: for good, or to be set anew."""
        return self.stopping or bool(self._restart)

    def take_restart(self) -> list[Roi | None]:
        """Region changes asked for, at most the last one; clears them."""
        with self._lock:
            asked, self._restart = self._restart[-1:], []
            return asked

    def handlers(self) -> dict[type[Action], Handler]:
        """Handlers of the actions possible in a stream."""
        return {
            **self._live.handlers(),
            SetPower: self._power,
            SetExposure: self._exposure,
            ShiftPosition: self._shift,
            SetRoi: self._roi,
            Pause: self._end,
            Stop: self._end,
        }

    def _power(self, request: Request, action: SetPower) -> Outcome:
        if refused := amend_power(self._lights, request, action):
            return refused
        # What the light plan says, because the budget may have gone dark meanwhile.
        percent = self._lights.percent(self._channel)[action.line]
        command = self._rig.actuator.set_power(action.line, percent)
        return self._live.finish(request, command)

    def _exposure(self, request: Request, action: SetExposure) -> Outcome:
        command = self._rig.actuator.set_exposure(action.exposure_ms)
        outcome = self._live.finish(request, command)
        self.exposure_ms = action.exposure_ms
        return outcome

    def _shift(self, request: Request, action: ShiftPosition) -> Outcome:
        state = self._rig.state(self._rig.clock.now_ns())
        actuator, commands = self._rig.actuator, []
        if action.dx_um or action.dy_um:
            if state.x_um is None or state.y_um is None:
                raise HardwareError("the rig has no stage to shift")
            commands.append(
                actuator.move_stage(
                    state.x_um + action.dx_um, state.y_um + action.dy_um
                )
            )
        if action.dz_um:
            if state.z_um is None:
                raise HardwareError("the rig has no focus to shift")
            commands.append(actuator.move_focus(state.z_um + action.dz_um))
        if not commands:
            return outcome_of(request, "noted", "a shift by nothing")
        return self._live.finish(request, *commands)

    def _roi(self, request: Request, action: SetRoi) -> Outcome:
        with self._lock:
            self._restart.append(roi_of(action))
        return outcome_of(request, "scheduled", "the camera restarts")

    def _end(self, request: Request, action: Pause | Stop) -> Outcome:
        self.ended_by_policy = True
        self.stop()
        return outcome_of(request, "scheduled")


class Streamer:
    """Pumps frames on a thread of its own; pymmcore-plus gets a leaky tap.

    The pump waits for nobody: not for vision, not for listeners of ``frameReady``.

    Parameters
    ----------
    frame : function
        Turns a shot into a `Frame` (the engine's).
    """

    def __init__(
        self,
        rig: Rig,
        source: Source,
        config: Stream,
        *,
        control: StreamControl,
        hooks: Hooks,
        frame: Callable[..., Frame],
    ) -> None:
        self._rig = rig
        self._source = source
        self._config = config
        self._control = control
        self._hooks = hooks
        self._frame = frame
        self._newest: Frame | None = None
        self._pumped = 0
        self._error: BaseException | None = None

    def event(self, group: str) -> MDAEvent:
        """The one event that stands for the stream in pymmcore-plus."""
        channel = self._config.channel
        return MDAEvent(
            action=CustomAction(name=STREAM_ACTION),
            channel={"config": channel, "group": group} if channel else None,
            exposure=self._config.exposure_ms,
            metadata={"smartscope": {"role": "stream", "cause": "plan"}},
        )

    def stop(self) -> None:
        """End the stream after the present frame."""
        self._control.stop()

    def run(
        self, event: MDAEvent, light_off: Callable[[], None]
    ) -> Iterator[tuple[Frame, MDAEvent]]:
        """Pump until the end; yields the newest frame whenever there is one.

        `light_off` is called by the pump itself: the light must not wait for whoever
        listens to what is yielded.
        """
        pump = threading.Thread(
            target=self._pump,
            args=(event, light_off),
            name="smartscope-pump",
            daemon=True,
        )
        pump.start()
        try:
            while pump.is_alive() or self._newest is not None:
                frame, self._newest = self._newest, None
                if frame is None:
                    time.sleep(_TAP_WALL_S)
                    continue
                yield frame, event.replace(index={"t": frame.frame_id})
        finally:
            self._control.stop()
            pump.join()
        if self._error is not None:
            raise self._error

    def _pump(self, event: MDAEvent, light_off: Callable[[], None]) -> None:
        planned = Planned(event=event, role="stream")
        end_ns = None
        if self._config.duration_s is not None:
            end_ns = self._rig.clock.now_ns() + int(self._config.duration_s * NS_PER_S)
        try:
            try:
                while not self._control.stopping and not self._full(end_ns):
                    self._set_anew()
                    self._pump_once(planned, end_ns)
            finally:
                light_off()
        except BaseException as error:  # handed to the run thread, which raises it
            self._error = error

    def _pump_once(self, planned: Planned, end_ns: int | None) -> None:
        shots = self._source.stream(
            lambda: self._control.exposure_ms,
            lambda: self._control.interrupted() or self._full(end_ns),
        )
        expected = 0
        for shot in shots:
            if shot.image_number is not None:
                if shot.image_number > expected:
                    lost = shot.image_number - expected
                    self._hooks.note("lost", {"frames": lost, "by": "camera"})
                expected = shot.image_number + 1
            state = self._rig.state(shot.t_exposed_ns)
            one = replace(planned, group=("stream", self._pumped))
            frame = self._frame(shot, one, state, role="stream")
            self._pumped += 1
            self._hooks.publish(frame)
            self._hooks.lit(frame.t_received_ns, 0)
            self._stay_in_budget()
            self._newest = frame

    def _stay_in_budget(self) -> None:
        channel, actuator = self._config.channel, self._rig.actuator
        powers = self._control.powers(channel)
        if not self._hooks.allow_light(powers, self._control.exposure_ms, 1):
            self._control.stop()
        for line, percent in self._control.powers(channel).items():
            if powers[line] != percent:  # the budget went dark
                actuator.settle(actuator.set_power(line, percent))

    def _full(self, end_ns: int | None) -> bool:
        if end_ns is not None:
            now_ns: int = self._rig.clock.now_ns()
            return now_ns >= end_ns
        return self._config.frames is not None and self._pumped >= self._config.frames

    def _set_anew(self) -> None:
        for roi in self._control.take_restart():
            began = self._rig.clock.now_ns()
            self._rig.actuator.settle(self._rig.actuator.set_roi(roi))
            dead_ms = (self._rig.clock.now_ns() - began) / 1e6
            self._hooks.note("restart", {"for": "roi", "dead_ms": dead_ms})
