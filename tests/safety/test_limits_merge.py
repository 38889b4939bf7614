from __future__ import annotations

import pytest
from rigs import experiment, rig

from smartscope.config import Experiment
from smartscope.core import ConfigError
from smartscope.safety import merge_limits

WIDE = {
    "stage_um": {"x": [-100, 100], "y": [-50, 50]},
    "focus_um": [-10, 10],
    "power_percent": {488: 60},
    "power_mw": {488: 5},
    "exposure_ms": [1, 1000],
    "max_lit_ms": 2000,
    "actions_per_s": 50,
}
TIGHT = {
    "stage_um": {"x": [-90, 100], "y": [-50, 40]},
    "focus_um": [-5, 5],
    "power_percent": {488: 40, 561: 10},
    "power_mw": {488: 4},
    "exposure_ms": [1, 100],
    "max_lit_ms": 500,
    "actions_per_s": 20,
}


def merged(limits, safety):
    return merge_limits(rig(limits=limits), experiment(safety=safety)).model_dump()


def test_the_rig_alone_and_the_experiment_alone():
    only_rig, only_experiment = merged(WIDE, {}), merged({}, WIDE)
    assert only_rig == only_experiment
    assert only_rig["power_percent"] == {"488": 60.0}
    assert only_rig["stage_um"] == {"x": (-100, 100), "y": (-50, 50)}


def test_the_tighter_one_holds():
    assert merged(WIDE, TIGHT) == merged({}, TIGHT)


def test_no_limits_are_no_limits():
    none = merged({}, {})
    assert none.pop("actions_per_s") == 100.0
    assert not any(none.values())


def test_the_default_rate_does_not_loosen_the_rigs():
    assert merged({"actions_per_s": 5}, {"focus_um": [0, 1]})["actions_per_s"] == 5


@pytest.mark.parametrize(
    ("safety", "said"),
    [
        (
            {"power_percent": {488: 80}},
            "safety.power_percent.488: 80 is looser than the rig's 60; an experiment "
            "may only tighten; lower it or ask whoever owns the rig file",
        ),
        (
            {"power_mw": {488: 5.1}},
            "safety.power_mw.488: 5.1 is looser than the rig's 5;",
        ),
        (
            {"stage_um": {"x": [-101, 0], "y": [0, 1]}},
            "safety.stage_um.x: -101 to 0 is looser than the rig's -100 to 100; an "
            "experiment may only tighten; narrow it or ask whoever owns the rig file",
        ),
        ({"stage_um": {"x": [0, 1], "y": [0, 51]}}, "safety.stage_um.y: 0 to 51 is"),
        ({"focus_um": [-10, 11]}, "safety.focus_um: -10 to 11 is looser"),
        ({"exposure_ms": [0.5, 10]}, "safety.exposure_ms: 0.5 to 10 is looser"),
        (
            {"max_lit_ms": 3000},
            "safety.max_lit_ms: 3000 is looser than the rig's 2000;",
        ),
        (
            {"actions_per_s": 100},
            "safety.actions_per_s: 100 is looser than the rig's 50",
        ),
        (
            {"power_mw": {489: 1}},
            "safety.power_mw.489: the rig has no light line 489; did you mean '488'?",
        ),
    ],
)
def test_an_experiment_may_only_tighten(safety, said):
    with pytest.raises(ConfigError) as caught:
        merged(WIDE, safety)
    assert str(caught.value).startswith(said)


def test_the_refusal_names_file_and_line(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(
        "name: x\nrig: rig.yaml\nacquisition: {channels: [FITC]}\n"
        "safety:\n  power_percent:\n    488: 80\n",
        encoding="utf-8",
    )
    with pytest.raises(ConfigError) as caught:
        merge_limits(rig(limits=WIDE), Experiment.load(file))
    assert str(caught.value).startswith(f"{file}, line 6: safety.power_percent.488: 80")
