"""Refused moves, failed properties and failed snaps never give a normal frame."""

from __future__ import annotations

import pytest
from small_runs import SEGMENT, experiment, rig, specimen_rig

from smartscope import run
from smartscope.core import SmartscopeError
from smartscope.record import RunFolder
from smartscope.testing import FaultyCore, fails

PLAN = {
    "stage_positions": [(0, 0, 0), (50, 20, 0), (100, 0, 0), (0, 60, 0)],
    "channels": [{"config": "FITC", "exposure": 5}],
}


def demo(core, tmp_path, **fields):
    return run(
        experiment(acquisition=PLAN, rig="demo_laser_rig.yaml", **fields),
        rig=rig("demo_laser_rig"),
        output=tmp_path,
        core=core,
    )


def to_third(*args) -> bool:
    return args[-2:] == (100.0, 0.0)


def lights_laser(*args) -> bool:
    return args[:2] == ("Laser", "Voltage") and float(args[2]) > 0


def ends_elsewhere(*args):
    return (*args[:-2], 90.0, 0.0) if to_third(*args) else None


FAULTS = [
    ("setXYPosition", fails("beyond the travel range", when=to_third), "XY"),
    ("setXYPosition", ends_elsewhere, "XY"),
    ("setProperty", fails("interlock open", when=lights_laser, on_call=3), "Laser"),
    ("snapImage", fails("no trigger", on_call=3), "Camera"),
]
WORDS = ["beyond the travel range", "90", "interlock open", "no trigger"]
CASES = range(len(FAULTS))


def inject(core: FaultyCore, case: int) -> str:
    call, fault, device = FAULTS[case]
    if call != "setXYPosition":  # these count their calls, so each test has its own
        when = lights_laser if call == "setProperty" else (lambda *args: True)
        fault = fails(WORDS[case], on_call=3, when=when)
    core.inject(call, fault)
    return device


def light_is_off(core: FaultyCore) -> bool:
    return float(core.getProperty("Laser", "Voltage")) == 0 and not core.getShutterOpen(
        "Shutter"
    )


@pytest.mark.parametrize("case", CASES, ids=WORDS)
def test_a_fault_ends_the_run_and_the_light_is_off(case, core, tmp_path) -> None:
    device = inject(core, case)
    result = demo(core, tmp_path)
    assert result.outcome == "failed"
    assert result.exit_code == 3
    assert device in result.message
    assert WORDS[case] in result.message
    assert result.frames == 2
    folder = RunFolder(result.path)
    assert [f.index["p"] for f in folder.frames] == [0, 1]
    assert WORDS[case] in next(folder.entries("fault"))["message"]
    assert folder.end is not None
    assert folder.end["exit_code"] == 3
    assert folder.verify() == ()
    assert light_is_off(core)


@pytest.mark.parametrize("case", CASES, ids=WORDS)
def test_a_fault_is_skipped_where_the_experiment_says_so(case, core, tmp_path) -> None:
    inject(core, case)
    result = demo(core, tmp_path, errors={"hardware": "skip"})
    assert result.outcome == "completed"
    assert result.exit_code == 0
    assert result.summary["failed"] == 1
    folder = RunFolder(result.path)
    # The frame is missing, and the one after it stands where it belongs.
    assert [f.index["p"] for f in folder.frames] == [0, 1, 3]
    assert [f.state.x_um for f in folder.frames] == pytest.approx([0, 50, 0], abs=1)
    assert [f.array for f in folder.frames] == ["p0", "p1", "p3"]
    assert folder.verify() == ()
    assert light_is_off(core)


def test_too_many_skips_in_a_row_end_the_run(core, tmp_path) -> None:
    core.inject("snapImage", fails("unplugged"))
    result = demo(core, tmp_path, errors={"hardware": "skip", "max_skips": 2})
    assert result.outcome == "failed"
    assert "max_skips" in result.message
    assert result.summary["failed"] == 3
    assert light_is_off(core)


def test_finding_05_a_missing_preset_is_no_warning(core, tmp_path) -> None:
    plan = {"channels": [{"config": "Nonsense", "exposure": 5}]}
    light = {"Nonsense": {"488": {"power_percent": 1}}}
    with pytest.raises(SmartscopeError, match="Nonsense"):
        run(
            experiment(acquisition=plan, rig="demo_laser_rig.yaml", light=light),
            rig=rig("demo_laser_rig"),
            output=tmp_path,
            core=core,
        )
    assert list(tmp_path.iterdir()) == [], "it was refused before a folder was made"


def test_a_raising_policy_is_blamed_by_name(tmp_path, policy) -> None:
    entry = policy("if seen.number == 2:\n    raise KeyError('oops')\nreturn ()")
    result = run(
        experiment(vision=SEGMENT, policies=[entry]),
        rig=specimen_rig(),
        output=tmp_path,
    )
    assert result.outcome == "failed"
    assert result.exit_code == 8
    assert "scripted" in result.message
    assert "oops" in result.message

    going_on = run(
        experiment(vision=SEGMENT, policies=[entry], errors={"policy": "skip"}),
        rig=specimen_rig(),
        output=tmp_path,
    )
    assert going_on.outcome == "completed"
    assert going_on.frames == 5
    assert len(list(going_on.folder.entries("fault"))) == 1
