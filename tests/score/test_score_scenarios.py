"""Every shipped scenario can be run, with each of its arms."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from smartscope.app.cli import app
from smartscope.config import load_experiment, shipped
from smartscope.score import Duty, Job, run_job, score_of

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = shipped("demo_configs") / "scenarios"
SCENARIOS = sorted(p for p in FOLDER.glob("*.yaml") if not p.stem.endswith("_rig"))
LEARNED = {p.stem for p in SCENARIOS if "model:" in p.read_text(encoding="utf-8")}
CLASSES = {
    "event": {
        "rate_switch",
        "burst_on_transient",
        "label_free_then_fluorescence",
        "endocytosis_roi",
    },
    "target": {
        "follow_cell",
        "follow_fast_animal",
        "survey_then_zoom",
        "revisit_mosaic",
    },
    "quality": {"hold_signal", "focus_guard", "hold_density"},
    "information": {"uncertainty_gate", "dose_planner", "stop_rule"},
    "outcome": {"steer_cell", "clamp_reporter", "photoactivate_on_event"},
}
FRAMES = 4


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `smartscope demos --copy` hands out."""
    target = tmp_path_factory.mktemp("copied") / "demos"
    done = CliRunner().invoke(app, ["demos", "--copy", str(target)])
    assert done.exit_code == 0, done.output
    return target / "scenarios"


def test_the_copies_have_all_scenarios(copies: Path) -> None:
    assert len(SCENARIOS) >= 2
    names = {path.name for path in FOLDER.iterdir()}
    assert {path.name for path in copies.iterdir()} == names


@pytest.mark.parametrize("file", SCENARIOS, ids=lambda path: path.stem)
def test_it_passes_the_check_and_says_how_it_is_judged(file: Path) -> None:
    done = CliRunner().invoke(app, ["check", str(file)])
    assert done.exit_code == 0, done.output
    score = load_experiment(file).score
    assert score is not None
    assert score.bars
    assert len(score.arms) >= 2


@pytest.mark.parametrize("name", [path.stem for path in SCENARIOS])
def test_each_arm_runs_from_a_copy(copies: Path, name: str) -> None:
    whole = copies / f"{name}.yaml"
    # As text: a YAML library reads the key `on` of a stage as true.
    written = whole.read_text(encoding="utf-8")
    written, changed = re.subn(r"loops: \d+", f"loops: {FRAMES}", written)
    assert changed == 1
    short = copies / f"short_{name}.yaml"
    short.write_text(written, encoding="utf-8")
    score = score_of(load_experiment(short))
    for arm in score.arms:
        duty = Duty(0.5, score.slow_interval_s or 1.0) if arm == "random" else None
        film = run_job(Job(file=short, arm=arm, seed=1, duty=duty))
        assert film.problem == "", (arm, film.problem)
        assert film.parts["frames"][0] >= FRAMES


@pytest.mark.parametrize("kind", CLASSES)
def test_learned_models_are_in_the_loop_of_one_of_each_class(kind: str) -> None:
    used = {
        use.use
        for path in SCENARIOS
        if path.stem in LEARNED
        for use in load_experiment(path).policies
    }
    assert used & CLASSES[kind]
