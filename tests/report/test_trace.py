"""The trace: every frame and outcome once, in the format that viewers read."""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from made_runs import T0_NS, MadeRun, divisions_run, picture, stream_run
from typer.testing import CliRunner

from smartscope.app.cli import app
from smartscope.core import ConfigError, MoveStage, RecordError
from smartscope.record import RunFolder, write_trace

if TYPE_CHECKING:
    from pathlib import Path

FRAMES = 300
Event = dict[str, Any]
PHASES = {"X", "i", "M", "C", "s", "f"}


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return RunFolder(stream_run(tmp_path_factory.mktemp("runs"), frames=FRAMES))


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return RunFolder(divisions_run(tmp_path_factory.mktemp("runs")))


def events_of(run: RunFolder, target: Path | None = None) -> list[Event]:
    """Events of a run, each checked against the format."""
    text = write_trace(run, target).read_text(encoding="utf-8")
    trace = json.loads(text, parse_constant=_refuse)
    events: list[Event] = trace["traceEvents"]
    for event in events:
        assert event["ph"] in PHASES
        assert isinstance(event["name"], str) and event["name"]
        assert isinstance(event["ts"], int | float) and event["ts"] >= 0
        assert event["pid"] == 1
        assert isinstance(event["tid"], int)
        assert ("dur" in event) == (event["ph"] == "X")
        assert event.get("dur", 0) >= 0
        assert ("id" in event) == (event["ph"] in "sf")
        assert event["ph"] != "i" or event["s"] == "t"
    return events


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def slices(events: list[Event], track: str) -> list[Event]:
    """Slices of all lines of a track."""
    tids = {
        e["tid"]
        for e in events
        if e["name"] == "thread_name"
        and (e["args"]["name"] == track or e["args"]["name"].startswith(f"{track} ("))
    }
    return [e for e in events if e["ph"] == "X" and e["tid"] in tids]


@pytest.mark.parametrize("which", ["stream", "plan"])
def test_every_frame_decision_and_outcome_is_there_once(
    which: str, request: pytest.FixtureRequest
) -> None:
    run: RunFolder = request.getfixturevalue(which)
    events = events_of(run)
    frames = [e["args"]["frame_id"] for e in slices(events, "camera Camera")]
    assert sorted(frames) == [f.frame_id for f in run.frames]
    done = [e for e in events if e["ph"] == "X" and "action_id" in e["args"]]
    told = [o.action_id for o in run.outcomes]
    assert sorted(e["args"]["action_id"] for e in done) == sorted(told)
    decisions = [e["args"]["decision"] for e in slices(events, "policies")]
    assert decisions == [d.number for d in run.decisions]
    seen = [e["args"]["observation"] for e in slices(events, "vision")]
    assert seen == [o.number for o in run.observations()]


def test_times_are_those_of_the_journal(stream: RunFolder) -> None:
    events = events_of(stream)
    camera = {e["args"]["frame_id"]: e for e in slices(events, "camera Camera")}
    for frame in stream.frames:
        event = camera[frame.frame_id]
        assert event["ts"] == pytest.approx(
            (frame.t_exposed_ns - T0_NS) / 1e3, abs=1e-3
        )
        wanted_us = (frame.t_received_ns - frame.t_exposed_ns) / 1e3
        assert event["dur"] == pytest.approx(wanted_us, abs=1e-3)
    done = {e["args"]["action_id"]: e for e in slices(events, "light:488")}
    for outcome in stream.outcomes:
        event = done[outcome.action_id]
        start_ns = outcome.t_ns.get("applied", outcome.t_ns["checked"])
        end_ns = outcome.t_ns.get("verified", start_ns)
        assert event["ts"] == pytest.approx((start_ns - T0_NS) / 1e3, abs=1e-3)
        assert event["dur"] == pytest.approx((end_ns - start_ns) / 1e3, abs=1e-3)
        assert event["args"]["status"] == outcome.status
        assert event["args"].get("command") == outcome.command


