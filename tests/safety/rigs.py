"""Rigs and experiments for the tests of safety, made in Python."""

from __future__ import annotations

from typing import Any

from smartscope.config import Experiment, RigConfig
from smartscope.core import Action, Request, View

LINE = {
    "power": ["Laser", "Voltage"],
    "range": [0, 10],
    "calibration": {"10x": [[0, 0], [4, 2], [10, 12]]},
    "field_um": {"10x": [500, 400]},
}


def rig(*, limits: dict[str, Any] | None = None, **more: Any) -> RigConfig:
    """A stand with everything, one calibrated line 488 and one plain line 561."""
    parts: dict[str, Any] = {
        "name": "stand",
        "micromanager": {"config": "x.cfg"},
        "roles": {
            "camera": "Camera",
            "stage": "XY",
            "focus": "Z",
            "objective": "Turret",
            "shutter": "Shutter",
            "slm": "SLM",
        },
        "light": {488: LINE, 561: {"power": ["Lamp", "Level"]}},
        "safe_state": [["Shutter", "State", 0], ["Enable", "State", 0]],
        "limits": limits or {},
        **more,
    }
    if "slm" in parts["roles"] and 488 in parts["light"]:
        plain = {"10x": [[1, 0, 0], [0, 1, 0]]}
        parts.setdefault("slm", {"line": 488, "calibration": plain})
    return RigConfig.model_validate(parts)


def experiment(**more: Any) -> Experiment:
    """Two channels; FITC is lit by 488 at 20 %, Cy3 by 561 at 30 %."""
    parts: dict[str, Any] = {
        "name": "test",
        "rig": "rig.yaml",
        "acquisition": {"channels": ["FITC"]},
        "light": {
            "FITC": {488: {"power_percent": 20}},
            "Cy3": {561: {"power_percent": 30}},
        },
    }
    return Experiment.model_validate({**parts, **more})


def request(action: Action) -> Request:
    return Request(
        action_id="0.0",
        policy="test",
        view=View(0, "Camera"),
        action=action,
        t_decided_ns=0,
        observation=0,
    )
