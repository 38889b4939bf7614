"""The guard: every plan before the run, every event and action before it happens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartscope.core import (
    Mark,
    NextPhase,
    Nothing,
    Pause,
    SafetyError,
    SetInterval,
    Stop,
)
from smartscope.safety._actions import Position, Situation, refuse
from smartscope.safety._envelope import Envelope
from smartscope.safety._plan import PlanCheck, describe, event_breach
from smartscope.safety._rate import RateLimit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from useq import MDAEvent

    from smartscope.config import Experiment, Limits, RigConfig, Stream
    from smartscope.core import HardwareState, Request

    Offset = tuple[float, float, float]

_NOT_HARDWARE = (Nothing, Mark, SetInterval, Pause, Stop, NextPhase)


class Guard:
    """Checks against the limits; pure logic, called from one thread.

    Parameters
    ----------
    rig : RigConfig
    experiment : Experiment

    Raises
    ------
    ConfigError
        If the experiment loosens a limit of the rig, see `merge_limits`.
    """

    def __init__(self, rig: RigConfig, experiment: Experiment) -> None:
        self._envelope = Envelope(rig, experiment)
        self._rate = RateLimit(self.limits.actions_per_s)

    @property
    def limits(self) -> Limits:
        """The limits that hold: the tightest of rig and experiment."""
        return self._envelope.limits

    def highest_percent(self, objective: str | None = None) -> dict[str, float]:
        """Highest power allowed of every light line, percent of its range.

        A limit in mW that the calibration cannot translate allows nothing.
        """
        return self._envelope.highest_percent(objective)

    def check_plan(
        self,
        events: Iterable[MDAEvent],
        *,
        home: Position = (None, None, None),
        objective: str | None = None,
        offset_of: Callable[[MDAEvent], Offset] | None = None,
    ) -> int:
        """Check every planned event; return how many there are.

        Parameters
        ----------
        events : iterable of MDAEvent
            The baseline, in order.
        home : (x_um, y_um, z_um)
            Where the rig stands, for events that name no position but have an offset.
        objective : str or None
            Objective preset that is turned in.
        offset_of : function of event, optional
            What will be added to its position, um.

        Raises
        ------
        ConfigError
            For the first event that breaks a limit, with its index, the value, the
            limit, and the file and field to change.
        """
        check = PlanCheck(self._envelope, home, objective)
        count = 0
        for count, event in enumerate(events, 1):
            offset = offset_of(event) if offset_of else (0.0, 0.0, 0.0)
            check.event(count - 1, event, offset)
        return count

    def check_stream(self, stream: Stream, *, objective: str | None = None) -> None:
        """Check a stream before the run; raises `ConfigError` as `check_plan` does."""
        PlanCheck(self._envelope, (None, None, None), objective).stream(stream)

    def check_event(
        self,
        event: MDAEvent,
        *,
        powers: Mapping[str, float] | None = None,
        objective: str | None = None,
    ) -> None:
        """Check an event right before it is executed, everything added.

        Parameters
        ----------
        event : MDAEvent
            With offsets and overrides added.
        powers : mapping of line to percent, optional
            Powers it will be exposed with.
        objective : str or None
            Objective preset that is turned in.

        Raises
        ------
        SafetyError
            If it breaks a limit.
        """
        breach = event_breach(self._envelope, event, dict(powers or {}), objective)
        if breach is not None:
            raise SafetyError(f"{describe(event)}: {breach[1]}")

    def check_action(
        self,
        request: Request,
        *,
        state: HardwareState,
        planned: Position = (None, None, None),
        offset: Offset = (0.0, 0.0, 0.0),
        powers: Mapping[str, float] | None = None,
        sensor_px: tuple[int, int] | None = None,
        t_ns: int | None = None,
    ) -> str | None:
        """Return None, or the sentence why an action is refused.

        Called once, right before the action is carried out.

        Parameters
        ----------
        request : Request
        state : HardwareState
            As the rig is now.
        planned : (x_um, y_um, z_um)
            Planned position of the request's view, without its offset.
        offset : (x_um, y_um, z_um)
            What is added to it now.
        powers : mapping of line to percent, optional
            Powers of the frames to come; the present ones where it says nothing.
        sensor_px : (height, width) or None
            Whole sensor, unbinned.
        t_ns : int or None
            Now, run clock, for the rate limit; None leaves the rate unchecked.
        """
        at = Situation(state, planned, offset, powers or {}, sensor_px)
        if refused := refuse(request.action, at, self._envelope):
            return refused
        if t_ns is None or isinstance(request.action, _NOT_HARDWARE):
            return None
        if self._rate.admit(t_ns):
            return None
        return (
            f"more than {self.limits.actions_per_s:g} hardware actions per second "
            f"({self._envelope.where('actions_per_s')})"
        )
