"""Moving by image through the calibrated affine, on a camera mounted as cameras are."""

from __future__ import annotations

import math

import numpy as np
import pytest
from small_runs import experiment, specimen_rig

from smartscope import run

ANGLE = math.radians(37.0)
VISION = [
    {"background": {"radius_um": 30}},
    {"segment": {"min_area_um2": 40}},
    {"track": {"min_frames": 2, "max_distance_um": 40}},
]
PLAN = {
    "setup": {
        "properties": [["Camera", "Binning", "2"]],
        "roi": {"offset_x": 20, "offset_y": 60, "width": 180, "height": 150},
    },
    "channels": [{"config": "FITC", "exposure": 20}],
    "time_plan": {"interval": 5, "loops": 12},
}


def turned_rig(affine):
    """A camera turned by 37 degrees and mirrored; `affine` is what the rig believes."""
    made = specimen_rig(
        cells=1,
        area_um=[4000, 4000],
        rotation_deg=37.0,
        mirror=True,
        photons_per_ms=60,
    )
    calibration = {"10x": {"pixel_um": 1.0, "affine": affine}}
    return made.model_copy(
        update={"calibration": type(made)(**{
            **made.model_dump(exclude={"source_file"}), "calibration": calibration
        }).calibration}
    )  # fmt: skip


def true_affine():
    from smartscope.specimen import make_specimen

    specimen = make_specimen(
        "dividing_cells", seed=5, parameters={"rotation_deg": 37.0, "mirror": True}
    )
    return specimen.true_affine(10.0)


def follow(affine, tmp_path):
    result = run(
        experiment(acquisition=PLAN, vision=VISION, policies=["follow_cell"]),
        rig=turned_rig(affine),
        output=tmp_path,
    )
    assert result.outcome == "completed", result.message
    distances = []
    for seen in result.folder.observations():
        centre = np.array(seen.field_centre_um())
        if seen.tracks:
            truth = np.array([0.0, 0.0])  # one still cell in the middle of the sample
            distances.append(float(np.hypot(*(centre - truth))))
    return result, distances


def test_follow_cell_converges_on_a_turned_mirrored_binned_cropped_camera(
    tmp_path,
) -> None:
    result, distances = follow(true_affine(), tmp_path)
    frame = result.folder.frames[0]
    assert frame.shape == (150, 180)
    assert frame.state.binning == 2
    assert distances[0] > 30, "the region is off-centre, so there was way to go"
    assert distances[-1] < 3


def test_the_same_with_an_identity_affine_fails(tmp_path) -> None:
    _, distances = follow([[1.0, 0.0], [0.0, 1.0]], tmp_path)
    assert not distances or distances[-1] > 10


def test_a_rig_without_an_affine_refuses_before_it_starts(tmp_path) -> None:
    from smartscope.core import ConfigError

    with pytest.raises(ConfigError, match="affine"):
        run(
            experiment(acquisition=PLAN, vision=VISION, policies=["follow_cell"]),
            rig=turned_rig(None),
            output=tmp_path,
        )
    assert list(tmp_path.iterdir()) == []
