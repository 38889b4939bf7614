"""`write_trace`: a run as a timeline that ui.perfetto.dev and chrome://tracing open.

The journal is read once and every line is written on at once, so that memory is
bounded however long the run was. Within one track no two slices overlap: what does gets
a second line of the same name below.
"""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from smartscope.core import Action, ConfigError, RecordError, View, decode
from smartscope.record._journal import read_journal
from smartscope.record._report_bounded import remember
from smartscope.record._report_gather import start_ns

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path
    from typing import TextIO

    from smartscope.record._folder import RunFolder

PID = 1
SUFFIX = ".json"
_BLOCKS = ("camera", "vision", "policies", "hardware", "light", "events")
_BLOCK, _TRACK = 1_000_000, 10_000
_NS_PER_US = 1000
_INSTANTS = frozenset(
    (
        "arbitration",
        "deadline",
        "end",
        "external",
        "fault",
        "interlock",
        "kept",
        "lost",
        "overrun",
        "pause",
        "phase",
        "reload",
        "restart",
        "skipped",
        "stream_ended",
        "superseded",
        "torn",
    )
)
_HEAD = ("n", "kind", "t_ns")


def write_trace(run: RunFolder, target: Path | None = None) -> Path:
    """Write a run as Chrome trace events and return the path.

    Tracks are the cameras (exposure to pixels received), vision, policies, what each
    device was asked for (applied to verified), the light (intent to dose) and single
    events. Arrows lead from a frame to what was seen in it and on to what was done.
    Times are microseconds of the run's clock since its start. An earlier file is
    replaced.

    Parameters
    ----------
    run : RunFolder
        Finished, crashed or still going on.
    target : Path or None
        A ``.json`` file; None is ``trace.json`` in the run folder.

    Raises
    ------
    ConfigError
        If `target` is no place for a ``.json`` file.
    RecordError
        If the journal is damaged or the file cannot be written.
    """
    target = run.path / "trace.json" if target is None else target
    if target.suffix != SUFFIX or target.is_dir():
        raise ConfigError(
            f"{target} cannot hold a trace", fix=f"name a file that ends in {SUFFIX}"
        )
    if not target.parent.is_dir():
        raise ConfigError(
            f"the folder {target.parent} does not exist",
            fix="make it first, or name a file in a folder that is there",
        )
    unfinished = target.with_name(target.name + ".part")
    try:
        with unfinished.open("w", encoding="utf-8", newline="\n") as file:
            _write(file, run)
        os.replace(unfinished, target)
    except OSError as error:
        raise RecordError(
            f"the trace {target} cannot be written ({error.strerror or error}); free "
            "space or name another file"
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)
    return target


def _write(file: TextIO, run: RunFolder) -> None:
    journal = run.path / "journal.jsonl"
    name = str(run.header.get("name") or run.path.name)
    about = {"run": run.path.name, "started": run.header.get("started")}
    file.write(f'{{"displayTimeUnit":"ms","otherData":{json.dumps(about)},\n')
    file.write('"traceEvents":[\n')
    trace = _Trace(file, start_ns(read_journal(journal)))
    trace.name("process_name", name, tid=0)
    trace.take(read_journal(journal))
    file.write("\n]}\n")


class _Track:
    """Slices of one kind, on as many lines as overlap."""

    def __init__(self, name: str, first_tid: int) -> None:
        self.name = name
        self.first_tid = first_tid
        self.ends_ns: list[int] = []

    def line(self, start_ns: int, end_ns: int) -> tuple[int, bool]:
        """Which line is free from `start_ns` on, and whether it is a new one."""
        for k, free_ns in enumerate(self.ends_ns):
            if free_ns <= start_ns:
                self.ends_ns[k] = end_ns
                return k, False
        self.ends_ns.append(end_ns)
        return len(self.ends_ns) - 1, True


@dataclass(slots=True)
class _Slice:
    """Where an arrow can begin or end."""

    tid: int
    t_ns: int
    end_ns: int


@dataclass(slots=True)
class _Lit:
    """Light that was announced and is being charged."""

    entry: Mapping[str, Any]
    since_ns: int
    left: int | None
    """Exposures to come; None for a stream, which is charged as it goes."""
    charged: bool = False


