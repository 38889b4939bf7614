"""Whether a sight already shows what a policy did last: no reacting twice to one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from smartscope.core import (
    MoveFocus,
    MoveStage,
    SetExposure,
    SetPower,
    SetProperty,
    SetRoi,
    ShiftPosition,
    ShowPattern,
    SwitchObjective,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smartscope.core import Action, Observation, Outcome, Request

_MOST = 256
_PARAMETERS: dict[type[Action], tuple[str, ...]] = {
    MoveStage: ("stage",),
    MoveFocus: ("focus",),
    SetPower: ("power",),
    SetExposure: ("exposure",),
    SetRoi: ("roi",),
    SwitchObjective: ("objective", "stage", "focus"),
    ShowPattern: ("slm",),
}


@dataclass(slots=True)
class _Change:
    """What was done, and from which frame on it shows.

    Attributes
    ----------
    command : int or None
        The hardware command; None for what was put on the schedule.
    whole : bool
        Several devices moved: only an epoch says that all of them had arrived.
    since_ns : int
        Exposures from here on follow the schedule.
    late_frames : int
        Frames after the first that began in the new state and show the old one.
    first_frame : int or None
        First frame seen that began in the new state.
    """

    command: int | None
    whole: bool = False
    since_ns: int = 0
    late_frames: int = 0
    first_frame: int | None = None

    def shows_in(self, seen: Observation) -> bool:
        if self.command is None:
            return seen.t_ns >= self.since_ns
        if self.first_frame is None:
            state = seen.state
            later = () if self.whole else state.settled_later
            if state.epoch < self.command and self.command not in later:
                return False
            self.first_frame = seen.frame_ids[0]
        return seen.frame_ids[0] >= self.first_frame + self.late_frames


class OwnActions:
    """What one policy has asked for, until a sight shows what came of it.

    A policy need not touch it: the host of the policies keeps it, and `Policy.fresh`
    asks it. All it knows comes from observations and ids, so that a replay knows the
    same; it remembers no more than the newest 256 changes.

    Parameters
    ----------
    effect_after_frames : mapping of parameter to int
        See `PolicyContext.effect_after_frames`.
    """

    def __init__(self, effect_after_frames: Mapping[str, int] | None = None) -> None:
        self._late_frames = dict(effect_after_frames or {})
        self._waiting: dict[str, Action] = {}
        self._changes: list[_Change] = []

    def asked(self, request: Request) -> None:
        """Note an action of the policy that will get an outcome."""
        self._waiting[request.action_id] = request.action

    def arrived(self, outcome: Outcome) -> None:
        """Note what became of an action; those of others are ignored."""
        action = self._waiting.pop(outcome.action_id, None)
        if action is None:
            return
        if outcome.command is not None:
            change = _Change(
                outcome.command,
                whole=_moves_both(action),
                late_frames=max(
                    (self._late_frames.get(p, 0) for p in _parameters(action)),
                    default=0,
                ),
            )
        elif outcome.status == "scheduled":
            change = _Change(None, since_ns=outcome.t_ns.get("checked", 0))
        else:
            return  # nothing was done, or nothing that a frame shows
        self._changes = [*self._changes[1 - _MOST :], change]

    def fresh(self, seen: Observation) -> bool:
        """Whether `seen` shows what all of the policy's actions did; see `Policy`."""
        if self._changes:
            self._changes = [c for c in self._changes if not c.shows_in(seen)]
        return not (self._waiting or self._changes)


def _parameters(action: Action) -> tuple[str, ...]:
    """What an action changes, in the words of the rig file's ``capabilities``."""
    if isinstance(action, SetProperty):
        return (f"{action.device}.{action.property}",)
    if isinstance(action, ShiftPosition):
        stage = ("stage",) if action.dx_um or action.dy_um else ()
        return stage + (("focus",) if action.dz_um else ())
    return _PARAMETERS.get(type(action), ())


def _moves_both(action: Action) -> bool:
    return isinstance(action, ShiftPosition) and len(_parameters(action)) > 1
