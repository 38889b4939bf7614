"""How long things took, who got the frames and what was lost, in facts and page."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from made_runs import T0_NS, MadeRun, cells_at, divisions_run, picture, stream_run
from test_report import read

from smartscope.core import Nothing
from smartscope.record import RunFolder, write_report
from smartscope.record._report import facts_of
from smartscope.record._report_bounded import MOST_BINS, MOST_POINTS, Line, Marks
from smartscope.record._report_decisions import MOST_ALIKE, Decisions
from smartscope.record._report_facts import DecisionFact
from smartscope.record._report_flow import ms
from smartscope.record._report_gather import Gatherer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FRAMES = 400


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return RunFolder(stream_run(tmp_path_factory.mktemp("runs"), frames=FRAMES))


def durations(run: RunFolder) -> dict[str, list[float]]:
    """Every duration of every step, ms, joined by id with nothing of ours."""
    entries = list(run.entries())
    seen = {
        e["observation"]["number"]: e["stamps"]
        for e in entries
        if e["kind"] == "observation"
    }
    decided = {
        r["action_id"]: r
        for e in entries
        if e["kind"] == "decision"
        for r in e["decision"]["requests"]
    }
    out: dict[str, list[float]] = {}

    def add(step: str, start_ns: int, end_ns: int) -> None:
        out.setdefault(step, []).append((end_ns - start_ns) / 1e6)

    for e in entries:
        if e["kind"] == "frame":
            add("exposed to received", e["t_exposed_ns"], e["t_received_ns"])
            add("received to published", e["t_received_ns"], e["t_published_ns"])
        elif e["kind"] == "outcome":
            times = dict(e["outcome"]["t_ns"])
            request = decided[e["outcome"]["action_id"]]
            add("decided to checked", request["t_decided_ns"], times["checked"])
            if "applied" in times:
                received_ns = seen[request["observation"]]["received"]
                add("checked to applied", times["checked"], times["applied"])
                add("applied to verified", times["applied"], times["verified"])
                add("received to applied", received_ns, times["applied"])
    for stamps in seen.values():
        add("published to taken", stamps["published"], stamps["taken"])
        add("taken to seen", stamps["taken"], stamps["seen"])
    for request in decided.values():
        seen_ns = seen[request["observation"]]["seen"]
        add("seen to decided", seen_ns, request["t_decided_ns"])
    return out


def test_every_step_has_the_percentiles_of_the_journal(stream: RunFolder) -> None:
    wanted = durations(stream)
    steps = {step.name: step for step in facts_of(stream).steps}
    assert steps.keys() == wanted.keys()
    for name, values in wanted.items():
        step = steps[name]
        assert step.count == len(values), name
        assert (step.p50, step.p95, step.p99) == pytest.approx(
            tuple(np.percentile(values, (50, 95, 99))), rel=1e-9
        ), name
        assert step.max == max(values), name
        assert step.bins.sum() == step.count, name


def test_table_shows_these_numbers(stream: RunFolder) -> None:
    _, words = read(write_report(stream))
    step = next(s for s in facts_of(stream).steps if s.name == "taken to seen")
    numbers = " ".join(ms(v) for v in (step.p50, step.p95, step.p99, step.max))
    assert f"taken to seen vision {numbers} 200" in words
    assert "received to applied whole reaction, done" in words
    assert "received to seen" not in words


def test_overruns_are_answers_later_than_a_frame_interval(stream: RunFolder) -> None:
    late, total = 0, 0
    decided = {
        e["decision"]["observation"]: e["t_ns"] for e in stream.entries("decision")
    }
    for e in stream.entries("observation"):
        after = decided[e["observation"]["number"]] - e["stamps"]["received"]
        late += after > 1_250_000
        total += 1
    over = facts_of(stream).overruns
    assert over is not None
    assert (over.observations, over.late) == (total, late)
    assert 0 < late < total
    assert over.interval_ms == pytest.approx(1.25)
    _, words = read(write_report(stream))
    assert f"Overruns: {late} of 200 observations" in words


def test_a_plan_has_deadlines_instead_of_overruns(tmp_path: Path) -> None:
    made = MadeRun(tmp_path)
    pacing = {"pacing": "lockstep", "deadline_s": 0.5, "on_deadline": "go_on"}
    made.writer.note("pacing", pacing)
    for k in range(3):
        cells = cells_at(5.0 * k, 1e9)
        frame_id = made.film(5.0 * k, picture(cells, k), index={"t": k})
        seen = made.see(5.0 * k, frame_id, cells)
        made.decide(5.0 * k, seen, Nothing(reason="no"), "")
    for _ in range(2):
        made.writer.note("deadline", {"message": "no decision", "then": "go_on"})
    made.close()
    run = RunFolder(made.path)
    assert facts_of(run).overruns is None
    _, words = read(write_report(run))
    assert "waited for the decision on the one before, at most 0.5 s." in words
    assert "The deadline passed 2 times: the run went on." in words
    assert "no deadline passed" not in words


def test_scaled_run_is_told_in_real_time(tmp_path: Path) -> None:
    # The clock of this run is ten times as fast; 26 ms of it are 2.6 ms of ours.
    run = RunFolder(divisions_run(tmp_path))
    steps = {step.name: step for step in facts_of(run).steps}
    assert steps["exposed to received"].max == pytest.approx(2.6)
    assert steps["received to seen"].p50 == pytest.approx(2.2)
    assert steps["received to scheduled"].count == 2
    _, words = read(write_report(run))
    assert "In real time; the run went 10 times as fast" in words


def test_virtual_run_shows_real_times_apart(tmp_path: Path) -> None:
    gatherer = Gatherer(0)
    wall = {
        "frame to observation": {"count": 3, "p50": 4, "p95": 5, "p99": 6, "max": 7}
    }
    gatherer.take([_frame_line(0, 1_000_000), {"kind": "end", "t_ns": 2_000_000}])
    gatherer.header = {"clock": {"kind": "virtual"}}
    gatherer.end = {"latency_ms": wall}
    from smartscope.record._report import _timing

    timing = _timing(gatherer)
    assert timing["wall"] == wall
    # What takes no time on such a clock is no step.
    assert [step.name for step in timing["steps"]] == ["exposed to received"]


def test_losses_are_told_apart_and_nothing_is_told_twice(stream: RunFolder) -> None:
    facts = facts_of(stream)
    counts = {loss.certain: loss.frames for loss in facts.delivery.losses}
    assert counts == {True: 8, False: 4}
    assert (facts.counts.lost_certain, facts.counts.lost_possible) == (8, 4)
    _, words = read(write_report(stream))
    assert "8 were lost, 4 may have been lost and 200 were left out by vision" in words
    assert "certain 8 in the camera 4" in words
    assert "possible 4 somewhere, judged by when frames arrived 4" in words
    assert "taken, but left out by vision" not in words


def test_subscribers_restarts_and_hands_are_listed(stream: RunFolder) -> None:
    facts = facts_of(stream).delivery
    rows = [(s.name, s.appetite, s.delivered, s.skipped) for s in facts.subscribers]
    assert rows == [("vision", "latest", 200, 200), ("record", "lossless", 400, 0)]
    (restart,) = facts.restarts
    assert (restart.what, restart.times) == ("roi", 4)
    assert restart.dead_ms == pytest.approx(sum(30.0 + k for k in (99, 199, 299, 399)))
    assert restart.max_ms == 429.0
    (external,) = facts.external
    assert (external.words, external.times) == ("stage: now 1.5, 399", 4)
    _, words = read(write_report(stream))
    assert "roi 4 1,116" in words
    assert "stage: now 1.5, 399 4" in words
    assert "3 frames found all 16 buffers in use" in words
    assert words.count("vision: bad frame 399") == 1
    assert words.count("stale frames: 399 ms") == 1


def test_kept_frames_say_why(stream: RunFolder) -> None:
    kept = facts_of(stream).delivery.kept
    # The decision on frame 98 is number 49.
    assert [(k.frames, k.reason) for k in kept[:1]] == [(80, "signal 98")]
    assert len(kept) == 4
    # Frame 99 was received 125.3 ms after the start.
    assert (kept[0].from_s, kept[0].to_s) == pytest.approx((0.0253, 0.1253))


def test_loss_only_the_closing_account_knows_is_told(tmp_path: Path) -> None:
    made = MadeRun(tmp_path)
    made.film(0.0, picture([], 0), index={"t": 0})
    told = {"published": 1, "lost_certain": 5, "lost_possible": 0}
    made.writer.note("subscribers", {"subscribers": [], "pool": {}, "frames": told})
    made.close()
    run = RunFolder(made.path)
    assert facts_of(run).counts.lost_certain == 5
    _, words = read(write_report(run))
    assert "certain 5 not told" in words


def test_journal_without_the_newer_lines_still_reports(tmp_path: Path) -> None:
    made = MadeRun(tmp_path)
    made.film(0.0, picture([], 0), index={"t": 0})
    made.writer.note("lost", {"frames": 3, "by": "camera"})
    made.writer.note("restart", {"for": "roi", "dead_ms": 31.2})
    made.writer.note("pause", {"paused": True})
    made.close()
    facts = facts_of(RunFolder(made.path))
    assert facts.counts.lost_certain == 3
    assert facts.delivery.subscribers == ()
    assert facts.delivery.pauses == 1
    read(write_report(RunFolder(made.path)))


def test_crashed_stream_has_a_report(tmp_path: Path) -> None:
    path = stream_run(tmp_path, frames=100, close=False)
    journal = path / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])
    facts = facts_of(RunFolder(path))
    assert facts.counts.taken == 100
    assert facts.delivery.subscribers == ()
    _, words = read(write_report(RunFolder(path)))
    assert "the last line of the journal was cut off" in words


# -- bounds -------------------------------------------------------------------------


def _frame_line(k: int, period_ns: int) -> dict[str, Any]:
    t_ns = T0_NS + k * period_ns
    return {
        "kind": "frame",
        "t_ns": t_ns,
        "frame_id": k,
        "role": "stream",
        "view": {"position": 0, "camera": "C"},
        "t_exposed_ns": t_ns,
        "t_received_ns": t_ns + period_ns,
        "t_published_ns": t_ns + period_ns,
    }


def _stream_lines(count: int) -> Iterator[dict[str, Any]]:
    """Frames that each bring a new event, a new track, a decision and a fault."""
    view = {"position": 0, "camera": "C"}
    for k in range(count):
        yield _frame_line(k, 1_000_000)
        t_ns = T0_NS + (k + 2) * 1_000_000
        event = {"event_id": k, "kind": "flash", "score": 0.5, "onset_s": k / 1000}
        place = {"x_um": 1.0, "y_um": 2.0}
        track = {"track_id": k, "state": "active", **place}
        seen = {"number": k, "view": view, "frame_ids": [k], "t_s": k / 1000}
        seen |= {"events": [event | place], "tracks": [track]}
        stamps = {"taken": t_ns, "seen": t_ns + 1, "received": t_ns - 1}
        yield {
            "kind": "observation",
            "t_ns": t_ns,
            "observation": seen,
            "stamps": stamps,
        }
        action = {"do": "SetPower", "reason": f"{k}", "line": "488"}
        request = {"action_id": f"{k}.0", "policy": "p", "view": view, "action": action}
        request |= {"t_decided_ns": t_ns, "observation": k}
        decision = {"observation": k, "policy": "p", "requests": [request]}
        yield {"kind": "decision", "t_ns": t_ns, "decision": decision}
        outcome = {
            "action_id": f"{k}.0",
            "status": "applied",
            "t_ns": {"checked": t_ns},
        }
        yield {"kind": "outcome", "t_ns": t_ns, "outcome": outcome}
        yield {"kind": "fault", "t_ns": t_ns, "message": f"fault {k}"}


def _containers(value: Any, known: set[int]) -> int:
    """Items in all dicts, lists and deques below `value`; arrays count as one."""
    if id(value) in known or isinstance(value, str | bytes | int | float | array):
        return 0
    known.add(id(value))
    if isinstance(value, dict):
        below = sum(_containers(v, known) for v in value.values())
        return len(value) + below
    if isinstance(value, list | tuple | set | frozenset):
        return len(value) + sum(_containers(v, known) for v in value)
    if hasattr(value, "__dict__"):
        return _containers(vars(value), known)
    names = getattr(type(value), "__slots__", ())
    return sum(_containers(getattr(value, name), known) for name in names)


def test_memory_is_bounded_however_long_the_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for place, name in (
        ("_report_gather", "MOST_SIGHTS"),
        ("_report_gather", "MOST_TRACKS"),
        ("_report_bounded", "REMEMBERED"),
    ):
        monkeypatch.setattr(f"smartscope.record.{place}.{name}", 50)
    held = []
    for count in (1000, 3000):
        got = Gatherer(T0_NS).take(_stream_lines(count))
        held.append(_containers(got, set()))
        assert len(got.timing.ns["exposed to received"]) == count
        assert got.more_sights["flash"] == count - 50
        assert got.more_tracks[0] == count - 50
        assert got.decided.fact().total == count
        (fault,) = got.faults.facts()
        assert fault.times == count
    # Only the marks of the timeline may still be filling up.
    assert held[1] - held[0] <= 2 * MOST_BINS


def test_long_path_keeps_its_ends_and_its_bound() -> None:
    line = Line()
    for k in range(100_000):
        line.add(float(k), 0.0)
    assert line.points == 100_000
    assert MOST_POINTS / 2 <= len(line.x_um) <= MOST_POINTS
    assert line.x_um[0] == 0.0
    gaps = np.diff(np.frombuffer(line.x_um))
    assert gaps.min() == gaps.max()
    assert line.x_um[-1] > 100_000 - 2 * gaps[0]


def _decided(k: int, status: str, reason: str = "why") -> DecisionFact:
    return DecisionFact(
        t_s=k * 0.01,
        policy="p",
        position=0,
        action="SetPower",
        detail="",
        reason=reason,
        status=status,
    )


def test_marks_of_the_timeline_are_bounded_and_lose_no_verdict() -> None:
    marks = Marks()
    for k in range(20_000):
        marks.add(_decided(k, "rejected" if k == 12_345 else "applied"))
    facts = marks.facts()
    assert MOST_BINS / 4 <= len(facts) <= MOST_BINS
    assert sum(mark.count for mark in facts) == 20_000
    assert [m.decision.t_s for m in facts if not m.decision.done] == [123.45]


def test_outcomes_that_come_late_find_their_decision() -> None:
    decisions = Decisions()
    view = {"position": 0}
    for k in range(5):
        action = {"do": "SetPower", "reason": f"r{'abcde'[k]}", "line": "488"}
        request = {"action_id": f"{k}.0", "policy": "p", "view": view, "action": action}
        decisions.asked(float(k), request)
    for k in (3, 1, 0, 2):
        status = "failed" if k == 3 else "applied"
        decisions.became({"action_id": f"{k}.0", "status": status})
    fact = decisions.fact()
    order = [(a.first[0].reason, a.first[0].status) for a in fact.alike]
    assert order == [
        ("ra", "applied"),
        ("rb", "applied"),
        ("rc", "applied"),
        ("rd", "failed"),
        ("re", "no outcome"),
    ]


def test_what_alternates_is_told_three_times_then_counted() -> None:
    decisions = Decisions()
    for k in range(1000):
        action = {"do": "SetPower", "reason": "up" if k % 2 else "down", "line": "488"}
        request = {"action_id": f"{k}.0", "policy": "p", "view": {"position": 0}}
        decisions.asked(float(k), {**request, "action": action})
        decisions.became({"action_id": f"{k}.0", "status": "applied"})
    fact = decisions.fact()
    assert len(fact.alike) == 6
    assert sum(a.count for a in fact.alike) == fact.total == 1000
    assert len(fact.alike) < MOST_ALIKE
    assert fact.left_out == 0


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.01314, "0.0131"), (1.25, "1.25"), (31.24, "31.2"), (7912.4, "7,912"), (0, "0")],
)
def test_milliseconds_have_three_digits_that_count(value: float, words: str) -> None:
    assert ms(value) == words
