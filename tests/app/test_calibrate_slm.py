"""`smartscope calibrate --slm`, through the demo devices and the living sample."""

from __future__ import annotations

import json

import numpy as np
from typer.testing import CliRunner

from smartscope.app.cli import app
from smartscope.config import find_rig, load_rig


def test_it_finds_where_the_slm_of_the_demo_lies() -> None:
    done = CliRunner().invoke(app, ["calibrate", "slm_rig", "--slm", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    config = load_rig(find_rig("slm_rig"))
    assert config.slm is not None
    true = np.asarray(config.slm.calibration["10x"])
    off = np.asarray(found["affine"]) - true
    corners = np.array([(0, 0, 1), (511, 0, 1), (0, 511, 1), (511, 511, 1)])
    assert np.abs(corners @ off.T).max() < 1.0  # SLM pixels, over the whole sensor
    assert found["objective"] == "10x"
    assert found["spots"] > 10


def test_it_explains_what_is_missing() -> None:
    done = CliRunner().invoke(app, ["calibrate", "specimen_rig", "--slm"])
    assert done.exit_code == 2
    assert "describes no SLM" in done.output
    dark = ["calibrate", "slm_rig", "--slm", "--light", "488=0"]
    done = CliRunner().invoke(app, dark)
    assert done.exit_code != 0
    assert "no difference between all of the SLM on and off" in " ".join(
        done.output.split()
    )
