"""A real run: cells without a label, and fluorescence while one of them divides."""

from __future__ import annotations

import numpy as np

from smartscope.testing import run_experiment


def test_fluorescence_is_taken_of_divisions_and_hardly_else(tmp_path):
    done = run_experiment(
        "label_free_then_fluorescence", output=tmp_path, seed=3, duration_s=700.0
    )
    assert done.result.outcome == "completed", done.result.message
    start_ns = next(done.journal.entries("start"))["start_ns"]
    frames = list(done.journal.frames)
    lit = np.array(
        [(f.t_exposed_ns - start_ns) / 1e9 for f in frames if f.channel == "Rhodamine"]
    )
    watched = sum(f.channel == "Brightfield" for f in frames)
    assert 5 < len(lit) < 0.6 * watched
    onset, end, x, y = (
        np.array(done.true_events[k]) for k in ("onset_s", "end_s", "x_um", "y_um")
    )
    inside = (abs(x) < 240) & (abs(y) < 240)
    whole = inside & (onset > 20) & np.isfinite(end)
    assert whole.sum() >= 5
    caught = [
        np.sum((lit > a) & (lit < b)) >= 5 for a, b in zip(onset, end, strict=True)
    ]
    assert np.mean(np.array(caught)[whole]) >= 0.8
    of_one = [np.any((t > onset) & ~(t > end + 12)) for t in lit]
    assert np.mean(of_one) >= 0.8, "the laser is on for divisions"
    assert all(
        f.state.power_percent["561"] == 0 for f in frames if f.channel != "Rhodamine"
    )
