"""A real run: a fixed number of frames, and cells that divide together."""

from __future__ import annotations

import numpy as np

from smartscope.testing import run_experiment


def test_the_frames_go_where_the_cells_change(tmp_path):
    done = run_experiment("dose_planner", output=tmp_path, seed=3, duration_s=1160.0)
    assert done.result.outcome == "completed", done.result.message
    start_ns = next(done.journal.entries("start"))["start_ns"]
    t_s = np.array([(f.t_exposed_ns - start_ns) / 1e9 for f in done.journal.frames])
    assert 90 <= len(t_s) <= 124, "the budget is used, and kept"
    assert np.diff(t_s).max() < 41
    # How many cells divide at each moment, as the specimen knows.
    moments = np.arange(60.0, 1160.0)
    onset, end = (np.array(done.true_events[k]) for k in ("onset_s", "end_s"))
    end = np.where(np.isfinite(end), end, np.inf)
    dividing = ((moments[:, None] > onset) & (moments[:, None] < end)).sum(axis=1)
    rate = np.histogram(t_s, np.append(moments, moments[-1] + 1))[0]
    busy = dividing >= np.quantile(dividing, 0.75)
    calm = dividing <= np.quantile(dividing, 0.25)
    assert not (busy & calm).any()
    assert rate[busy].mean() > 1.5 * rate[calm].mean()
