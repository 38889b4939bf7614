"""What is written down loads again, unchanged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import useq
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smartscope.config import (
    Experiment,
    PolicyUse,
    RigConfig,
    StageUse,
    Stream,
    dump_experiment,
    dump_yaml,
    load_experiment,
    load_rig,
    with_absolute_paths,
)

# The same examples everywhere, however busy the machine is.
STEADY = settings(
    derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
PLANS: list[dict[str, Any]] = [
    {"channels": [{"config": "FITC", "exposure": 20}, "488"]},
    {"z_plan": {"range": 4, "step": 0.5}, "axis_order": "tpcz"},
    {"z_plan": {"absolute": [0, 1.5]}, "time_plan": {"interval": 0.1, "loops": 7}},
    {
        "time_plan": [
            {"interval": {"minutes": 2}, "loops": 3},
            {"interval": 0.001, "duration": "0:00:01", "prioritize_duration": False},
        ]
    },
    {
        "channels": ["A"],
        "setup": {"properties": [("LED", "State", "Off"), ("Cam", "Gain", 2)]},
    },
    {
        "channels": ["A"],
        "setup": {"action": {"type": "custom", "name": "wash", "data": {"ml": 2}}},
    },
    {
        "channels": ["A"],
        "setup": {"action": {"type": "hardware_autofocus"}, "roi": (1, 2, 3, 4)},
    },
    {
        "stage_positions": [
            (1, 2, 3),
            {"z": 5, "name": "on", "sequence": {"z_plan": {"range": 2, "step": 1}}},
            {"x": 0, "sequence": {"grid_plan": {"rows": 2, "columns": 1}}},
        ],
        "autofocus_plan": {"axes": ("p",), "autofocus_motor_offset": 3},
    },
    {
        "stage_positions": {
            "plate": "96-well",
            "a1_center_xy": (10, 20),
            "rotation": "3deg",
            "selected_wells": ([0, 1], [2, 3]),
            "well_points_plan": {"num_points": 3, "random_seed": 4, "order": None},
        }
    },
    {
        "stage_positions": {
            "plate": {
                "rows": 2, "columns": 2, "well_spacing": 9, "well_size": 4,
                "circular_wells": False,
            },
            "a1_center_xy": (0, 0),
            "selected_wells": ([0], [1]),
            "well_points_plan": {"num_points": 2, "shape": "ellipse"},
        }
    },
    {"grid_plan": {"num_points": 4, "random_seed": 1, "order": None}},
    {"grid_plan": {"vertices": [(0, 0), (9, 0), (0, 9)], "mode": "spiral"}},
    {"channels": ["A"], "keep_shutter_open_across": "zc", "metadata": {"who": [1]}},
]  # fmt: skip


def again(model: Experiment, folder: Path) -> Experiment:
    path = folder / "again.yaml"
    path.write_text(dump_yaml(model), encoding="utf-8")
    return load_experiment(path).model_copy(update={"source_file": model.source_file})


@pytest.mark.parametrize("plan", PLANS)
def test_plans_load_again(plan: dict[str, Any], tmp_path: Path) -> None:
    sequence = useq.MDASequence(**plan)
    made = Experiment(name="plan", rig="rig.yaml", acquisition=sequence)
    back = again(made, tmp_path)
    assert back == made
    assert isinstance(back.acquisition, useq.MDASequence)
    assert back.acquisition.model_dump() == sequence.model_dump()
    assert again(back, tmp_path) == back


def full() -> Experiment:
    return Experiment(
        name="on",
        description="two lines\nand µm, 'quotes' and: colons",
        rig="my rigs/rig.yaml",
        acquisition={"stream": {"exposure_ms": 5, "frames": 9, "roi": {
            "x_px": 1, "y_px": 2, "width_px": 3, "height_px": 4}}},
        light={"FITC": {488: {"power_percent": 5}}, "off": {"561": {"power_mw": 1}}},
        vision=["background", {"segment": {"on": {"channel": "488"}, "k": "1e3"}}],
        policies=[
            {"use": "rate_switch", "a": None, "b": "null", "c": [1, {"d": "010"}]},
            PolicyUse(use="x", name="7", positions=(0, 2), parameters={"name": 1}),
        ],
        safety={"stage_um": {"x": [-1, 1], "y": [-2, 2]}, "power_mw": {488: 3}},
        schedule={"pacing": "free"},
        record={"path": "a folder/runs"},
        seed=5,
    )  # fmt: skip


def test_an_experiment_loads_again(tmp_path: Path) -> None:
    assert again(full(), tmp_path) == full()


def test_defaults_are_filled_in_and_it_reads_well() -> None:
    text = dump_yaml(full())
    assert "errors: {hardware: stop, policy: stop, vision: stop, max_skips: 10}" in text
    assert "    488: {power_percent: 5.0}" in text
    assert "    on: {channel: '488'}" in text
    assert "source_file" not in text
    assert "!!" not in text and "&id" not in text
    assert max(map(len, text.splitlines())) <= 100


def test_a_common_reader_sees_the_same_plan() -> None:
    made = Experiment(name="a", rig="r", acquisition=useq.MDASequence(**PLANS[4]))
    plan = yaml.safe_load(dump_yaml(made))["acquisition"]
    assert useq.MDASequence(**plan) == made.acquisition


def test_a_rig_loads_again(tmp_path: Path) -> None:
    rig = RigConfig(
        name="rig",
        micromanager={"config": "a b/demo.cfg", "adapter_paths": ["x"]},
        roles={"camera": "Camera", "channel_group": None, "autofocus": {"state": "A"}},
        light={488: {"power": ["Laser", "Voltage"], "range": [0, 10],
                     "calibration": {"10x": [[0, 0], [10, 12.5]]},
                     "field_um": {"10x": [500, 500]}, "gate": "shutter"}},
        safe_state=[["Shutter", "State", 0], ["Laser", "Voltage", "0"],
                    ["Laser", "On", "Off"]],
        limits={"focus_um": [-100, 100], "power_mw": {488: 5}},
        calibration={"10x": {"pixel_um": 1, "affine": [[0, -1], [1, 0]]}},
        specimen={"kind": "dividing_cells", "seed": 7, "cells": 12, "drift": [1, 2]},
        clock={"kind": "scaled", "speed": 20},
        settle_ms={"XY": 5},
    )  # fmt: skip
    path = tmp_path / "rig.yaml"
    path.write_text(dump_yaml(rig), encoding="utf-8")
    back = load_rig(path)
    assert back.source_file == path
    assert back.model_copy(update={"source_file": None}) == rig
    assert back.specimen is not None
    assert back.specimen.parameters == {"cells": 12, "drift": [1, 2]}
    assert back.roles is not None and back.roles.channel_group is None
    assert back.safe_state[1][2] == "0"


def test_an_experiment_in_a_run_folder(tmp_path: Path) -> None:
    home, run = tmp_path / "home", tmp_path / "run"
    home.mkdir()
    run.mkdir()
    (home / "mine.py").write_text("")
    (home / "e.yaml").write_text(
        "name: a\nrig: rigs/my_rig.yaml\nacquisition: {channels: [F]}\n"
        "policies:\n- use: mine.py:Mine\n- use: rate_switch\n- use: gone.py\n"
    )
    (run / "experiment.yaml").write_text(
        dump_experiment(load_experiment(home / "e.yaml"))
    )
    back = load_experiment(run / "experiment.yaml")
    assert back.rig == Path("rig.yaml")
    assert [p.use for p in back.policies] == [
        f"{(home / 'mine.py').resolve().as_posix()}:Mine",
        "rate_switch",
        "gone.py",
    ]


def test_files_of_a_rig_are_found_from_any_folder(tmp_path: Path) -> None:
    (tmp_path / "demo.cfg").write_text("")
    (tmp_path / "film.tif").write_text("")
    (tmp_path / "rig.yaml").write_text(
        "name: a\nmicromanager: {config: demo.cfg, adapter_paths: [gone]}\n"
        "roles: {camera: C}\n"
    )
    moved = with_absolute_paths(load_rig(tmp_path / "rig.yaml")).micromanager
    assert moved is not None
    assert moved.config == (tmp_path / "demo.cfg").resolve()
    assert moved.adapter_paths == (Path("gone"),)
    (tmp_path / "rec.yaml").write_text("name: a\nrecording: {path: film.tif}\n")
    recording = with_absolute_paths(load_rig(tmp_path / "rec.yaml")).recording
    assert recording is not None
    assert recording.path == (tmp_path / "film.tif").resolve()


TRICKY = """on NO 1e3 01 0x1F 1:30 ~ = << 2026-11-22 .inf # ' " null { !x &a *a % 1_0"""
PLAIN_TEXT = (
    st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=12)
    | st.sampled_from(TRICKY.split())
    | st.sampled_from(["", " ", "a: b", "- x", "a\nb", "a\n", " a", "a\tb", "@"])
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | PLAIN_TEXT,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(PLAIN_TEXT, inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(STEADY, max_examples=120)
@given(parameters=st.dictionaries(PLAIN_TEXT, VALUES, max_size=4), name=PLAIN_TEXT)
def test_any_parameters_load_again(
    parameters: dict[str, Any], name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    of_stage = {k: v for k, v in parameters.items() if k != "on"}
    made = Experiment(
        name=name,
        rig="rig.yaml",
        acquisition=Stream(exposure_ms=1, frames=1),
        vision=[StageUse(use="segment", parameters=of_stage)],
        policies=[PolicyUse(use="mine", parameters=parameters)],
    )
    back = again(made, tmp_path_factory.getbasetemp())
    assert back == made
