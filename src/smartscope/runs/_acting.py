"""What policies may do in a live run, and how it is checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartscope.control import (
    Actor,
    FollowUp,
    LiveActions,
    PlanActions,
    StreamControl,
    outcome_of,
)
from smartscope.core import Acquire, Keep
from smartscope.runs._preflight import presets_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from smartscope.config import Stream
    from smartscope.control import LightPlan, Schedule
    from smartscope.core import Outcome, Request
    from smartscope.record import RunWriter
    from smartscope.rig import Command, Rig
    from smartscope.runs._plan import PlanFacts
    from smartscope.safety import Guard


class Acting:
    """The actor of a live run, with all it needs.

    Parameters
    ----------
    stream : Stream or None
        None for a plan.
    virtual : bool
        Nothing may depend on which thread is faster.
    failed : function
        Gets what goes wrong while commands are seen through.
    asked_only : bool
        Frames go to disk only where a policy asks for them (`Keep`).
    """

    def __init__(
        self,
        rig: Rig,
        *,
        guard: Guard,
        facts: PlanFacts,
        lights: LightPlan,
        schedule: Schedule,
        stream: Stream | None,
        virtual: bool,
        shadow: bool,
        failed: Callable[[BaseException], None],
        asked_only: bool,
    ) -> None:
        self._rig = rig
        self._guard = guard
        self._facts = facts
        self._lights = lights
        self._schedule = schedule
        self._asked_only = asked_only
        self._follow_up = FollowUp(
            rig,
            arrived=lambda outcome: self.actor.later(outcome),
            inline=stream is None or virtual,
            failed=failed,
        )
        self.stream: StreamControl | None = None
        # Set once the record is open.
        self.writer: RunWriter | None = None
        if stream is not None:
            self.stream = StreamControl(
                rig,
                stream,
                lights,
                self._follow_up,
                pause=lambda: rig.core.mda.set_paused(True),
            )
            handlers = self.stream.handlers()
        else:
            handlers = {
                **LiveActions(rig, self._at_once).handlers(),
                **PlanActions(schedule, lights).handlers(),
            }
        handlers[Keep] = self._keep
        self.actor = Actor(handlers, clock=rig.clock, check=self._check, shadow=shadow)

    def close(self, patience_s: float) -> None:
        """See what was begun to its end; do nothing new."""
        self.actor.close()
        self._follow_up.close(patience_s)

    def _at_once(
        self, request: Request, parameter: str, issue: Callable[[], Sequence[Command]]
    ) -> Outcome | None:
        # Between the exposures of a plan the camera rests: anything may change.
        return self._follow_up.finish(request, *issue())

    def _keep(self, request: Request, action: Keep) -> Outcome:
        if not self._asked_only or self.writer is None:
            return outcome_of(request, "noted", "every frame is kept anyway")
        frames = self.writer.keep(
            action.before_s, action.after_s, action_id=request.action_id
        )
        return outcome_of(request, "applied", f"{frames} frames from memory")

    def _check(self, request: Request) -> str | None:
        action = request.action
        if isinstance(action, Acquire) and action.channel is not None:
            if action.channel not in presets_of(self._rig, self._facts, action.channel):
                return f"this microscope has no channel preset '{action.channel}'"
        now = self._rig.clock.now_ns()
        if self.stream is None:
            position = request.view.position
            planned = self._schedule.base(position)
            offset = self._schedule.offset(position)
        else:
            # A stream has no plan to go back to: what is added is added to where the
            # stage is, or is being sent.
            planned, offset = self.stream.heading_um(), (0.0, 0.0, 0.0)
        return self._guard.check_action(
            request,
            state=self._rig.state(now),
            planned=planned,
            offset=offset,
            powers=self._lights.highest(),
            sensor_px=self._rig.sensor_shape,
            t_ns=now,
        )
