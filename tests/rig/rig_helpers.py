"""Rig files of the tests: the shipped ones with some keys changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from smartscope.config import RigConfig

DEMOS = Path(__file__).parents[2] / "demo_configs"
HERE = Path(__file__).parent


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    out = dict(base)
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(out.get(key), dict):
            out[key] = merged(out[key], value)
        elif value is None:
            out.pop(key, None)
        else:
            out[key] = value
    return out


def rig_config(file: str = "demo_laser_rig.yaml", **changes: Any) -> RigConfig:
    """A shipped rig file with some keys changed (None removes one)."""
    data = yaml.safe_load((DEMOS / file).read_text(encoding="utf-8"))
    source = {"source_file": str(DEMOS / file)}
    return RigConfig.model_validate(merged(data, changes) | source)


def slow_config(**changes: Any) -> RigConfig:
    """Stage and focus that take their time, and can be moved by somebody else."""
    return rig_config(
        **merged(
            {
                "micromanager": {"config": str(HERE / "slow_stage.cfg")},
                "roles": {
                    "autofocus": None,
                    "objective": None,
                    "channel_group": None,
                },
                "safe_state": [["Shutter", "State", 0], ["Laser", "Voltage", 0]],
                "light": {
                    "488": {
                        "calibration": {"20x": None, "40x": None},
                        "field_um": {"20x": None, "40x": None},
                    }
                },
                "calibration": {"20x": None, "40x": None},
            },
            changes,
        )
    )
