"""A real run: a nucleus that divides is bleached through the SLM, and filmed."""

from __future__ import annotations

import numpy as np

from smartscope import replay
from smartscope.testing import run_experiment


def test_what_divides_is_bleached_alone_and_filmed_fast(tmp_path):
    done = run_experiment(
        "photoactivate_on_event", output=tmp_path, seed=12, duration_s=330.0
    )
    assert done.result.outcome == "completed", done.result.message
    frames = list(done.journal.frames)
    start_ns = next(done.journal.entries("start"))["start_ns"]
    flashes = [(f.t_exposed_ns - start_ns) / 1e9 for f in frames if f.channel == "Cy5"]
    assert len(flashes) == 1
    lit = [s for s, _ in patterns(done)]
    assert lit == [True, False], "shown once, and dark again"
    truth = {key: np.array(column) for key, column in done.truth.items()}
    before = truth["t_s"][truth["t_s"] < flashes[0]].max()
    after = truth["t_s"][truth["t_s"] > flashes[0] + 1].min()
    left = {
        cell: bright_at(truth, cell, after) / bright_at(truth, cell, before)
        for cell in truth["cell_id"][truth["t_s"] == before]
    }
    true = done.true_events
    dividing = {
        object_id
        for kind, object_id, onset_s in zip(
            true["kind"], true["object_id"], true["onset_s"], strict=True
        )
        if kind == "mitosis" and onset_s < flashes[0]
    }
    bleached = [cell for cell, share in left.items() if share < 0.6]
    assert len(bleached) == 1
    assert bleached[0] in dividing
    assert min(s for cell, s in left.items() if cell != bleached[0]) > 0.9
    film = [
        (f.t_exposed_ns - start_ns) / 1e9
        for f in frames
        if f.channel != "Cy5" and f.t_exposed_ns / 1e9 > flashes[0] + start_ns / 1e9
    ]
    gaps = np.diff([t for t in film if t < flashes[0] + 55])
    assert len(gaps) > 45, "the plan alone has five frames in that time"
    assert gaps.max() < 2.0
    assert np.diff(film[-3:]).min() > 5, "and then slowly again"
    assert replay(done.result.path).identical


def bright_at(truth, cell, t_s):
    return truth["brightness"][(truth["cell_id"] == cell) & (truth["t_s"] == t_s)][0]


def patterns(done):
    """Of each pattern whether anything was lit, and when it was decided."""
    return [
        (bool(r.action.polygons_px), r.t_decided_ns)
        for d in done.journal.decisions
        for r in d.requests
        if type(r.action).__name__ == "ShowPattern"
    ]
