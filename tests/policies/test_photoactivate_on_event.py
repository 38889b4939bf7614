from __future__ import annotations

import math

import numpy as np
import pytest

from smartscope.core import (
    Acquire,
    ConfigError,
    Nothing,
    Outcome,
    SetInterval,
    ShowPattern,
)
from smartscope.policies import load_policy_class
from smartscope.testing import CONTEXT, cell, event, sight

PhotoactivateOnEvent = load_policy_class("photoactivate_on_event")
ROUND = math.pi * 10.0**2


def policy(**parameters):
    made = PhotoactivateOnEvent(**{"flash_channel": "Cy5", **parameters})
    made.start(CONTEXT)
    return made


def divides(t_s, *, score=0.9, track_id=1, x_um=10.0, **more):
    found = event("mitosis", score, track_id=track_id, x_um=x_um)
    tracks = [cell(track_id, x_um, 0.0, area_um2=ROUND), cell(9, -20.0, 0.0)]
    return sight(t_s, tracks=tracks, events=(found,), **more)


def film(t_s, cause, **more):
    return sight(t_s, role="reaction", cause=cause, **more)


def test_one_decision_shows_the_object_flashes_and_films():
    made = policy(before_frames=3, flash_ms=200.0, flashes=2, fast_interval_s=0.5)
    show, before, flash, fast = made.react(divides(5.0))
    assert isinstance(show, ShowPattern)
    places = (np.array(show.polygons_px[0])[:, ::-1] - 50) * 0.5 - [10.0, 0.0]
    assert np.linalg.norm(places, axis=1) == pytest.approx(10.0)
    assert (before.frames, before.channel) == (3, None)
    assert (flash.frames, flash.channel, flash.exposure_ms) == (2, "Cy5", 200.0)
    assert fast.interval_s == 0.5
    assert {a.track_id for a in (show, before, flash, fast)} == {1}


def test_it_goes_dark_with_the_first_frame_after_the_flash_and_ends_the_film():
    made = policy(recovery_s=10.0)
    list(made.react(divides(0.0)))
    (waits,) = made.react(film(0.2, "0.1"))
    assert (waits.state, waits.threshold) == ("filming", 10.0)
    dark, _ = made.react(film(1.0, "0.3"))
    assert dark.polygons_px == ()
    assert len(list(made.react(film(2.0, "0.3")))) == 1, "dark once"
    (over,) = made.react(film(10.0, "0.3"))
    assert isinstance(over, SetInterval)
    assert over.interval_s is None
    (again,) = made.react(divides(11.0))
    assert isinstance(again, Nothing), "never the same object twice"
    assert len(list(made.react(divides(12.0, track_id=2)))) == 4


def test_without_frames_before_the_film_is_known_all_the_same():
    made = policy(before_frames=0)
    kinds = [type(a) for a in made.react(divides(0.0))]
    assert kinds == [ShowPattern, Acquire, SetInterval]
    assert len(list(made.react(film(1.0, "0.2")))) == 2


def test_a_pattern_follows_its_object_when_the_stage_moves_before_the_flash():
    made = policy()
    show, *_ = made.react(divides(0.0))
    still = divides(0.1, role="reaction", cause="0.1")
    assert [type(a) for a in made.react(still)] == [Nothing]
    moved = divides(0.2, role="reaction", cause="0.1", at_um=(5.0, 0.0, 0.0))
    again, _ = made.react(moved)
    shift = np.array(again.polygons_px[0]) - np.array(show.polygons_px[0])
    assert shift == pytest.approx(np.tile([0.0, -10.0], (len(shift), 1)))
    assert len(list(made.react(moved))) == 1, "once"
    gone, _ = made.react(film(0.3, "0.1", at_um=(500.0, 0.0, 0.0)))
    assert gone.polygons_px == (), "an object out of sight is not guessed at"
    assert len(list(made.react(film(1.0, "0.3")))) == 1, "it is dark already"


def test_a_low_score_a_rest_and_a_spent_budget_flash_nothing():
    (low,) = policy().react(divides(0.0, score=0.4))
    assert (low.score, low.threshold, low.state) == (0.4, 0.5, "watching")
    (spent,) = policy().react(divides(0.0, interlocks=("dose_budget",)))
    assert "budget" in spent.reason
    made = policy(recovery_s=10.0, cooldown_s=30.0)
    list(made.react(divides(0.0)))
    list(made.react(film(10.0, "0.3")))
    (rests,) = made.react(divides(20.0, track_id=2))
    assert (rests.state, "20 s left" in rests.reason) == ("resting", True)
    assert len(list(made.react(divides(40.0, track_id=2)))) == 4


def test_what_was_refused_ends_dark_and_may_be_tried_again():
    made = policy(recovery_s=5.0)
    list(made.react(divides(0.0)))
    no = Outcome(
        action_id="0.0", policy="under_test", status="rejected", message="outside"
    )
    dark, back = made.react(sight(1.0, outcomes=(no,)))
    assert dark.polygons_px == ()
    assert back.interval_s is None
    assert "not done: outside" in back.reason
    assert len(list(made.react(divides(6.0)))) == 4


def test_a_spot_is_lit_at_the_place_of_the_event():
    show, *_ = policy(region="spot", spot_um=3.0).react(divides(0.0, x_um=15.0))
    places = (np.array(show.polygons_px[0])[:, ::-1] - 50) * 0.5 - [15.0, 0.0]
    assert np.linalg.norm(places, axis=1) == pytest.approx(3.0)


def test_a_flash_channel_that_the_plan_uses_is_refused():
    made = PhotoactivateOnEvent(flash_channel="FITC")
    with pytest.raises(ConfigError, match="FITC is a channel of the plan"):
        made.start(CONTEXT)


def test_an_object_that_the_border_cuts_is_left_alone():
    made = policy()
    (cut,) = made.react(divides(0.0, x_um=20.0))
    assert isinstance(cut, Nothing)
    assert "border" in cut.reason
    assert len(list(made.react(divides(1.0, x_um=12.0)))) == 4, "whole by now"


def test_an_object_that_is_out_of_sight_gets_no_flash():
    found = event("mitosis", 0.9, track_id=1)
    lost = sight(tracks=[cell(1, 0.0, 0.0, "lost")], events=(found,))
    (waits,) = policy().react(lost)
    assert "out of sight" in waits.reason
