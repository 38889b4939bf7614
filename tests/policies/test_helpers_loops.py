"""Controllers: they reach the setpoint, keep their limits, and never wind up."""

from __future__ import annotations

import copy
import doctest
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

import smartscope.policies._helpers_loops as helpers
from smartscope.policies import PID, BangBang

number = st.floats(-1e6, 1e6)


def pid(**more):
    return PID(**{"setpoint": 10, "kp": 0, "lowest": -100, "highest": 100, **more})


def test_the_examples_in_the_documentation():
    found = doctest.testmod(helpers)
    assert (found.failed, found.attempted) == (0, 6)


def test_each_part_in_its_own_unit():
    assert pid(kp=2).update(7, 0) == 6
    integral = pid(ki=0.5)
    assert [integral.update(6, t) for t in (0, 1, 3)] == [0, 2, 6]
    rate = pid(kd=3)
    assert [rate.update(m, t) for m, t in ((1, 0), (5, 2), (5, 3))] == [0, -6, 0]


def test_a_new_setpoint_gives_no_kick_of_the_derivative():
    loop = pid(kd=3)
    loop.update(5, 0)
    loop.setpoint = 50
    assert loop.update(5, 1) == 0


def test_the_rate_is_smoothed():
    loop = pid(kd=-1, smooth_s=1)
    loop.update(0, 0)
    assert loop.update(4, 1) == 2  # half of the way in one time constant's step
    assert loop.update(4, 2) == 1


def test_no_time_between_two_sights():
    loop = pid(kp=1, ki=1, kd=1)
    first = loop.update(4, 1)
    assert loop.update(4, 1) == first
    assert loop.update(6, 1) == 4  # only the proportional part
    assert loop.update(6, 0.5) == 4, "older sights count as no time"


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_changes_nothing(wrong):
    loop, same = pid(kp=1, ki=1, kd=1), pid(kp=1, ki=1, kd=1)
    for t_s, measured in enumerate((4, 5, 6)):
        assert loop.update(measured, t_s) == same.update(measured, t_s)
        assert loop.update(wrong, t_s + 0.5) == loop.output
    assert loop.update(7, 3) == same.update(7, 3)


def test_a_gap_adds_nothing():
    loop = pid(ki=1, kd=1, max_gap_s=10)
    loop.update(9, 0)
    assert loop.update(9, 1) == 1
    assert loop.update(5, 1000) == 1
    assert loop.update(5, 1001) == 6


def test_it_does_not_wind_up():
    loop = pid(ki=1, lowest=0, highest=20)
    for t_s in range(100):
        loop.update(0, t_s)  # cannot be reached
    assert loop.output == 20
    assert loop.update(12, 100) == 18, "it answers at once, not after 40 steps"


def test_a_loop_that_winds_up_would_fail_the_test_above():
    class Winding(PID):
        def _integrate(self, step, rest):
            self._integral += step

    loop = Winding(10, 0, 1, lowest=0, highest=20)
    for t_s in range(100):
        loop.update(0, t_s)
    assert loop.update(12, 100) == 20


@given(
    gains=st.tuples(number, number, number),
    seen=st.lists(
        st.tuples(number | st.just(math.nan), st.floats(0, 1e4)), max_size=30
    ),
)
def test_the_output_is_finite_and_within_its_limits(gains, seen):
    loop, t_s = pid(kp=gains[0], ki=gains[1], kd=gains[2], lowest=-3, highest=7), 0.0
    for measured, dt_s in seen:
        t_s += dt_s
        assert -3 <= loop.update(measured, t_s) <= 7


def test_somebody_else_takes_over_without_a_jump():
    loop = pid(kp=1, ki=1, start=0)
    loop.update(6, 0)
    loop.take_over(50)
    assert loop.output == 50
    assert loop.update(6, 1) == 54
    loop.take_over(1e9)
    assert loop.output == 100


@pytest.mark.parametrize("wrong", [{"lowest": 200}, {"smooth_s": -1}, {"max_gap_s": 0}])
def test_pid_refuses_nonsense(wrong):
    with pytest.raises(ValueError, match="must"):
        pid(**wrong)


@pytest.mark.parametrize("gain", [5.0, -5.0])
def test_it_holds_a_level_that_decays(gain):
    """A first-order sample, answering up or down: the level settles at the setpoint."""
    sign = math.copysign(1, gain)
    loop = PID(sign * 10, sign * 0.2, sign * 0.02, lowest=0, highest=10)
    level = 0.0
    for t_s in range(400):
        power = loop.update(level, t_s)
        level += (gain * power - level) / 10
    assert level == pytest.approx(sign * 10, rel=1e-3)


def test_bang_bang_switches_at_the_edges_of_its_band():
    relay = BangBang(10, band=2, low=1, high=5)
    seen = (10, 9.1, 9, 10.9, 11, 11.1, 9.5)
    assert [relay.update(m, t) for t, m in enumerate(seen)] == [1, 1, 5, 5, 5, 1, 1]


def test_bang_bang_the_other_way_round():
    cooler = BangBang(10, band=2, raises=False)
    assert [cooler.update(m, t) for t, m in enumerate((10, 11, 10, 8.9))] == [
        0,
        1,
        1,
        0,
    ]


def test_bang_bang_dwells_and_keeps_still_on_nan():
    relay = BangBang(10, band=0, min_dwell_s=5)
    seen = ((5, 0), (15, 1), (math.nan, 4), (15, 5), (5, 6), (5, 10))
    assert [relay.update(m, t) for m, t in seen] == [1, 1, 1, 0, 0, 1]
    with pytest.raises(ValueError, match="band must be 0 or more"):
        BangBang(1, band=math.nan)


def test_a_copy_goes_on_by_itself():
    for loop in (pid(ki=1), BangBang(10, 1)):
        loop.update(3, 0)
        twin = copy.deepcopy(loop)
        loop.update(30, 5)
        assert twin.update(3, 1) != loop.output
