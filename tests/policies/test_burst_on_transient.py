from __future__ import annotations

import pytest

from smartscope.core import Acquire, Nothing, Outcome, Roi, SetRoi
from smartscope.policies import load_policy_class
from smartscope.testing import CONTEXT, event, sight

BurstOnTransient = load_policy_class("burst_on_transient")


def policy(**parameters):
    made = BurstOnTransient(**{"frames": 4, "region_um": 12.0, **parameters})
    made.start(CONTEXT)
    return made


def see(made, t_s, *events, **more):
    return list(made.react(sight(t_s, events=events, **more)))


def flash(score=0.9, event_id=1, **more):
    place = {"x_um": 10.0, "y_um": 0.0, "track_id": 7, **more}
    return event("transient", score, event_id=event_id, **place)


def test_a_square_around_the_event_is_read_out_for_the_burst():
    made = policy(interval_s=0.01, z_offsets_um=[-1, 0, 1], exposure_ms=5)
    roi, burst = see(made, 0.0, flash(0.6, 1), flash(0.9, 2))
    # 12 um are 24 pixels; the event is 20 pixels right of the middle one.
    assert Roi(roi.x_px, roi.y_px, roi.width_px, roi.height_px) == Roi(58, 38, 24, 24)
    assert roi.event_id == burst.event_id == 2, "the surest"
    assert (burst.frames, burst.interval_s, burst.exposure_ms) == (4, 0.01, 5)
    assert burst.z_offsets_um == (-1, 0, 1)


def test_the_field_is_back_after_the_last_time_point():
    made = policy()
    see(made, 0.0, flash())
    kinds = [
        type(see(made, 0.1 * k, flash(), role=role)[0])
        for k, role in enumerate(["reaction", "baseline", "reaction", "reaction"], 1)
    ]
    assert kinds == [Nothing] * 4, "frames of the plan in between do not count"
    (back,) = see(made, 0.5, flash(), role="reaction")
    assert back == SetRoi(reason=back.reason), "the full chip"
    assert "4 of 4" in back.reason


def test_what_vision_skipped_was_of_the_burst():
    made = policy()
    see(made, 0.0, flash())
    (back,) = see(made, 0.1, role="reaction", skipped=3)
    assert isinstance(back, SetRoi)


def test_a_burst_that_never_comes_is_given_up():
    made = policy()
    see(made, 0.0, flash())
    kinds = {type(see(made, 0.1 * k)[0]) for k in range(1, 30)}
    assert kinds == {Nothing, SetRoi}
    assert made._left == 0


@pytest.mark.parametrize("status", ["rejected", "outbid", "failed"])
def test_a_refused_burst_gives_the_field_back(status):
    made = policy()
    see(made, 0.0, flash())
    lost = Outcome(action_id="0.1", policy="under_test", status=status)
    (back,) = see(made, 0.1, outcomes=(lost,))
    assert isinstance(back, SetRoi)
    assert status in back.reason


def test_each_event_gets_one_burst_and_there_is_a_rest():
    made = policy(region_um=None, frames=1, cooldown_s=10.0)
    assert [type(a) for a in see(made, 0.0, flash())] == [Acquire]
    assert see(made, 0.1, role="reaction")[0].state == "watching"
    assert see(made, 12.0, flash())[0].state == "watching", "the same event"
    assert isinstance(see(made, 13.0, flash(event_id=2))[0], Acquire)
    see(made, 13.1, role="reaction")
    assert see(made, 14.0, flash(event_id=3))[0].state == "resting"


def test_no_burst_for_weak_events_or_without_light():
    made = policy()
    (weak,) = see(made, 0.0, flash(0.4))
    assert (weak.score, weak.threshold, weak.state) == (0.4, 0.5, "watching")
    (spent,) = see(made, 1.0, flash(), interlocks=("dose_budget",))
    assert "budget" in spent.reason
    assert isinstance(see(made, 2.0, flash(), moving=True)[0], Nothing)
