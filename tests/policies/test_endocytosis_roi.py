from __future__ import annotations

import pytest

from smartscope.core import Outcome, Roi, SetInterval, SetRoi
from smartscope.policies import load_policy_class
from smartscope.testing import CONTEXT, cell, event, sight

EndocytosisRoi = load_policy_class("endocytosis_roi")


def policy(**parameters):
    made = EndocytosisRoi(**{"region_um": 8.0, "gone_s": 2.0, **parameters})
    made.start(CONTEXT)
    return made


def see(made, t_s, *events, tracks=(), **more):
    return list(made.react(sight(t_s, events=events, tracks=tracks, **more)))


def spot(event_id=1, state="active", *, score=0.8, onset_s=0.0, track_id=3):
    place = {"x_um": -10.0, "y_um": 5.0, "track_id": track_id, "onset_s": onset_s}
    return event("endocytosis", score, state, event_id=event_id, **place)


def track(state="active"):
    return (cell(3, -10.0, 5.0, state),)


def test_a_spot_that_appears_is_filmed_fast_in_a_small_region():
    made = policy()
    roi, fast = see(made, 0.0, spot(), tracks=track())
    assert Roi(roi.x_px, roi.y_px, roi.width_px, roi.height_px) == Roi(22, 52, 16, 16)
    assert fast.interval_s == 0.2
    assert roi.event_id == fast.event_id == 1


def test_the_film_ends_some_time_after_the_spot():
    made = policy()
    see(made, 0.0, spot(), tracks=track())
    states = []
    for k in range(1, 12):
        gone = k > 6
        told = see(made, 0.5 * k, tracks=track("lost" if gone else "active"))
        states.append(type(told[0]))
    # Last seen at 3 s; more than 2 s later is 5.5 s.
    assert states.index(SetRoi) == 10
    assert [type(a) for a in told] == [SetRoi, SetInterval]
    assert told[0].gives_back
    assert told[1].gives_back


def test_the_event_tells_where_nothing_is_tracked():
    made = policy()
    see(made, 0.0, spot(track_id=None))
    (filming,) = see(made, 4.0, spot(track_id=None))
    assert (filming.state, filming.score) == ("filming", 0.0)
    assert isinstance(see(made, 7.0, spot(state="ended", track_id=None))[0], SetRoi)


def test_what_does_not_leave_is_given_up_and_not_filmed_again():
    made = policy(max_s=10.0)
    see(made, 0.0, spot(), tracks=track())
    told = see(made, 11.0, spot(), tracks=track())
    assert "still there" in told[0].reason
    assert see(made, 20.0, spot(), tracks=track())[0].state == "watching"


def test_the_newest_spot_that_is_in_sight_is_chosen():
    made = policy()
    spots = (spot(1, onset_s=1.0), spot(2, onset_s=5.0, track_id=4), spot(9, score=0.3))
    assert see(made, 6.0, *spots, tracks=track())[0].event_id == 2
    made = policy()
    lost = (*track(), cell(4, 0.0, 0.0, "lost"))
    assert see(made, 6.0, *spots, tracks=lost)[0].event_id == 1


def test_a_rest_and_a_spent_budget():
    made = policy(cooldown_s=30.0)
    see(made, 0.0, spot(), tracks=track())
    see(made, 5.0)
    assert see(made, 20.0, spot(2))[0].state == "resting"
    assert isinstance(see(made, 36.0, spot(2))[0], SetRoi)
    spent = see(policy(), 0.0, spot(), interlocks=("dose_budget",))
    assert "budget" in spent[0].reason


@pytest.mark.parametrize("status", ["rejected", "outbid", "expired", "failed"])
def test_a_film_that_was_refused_is_none(status):
    made = policy()
    see(made, 0.0, spot(), tracks=track())
    lost = Outcome(action_id="0.1", policy="under_test", status=status)
    told = see(made, 0.2, spot(), tracks=track(), outcomes=(lost,))
    assert [a.gives_back for a in told] == [True, True]
