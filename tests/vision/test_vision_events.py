"""Mitosis and feature events: onset, course and end."""

from __future__ import annotations

import numpy as np
import pytest
from test_vision_track import daughters, dividing_film
from vision_fields import field, film, frame, pipeline

from smartscope.core import View

CHAIN = ("segment", "measure", {"track": {"min_frames": 2}})
OTHERS = [(30, 30), (30, 100), (30, 170), (130, 30), (130, 100), (130, 170)]


def course(seen, kind="mitosis"):
    """Frame number, id and state of every event report."""
    return [
        (n, e.event_id, e.state)
        for n, o in enumerate(seen)
        for e in o.events
        if e.kind == kind
    ]


def test_one_mitosis_from_rounding_to_parting():
    seen = film(pipeline(*CHAIN, {"mitosis": {"confirm_frames": 1}}), dividing_film())
    reports = course(seen)
    assert {i for _, i, _ in reports} == {1}
    assert reports[0][2] == "onset"
    assert reports[-1][2] == "ended"
    assert [s for _, _, s in reports][1:-1] == ["active"] * (len(reports) - 2)
    assert [n for n, _, _ in reports] == list(range(4, 4 + len(reports)))
    events = [e for o in seen for e in o.events]
    assert {e.onset_s for e in events} == {20.0}
    assert events[0].score >= 0.5
    assert events[-1].score == 1.0
    assert (events[-1].y_um, events[-1].x_um) == pytest.approx((75, 100), abs=1)
    mother = events[0].track_id
    assert {t.parent for t in seen[-1].tracks} == {None, mother}


def test_confirmation_delays_the_report_but_not_the_onset():
    seen = film(pipeline(*CHAIN, {"mitosis": {"confirm_frames": 2}}), dividing_film())
    assert course(seen)[0][0] == 5
    assert seen[5].events[0].onset_s == 20.0


def test_a_division_without_warning_counts_less():
    def at(t):
        points, radii, heights = daughters(t)
        if t in (4, 5):
            return daughters(0)
        return points, radii, heights

    images = [field(p, radius=r, height=h) for p, r, h in map(at, range(12))]
    stage = {"mitosis": {"division_score": 0.6}}
    seen = film(pipeline(*CHAIN, stage), images)
    assert course(seen)[0] == (6, 1, "onset")
    assert seen[6].events[0].score == 0.6


def test_rounding_that_goes_back_ends_without_a_division():
    radii = [9] * 5 + [6] * 3 + [9] * 5
    heights = [300] * 5 + [650] * 3 + [300] * 5
    images = [
        field([*OTHERS, (80, 100)], radius=[8] * 6 + [r], height=[300] * 6 + [h])
        for r, h in zip(radii, heights, strict=True)
    ]
    stage = {"mitosis": {"confirm_frames": 1}}
    reports = course(film(pipeline(*CHAIN, stage), images))
    assert reports == [
        (5, 1, "onset"),
        (6, 1, "active"),
        (7, 1, "active"),
        (8, 1, "ended"),
    ]


def test_rounding_that_lasts_ends_at_its_time_and_is_not_reported_again():
    images = [
        field([*OTHERS, (80, 100)], radius=[8] * 6 + [r], height=[300] * 6 + [h])
        for r, h in [(9, 300)] * 5 + [(6, 650)] * 12
    ]
    stage = {"mitosis": {"confirm_frames": 1, "max_duration_s": 20.0}}
    reports = course(film(pipeline(*CHAIN, stage), images))
    assert reports[0] == (5, 1, "onset")
    assert reports[-1] == (10, 1, "ended")


QUIET = {
    "the light": lambda t: ([8.0] * 6, [300 if t < 5 else 700] * 6),
    "bleaching": lambda t: ([8.0] * 6, [600 * 0.85**t] * 6),
    "growth": lambda t: ([7.0 + 0.15 * t] * 6, [300] * 6),
    "focus": lambda t: ([8.5 if t < 5 else 6.5] * 6, [300 if t < 5 else 600] * 6),
}


@pytest.mark.parametrize("name", QUIET)
def test_what_the_whole_field_does_is_no_mitosis(name):
    images = []
    for t in range(12):
        radii, heights = QUIET[name](t)
        images.append(field(OTHERS, radius=radii, height=heights, seed=t))
    assert (
        course(film(pipeline(*CHAIN, {"mitosis": {"confirm_frames": 1}}), images)) == []
    )


