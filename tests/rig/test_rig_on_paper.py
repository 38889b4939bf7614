"""A configuration read as text says what opening it would say, where it can."""

from __future__ import annotations

from pathlib import Path

import pytest

from smartscope.config import load_experiment, load_rig
from smartscope.core import ConfigError
from smartscope.rig import check_configuration

DEMO = Path(__file__).parents[2] / "demo_configs"


def test_the_shipped_rigs_fit_their_configurations() -> None:
    for name in ("demo_laser_rig", "specimen_rig", "wanderer_rig"):
        found = check_configuration(load_rig(DEMO / f"{name}.yaml"), base_dir=DEMO)
        assert found.objective == "10x"
        assert found.shape_yx == (512, 512)


def test_micromanagers_own_demo_is_found_among_its_adapters() -> None:
    found = check_configuration(load_rig(DEMO / "demo_rig.yaml"), base_dir=DEMO)
    found.check_plan(load_experiment(DEMO / "quickstart.yaml"), ["FITC", "DAPI"])
    assert found.objective == "10X", "its labels are listed from the last to the first"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"roles": {"camera": "Cam"}}, "roles.camera: device 'Cam' is not in"),
        ({"safe_state": [["Shuter", "State", 0]]}, "safe_state"),
    ],
)
def test_a_device_that_is_not_there_is_named(change, words) -> None:
    rig = load_rig(DEMO / "demo_laser_rig.yaml")
    data = rig.model_dump(exclude={"source_file"})
    data["roles"] = {**data["roles"], **change.get("roles", {})}
    data["safe_state"] = change.get("safe_state", data["safe_state"])
    with pytest.raises(ConfigError, match=r"is not in demo_laser\.cfg") as caught:
        check_configuration(type(rig)(**data), base_dir=DEMO)
    assert words in str(caught.value)


def test_a_preset_that_is_not_there_is_named() -> None:
    found = check_configuration(load_rig(DEMO / "demo_laser_rig.yaml"), base_dir=DEMO)
    experiment = load_experiment(DEMO / "quickstart.yaml")
    with pytest.raises(ConfigError, match="did you mean 'FITC'"):
        found.check_plan(experiment, ["FTIC"])
