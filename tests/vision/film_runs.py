"""Whole runs on a recording of made-up images."""

from __future__ import annotations

import json

import numpy as np
import tifffile

from smartscope import run
from smartscope.config import load_experiment, load_rig


def on_film(folder, images, vision):
    """Run on a recording of these images: one a second, 1 um a pixel."""
    tifffile.imwrite(folder / "film.tif", np.stack(images), photometric="minisblack")
    film = {"path": "film.tif", "pixel_um": 1.0, "interval_s": 1}
    (folder / "rig.yaml").write_text(json.dumps({"name": "film", "recording": film}))
    plan = {"channels": ["FITC"], "time_plan": {"interval": 1, "loops": len(images)}}
    whole = {"name": "learned", "rig": "rig.yaml", "acquisition": plan}
    (folder / "experiment.yaml").write_text(json.dumps({**whole, "vision": vision}))
    return run(
        load_experiment(folder / "experiment.yaml"),
        rig=load_rig(folder / "rig.yaml"),
        output=folder / "runs",
    )
