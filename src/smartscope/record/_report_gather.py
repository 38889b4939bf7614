"""From a run folder to the facts of its report, in one pass over the journal.

Memory is bounded by what is drawn (tracks, events, decisions, a few numbers for each
frame), not by the pixels or by the size of the journal.
"""

from __future__ import annotations

from array import array
from collections import Counter, OrderedDict, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.core import NS_PER_MS, NS_PER_S
from smartscope.record._report_facts import DecisionFact, QuietFact
from smartscope.record._report_words import without_numbers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


_REMEMBERED = 4096
_HIDDEN = ("do", "reason", "priority", "deadline_ms", "track_id", "event_id")

Series = tuple[int, str | None, int]
"""Frames that can be compared by eye: position, channel, plane in z."""


@dataclass(slots=True)
class FrameSeries:
    """Frames of one series, in order of arrival, as compact columns."""

    frame_id: array[int] = field(default_factory=lambda: array("q"))
    t_s: array[float] = field(default_factory=lambda: array("d"))
    reaction: array[int] = field(default_factory=lambda: array("b"))


@dataclass(slots=True)
class Sight:
    """One event over all observations that reported it."""

    kind: str
    series: Series
    onset_s: float
    seen_s: float
    last_s: float
    score: float
    x_um: float
    y_um: float
    track_id: int | None


@dataclass(slots=True)
class Path:
    """Where one track was, um."""

    x_um: array[float] = field(default_factory=lambda: array("d"))
    y_um: array[float] = field(default_factory=lambda: array("d"))
    parent: int | None = None


@dataclass(slots=True)
class _Quiet:
    times: int = 0
    first_s: float = 0.0
    last_s: float = 0.0
    why: str = ""
    best_score: float | None = None
    threshold: float | None = None


def start_ns(entries: Iterable[Mapping[str, Any]]) -> int:
    """Run-clock time of the start of a run, from the first entry that tells.

    An observation knows it too; a frame within how late it was.
    """
    guess = 0
    for entry in entries:
        if entry["kind"] == "start":
            return int(entry["start_ns"])
        if entry["kind"] == "observation":
            seen = entry["observation"]
            return int(seen["t_ns"] - round(seen["t_s"] * NS_PER_S))
        if entry["kind"] == "frame" and not guess:
            guess = entry["t_exposed_ns"] - round((entry["planned_s"] or 0) * NS_PER_S)
    return guess


