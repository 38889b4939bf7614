"""Real runs: a tissue that drifts out of focus, and an empty one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from smartscope.config import load_experiment, load_rig
from smartscope.core import Acquire
from smartscope.testing import run_experiment

DEMO = Path(__file__).parents[2] / "demo_configs"
HALF_DEPTH_UM = 1.0


def film(tmp_path, *, guarded=True, seed=3, **specimen):
    """The run, and by how much the frames of the plan were out of focus, um."""
    experiment = load_experiment("focus_guard")
    if not guarded:
        experiment = experiment.model_copy(update={"policies": []})
    rig = load_rig(DEMO / "focus_rig.yaml")
    found = {**rig.specimen.model_dump(), **specimen}
    rig = rig.model_copy(update={"specimen": type(rig.specimen)(**found)})
    done = run_experiment(
        experiment, output=tmp_path, seed=seed, duration_s=400.0, rig=rig
    )
    assert done.result.outcome == "completed", done.result.message
    start_ns = next(done.journal.entries("start"))["start_ns"]
    truth = done.journal.table("true_sample").to_pydict()
    plan = [f for f in done.journal.frames if f.role == "baseline"]
    t_s = [(f.t_exposed_ns - start_ns) / 1e9 for f in plan]
    plane_um = np.interp(t_s, truth["t_s"], truth["focus_plane_um"])
    return done, np.array([f.state.z_um for f in plan]) - plane_um


def test_a_drifting_tissue_stays_in_focus(tmp_path):
    for seed in (3, 4):
        guarded, off_um = film(tmp_path, seed=seed)
        assert np.mean(np.abs(off_um) < HALF_DEPTH_UM) >= 0.95
        assert len(guarded.actions(Acquire)) <= 3 * 21, "a sweep in twenty seconds"
    _, alone_um = film(tmp_path, guarded=False, seed=4)
    assert np.mean(np.abs(alone_um) < HALF_DEPTH_UM) < 0.4
    assert np.abs(alone_um).max() > 5


def test_an_empty_field_is_left_alone(tmp_path):
    done, _ = film(tmp_path, layer_cells=0, other_cells=0)
    assert not done.actions(Acquire)
    assert {f.state.z_um for f in done.journal.frames} == {0.0}
