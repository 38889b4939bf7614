from __future__ import annotations

import pytest
from pydantic import ValidationError

from smartscope.core import Nothing, Outcome, SetInterval
from smartscope.policies import load_policy_class
from smartscope.testing import CONTEXT, cell, sight

RevisitMosaic = load_policy_class("revisit_mosaic")


def policy(**parameters):
    made = RevisitMosaic(**parameters)
    made.start(CONTEXT)
    return made


def see(made, t_s, cells, **more):
    tracks = [cell(n, x, y, area_um2=a) for n, (x, y, a) in enumerate(cells, 1)]
    (action,) = made.react(sight(t_s, tracks=tracks, **more))
    return action


FIVE = [(20.0 * k, 0.0, 100.0) for k in range(5)]


def test_an_empty_field_is_left_to_the_plan():
    made = policy()
    action = see(made, 0, [])
    assert isinstance(action, Nothing)
    assert (action.state, action.score, action.threshold) == ("empty", 0.0, 1.0)


def test_what_appears_is_visited_soon_and_what_empties_is_given_back():
    made = policy(min_interval_s=7.0)
    assert see(made, 0, FIVE).interval_s == 7.0
    gone = see(made, 7, [])
    assert isinstance(gone, SetInterval)
    assert gone.interval_s is None
    assert isinstance(see(made, 300, []), Nothing)
    assert see(made, 600, FIVE[:1]).interval_s == 7.0


def test_what_does_not_change_is_visited_less_and_less():
    made = policy(min_interval_s=10.0, max_interval_s=70.0, pace=2.0)
    asked, t_s = [], 0.0
    for _ in range(6):
        action = see(made, t_s, FIVE)
        if isinstance(action, SetInterval):
            asked.append(action.interval_s)
        t_s += asked[-1]
    assert asked == [10.0, 20.0, 40.0, 70.0]
    assert isinstance(action, Nothing)
    assert (action.state, action.score) == ("visited", 0.0)


@pytest.mark.parametrize(
    ("changed", "interval_s"),
    [
        ([(0.0, 0.0, 100.0), *FIVE[1:]], 80.0),  # nothing: twice as long
        ([(0.0, 8.0, 100.0), *FIVE[1:]], 40.0),  # one of five moved: as it was
        ([(0.0, 0.0, 160.0), *FIVE[1:]], 40.0),  # one grew
        ([(x, y + 8.0, a) for x, y, a in FIVE], 20.0),  # all moved: half
        ([*FIVE, (0.0, 90.0, 100.0)], 80.0),  # one of eleven sights is new
    ],
)
def test_the_interval_follows_how_much_changed(changed, interval_s):
    made = policy(min_interval_s=1.0, change=0.2)
    see(made, 0, FIVE)
    action = see(made, 40, changed)
    assert action.interval_s == pytest.approx(interval_s)
    assert "objects changed in 40 s" in action.reason


def test_a_change_that_was_lost_is_asked_for_again():
    made = policy(min_interval_s=10.0, max_interval_s=10.0)
    assert isinstance(see(made, 0, FIVE), SetInterval)
    assert isinstance(see(made, 10, FIVE), Nothing)
    lost = Outcome(action_id="0.0", policy="under_test", status="outbid")
    assert isinstance(see(made, 20, FIVE, outcomes=(lost,)), SetInterval)


def test_small_objects_do_not_count_and_limits_are_ordered():
    made = policy(min_area_um2=150.0)
    assert see(made, 0, FIVE).state == "empty"
    with pytest.raises(ValidationError, match="max_interval_s must not be below"):
        RevisitMosaic(min_interval_s=20, max_interval_s=10)
