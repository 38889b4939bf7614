"""Carries what a policy remembers over to an instance with other parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from smartscope.policies._policy import Policy

_OF_THE_HOST = ("_context", "_own_actions")
_DEEPEST = 8


def carry_state(pristine: Policy, present: Policy, made: Policy) -> None:
    """Give `made` the state of `present`, but settings by its own parameters.

    Private attributes hold both what a policy has seen and what its parameters said
    when it started: a `Hysteresis` knows whether it is on, and its thresholds. What
    differs between two instances that have only been started comes from the
    parameters and is kept, unless the policy has changed it since; all else is state
    and comes from `present`. Helper objects are looked into.

    Parameters
    ----------
    pristine : Policy
        Started with the parameters of `present`, and nothing else.
    present : Policy
        The one that goes on; a copy, for its state is handed over and not copied.
    made : Policy
        Of the same class, started with the new parameters.
    """
    then, now, new = (_private(policy) for policy in (pristine, present, made))
    for name, value in now.items():
        if name not in _OF_THE_HOST:
            new[name] = _merged(then.get(name), value, new.get(name), _DEEPEST)


def share_actions(present: Policy, made: Policy) -> None:
    """Let `made` know what `present` has asked for: it is under way for both."""
    _private(made)["_own_actions"] = present.own_actions


def _private(policy: Policy) -> dict[str, Any]:
    return policy.__pydantic_private__ or {}


def _merged(then: Any, now: Any, new: Any, depth: int) -> Any:
    """What an attribute becomes: `new` where only the parameters differ, else `now`."""
    if not type(then) is type(now) is type(new):
        return new if _same(then, now) else now
    names = _attributes(now)
    if not names or depth == 0:
        return new if _same(then, now) else now
    for name in names:
        value = getattr(now, name)
        if hasattr(then, name) and hasattr(new, name):
            value = _merged(getattr(then, name), value, getattr(new, name), depth - 1)
        # Past a class that is frozen: this is a copy that nobody else knows.
        object.__setattr__(now, name, value)
    return now


def _attributes(value: Any) -> tuple[str, ...]:
    """Names of what an object of a helper class holds; () for plain values."""
    if isinstance(value, type | np.ndarray | np.generic):
        return ()
    names = list(getattr(value, "__dict__", ()))
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        names += [slots] if isinstance(slots, str) else slots
    held = (n for n in names if not n.startswith("__") and hasattr(value, n))
    return tuple(dict.fromkeys(held))


def _same(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return bool(np.array_equal(a, b))
    try:
        return bool(a == b)
    except Exception:  # somebody's own `==`; what cannot be compared is state
        return False
