"""Every model that comes with smartscope does its work in its stage."""

from __future__ import annotations

import numpy as np
import pytest
from vision_fields import field, frame, pipeline

from smartscope.config import shipped

POINTS = [(30, 40), (70, 90), (50, 130), (100, 60)]
STAGES = {
    "denoise": "denoise",
    "segment": "nuclei",
    "detect": "nuclei",
    "spots": "spots",
    "localise": "spots",
    "event": "divisions",
}


def test_none_is_forgotten():
    there = {path.name for path in shipped("models").iterdir() if path.is_dir()}
    assert there == set(STAGES.values())


@pytest.mark.parametrize("stage", STAGES)
def test_it_looks_at_frames_and_says_how_familiar_they_are(stage):
    model = str(shipped("models") / STAGES[stage])
    use = {"model": model, "runtime": "onnxruntime", "threads": 1}
    pipe = pipeline({stage: use})
    pipe.warm_up((120, 160))
    for n in range(3):
        image = field(POINTS, shape=(120, 160), seed=n)
        seen = pipe.see(frame(image, n), float(n))
        assert np.isfinite(seen.measurements[f"unfamiliar_{stage}"])
