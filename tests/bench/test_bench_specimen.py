"""The bench of specimens in small: what is drawn, what the tables say."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from smartscope.app.cli import app
from smartscope.bench import (
    bench_specimen,
    specimen_to_json,
    specimen_to_markdown,
    specimen_to_text,
)
from smartscope.bench._specimen import BARS, Drawn, Scene, default_scenes
from smartscope.specimen import specimen_kinds, thread_count

SCENES = (
    Scene(name="few", side_px=64, parameters={"cells": 3, "area_um": (60, 60)}),
    Scene(name="one thread", side_px=64, parameters={"cells": 5}, threads=1),
    Scene(name="late", side_px=64, parameters={"cells": 1}, at_s=20.0),
)


@pytest.fixture(scope="module")
def made():
    lines = []
    found = bench_specimen(frames=4, scenes=SCENES, progress=lines.append)
    assert lines[:3] == ["few", "one thread", "late"]
    return found


def test_scenes_are_drawn_as_asked(made):
    rows = {row.name: row for row in made.rows}
    assert [rows[s.name].objects for s in SCENES] == [3, 5, 1]
    assert rows["one thread"].threads == 1
    assert rows["few"].threads == thread_count()
    assert all(row.frame_ms["n"] == 4 for row in made.rows)
    assert all(row.met is None for row in made.rows)


def test_a_bar_is_met_by_the_median():
    values = {"side_px": 512, "objects": 100, "threads": 2, "cpu_ms": 8.0}
    fast = Drawn(name="a", frame_ms={"median": 9.9}, bar_fps=100.0, **values)
    slow = Drawn(name="a", frame_ms={"median": 10.1}, bar_fps=100.0, **values)
    assert (fast.met, slow.met) == (True, False)


def test_the_whole_bench_holds_every_kind_and_every_bar():
    scenes = default_scenes()
    names = [scene.name for scene in scenes]
    assert len(set(names)) == len(names)
    assert set(BARS) < set(names)
    assert {scene.kind for scene in scenes} == set(specimen_kinds())


def test_tables_hold_every_row(made):
    whole = json.loads(json.dumps(specimen_to_json(made)))
    assert [row["name"] for row in whole["rows"]] == [row.name for row in made.rows]
    for text in (specimen_to_text(made), specimen_to_markdown(made)):
        assert all(row.name in text for row in made.rows)
        assert "p99" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [(["-n", "0"], "no frame to draw"), (["--rate", "20"], "runs no models")],
)
def test_what_cannot_be_measured_is_refused(words, said):
    done = CliRunner().invoke(app, ["bench", "specimen", *words])
    assert done.exit_code == 2
    assert said in done.output
