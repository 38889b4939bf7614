from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rigs import experiment, rig

from smartscope.core import (
    ConfigError,
    mw_to_value,
    percent_to_value,
    value_to_mw,
    value_to_percent,
)
from smartscope.safety import channel_powers, mw_to_percent, percent_to_mw

POINTS = ((0.0, 0.0), (4.0, 2.0), (10.0, 12.0))
LINE = rig().light["488"]


@pytest.mark.parametrize(
    ("percent", "value", "mw"),
    [(0, 0, 0), (20, 2, 1), (40, 4, 2), (70, 7, 7), (100, 10, 12)],
)
def test_the_three_units(percent, value, mw):
    assert percent_to_value(percent, 0, 10) == value
    assert value_to_percent(value, 0, 10) == percent
    assert value_to_mw(value, POINTS) == mw
    assert mw_to_value(mw, POINTS) == value
    assert percent_to_mw(LINE, percent, "10x") == mw
    assert mw_to_percent(LINE, mw, "10x") == pytest.approx(percent)


def test_a_range_that_does_not_begin_at_zero():
    assert percent_to_value(25, -2, 2) == -1
    assert value_to_percent(-1, -2, 2) == 25


@given(
    steps=st.lists(
        st.tuples(st.floats(0.01, 5), st.floats(0, 5)), min_size=1, max_size=6
    ),
    part=st.floats(0, 1),
)
@example(steps=[(0.49975076672874674, 0.876953125)], part=1.0)
def test_there_and_back(steps, part):
    points = [(0.0, 0.5)]
    for dv, dp in steps:
        points.append((points[-1][0] + dv, points[-1][1] + dp))
    power = points[0][1] + (points[-1][1] - points[0][1]) * part
    value = mw_to_value(power, points)
    assert value_to_mw(value, points) == pytest.approx(power, rel=1e-6, abs=1e-9)
    # It is the lowest such value.
    assert value <= points[-1][0]
    lower = value - 1e-3
    if lower >= 0:
        assert value_to_mw(lower, points) <= power + 1e-9


def test_a_plateau_gives_its_lowest_value():
    assert mw_to_value(2.0, ((0, 0), (1, 2), (5, 2), (6, 9))) == 1.0


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: percent_to_value(101, 0, 10), "101 % is not between 0 and 100 %"),
        (lambda: percent_to_value(float("nan"), 0, 10), "nan % is not between"),
        (
            lambda: value_to_mw(10.1, POINTS),
            "10.1 is outside of the calibrated 0 to 10",
        ),
        (
            lambda: value_to_mw(-0.1, POINTS),
            "-0.1 is outside of the calibrated 0 to 10",
        ),
        (
            lambda: mw_to_value(12.5, POINTS),
            "12.5 mW is outside of the calibrated 0 to 12",
        ),
        (lambda: mw_to_value(float("nan"), POINTS), "nan mW is outside"),
        (lambda: mw_to_value(1, ((0, 0), (1, 2), (2, 1))), "falls somewhere"),
        (
            lambda: percent_to_mw(LINE, 10, "20x"),
            "no power calibration for objective 20x",
        ),
        (
            lambda: percent_to_mw(rig().light["561"], 10, None),
            "no power calibration for this objective",
        ),
    ],
)
def test_refusals(call, said):
    with pytest.raises(ValueError, match=said):
        call()


def test_more_than_the_range_gives():
    line = LINE.model_copy(update={"range": (0.0, 5.0)})
    with pytest.raises(ValueError, match="12 mW would take 200 % of the range"):
        mw_to_percent(line, 12, "10x")


def test_without_a_turret_the_only_calibration_holds():
    assert percent_to_mw(LINE, 20, None) == 1


def test_powers_of_a_channel():
    asked = experiment(light={"FITC": {488: {"power_mw": 2}}})
    assert channel_powers(rig(), asked, "FITC", "10x") == {"488": 40.0, "561": 0.0}
    assert channel_powers(rig(), asked, None, "10x") == {"488": 0.0, "561": 0.0}
    assert channel_powers(rig(light={}), asked, "DAPI", None) == {}


def test_no_light_is_no_light_also_where_the_calibration_begins_higher():
    bright = (
        rig()
        .light["488"]
        .model_copy(update={"calibration": {"10x": ((1.0, 1.0), (10.0, 12.0))}})
    )
    stand = rig().model_copy(update={"light": {"488": bright}})
    asked = experiment(light={"FITC": {488: {"power_mw": 0}}})
    assert channel_powers(stand, asked, "FITC", "10x") == {"488": 0.0}


@pytest.mark.parametrize(
    ("light", "said"),
    [
        (
            {"DAPI": {}},
            "light: channel FITC is planned, but nothing says how strong its light is; "
            "add 'light: {FITC: {'488': {power_percent: 10}}}'",
        ),
        (
            {"FITC": {489: {"power_percent": 1}}},
            "light.FITC.489: the rig has no light line 489; did you mean '488'?",
        ),
        (
            {"FITC": {488: {"power_mw": 13}}},
            "light.FITC.488.power_mw: 13 mW is outside of the calibrated 0 to 12 mW; "
            "use power_percent, or calibrate the line in rig 'stand'",
        ),
        (
            {"FITC": {561: {"power_mw": 1}}},
            "light.FITC.561.power_mw: there is no power calibration for objective 10x; "
            "use power_percent, or calibrate the line in rig 'stand'",
        ),
    ],
)
def test_powers_that_cannot_be(light, said):
    with pytest.raises(ConfigError) as caught:
        channel_powers(rig(), experiment(light=light), "FITC", "10x")
    assert str(caught.value) == said
