"""Shipped scenarios of targets and quality: what their films are measured to be."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest

from smartscope.config import load_experiment, shipped
from smartscope.record import RunFolder
from smartscope.score import Job, run_job

if TYPE_CHECKING:
    from pathlib import Path

SEED = 1000  # of those for tuning


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("demos") / "demo_configs"
    shutil.copytree(shipped("demo_configs"), target)
    return target / "scenarios"


def shortened(folder: Path, name: str, loops: int) -> Path:
    text = (folder / f"{name}.yaml").read_text(encoding="utf-8")
    text, changed = re.subn(r"loops: \d+", f"loops: {loops}", text)
    assert changed == 1
    short = folder / f"{name}_{loops}.yaml"
    short.write_text(text, encoding="utf-8")
    return short


def test_one_cell_of_the_crowd_is_followed_and_without_a_policy_lost(
    demos: Path,
) -> None:
    short = shortened(demos, "follow_cell_crowded", 80)
    followed = run_job(Job(file=short, arm="policy", seed=SEED))
    alone = run_job(Job(file=short, arm="none", seed=SEED))
    assert followed.problem == alone.problem == ""
    assert followed.parts["time_on_target"] == (80.0, 80.0)
    assert followed.parts["identity_kept"] == (1.0, 1.0)
    assert alone.parts["identity_kept"] == (0.0, 1.0)
    # Its walk is the same whoever watches; light only bleaches it.
    for film in (followed, alone):
        assert film.parts["path_fields"][0] == pytest.approx(2.13, abs=0.2)
        assert film.parts["touched"][0] > 5


def test_the_path_of_the_whole_film_is_longer_than_ten_fields() -> None:
    experiment = load_experiment(
        shipped("demo_configs") / "scenarios" / "follow_cell_crowded.yaml"
    )
    assert experiment.score is not None
    bars = {bar.measure: bar.at_least for bar in experiment.score.bars}
    assert bars["path_fields"] == 10
    assert bars["identity_kept"] == 0.95


def test_the_signal_is_held_until_the_budget_ends_the_film(
    demos: Path, tmp_path: Path
) -> None:
    file = demos / "hold_signal_cells.yaml"
    film = run_job(Job(file=file, arm="policy", seed=SEED, output=tmp_path))
    assert film.problem == ""
    held, looks = film.parts["snr_held"]
    assert held / looks >= 0.95
    (path,) = (tmp_path / file.stem / f"policy-{SEED}").iterdir()
    end = RunFolder(path).end
    assert end is not None
    assert "light budget" in end["message"]
    assert film.parts["frames"][0] < 200
    assert film.parts["dose"][0] == pytest.approx(60, abs=2)


def test_the_planes_of_a_sweep_are_not_asked_to_be_in_focus(demos: Path) -> None:
    short = shortened(demos, "focus_guard_drift", 12)
    film = run_job(Job(file=short, arm="policy", seed=SEED))
    assert film.problem == ""
    assert film.parts["frames"][0] > 12
    assert film.parts["in_focus"] == (12.0, 12.0)
