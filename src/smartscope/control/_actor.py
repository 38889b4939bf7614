"""Carries out granted actions: deadline, safety, then as this kind of run does it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from smartscope.control._outcome import outcome_of
from smartscope.core import (
    NS_PER_MS,
    Acquire,
    Action,
    HardwareError,
    Mark,
    MoveFocus,
    MoveStage,
    NextPhase,
    Nothing,
    Pause,
    Roi,
    SafetyError,
    SetExposure,
    SetInterval,
    SetPower,
    SetProperty,
    SetRoi,
    ShiftPosition,
    ShowPattern,
    Stop,
    SwitchObjective,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from smartscope.control._lights import LightPlan
    from smartscope.control._schedule import Schedule
    from smartscope.core import Clock, Outcome, Request
    from smartscope.rig import Command, Rig

    Handler = Callable[[Request, Any], Outcome | None]
    Change = Callable[[Request, str, Callable[[], Sequence[Command]]], Outcome | None]


class Actor:
    """Turns one granted request into its outcome. Called from one thread.

    Parameters
    ----------
    handlers : action type -> function
        What this setting can do; an action without a handler is rejected. A handler
        that returns None has begun something whose outcome comes later.
    check : function
        Safety: None, or the sentence why the request is refused.
    shadow : bool
        Check everything but act on nothing; outcomes say ``shadow``.
    without : str
        Status of an action that has no handler here: ``rejected``, or ``replay`` where
        pixels are recorded and nothing can be done about them.
    """

    def __init__(
        self,
        handlers: Mapping[type[Action], Handler],
        *,
        clock: Clock,
        check: Callable[[Request], str | None],
        shadow: bool = False,
        without: str = "rejected",
    ) -> None:
        self._handlers = dict(handlers)
        self._clock = clock
        self._check = check
        self._shadow = shadow
        self._without = without
        self._closed = False
        self._begun: dict[str, int] = {}
        # Set by the controller, which journals what comes later.
        self.arrived: Callable[[Outcome], None] = lambda outcome: None

    def close(self) -> None:
        """Carry out nothing any more; callable from any thread."""
        self._closed = True

    def later(self, outcome: Outcome) -> None:
        """Tell what became of an action that was begun; from any thread."""
        checked = self._begun.pop(outcome.action_id)
        self.arrived(replace(outcome, t_ns={"checked": checked, **outcome.t_ns}))

    def act(self, request: Request) -> Outcome | None:
        """Check and carry out; hardware failures become a ``failed`` outcome.

        None if the outcome comes later.
        """
        action = request.action
        if isinstance(action, Nothing | Mark | NextPhase):
            # The host of the policies ends a phase when it hears of this outcome.
            return outcome_of(request, "noted")
        checked = self._clock.now_ns()
        if action.deadline_ms is not None:
            age_ms = (checked - request.t_decided_ns) / NS_PER_MS
            if age_ms > action.deadline_ms:
                return outcome_of(
                    request,
                    "expired",
                    f"{age_ms:.0f} ms old, allowed were {action.deadline_ms:g} ms",
                )
        if refused := self._check(request):
            return outcome_of(request, "rejected", refused)
        if self._closed:
            return outcome_of(request, "rejected", "the run is over")
        handler = self._handlers.get(type(action))
        if handler is None:
            return outcome_of(
                request,
                self._without,
                f"{type(action).__name__} is not possible in this kind of run",
            )
        if self._shadow:
            return outcome_of(request, "shadow")
        # Noted first: what was begun may be over before the handler returns.
        self._begun[request.action_id] = checked
        try:
            outcome = handler(request, action)
        except HardwareError as error:
            outcome = outcome_of(request, "failed", str(error))
        except SafetyError as error:
            outcome = outcome_of(request, "rejected", str(error))
        if outcome is None:
            return None
        del self._begun[request.action_id]
        return replace(outcome, t_ns={"checked": checked, **outcome.t_ns})


def amend_power(
    lights: LightPlan, request: Request, action: SetPower
) -> Outcome | None:
    """Use this power for all frames to come; an outcome if no channel uses the line."""
    if not lights.uses(action.line):
        return outcome_of(
            request, "rejected", f"no channel uses light line {action.line}"
        )
    lights.amend(action.line, action.power_percent)
    return None


class LiveActions:
    """Actions that are hardware commands, read back before they count.

    Parameters
    ----------
    rig : Rig
    change : function
        Gets the request, the parameter it changes (as in `Capabilities.table`) and a
        function that issues the commands; does it now or when it may be done.
    """

    def __init__(self, rig: Rig, change: Change) -> None:
        self._rig = rig
        self._actuator = rig.actuator
        self._change = change

    def handlers(self) -> dict[type[Action], Handler]:
        """Handlers of the actions this class carries out."""
        return {
            MoveStage: self._move_stage,
            MoveFocus: self._move_focus,
            SetProperty: self._set_property,
            SwitchObjective: self._switch_objective,
            ShowPattern: self._show_pattern,
        }

    def _move_stage(self, request: Request, action: MoveStage) -> Outcome | None:
        move = self._actuator.move_stage
        return self._change(request, "stage", lambda: [move(action.x_um, action.y_um)])

    def _move_focus(self, request: Request, action: MoveFocus) -> Outcome | None:
        move = self._actuator.move_focus
        return self._change(request, "focus", lambda: [move(action.z_um)])

    def _set_property(self, request: Request, action: SetProperty) -> Outcome | None:
        device, name, put = action.device, action.property, self._actuator.set_property
        return self._change(
            request, f"{device}.{name}", lambda: [put(device, name, action.value)]
        )

    def _switch_objective(
        self, request: Request, action: SwitchObjective
    ) -> Outcome | None:
        turn = self._actuator.switch_objective
        return self._change(request, "objective", lambda: [turn(action.objective)])

    def _show_pattern(self, request: Request, action: ShowPattern) -> Outcome | None:
        # Its points count in pixels of the image it was decided on, however the camera
        # may be set by now.
        seen = request.seen or self._rig.state(request.t_decided_ns)
        show, polygons = self._actuator.show_regions, action.polygons_px
        return self._change(
            request, "slm", lambda: [show(polygons, seen, action.intensity)]
        )


class PlanActions:
    """Actions that amend the schedule of a plan; hardware follows at the next event."""

    def __init__(self, schedule: Schedule, lights: LightPlan) -> None:
        self._schedule = schedule
        self._lights = lights

    def handlers(self) -> dict[type[Action], Handler]:
        """Handlers of the actions this class carries out."""
        return {
            SetInterval: self._interval,
            Acquire: self._acquire,
            ShiftPosition: self._shift,
            SetPower: self._power,
            SetExposure: self._exposure,
            SetRoi: self._roi,
            Pause: self._pause,
            Stop: self._stop,
        }

    def _interval(self, request: Request, action: SetInterval) -> Outcome:
        self._schedule.set_interval(
            request.view.position, action.interval_s, request.action_id
        )
        return outcome_of(request, "scheduled")

    def _acquire(self, request: Request, action: Acquire) -> Outcome:
        try:
            frames = self._schedule.insert_burst(
                request.view.position,
                frames=action.frames,
                interval_s=action.interval_s,
                channel=action.channel or request.channel,
                exposure_ms=action.exposure_ms,
                z_offsets_um=action.z_offsets_um,
                cause=request.action_id,
                priority=action.priority,
                place_um=(action.x_um, action.y_um, action.z_um),
            )
        except LookupError as error:
            return outcome_of(request, "rejected", str(error))
        return outcome_of(request, "scheduled", f"{frames} frames")

    def _shift(self, request: Request, action: ShiftPosition) -> Outcome:
        x, y, z = self._schedule.shift(
            request.view.position, action.dx_um, action.dy_um, action.dz_um
        )
        return replace(
            outcome_of(request, "scheduled"),
            readback={"offset_x_um": x, "offset_y_um": y, "offset_z_um": z},
        )

    def _power(self, request: Request, action: SetPower) -> Outcome:
        refused = amend_power(self._lights, request, action)
        return refused or outcome_of(request, "scheduled")

    def _exposure(self, request: Request, action: SetExposure) -> Outcome:
        self._schedule.set_exposure(action.channel, action.exposure_ms)
        return outcome_of(request, "scheduled")

    def _roi(self, request: Request, action: SetRoi) -> Outcome:
        self._schedule.set_roi(roi_of(action))
        return outcome_of(request, "scheduled")

    def _pause(self, request: Request, action: Pause) -> Outcome:
        self._schedule.pause()
        return outcome_of(request, "scheduled")

    def _stop(self, request: Request, action: Stop) -> Outcome:
        self._schedule.stop()
        return outcome_of(request, "scheduled")


def roi_of(action: SetRoi) -> Roi | None:
    """Region a `SetRoi` asks for, None for the full chip."""
    x, y, w, h = action.x_px, action.y_px, action.width_px, action.height_px
    if x is None or y is None or w is None or h is None:
        return None
    return Roi(x, y, w, h)