def test_policies_asked_one_after_the_other_share_a_line(tmp_path: Path) -> None:
    made = MadeRun(tmp_path)
    frame_id = made.film(0.0, picture([], 0), index={"t": 0})
    number = made.see(0.0, frame_id, [])
    for k in range(200):
        head = {"number": k, "observation": number, "policy": f"p{k}", "requests": []}
        t_ns = T0_NS + 48_000_000 + 1_009 * (k + 1)
        made.writer.note("decision", {"decision": head}, t_ns=t_ns)
    made.close()
    policies = slices(events_of(RunFolder(made.path)), "policies")
    assert len({e["tid"] for e in policies}) == 1
    assert len(policies) == 200
    for one, next_ in pairwise(policies):
        # Cut down to whole ns, as viewers do: neither a gap nor an overlap.
        assert int(one["ts"] * 1000) + 1_009 == int(next_["ts"] * 1000)


def test_no_slices_of_one_line_overlap(stream: RunFolder, plan: RunFolder) -> None:
    for run in (stream, plan):
        lines: dict[int, list[tuple[float, float]]] = defaultdict(list)
        for event in events_of(run):
            if event["ph"] == "X":
                # As viewers read it: cut down to whole ns.
                start = int(event["ts"] * 1000)
                lines[event["tid"]].append((start, start + int(event["dur"] * 1000)))
        for spans in lines.values():
            spans.sort()
            for (_, end), (start, _) in pairwise(spans):
                assert end <= start
    # Exposures begin before the last frame was received, so one line was not enough.
    assert len({e["tid"] for e in slices(events_of(stream), "camera Camera")}) == 2


def test_every_track_has_a_name_and_ids_are_stable(stream: RunFolder) -> None:
    events = events_of(stream)
    named = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    used = {e["tid"] for e in events if e["ph"] in "Xisf"}
    assert used == named.keys()
    assert len(set(named.values())) == len(named)
    ordered = {n: t for t, n in named.items()}
    tracks = ("camera Camera", "vision", "policies", "light:488", "light", "events")
    tids = [ordered[name] for name in tracks]
    assert tids == sorted(tids)
    assert events == events_of(stream)


def test_arrows_lead_from_frame_to_sight_to_deed(stream: RunFolder) -> None:
    events = events_of(stream)
    ends: dict[int, dict[str, Event]] = defaultdict(dict)
    for event in events:
        if event["ph"] in "sf":
            assert event["ph"] not in ends[event["id"]]
            ends[event["id"]][event["ph"]] = event
    by_place: dict[tuple[int, float], Event] = {
        (e["tid"], e["ts"]): e for e in events if e["ph"] == "X"
    }
    led = Counter()
    for pair in ends.values():
        since, until = (by_place[pair[p]["tid"], pair[p]["ts"]] for p in "sf")
        assert since["ts"] <= until["ts"]
        if "frame_id" in since["args"]:
            assert until["args"]["frame_ids"] == [since["args"]["frame_id"]]
            led["seen"] += 1
        else:
            number = since["args"]["observation"]
            assert until["args"]["action_id"] == f"{number}.0"
            led["done"] += 1
    assert led == {"seen": FRAMES // 2, "done": FRAMES // 2}


def test_reasons_and_single_events_are_told(stream: RunFolder) -> None:
    events = events_of(stream)
    reasons = [e["args"]["reasons"] for e in slices(events, "policies")]
    assert reasons == [[f"signal {k}"] for k in range(0, FRAMES, 2)]
    kinds = Counter(e["name"] for e in events if e["ph"] == "i")
    written = Counter(e["kind"] for e in stream.entries())
    for kind in (
        "lost",
        "skipped",
        "restart",
        "interlock",
        "fault",
        "external",
        "kept",
    ):
        assert kinds[kind] == written[kind] > 0, kind
    counts = [e["args"]["frames"] for e in events if e["ph"] == "C"]
    assert counts == list(range(1, written["skipped"] + 1))


def test_light_lasts_from_its_announcement_to_its_dose(plan: RunFolder) -> None:
    light = slices(events_of(plan), "light")
    intents = [e["t_ns"] for e in plan.entries("intent")]
    doses = [e["t_ns"] for e in plan.entries("dose")]
    assert len(light) == len(intents) == len(doses)
    for event, start_ns, end_ns in zip(light, intents, doses, strict=True):
        assert event["ts"] == pytest.approx(max(start_ns - T0_NS, 0) / 1e3, abs=1e-3)
        assert event["dur"] == pytest.approx((end_ns - start_ns) / 1e3, abs=1e-3)


def test_light_that_was_never_charged_shows(tmp_path: Path) -> None:
    made = MadeRun(tmp_path)
    made.film(0.0, picture([], 0), index={"t": 0})
    made.writer.note("intent", {"index": {"t": 1}, "frames": 3})
    made.writer.note(
        "fault", {"where": "camera", "message": "gone"}, t_ns=T0_NS + 9_000
    )
    made.writer.journal.flush()
    made.writer.abort()
    light = slices(events_of(RunFolder(made.path)), "light")
    assert [e["args"].get("charged") for e in light] == [None, False]
    assert light[1]["dur"] > 0


def test_crashed_run_has_a_valid_trace(tmp_path: Path) -> None:
    path = stream_run(tmp_path, frames=100, close=False)
    journal = path / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])
    events = events_of(RunFolder(path))
    assert [e["name"] for e in events if e["ph"] == "i"][-1] == "torn"
    assert len(slices(events, "camera Camera")) == 100


