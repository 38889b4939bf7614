"""Real runs over twenty-five fields, most of them empty."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from smartscope.config import load_rig
from smartscope.testing import run_experiment

DEMO = Path(__file__).parents[2] / "demo_configs"
ROUNDS = 2


def visits(tmp_path, **specimen):
    """Frames of each field, and how many cells it truly has at the start."""
    rig = load_rig(DEMO / "zoom_rig.yaml")
    found = {**rig.specimen.model_dump(), **specimen}
    rig = rig.model_copy(update={"specimen": type(rig.specimen)(**found)})
    done = run_experiment(
        "revisit_mosaic", output=tmp_path, seed=3, duration_s=300.0, rig=rig
    )
    assert done.result.outcome == "completed", done.result.message
    frames = list(done.journal.frames)
    truth = {key: np.array(column) for key, column in done.truth.items()}
    first = truth["t_s"] == truth["t_s"][0]
    x_um, y_um = truth["x_um"][first], truth["y_um"][first]
    cells = {
        f.view.position: int(
            np.sum((abs(x_um - f.state.x_um) < 110) & (abs(y_um - f.state.y_um) < 110))
        )
        for f in frames
    }
    return Counter(f.view.position for f in frames), cells


def test_it_comes_back_to_what_changes_and_skips_what_is_empty(tmp_path):
    lively, cells = visits(tmp_path, division_every_s=4)
    assert len(lively) == 25
    empty = [p for p in cells if cells[p] == 0]
    inhabited = [p for p in cells if cells[p] >= 5]
    assert len(inhabited) >= 3
    assert len(empty) >= 15
    assert {lively[p] for p in empty} == {ROUNDS}, "seen when the plan comes by"
    assert min(lively[p] for p in inhabited) >= 2 * ROUNDS
    still, _ = visits(tmp_path, division_every_s=1e6)
    came = [sum(counts[p] for p in inhabited) for counts in (lively, still)]
    assert came[0] > 1.3 * came[1], "what does not change is visited less"
