from __future__ import annotations

from dataclasses import replace

import pytest

from smartscope.core import (
    Acquire,
    ConfigError,
    Nothing,
    Outcome,
    SwitchObjective,
    View,
)
from smartscope.policies import load_policy_class
from smartscope.testing import CONTEXT, cell, sight

SurveyThenZoom = load_policy_class("survey_then_zoom")
TURRET = {"10x": (0.0, 0.0, 0.0), "40x": (7.0, -3.0, 12.0)}


def policy(positions=2, **parameters):
    made = SurveyThenZoom(objective="40x", **parameters)
    context = CONTEXT.named("zoomer", None)
    made.start(replace(context, objectives=TURRET, positions=positions))
    return made


def see(made, position, cells=(), *, objective="10x", z_um=5.0, **more):
    tracks = [cell(n, x, y, area_um2=a) for n, (x, y, a) in enumerate(cells, 1)]
    seen = sight(0.0, tracks=tracks, at_um=(0.0, 0.0, z_um), view=View(position, "C"))
    state = replace(seen.state, objective=objective)
    return list(made.react(replace(seen, state=state, **more)))


def test_it_ranks_all_fields_and_visits_the_best_with_the_offset():
    made = policy(best=2)
    (first,) = see(made, 0, [(10, 0, 90), (20, 0, 150)])
    assert isinstance(first, Nothing)
    assert (first.score, first.threshold, first.state) == (1.0, 2.0, "survey")
    turn, visit = see(made, 1, [(300, 50, 200)])
    assert (turn.objective, type(visit)) == ("40x", Acquire)
    assert (visit.x_um, visit.y_um, visit.z_um) == (307.0, 47.0, 17.0)
    (second,) = see(made, 1, role="reaction", objective="40x")
    assert (second.x_um, second.y_um) == (27.0, -3.0)
    (back,) = see(made, 1, role="reaction", objective="40x")
    assert isinstance(back, SwitchObjective)
    assert back.objective == "10x"


def test_an_object_in_two_fields_is_one_and_is_not_visited_again():
    made = policy(best=5, apart_um=10.0)
    see(made, 0, [(100, 0, 90)])
    _, visit = see(made, 1, [(104, 3, 95)])
    assert visit.x_um == 111.0
    (back,) = see(made, 1, role="reaction")
    assert isinstance(back, SwitchObjective)
    see(made, 0, [(101, 1, 90)])
    (nothing,) = see(made, 1)
    assert "none of 1 objects is new" in nothing.reason
    again = policy(new_only=False, positions=1)
    see(again, 0, [(100, 0, 90)])
    see(again, 0, role="reaction")
    assert len(see(again, 0, [(100, 0, 90)])) == 2


def test_what_is_too_small_is_not_looked_at():
    made = policy(positions=1, least=100.0)
    (nothing,) = see(made, 0, [(0, 0, 99)])
    assert isinstance(nothing, Nothing)
    assert nothing.threshold == 100.0


def test_it_waits_for_all_frames_of_an_object():
    made = policy(positions=1, frames=3)
    see(made, 0, [(0, 0, 80), (50, 0, 70)])
    waits = [see(made, 0, role="reaction")[0] for _ in range(2)]
    assert [w.state for w in waits] == ["zoom", "zoom"]
    assert isinstance(see(made, 0, role="reaction")[0], Acquire)
    assert isinstance(see(made, 0, role="reaction", skipped=2)[0], SwitchObjective)


def test_a_refused_visit_is_left_out_and_missing_frames_are_given_up():
    made = policy(positions=1)
    see(made, 0, [(0, 0, 80), (50, 0, 70), (90, 0, 60)])
    refused = Outcome(
        action_id="0.1", policy="zoomer", status="rejected", message="too far"
    )
    assert see(made, 0, outcomes=(refused,))[0].x_um == 57.0
    waits = [see(made, 0)[0] for _ in range(2)]
    assert {type(w) for w in waits} == {Nothing}, "the plan's fields come between"
    assert see(made, 0)[0].x_um == 97.0


def test_fields_seen_through_the_wrong_objective_do_not_count():
    made = policy(positions=2)
    see(made, 0, [(0, 0, 80)])
    (turn,) = see(made, 1, [(50, 0, 70)], objective="40x")
    assert turn.objective == "10x"
    assert len(see(made, 1, [(50, 0, 70)])) == 2


def test_an_objective_that_is_not_calibrated_is_refused():
    made = SurveyThenZoom(objective="63x")
    with pytest.raises(ConfigError, match="no calibrated objective 63x"):
        made.start(replace(CONTEXT, objectives=TURRET))
