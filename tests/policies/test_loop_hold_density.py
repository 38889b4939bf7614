"""A real run: molecules that bleach, and light that switches on as many as before."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from smartscope.config import load_rig
from smartscope.testing import run_experiment

DEMO = Path(__file__).parents[2] / "demo_configs"


def test_the_density_holds_while_the_labels_are_used_up(tmp_path):
    rig = load_rig(DEMO / "blinking_molecules_rig.yaml")
    found = {**rig.specimen.model_dump(), "bleach_half_dose": 1.0}
    rig = rig.model_copy(update={"specimen": type(rig.specimen)(**found)})
    done = run_experiment(
        "hold_density", output=tmp_path, seed=3, duration_s=21.0, rig=rig
    )
    assert done.result.outcome == "completed", done.result.message
    seen = list(done.journal.observations())
    t_s = np.array([o.t_s for o in seen])
    density = np.array([len(o.detections) for o in seen]) / 51.2**2
    power = np.array([o.state.power_percent["405"] for o in seen])
    early, late = (t_s > 7) & (t_s < 12), t_s > 16
    for part in (early, late):
        assert abs(density[part].mean() / 0.03 - 1) < 0.15
    sample = done.journal.table("true_sample").to_pydict()
    true_s, truly = np.array(sample["t_s"]), np.array(sample["density_per_um2"])
    then = truly[(true_s > 7) & (true_s < 12)].mean()
    now = truly[true_s > 16].mean()
    left = np.interp([9, 20], true_s, sample["unbleached"])
    assert left[1] < 0.88 * left[0], "the same light would show less and less"
    assert now > 0.85 * then
    assert power[late].mean() > 1.1 * power[early].mean()
