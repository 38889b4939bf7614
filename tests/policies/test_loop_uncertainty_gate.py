"""A real run: bright pictures of the cells that may divide, of no others."""

from __future__ import annotations

import numpy as np

from smartscope.testing import run_experiment


def test_expensive_pictures_are_few_and_of_doubtful_moments(tmp_path):
    done = run_experiment(
        "uncertainty_gate", output=tmp_path, seed=3, duration_s=1000.0
    )
    assert done.result.outcome == "completed", done.result.message
    start_ns = next(done.journal.entries("start"))["start_ns"]
    frames = list(done.journal.frames)
    dear = [(f.t_exposed_ns - start_ns) / 1e9 for f in frames if f.channel != "FITC"]
    cheap = len(frames) - len(dear)
    assert 3 <= len(dear) < 0.4 * cheap
    onset, end = (np.array(done.true_events[k]) for k in ("onset_s", "end_s"))
    onset, end = onset - 5, np.where(np.isfinite(end), end, np.inf) + 30
    of_one = [np.any((t > onset) & (t < end)) for t in dear]
    assert np.mean(of_one) >= 0.8
    doubts = [
        o
        for o in done.journal.observations()
        if any(0.2 <= e.score <= 0.8 for e in o.events if e.state != "ended")
    ]
    assert len(doubts) >= len(dear)
    assert all(any(abs(o.t_s - t) < 3 for o in doubts) for t in dear)
