"""Refused moves, failed properties and failed snaps never give a normal frame."""

from __future__ import annotations

import pymmcore
import pytest
from smartscope import run
from smartscope.record import RunFolder
from smartscope.rig import Rig

from small_runs import SEGMENT, experiment, rig, specimen_rig

PLAN = {
    "stage_positions": [(0, 0, 0), (50, 20, 0), (100, 0, 0), (0, 60, 0)],
    "channels": [{"config": "FITC", "exposure": 5}],
}


def demo(tmp_path, **fields):
    return run(
        experiment(acquisition=PLAN, rig="demo_laser_rig.yaml", **fields),
        rig=rig("demo_laser_rig"),
        output=tmp_path,
    )


@pytest.fixture
def light_after(monkeypatch):
    """Laser voltage and shutter as the devices say when the rig lets go of them."""
    found: list = []
    close = Rig.close

    def look(opened):
        voltage = float(opened.core.getProperty("Laser", "Voltage"))
        found.append((voltage, opened.core.getShutterOpen()))
        return close(opened)

    monkeypatch.setattr(Rig, "close", look)
    return found


def refuse_stage(monkeypatch) -> None:
    move = pymmcore.CMMCore.setXYPosition

    def refusing(core, *args):
        if args[-2:] == (100.0, 0.0):
            raise RuntimeError("XY: beyond the travel range")
        return move(core, *args)

    monkeypatch.setattr(pymmcore.CMMCore, "setXYPosition", refusing)


def stage_goes_elsewhere(monkeypatch) -> None:
    move = pymmcore.CMMCore.setXYPosition

    def elsewhere(core, *args):
        if args[-2:] == (100.0, 0.0):
            args = (*args[:-2], 90.0, 0.0)
        return move(core, *args)

    monkeypatch.setattr(pymmcore.CMMCore, "setXYPosition", elsewhere)


def laser_refuses(monkeypatch) -> None:
    set_property, calls = pymmcore.CMMCore.setProperty, []

    def refusing(core, device, prop, value):
        if (device, prop) == ("Laser", "Voltage") and float(value) > 0:
            calls.append(value)
            if len(calls) == 3:
                raise RuntimeError("Laser: interlock open")
        return set_property(core, device, prop, value)

    monkeypatch.setattr(pymmcore.CMMCore, "setProperty", refusing)


def snap_fails(monkeypatch) -> None:
    snap, calls = pymmcore.CMMCore.snapImage, []

    def failing(core):
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("Camera: no trigger")
        return snap(core)

    monkeypatch.setattr(pymmcore.CMMCore, "snapImage", failing)


FAULTS = [
    (refuse_stage, "XY", "beyond the travel range"),
    (stage_goes_elsewhere, "XY", "90"),
    (laser_refuses, "Laser", "interlock open"),
    (snap_fails, "Camera", "no trigger"),
]


@pytest.mark.parametrize(("inject", "device", "words"), FAULTS)
def test_a_fault_ends_the_run_and_the_light_is_off(
    inject, device, words, monkeypatch, tmp_path, light_after
) -> None:
    inject(monkeypatch)
    result = demo(tmp_path)
    assert result.outcome == "failed"
    assert result.exit_code == 3
    assert device in result.message
    assert words in result.message
    assert result.frames == 2
    folder = RunFolder(result.path)
    assert [f.index["p"] for f in folder.frames] == [0, 1]
    assert words in next(folder.entries("fault"))["message"]
    assert folder.end is not None
    assert folder.end["exit_code"] == 3
    assert folder.verify() == ()
    assert light_after == [(0.0, False)]


@pytest.mark.parametrize(("inject", "device", "words"), FAULTS)
def test_a_fault_is_skipped_where_the_experiment_says_so(
    inject, device, words, monkeypatch, tmp_path, light_after
) -> None:
    inject(monkeypatch)
    result = demo(tmp_path, errors={"hardware": "skip"})
    assert result.outcome == "completed"
    assert result.summary["failed"] == 1
    folder = RunFolder(result.path)
    # The frame is missing, and the one after it stands where it belongs.
    assert [f.index["p"] for f in folder.frames] == [0, 1, 3]
    assert [f.state.x_um for f in folder.frames] == pytest.approx([0, 50, 0], abs=1)
    assert [f.array for f in folder.frames] == ["p0", "p1", "p3"]
    assert folder.verify() == ()
    assert light_after == [(0.0, False)]


def test_too_many_skips_in_a_row_end_the_run(monkeypatch, tmp_path) -> None:
    def failing(core):
        raise RuntimeError("Camera: unplugged")

    monkeypatch.setattr(pymmcore.CMMCore, "snapImage", failing)
    result = demo(tmp_path, errors={"hardware": "skip", "max_skips": 2})
    assert result.outcome == "failed"
    assert "max_skips" in result.message
    assert result.summary["failed"] == 3


def test_finding_05_a_missing_preset_is_no_warning(tmp_path) -> None:
    from smartscope.core import HardwareError, SmartscopeError

    plan = {"channels": [{"config": "Nonsense", "exposure": 5}]}
    with pytest.raises(SmartscopeError) as caught:
        result = run(
            experiment(
                acquisition=plan,
                rig="demo_laser_rig.yaml",
                light={"Nonsense": {"488": {"power_percent": 1}}},
            ),
            rig=rig("demo_laser_rig"),
            output=tmp_path,
        )
        if result.outcome == "failed":
            raise HardwareError(result.message)
    assert "Nonsense" in str(caught.value)


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
