"""From a run folder to the facts of its report, in one pass over the journal.

A frame leaves a few numbers in arrays; everything else that is kept has a bound, so
that an hour at camera speed fits into memory.
"""

from __future__ import annotations

from array import array
from collections import Counter, OrderedDict, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.core import NS_PER_S
from smartscope.record._report_bounded import Beyond, Line, Notices, remember
from smartscope.record._report_decisions import Decisions
from smartscope.record._report_delivery import Delivery
from smartscope.record._report_facts import QuietFact
from smartscope.record._report_models import Models
from smartscope.record._report_patterns import Patterns
from smartscope.record._report_timing import Timing
from smartscope.record._report_together import Together
from smartscope.record._report_words import without_numbers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


MOST_SIGHTS = 20_000
MOST_TRACKS = 20_000
MOST_REASONS = 2_000

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
        self.more_sights: Counter[str] = Counter()
        self.tracks: dict[tuple[int, int], Line] = {}
        self.more_tracks: Counter[int] = Counter()
        self.dose: dict[tuple[int, str], tuple[array[float], array[float]]] = {}
        self.faults = Notices()
        self.interlocks = Notices()
        self.timing = Timing()
        self.decided = Decisions()
        self.patterns = Patterns()
        self.delivery = Delivery()
        self.models = Models()
        self.together = Together()
        self._t0_ns = t0_ns
        self._quiet: dict[tuple[str, str], _Quiet] = {}
        self._position = 0
        self._held: frozenset[str] = frozenset()
        self._told_of: set[str] = set()
        self._beyond_sights, self._beyond_tracks = Beyond(), Beyond()
        self._series_of: OrderedDict[int, Series] = OrderedDict()
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
            "lost": self._lost,
            "restart": self._restart,
            "external": self._external,
            "pause": self._pause,
            "kept": self._kept,
            "deadline": self.delivery.deadline,
            "pacing": self.delivery.pacing,
            "subscribers": self.delivery.subscribers,
            "model": self.models.model,
            "phase": self.together.phase,
            "arbitration": self._arbitration,
            "reload": self._reload,
            "end": self._end,
            "torn": self._torn,
        }

    def take(self, entries: Iterable[Mapping[str, Any]]) -> Gatherer:
        """Take all of `entries`, in order."""
        for entry in entries:
            self.kinds[entry["kind"]] += 1
            if handler := self._handlers.get(entry["kind"]):
                handler(entry)
        self.delivery.ended(self.last_s)
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
        remember(self._series_of, entry["frame_id"], key)
        self.timing.frame(entry)

    def _observation(self, entry: Mapping[str, Any]) -> None:
        seen = entry["observation"]
        self.skipped += seen.get("skipped") or 0
        frame_ids = seen["frame_ids"]
        series = (seen["view"]["position"], seen.get("channel"), 0)
        if frame_ids:
            series = self._series_of.get(frame_ids[-1], series)
        self.timing.observation(entry)
        self.models.observation(entry)
        self.patterns.observed(seen)
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
        if len(self.sights) >= MOST_SIGHTS:
            self.more_sights[event["kind"]] += self._beyond_sights.new(key)
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
        key = (position, track["track_id"])
        line = self.tracks.get(key)
        if line is None:
            if len(self.tracks) >= MOST_TRACKS:
                self.more_tracks[position] += self._beyond_tracks.new(key)
                return
            line = self.tracks[key] = Line()
        line.add(track["x_um"], track["y_um"])
        line.parent = track.get("parent")

    def _decision(self, entry: Mapping[str, Any]) -> None:
        decision = entry["decision"]
        t_s = self.t_s(entry["t_ns"])
        self.timing.decision(entry)
        if decision.get("error"):
            self.faults.add(t_s, f"{decision['policy']}: {decision['error']}")
        elif not decision["requests"]:
            self._nothing(decision["policy"], {}, t_s)
        for request in decision["requests"]:
            if request["action"]["do"] == "Nothing":
                self._nothing(decision["policy"], request["action"], t_s)
            else:
                self.decided.asked(self.t_s(request["t_decided_ns"]), request)
                self.patterns.asked(self.t_s(request["t_decided_ns"]), request)

    def _nothing(self, policy: str, action: Mapping[str, Any], t_s: float) -> None:
        why = action.get("reason") or "it gave no reason"
        state = action.get("state") or ""
        key = (policy, state + without_numbers(why))
        if key not in self._quiet and len(self._quiet) >= MOST_REASONS:
            key, why = (policy, ""), "other reasons"
        quiet = self._quiet.setdefault(key, _Quiet())
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
        self.timing.outcome(entry)
        self.decided.became(entry["outcome"])
        self.patterns.became(entry["outcome"])

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
        self.faults.add(self.t_s(entry["t_ns"]), words)
        # A fault that names a planned event is a frame that was never taken.
        self.failed += "index" in entry

    def _interlock(self, entry: Mapping[str, Any]) -> None:
        name = str(entry.get("name") or "an interlock")
        said = "cleared" if entry.get("cleared") else entry.get("message")
        self._told_of.add(name)
        self.interlocks.add(
            self.t_s(entry["t_ns"]), f"{name}: {said}" if said else name
        )

    def _hold(self, t_s: float, held: frozenset[str]) -> None:
        # Only where an interlock has no entries of its own: nothing is told twice.
        for name in sorted(held - self._held - self._told_of):
            self.interlocks.add(t_s, f"{name}: held")
        for name in sorted(self._held - held - self._told_of):
            self.interlocks.add(t_s, f"{name}: cleared")
        self._held = held

    def _lost(self, entry: Mapping[str, Any]) -> None:
        self.delivery.lost(self.t_s(entry["t_ns"]), entry)

    def _restart(self, entry: Mapping[str, Any]) -> None:
        self.delivery.restart(self.t_s(entry["t_ns"]), entry)

    def _external(self, entry: Mapping[str, Any]) -> None:
        self.delivery.change(self.t_s(entry["t_ns"]), entry)

    def _pause(self, entry: Mapping[str, Any]) -> None:
        self.delivery.pause(self.t_s(entry["t_ns"]), entry)

    def _kept(self, entry: Mapping[str, Any]) -> None:
        # On the run's clock, as all of the journal, but in seconds.
        between = [self.t_s(entry[k]) for k in ("from_ns", "to_ns")]
        reason = self.decided.reason(entry.get("action_id"))
        self.delivery.kept(between[0], between[1], entry, reason)

    def _arbitration(self, entry: Mapping[str, Any]) -> None:
        self.together.arbitration(self.t_s(entry["t_ns"]), entry)

    def _reload(self, entry: Mapping[str, Any]) -> None:
        self.together.reload(self.t_s(entry["t_ns"]), entry)

    def _end(self, entry: Mapping[str, Any]) -> None:
        self.end = entry
        ended_s = entry.get("duration_s") or self.t_s(entry["t_ns"])
        self.last_s = max(self.last_s, ended_s)

    def _torn(self, entry: Mapping[str, Any]) -> None:
        words = "the last line of the journal was cut off"
        self.faults.add(self.t_s(entry["t_ns"]), words)

    # -- results --------------------------------------------------------------------

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
