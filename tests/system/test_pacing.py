"""What a plan does when a decision does not come in time, and what a late one does."""

from __future__ import annotations

import time

import pytest
from film_helpers import ACTS, Witness, until
from small_runs import experiment, rig, specimen_rig

from smartscope import run

SLOW = """
from film_helpers import visit
from smartscope.vision import Stage


class Slow(Stage):
    def start(self, view):
        return []

    def process(self, work, state):
        if work.view.position >= 0 and len(state) == LATE:
            visit("slow stage")
        state.append(work.t_s)
"""
DEADLINE_S = 0.3
TWO_BY_TWO = {
    "axis_order": "tpcz",
    "time_plan": {"interval": 0, "loops": 4},
    "channels": [
        {"config": "FITC", "exposure": 2},
        {"config": "DAPI", "exposure": 2},
    ],
    "z_plan": {"range": 1, "step": 1},
}


def frames(loops: int, interval: float = 0) -> dict[str, object]:
    return {
        "channels": [{"config": "FITC", "exposure": 2}],
        "time_plan": {"interval": interval, "loops": loops},
    }


@pytest.fixture
def paced(tmp_path, monkeypatch):
    """Run a plan whose vision is late on one sight until so many frames are taken."""

    def film(acquisition, *, late: int, until_taken: int = 0, on=None, **schedule):
        witness = Witness()
        (tmp_path / "slow.py").write_text(SLOW.replace("LATE", str(late)))
        monkeypatch.setitem(
            ACTS,
            "slow stage",
            lambda: (
                until(lambda: witness.published >= until_taken, "no more frames")
                if until_taken
                else time.sleep(3 * DEADLINE_S)
            ),
        )
        result = run(
            experiment(
                acquisition=acquisition,
                rig="demo_laser_rig.yaml",
                vision=[{"use": str(tmp_path / "slow.py")}],
                schedule={"decision_deadline_s": DEADLINE_S, **schedule},
                light={c: {"488": {"power_percent": 10}} for c in ("FITC", "DAPI")},
            ),
            rig=on or rig("demo_laser_rig"),
            output=tmp_path,
            subscriptions=(witness.frames,),
        )
        assert result.folder.verify() == ()
        return result

    return film


def passed(result) -> list[str]:
    return [entry["then"] for entry in result.folder.entries("deadline")]


def seen(result) -> list[int]:
    return [o.frame_ids[-1] for o in result.folder.observations()]


def skipped(result) -> list[int]:
    return [entry["frame_id"] for entry in result.folder.entries("skipped")]


def test_a_late_decision_does_not_queue_up(paced) -> None:
    result = paced(frames(8), late=2, until_taken=6)
    assert result.outcome == "completed", result.message
    assert passed(result) == ["go_on"] * 3, "once for each of frames 2, 3 and 4"
    assert seen(result) == [0, 1, 2, 5, 6, 7], "then the newest, then in step again"
    assert skipped(result) == [3, 4]
    assert {f.cause for f in result.folder.frames} == {"plan"}


def test_a_late_decision_is_late_once_however_long_the_next_event_is_away(
    paced,
) -> None:
    result = paced(frames(4, interval=1.0), late=1, until_taken=3)
    assert passed(result) == ["go_on"]
    assert seen(result) == [0, 1, 2, 3]


def test_late_in_virtual_time_is_late_once_too(paced) -> None:
    result = paced(frames(6, interval=2), late=1, until_taken=4, on=specimen_rig())
    assert passed(result) == ["go_on"] * 2
    assert seen(result) == [0, 1, 3, 4, 5]
    assert skipped(result) == [2]


def test_a_group_is_finished_without_waiting_for_a_vision_that_is_behind(
    paced,
) -> None:
    result = paced(TWO_BY_TWO, late=1, until_taken=13)
    assert passed(result) == ["go_on"] * 2, "after the groups, not after their frames"
    assert seen(result) == [1, 5, 13], "of each group, the planes of its first channel"


def test_a_late_group_is_taken_again_twice_then_the_plan_goes_on(paced) -> None:
    result = paced(TWO_BY_TWO, late=1, until_taken=17, on_deadline="repeat")
    assert result.outcome == "completed", result.message
    assert passed(result) == ["repeat", "repeat", "go_on"]
    told = result.folder.frames
    assert [f.cause for f in told] == ["plan"] * 8 + ["deadline"] * 8 + ["plan"] * 8
    assert {(f.role, f.cause) for f in told} == {
        ("baseline", "plan"),
        ("reaction", "deadline"),
    }
    assert result.reactions == 8
    late, again = told[4:8], told[8:12]
    assert [f.channel for f in again] == [f.channel for f in late]
    assert [f.state.z_um for f in again] == [f.state.z_um for f in late]
    groups = [f.group for f in map(result.folder.frame, range(8, 16))]
    assert len(set(groups)) == 2 and groups == sorted(groups)
    # Vision, once it is back, takes the newest whole group and is in step again.
    assert seen(result) == [1, 5, 17, 21]


def test_a_repeat_in_time_is_decided_on_and_ends_the_repeating(paced) -> None:
    result = paced(frames(4), late=1, until_taken=3, on_deadline="repeat")
    assert passed(result) == ["repeat"]
    assert [f.cause for f in result.folder.frames] == [
        "plan",
        "plan",
        "deadline",
        "plan",
        "plan",
    ]
    assert seen(result) == [0, 1, 2, 3, 4]


def test_a_late_decision_may_end_the_run(paced) -> None:
    result = paced(frames(8), late=2, on_deadline="stop")
    assert result.outcome == "failed"
    assert "on_deadline to go_on" in result.message
    assert passed(result) == ["stop"]
    assert result.frames == 3


def test_free_plans_wait_for_nobody(paced) -> None:
    result = paced(frames(8), late=1, until_taken=8, pacing="free")
    assert result.outcome == "completed", result.message
    assert passed(result) == []
    assert result.frames == 8
    assert seen(result)[-1] == 7
    assert sorted(seen(result) + skipped(result)) == list(range(8))
    (told,) = result.folder.entries("pacing")
    assert told["pacing"] == "free"
