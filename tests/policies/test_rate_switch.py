from __future__ import annotations

import pytest
from pydantic import ValidationError
from sights import mitosis, outcome, see

from smartscope.core import Nothing, SetInterval, View
from smartscope.policies import PolicyContext, load_policy_class

RateSwitch = load_policy_class("rate_switch")


def started(**parameters):
    policy = RateSwitch(**parameters)
    policy.start(PolicyContext(name="rate_switch", view=View(0, "Camera")))
    return policy


def said(policy, t_s, *events, **more):
    """One word for what it does: the interval, ``baseline`` or the state."""
    actions = list(policy.react(see(t_s, events=events, **more)))
    assert len(actions) == 1, "exactly one answer to each observation"
    assert actions[0].reason
    if isinstance(actions[0], SetInterval):
        return actions[0].interval_s or "baseline"
    return actions[0].state


# (time, score) -> answer; None is "no event in sight".
CASES = {
    "an event starts it, its end stops it": (
        {"min_fast_s": 0},
        [(0, None, "slow"), (1, 0.6, 0.5), (2, 0.9, "fast"), (3, None, "baseline")],
    ),
    "exactly the threshold is enough": ({}, [(0, 0.5, 0.5)]),
    "just below is not": ({}, [(0, 0.49, "slow")]),
    "between the thresholds nothing changes": (
        {"min_fast_s": 0},
        [(0, 0.4, "slow"), (1, 0.6, 0.5), (2, 0.4, "fast"), (3, 0.29, "baseline")],
    ),
    "it stays fast for the minimum time": (
        {"min_fast_s": 5},
        [(0, 0.6, 0.5), (1, None, "fast"), (4.9, None, "fast"), (5, None, "baseline")],
    ),
    "the time limit ends it and it rearms at a low score only": (
        {"min_fast_s": 0, "max_fast_s": 3},
        [
            (0, 0.9, 0.5),
            (2, 0.9, "fast"),
            (3, 0.9, "baseline"),
            (4, 0.9, "cooling down"),
            (5, 0.1, "slow"),
            (6, 0.9, 0.5),
        ],
    ),
    "after the cool-down it starts again": (
        {"min_fast_s": 0, "cooldown_s": 10},
        [
            (0, 0.9, 0.5),
            (1, None, "baseline"),
            (5, 0.9, "cooling down"),
            (11, 0.9, 0.5),
        ],
    ),
    "its own interval": ({"fast_interval_s": 2}, [(0, 1.0, 2.0)]),
}


@pytest.mark.parametrize(("parameters", "story"), CASES.values(), ids=CASES.keys())
def test_story(parameters, story):
    policy = started(**parameters)
    for t_s, score, answer in story:
        events = () if score is None else (mitosis(score),)
        assert said(policy, t_s, *events) == answer, f"at {t_s} s"


def test_an_event_reported_as_ended_is_over():
    policy = started(min_fast_s=0)
    said(policy, 0, mitosis(0.9, "onset"))
    assert said(policy, 1, mitosis(0.9, "ended")) == "baseline"


def test_other_kinds_of_event_do_not_trigger():
    policy = started(trigger="apoptosis")
    assert said(policy, 0, mitosis(1.0)) == "slow"


def test_the_strongest_event_is_the_cause():
    policy = started()
    seen = see(0, events=(mitosis(0.6, event_id=1), mitosis(0.8, event_id=2)))
    (action,) = policy.react(seen)
    assert (action.event_id, action.track_id) == (2, 5)
    assert action.reason == "mitosis score 0.80 reached 0.5"


def test_a_non_event_is_explained():
    policy = started()
    (action,) = policy.react(see(0, events=(mitosis(0.2),)))
    assert action == Nothing(
        reason="strongest mitosis score 0.20, below 0.5",
        score=0.2,
        threshold=0.5,
        state="slow",
    )


@pytest.mark.parametrize("status", ["outbid", "expired", "failed"])
def test_a_change_that_was_not_carried_out_is_asked_for_again(status):
    policy = started()
    said(policy, 0, mitosis(0.9))
    lost = (outcome("rate_switch", status),)
    assert said(policy, 1, mitosis(0.9), outcomes=lost) == 0.5
    assert said(policy, 2, mitosis(0.9)) == "fast"


@pytest.mark.parametrize(
    ("policy_name", "status"),
    [("rate_switch", "rejected"), ("rate_switch", "scheduled"), ("other", "outbid")],
)
def test_it_does_not_nag(policy_name, status):
    policy = started()
    said(policy, 0, mitosis(0.9))
    seen = (outcome(policy_name, status),)
    assert said(policy, 1, mitosis(0.9), outcomes=seen) == "fast"


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"on_score": 0.2}, "off_score must not be above on_score"),
        ({"max_fast_s": 1}, "max_fast_s must not be below min_fast_s"),
    ],
)
def test_parameters_that_contradict_each_other(wrong, text):
    with pytest.raises(ValidationError, match=text):
        RateSwitch(**wrong)
