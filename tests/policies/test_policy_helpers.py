from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sights import cell

from smartscope.core import View
from smartscope.policies import (
    Cooldown,
    Debounce,
    Hysteresis,
    PolicyContext,
    RateLimiter,
    TrackMemory,
)

times = st.lists(st.floats(0, 3), min_size=1, max_size=60)
scores = st.floats(0, 1) | st.just(math.nan)


@given(
    steps=st.lists(st.tuples(st.floats(0, 3), scores), min_size=1, max_size=60),
    min_on_s=st.floats(0, 5),
    min_off_s=st.floats(0, 5),
)
def test_hysteresis_never_switches_before_its_time(steps, min_on_s, min_off_s):
    switch = Hysteresis(0.7, 0.3, min_on_s, min_off_s)
    t_s, was, since = 0.0, False, -math.inf
    for step, score in steps:
        t_s += step
        now = switch.update(score, t_s)
        if now != was:
            assert t_s - since >= (min_on_s if was else min_off_s) - 1e-9
            assert score >= 0.7 if now else not score >= 0.3
            since = t_s
        was = now


@given(steps=st.lists(st.tuples(st.floats(0, 3), scores), max_size=60))
def test_released_hysteresis_stays_off_until_the_score_was_low(steps):
    switch = Hysteresis(0.7, 0.3)
    switch.update(1.0, 0.0)
    switch.release(0.0)
    t_s, was_low = 0.0, False
    for step, score in steps:
        t_s += step
        was_low = was_low or not score >= 0.3
        assert not switch.update(score, t_s) or was_low


def test_hysteresis_refuses_thresholds_the_wrong_way_round():
    with pytest.raises(ValueError, match="must not be above on"):
        Hysteresis(on=0.3, off=0.7)


def test_hysteresis_says_how_long_it_must_stay():
    switch = Hysteresis(0.5, 0.5, min_on_s=10)
    assert switch.left_s(0) == 0
    switch.update(1, 5)
    assert (switch.since_s, switch.left_s(8), switch.left_s(99)) == (5, 7, 0)


@given(gaps=times, seconds=st.floats(0.1, 5))
def test_cooldown_keeps_its_distance(gaps, seconds):
    rest, t_s, taken = Cooldown(seconds), 0.0, []
    for gap in gaps:
        t_s += gap
        ready = rest.ready(t_s)
        assert ready == (rest.left_s(t_s) == 0)
        assert rest.take(t_s) == ready
        if ready:
            taken.append(t_s)
    assert all(b - a >= seconds - 1e-9 for a, b in pairwise(taken))
    assert len(taken) >= 1


@given(gaps=times, most=st.integers(1, 5), per_s=st.floats(0.5, 5))
def test_rate_limiter_window(gaps, most, per_s):
    few, t_s, taken = RateLimiter(most, per_s), 0.0, []
    for gap in gaps:
        t_s += gap
        recent = [t for t in taken if t_s - t < per_s]
        assert few.take(t_s) == (len(recent) < most)
        if len(recent) < most:
            taken.append(t_s)


@pytest.mark.parametrize(
    "wrong", [lambda: RateLimiter(0, 1), lambda: RateLimiter(1, 0)]
)
def test_rate_limiter_refuses_nonsense(wrong):
    with pytest.raises(ValueError, match="above 0"):
        wrong()


def test_debounce_refuses_nonsense():
    with pytest.raises(ValueError, match="1 or more"):
        Debounce(0)


def test_track_memory_forgets_who_is_gone():
    memory = TrackMemory[str]()
    for number in (1, 2, 3):
        memory.set(number, f"cell {number}")
    memory.keep([cell(1, 0, 0), cell(2, 0, 0, "ended"), cell(4, 0, 0)])
    assert [memory.get(n) for n in (1, 2, 3, 4)] == ["cell 1", None, None, None]
    assert len(memory) == 1


def test_random_numbers_are_the_same_in_a_replay_and_differ_between_instances():
    def draw(name, view, seed=1):
        return PolicyContext(name=name, view=view, seed=seed).rng().integers(2**62)

    here = View(0, "Camera")
    assert draw("a", here) == draw("a", here)
    drawn = {
        int(draw(*who))
        for who in [("a", here), ("b", here), ("a", View(1, "Camera")), ("a", None)]
    }
    drawn.add(int(draw("a", here, seed=2)))
    assert len(drawn) == 5
    assert isinstance(PolicyContext(seed=-3).rng(), np.random.Generator)
