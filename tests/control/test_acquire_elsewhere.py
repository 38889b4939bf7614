"""A burst that is taken somewhere else: where it goes, and that the plan comes back."""

from __future__ import annotations

from pathlib import Path

import pytest
import useq

from smartscope import run
from smartscope.config import Experiment, ScheduleConfig, load_rig
from smartscope.control import Schedule
from smartscope.core import Acquire, View, VirtualClock
from smartscope.record import RunFolder

DEMO = Path(__file__).parents[2] / "demo_configs"
TWICE = {"channels": ["FITC"], "time_plan": {"loops": 2, "interval": 5}}
POLICY = '''
from smartscope.core import Acquire
from smartscope.policies import Policy

class Aside(Policy):
    """Takes one frame far away."""

    x_um: float

    def react(self, seen):
        if seen.number == 0:
            yield Acquire(x_um=self.x_um, reason="to look there")
'''


def drive(sequence, place_um, *, shift=(0.0, 0.0, 0.0), z_offsets_um=()):
    clock = VirtualClock()
    schedule = Schedule(
        sequence, clock=clock, config=ScheduleConfig(), home=(1.0, 2.0, 3.0)
    )
    found = []
    for event in schedule:
        role = schedule.released.planned.role
        found.append((role, event.x_pos, event.y_pos, event.z_pos))
        if len(found) == 1:
            schedule.shift(0, *shift)
            schedule.insert_burst(
                0, frames=1, interval_s=0.0, channel=None, exposure_ms=None,
                z_offsets_um=z_offsets_um, cause="0.0", priority=0, place_um=place_um,
            )  # fmt: skip
    return found


def test_it_goes_there_and_the_plan_comes_back():
    plan = useq.MDASequence(stage_positions=[(10, 20, 30)], **TWICE)
    found = drive(plan, (100.0, 200.0, None))
    assert found == [
        ("baseline", 10.0, 20.0, 30.0),
        ("reaction", 100.0, 200.0, 30.0),
        ("baseline", 10.0, 20.0, 30.0),
    ]


def test_offsets_of_the_field_are_not_added_but_kept_where_no_place_is_named():
    plan = useq.MDASequence(stage_positions=[(10, 20, 30)], **TWICE)
    found = drive(plan, (100.0, None, None), shift=(1.0, 2.0, 0.0))
    assert found[1:] == [
        ("reaction", 100.0, 22.0, 30.0),
        ("baseline", 11.0, 22.0, 30.0),
    ]


def test_a_plan_without_positions_returns_to_where_it_began():
    plan = useq.MDASequence(**TWICE)
    found = drive(plan, (100.0, 200.0, 9.0), z_offsets_um=(-1.0, 1.0))
    assert found == [
        ("baseline", None, None, None),
        ("reaction", 100.0, 200.0, 8.0),
        ("reaction", 100.0, 200.0, 10.0),
        ("baseline", 1.0, 2.0, 3.0),
    ]


def test_it_claims_what_it_moves():
    view = View(4, "C")
    assert Acquire(reason="").claims(view) == ("camera", "schedule:4")
    there = Acquire(reason="", x_um=1.0, z_um=0.0)
    assert there.claims(view) == ("camera", "schedule:4", "stage", "focus")
    assert there.is_elsewhere
    assert not Acquire(reason="").is_elsewhere


@pytest.mark.parametrize(
    ("x_um", "stream", "status", "said"),
    [
        (300.0, False, "scheduled", "1 frames"),
        (9000.0, False, "rejected", "stage x 9000 um is outside of -5000 to 5000"),
        (300.0, True, "rejected", "a burst in a stream is taken where the stage is"),
    ],
)
def test_a_run_takes_it_or_says_why_not(tmp_path, x_um, stream, status, said):
    (tmp_path / "aside.py").write_text(POLICY, encoding="utf-8")
    plan = {
        "channels": [{"config": "FITC", "exposure": 10}],
        "time_plan": {"interval": 1, "loops": 2},
    }
    film = {"stream": {"channel": "FITC", "exposure_ms": 10, "frames": 4}}
    result = run(
        Experiment(
            name="aside",
            rig="specimen_rig.yaml",
            acquisition=film if stream else plan,
            light={"FITC": {"488": {"power_percent": 5}}},
            policies=[{"use": str(tmp_path / "aside.py"), "x_um": x_um}],
        ),
        rig=load_rig(DEMO / "specimen_rig.yaml"),
        output=tmp_path,
        clock="virtual",
    )
    assert result.outcome == "completed", result.message
    folder = RunFolder(result.path)
    (outcome,) = folder.outcomes
    assert (outcome.status, said in outcome.message) == (status, True), outcome.message
    if status == "scheduled":
        assert [f.state.x_um for f in folder.frames] == pytest.approx(
            [0, 300, 0], abs=0.1
        )
