from __future__ import annotations

from dataclasses import replace

import pytest

from smartscope.core import NextPhase, Nothing, Outcome, Stop, View
from smartscope.policies import load_policy_class
from smartscope.testing import CONTEXT, cell, event, sight

StopRule = load_policy_class("stop_rule")


def policy(**parameters):
    made = StopRule(**parameters)
    made.start(CONTEXT)
    return made


def see(made, t_s, **more):
    (action,) = made.react(sight(t_s, **more))
    return action


def cells(*numbers, frames=5, **features):
    return [replace(cell(n, 9.0 * n, 0.0, **features), frames=frames) for n in numbers]


def test_cells_count_once_for_all_positions_and_when_gone():
    made = policy(cells=4)
    first = see(made, 0.0, tracks=cells(1, 2))
    assert (first.score, first.threshold, first.state) == (0.5, 1.0, "going on")
    assert see(made, 1.0, tracks=cells(2, 3)).score == 0.75
    assert see(made, 2.0, tracks=cells(7, frames=1)).score == 0.75, "too young"
    other = see(made, 3.0, tracks=cells(2), view=View(1, "Camera"))
    assert isinstance(other, Stop)
    assert "enough cells" in other.reason


def test_only_cells_with_enough_of_a_feature_count():
    made = policy(cells=2, feature="mean_FITC", least=50)
    tracks = [*cells(1, mean_FITC=60), *cells(2, mean_FITC=10), *cells(3)]
    assert see(made, 0.0, tracks=tracks).score == 0.5


def test_signal_has_to_last():
    made = policy(signal=10.0, sights=2)
    good, bad = {"signal_to_noise": 12.0}, {"signal_to_noise": 5.0}
    told = [see(made, t, measurements=m) for t, m in enumerate([good, bad, good, good])]
    assert [type(a) for a in told] == [Nothing, Nothing, Nothing, Stop]
    assert told[1].score == 0.5


def test_light_is_power_times_exposure_where_there_was_most():
    made = policy(dose_percent_s=1.0)
    # 20 ms of 30 % are 0.6 percent-seconds; what vision skipped was lit too.
    assert see(made, 0.0, power={"488": 10.0, "405": 20.0}).score == pytest.approx(0.6)
    elsewhere = see(made, 1.0, power={"488": 10.0}, view=View(1, "Camera"))
    assert elsewhere.score == pytest.approx(0.6)
    assert isinstance(see(made, 2.0, power={"488": 10.0}, skipped=1), Stop)


def test_time_events_and_a_grace():
    made = policy(time_s=100.0, events=2, grace_s=50.0)
    one, two = (event("mitosis", 0.9, event_id=n) for n in (1, 2))
    assert see(made, 10.0, events=(one,)).score == 0.5
    early = see(made, 20.0, events=(one, two))
    assert "not before" in early.reason
    assert isinstance(see(made, 60.0), Stop)
    assert isinstance(see(policy(time_s=5.0), 1000.0), Nothing), "from the first sight"


def test_it_asks_once_and_again_only_if_it_was_lost():
    made = policy(time_s=10.0, then="next phase")
    see(made, 0.0)
    assert isinstance(see(made, 10.0), NextPhase)
    assert see(made, 11.0).state == "ending"
    lost = Outcome(action_id="1.0", policy="under_test", status="outbid")
    assert isinstance(see(made, 12.0, outcomes=(lost,)), NextPhase)


def test_a_rule_without_any_is_refused():
    with pytest.raises(ValueError, match="name at least one"):
        StopRule()
