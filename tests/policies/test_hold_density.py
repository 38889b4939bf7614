from __future__ import annotations

import math

import numpy as np
import pytest
from pydantic import ValidationError

from smartscope.core import ConfigError, Nothing, Outcome, SetPower
from smartscope.policies import load_policy_class
from smartscope.testing import CONTEXT, cell, sight

HoldDensity = load_policy_class("hold_density")
AREA_UM2 = 101 * 101 * 0.25


def policy(**parameters):
    made = HoldDensity(**{"line": "405", "target_per_um2": 0.02, **parameters})
    made.start(CONTEXT)
    return made


def see(made, t_s, emitters, power=1.0, **more):
    tracks = [cell(n + 1, 0.1 * n, 0.0) for n in range(emitters)]
    return next(
        iter(made.react(sight(t_s, tracks=tracks, power={"405": power}, **more)))
    )


def molecules(made, *, per_percent, used=0.0, seconds=120.0, dt_s=0.5):
    """Emitters per um2 in frames of labels that `used` of them wear out each second."""
    rng = np.random.default_rng(2)
    power, left, seen = 1.0, 1.0, []
    for k in range(int(seconds / dt_s)):
        density = per_percent * power * left
        left -= used * density * dt_s
        emitters = int(rng.poisson(density * AREA_UM2))
        action = see(made, k * dt_s, min(emitters, 400), power)
        if isinstance(action, SetPower):
            power = action.power_percent
        seen.append(density)
    return np.array(seen), power


@pytest.mark.parametrize("per_percent", [0.0005, 0.004, 0.05])
def test_the_density_comes_to_the_target_wherever_it_begins(per_percent):
    seen, _ = molecules(policy(), per_percent=per_percent)
    assert np.mean(seen[60:]) == pytest.approx(0.02, rel=0.1)
    assert np.std(seen[60:]) < 0.004
    assert seen.max() < 0.06


def test_it_is_held_while_the_labels_are_used_up():
    seen, power = molecules(policy(), per_percent=0.01, used=0.4, seconds=100.0)
    assert power > 7, "three quarters of the labels are gone"
    assert np.mean(seen[160:]) == pytest.approx(0.02, rel=0.15)


def test_spent_labels_are_told_and_do_not_wind_up():
    made = policy(max_percent=20.0)
    for k in range(100):
        last = see(made, float(k), 0, 20.0 if k > 5 else 1.0)
    assert (last.state, last.threshold) == ("at maximum", 0.02)
    back = [see(made, 100.0 + k, 400, 20.0) for k in range(4)]
    assert any(isinstance(a, SetPower) and a.power_percent < 15 for a in back)


def test_a_refused_power_is_taken_back_and_a_spent_budget_stops_more():
    made = policy(smooth_s=0.0)
    asked = see(made, 0.0, 5, 1.0)
    assert asked.power_percent > 1
    lost = Outcome(action_id="0.0", policy="under_test", status="rejected")
    again = see(made, 0.5, 5, 1.0, outcomes=(lost,))
    assert 1.0 < again.power_percent < asked.power_percent, "it goes on from 1 %"
    spent = see(made, 1.0, 1, 1.0, interlocks=("dose_budget",))
    assert spent.state == "dose budget"


def test_frames_of_other_channels_and_moving_ones_say_nothing():
    made = policy(channel="FITC")
    assert not list(made.react(sight(0.0, channel="DAPI")))
    assert see(made, 0.0, 5, moving=True).state == "blind"
    assert isinstance(see(policy(step=1e6), 0.0, 5), Nothing)


def test_a_line_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match="no light line 640"):
        HoldDensity(line="640").start(CONTEXT)
    with pytest.raises(ValidationError, match="min_percent must be below"):
        HoldDensity(line="405", min_percent=5, max_percent=5)
    assert math.isfinite(policy()._loop.output)
