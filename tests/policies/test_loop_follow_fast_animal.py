"""A real run: a crawling worm, a stage that is late, vision that sees pixels only."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from smartscope.config import load_experiment, load_rig
from smartscope.testing import run_experiment

DEMO = Path(__file__).parents[2] / "demo_configs"


def errors(tmp_path, *, specimen=None, duration_s=24.0, **parameters):
    """Distances in um: animal to the middle of the field, and to where it began."""
    experiment = load_experiment("follow_fast_animal")
    plan = experiment.acquisition.replace(time_plan={"interval": 0.4, "loops": 2})
    (use,) = experiment.policies
    use = use.model_copy(update={"parameters": {**use.parameters, **parameters}})
    rig = load_rig(DEMO / "animal_rig.yaml")
    if specimen:
        found = {**rig.specimen.model_dump(), **specimen}
        rig = rig.model_copy(update={"specimen": type(rig.specimen)(**found)})
    done = run_experiment(
        experiment.model_copy(update={"acquisition": plan, "policies": [use]}),
        output=tmp_path,
        seed=5,
        duration_s=duration_s,
        rig=rig,
    )
    assert done.result.outcome == "completed", done.result.message
    truth = {key: np.array(column) for key, column in done.truth.items()}
    start_ns = next(done.journal.entries("start"))["start_ns"]
    away, gone = [], []
    for frame in done.journal.frames:
        t_s = (frame.t_exposed_ns - start_ns) / 1e9
        x, y = (np.interp(t_s, truth["t_s"], truth[k]) for k in ("x_um", "y_um"))
        away.append(np.hypot(x - frame.state.x_um, y - frame.state.y_um))
        gone.append(np.hypot(x, y))
    return np.array(away), np.array(gone)


def test_it_keeps_the_worm_in_the_field_and_prediction_helps(tmp_path):
    away, gone = errors(tmp_path)
    assert (gone > 256).mean() > 0.5, "a stage at rest would have lost it"
    assert np.mean(away < 128) >= 0.95, "central quarter of the field"
    behind, _ = errors(tmp_path, lead_s=0.0)
    assert np.median(away) < 0.7 * np.median(behind)


def test_it_finds_a_worm_that_is_somewhere_else(tmp_path):
    elsewhere = {"start_um": [700.0, -300.0], "speed_um_s": 20.0}
    away, _ = errors(tmp_path, specimen=elsewhere, duration_s=16.0)
    assert away[0] > 600, "far outside of the field"
    assert (away[-10:] < 128).all()
