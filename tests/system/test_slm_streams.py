"""Light where vision outlines a cell, while the camera runs."""

from __future__ import annotations

from small_runs import experiment, rig

from smartscope import check, replay, run
from smartscope.core import ShowPattern


def steered(**record):
    """Twelve frames of a cell that is led by light on its edge."""
    return experiment(
        rig="steer_rig.yaml",
        acquisition={
            "stream": {"channel": "Rhodamine", "exposure_ms": 100, "frames": 12}
        },
        light={
            "Rhodamine": {"561": {"power_percent": 10}, "488": {"power_percent": 50}}
        },
        vision=[
            {"segment": {"min_area_um2": 100, "smooth_um": 1, "split": "none"}},
            "measure",
            {"track": {"min_frames": 1}},
        ],
        policies=[{"use": "steer_cell", "path_um": [[15, 0]]}],
        record=record,
    )


def filmed(tmp_path, **record):
    still = rig("steer_rig", clock={"kind": "virtual"})
    assert check(steered(**record), rig=still).ok
    result = run(steered(**record), rig=still, output=tmp_path)
    assert result.outcome == "completed", result.message
    return result.folder


def shown(folder):
    """Patterns that were asked for and shown."""
    asked = [
        request.action
        for decision in folder.decisions
        for request in decision.requests
        if isinstance(request.action, ShowPattern)
    ]
    done = [o for o in folder.outcomes if o.status == "applied"]
    assert len(done) == len(asked)
    return asked


def test_a_cell_is_steered_in_a_stream_and_decided_again_alike(tmp_path) -> None:
    folder = filmed(tmp_path)
    patterns = shown(folder)
    assert len(patterns) >= 8
    # As vision outlines it: the edge is no circle around the cell.
    corners = patterns[-1].polygons_px[0]
    assert len(corners) == 26
    assert replay(folder.path).identical


def test_replay_says_that_a_stream_kept_no_labels_to_decide_by(tmp_path) -> None:
    folder = filmed(tmp_path, keep="asked")
    assert len(shown(folder)) >= 8
    again = replay(folder.path)
    assert not again.identical
    assert "looks at labels, and the run kept none" in again.message
