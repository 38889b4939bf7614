from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from smartscope.config import RigConfig
from smartscope.core import VirtualClock
from smartscope.rig import Rig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from smartscope.core import Clock

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


@pytest.fixture
def open_rig() -> Iterator[Callable[..., Rig]]:
    """Opens rigs and closes them; a test that leaks a thread of theirs fails."""
    opened: list[Rig] = []

    def opener(
        config: RigConfig | None = None, clock: Clock | None = None, **kwargs: Any
    ) -> Rig:
        rig = Rig.open(
            config or rig_config(), clock or VirtualClock(), base_dir=DEMOS, **kwargs
        )
        opened.append(rig)
        return rig

    yield opener
    for rig in opened:
        rig.close()
    left = [t.name for t in threading.enumerate() if t.name.startswith("smartscope-")]
    assert not left, f"threads left behind: {left}"


@pytest.fixture
def rig(open_rig: Callable[..., Rig]) -> Rig:
    return open_rig()
