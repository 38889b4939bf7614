"""The alpha-beta filter: straight lines, noise, gaps."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import smartscope.policies._helpers_forecast as helpers
from smartscope.policies import Forecast


def test_the_examples_in_the_documentation():
    found = doctest.testmod(helpers)
    assert (found.failed, found.attempted) == (0, 4)


@given(
    start=st.floats(-100, 100),
    speed=st.floats(-50, 50),
    gaps=st.lists(st.floats(0.01, 10), min_size=2, max_size=30),
    memory_s=st.floats(0, 20),
)
def test_a_straight_line_is_predicted_exactly(start, speed, gaps, memory_s):
    forecast, t_s = Forecast(memory_s), 0.0
    forecast.update(t_s, start)
    for gap in gaps:
        t_s += gap
        forecast.update(t_s, start + speed * t_s)
    (where,) = forecast.predict(t_s + 3)
    assert where == pytest.approx(start + speed * (t_s + 3), rel=1e-6, abs=1e-6)


def errors(memory_s, rng, turn=False):
    """Distance of the prediction one frame ahead, over a noisy path."""
    forecast, off = Forecast(memory_s), []
    for frame in range(200):
        t_s = frame * 0.5
        x_um = 20 * math.sin(t_s / 2) if turn else 4 * t_s
        if frame > 20:
            off.append(abs(forecast.predict(t_s)[0] - x_um))
        forecast.update(t_s, x_um + rng.normal(0, 1.0))
    return np.mean(off)


def test_a_long_memory_smooths_noise_and_a_short_one_follows_turns():
    rng = np.random.default_rng(4)
    assert errors(5.0, rng) < 0.5 * errors(0.0, rng)
    assert errors(0.5, rng, turn=True) < 0.5 * errors(5.0, rng, turn=True)


def test_it_follows_a_turn():
    forecast = Forecast(memory_s=1)
    for t_s in range(10):
        forecast.update(t_s, 0.0)
    for t_s in range(10, 30):
        forecast.update(t_s, 5.0 * (t_s - 10))
    assert forecast.velocity[0] == pytest.approx(5.0, rel=1e-3)


def test_before_any_sight_there_is_nothing():
    forecast = Forecast(1.0)
    assert (forecast.position, forecast.predict(5.0)) == ((), ())
    forecast.update(2.0, 7.0, -7.0)
    assert forecast.predict(100.0) == (7.0, -7.0)


def test_two_sights_of_one_time_are_averaged_and_old_ones_left_out():
    forecast = Forecast(1.0)
    for t_s, x_um in ((0, 0.0), (1, 1.0), (1, 3.0), (0.5, 99.0)):
        forecast.update(t_s, x_um)
    assert (forecast.position, forecast.velocity) == ((2.0,), (1.0,))


def test_nan_is_left_out_and_the_line_goes_on():
    forecast = Forecast(1.0)
    for t_s, y_um in ((0, 0.0), (1, 2.0), (2, math.nan), (3, 6.0)):
        forecast.update(t_s, y_um / 2, y_um)
    assert forecast.predict(4.0) == pytest.approx((4.0, 8.0))


def test_after_a_gap_it_begins_anew():
    forecast = Forecast(1.0, max_gap_s=5)
    for t_s in (0, 1, 2, 60):
        forecast.update(t_s, 10.0 * t_s)
    assert forecast.predict(61) == (600.0,)
    forecast.restart()
    assert forecast.position == ()
    forecast.update(0.0, 1.0)
    assert forecast.position == (1.0,)


def test_it_refuses_nonsense():
    forecast = Forecast(1.0)
    forecast.update(0, 1.0)
    with pytest.raises(ValueError, match="1 coordinates, got 2"):
        forecast.update(1, 1.0, 2.0)
    for wrong in ((-1.0, 1.0), (1.0, 0.0), (math.nan, 1.0)):
        with pytest.raises(ValueError, match="memory_s must be 0 or more"):
            Forecast(*wrong)