def test_run_without_anything_has_a_valid_trace(tmp_path: Path) -> None:
    made = MadeRun(tmp_path)
    made.close()
    names = [e["name"] for e in events_of(RunFolder(made.path))]
    assert names.count("process_name") == 1


def test_an_action_nobody_knows_any_more_is_still_there(tmp_path: Path) -> None:
    made = MadeRun(tmp_path)
    made.decide(0.0, 0, MoveStage(x_um=1.0, y_um=2.0, reason="there"), "scheduled")
    line = {"action_id": "77.0", "policy": "p", "status": "applied", "t_ns": {}}
    made.writer.note("outcome", {"outcome": line})
    made.close()
    events = events_of(RunFolder(made.path))
    assert [e["name"] for e in slices(events, "stage")] == ["MoveStage"]
    assert [e["args"]["action_id"] for e in slices(events, "unknown")] == ["77.0"]


def test_damaged_journal_leaves_no_half_a_trace(tmp_path: Path) -> None:
    path = stream_run(tmp_path, frames=100)
    journal = path / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:50], b"nonsense\n", *lines[50:]]))
    with pytest.raises(RecordError, match="line 51"):
        write_trace(RunFolder(path))
    assert not list(path.glob("trace*"))


@pytest.mark.parametrize("name", ["journal.jsonl", "report.html", "no/where.json"])
def test_a_trace_goes_nowhere_else(stream: RunFolder, name: str) -> None:
    before = (stream.path / "journal.jsonl").read_bytes()
    with pytest.raises(ConfigError):
        write_trace(stream, stream.path / name)
    assert (stream.path / "journal.jsonl").read_bytes() == before


# -- the command --------------------------------------------------------------------


def test_command_writes_where_it_is_told(stream: RunFolder, tmp_path: Path) -> None:
    run = str(stream.path)
    there = stream.path / "trace.json"
    there.unlink(missing_ok=True)
    for arguments, file in (
        ((run, "--trace"), there),
        ((run, "--trace", str(tmp_path / "a.json")), tmp_path / "a.json"),
        (("--trace", run, str(tmp_path / "b.json")), tmp_path / "b.json"),
    ):
        done = CliRunner().invoke(app, ["report", *arguments])
        assert done.exit_code == 0, done.output
        assert done.stdout.strip() == os.fspath(file)
        assert json.loads(file.read_text(encoding="utf-8"))["traceEvents"]
    assert not (stream.path / "report.html").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("nowhere", "--trace"),
        (".", "--trace"),
        ("{run}", "--trace", "{run}/journal.jsonl"),
        ("{run}", "--trace", "no/where.json"),
        ("{run}", "--trace", "--open"),
        ("{run}", "a.json"),
    ],
)
def test_bad_input_is_one_sentence(
    stream: RunFolder,
    arguments: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    typed = [a.format(run=stream.path) for a in arguments]
    done = CliRunner().invoke(app, ["report", *typed])
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.startswith("smartscope: ")
    assert done.stderr.count("\n") == 1