class _Trace:
    """Takes journal entries and writes trace events."""

    def __init__(self, file: TextIO, t0_ns: int) -> None:
        self._file = file
        self._t0_ns = t0_ns
        self._last_ns = t0_ns
        self._first = True
        self._tracks: dict[tuple[str, str], _Track] = {}
        self._frames: OrderedDict[int, _Slice] = OrderedDict()
        self._received_ns: OrderedDict[int, int] = OrderedDict()
        self._seen: OrderedDict[int, _Slice] = OrderedDict()
        self._requests: OrderedDict[str, Mapping[str, Any]] = OrderedDict()
        self._decided: tuple[int, int] = (-1, 0)
        self._arrows = 0
        self._skipped = 0
        self._lit: _Lit | None = None
        self._handlers = {
            "frame": self._frame,
            "observation": self._observation,
            "decision": self._decision,
            "outcome": self._outcome,
            "intent": self._intent,
            "dose": self._dose,
        }

    def take(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Write all of `entries`, in order."""
        for entry in entries:
            kind = entry["kind"]
            self._last_ns = max(self._last_ns, entry["t_ns"])
            if handler := self._handlers.get(kind):
                handler(entry)
            elif kind in _INSTANTS:
                self._instant(entry)
            if "backlog" in entry:
                self._count("backlog", entry["t_ns"], entry["backlog"])
        self._end_light(self._last_ns)

    def name(self, what: str, name: str, *, tid: int) -> None:
        """Write a name of the process or of a track."""
        self._emit({"ph": "M", "name": what, "ts": 0, "tid": tid}, {"name": name})

    # -- entries --------------------------------------------------------------------

    def _frame(self, entry: Mapping[str, Any]) -> None:
        view, state = entry["view"], entry.get("state") or {}
        told = {
            "frame_id": entry["frame_id"],
            "position": view["position"],
            "channel": state.get("channel"),
            "cause": entry["cause"],
            "image_number": entry.get("image_number"),
            "mixed": entry.get("mixed") or None,
        }
        track = self._track("camera", f"camera {view['camera']}")
        received_ns = entry["t_received_ns"]
        slice_ = self._slice(
            track, entry["role"], (entry["t_exposed_ns"], received_ns), told
        )
        remember(self._frames, entry["frame_id"], slice_)
        remember(self._received_ns, entry["frame_id"], received_ns)

    def _observation(self, entry: Mapping[str, Any]) -> None:
        seen, stamps = entry["observation"], entry.get("stamps") or {}
        frame_ids = seen["frame_ids"]
        end_ns = stamps.get("seen", entry["t_ns"])
        taken_ns = stamps.get("taken", end_ns)
        if "taken" not in stamps and frame_ids:
            taken_ns = self._received_ns.get(frame_ids[-1], end_ns)
        told = {
            "observation": seen["number"],
            "frame_ids": frame_ids,
            "detections": len((seen.get("detections") or {}).get("label") or ()),
            "events": [event["kind"] for event in seen.get("events") or ()] or None,
        }
        slice_ = self._slice(
            self._track("vision", "vision"), "vision", (taken_ns, end_ns), told
        )
        remember(self._seen, seen["number"], slice_)
        for frame_id in frame_ids:
            if frame := self._frames.get(frame_id):
                self._arrow("seen in", frame, slice_)

    def _decision(self, entry: Mapping[str, Any]) -> None:
        decision = entry["decision"]
        number = decision["observation"]
        requests = decision["requests"]
        decided_ns = requests[0]["t_decided_ns"] if requests else entry["t_ns"]
        # Policies are asked one after the other: each began where the one before ended.
        seen = self._seen.get(number)
        began_ns = seen.end_ns if seen else decided_ns
        if self._decided[0] == number:
            began_ns = max(began_ns, self._decided[1])
        self._decided = (number, decided_ns)
        told = {
            "decision": decision["number"],
            "observation": number,
            "asked": [r["action"]["do"] for r in requests],
            "reasons": [r["action"]["reason"] for r in requests],
            "error": decision.get("error") or None,
        }
        track = self._track("policies", "policies")
        self._slice(track, decision["policy"], (began_ns, decided_ns), told)
        for request in requests:
            if request["action"]["do"] != "Nothing":
                remember(self._requests, request["action_id"], request)

    def _outcome(self, entry: Mapping[str, Any]) -> None:
        outcome = entry["outcome"]
        t_ns = outcome["t_ns"]
        request = self._requests.get(outcome["action_id"])
        action = request["action"] if request else {}
        told = {
            "action_id": outcome["action_id"],
            "policy": outcome["policy"],
            "status": outcome["status"],
            "message": outcome.get("message") or None,
            "command": outcome.get("command"),
            "reason": action.get("reason"),
            "readback": outcome.get("readback") or None,
        }
        # What was never applied is a slice without length, where it was checked.
        start_ns = t_ns.get("applied", t_ns.get("checked", entry["t_ns"]))
        end_ns = t_ns.get("verified", start_ns)
        track = self._track("hardware", _resource(request))
        name = str(action.get("do", "unknown"))
        slice_ = self._slice(track, name, (start_ns, end_ns), told)
        seen = self._seen.get(request["observation"]) if request else None
        if seen:
            self._arrow("done about it", seen, slice_)

    def _intent(self, entry: Mapping[str, Any]) -> None:
        self._end_light(entry["t_ns"])
        left = None if entry.get("role") == "stream" else entry.get("frames") or 1
        self._lit = _Lit(entry, entry["t_ns"], left)

    def _dose(self, entry: Mapping[str, Any]) -> None:
        lit = self._lit
        intent = lit.entry if lit else {}
        told = {
            "power_percent": intent.get("power_percent"),
            "exposure_ms": intent.get("exposure_ms"),
            "dose": (entry.get("field") or {}).get("value"),
            "unit": (entry.get("field") or {}).get("unit"),
        }
        since_ns = lit.since_ns if lit else entry["t_ns"]
        self._slice(
            self._track("light", "light"), "light", (since_ns, entry["t_ns"]), told
        )
        if lit is None:
            return
        lit.since_ns, lit.charged = max(since_ns, entry["t_ns"]), True
        if lit.left is not None:
            lit.left -= 1
        if lit.left == 0:
            self._lit = None

    def _end_light(self, t_ns: int) -> None:
        """Show light that was announced and never charged, up to here."""
        lit, self._lit = self._lit, None
        if lit is not None and not lit.charged:
            told = {"power_percent": lit.entry.get("power_percent"), "charged": False}
            track = self._track("light", "light")
            self._slice(track, "light", (lit.since_ns, t_ns), told)

    def _instant(self, entry: Mapping[str, Any]) -> None:
        kind = entry["kind"]
        track = self._track("events", "events")
        if not track.ends_ns:
            track.ends_ns.append(self._t0_ns)
            self._new_line(track, 0)
        told = {k: v for k, v in entry.items() if k not in _HEAD}
        event = {"ph": "i", "name": kind, "ts": self._us(entry["t_ns"]), "s": "t"}
        self._emit(event | {"tid": track.first_tid}, told)
        if kind == "skipped":
            self._skipped += 1
            self._count("skipped frames", entry["t_ns"], self._skipped)

    # -- events ---------------------------------------------------------------------

    def _track(self, block: str, name: str) -> _Track:
        track = self._tracks.get((block, name))
        if track is None:
            before = sum(b == block for b, _ in self._tracks)
            first = (_BLOCKS.index(block) + 1) * _BLOCK + before * _TRACK
            track = self._tracks[block, name] = _Track(name, first)
        return track

    def _new_line(self, track: _Track, line: int) -> None:
        tid = track.first_tid + line
        name = track.name if not line else f"{track.name} ({line + 1})"
        self.name("thread_name", name, tid=tid)
        order = {"ph": "M", "name": "thread_sort_index", "ts": 0, "tid": tid}
        self._emit(order, {"sort_index": tid})

    def _slice(
        self,
        track: _Track,
        name: str,
        between_ns: tuple[int, int],
        told: Mapping[str, Any],
    ) -> _Slice:
        start_ns = max(between_ns[0], self._t0_ns)
        end_ns = max(between_ns[1], start_ns)
        line, new = track.line(start_ns, end_ns)
        if new:
            self._new_line(track, line)
        tid = track.first_tid + line
        dur_us = (end_ns - start_ns) / _NS_PER_US
        event = {"ph": "X", "name": name, "ts": self._us(start_ns), "dur": dur_us}
        self._emit(event | {"tid": tid}, told)
        return _Slice(tid, start_ns, end_ns)

    def _arrow(self, name: str, since: _Slice, until: _Slice) -> None:
        self._arrows += 1
        # Both ends are written at once: no arrow is left without its head.
        for ph, end in (("s", since), ("f", until)):
            event = {"ph": ph, "name": name, "cat": "flow", "id": self._arrows}
            self._emit(event | {"bp": "e", "ts": self._us(end.t_ns), "tid": end.tid})

    def _count(self, name: str, t_ns: int, value: Any) -> None:
        values = value if isinstance(value, dict) else {"frames": value}
        self._emit({"ph": "C", "name": name, "ts": self._us(t_ns), "tid": 0}, values)

    def _us(self, t_ns: int) -> float:
        return max(t_ns - self._t0_ns, 0) / _NS_PER_US

    def _emit(
        self, event: dict[str, Any], told: Mapping[str, Any] | None = None
    ) -> None:
        event["pid"] = PID
        if told is not None:
            event["args"] = {k: v for k, v in told.items() if v is not None}
        self._file.write("" if self._first else ",\n")
        self._first = False
        self._file.write(json.dumps(event, separators=(",", ":")))


def _resource(request: Mapping[str, Any] | None) -> str:
    """Name the track of an action: what it claims, else what it does."""
    if request is None:
        return "unknown"
    try:
        action = decode(Action, request["action"])
        claims = action.claims(decode(View, request["view"]))
    except (KeyError, TypeError, ValueError):
        # Journalled by a version whose actions were others than ours.
        claims = ()
    return claims[0] if claims else str(request["action"]["do"])
