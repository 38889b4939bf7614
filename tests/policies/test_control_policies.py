"""The two controls: they film as much as they are told, and look at nothing."""

from __future__ import annotations

import pytest
from sights import mitosis, outcome, see

from smartscope.core import Nothing, SetInterval, View
from smartscope.policies import PolicyContext, load_policy_class

FixedRate = load_policy_class("fixed_rate")
RandomTrigger = load_policy_class("random_trigger")


def started(policy, *, seed: int = 0, position: int = 0):
    view = View(position, "Camera")
    policy.start(PolicyContext(name="control", view=view, seed=seed))
    return policy


def fast_share(policy, *, until_s: float, slow_s: float) -> tuple[float, list[float]]:
    """Share of the time in which it films fast, seen as a run would, and the starts."""
    t_s = fast_s = 0.0
    interval, starts = None, []
    while t_s < until_s:
        for action in policy.react(see(t_s)):
            if isinstance(action, SetInterval):
                interval = action.interval_s
                if interval is not None:
                    starts.append(t_s)
        step = slow_s if interval is None else interval
        fast_s += 0.0 if interval is None else step
        t_s += step
    return fast_s / until_s, starts


def test_a_fixed_rate_is_set_once_and_never_again() -> None:
    policy = started(FixedRate(interval_s=0.5))
    actions = [a for t_s in range(20) for a in policy.react(see(t_s))]
    assert isinstance(actions[0], SetInterval)
    assert actions[0].interval_s == 0.5
    assert all(isinstance(a, Nothing) for a in actions[1:])
    assert len(actions) == 20


def test_without_an_interval_it_only_films() -> None:
    policy = started(FixedRate())
    (action,) = policy.react(see(0.0, events=(mitosis(1.0),)))
    assert isinstance(action, Nothing)


def test_a_share_is_filmed_like_a_clockwork() -> None:
    policy = started(FixedRate(interval_s=0.5, duty=0.25, period_s=20))
    share, starts = fast_share(policy, until_s=200, slow_s=1.0)
    assert share == pytest.approx(0.25, abs=0.05)
    assert starts == [20.0 * k for k in range(10)]


@pytest.mark.parametrize("duty", [0.05, 0.3, 0.7])
def test_the_random_films_take_the_share_they_are_given(duty) -> None:
    shares = []
    for seed in range(40):
        policy = started(RandomTrigger(duty=duty, lasts_s=8), seed=seed)
        shares.append(fast_share(policy, until_s=1500, slow_s=5.0)[0])
    # Were the delay until a film is noticed not made up for, this would be lower by
    # about a third of the slow interval over the length of a film.
    assert sum(shares) / len(shares) == pytest.approx(duty, rel=0.08)


@pytest.mark.parametrize(("duty", "share"), [(0.0, 0.0), (1.0, 1.0)])
def test_never_and_always(duty, share) -> None:
    policy = started(RandomTrigger(duty=duty))
    assert fast_share(policy, until_s=100, slow_s=1.0)[0] == share


def test_the_random_times_are_its_own_and_come_again() -> None:
    def starts(**where):
        policy = started(RandomTrigger(duty=0.2), **where)
        return fast_share(policy, until_s=2000, slow_s=1.0)[1]

    assert starts() == starts()
    assert starts() != starts(seed=1)
    assert starts() != starts(position=1)


def test_what_is_seen_changes_nothing() -> None:
    blind, tempted = started(RandomTrigger(duty=0.2)), started(RandomTrigger(duty=0.2))
    for t_s in range(300):
        plain = [type(a) for a in blind.react(see(t_s))]
        lured = [type(a) for a in tempted.react(see(t_s, events=(mitosis(1.0),)))]
        assert plain == lured


@pytest.mark.parametrize("made", [FixedRate(interval_s=1), RandomTrigger(duty=1)])
def test_what_was_not_carried_out_is_asked_for_again(made) -> None:
    policy = started(made)
    (first,) = policy.react(see(0.0))
    (quiet,) = policy.react(see(1.0))
    lost = see(2.0, outcomes=(outcome("control", "outbid"),))
    (again,) = policy.react(lost)
    assert isinstance(first, SetInterval)
    assert isinstance(quiet, Nothing)
    assert isinstance(again, SetInterval)
    assert again.interval_s == first.interval_s
