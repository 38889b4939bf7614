"""Runs the policies: numbered observations in, numbered decisions out.

The same host decides during a run and when a journal is re-decided, so both take
exactly the same steps from the same inputs.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from smartscope.core import Action, Decision, Nothing, Observation, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from smartscope.core import View
    from smartscope.policies import Policy


_MOST_ACTIONS = 1000
"""Of one policy on one sight; a generator that never ends must not fill the memory."""


class PolicyHost:
    """Keeps the policies of one run and asks them, one observation at a time.

    Used from one thread. Per-position policies get one instance for each view, made
    when the view is first seen.

    Parameters
    ----------
    makers : sequence of (name, positions, per, maker)
        In the order of the experiment. `positions` restricts the fields it looks at
        (empty: all); `per` is ``position`` or ``run``; `maker(view or None)` returns
        a started policy.
    """

    def __init__(
        self,
        makers: Sequence[
            tuple[str, tuple[int, ...], str, Callable[[View | None], Policy]]
        ],
    ) -> None:
        self._makers = tuple(makers)
        self._policies: dict[tuple[str, View | None], Policy] = {}
        # Whose action it was, until its outcome has come.
        self._owners: dict[str, Policy] = {}
        self._decisions = 0
        self._observations = 0

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

        A policy that raises gives a decision with `error` set and no requests.
        """
        # Told to its owner also with the sight of a view that the owner does not see.
        for outcome in seen.outcomes:
            if (owner := self._owners.pop(outcome.action_id, None)) is not None:
                owner.own_actions.arrived(outcome)
        decisions = []
        for name, positions, per, maker in self._makers:
            if positions and seen.view.position not in positions:
                continue
            view = seen.view if per == "position" else None
            policy = self._policies.get((name, view))
            if policy is None:
                policy = self._policies[(name, view)] = maker(view)
            decisions.append(self._ask(name, policy, seen, t_decided_ns()))
        return tuple(decisions)

    def _ask(self, name: str, policy: Policy, seen: Observation, t_ns: int) -> Decision:
        number = self._decisions
        self._decisions += 1
        error, actions = _react(policy, seen)
        requests = tuple(
            Request(
                action_id=f"{number}.{k}",
                policy=name,
                view=seen.view,
                action=action,
                t_decided_ns=t_ns,
                observation=seen.number,
                channel=seen.channel,
            )
            for k, action in enumerate(actions)
        )
        for request in requests:
            if not isinstance(request.action, Nothing):
                self._owners[request.action_id] = policy
                policy.own_actions.asked(request)
        return Decision(
            number=number,
            observation=seen.number,
            policy=name,
            view=seen.view,
            requests=requests,
            error=error,
        )


def _react(policy: Policy, seen: Observation) -> tuple[str, Sequence[Action]]:
    try:
        actions = list(islice(policy.react(seen) or (), _MOST_ACTIONS + 1))
    except Exception as error:  # whatever a user's policy raises must not end the loop
        where = error.__traceback__
        while where is not None and where.tb_next is not None:
            where = where.tb_next
        line = f" (line {where.tb_lineno})" if where is not None else ""
        return f"{type(error).__name__}: {error}{line}", ()
    if len(actions) > _MOST_ACTIONS:
        return f"react() gave more than {_MOST_ACTIONS} actions at once", ()
    wrong = [a for a in actions if not isinstance(a, Action)]
    if wrong:
        return f"react() gave {wrong[0]!r}, which is no action", ()
    for action in actions:
        if field := _not_finite(action):
            return f"{type(action).__name__}.{field} is no finite number", ()
    return "", actions


_FIELDS: dict[type, tuple[str, ...]] = {}


def _fields(kind: type[Action]) -> tuple[str, ...]:
    names = _FIELDS.get(kind)
    if names is None:
        names = tuple(field.name for field in dataclasses.fields(kind))
        _FIELDS[kind] = names
    return names


def _not_finite(action: Action) -> str:
    """Name the first field that holds nan or infinity, "" if none does."""
    for name in _fields(type(action)):
        value = getattr(action, name)
        for number in value if type(value) is tuple else (value,):
            if isinstance(number, float) and not math.isfinite(number):
                return name
    return ""


def same_decision(a: Decision, b: Decision) -> str:
    """Say how two decisions differ, "" if they do not (times are not compared)."""
    if (a.policy, a.view, a.observation) != (b.policy, b.view, b.observation):
        return (
            f"decision {a.number}: {a.policy} on observation {a.observation} became "
            f"{b.policy} on observation {b.observation}"
        )
    what = f"decision {a.number} of {a.policy} on observation {a.observation}"
    if a.error != b.error:
        return f"{what}: error {a.error!r} became {b.error!r}"
    ours = [(r.action_id, r.action) for r in a.requests]
    theirs = [(r.action_id, r.action) for r in b.requests]
    if ours != theirs:
        return f"{what}: {_words(ours)} became {_words(theirs)}"
    return ""


def _words(requests: Sequence[tuple[str, Action]]) -> str:
    return "; ".join(repr(action) for _, action in requests) or "no action"
