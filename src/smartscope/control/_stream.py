"""What reactions may change while the camera runs, and what needs it stopped."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from smartscope.control._actor import LiveActions, amend_power, roi_of
from smartscope.control._outcome import outcome_of
from smartscope.core import (
    Acquire,
    HardwareError,
    MoveFocus,
    MoveStage,
    Pause,
    SafetyError,
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


@dataclass(slots=True, eq=False)
class _Goal:
    """Where stage and focus were sent, or will be; None stays where it is.

    `commands` holds what was issued for it, by resource; until then, None.
    """

    stage_um: tuple[float, float] | None
    focus_um: float | None
    commands: dict[str, Command] | None = field(default=None)

    def leads(self, name: str) -> bool:
        """Whether ``stage`` or ``focus`` still has to arrive where this sends it."""
        if (self.stage_um if name == "stage" else self.focus_um) is None:
            return False
        return self.commands is None or not self.commands[name].is_over


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
        self._ended = False
        self._goals: dict[str, _Goal] = {}
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

    def end(self) -> list[Interruption]:
        """Stop the camera for nothing any more; returns what still waited for it."""
        with self._lock:
            self._ended = True
            left = list(self._waiting)
            self._waiting.clear()
        return left

    def heading_um(self) -> tuple[float | None, float | None, float | None]:
        """Where stage and focus are being sent (x, y, z); None for what rests."""
        x_um, y_um = self._stage_goal() or (None, None)
        return x_um, y_um, self._focus_goal()

    def handlers(self) -> dict[type[Action], Handler]:
        """Handlers of the actions possible in a stream."""
        return {
            **LiveActions(self._rig, self._change).handlers(),
            SetPower: self._power,
            SetExposure: self._exposure,
            ShiftPosition: self._shift,
            MoveStage: self._move_stage,
            MoveFocus: self._move_focus,
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
        return self._interrupt(Interruption(request, parameter, issue))

    def _interrupt(self, interruption: Interruption) -> Outcome | None:
        with self._lock:
            if not self._ended:
                self._waiting.append(interruption)
                return None
        # Nobody comes to take it any more.
        return outcome_of(interruption.request, "rejected", "the stream is over")

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
        x_um, y_um, z_um = self._next_um()
        stage_um = focus_um = None
        if action.dx_um or action.dy_um:
            if x_um is None or y_um is None:
                raise HardwareError("the rig has no stage to shift")
            stage_um = x_um + action.dx_um, y_um + action.dy_um
        if action.dz_um:
            if z_um is None:
                raise HardwareError("the rig has no focus to shift")
            focus_um = z_um + action.dz_um
        return self._go(request, _Goal(stage_um, focus_um))

    def _move_stage(self, request: Request, action: MoveStage) -> Outcome | None:
        return self._go(request, _Goal((action.x_um, action.y_um), None))

    def _move_focus(self, request: Request, action: MoveFocus) -> Outcome | None:
        return self._go(request, _Goal(None, action.z_um))

    def _next_um(self) -> tuple[float | None, float | None, float | None]:
        """What a shift adds to: else one during a move would undo the rest of it."""
        state = self._rig.state(self._rig.clock.now_ns())
        x_um, y_um = self._stage_goal() or (state.x_um, state.y_um)
        z_um = self._focus_goal()
        return x_um, y_um, state.z_um if z_um is None else z_um

    def _stage_goal(self) -> tuple[float, float] | None:
        goal = self._goals.get("stage")
        return goal.stage_um if goal is not None and goal.leads("stage") else None

    def _focus_goal(self) -> float | None:
        goal = self._goals.get("focus")
        return goal.focus_um if goal is not None and goal.leads("focus") else None

    def _go(self, request: Request, goal: _Goal) -> Outcome | None:
        wanted = (("stage", goal.stage_um), ("focus", goal.focus_um))
        names = [name for name, um in wanted if um is not None]
        can = self._rig.capabilities.of
        stops = [name for name in names if can(name) == "restart"]
        # Known before it is issued: the next shift may come while this one waits.
        with self._lock:
            self._goals.update(dict.fromkeys(names, goal))
        outcome = self._change(request, (stops or names)[0], lambda: self._issue(goal))
        if outcome is not None and outcome.status == "rejected":
            self._forget(goal)
        return outcome

    def _issue(self, goal: _Goal) -> Sequence[Command]:
        actuator = self._rig.actuator
        commands: dict[str, Command] = {}
        try:
            if goal.stage_um is not None:
                commands["stage"] = actuator.move_stage(*goal.stage_um)
            if goal.focus_um is not None:
                commands["focus"] = actuator.move_focus(goal.focus_um)
        except (HardwareError, SafetyError):
            self._forget(goal)
            # What is on its way has nobody else who would see it through; what comes
            # of it matters less than why the rest was refused.
            with suppress(HardwareError):
                actuator.settle(*commands.values())
            raise
        goal.commands = commands
        return [*commands.values()]

    def _forget(self, goal: _Goal) -> None:
        with self._lock:
            for name in ("stage", "focus"):
                if self._goals.get(name) is goal:
                    del self._goals[name]

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
        if action.is_elsewhere:
            return outcome_of(
                request,
                "rejected",
                "a burst in a stream is taken where the stage is: move it first, and "
                "leave x_um, y_um and z_um out",
            )
        return self._interrupt(Interruption(request, "burst"))

    def _pause(self, request: Request, action: Pause) -> Outcome:
        self._pause_run()
        return outcome_of(request, "scheduled")

    def _stop(self, request: Request, action: Stop) -> Outcome:
        self.ended_by_policy = True
        self.stop()
        return outcome_of(request, "scheduled")
