"""Real runs: cells that make a reporter under light, and lose it fast or slowly."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from smartscope.config import load_rig
from smartscope.testing import run_experiment

DEMO = Path(__file__).parents[2] / "demo_configs"
TARGET = 400.0
SETTLED_S = 200.0


def clamp(tmp_path, **specimen):
    """Times, measured levels, and the powers that were right in the end."""
    rig = load_rig(DEMO / "reporter_rig.yaml")
    found = {**rig.specimen.model_dump(), **specimen}
    rig = rig.model_copy(update={"specimen": type(rig.specimen)(**found)})
    done = run_experiment(
        "clamp_reporter", output=tmp_path, seed=4, duration_s=400.0, rig=rig
    )
    assert done.result.outcome == "completed", done.result.message
    seen = [
        (o.t_s, np.median([t.features["mean_Cy5"] for t in o.tracks]))
        for o in done.journal.observations()
        if o.tracks and all("mean_Cy5" in t.features for t in o.tracks)
    ]
    power = [
        f.state.power_percent["488"] for f in done.journal.frames if f.channel == "FITC"
    ]
    truth = {key: np.array(column) for key, column in done.truth.items()}
    late = truth["t_s"] > SETTLED_S
    by_look = [
        np.median(truth["reporter"][truth["t_s"] == t])
        for t in np.unique(truth["t_s"][late])
    ]
    return np.array(seen), np.median(power[-10:]), np.array(by_look)


def test_it_holds_the_level_whatever_the_cells_lose(tmp_path):
    slow, less, truly = clamp(tmp_path, reporter_decay_s=120)
    fast, more, _ = clamp(tmp_path, reporter_decay_s=60)
    for seen in (slow, fast):
        settled = seen[seen[:, 0] > SETTLED_S, 1]
        assert len(settled) > 15
        assert np.abs(settled / TARGET - 1).max() < 0.1
    assert more > 1.5 * less, "one light for both would miss the target by this"
    assert truly.std() < 0.1 * truly.mean(), "the cells themselves are steady too"
