from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from smartscope.core import Nothing, Outcome, SetInterval
from smartscope.policies import load_policy_class
from smartscope.testing import CONTEXT, cell, sight

DosePlanner = load_policy_class("dose_planner")


def policy(**parameters):
    found = {"frames": 100, "duration_s": 1000.0, "max_interval_s": 50.0, **parameters}
    made = DosePlanner(**found)
    made.start(CONTEXT)
    return made


def film(made, speed_um_s, *, until_s=1000.0):
    """Times of frames, of a cell with this speed at each moment."""
    t_s, x_um, interval_s, times = 0.0, 0.0, 10.0, []
    while t_s < until_s:
        times.append(t_s)
        (action,) = made.react(sight(t_s, tracks=[cell(1, x_um, 0.0, area_um2=80.0)]))
        if isinstance(action, SetInterval):
            interval_s = action.interval_s or 50.0
        for _ in range(10):
            x_um += speed_um_s(t_s) * interval_s / 10
            t_s += interval_s / 10
    return times


def test_the_same_change_gives_an_even_rate_that_uses_the_budget():
    times = film(policy(), lambda t_s: 0.2)
    assert len(times) == pytest.approx(100, abs=4)
    gaps = [b - a for a, b in pairwise(times)]
    assert max(gaps) < 1.6 * min(gaps)


def test_the_frames_go_where_the_change_is():
    def speed(t_s):
        return 1.0 if 400 < t_s < 600 else 0.1

    times = film(policy(), speed)
    assert 70 <= len(times) <= 104
    fast = sum(400 < t < 600 for t in times) / 200
    slow = sum(not 400 < t < 600 for t in times) / 800
    assert fast > 2.9 * slow
    even = film(policy(eagerness=0.0), speed)
    assert sum(400 < t < 600 for t in even) < 25


def test_an_early_burst_leaves_enough_for_the_longest_interval_to_the_end():
    eager = policy(eagerness=3.0, min_interval_s=2.0)
    times = film(eager, lambda t_s: 1.0 if 100 < t_s < 400 else 0.1)
    assert sum(100 < t < 400 for t in times) > 60
    assert 80 <= len(times) <= 101
    assert max(np.diff(times)) < 50.1


def test_a_change_of_the_feature_counts_as_well():
    def second(area_um2):
        made = policy()
        list(made.react(sight(0.0, tracks=[cell(1, 0.0, 0.0, area_um2=80.0)])))
        list(made.react(sight(20.0, tracks=[cell(1, 2.0, 0.0, area_um2=area_um2)])))
        return made._rate

    assert second(80.0) == pytest.approx(1 / 20)
    assert second(80 * math.exp(0.2)) == pytest.approx(2 / 20)


def test_a_spent_budget_leaves_the_plan_alone():
    made = policy(frames=3, duration_s=60.0)
    told = [next(iter(made.react(sight(20.0 * k)))) for k in range(4)]
    assert [type(a) for a in told] == [SetInterval, SetInterval, Nothing, Nothing]
    assert told[0].interval_s == 25.0
    assert told[1].gives_back
    assert "3 of 3" in told[2].reason
    assert told[3].state == "spent"


def test_frames_never_come_shortly_before_those_of_the_plan():
    made, t_s, x_um = policy(eagerness=2.0), 0.0, 0.0
    asked = set()
    for k in range(200):
        x_um += 1 + k % 7
        t_s += 5.0
        (action,) = made.react(sight(t_s, tracks=[cell(1, x_um, 0.0, area_um2=80.0)]))
        if isinstance(action, SetInterval) and action.interval_s is not None:
            asked.add(action.interval_s)
    assert len(asked) >= 3
    assert all(50 / one_s == pytest.approx(round(50 / one_s)) for one_s in asked)


def test_what_was_refused_is_asked_for_again():
    made = policy()
    (first,) = made.react(sight(0.0))
    lost = Outcome(action_id="0.0", policy="under_test", status="outbid")
    (again,) = made.react(sight(10.0, outcomes=(lost,)))
    assert isinstance(first, SetInterval)
    assert isinstance(again, SetInterval)
    with pytest.raises(ValueError, match="must not be above"):
        policy(min_interval_s=100.0)
