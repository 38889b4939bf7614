"""Whole scoreboards, from file to table; and that nobody looks at the truth."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml

import smartscope
from smartscope.config import load_experiment, shipped
from smartscope.core import Nothing, encode
from smartscope.record import RunFolder
from smartscope.runs import _live
from smartscope.score import Job, rig_with_seed, run_job, score, verdicts, with_seed
from smartscope.specimen import make_specimen

if TYPE_CHECKING:
    from pathlib import Path

SCENARIO = shipped("demo_configs") / "scenarios" / "rate_switch_cells.yaml"


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """The scenario, short, with cells that divide often."""
    folder = SCENARIO.parent
    for name in ("scenario.cfg", "rate_switch_cells_rig.yaml", SCENARIO.name):
        text = (folder / name).read_text(encoding="utf-8")
        text = text.replace("loops: 301", "loops: 14")
        text = text.replace("cell_cycle_s: 20000", "cell_cycle_s: 1200")
        text = text.replace("settle_s: 100", "settle_s: 40")
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path / SCENARIO.name


def run_folder(output: Path, arm: str, seed: int) -> RunFolder:
    (path,) = (output / SCENARIO.stem / f"{arm}-{seed}").iterdir()
    return RunFolder(path)


def test_arms_run_on_the_same_specimen_and_differ_as_they_should(
    tiny: Path, tmp_path: Path
) -> None:
    output, told = tmp_path / "kept", []
    board = score([tiny], count=1, jobs=2, output=output, progress=told.append)
    (scenario,) = board.scenarios
    assert not scenario.failed(), scenario.failed()
    assert len(told) == 4
    seed = scenario.seeds[0]
    frames = {arm: scenario.value(arm, "frames").value for arm in scenario.score.arms}
    assert frames["fixed_slow"] == 14
    assert frames["fixed_fast"] == 13 * 10 + 1
    assert 14 < frames["policy"] < frames["fixed_fast"]
    assert scenario.value("fixed_slow", "coverage").value == pytest.approx(
        0.1, abs=0.02
    )
    assert scenario.value("fixed_fast", "coverage").value > 0.95
    assert scenario.value("policy", "dose").value == pytest.approx(
        scenario.value("fixed_slow", "dose").value * frames["policy"] / 14, rel=1e-3
    )
    assert len(verdicts(scenario)) == 3
    files = {}
    for arm in scenario.score.arms:
        folder = run_folder(output, arm, seed)
        files[arm] = [
            yaml.safe_load(t) for t in (folder.experiment_yaml, folder.rig_yaml)
        ]
        assert files[arm][0].pop("policies")
        assert files[arm][1]["specimen"]["seed"] == files[arm][0]["seed"] == seed
        assert not list(folder.path.glob("images/*"))
    assert all(pair == files["policy"] for pair in files.values())


def test_a_run_that_fails_is_told_and_the_others_go_on(tiny: Path) -> None:
    policy = tiny.parent / "broken.py"
    policy.write_text(
        "from smartscope.policies import Policy\n\n\n"
        "class Broken(Policy):\n"
        '    """Fails."""\n\n'
        "    def react(self, seen):\n"
        '        """Fail."""\n'
        "        raise RuntimeError('no idea')\n",
        encoding="utf-8",
    )
    text = tiny.read_text(encoding="utf-8")
    begin, end = text.index("\npolicies:") + 1, text.index("\nscore:") + 1
    text = f"{text[:begin]}policies: [{{use: broken.py}}]\n\n{text[end:]}"
    text = text.replace("loops: 14", "loops: 3")
    tiny.write_text(text, encoding="utf-8")
    (scenario,) = score([tiny], count=1, jobs=1).scenarios
    problems = {film.arm: film.problem for film in scenario.films}
    assert "no idea" in problems["policy"]
    assert "the arm it is to equal failed" in problems["random"]
    assert problems["fixed_fast"] == problems["fixed_slow"] == ""


class Liar:
    """A specimen that looks as it is and tells nonsense about itself."""

    def __init__(self, specimen: Any) -> None:
        self._specimen = specimen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._specimen, name)

    def truth(self, t_ns: int) -> Any:
        truth = self._specimen.truth(t_ns)
        rng = np.random.default_rng(t_ns % 1000)
        count = len(truth)
        return dataclasses.replace(
            truth,
            x_um=rng.uniform(-9e5, 9e5, count),
            y_um=rng.uniform(-9e5, 9e5, count),
            dose=np.full(count, -1.0),
            phase=np.full(count, "mitosis"),
            alive=np.zeros(count, bool),
            divisions=(),
            events=(),
            focus_plane_um=1e6,
        )


def decided(folder: RunFolder) -> tuple[list[Any], list[Any], list[tuple[int, str]]]:
    frames = [(f.t_exposed_ns, f.cause) for f in folder.frames]
    return (
        [encode(decision) for decision in folder.decisions],
        folder.events().to_pylist(),
        frames,
    )


def test_no_decision_depends_on_the_truth(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = with_seed(load_experiment(tiny), 3)
    rig = rig_with_seed(experiment, 3)
    honest = smartscope.run(experiment, rig=rig, output=tmp_path / "honest")

    def liar(kind: str, **given: Any) -> Any:
        return Liar(make_specimen(kind, **given))

    monkeypatch.setattr(_live, "make_specimen", liar)
    lied = smartscope.run(experiment, rig=rig, output=tmp_path / "lied")
    assert honest.outcome == lied.outcome == "completed"
    assert decided(lied.folder) == decided(honest.folder)
    # There was something to decide, and the nonsense was really told.
    acted = [
        request.action
        for decision in honest.folder.decisions
        for request in decision.requests
        if not isinstance(request.action, Nothing)
    ]
    assert acted
    assert honest.folder.table("true_events").num_rows > 0
    assert lied.folder.table("true_events").num_rows == 0


def test_a_level_that_the_truth_does_not_have_is_a_problem_in_words(tiny: Path) -> None:
    text = tiny.read_text(encoding="utf-8").replace("loops: 14", "loops: 2")
    text = text.replace("  depth_um: 4", "  level: {of: calcum, target: 1}")
    tiny.write_text(text, encoding="utf-8")
    film = run_job(Job(file=tiny, arm="policy", seed=1))
    assert "has no 'calcum' (score.level.of)" in film.problem
