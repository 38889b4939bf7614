"""A real run: vesicles that form and leave, each filmed from close by."""

from __future__ import annotations

import numpy as np

from smartscope.testing import run_experiment


def test_vesicles_are_filmed_fast_until_they_leave(tmp_path):
    done = run_experiment("endocytosis_roi", output=tmp_path, seed=3, duration_s=120.0)
    assert done.result.outcome == "completed", done.result.message
    start_ns = next(done.journal.entries("start"))["start_ns"]
    films, alone = films_of(done, start_ns)
    assert len(films) >= 5
    assert alone <= 25, "the membrane as a whole is seen slowly"
    end, x, y = (np.array(done.true_events[k]) for k in ("end_s", "x_um", "y_um"))
    vesicle = np.array(done.true_events["kind"]) == "endocytosis"
    frames_at_end = []
    for t_s, x_um, y_um in films:
        near = np.hypot(x - x_um, y - y_um) < 1.0
        left = vesicle & near & (end > t_s[0]) & (end < t_s[-1] + 1)
        last = end[left].max() if left.any() else np.nan
        frames_at_end.append(np.sum((t_s > last - 5) & (t_s <= last)))
    frames_at_end = np.array(frames_at_end)
    assert np.mean(frames_at_end > 0) >= 0.75, "what was filmed did leave"
    assert np.median(frames_at_end[frames_at_end > 0]) >= 20, (
        "the plan has two or three"
    )


def films_of(done, start_ns):
    """Times and middle (um) of each film, and the number of full frames."""
    films, alone, last = [], 0, None
    for frame in done.journal.frames:
        t_s, roi = (frame.t_exposed_ns - start_ns) / 1e9, frame.state.roi_px
        if frame.shape == (512, 512):
            alone += 1
        elif roi == last:
            films[-1][0].append(t_s)
        else:
            middle = np.array(
                [roi.x_px + roi.width_px / 2, roi.y_px + roi.height_px / 2]
            )
            films.append(([t_s], *((middle - 256) * 0.1)))
        last = roi
    # The last one may not be over.
    return [(np.array(t_s), x, y) for t_s, x, y in films[:-1]], alone
