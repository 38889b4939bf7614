"""Real runs: a fixed number of frames, and cells that divide at about the same time."""

from __future__ import annotations

import numpy as np

from smartscope.config import load_experiment
from smartscope.testing import run_experiment

FRAMES, LONG_S = 120, 1200.0


def film(output, **parameters):
    """Times of the frames, and of the divisions from onset to end, s."""
    experiment = load_experiment("dose_planner")
    (use,) = experiment.policies
    use = use.model_copy(update={"parameters": {**use.parameters, **parameters}})
    done = run_experiment(
        experiment.model_copy(update={"policies": [use]}),
        output=output,
        seed=3,
        duration_s=LONG_S - 40,
    )
    assert done.result.outcome == "completed", done.result.message
    start_ns = next(done.journal.entries("start"))["start_ns"]
    t_s = np.array([(f.t_exposed_ns - start_ns) / 1e9 for f in done.journal.frames])
    return t_s, *(np.array(done.true_events[k]) for k in ("onset_s", "end_s"))


def test_the_frames_go_where_the_cells_change(tmp_path):
    t_s, onset_s, end_s = film(tmp_path / "planned")
    assert 0.85 * FRAMES <= len(t_s) <= FRAMES, "the budget is used, and kept"
    assert np.diff(t_s).max() < 41
    begin_s, over_s = onset_s.min(), np.nanmax(end_s[np.isfinite(end_s)])
    busy_s = over_s - begin_s
    assert 150 < busy_s < 400, "what changes does so in a part of the run"
    busy = int(((t_s > begin_s) & (t_s < over_s)).sum())
    calm = len(t_s) - busy
    assert busy / busy_s > 2 * calm / (t_s[-1] - busy_s)
    # The same budget, spent evenly on the same sample.
    even_s, *_ = film(tmp_path / "even", eagerness=0.0)
    assert 0.85 * FRAMES <= len(even_s) <= 1.04 * FRAMES
    even = int(((even_s > begin_s) & (even_s < over_s)).sum())
    assert busy > 1.5 * even
