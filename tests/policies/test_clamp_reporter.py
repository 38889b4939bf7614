from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from smartscope.core import ConfigError, Nothing, Outcome, SetPower
from smartscope.policies import load_policy_class
from smartscope.testing import CONTEXT, cell, sight

ClampReporter = load_policy_class("clamp_reporter")


def policy(**parameters):
    made = ClampReporter(**{"line": "488", "target": 100.0, **parameters})
    made.start(CONTEXT)
    return made


def see(made, t_s, *levels, **more):
    tracks = [cell(n, 9.0 * n, 0.0, mean_Cy5=v) for n, v in enumerate(levels, 1)]
    (action,) = made.react(sight(t_s, tracks=tracks, **more))
    return action


def cells(made, *, gain=0.05, decay_s=100.0, every_s=5.0, until_s=2000.0):
    """Levels of cells that make `gain` a second and percent, and lose it again."""
    level, power, levels = 0.0, 0.0, []
    for k in range(int(until_s / every_s)):
        action = see(made, k * every_s, level)
        if isinstance(action, SetPower):
            power = action.power_percent
        level += every_s * (gain * power - level / decay_s)
        levels.append(level)
    return levels


@pytest.mark.parametrize("gain", [0.03, 0.05, 0.2])
def test_pid_holds_the_level_whatever_the_cells_make_of_the_light(gain):
    levels = cells(policy(integral_s=100.0), gain=gain)
    assert max(abs(v - 100) for v in levels[200:]) < 2
    assert max(levels) < 130


def test_bang_bang_holds_it_too_and_knows_two_powers():
    made = policy(method="bang-bang", band=0.1, min_percent=2.0, max_percent=60.0)
    levels = cells(made)
    assert max(abs(v - 100) for v in levels[100:]) < 20
    asked = {see(policy(method="bang-bang"), 0.0, v).power_percent for v in (1, 500)}
    assert asked == {0.0, 100.0}


def test_the_median_of_all_cells_or_one_of_them():
    low = see(policy(), 0.0, 20.0, 80.0, 400.0)
    assert "mean_Cy5 80, target 100" in low.reason
    one = policy(cells="one")
    assert "mean_Cy5 20, target" in see(one, 0.0, 20.0, 80.0, 400.0).reason
    moved = [cell(1, 90.0, 0.0, mean_Cy5=30.0), cell(2, 0.0, 0.0, mean_Cy5=90.0)]
    (action,) = one.react(sight(9.0, tracks=moved))
    assert "mean_Cy5 30, target" in action.reason, "it stays with its cell"


def test_without_a_cell_the_light_stays_and_later_falls():
    made = policy(blind_s=50.0)
    assert see(made, 0.0, 50.0).power_percent > 20
    assert see(made, 10.0).state == "blind"
    dark = see(made, 61.0)
    assert dark.power_percent == 0.0
    assert isinstance(see(made, 70.0), Nothing)
    assert isinstance(see(made, 80.0, math.nan), Nothing)


def test_a_refused_power_is_taken_back_and_a_spent_budget_stops_more():
    made = policy(integral_s=1e6)
    first = see(made, 0.0, 60.0)
    assert see(made, 5.0, 20.0).power_percent == pytest.approx(40, abs=0.1)
    lost = Outcome(action_id="1.0", policy="under_test", status="rejected")
    again = see(made, 10.0, 60.0, outcomes=(lost,))
    assert first.power_percent == pytest.approx(20, abs=0.1)
    assert isinstance(again, Nothing), "what holds is what it would ask for"
    spent = see(made, 15.0, 10.0, interlocks=("dose_budget",))
    assert spent.state == "dose budget"


def test_a_line_that_is_not_there_is_refused():
    made = ClampReporter(line="640", target=1.0)
    with pytest.raises(ConfigError, match="the rig has no light line 640"):
        made.start(CONTEXT)
    with pytest.raises(ValidationError, match="min_percent must be below"):
        ClampReporter(line="488", target=1.0, min_percent=50, max_percent=50)