def test_a_nucleus_that_the_border_cuts_is_not_judged():
    # It goes out slowly, so less and less of it is seen, and what is left is brighter.
    rows = [12, 12, 12, 12, 8, 5, 2, 0, -1, -2]
    images = [
        field([*OTHERS, (row, 65)], height=[300] * 6 + [300 + 40 * t], seed=t)
        for t, row in enumerate(rows)
    ]
    seen = film(pipeline(*CHAIN, {"mitosis": {"confirm_frames": 1}}), images)
    assert len(seen[6].detections) == 7, "it is still found"
    assert course(seen) == []


def test_what_always_flickers_is_no_mitosis_when_it_does():
    chance = np.random.default_rng(4)
    flicker = 1 + chance.uniform(-0.25, 0.25, 60)
    images = [
        field(
            [*OTHERS, (80, 100)],
            radius=[7] * 6 + [7 / f],
            height=[300] * 6 + [300 * f * f],
            seed=t,
        )
        for t, f in enumerate(flicker)
    ]
    seen = film(pipeline(*CHAIN, {"mitosis": {"confirm_frames": 1}}), images)
    settled = [report for report in course(seen) if report[0] > 20]
    assert settled == []


def spiking(heights):
    return [
        field([(60, 60), (60, 140)], height=[h, 300], seed=n)
        for n, h in enumerate(heights)
    ]


SPIKE = {"kind": "spike", "feature": "mean_FITC", "above": 1.5}


def test_a_spike_has_hysteresis():
    heights = [200] * 5 + [340, 330, 270, 280, 230, 200, 200, 360, 200]
    reports = course(
        film(pipeline(*CHAIN, {"event": SPIKE}), spiking(heights)), "spike"
    )
    assert reports == [
        (5, 1, "onset"),
        (6, 1, "active"),
        (7, 1, "active"),
        (8, 1, "active"),
        (9, 1, "ended"),
        (12, 2, "onset"),
        (13, 2, "ended"),
    ]


def test_spike_scores_half_at_the_threshold_and_one_at_twice():
    settings = {"event": SPIKE | {"above": 1.25}}
    for height, score in ((275, 0.75), (400, 1.0)):
        seen = film(pipeline(*CHAIN, settings), spiking([200] * 5 + [height]))
        (event,) = seen[-1].events
        assert event.score == pytest.approx(score, abs=0.1)
        assert event.track_id == 1 and event.onset_s == 25.0


def test_a_drop():
    settings = {"kind": "off", "feature": "mean_FITC", "below": 0.5}
    seen = film(pipeline(*CHAIN, {"event": settings}), spiking([400] * 5 + [120, 390]))
    assert course(seen, "off") == [(5, 1, "onset"), (6, 1, "ended")]


def test_a_change_for_good_ends_and_becomes_the_baseline():
    settings = {"event": SPIKE | {"max_duration_s": 12.0}}
    seen = film(pipeline(*CHAIN, settings), spiking([200] * 5 + [400] * 10))
    reports = course(seen, "spike")
    assert reports[-1] == (8, 1, "ended")
    assert {i for _, i, _ in reports} == {1}


def test_event_ids_are_unique_in_a_view_across_stages():
    stages = (*CHAIN, {"mitosis": {"confirm_frames": 1}}, {"event": SPIKE})
    pipe = pipeline(*stages)
    seen = film(pipe, dividing_film())
    kinds = {}
    for o in seen:
        for e in o.events:
            assert kinds.setdefault(e.event_id, e.kind) == e.kind
    assert set(kinds.values()) == {"mitosis", "spike"}
    other = [
        pipe.see(frame(image, n, view=View(1)), n * 5.0)
        for n, image in enumerate(dividing_film())
    ]
    assert min(e.event_id for o in other for e in o.events) == 1


def test_events_stand_still_while_the_stage_moves():
    pipe = pipeline(*CHAIN, {"event": SPIKE})
    film(pipe, spiking([200] * 5 + [400]))
    smeared = np.full((160, 200), 100, np.uint16)
    moving = pipe.see(frame(smeared, 6, moving=True), 30.0)
    assert [(e.event_id, e.state) for e in moving.events] == [(1, "active")]
    after = pipe.see(frame(spiking([200])[0], 7), 35.0)
    assert [(e.event_id, e.state) for e in after.events] == [(1, "ended")]
