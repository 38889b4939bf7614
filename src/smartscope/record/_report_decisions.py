"""Decisions and their outcomes, folded into what the report shows while reading."""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from smartscope.record._report_bounded import Marks, remember
from smartscope.record._report_facts import (
    AlikeFact,
    DecidedFact,
    DecisionFact,
)
from smartscope.record._report_words import BACK, plural, without_numbers

if TYPE_CHECKING:
    from collections.abc import Mapping

SHOWN_ALIKE = 3
MOST_ALIKE = 200
TOLD_AGAIN = 3
_AWAITED = 20_000
_HIDDEN = ("do", "reason", "priority", "deadline_ms", "track_id", "event_id")
NO_OUTCOME = "no outcome"


class _Alike:
    """Decisions of one policy in a row that differ in nothing but numbers."""

    def __init__(self, kind: object) -> None:
        self.kind = kind
        self.first: list[DecisionFact] = []
        self.count = 0
        self.last: DecisionFact | None = None

    def add(self, d: DecisionFact) -> None:
        if self.count < 2 * SHOWN_ALIKE:
            self.first.append(d)
        self.count += 1
        self.last = d


class Decisions:
    """Takes requests and outcomes; keeps a bounded number of them.

    An outcome may come long after the request; what waits for one is folded in the
    order of the decisions.
    """

    def __init__(self) -> None:
        self._awaited: OrderedDict[str, DecisionFact] = OrderedDict()
        self._reasons: OrderedDict[str, str] = OrderedDict()
        self._alike: list[_Alike] = []
        self._current: dict[str, _Alike | None] = {}
        self._deeds: Counter[tuple[str, str, str, bool]] = Counter()
        self._marks: dict[str, Marks] = {}
        self._total = self._done = self._left_out = 0

    def asked(self, t_s: float, request: Mapping[str, Any]) -> None:
        """Take a request."""
        action = request["action"]
        action_id = request["action_id"]
        remember(self._reasons, action_id, action["reason"])
        self._awaited[action_id] = DecisionFact(
            t_s=t_s,
            policy=request["policy"],
            position=request["view"]["position"],
            action=action["do"],
            detail=_detail(action),
            reason=action["reason"],
            status=NO_OUTCOME,
        )
        if len(self._awaited) > _AWAITED:
            self._fold(self._awaited.popitem(last=False)[1])

    def became(self, outcome: Mapping[str, Any]) -> None:
        """Take an outcome."""
        action_id = outcome["action_id"]
        waiting = self._awaited.get(action_id)
        if waiting is None:
            return
        message = outcome.get("message") or ""
        if outcome.get("winner"):
            message = f"{message} (lost to {outcome['winner']})".strip()
        if outside := (outcome.get("readback") or {}).get("outside_percent"):
            outside_words = f"{outside:.3g} % of it lies outside of the SLM"
            message = f"{message}; {outside_words}" if message else outside_words
        status = outcome.get("status") or NO_OUTCOME
        self._awaited[action_id] = replace(waiting, status=status, message=message)
        while self._awaited:
            action_id, d = next(iter(self._awaited.items()))
            if d.status == NO_OUTCOME:
                return
            del self._awaited[action_id]
            self._fold(d)

    def reason(self, action_id: str | None) -> str:
        """Why this action was asked for; empty when that was long ago."""
        return self._reasons.get(action_id or "", "")

    def fact(self) -> DecidedFact:
        """Return everything so far."""
        for d in self._awaited.values():
            self._fold(d)
        self._awaited.clear()
        return DecidedFact(
            total=self._total,
            done=self._done,
            alike=tuple(
                AlikeFact(first=tuple(a.first), count=a.count, last=a.last)
                for a in self._alike
                if a.last is not None
            ),
            left_out=self._left_out,
            deeds=dict(self._deeds),
            marks={name: marks.facts() for name, marks in self._marks.items()},
        )

    def _fold(self, d: DecisionFact) -> None:
        self._total += 1
        self._done += d.done
        self._deeds[d.policy, d.verdict, d.action, d.detail == BACK] += 1
        self._marks.setdefault(d.policy, Marks()).add(d)
        kind = (d.policy, d.position, d.action, d.status, without_numbers(d.reason))
        alike = self._current.get(d.policy)
        if alike is None or alike.kind != kind:
            alike = self._current[d.policy] = self._group(kind)
        if alike is None:
            self._left_out += 1
        else:
            alike.add(d)

    def _group(self, kind: tuple[str, int, str, str, str]) -> _Alike | None:
        """Start a group; what comes again and again joins the last of its kind."""
        same = [a for a in self._alike if a.kind == kind]
        if len(same) >= TOLD_AGAIN:
            return same[-1]
        if len(self._alike) >= MOST_ALIKE:
            return None
        self._alike.append(_Alike(kind))
        return self._alike[-1]


def _detail(action: Mapping[str, Any]) -> str:
    """The action's own fields in words, without what every action has."""
    shown = {k: v for k, v in action.items() if k not in _HIDDEN}
    if action["do"] == "ShowPattern":
        regions = plural(len(action["polygons_px"]), "region")
        lit = f"{regions} at {action['intensity']} of 255"
        return lit if action["polygons_px"] else "all dark"
    if action["do"] == "SetInterval":
        interval_s = action["interval_s"]
        return BACK if interval_s is None else f"every {interval_s:g} s"
    words = [f"{k} {_value(v)}" for k, v in shown.items() if v not in (None, [], 0.0)]
    return ", ".join(words)


def _value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
