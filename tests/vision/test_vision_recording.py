"""The recording that ships with the demos, end to end."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import tifffile
from vision_fields import frame, pipeline, track_at

from smartscope.core import PixelMap

FILM = Path(__file__).parents[2] / "demo_configs/recordings/sirdna_nuclei/images.tif"
SCALE = PixelMap(((0.634, 0.0), (0.0, 0.634)), (99.5, 99.5))
CHAIN = (
    {"background": {"radius_um": 25}},
    "segment",
    "measure",
    {"track": {"min_frames": 2}},
    {
        "mitosis": {
            "min_baseline_frames": 2,
            "confirm_frames": 1,
            "onset_score": 0.6,
        }
    },
)


@pytest.fixture(scope="module")
def seen():
    images = tifffile.imread(FILM)
    assert images.shape == (6, 200, 200) and images.dtype == np.uint16
    pipe = pipeline(*CHAIN, channels=("SiR-DNA",))
    return [
        pipe.see(frame(image, n, channel="SiR-DNA", pixel_map=SCALE), 300.0 * n)
        for n, image in enumerate(images)
    ]


def test_most_nuclei_are_found(seen):
    counts = [len(o.detections) for o in seen]
    # 39 to 50 are labelled in the source's own (generous) annotation.
    assert all(35 <= n <= 52 for n in counts)


def test_most_tracks_go_on(seen):
    for before, after in pairwise(seen[1:]):
        living = {t.track_id for t in before.tracks if t.detection is not None}
        again = {t.track_id for t in after.tracks if t.detection is not None}
        assert len(living & again) >= 0.75 * len(living)


def test_a_true_division_is_seen(seen):
    """Anaphase in frame 4: two bright plates left of the middle."""
    plates = [track_at(seen[4], 92, 72), track_at(seen[4], 97, 90)]
    assert None not in plates
    mother = plates[0].parent
    assert mother is not None and plates[1].parent == mother
    (event,) = [e for e in seen[4].events if e.track_id == mother]
    assert event.kind == "mitosis" and event.state == "onset" and event.score >= 0.6


def test_a_true_metaphase_is_seen(seen):
    """Metaphase plate in frame 3, at the lower left."""
    plate = track_at(seen[3], 138, 40)
    (event,) = [e for e in seen[3].events if e.track_id == plate.track_id]
    assert event.state == "onset" and event.score > 0.8
