"""Small real runs: demo devices, a specimen in virtual time, tiny plans."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from smartscope.config import Experiment, RigConfig, load_rig

DEMO = Path(__file__).parents[2] / "demo_configs"
SLOW = Path(__file__).parents[1] / "rig" / "slow_stage.cfg"
SEGMENT = ({"segment": {"min_area_um2": 30}}, "measure", {"track": {"min_frames": 2}})


def rig(name: str = "specimen_rig", **changes: Any) -> RigConfig:
    """A shipped rig with some sections replaced."""
    loaded = load_rig(DEMO / f"{name}.yaml")
    data = loaded.model_dump(exclude={"source_file"})
    for key, value in changes.items():
        whole = key == "specimen" or not isinstance(data.get(key), dict)
        data[key] = value if whole else {**data[key], **value}
    return RigConfig(**data).model_copy(update={"source_file": loaded.source_file})


def still(**specimen: Any) -> dict[str, Any]:
    """A specimen in which nothing moves or drifts, unless told otherwise."""
    return {
        "kind": "dividing_cells",
        "seed": 5,
        "cells": 12,
        "area_um": [420, 420],
        "speed_um_s": 0.0,
        "drift_um_s": [0, 0, 0],
        "drift_noise_um": [0, 0, 0],
        "cell_cycle_s": 1e6,
        **specimen,
    }


def specimen_rig(**specimen: Any) -> RigConfig:
    """The shipped specimen rig, in virtual time, with a quiet sample."""
    return rig(specimen=still(**specimen), clock={"kind": "virtual"})


def slow_rig() -> RigConfig:
    """The rig of the fixture `slow`."""
    return RigConfig(
        name="slow stage",
        micromanager={"config": str(SLOW)},
        roles={
            "camera": "Camera",
            "stage": "XY",
            "focus": "Z",
            "shutter": "Shutter",
            "channel_group": "Channel",
        },
        light={
            "488": {"power": ["Laser", "Voltage"], "range": [0, 10], "gate": "shutter"}
        },
        safe_state=[["Shutter", "State", 0], ["Laser", "Voltage", 0]],
    )


def experiment(**fields: Any) -> Experiment:
    """A short plan in FITC."""
    plan = {
        "channels": [{"config": "FITC", "exposure": 20}],
        "time_plan": {"interval": 2, "loops": 5},
    }
    return Experiment(
        **{
            "name": "short",
            "rig": "specimen_rig.yaml",
            "acquisition": plan,
            "light": {"FITC": {"488": {"power_percent": 10}}},
            **fields,
        }
    )
