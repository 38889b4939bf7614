from __future__ import annotations

import math

import pytest
from sights import cell, see

from smartscope.core import ConfigError, Nothing, SetPower, View
from smartscope.policies import PolicyContext, load_policy_class

HoldSignal = load_policy_class("hold_signal")


def started(*, highest=100.0, **parameters):
    policy = HoldSignal(**{"line": "488", "target": 10, **parameters})
    policy.start(PolicyContext(name="hold", lines={"488": highest}))
    return policy


def sight(signal, power, **more):
    measured = {} if signal is None else {"signal_to_noise": signal}
    return see(power={"488": power}, measurements=measured, **more)


def only(policy, seen):
    (action,) = policy.react(seen)
    assert action.reason
    return action


# parameters, signal, power -> new power, or the state in which it stays
CASES = {
    "weak: raised in proportion": ({}, 9.0, 10.0, 10 * 10 / 9),
    "strong: lowered in proportion": ({}, 11.0, 10.0, 10 * 10 / 11),
    "never more than max_step up": ({}, 1.0, 10.0, 12.5),
    "never more than max_step down": ({}, 100.0, 10.0, 8.0),
    "gain 2": ({"gain": 2}, 9.5, 10.0, 10 * (10 / 9.5) ** 2),
    "close enough": ({}, 9.6, 10.0, "holding"),
    "just not close enough": ({}, 9.5, 10.0, 10 * 10 / 9.5),
    "up to max_percent": ({"max_percent": 10.5}, 9.0, 10.0, 10.5),
    "up to the line's limit": ({"highest": 10.5}, 9.0, 10.0, 10.5),
    "and not beyond": ({"highest": 10.0}, 9.0, 10.0, "at maximum"),
    "down to min_percent": ({"min_percent": 9.5}, 12.0, 10.0, 9.5),
    "and not below": ({"min_percent": 10}, 12.0, 10.0, "at minimum"),
    "above the limit comes down to it": ({"highest": 8.0}, 5.0, 10.0, 8.0),
    "nothing measured": ({}, None, 10.0, "no signal"),
    "not a number": ({}, math.nan, 10.0, "no signal"),
    "no signal at all": ({}, 0.0, 10.0, "no signal"),
    "the line was off": ({}, 5.0, 0.0, "off"),
}


@pytest.mark.parametrize(
    ("parameters", "signal", "power", "wanted"), CASES.values(), ids=CASES.keys()
)
def test_one_sight(parameters, signal, power, wanted):
    action = only(started(**parameters), sight(signal, power))
    if isinstance(wanted, str):
        assert isinstance(action, Nothing)
        assert action.state == wanted
    else:
        assert isinstance(action, SetPower)
        assert action.line == "488"
        assert action.power_percent == pytest.approx(wanted)


def test_it_says_why():
    action = only(started(), sight(8.0, 20.0))
    assert action.reason == "signal_to_noise 8, target 10: raised from 20 to 25 %"


def test_a_spent_dose_budget_stops_raising_but_not_lowering():
    policy = started()
    spent = {"interlocks": ("dose_budget",)}
    action = only(policy, sight(8.0, 20.0, **spent))
    assert action.state == "dose budget"
    assert only(policy, sight(12.0, 20.0, **spent)).power_percent < 20
    assert isinstance(only(policy, sight(8.0, 20.0, interlocks=("disk",))), SetPower)


def test_an_old_frame_asks_for_the_same_power_again():
    policy = started()
    asked = {only(policy, sight(8.0, 20.0)).power_percent for _ in range(5)}
    assert asked == {25.0}


def bleach(policy, *, exponent, delay):
    """Signals and powers over 120 frames in which the sample bleaches e^2-fold."""
    powers = [10.0] * (delay + 1)
    signals = []
    for t in range(120):
        power = powers[-1 - delay]
        signals.append(10 * (power * math.exp(-t / 60) / 10) ** exponent)
        action = only(policy, sight(signals[-1], power))
        set_now = isinstance(action, SetPower)
        powers.append(action.power_percent if set_now else powers[-1])
    return signals, powers


@pytest.mark.parametrize("exponent", [0.5, 1.0])
@pytest.mark.parametrize("delay", [0, 2])
def test_it_holds_the_target_against_bleaching(exponent, delay):
    signals, powers = bleach(started(tolerance=0.02), exponent=exponent, delay=delay)
    assert powers[-1] > 4 * powers[0]
    assert min(signals) > 10 * 0.9
    assert max(signals) < 10 * 1.1


def test_at_the_maximum_the_signal_is_let_go():
    signals, powers = bleach(started(highest=20.0), exponent=0.5, delay=0)
    assert max(powers) == 20.0
    assert min(signals) < 10 * 0.6


def test_the_median_of_the_tracks_when_the_frame_has_no_such_measurement():
    policy = started(measure="contrast")
    tracks = [
        cell(i, 0, 0, state, features={"contrast": value})
        for i, (value, state) in enumerate(
            [(5.0, "active"), (8.0, "active"), (100.0, "active"), (1.0, "tentative")], 1
        )
    ]
    action = only(policy, sight(None, 20.0, tracks=tuple(tracks)))
    assert action.power_percent == 25.0  # 8 of 10


def test_other_channels_are_not_its_business():
    policy = started(channel="FITC")
    assert list(policy.react(sight(8.0, 20.0, channel="DAPI"))) == []
    assert isinstance(only(policy, sight(8.0, 20.0, channel="FITC")), SetPower)


def test_the_weakest_position_decides():
    policy = started()
    weak, strong = View(0, "Camera"), View(1, "Camera")
    assert only(policy, sight(8.0, 20.0, view=weak)).power_percent == 25
    # The strong one alone would lower the power.
    action = only(policy, sight(12.0, 25.0, view=strong))
    assert action.state == "holding"


def test_a_line_that_the_rig_has_not():
    policy = HoldSignal(line="561", target=10)
    with pytest.raises(ConfigError) as caught:
        policy.start(PolicyContext(lines={"488": 100.0}))
    assert str(caught.value) == "line: the rig has no light line 561; known are: 488"


def test_a_line_may_be_written_as_a_number():
    assert HoldSignal(line=488, target=10).line == "488"
