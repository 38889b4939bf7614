"""What reactions may change while the camera runs, and what needs it stopped."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smartscope.control._actor import LiveActions, amend_power, roi_of
from smartscope.control._outcome import outcome_of
from smartscope.core import (
    Acquire,
    HardwareError,
    Pause,
    SetExposure,
    SetPower,
    SetRoi,
    ShiftPosition,
    Stop,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from smartscope.config import Stream
    from smartscope.control._actor import Handler
    from smartscope.control._follow_up import FollowUp
    from smartscope.control._lights import LightPlan
    from smartscope.core import Action, Outcome, Request
    from smartscope.rig import Command, Rig


@dataclass(frozen=True, slots=True)
class Interruption:
    """Something the camera has to be stopped for.

    Attributes
    ----------
    request : Request
    parameter : str
        As in `Capabilities.table`, or ``burst``.
    issue : function or None
        Issues the commands; None for a burst.
    """

    request: Request
    parameter: str
    issue: Callable[[], Sequence[Command]] | None = None


class StreamControl:
    """What reactions ask of a running stream. Thread-safe.

    Live parameters are applied at once while the camera runs. Others, by the rig's
    capability table, wait until the pump has stopped the camera for them.

    Parameters
    ----------
    rig : Rig
    config : Stream
    lights : LightPlan
    follow_up : FollowUp
    pause : function
        Pauses the run, as somebody outside would.
    """

    def __init__(
        self,
        rig: Rig,
        config: Stream,
        lights: LightPlan,
        follow_up: FollowUp,
        *,
        pause: Callable[[], None],
    ) -> None:
        self._rig = rig
        self._lights = lights
        self._follow_up = follow_up
        self._pause_run = pause
        self._lock = threading.Lock()
        self._waiting: deque[Interruption] = deque()
        self._channel = config.channel
        self.exposure_ms = config.exposure_ms
        self.paused = False
        self.stopping = False
        self.ended_by_policy = False

    def stop(self) -> None:
        """End the stream after the present frame."""
        self.stopping = True

    def powers(self) -> dict[str, float]:
        """Percent of range of every light line now."""
        return self._lights.percent(self._channel)

    def interrupted(self) -> bool:
        """Whether the camera has to stop: for good, for a pause, or to be set anew."""
        return self.stopping or self.paused or bool(self._waiting)

    def take_interruption(self) -> Interruption | None:
        """Hand over the first thing the camera was stopped for, None for nothing."""
        with self._lock:
            return self._waiting.popleft() if self._waiting else None

    def handlers(self) -> dict[type[Action], Handler]:
        """Handlers of the actions possible in a stream."""
        return {
            **LiveActions(self._rig, self._change).handlers(),
            SetPower: self._power,
            SetExposure: self._exposure,
            ShiftPosition: self._shift,
            SetRoi: self._roi,
            Acquire: self._acquire,
            Pause: self._pause,
            Stop: self._stop,
        }

    def _change(
        self, request: Request, parameter: str, issue: Callable[[], Sequence[Command]]
    ) -> Outcome | None:
        """Do it now if the camera may go on, else ask the pump to stop for it."""
        if self._rig.capabilities.of(parameter) != "restart":
            return self._follow_up.finish(request, *issue())
        self._interrupt(Interruption(request, parameter, issue))
        return None

    def _interrupt(self, interruption: Interruption) -> None:
        with self._lock:
            self._waiting.append(interruption)

    # ------------------------------------------------------------------- actions

    def _power(self, request: Request, action: SetPower) -> Outcome | None:
        if refused := amend_power(self._lights, request, action):
            return refused
        line, put = action.line, self._rig.actuator.set_power
        # What the light plan says, because the budget may have gone dark meanwhile.
        return self._change(request, "power", lambda: [put(line, self.powers()[line])])

    def _exposure(self, request: Request, action: SetExposure) -> Outcome | None:
        def issue() -> Sequence[Command]:
            command = self._rig.actuator.set_exposure(action.exposure_ms)
            self.exposure_ms = action.exposure_ms
            return [command]

        return self._change(request, "exposure", issue)

    def _shift(self, request: Request, action: ShiftPosition) -> Outcome | None:
        if not (action.dx_um or action.dy_um or action.dz_um):
            return outcome_of(request, "noted", "a shift by nothing")
        can = self._rig.capabilities.of
        moved = (("stage", action.dx_um or action.dy_um), ("focus", action.dz_um))
        stops = [name for name, by in moved if by and can(name) == "restart"]
        return self._change(
            request, (stops or ["stage"])[0], lambda: self._shifted(action)
        )

    def _shifted(self, action: ShiftPosition) -> Sequence[Command]:
        state = self._rig.state(self._rig.clock.now_ns())
        actuator, commands = self._rig.actuator, []
        if action.dx_um or action.dy_um:
            if state.x_um is None or state.y_um is None:
                raise HardwareError("the rig has no stage to shift")
            x_um, y_um = state.x_um + action.dx_um, state.y_um + action.dy_um
            commands.append(actuator.move_stage(x_um, y_um))
        if action.dz_um:
            if state.z_um is None:
                raise HardwareError("the rig has no focus to shift")
            commands.append(actuator.move_focus(state.z_um + action.dz_um))
        return commands

    def _roi(self, request: Request, action: SetRoi) -> Outcome | None:
        put = self._rig.actuator.set_roi
        return self._change(request, "roi", lambda: [put(roi_of(action))])

    def _acquire(self, request: Request, action: Acquire) -> Outcome | None:
        if action.interval_s:
            return outcome_of(
                request,
                "rejected",
                "a burst in a stream goes as fast as the camera: leave interval_s out",
            )
        self._interrupt(Interruption(request, "burst"))
        return None

    def _pause(self, request: Request, action: Pause) -> Outcome:
        self._pause_run()
        return outcome_of(request, "scheduled")

    def _stop(self, request: Request, action: Stop) -> Outcome:
        self.ended_by_policy = True
        self.stop()
        return outcome_of(request, "scheduled")
