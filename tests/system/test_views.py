"""Stage positions, channels and planes in one run: nothing crosses over."""

from __future__ import annotations

import numpy as np
from small_runs import experiment, specimen_rig

from smartscope import run

PLAN = {
    "axis_order": "tpcz",
    "stage_positions": [
        {"x": -400, "y": 0, "z": 0, "name": "left"},
        {"x": 400, "y": 50, "z": 0, "name": "right"},
    ],
    "channels": [
        {"config": "FITC", "exposure": 20},
        {"config": "Rhodamine", "exposure": 20},
    ],
    "time_plan": {"interval": 10, "loops": 4},
}
VISION = [
    {"segment": {"min_area_um2": 30}},
    {"measure": {"on": {"channel": ["FITC", "Rhodamine"]}}},
    {"track": {"min_frames": 2}},
]


def two_fields(tmp_path, **fields):
    made = specimen_rig(
        cells=120,
        area_um=[1600, 1000],
        speed_um_s=0.02,
        channel_brightness={"FITC": 1.0, "Rhodamine": 0.25},
    )
    result = run(
        experiment(
            **{
                "acquisition": PLAN,
                "vision": VISION,
                "light": {
                    "FITC": {488: {"power_percent": 20}},
                    "Rhodamine": {488: {"power_percent": 20}},
                },
                **fields,
            }
        ),
        rig=made,
        output=tmp_path,
    )
    assert result.outcome == "completed", result.message
    return result


def test_no_track_crosses_positions_and_no_measurement_mixes_channels(tmp_path) -> None:
    result = two_fields(tmp_path)
    seen = list(result.folder.observations())
    assert [o.view.position for o in seen] == [0, 1] * 4
    assert all(len(o.frame_ids) == 2 for o in seen)
    for o in seen:
        side = -400 if o.view.position == 0 else 400
        assert o.tracks
        assert all(abs(t.x_um - side) < 300 for t in o.tracks)
        # The dimmer channel is dimmer for every object, by its own brightness.
        bright = o.detections.features["mean_FITC"]
        dim = o.detections.features["mean_Rhodamine"]
        assert np.all(dim < bright)
        assert 0.15 < np.median(dim / bright) < 0.4
    # One image for each position, channels along c.
    assert result.images["left"].shape == (4, 2, 512, 512)
    assert result.images["right"].shape == (4, 2, 512, 512)


def test_tracks_of_a_position_keep_their_ids(tmp_path) -> None:
    result = two_fields(tmp_path)
    ids: dict[int, list[set[int]]] = {0: [], 1: []}
    for o in result.folder.observations():
        ids[o.view.position].append(
            {t.track_id for t in o.tracks if t.state in ("active", "tentative")}
        )
    for sets in ids.values():
        kept = set.intersection(*sets)
        assert len(kept) >= 0.8 * len(sets[0])


def test_a_policy_per_position_has_a_state_of_its_own(tmp_path, policy) -> None:
    body = """
self._n = getattr(self, "_n", 0) + 1
yield Mark(reason=f"{seen.view.position}: {self._n}")
"""
    (entry,) = [policy(body)]
    text = (tmp_path / "scripted.py").read_text()
    (tmp_path / "scripted.py").write_text(
        text.replace("(Policy):", "(Policy):\n    _n: int = 0\n").replace(
            'getattr(self, "_n", 0)', "self._n"
        )
    )
    result = two_fields(tmp_path / "out", policies=[entry])
    marks = [r.action.reason for d in result.folder.decisions for r in d.requests]
    assert marks == [f"{p}: {n}" for n in (1, 2, 3, 4) for p in (0, 1)]


def test_stacks_are_gathered_over_planes(tmp_path) -> None:
    plan = {
        "axis_order": "tcz",
        "channels": [{"config": "FITC", "exposure": 10}],
        "z_plan": {"range": 4, "step": 2},
        "time_plan": {"interval": 10, "loops": 3},
    }
    result = run(
        experiment(acquisition=plan, vision=[{"segment": {"on": {"z": "max"}}}]),
        rig=specimen_rig(),
        output=tmp_path,
    )
    seen = list(result.folder.observations())
    assert [len(o.frame_ids) for o in seen] == [3, 3, 3]
    assert result.images["p0"].shape == (3, 1, 3, 512, 512)
    heights = [f.state.z_um for f in result.folder.frames[:3]]
    assert heights == [-2.0, 0.0, 2.0]
