"""Real, scaled and virtual time: the same decisions on the same plan."""

from __future__ import annotations

import pytest
from small_runs import SEGMENT, experiment, rig, still

from smartscope import run
from smartscope.core import ConfigError, Nothing

PLAN = {
    "stage_positions": [(30, -20, 0)],
    "channels": [{"config": "FITC", "exposure": 20}],
    "time_plan": {"interval": 0.3, "loops": 8},
}


def decisions(kind: str, tmp_path) -> list[tuple]:
    result = run(
        experiment(
            acquisition=PLAN,
            vision=[{"background": {"radius_um": 30}}, *SEGMENT],
            policies=[{"use": "follow_cell", "tolerance_um": 4, "max_step_um": 40}],
        ),
        rig=rig(
            specimen=still(cells=6, area_um=[350, 350]),
            clock={"kind": kind, "speed": 1.0},
        ),
        output=tmp_path,
    )
    assert result.outcome == "completed", result.message
    rows = []
    for decision in result.folder.decisions:
        for request in decision.requests:
            action = request.action
            what = type(action).__name__
            if isinstance(action, Nothing):
                rows.append((decision.observation, what, action.state))
            else:
                where = (round(action.dx_um / 3), round(action.dy_um / 3))
                rows.append((decision.observation, what, action.track_id, where))
    return rows


def test_real_scaled_and_virtual_time_give_the_same_decisions(tmp_path) -> None:
    virtual = decisions("virtual", tmp_path)
    assert any(row[1] == "ShiftPosition" for row in virtual)
    assert decisions("real", tmp_path) == virtual
    assert decisions("scaled", tmp_path) == virtual


def test_virtual_runs_are_identical_to_the_last_digit(tmp_path) -> None:
    def journal() -> list:
        result = run(
            experiment(vision=SEGMENT, policies=["follow_cell"]),
            rig=rig(specimen=still(speed_um_s=0.1), clock={"kind": "virtual"}),
            output=tmp_path,
        )
        kept = ("frame", "observation", "decision", "outcome", "dose", "intent")
        volatile = ("external", "confirmed_ns")
        return [
            {
                **entry,
                "state": {k: v for k, v in entry["state"].items() if k not in volatile},
            }
            if "state" in entry
            else entry
            for entry in result.folder.entries()
            if entry["kind"] in kept
        ]

    assert journal() == journal()


def test_a_camera_lives_in_real_time_only(tmp_path) -> None:
    with pytest.raises(ConfigError, match="needs a specimen"):
        run(
            experiment(rig="demo_laser_rig.yaml"),
            rig=rig("demo_laser_rig"),
            clock="virtual",
            output=tmp_path,
        )
