"""A real run: neurons that fire, watched slowly, filmed fast where they do."""

from __future__ import annotations

import numpy as np

from smartscope.core import Acquire
from smartscope.testing import run_experiment


def test_transients_are_filmed_fast_while_they_last(tmp_path):
    done = run_experiment("burst_on_transient", output=tmp_path, seed=3, duration_s=7.5)
    assert done.result.outcome == "completed", done.result.message
    start_ns = next(done.journal.entries("start"))["start_ns"]
    fast = [f for f in done.journal.frames if f.role == "reaction"]
    t_s = np.array([(f.t_exposed_ns - start_ns) / 1e9 for f in fast])
    corners = np.array([(f.state.roi_px.x_px, f.state.roi_px.y_px) for f in fast])
    assert {f.shape for f in fast} == {(40, 40)}
    # 1 um per pixel, the sensor's middle at the stage position.
    x_um, y_um = corners.T - 255.5
    events = done.true_events
    caught, filmed = 0, []
    for onset_s, x, y in zip(
        events["onset_s"], events["x_um"], events["y_um"], strict=True
    ):
        there = (x >= x_um) & (x <= x_um + 40) & (y >= y_um) & (y <= y_um + 40)
        n = int(np.sum(there & (t_s > onset_s) & (t_s < onset_s + 0.7)))
        caught += n > 0
        if n:
            filmed.append(n)
    bursts = done.actions(Acquire)
    assert len(bursts) >= 3
    assert caught >= len(bursts) - 1, "at most one burst films nothing"
    assert np.median(filmed) > 5 * 7, "the plan alone takes 7 frames in that time"
