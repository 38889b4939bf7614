"""A real run: a grid at 10x, the turret turned, the best cells in the middle at 40x."""

from __future__ import annotations

import numpy as np

from smartscope import replay
from smartscope.core import SwitchObjective
from smartscope.testing import run_experiment


def test_the_largest_cells_are_in_the_middle_at_high_magnification(tmp_path):
    done = run_experiment("survey_then_zoom", output=tmp_path, seed=3, duration_s=30.0)
    assert done.result.outcome == "completed", done.result.message
    frames = list(done.journal.frames)
    close = [f for f in frames if f.role == "reaction"]
    survey = [f for f in frames if f.role == "baseline"]
    assert {f.state.objective for f in close} == {"40x"}
    assert {f.state.objective for f in survey} == {"10x"}, "the plan goes on as it was"
    assert len(survey) == 18
    assert len(close) == 2 * 4 * 2, "surveys, objects, frames"
    assert len(done.actions(SwitchObjective)) == 4
    places = {(f.state.x_um, f.state.y_um) for f in close}
    assert len(places) == 8, "no object twice"
    truth = {key: np.array(column) for key, column in done.truth.items()}
    radii = np.sort(truth["radius_um"][truth["t_s"] == truth["t_s"][0]])
    found = []
    for x_um, y_um in places:
        away = np.hypot(truth["x_um"] - x_um, truth["y_um"] - y_um)
        assert away.min() < 6.0, "a tenth of the field"
        found.append(truth["radius_um"][np.argmin(away)])
    assert np.mean(found) > np.median(radii), "the large ones were chosen"
    at = {(f.state.x_um, f.state.y_um) for f in survey}
    assert len(at) == 9, "and the survey came back to its own places"
    assert replay(done.result.path).identical
