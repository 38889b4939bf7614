from __future__ import annotations

from dataclasses import replace

import pytest

from smartscope.core import Acquire, ConfigError, Outcome
from smartscope.policies import load_policy_class
from smartscope.testing import CONTEXT, event, sight

LabelFree = load_policy_class("label_free_then_fluorescence")
GENTLE = replace(CONTEXT, channels=("Brightfield",))


def policy(**parameters):
    made = LabelFree(**{"channel": "FITC", "interval_s": 10.0, **parameters})
    made.start(GENTLE)
    return made


def see(made, t_s, score=None, **more):
    events = () if score is None else (event("rounding", score),)
    (action,) = made.react(sight(t_s, events=events, channel="Brightfield", **more))
    return action


def test_fluorescence_while_the_event_lasts_and_no_longer():
    made = policy(exposure_ms=30, z_offsets_um=[-1, 1])
    scores = [None, 0.4, 0.6, 0.6, 0.4, 0.35, 0.2, 0.4]
    told = [see(made, 5.0 * k, score) for k, score in enumerate(scores)]
    kinds = [type(a) is Acquire for a in told]
    assert kinds == [False, False, True, False, True, False, False, False]
    assert (told[2].channel, told[2].exposure_ms, told[2].frames) == ("FITC", 30, 1)
    assert told[2].z_offsets_um == (-1, 1)
    assert [a.state for a in told if not isinstance(a, Acquire)] == [
        "watching", "watching", "filming", "filming", "watching", "watching",
    ]  # fmt: skip
    assert told[1].threshold == 0.5
    assert told[3].threshold == 0.3


def test_several_frames_at_a_time_and_no_more_than_allowed():
    made = policy(frames=3, interval_s=2.0, max_frames=5)
    asked = [a for k in range(20) if isinstance(a := see(made, 2.0 * k, 0.9), Acquire)]
    assert [(a.frames, a.interval_s) for a in asked] == [(3, 2.0), (2, 2.0)]
    assert see(made, 60.0, 0.9).state == "spent"


def test_what_was_lost_is_asked_for_again():
    made = policy(max_frames=1)
    assert isinstance(see(made, 0.0, 0.9), Acquire)
    lost = Outcome(action_id="0.0", policy="under_test", status="outbid")
    assert isinstance(see(made, 1.0, 0.9, outcomes=(lost,)), Acquire)
    assert see(made, 20.0, 0.9).state == "spent"


def test_fluorescence_frames_say_nothing_about_the_event():
    made = policy()
    see(made, 0.0, 0.9)
    (own,) = made.react(sight(1.0, channel="FITC"))
    assert own.state == "waiting"
    assert isinstance(see(made, 10.0, 0.9), Acquire), "the event still lasts"


def test_a_spent_budget_and_a_plan_that_is_not_gentle():
    assert see(policy(), 0.0, 0.9, interlocks=("dose_budget",)).state == "spent"
    made = LabelFree(channel="DAPI")
    with pytest.raises(ConfigError, match="DAPI is a channel of the plan"):
        made.start(CONTEXT)
    with pytest.raises(ValueError, match="off_score must not be above"):
        LabelFree(channel="FITC", off_score=0.9)
