"""Fresh processes, interleaved; what goes wrong shows; the command line."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from smartscope.app.cli import app
from smartscope.bench import Bench, bench, to_json, to_markdown, to_text
from smartscope.bench._catalogue import C1_WRITTEN, STARTUP, A
from smartscope.bench._harness import Run, Table, _child
from smartscope.bench._job import Job
from smartscope.bench._machine import disk_rates
from smartscope.core import ConfigError

MEASURED = {"latency_ms": {"median": 1.0, "p95": 2.0, "p99": 3.0, "max": 4.0}}


def table(task=A, **changes) -> Table:
    runs = {
        task.name_of(e): [Run(got={**MEASURED, "lost": 0}, **changes)]
        for e in task.entrants
    }
    return Table(task=task, runs=runs)


def made(*tables: Table, repetitions: int = 5) -> Bench:
    return Bench(work="react", repetitions=repetitions, tables=list(tables))


def test_every_repetition_is_a_fresh_process_and_peers_take_turns(tmp_path) -> None:
    said: list[str] = []
    whole = bench(
        "startup", repetitions=2, scratch=tmp_path, frames=1, progress=said.append
    )
    names = [line.split(": ")[1].split(",")[0] for line in said]
    assert names == ["floor", "plain", "smartscope"] * 2
    (task,) = to_json(whole)["tasks"]
    assert [row["runs"] for row in task["rows"]] == [2, 2, 2]
    assert task["rows"][0]["x_floor"] == 1.0
    assert [bar["met"] for bar in task["bars"]].count(None) <= 1
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def test_json_has_all_it_needs_and_is_json() -> None:
    whole = json.loads(json.dumps(to_json(made(table()))))
    assert whole.keys() >= {
        "not_for_publication",
        "why_not",
        "machine",
        "versions",
        "commit",
        "load",
        "disk",
        "scratch",
        "started",
        "repetitions",
        "notes",
    }
    assert whole["machine"].keys() == {"cpu", "cores", "memory_gib", "os"}
    assert whole["versions"].keys() >= {"python", "pymmcore", "pymmcore-plus"}
    (task,) = whole["tasks"]
    assert task["reference"] == "floor"
    for row in task["rows"]:
        assert row.keys() >= {"name", "runs", "of", "x_floor", "medians"}
        assert len(row["repetitions"]) == row["of"] == 1


def test_a_busy_machine_is_said_so() -> None:
    quiet = made(table(load_start=2.9, load_end=3.0))
    assert quiet.why_not == []
    assert "NOT FOR PUBLICATION" not in to_text(quiet)
    for when in ({"load_start": 3.1}, {"load_end": 9.0}):
        busy = made(table(**when))
        assert "load average was above 3" in busy.why_not[0]
        assert "NOT FOR PUBLICATION: the load average" in to_text(busy)
        assert to_json(busy)["not_for_publication"] is True


def test_no_load_average_is_unknown_not_quiet() -> None:
    assert "Load average: unknown at the start" in to_text(made(table()))


def test_too_few_repetitions_are_not_published() -> None:
    assert "4 repetitions are fewer than 5" in made(table(), repetitions=4).why_not


def test_a_failed_run_shows_and_meets_no_bar() -> None:
    broken = table()
    broken.runs["smartscope"] = [Run(got=None, problem="smartscope (snap) failed: x")]
    whole = made(broken)
    assert "1 of 3 runs failed: smartscope (snap) failed: x" in whole.why_not
    assert {bar["met"] for bar in broken.bars()} == {None}
    assert "not measured" in to_markdown(whole)
    assert "0/1" in to_markdown(whole)


def test_written_rows_are_compared_with_the_floor_that_writes_nothing() -> None:
    both = table(C1_WRITTEN)
    assert both.reference == "floor, not written"
    both.runs["floor"][0].got["latency_ms"] = {"median": 50.0}
    assert both.x_floor("smartscope") == 1.0
    assert both.x_floor("floor") == 50.0


def test_markdown_rows_have_the_cells_of_their_head() -> None:
    lines = to_markdown(made(table(), table(C1_WRITTEN))).splitlines()
    tables = [line for line in lines if line.startswith("|")]
    assert len(tables) == (2 + 3) + (2 + 4) + (2 + 2 + 5)
    width = 0
    for line, after in zip(tables, [*tables[1:], ""], strict=True):
        if after.startswith("| ---"):
            width = line.count("|")
        assert line.count("|") == width


def test_a_process_that_fails_says_why(tmp_path) -> None:
    got, problem = _child(Job(kind="startup", peer="floor", cfg="nowhere.cfg"))
    assert got is None
    assert problem.startswith("floor (startup) failed: ")
    assert "nowhere.cfg" in problem


def test_the_disk_is_measured_and_left_as_it_was(tmp_path) -> None:
    rates = disk_rates(tmp_path, size_mb=2)
    assert rates["cached_mb_s"] >= rates["synced_mb_s"] > 0
    assert list(tmp_path.iterdir()) == []


WRONG = [
    (["raect"], "did you mean 'react'"),
    (["react", "--repetitions", "0"], "0 repetitions measure nothing"),
    (["react", "--full"], "'react' has one length only"),
    (["react", "--scratch", "no/such/folder"], "is no folder"),
    (["react", "--json", "no/such/folder/x.json"], "is no folder"),
    (["react", "--json", "-", "--markdown"], "both print"),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG, ids=lambda value: str(value))
def test_bad_input_is_one_sentence_and_exit_code_2(arguments, words) -> None:
    done = CliRunner().invoke(app, ["bench", *arguments])
    assert done.exit_code == 2
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


def test_a_full_disk_is_refused_before_anything_runs(tmp_path) -> None:
    from smartscope.bench import check_scratch

    with pytest.raises(ConfigError, match="MB free, this work needs"):
        check_scratch(tmp_path, 1e12)
    assert STARTUP.scratch_mb < 200 < C1_WRITTEN.scratch_mb


def test_the_command_prints_json_and_nothing_else(tmp_path, monkeypatch) -> None:
    # Measuring is tested above: here it is what is printed.
    monkeypatch.setattr(
        "smartscope.bench._harness.bench", lambda *a, **k: made(table())
    )
    done = CliRunner().invoke(app, ["bench", "react", "--json", "-"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["tasks"][0]["name"] == "A"
    file = tmp_path / "bench.json"
    done = CliRunner().invoke(
        app, ["bench", "react", "--json", str(file), "--markdown"]
    )
    assert done.exit_code == 0
    assert done.stdout == to_markdown(made(table()))
    assert json.loads(file.read_text())["tasks"][0]["name"] == "A"
