"""Runs the policies: numbered observations in, numbered decisions out.

The same host decides during a run and when a journal is re-decided, so both take
exactly the same steps from the same inputs: phases follow from observations, and what
was reloaded is in the journal.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from smartscope.control._answers import in_words, react
from smartscope.control._phases import PhaseChange, PhaseClock
from smartscope.core import (
    Acquire,
    Action,
    Decision,
    NextPhase,
    Nothing,
    Observation,
    Request,
    SetInterval,
    ShiftPosition,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from smartscope.config import PhaseConfig
    from smartscope.core import Outcome, View
    from smartscope.policies import Policy, PolicyFactory

_OF_ONE_POSITION = (SetInterval, Acquire, ShiftPosition)
_DONE = ("applied", "scheduled", "noted", "shadow", "replay")
_Seat = tuple[str, "View | None"]
_Taken = tuple[str, "View", type[Action]]


@dataclass(frozen=True, slots=True)
class Undone:
    """A reload that was taken back when the new instance first reacted."""

    policy: str
    observation: int
    reason: str


@dataclass(slots=True)
class _Trial:
    """What a reload replaced, until every new instance has reacted once."""

    before: PolicyFactory
    old: dict[View | None, Policy]
    waiting: set[View | None]


@dataclass(slots=True)
class _Asked:
    """An action whose outcome has not come."""

    request: Request
    policy: Policy


class PolicyHost:
    """Keeps the policies of one run and asks them, one observation at a time.

    Used from one thread. Per-position policies get one instance for each view, made
    when the view is first seen, and again when a phase of theirs begins.

    Parameters
    ----------
    policies : sequence of PolicyFactory
        In the order of the experiment.
    phases : sequence of PhaseConfig
    """

    def __init__(
        self,
        policies: Sequence[PolicyFactory],
        phases: Sequence[PhaseConfig] = (),
    ) -> None:
        self._factories = {policy.name: policy for policy in policies}
        self._policies: dict[_Seat, Policy] = {}
        self._phases = PhaseClock(phases)
        self._asked: dict[str, _Asked] = {}
        self._taken: dict[_Taken, Action] = {}
        self._trials: dict[str, _Trial] = {}
        self._told: list[PhaseChange | Undone] = []
        self._decisions = 0
        self._observations = 0

    @property
    def phase(self) -> str:
        """Name of the present phase; "" where the experiment has none."""
        return self._phases.now

    def take_told(self) -> tuple[PhaseChange | Undone, ...]:
        """Hand over, once, what has happened while deciding."""
        told = tuple(self._told)
        self._told.clear()
        return told

    def factory(self, name: str) -> PolicyFactory:
        """What makes the instances of this policy now."""
        return self._factories[name]

    @property
    def resting(self) -> tuple[str, ...]:
        """Policies that do not look in the present phase."""
        return tuple(n for n, f in self._factories.items() if not self._is_on(f))

    def number(self, seen: Observation, **told: Any) -> Observation:
        """Give an observation its number: the order in which policies see it.

        `told` are further fields of it, what else the policies are told now.
        """
        numbered = replace(seen, number=self._observations, **told)
        self._observations += 1
        return numbered

    def decide(
        self, seen: Observation, t_decided_ns: Callable[[], int]
    ) -> tuple[Decision, ...]:
        """Ask every policy that looks at this view; one decision each.

        A policy that raises gives a decision with `error` set and no requests. What a
        policy of a phase that is over still holds is given back in its name.
        """
        next_phase = self._hear(seen.outcomes)
        if change := self._phases.update(seen, next_phase):
            self._told.append(change)
            self._leave()
        decisions = list(self._given_back(seen, t_decided_ns))
        for name, factory in tuple(self._factories.items()):
            if self._is_on(factory) and factory.looks_at(seen.view):
                view = seen.view if factory.per == "position" else None
                decisions.append(self._ask(name, view, seen, t_decided_ns()))
        return tuple(decisions)

    def refuses(self, request: Request) -> str:
        """Say why a policy may not ask for this at all; "" if it may."""
        action, names = request.action, self._phases.names
        if isinstance(action, NextPhase):
            if not names:
                return "the experiment has no phases"
            if action.phase is not None and action.phase not in names:
                return f"there is no phase '{action.phase}' ({', '.join(names)})"
        arm = self._factories[request.policy].arm
        if not arm or not action.claims(request.view):
            return ""
        far = isinstance(action, Acquire) and action.is_elsewhere
        if isinstance(action, _OF_ONE_POSITION) and not far:
            return ""
        return f"{type(action).__name__} would change the other arms than '{arm}' too"

    def reload(self, factory: PolicyFactory) -> str:
        """Let `factory` make the instances of its policy from now on.

        Those that exist are replaced, see `PolicyFactory.renew`. When one of the new
        ones raises as it first reacts, all are taken back, and the old ones go on.

        Returns
        -------
        str
            Why nothing was replaced; "" if it was.
        """
        name = factory.name
        before = self._factories[name]
        old = {view: p for (who, view), p in self._policies.items() if who == name}
        made: dict[View | None, Policy] = {}
        for view, policy in old.items():
            try:
                made[view] = factory.renew(view, before, policy)
            except Exception as error:  # whatever a user's policy raises is its own
                return in_words(error)
        self._factories[name] = factory
        self._policies |= {(name, view): policy for view, policy in made.items()}
        self._trials[name] = _Trial(before, old, set(old))
        return ""

    # ------------------------------------------------------------------- phases

    def _is_on(self, factory: PolicyFactory) -> bool:
        if self._phases.over:
            return False
        return not factory.phases or self.phase in factory.phases

    def _hear(self, outcomes: Sequence[Outcome]) -> tuple[str | None, str] | None:
        """Tell the owners what became of their actions; the phase asked for, if any."""
        next_phase = None
        for outcome in outcomes:
            # Also with the sight of a view that the owner does not see.
            if (asked := self._asked.pop(outcome.action_id, None)) is None:
                continue
            asked.policy.own_actions.arrived(outcome)
            action = asked.request.action
            if outcome.status not in _DONE:
                continue
            if isinstance(action, NextPhase):
                next_phase = (action.phase, f"{outcome.policy}: {action.reason}")
            key = (outcome.policy, asked.request.view, type(action))
            if action.gives_back:
                self._taken.pop(key, None)
            elif action.undone("") is not None:
                self._taken[key] = action
        return next_phase

    def _leave(self) -> None:
        """Forget the instances of policies that look no more: they begin anew."""
        for seat in tuple(self._policies):
            if not self._is_on(self._factories[seat[0]]):
                del self._policies[seat]
                self._prove(*seat)

    def _given_back(
        self, seen: Observation, t_decided_ns: Callable[[], int]
    ) -> Iterator[Decision]:
        for key, action in tuple(self._taken.items()):
            name, view, _ = key
            if self._is_on(self._factories[name]):
                continue
            del self._taken[key]
            back = action.undone(f"the phase of {name} is over")
            if back is not None:
                at = replace(seen, view=view)
                yield self._decision(name, at, t_decided_ns(), "", (back,), None)

    # ------------------------------------------------------------------- asking

    def _ask(
        self, name: str, view: View | None, seen: Observation, t_ns: int
    ) -> Decision:
        policy = self._policies.get((name, view))
        if policy is None:
            policy = self._factories[name].make(view)
            self._policies[name, view] = policy
        error, actions = react(policy, seen)
        if name in self._trials:
            trial = self._trials[name]
            if error and (view in trial.waiting or not trial.old):
                policy = self._take_back(name, view, seen.number, error)
                error, actions = react(policy, seen)
            else:
                self._prove(name, view)
        return self._decision(name, seen, t_ns, error, actions, policy)

    def _decision(
        self,
        name: str,
        seen: Observation,
        t_ns: int,
        error: str,
        actions: Sequence[Action],
        policy: Policy | None,
    ) -> Decision:
        number = self._decisions
        self._decisions += 1
        requests = tuple(
            Request(
                action_id=f"{number}.{k}",
                policy=name,
                view=seen.view,
                action=action,
                t_decided_ns=t_ns,
                observation=seen.number,
                channel=seen.channel,
                seen=seen.state,
            )
            for k, action in enumerate(actions)
        )
        for request in requests:
            if policy is not None and not isinstance(request.action, Nothing):
                self._asked[request.action_id] = _Asked(request, policy)
                policy.own_actions.asked(request)
        return Decision(
            number=number,
            observation=seen.number,
            policy=name,
            view=seen.view,
            requests=requests,
            error=error,
        )

    # ------------------------------------------------------------------- trials

    def _prove(self, name: str, view: View | None) -> None:
        """Note that an instance need not be taken back any more."""
        if (trial := self._trials.get(name)) is not None:
            trial.waiting.discard(view)
            if not trial.waiting:
                del self._trials[name]

    def _take_back(
        self, name: str, view: View | None, observation: int, error: str
    ) -> Policy:
        trial = self._trials.pop(name)
        self._factories[name] = trial.before
        for seat in tuple(self._policies):
            if seat[0] == name:
                del self._policies[seat]
        self._policies |= {(name, at): policy for at, policy in trial.old.items()}
        self._told.append(Undone(name, observation, error))
        seat = (name, view)
        if seat not in self._policies:  # it was reloaded before its first sight
            self._policies[seat] = trial.before.make(view)
        return self._policies[seat]
