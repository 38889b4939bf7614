"""A real run: molecules that bleach fast, and light that switches on as many again."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from smartscope.config import load_rig
from smartscope.testing import run_experiment

DEMO = Path(__file__).parents[2] / "demo_configs"


def test_the_density_holds_while_the_labels_are_used_up(tmp_path):
    rig = load_rig(DEMO / "blinking_molecules_rig.yaml")
    found = {**rig.specimen.model_dump(), "bleach_half_dose": 0.5}
    rig = rig.model_copy(update={"specimen": type(rig.specimen)(**found)})
    done = run_experiment(
        "hold_density", output=tmp_path, seed=3, duration_s=24.0, rig=rig
    )
    assert done.result.outcome == "completed", done.result.message
    seen = list(done.journal.observations())
    t_s = np.array([o.t_s for o in seen])
    density = np.array([len(o.detections) for o in seen]) / 51.2**2
    power = np.array([o.state.power_percent["405"] for o in seen])
    early, late = (t_s > 8) & (t_s < 14), t_s > 18
    for part in (early, late):
        assert abs(density[part].mean() / 0.03 - 1) < 0.15
    sample = done.journal.table("true_sample").to_pydict()
    true_s, truly = np.array(sample["t_s"]), np.array(sample["density_per_um2"])
    then = truly[(true_s > 8) & (true_s < 14)].mean()
    now = truly[true_s > 18].mean()
    left = np.interp([11, 21], true_s, sample["unbleached"])
    assert left[1] < 0.8 * left[0], "the same light would show a fifth less"
    assert now > 0.85 * then
    assert power[late].mean() > 1.2 * power[early].mean()
