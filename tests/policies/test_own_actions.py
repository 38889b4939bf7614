"""Which sights show what a policy did last, told from sights and ids alone."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from pydantic import PrivateAttr
from sights import see

from smartscope.control import PolicyHost
from smartscope.core import (
    Action,
    Mark,
    MoveStage,
    Nothing,
    Outcome,
    Request,
    SetExposure,
    SetPower,
    SetProperty,
    ShiftPosition,
    View,
)
from smartscope.policies import OwnActions, Policy, PolicyContext, PolicyFactory
from smartscope.runs._loop import from_header, to_header

BRIGHTER = SetPower(reason="brighter", line="488", power_percent=20)


def sight(frame_id: int, epoch: int, later: tuple[int, ...] = (), **more):
    """A sight of one frame, taken every 10 ms."""
    seen = see(frame_id / 100, **more)
    state = replace(seen.state, epoch=epoch, settled_later=later)
    return replace(seen, frame_ids=(frame_id,), state=state)


def asked(own: OwnActions, action: Action, action_id: str = "3.0") -> None:
    own.asked(
        Request(
            action_id=action_id,
            policy="p",
            view=View(),
            action=action,
            t_decided_ns=0,
            observation=3,
        )
    )


def done(status: str = "applied", action_id: str = "3.0", **more) -> Outcome:
    return Outcome(action_id=action_id, policy="p", status=status, **more)


def test_a_sight_is_fresh_from_the_settling_of_the_command_on() -> None:
    own = OwnActions()
    assert own.fresh(sight(0, 0)), "nothing was asked for"
    asked(own, BRIGHTER)
    assert not own.fresh(sight(1, 9)), "no outcome yet, whatever the epoch is"
    own.arrived(done(command=7))
    assert not own.fresh(sight(2, 6))
    assert own.fresh(sight(3, 7))
    assert own.fresh(sight(4, 6)), "and nothing asks again"


def test_settled_before_an_earlier_command_counts_too() -> None:
    own = OwnActions()
    asked(own, BRIGHTER)
    own.arrived(done(command=7))
    assert not own.fresh(sight(1, 4, later=(6, 8)))
    assert own.fresh(sight(2, 4, later=(6, 7)))


def test_of_two_moved_devices_both_must_have_arrived() -> None:
    own = OwnActions()
    asked(own, ShiftPosition(reason="there", dx_um=5, dz_um=1))
    own.arrived(done(command=8))
    assert not own.fresh(sight(1, 6, later=(8,))), "the stage, 7, still moves"
    assert own.fresh(sight(2, 8))


def test_several_actions_must_all_show() -> None:
    own = OwnActions()
    asked(own, BRIGHTER, "3.0")
    asked(own, MoveStage(reason="there", x_um=1, y_um=1), "3.1")
    own.arrived(done(action_id="3.0", command=7))
    assert not own.fresh(sight(1, 7)), "the other has no outcome"
    own.arrived(done(action_id="3.1", command=8))
    assert not own.fresh(sight(2, 7))
    assert own.fresh(sight(3, 8))


@pytest.mark.parametrize(
    "status", ["rejected", "failed", "expired", "outbid", "noted", "shadow", "replay"]
)
def test_what_was_not_done_delays_nothing(status) -> None:
    own = OwnActions()
    asked(own, BRIGHTER)
    assert not own.fresh(sight(1, 0))
    own.arrived(done(status))
    assert own.fresh(sight(2, 0))


def test_what_was_scheduled_shows_in_what_is_exposed_after_that() -> None:
    own = OwnActions()
    asked(own, BRIGHTER)
    own.arrived(done("scheduled", t_ns={"checked": 25_000_000}))
    assert not own.fresh(sight(2, 0)), "exposed at 20 ms"
    assert own.fresh(sight(3, 0)), "exposed at 30 ms"


def test_outcomes_of_others_are_ignored() -> None:
    own = OwnActions()
    own.arrived(done(action_id="9.0", command=7))
    assert own.fresh(sight(1, 0))
    asked(own, BRIGHTER)
    own.arrived(done(action_id="9.1", command=1))
    assert not own.fresh(sight(2, 5))


@pytest.mark.parametrize(
    ("action", "late"),
    [
        (BRIGHTER, 2),
        (SetExposure(reason="longer", exposure_ms=20), 0),
        (SetProperty(reason="x", device="Wheel", property="State", value="1"), 3),
        (ShiftPosition(reason="x", dx_um=1), 1),
        (ShiftPosition(reason="x", dz_um=1), 4),
    ],
)
def test_a_change_may_show_some_frames_late(action, late) -> None:
    table = {"power": 2, "Wheel.State": 3, "stage": 1, "focus": 4}
    own = OwnActions(table)
    asked(own, action)
    own.arrived(done(command=7))
    assert not own.fresh(sight(10, 6))
    fresh = [own.fresh(sight(11 + n, 7)) for n in range(6)]
    assert fresh == [n >= late for n in range(6)]


def test_late_frames_are_counted_by_their_number_also_where_some_were_skipped() -> None:
    own = OwnActions({"power": 3})
    asked(own, BRIGHTER)
    own.arrived(done(command=7))
    assert not own.fresh(sight(10, 7)), "the first that is seen in the new state"
    assert own.fresh(sight(13, 7))


def test_a_sight_of_several_frames_is_as_old_as_its_first() -> None:
    own = OwnActions({"power": 2})
    asked(own, BRIGHTER)
    own.arrived(done(command=7))
    stack = replace(sight(10, 7), frame_ids=(10, 11, 12))
    assert not own.fresh(stack)
    assert own.fresh(replace(stack, frame_ids=(13, 14, 15)))


def test_it_remembers_a_bounded_number_of_changes() -> None:
    own = OwnActions()
    for n in range(5000):
        asked(own, BRIGHTER, f"{n}.0")
        own.arrived(done(action_id=f"{n}.0", command=n + 1))
    assert len(own._changes) <= 256
    assert not own.fresh(sight(1, 4999))
    assert own.fresh(sight(2, 5000))
    assert own._changes == []


class AskOnce(Policy):
    """Asks whenever its sight is fresh."""

    _fresh: list[bool] = PrivateAttr(default_factory=list)

    def react(self, seen):
        self._fresh.append(self.fresh(seen))
        if self._fresh[-1]:
            yield Nothing(reason="explained, and never executed")
            yield Mark(reason="seen")


def test_the_host_tells_the_owner_also_with_the_sight_of_another_view() -> None:
    made = {}

    class Kept(AskOnce):
        def start(self, context):
            super().start(context)
            made[context.view] = self

    host = PolicyHost(
        [
            PolicyFactory(
                name="p",
                policy=Kept,
                parameters={},
                priority=0,
                positions=(),
                context=PolicyContext(),
                source_hash="",
            )
        ]
    )
    here, there = View(0), View(1)

    def decide(frame_id, view, *outcomes):
        seen = replace(sight(frame_id, 0, view=view), outcomes=outcomes)
        (decision,) = host.decide(host.number(seen), lambda: 0)
        return [request.action_id for request in decision.requests]

    assert decide(0, here) == ["0.0", "0.1"]
    # What became of it comes with a sight that the instance does not get.
    assert decide(1, there, done("noted", "0.1")) == ["1.0", "1.1"]
    assert decide(2, here) == ["2.0", "2.1"]
    assert decide(3, there) == [], "the outcome of its own has not come"
    assert made[here]._fresh == [True, True]
    assert made[there]._fresh == [True, False]


def test_late_frames_are_in_the_journal_and_may_be_missing_from_an_old_one() -> None:
    context = PolicyContext(effect_after_frames={"power": 2})
    plain = json.loads(json.dumps(to_header(context)))
    assert from_header(plain) == context
    del plain["effect_after_frames"]
    assert from_header(plain).effect_after_frames == {}
