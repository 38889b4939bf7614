"""The report's sentences: what happened, in words a colleague would use."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartscope.record._report_facts import DecidedFact, Facts

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")
# Verbs that read the same after "would have".
_DONE = {
    "Acquire": ("acquired {} burst", "acquired {} bursts"),
    "ShiftPosition": ("followed the sample once", "followed the sample {} times"),
    "MoveStage": ("moved the stage once", "moved the stage {} times"),
    "MoveFocus": ("refocused once", "refocused {} times"),
    "SetPower": ("changed the light once", "changed the light {} times"),
    "SetExposure": ("changed the exposure once", "changed the exposure {} times"),
    "SetRoi": ("changed the region once", "changed the region {} times"),
    "SetProperty": ("set a property once", "set a property {} times"),
    "SwitchObjective": ("switched objective once", "switched objective {} times"),
    "ShowPattern": ("displayed one pattern", "displayed {} patterns"),
    "Pause": ("paused the run", "paused the run {} times"),
    "Stop": ("ended the run", "ended the run"),
    "Mark": ("left one remark", "left {} remarks"),
}
BACK = "back to the plan"
"""What a `SetInterval` without an interval does."""
_OUTCOMES = {
    "completed": "Completed",
    "stopped": "Stopped",
    "cancelled": "Cancelled",
    "failed": "Failed",
    "": "No end recorded",
}


def duration(t_s: float) -> str:
    """``45 s``, ``12 min``, ``3 h 5 min``."""
    if t_s < 90:
        return f"{t_s:.0f} s"
    minutes = round(t_s / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def plural(count: int, one: str, many: str = "") -> str:
    """``1 frame``, ``2 frames``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def without_numbers(text: str) -> str:
    """Replace numbers by #: what differs in them alone is the same reason."""
    return _NUMBER.sub("#", text)


def sentence(text: str) -> str:
    """With a capital and a full stop."""
    return text[:1].upper() + text[1:].rstrip(".") + "."


def outcome_words(facts: Facts) -> str:
    """One word or two on how the run ended."""
    return _OUTCOMES.get(facts.outcome, facts.outcome.capitalize())


def summary(facts: Facts) -> list[str]:
    """The run in a few sentences."""
    return [
        sentence
        for part in (_filmed(facts), _saw(facts), _reacted(facts), _went(facts))
        for sentence in part
    ]


def _filmed(facts: Facts) -> Iterator[str]:
    counts = facts.counts
    where = ""
    if len(facts.frames) > 1:
        where = f" at {len(facts.frames)} stage positions"
    if not counts.taken:
        yield f"Ran for {duration(facts.duration_s)} and took no frame."
        return
    text = (
        f"Filmed {duration(facts.duration_s)}{where}: {plural(counts.taken, 'frame')}"
    )
    if counts.reactions:
        text += f", {counts.reactions:,} of them asked for by what was seen"
    yield text + "."


def _saw(facts: Facts) -> Iterator[str]:
    kinds = Counter(event.kind for event in facts.events) + Counter(facts.more_events)
    if not kinds:
        yield "Saw no event."
        return
    found = [plural(n, f"{kind} event") for kind, n in kinds.most_common()]
    text = f"Saw {_listed(found)}"
    yield text + _true(facts) + "."


def _true(facts: Facts) -> str:
    truth = facts.truth
    if truth is None:
        return ""
    if not truth.happened:
        return "; the simulated sample made none in view"
    text = f"; the simulated sample made {truth.happened} in view, "
    if truth.happened == truth.found:
        text += "and it was found" if truth.found == 1 else "all found"
    else:
        text += f"{truth.found} of them found"
    false = sum(event.true is False for event in facts.events)
    return text + (f", and {plural(false, 'report')} false" if false else "")


def _reacted(facts: Facts) -> Iterator[str]:
    decided = facts.decided
    for policy in dict.fromkeys(policy for policy, *_ in decided.deeds):
        if done := _deeds(decided, policy, "done"):
            yield f"{policy} {_listed(done)}."
        if imagined := _deeds(decided, policy, "imagined"):
            yield f"{policy} would have {_listed(imagined)}; this run acts on nothing."
    undone: Counter[str] = Counter()
    for (_, verdict, _, _), times in decided.deeds.items():
        if verdict not in ("done", "imagined"):
            undone[verdict] += times
    if undone:
        text = _listed([f"{n:,} {status}" for status, n in undone.most_common()])
        yield f"Of what was asked for, not done: {text}."
    if not decided.total and facts.quiet:
        most = facts.quiet[0]
        yield f"Nothing was asked for; most often because: {most.why.rstrip('.')}."


def _deeds(decided: DecidedFact, policy: str, verdict: str) -> list[str]:
    mine = {k[2:]: n for k, n in decided.deeds.items() if k[:2] == (policy, verdict)}
    deeds = []
    if fast := mine.pop(("SetInterval", False), 0):
        deeds.append("changed the filming rate " + _times(fast))
    if back := mine.pop(("SetInterval", True), 0):
        deeds.append("returned to the plan " + _times(back))
    for (action, _), count in mine.items():
        if action in _DONE:
            deeds.append(_DONE[action][count > 1].format(f"{count:,}"))
    return deeds


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count:,} times")


def _went(facts: Facts) -> Iterator[str]:
    counts = facts.counts
    lost = [
        f"{n:,} {what}"
        for n, what in (
            (counts.failed, "failed"),
            (counts.superseded, "were superseded by reactions"),
            (counts.unfinished, "were announced but never finished"),
            (counts.lost_certain, "were lost"),
            (counts.lost_possible, "may have been lost"),
            (counts.skipped, "were left out by vision"),
        )
        if n
    ]
    if lost:
        yield f"Of the frames, {_listed(lost)}."
    if facts.faults:
        yield f"{plural(sum(f.times for f in facts.faults), 'fault')} noted."
    if not facts.outcome:
        yield (
            "The run has no end in its journal: it crashed, was killed, or is still "
            "going on. Everything up to here is shown."
        )


def _listed(items: list[str]) -> str:
    if len(items) < 2:
        return "".join(items)
    return ", ".join(items[:-1]) + " and " + items[-1]
