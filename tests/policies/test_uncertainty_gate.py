from __future__ import annotations

import pytest

from smartscope.core import Acquire, Nothing
from smartscope.policies import load_policy_class
from smartscope.testing import CONTEXT, cell, event, sight

UncertaintyGate = load_policy_class("uncertainty_gate")


def policy(**parameters):
    made = UncertaintyGate(**{"feature": "p", "cooldown_s": 0.0, **parameters})
    made.start(CONTEXT)
    return made


def see(made, t_s, *values, **more):
    tracks = [cell(n, 9.0 * n, 0.0, p=v) for n, v in enumerate(values, 1)]
    (action,) = made.react(sight(t_s, tracks=tracks, **more))
    return action


def test_clear_cases_cost_nothing_and_doubts_do():
    made = policy(exposure_ms=200, channel="DAPI", z_offsets_um=[-1, 1], frames=2)
    sure = see(made, 0.0, 0.1, 0.29, 0.71, 0.95, float("nan"))
    assert (sure.state, sure.score, sure.threshold) == ("sure", 0.0, 1.0)
    dear = see(made, 1.0, 0.1, 0.5, 0.9)
    assert (dear.channel, dear.exposure_ms, dear.frames) == ("DAPI", 200, 2)
    assert dear.z_offsets_um == (-1, 1)
    assert dear.track_id == 2


def test_what_has_got_its_picture_is_settled_for_a_while():
    made = policy(settled_s=100.0)
    assert isinstance(see(made, 0.0, 0.5), Acquire)
    assert isinstance(see(made, 50.0, 0.5), Nothing)
    assert see(made, 60.0, 0.5, 0.6).track_id == 2, "another one is not"
    assert isinstance(see(made, 101.0, 0.5), Acquire)


def test_enough_doubts_a_rest_and_a_limit():
    made = policy(least_objects=2, cooldown_s=10.0, most=2, settled_s=0.0)
    assert see(made, 0.0, 0.5).state == "sure"
    assert isinstance(see(made, 1.0, 0.5, 0.4), Acquire)
    assert see(made, 5.0, 0.5, 0.4).state == "resting"
    assert isinstance(see(made, 11.0, 0.5, 0.4), Acquire)
    assert see(made, 30.0, 0.5, 0.4).state == "spent"
    spent = see(policy(), 0.0, 0.5, interlocks=("dose_budget",))
    assert "budget" in spent.reason


def test_the_score_of_an_event_may_be_the_doubt():
    made = policy(feature="mitosis")
    told = see(made, 0.0, 0.5, events=(event("mitosis", 0.5, track_id=1),))
    assert told.track_id == 1
    over = event("mitosis", 0.5, "ended", track_id=1)
    assert isinstance(see(policy(feature="mitosis"), 0.0, 0.5, events=(over,)), Nothing)


def test_its_own_pictures_and_other_channels_are_not_judged():
    made = policy(watch="FITC")
    assert not list(
        made.react(sight(0.0, role="reaction", tracks=[cell(1, 0, 0, p=0.5)]))
    )
    assert not list(
        made.react(sight(0.0, channel="DAPI", tracks=[cell(1, 0, 0, p=0.5)]))
    )
    with pytest.raises(ValueError, match="low must be below high"):
        policy(low=0.9)
