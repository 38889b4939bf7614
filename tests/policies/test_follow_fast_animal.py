from __future__ import annotations

import math
import sys
from dataclasses import replace
from itertools import pairwise

import pytest

from smartscope.core import MoveStage, Nothing, Outcome, Request, View
from smartscope.policies import load_policy_class
from smartscope.testing import CONTEXT, cell, sight

FollowFastAnimal = load_policy_class("follow_fast_animal")
spiral = sys.modules[FollowFastAnimal.__module__].spiral


def policy(stage_um=(-1000.0, 1000.0, -1000.0, 1000.0), **parameters):
    made = FollowFastAnimal(**parameters)
    made.start(replace(CONTEXT, stage_um=stage_um))
    return made


def see(made, t_s, animal, at_um, **more):
    tracks = [] if animal is None else [cell(1, *animal, area_um2=200.0)]
    seen = sight(t_s, tracks=tracks, at_um=(*at_um, 0.0), **more)
    (action,) = made.react(seen)
    return action


def follow(made, speed_um_s, *, sights=12, every_s=0.2):
    """Stage and animal in turns, each move shown by the next sight."""
    at, away = (0.0, 0.0), []
    for k in range(sights):
        t_s = k * every_s
        animal = (speed_um_s[0] * t_s, speed_um_s[1] * t_s)
        away.append(math.dist(animal, at))
        action = see(made, t_s, animal, at)
        if isinstance(action, MoveStage):
            at = (action.x_um, action.y_um)
    return away


def test_it_aims_where_the_animal_will_be_not_where_it_was():
    ahead = follow(policy(tolerance_um=0.1), (80.0, -30.0))
    behind = follow(policy(tolerance_um=0.1, lead_s=0.0), (80.0, -30.0))
    assert max(ahead[6:]) < 0.5, "its lag is measured and steady"
    assert min(behind[6:]) == pytest.approx(0.2 * math.hypot(80, 30), rel=0.05)


def test_it_rests_while_the_animal_is_near_the_middle():
    action = see(policy(tolerance_um=10.0), 0.0, (6.0, 0.0), (0.0, 0.0))
    assert isinstance(action, Nothing)
    assert (action.state, action.threshold) == ("following", 10.0)
    assert 0 < action.score < 10


def test_it_waits_until_the_last_move_shows():
    made = policy()
    assert isinstance(see(made, 0.0, (50.0, 0.0), (0.0, 0.0)), MoveStage)
    moved = MoveStage(x_um=50.0, y_um=0.0, reason="as above")
    request = Request(
        action_id="0.0", policy="under_test", view=View(0), action=moved,
        t_decided_ns=0, observation=0,
    )  # fmt: skip
    made.own_actions.asked(request)
    assert see(made, 0.1, (60.0, 0.0), (0.0, 0.0)).state == "waiting"
    made.own_actions.arrived(Outcome(action_id="0.0", policy="p", status="failed"))
    assert isinstance(see(made, 0.2, (70.0, 0.0), (0.0, 0.0)), MoveStage)


def test_it_keeps_a_margin_to_the_limits_of_the_stage():
    made = policy(stage_um=(-100.0, 100.0, -100.0, 100.0), margin_um=20.0)
    action = see(made, 0.0, (95.0, 10.0), (60.0, 0.0))
    assert (action.x_um, action.y_um) == (80.0, 10.0)
    assert "at the limits" in action.reason
    held = see(made, 0.1, (95.0, 10.0), (80.0, 10.0))
    assert isinstance(held, Nothing)
    assert held.state == "at the limits"
    assert isinstance(see(policy(None), 0.0, (9e4, 0.0), (0.0, 0.0)), MoveStage)


def test_a_lost_animal_is_expected_then_searched_for_outward():
    made = policy(patience_s=0.5, overlap=0.0)
    for k in range(3):
        see(made, 0.1 * k, (10.0 * k, 0.0), (0.0, 0.0))
    at, places = (20.0, 0.0), []
    expected = see(made, 0.4, None, at)
    assert expected.x_um == pytest.approx(40.0, abs=25), "it goes on as it did"
    for k in range(9):
        action = see(made, 1.0 + 0.1 * k, None, at)
        assert "searching: out of sight" in action.reason
        at = (action.x_um, action.y_um)
        places.append(at)
    middle = places[0]
    steps = [(round((x - middle[0]) / 50.5), round((y - middle[1]) / 50.5))
             for x, y in places]  # fmt: skip
    assert steps == [spiral(n) for n in range(9)]
    found = see(made, 2.0, (at[0] + 15, at[1]), at)
    assert isinstance(found, MoveStage)
    assert found.reason.startswith("following: it moves at 0 um/s")


def test_fields_beyond_the_limits_are_not_searched():
    made = policy(stage_um=(-30.0, 90.0, -30.0, 90.0), margin_um=0.0, patience_s=0.0)
    see(made, 0.0, (0.0, 0.0), (0.0, 0.0))
    at, places = (0.0, 0.0), set()
    for k in range(1, 12):
        action = see(made, float(k), None, at)
        if isinstance(action, MoveStage):
            at = (action.x_um, action.y_um)
        places.add(at)
    assert len(places) == 9, "three by three fields of 40 um fit"
    assert all(-30 <= um <= 90 for place in places for um in place)


def test_a_smaller_or_far_object_is_not_the_animal():
    made = policy(least=100.0, reach_um=30.0)
    see(made, 0.0, (0.0, 0.0), (0.0, 0.0))
    others = [cell(1, 20.0, 0.0, area_um2=50.0), cell(2, 200.0, 0.0, area_um2=900.0)]
    (action,) = made.react(sight(0.1, tracks=others))
    assert isinstance(action, Nothing), "it is taken for out of sight, not for moved"


def test_the_spiral_visits_every_cell_once():
    cells = [spiral(n) for n in range(81)]
    assert len(set(cells)) == 81
    assert max(abs(k) for cell in cells for k in cell) == 4
    steps = [abs(a[0] - b[0]) + abs(a[1] - b[1]) for a, b in pairwise(cells)]
    assert max(steps) <= 2
