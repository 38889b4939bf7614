"""A policy under test: what it does in every story, and how two doings differ."""

from __future__ import annotations

import copy
import sys
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from smartscope.testing._player import Player, Turn
from smartscope.testing._stories import Story, stories

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from smartscope.policies import Policy, PolicyContext

_CHANGEABLE = (list, dict, set, bytearray, int, float, str)


@dataclass
class Case:
    """A policy under test, and what it did in all stories.

    Attributes
    ----------
    policy : type of Policy
    parameters : mapping
    context : PolicyContext
    extra : tuple of Story
        The author's own, besides those of `stories`.
    """

    policy: type[Policy]
    parameters: Mapping[str, Any]
    context: PolicyContext
    extra: tuple[Story, ...] = ()

    def make(self) -> Policy:
        """Return a new instance, not started."""
        return self.policy(**copy.deepcopy(dict(self.parameters)))

    def started(self) -> Policy:
        """Return a new instance, started."""
        made = self.make()
        # A copy: a policy that alters it must not spoil those that come after.
        made.start(copy.deepcopy(self.context))
        return made

    @cached_property
    def stories(self) -> tuple[Story, ...]:
        """All stories it is put through."""
        return (*stories(self.started()), *self.extra)

    @cached_property
    def played(self) -> dict[Story, list[Turn]]:
        """What a new instance did in each story, watched."""
        return self._first[0]

    @cached_property
    def altered(self) -> list[str]:
        """What all instances share and `react` has changed, by name."""
        return self._first[1]

    @cached_property
    def _first(self) -> tuple[dict[Story, list[Turn]], list[str]]:
        # All are started before: what `start` changes is another matter.
        players = [Player(self.started(), s, watched=True) for s in self.stories]
        before = shared(self.policy)
        played = {player.story: player.play() for player in players}
        return played, changed(before, shared(self.policy))

    def play(self, story: Story) -> list[Turn]:
        """What a new instance does in a story."""
        return Player(self.started(), story).play()

    def turns(self) -> Iterator[tuple[Story, Turn]]:
        """All turns of all stories."""
        for story, turns in self.played.items():
            for turn in turns:
                yield story, turn


def shared(policy: type[Policy]) -> dict[str, str]:
    """What all instances share and could change: of the class and of its module."""
    module = sys.modules.get(policy.__module__)
    found = {
        f"{name} of its file": repr(value)
        for name, value in vars(module).items()
        if isinstance(value, _CHANGEABLE) and not name.startswith("__")
    }
    for kind in policy.__mro__:
        if kind.__module__ == policy.__module__:
            found |= {
                f"{kind.__name__}.{name}": repr(value)
                for name, value in vars(kind).items()
                if isinstance(value, _CHANGEABLE)
                and not name.startswith(("__", "model_", "_abc_"))
            }
    return found


def changed(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Names of what has another value now."""
    return sorted(name for name in after if after[name] != before.get(name))


def said(turns: list[Turn]) -> list[str]:
    """What came of each turn, as text that can be compared."""
    return [f"{turn.actions!r} {turn.error!r}" for turn in turns]


def differ(a: list[Turn], b: list[Turn]) -> int | None:
    """Number of the first turn in which two differ, None if there is none."""
    pairs = zip(said(a), said(b), strict=False)
    return next((k for k, (ours, theirs) in enumerate(pairs) if ours != theirs), None)


def acts(turns: list[Turn], k: int) -> str:
    """What was done in turn `k`, in words."""
    if turns[k].error is not None:
        return type(turns[k].error).__name__
    kinds = [
        f"{type(a).__name__} ({getattr(a, 'reason', '')})" for a in turns[k].actions
    ]
    return " and ".join(kinds) or "no action"
