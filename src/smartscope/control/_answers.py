"""What a policy gave: actions, or an error in words; and how two decisions differ."""

from __future__ import annotations

import dataclasses
import math
from itertools import islice
from typing import TYPE_CHECKING

from smartscope.core import Action

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smartscope.core import Decision, Observation
    from smartscope.policies import Policy

_MOST_ACTIONS = 1000
"""Of one policy on one sight; a generator that never ends must not fill the memory."""


def react(policy: Policy, seen: Observation) -> tuple[str, Sequence[Action]]:
    """Ask a policy; an error in words, or "" and its actions."""
    try:
        actions = list(islice(policy.react(seen) or (), _MOST_ACTIONS + 1))
    except Exception as error:  # whatever a user's policy raises must not end the loop
        return in_words(error), ()
    if len(actions) > _MOST_ACTIONS:
        return f"react() gave more than {_MOST_ACTIONS} actions at once", ()
    wrong = [a for a in actions if not isinstance(a, Action)]
    if wrong:
        return f"react() gave {wrong[0]!r}, which is no action", ()
    for action in actions:
        if field := _not_finite(action):
            return f"{type(action).__name__}.{field} is no finite number", ()
    return "", actions


def in_words(error: Exception) -> str:
    """What an exception of a policy says, and the line it comes from."""
    where = error.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    line = f" (line {where.tb_lineno})" if where is not None else ""
    return f"{type(error).__name__}: {error}{line}"


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
