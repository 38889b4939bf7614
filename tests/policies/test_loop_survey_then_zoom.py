"""A real run: a well at 10x, the turret turned, the rare cells in the middle at 40x."""

from __future__ import annotations

import numpy as np

from smartscope import replay
from smartscope.core import SwitchObjective
from smartscope.testing import run_experiment


def test_the_rare_cells_are_in_the_middle_at_high_magnification(tmp_path):
    done = run_experiment("survey_then_zoom", output=tmp_path, seed=3, duration_s=60.0)
    assert done.result.outcome == "completed", done.result.message
    frames = list(done.journal.frames)
    close = [f for f in frames if f.role == "reaction"]
    survey = [f for f in frames if f.role == "baseline"]
    assert {f.state.objective for f in close} == {"40x"}
    assert {f.state.objective for f in survey} == {"10x"}, "the plan goes on as it was"
    assert len(survey) == 50, "two surveys"
    assert len({(f.state.x_um, f.state.y_um) for f in survey}) == 25
    assert len(close) == 4 * 2, "four cells, two frames each, and none of them again"
    assert len(done.actions(SwitchObjective)) == 2
    truth = {key: np.array(column) for key, column in done.truth.items()}
    first = truth["t_s"] == truth["t_s"][0]
    odd = first & (truth["odd"] > 0)
    assert (odd.sum(), first.sum() > 40) == (4, True), "few among many"
    places = np.array(sorted({(f.state.x_um, f.state.y_um) for f in close}))
    true = np.column_stack([truth["x_um"][odd], truth["y_um"][odd]])
    away = np.linalg.norm(places[:, None] - true, axis=2)
    assert away.min(axis=0).max() < 4.0, "all found, a sixteenth of the field off"
    assert replay(done.result.path).identical