class Gatherer:
    """Takes journal entries one by one and keeps what the report needs.

    Parameters
    ----------
    t0_ns : int
        Run-clock time of the start of the run, see `start_ns`.
    """

    def __init__(self, t0_ns: int = 0) -> None:
        self.header: Mapping[str, Any] = {}
        self.end: Mapping[str, Any] | None = None
        self.kinds: Counter[str] = Counter()
        self.roles: Counter[str] = Counter()
        self.skipped = 0
        self.failed = 0
        self.intended = 0
        self.last_s = 0.0
        self.series: dict[Series, FrameSeries] = defaultdict(FrameSeries)
        self.sights: dict[tuple[int, str, int], Sight] = {}
        self.tracks: dict[tuple[int, int], Path] = {}
        self.actions: dict[str, tuple[float, Mapping[str, Any]]] = {}
        self.outcomes: dict[str, Mapping[str, Any]] = {}
        self.dose: dict[tuple[int, str], tuple[array[float], array[float]]] = {}
        self.faults: list[tuple[float, str]] = []
        self.interlocks: list[tuple[float, str]] = []
        self.latency_ms: dict[str, array[float]] = defaultdict(lambda: array("d"))
        self._t0_ns = t0_ns
        self._quiet: dict[tuple[str, str], _Quiet] = {}
        self._position = 0
        self._held: frozenset[str] = frozenset()
        self._received: OrderedDict[int, tuple[int, Series]] = OrderedDict()
        self._seen_ns: OrderedDict[int, int] = OrderedDict()
        self._decided_ns: OrderedDict[str, int] = OrderedDict()
        self._handlers = {
            "run": self._run,
            "intent": self._intent,
            "frame": self._frame,
            "observation": self._observation,
            "decision": self._decision,
            "outcome": self._outcome,
            "dose": self._dose,
            "fault": self._fault,
            "interlock": self._interlock,
            "end": self._end,
            "torn": self._torn,
        }

    def take(self, entries: Iterable[Mapping[str, Any]]) -> Gatherer:
        """Take all of `entries`, in order."""
        for entry in entries:
            self.kinds[entry["kind"]] += 1
            if handler := self._handlers.get(entry["kind"]):
                handler(entry)
        return self

    def t_s(self, t_ns: int) -> float:
        """Seconds since the start of the run, never below 0."""
        return max(0.0, (t_ns - self._t0_ns) / NS_PER_S)

    # -- entries --------------------------------------------------------------------

    def _run(self, entry: Mapping[str, Any]) -> None:
        self.header = entry

    def _intent(self, entry: Mapping[str, Any]) -> None:
        self.intended += entry.get("frames") or 1
        self._position = entry.get("position", self._position)

    def _frame(self, entry: Mapping[str, Any]) -> None:
        exposed_ns = entry["t_exposed_ns"]
        role = entry["role"]
        self.roles[role] += 1
        state = entry.get("state") or {}
        key = (
            entry["view"]["position"],
            state.get("channel"),
            (entry.get("index") or {}).get("z", 0),
        )
        self._position = key[0]
        row = self.series[key]
        row.frame_id.append(entry["frame_id"])
        row.t_s.append(self.t_s(exposed_ns))
        row.reaction.append(role == "reaction")
        self.last_s = max(self.last_s, row.t_s[-1])
        _remember(self._received, entry["frame_id"], (entry["t_received_ns"], key))
        self._time("exposed to received", exposed_ns, entry["t_received_ns"])

    def _observation(self, entry: Mapping[str, Any]) -> None:
        seen = entry["observation"]
        self.skipped += seen.get("skipped") or 0
        frame_ids = seen["frame_ids"]
        received = self._received.get(frame_ids[-1]) if frame_ids else None
        series = (seen["view"]["position"], seen.get("channel"), 0)
        if received is not None:
            series = received[1]
            self._time("received to seen", received[0], entry["t_ns"])
        _remember(self._seen_ns, seen["number"], entry["t_ns"])
        for event in seen["events"]:
            self._sight(event, seen, series)
        for track in seen["tracks"]:
            self._track(series[0], track)
        self._hold(seen["t_s"], frozenset(seen.get("interlocks") or ()))

    def _sight(
        self, event: Mapping[str, Any], seen: Mapping[str, Any], series: Series
    ) -> None:
        key = (series[0], seen["view"]["camera"], event["event_id"])
        known = self.sights.get(key)
        if known is not None:
            known.last_s = max(known.last_s, seen["t_s"])
            known.score = max(known.score, event["score"])
            return
        self.sights[key] = Sight(
            kind=event["kind"],
            series=series,
            onset_s=event["onset_s"],
            seen_s=seen["t_s"],
            last_s=seen["t_s"],
            score=event["score"],
            x_um=event["x_um"],
            y_um=event["y_um"],
            track_id=event.get("track_id"),
        )

    def _track(self, position: int, track: Mapping[str, Any]) -> None:
        if track["state"] in ("lost", "ended"):
            return
        path = self.tracks.setdefault((position, track["track_id"]), Path())
        path.x_um.append(track["x_um"])
        path.y_um.append(track["y_um"])
        path.parent = track.get("parent")

    def _decision(self, entry: Mapping[str, Any]) -> None:
        decision = entry["decision"]
        t_s = self.t_s(entry["t_ns"])
        if decision.get("error"):
            self.faults.append((t_s, f"{decision['policy']}: {decision['error']}"))
        elif not decision["requests"]:
            self._nothing(decision["policy"], {}, t_s)
        seen_ns = self._seen_ns.get(decision["observation"])
        for request in decision["requests"]:
            if request["action"]["do"] == "Nothing":
                self._nothing(decision["policy"], request["action"], t_s)
                continue
            decided_ns = request["t_decided_ns"]
            self.actions[request["action_id"]] = (self.t_s(decided_ns), request)
            _remember(self._decided_ns, request["action_id"], decided_ns)
            if seen_ns is not None:
                self._time("seen to decided", seen_ns, decided_ns)

    def _nothing(self, policy: str, action: Mapping[str, Any], t_s: float) -> None:
        why = action.get("reason") or "it gave no reason"
        state = action.get("state") or ""
        quiet = self._quiet.setdefault((policy, state + without_numbers(why)), _Quiet())
        if not quiet.times:
            quiet.first_s = t_s
        quiet.times += 1
        quiet.last_s = t_s
        quiet.why = why
        score, threshold = action.get("score"), action.get("threshold")
        if score is not None and (quiet.best_score or -np.inf) < score:
            quiet.best_score = score
        quiet.threshold = threshold if threshold is not None else quiet.threshold

    def _outcome(self, entry: Mapping[str, Any]) -> None:
        outcome = entry["outcome"]
        action_id = outcome["action_id"]
        self.outcomes[action_id] = outcome
        decided_ns = self._decided_ns.pop(action_id, None)
        applied_ns = outcome["t_ns"].get("applied")
        if applied_ns is None:
            return
        if decided_ns is not None:
            self._time("decided to applied", decided_ns, applied_ns)
        if "verified" in outcome["t_ns"]:
            self._time("applied to verified", applied_ns, outcome["t_ns"]["verified"])

    def _dose(self, entry: Mapping[str, Any]) -> None:
        dose = entry["field"]
        unit = str(dose["unit"])
        row = self.dose.setdefault((self._position, unit), (array("d"), array("d")))
        row[0].append(self.t_s(entry["t_ns"]))
        row[1].append(float(dose["value"]))

    def _fault(self, entry: Mapping[str, Any]) -> None:
        text = entry.get("message") or "something went wrong"
        where = entry.get("where")
        words = f"{where}: {text}" if where else str(text)
        self.faults.append((self.t_s(entry["t_ns"]), words))
        # A fault that names a planned event is a frame that was never taken.
        self.failed += "index" in entry

    def _interlock(self, entry: Mapping[str, Any]) -> None:
        words = ": ".join(str(entry[k]) for k in ("name", "message") if entry.get(k))
        self.interlocks.append((self.t_s(entry["t_ns"]), words or "an interlock"))

    def _hold(self, t_s: float, held: frozenset[str]) -> None:
        for name in sorted(held - self._held):
            self.interlocks.append((t_s, f"{name} held"))
        for name in sorted(self._held - held):
            self.interlocks.append((t_s, f"{name} cleared"))
        self._held = held

    def _end(self, entry: Mapping[str, Any]) -> None:
        self.end = entry
        ended_s = entry.get("duration_s") or self.t_s(entry["t_ns"])
        self.last_s = max(self.last_s, ended_s)

    def _torn(self, entry: Mapping[str, Any]) -> None:
        words = "the last line of the journal was cut off"
        self.faults.append((self.t_s(entry["t_ns"]), words))

    def _time(self, stage: str, start_ns: int, end_ns: int) -> None:
        self.latency_ms[stage].append((end_ns - start_ns) / NS_PER_MS)

    # -- results --------------------------------------------------------------------

    def decisions(self) -> tuple[DecisionFact, ...]:
        """Every action asked for, with its outcome, in order."""
        return tuple(
            self._decided(action_id, t_s, request)
            for action_id, (t_s, request) in self.actions.items()
        )

    def _decided(
        self, action_id: str, t_s: float, request: Mapping[str, Any]
    ) -> DecisionFact:
        action = request["action"]
        outcome = self.outcomes.get(action_id) or {}
        message = outcome.get("message") or ""
        if outcome.get("winner"):
            message = f"{message} (lost to {outcome['winner']})".strip()
        return DecisionFact(
            t_s=t_s,
            policy=request["policy"],
            position=request["view"]["position"],
            action=action["do"],
            detail=_detail(action),
            reason=action["reason"],
            status=outcome.get("status") or "no outcome",
            message=message,
        )

    def quiet(self) -> tuple[QuietFact, ...]:
        """Why nothing happened, most frequent reasons first."""
        rows = [
            QuietFact(
                policy=policy,
                why=q.why,
                times=q.times,
                first_s=q.first_s,
                last_s=q.last_s,
                best_score=q.best_score,
                threshold=q.threshold,
            )
            for (policy, _), q in self._quiet.items()
        ]
        return tuple(sorted(rows, key=lambda row: (-row.times, row.policy)))

    def latencies(self) -> dict[str, dict[str, float]]:
        """Count and percentiles of each stage, ms of run time."""
        out = {}
        for stage, values in self.latency_ms.items():
            p50, p95, p99 = np.percentile(np.frombuffer(values), (50, 95, 99)).tolist()
            row = {"p50": p50, "p95": p95, "p99": p99, "max": max(values)}
            out[stage] = {"count": len(values), **row}
        return out


def _remember(store: OrderedDict[Any, Any], key: Any, value: Any) -> None:
    store[key] = value
    if len(store) > _REMEMBERED:
        store.popitem(last=False)


def _detail(action: Mapping[str, Any]) -> str:
    """The action's own fields in words, without what every action has."""
    shown = {k: v for k, v in action.items() if k not in _HIDDEN}
    if action["do"] == "ShowPattern":
        return f"{len(action['polygons_px'])} regions at {action['intensity']}"
    if action["do"] == "SetInterval":
        interval_s = action["interval_s"]
        return "back to the plan" if interval_s is None else f"every {interval_s:g} s"
    words = [f"{k} {_value(v)}" for k, v in shown.items() if v not in (None, [], 0.0)]
    return ", ".join(words)


def _value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
