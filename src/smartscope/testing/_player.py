"""Plays a story to a policy: what the host and the microscope would do with it."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from smartscope.core import (
    Action,
    Mark,
    MoveFocus,
    MoveStage,
    NextPhase,
    Nothing,
    Outcome,
    Request,
    SetExposure,
    SetInterval,
    SetPower,
    ShiftPosition,
)
from smartscope.core import Keep as KeepFrames
from smartscope.testing._watch import Watch

if TYPE_CHECKING:
    from smartscope.core import HardwareState, Observation
    from smartscope.policies import Policy
    from smartscope.testing._stories import Story

MOST_ACTIONS = 1000
_NOTED = (Nothing, Mark, KeepFrames)
_PLANNED = (SetInterval, NextPhase)


@dataclass(frozen=True, slots=True)
class Turn:
    """One sight, and what the policy made of it.

    Attributes
    ----------
    seen : Observation
        As shown, with the outcomes and the state that its actions led to.
    actions : tuple
        What `react` gave, whatever it is.
    error : Exception or None
    touched : frozenset of str
        What of the world it touched, in words.
    altered : bool
        Whether it changed the observation itself.
    """

    seen: Observation
    actions: tuple[Any, ...]
    error: Exception | None
    touched: frozenset[str]
    altered: bool


class Player:
    """One policy in one story, sight by sight.

    An action's outcome comes with the next sight, and what it did shows in the one
    after that, as in a run.

    Parameters
    ----------
    policy : Policy
        Started; it is changed by playing.
    story : Story
    watched : bool
        Whether to note what it touches of the world, and of the sights: that is slow.
    """

    def __init__(self, policy: Policy, story: Story, *, watched: bool = False) -> None:
        self.policy = policy
        self.story = story
        self._watched = watched
        self.turns: list[Turn] = []
        self._asked: list[Request] = []
        self._done: list[Action] = []
        self._commands = 0
        self._settled = 0
        self._state: dict[str, Any] = {}
        self._power: dict[str, float] = {}
        self._moved = [0.0, 0.0, 0.0]

    def step(self) -> Turn | None:
        """Show the next sight; None at the end, or after the policy has raised."""
        over = len(self.turns) == len(self.story.sights)
        if over or (self.turns and self.turns[-1].error):
            return None
        return self.show(self.story.sights[len(self.turns)])

    def play(self) -> list[Turn]:
        """Show all sights that are left."""
        while self.step() is not None:
            pass
        return self.turns

    def show(self, sight: Observation) -> Turn:
        """Show this sight, whatever the story says."""
        seen = self._as_shown(sight)
        before = _contents(seen) if self._watched else ""
        actions: tuple[Any, ...] = ()
        error: Exception | None = None
        watch = Watch()
        try:
            with watch if self._watched else nullcontext():
                given = self.policy.react(seen) or ()
                actions = tuple(islice(given, MOST_ACTIONS + 1))
        except Exception as raised:  # whatever a policy raises is what is looked for
            error = raised
        altered = self._watched and _contents(seen) != before
        turn = Turn(seen, actions, error, watch.touched, altered)
        self.turns.append(turn)
        self._ask(turn)
        return turn

    def copied(self) -> Player:
        """An independent copy: the policy deep-copied, as a hot reload may do."""
        twin = copy.copy(self)
        vars(twin).update(
            {
                name: copy.copy(value)
                for name, value in vars(self).items()
                if isinstance(value, list | dict)
            }
        )
        twin.policy = copy.deepcopy(self.policy)
        return twin

    def _ask(self, turn: Turn) -> None:
        for k, action in enumerate(turn.actions):
            if not isinstance(action, Action) or isinstance(action, Nothing):
                continue
            request = Request(
                action_id=f"{turn.seen.number}.{k}",
                policy=self.policy.context.name,
                view=turn.seen.view,
                action=action,
                t_decided_ns=turn.seen.t_ns,
                observation=turn.seen.number,
                channel=turn.seen.channel,
                seen=turn.seen.state,
            )
            self._asked.append(request)
            self.policy.own_actions.asked(request)

    def _as_shown(self, sight: Observation) -> Observation:
        for action in self._done:
            self._take_effect(action)
        self._done = []
        self._settled = self._commands
        outcomes = [] if self.story.fate == "never" else self._outcomes(sight.t_ns)
        for outcome in outcomes:
            self.policy.own_actions.arrived(outcome)
        number = len(self.turns)
        return replace(
            sight,
            number=number,
            frame_ids=(number,),
            outcomes=(*sight.outcomes, *outcomes),
            state=self._state_now(sight.state),
        )

    def _outcomes(self, t_ns: int) -> list[Outcome]:
        asked, self._asked = self._asked, []
        return [self._outcome(request, t_ns) for request in asked]

    def _outcome(self, request: Request, t_ns: int) -> Outcome:
        action, status, command = request.action, self.story.fate, None
        if status in ("applied", "scheduled"):
            self._done.append(action)
            if isinstance(action, _NOTED):
                status = "noted"
            elif isinstance(action, _PLANNED):
                status = "scheduled"
            elif status == "applied":
                self._commands += 1
                command = self._commands
        return Outcome(
            action_id=request.action_id,
            policy=request.policy,
            status=status,
            message="" if command or status == "noted" else "so the test wants it",
            winner="somebody else" if status == "outbid" else "",
            t_ns={"checked": t_ns},
            command=command,
        )

    def _take_effect(self, action: Action) -> None:
        match action:
            case SetPower():
                self._power[action.line] = action.power_percent
            case SetExposure():
                self._state["exposure_ms"] = action.exposure_ms
            case ShiftPosition():
                shift = (action.dx_um, action.dy_um, action.dz_um)
                self._moved = [a + b for a, b in zip(self._moved, shift, strict=True)]
            case MoveStage():
                self._state |= {"x_um": action.x_um, "y_um": action.y_um}
            case MoveFocus():
                self._state["z_um"] = action.z_um

    def _state_now(self, state: HardwareState) -> HardwareState:
        there = {
            name: None if value is None else value + moved
            for (name, value), moved in zip(
                (("x_um", state.x_um), ("y_um", state.y_um), ("z_um", state.z_um)),
                self._moved,
                strict=True,
            )
        }
        pending = range(self._settled + 1, self._commands + 1)
        return replace(
            state,
            **{**there, **self._state},
            power_percent={**state.power_percent, **self._power},
            epoch=self._settled,
            pending=tuple(pending),
        )


def _contents(seen: Observation) -> str:
    """All that a policy could alter in an observation, as text (NaN equals NaN)."""
    features = [dict(track.features) for track in seen.tracks]
    maps = (seen.measurements, seen.index, seen.state.power_percent)
    return repr([*map(dict, maps), features])
