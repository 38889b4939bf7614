"""The rules that replay, hot reload and many instances rest on."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from smartscope.core import ACTION_KINDS, Acquire, Nothing, ShiftPosition
from smartscope.testing._case import acts, differ
from smartscope.testing._player import Player

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartscope.core import Action, Observation
    from smartscope.testing._case import Case


def repeatable(case: Case) -> Iterator[str]:
    """The same sights and the same seed give the same decisions."""
    for story, turns in case.played.items():
        again = case.play(story)
        if (k := differ(turns, again)) is not None:
            yield (
                f"the same sights give another decision the second time "
                f"({acts(turns, k)} became {acts(again, k)}), while there is "
                f"{story.name}"
            )
            return


def independent(case: Case) -> Iterator[str]:
    """Instances that run side by side know nothing of each other."""
    for ours, theirs in pairwise(case.stories):
        alone = case.played[ours]
        one, other = Player(case.started(), ours), Player(case.started(), theirs)
        while one.step() is not None:
            other.step()
        if (k := differ(alone, one.turns)) is not None:
            yield (
                f"beside another instance it decides otherwise ({acts(alone, k)} "
                f"became {acts(one.turns, k)}); keep memory in _private attributes"
            )
            break
    for name in case.altered:
        yield f"react() changes {name}, which all instances share; use a _private one"


def secluded(case: Case) -> Iterator[str]:
    """It uses no clock, no file, no chance but its own, and leaves sights alone."""
    advice = {
        "the clock": "the only time is seen.t_s",
        "chance": "take self.context.rng()",
    }
    for _, turn in case.turns():
        for what in sorted(turn.touched):
            fix = advice.get(what.partition(" (")[0], "a policy only yields actions")
            yield f"react() uses {what}; {fix}"
        if turn.altered:
            yield "react() changes the observation, which other policies see too"


def copied(case: Case) -> Iterator[str]:
    """A copy made in the middle goes on as the original: hot reload needs it."""
    for story in case.stories:
        player = Player(case.started(), story)
        for _ in range(len(story.sights) // 2):
            player.step()
        try:
            twin = player.copied()
        except Exception as error:  # whatever an object says that cannot be copied
            what = f"{type(error).__name__}: {error}"
            yield f"its state cannot be copied ({what}); keep plain values"
            return
        # The original first, so that what the two share shows.
        if (k := differ(player.play(), twin.play())) is not None:
            yield (
                "a copy does not go on as the original "
                f"({acts(player.turns, k)} became {acts(twin.turns, k)}), while there "
                f"is {story.name}"
            )
            return


def patient(case: Case) -> Iterator[str]:
    """It does not act again on a sight that cannot show what it did (advice)."""
    for story, turns in case.played.items():
        first = next(
            (k for k, t in enumerate(turns) if any(map(_changes, t.actions))), 0
        )
        if not turns or not any(map(_changes, turns[first].actions)):
            continue
        player = Player(case.started(), dataclasses.replace(story, fate="never"))
        for _ in range(first + 1):
            player.step()
        if player.turns[-1].error:
            continue
        asked = player.turns[-1].actions
        again = player.show(_later(story.sights[first], 0.05)).actions
        for action in filter(_changes, again):
            if _adds(action, asked):
                kind = type(action).__name__
                yield (
                    f"it asks for {kind} again though no sight shows the last one; "
                    "begin with 'if not self.fresh(seen): return', unless that is meant"
                )


def _changes(action: Any) -> bool:
    """Whether it changes what later sights show, or takes light for itself."""
    if not isinstance(action, ACTION_KINDS) or isinstance(action, Nothing):
        return False
    return isinstance(action, Acquire | ShiftPosition) or _target(action) is not None


def _target(action: Action) -> str | None:
    """What it sets to a new value, None if it sets nothing that has one."""
    named = {"SetPower", "SetExposure", "MoveStage", "MoveFocus"}
    kind = type(action).__name__
    if kind not in named:
        return None
    return f"{kind}{getattr(action, 'line', '')}{getattr(action, 'channel', '')}"


def _adds(action: Action, asked: tuple[Any, ...]) -> bool:
    """Whether an action adds to one that was asked for: relative, or another value."""
    same = [a for a in asked if type(a) is type(action) and _changes(a)]
    if isinstance(action, Acquire | ShiftPosition):
        return bool(same)
    plain = dataclasses.replace(action, reason="")
    return any(
        _target(a) == _target(action) and dataclasses.replace(a, reason="") != plain
        for a in same
    )


def _later(seen: Observation, by_s: float) -> Observation:
    t_s = seen.t_s + by_s
    return dataclasses.replace(seen, t_s=t_s, t_ns=round(t_s * 1e9))
