"""Micro-Manager's SequenceTester proves what was set before each exposure.

Its camera paints the state of every device, and the order in which they were set, into
the image itself, so the proof does not rest on what we believe.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from smartscope import Experiment, run
from smartscope.config import RigConfig

pytest.importorskip("msgpack", reason="needs msgpack, which smartscope[test] installs")

HERE = Path(__file__).parent


def proof_rig() -> RigConfig:
    return RigConfig(
        name="sequence tester",
        micromanager={"config": str(HERE / "sequence_tester.cfg")},
        roles={
            "camera": "TCamera",
            "stage": "TXYStage",
            "focus": "TZStage",
            "shutter": "TShutter",
            "channel_group": "Channel",
        },
        light={"lamp": {"power": ["TSwitcher", "State"], "range": [0, 5],
                        "gate": "shutter"}},
        safe_state=[["TShutter", "State", 0], ["TSwitcher", "State", 0]],
    )  # fmt: skip


def run_plan(plan: dict, tmp_path: Path, **fields):
    result = run(
        Experiment(
            name="proof",
            rig="none.yaml",
            acquisition=plan,
            light={"A": {"lamp": {"power_percent": 40}},
                   "B": {"lamp": {"power_percent": 80}}},
            **fields,
        ),
        rig=proof_rig(),
        output=tmp_path,
    )  # fmt: skip
    assert result.outcome == "completed", result.message
    return result


def decoded(result):
    from pymmcore_plus.seq_tester import decode_image

    folder = result.folder
    return [(f, decode_image(folder.image(f.frame_id))) for f in folder.frames]


PLAN = {
    "axis_order": "tpcz",
    "stage_positions": [(10, 20, 1), (30, -40, 2)],
    "channels": [{"config": "A", "exposure": 5}, {"config": "B", "exposure": 5}],
    "z_plan": {"range": 2, "step": 2},
    "time_plan": {"interval": 0.2, "loops": 2},
}


def test_stage_focus_and_light_are_set_before_every_exposure(tmp_path) -> None:
    rows = decoded(run_plan(PLAN, tmp_path))
    assert len(rows) == 16
    places = [(10, 20, 1), (30, -40, 2)]
    for frame, info in rows:
        was = {(s.device, s.property): s.value for s in info.current_state}
        x, y, z = places[frame.index["p"]]
        assert was["TXYStage", "XPositionSteps"] == x * 10
        assert was["TXYStage", "YPositionSteps"] == y * 10
        assert was["TZStage", "ZPositionUm"] == z + (-1, 1)[frame.index["z"]]
        assert was["TSwitcher", "Position"] == (2 if frame.channel == "A" else 4)
        assert was["TShutter", "ShutterState"] is True
        # What the frame claims is what the image proves.
        assert (frame.state.x_um, frame.state.y_um) == (x, y)
        assert frame.state.z_um == was["TZStage", "ZPositionUm"]


def test_the_shutter_opens_after_everything_else_is_set(tmp_path) -> None:
    rows = decoded(run_plan(PLAN, tmp_path))
    for _, info in rows:
        moved = [e for e in info.history if e.property != "Busy"]
        opened = [i for i, e in enumerate(moved)
                  if e.property == "ShutterState" and e.value]  # fmt: skip
        assert opened, "the light went on for this exposure, not for the one before"
        assert opened[-1] == len(moved) - 1, "nothing changed once it was on"
        assert len(opened) == 1


def test_an_offset_asked_for_by_a_policy_is_there_before_the_exposure(
    tmp_path, policy
) -> None:
    body = """
if seen.number == 0:
    yield ShiftPosition(reason="over there", dx_um=7.0, dy_um=-3.0, dz_um=0.5)
    yield SetPower(reason="brighter", line="lamp", power_percent=100.0)
"""
    plan = {
        "stage_positions": [(10, 20, 1)],
        "channels": [{"config": "A", "exposure": 5}],
        "time_plan": {"interval": 0.2, "loops": 3},
    }
    rows = decoded(run_plan(plan, tmp_path, policies=[policy(body)]))
    seen = []
    for _, info in rows:
        was = {(s.device, s.property): s.value for s in info.current_state}
        seen.append(
            (
                was["TXYStage", "XPositionSteps"],
                was["TXYStage", "YPositionSteps"],
                was["TZStage", "ZPositionUm"],
                was["TSwitcher", "Position"],
            )
        )
    assert seen == [(100, 200, 1.0, 2)] + [(170, 170, 1.5, 5)] * 2
