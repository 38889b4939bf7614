"""Constrictions: thin lines that narrow where a marker spot sits."""

from __future__ import annotations

import numpy as np
import pytest
from vision_fields import frame, pipeline

from smartscope.core import PixelMap
from smartscope.vision._constriction import narrowing

TENTH = PixelMap(((0.1, 0.0), (0.0, 0.1)), (0.0, 0.0))
SPOT = (40.0, 50.0)
CHAIN = (
    {"spots": {"radius_um": 0.2, "threshold": 10, "on": {"channel": "marker"}}},
    {"track": {"max_distance_um": 0.8, "min_frames": 1}},
)


def tube(*, narrow=0.0, begin=10, end=90, tilt=0.0, seed=0, noise=3.0, crossing=False):
    """A line through `SPOT` whose middle has lost a share of its light."""
    y, x = np.indices((80, 100), float)
    dy, dx = y - SPOT[0], x - SPOT[1]
    along = dx * np.cos(tilt) + dy * np.sin(tilt)
    across = dy * np.cos(tilt) - dx * np.sin(tilt)
    bright = 1 - narrow * np.exp(-0.5 * (along / 3) ** 2)
    inside = (along > begin - SPOT[1]) & (along < end - SPOT[1])
    image = 300 * bright * inside * np.exp(-0.5 * (across / 1.5) ** 2)
    if crossing:
        image += 300 * np.exp(-0.5 * (along / 1.5) ** 2)
    image += 100 + np.random.default_rng(seed).normal(0, noise, image.shape)
    return np.clip(np.rint(image), 0, 65535).astype(np.uint16)


def spot(height=400.0, seed=0):
    y, x = np.indices((80, 100), float)
    image = height * np.exp(-0.5 * ((y - SPOT[0]) ** 2 + (x - SPOT[1]) ** 2) / 1.5**2)
    image += 100 + np.random.default_rng(100 + seed).normal(0, 3, image.shape)
    return np.rint(image).astype(np.uint16)


def at_spot(image):
    return narrowing(image.astype(np.float32), np.array([SPOT]), 7.0, 5.0)[0]


@pytest.mark.parametrize("tilt", [0.0, 0.2, 0.7, 1.5])
def test_the_score_is_the_share_of_light_that_is_missing(tilt):
    scores = [at_spot(tube(narrow=n, tilt=tilt)) for n in (0.0, 0.3, 0.6, 0.9)]
    assert scores[0] < 0.15
    assert all(np.diff(scores) > 0.1)
    assert scores[2] == pytest.approx(0.55, abs=0.15)
    assert scores[3] > 0.7


@pytest.mark.parametrize(
    "nothing",
    [
        tube(crossing=True, narrow=0.3),
        tube(end=52),
        tube(begin=49),
        np.full((80, 100), 100, np.uint16),
        tube(noise=100.0, narrow=0.9),
    ],
    ids=["crossing", "end", "beginning", "dark", "noise"],
)
def test_crossings_ends_and_noise_are_no_constriction(nothing):
    assert at_spot(nothing) < 0.35


def films(narrows, heights=None, **stage):
    """Observations of a tube and its marker, 13 s apart."""
    pipe = pipeline(
        *CHAIN,
        {"constriction": {"on": {"channel": "tubes"}, **stage}},
        channels=("tubes", "marker"),
    )
    seen = []
    for t, narrow in enumerate(narrows):
        height = 400.0 if heights is None else heights[t]
        pictures = {"tubes": tube(narrow=narrow, seed=t), "marker": spot(height, t)}
        for c, (channel, image) in enumerate(pictures.items()):
            took = frame(
                image,
                2 * t + c,
                channel=channel,
                index={"t": t, "c": c},
                pixel_map=TENTH,
                group=("t", t),
                last_of_group=c == 1,
            )
            observed = pipe.see(took, 13.0 * t)
        seen.append(observed)
    return seen


def reports(seen):
    return [(n, e.event_id, e.state) for n, o in enumerate(seen) for e in o.events]


def test_one_event_from_the_narrowing_to_the_gap_that_closed():
    seen = films([0, 0, 0.8, 0.9, 0.95, 0, 0])
    assert reports(seen) == [
        (2, 1, "onset"),
        (3, 1, "active"),
        (4, 1, "active"),
        (5, 1, "ended"),
    ]
    (event,) = seen[3].events
    assert event.kind == "fission"
    assert event.onset_s == 26.0
    assert (event.y_um, event.x_um) == pytest.approx((4.0, 5.0), abs=0.1)
    assert seen[5].events[0].score < 0.3 < 0.6 < event.score


def test_without_a_marker_there_is_no_event():
    assert reports(films([0, 0.9, 0.9], heights=[0, 0, 0])) == []


def test_the_event_ends_when_the_marker_has_gone():
    course = reports(films([0, 0.9] + [0.9] * 5, heights=[400, 400] + [0] * 5))
    assert course[0] == (1, 1, "onset")
    assert course[-1] == (4, 1, "ended")


def test_what_stays_narrow_is_given_up_and_not_reported_again():
    course = reports(films([0.9] * 8, max_duration_s=30, kind="pinch"))
    assert course == [
        (0, 1, "onset"),
        (1, 1, "active"),
        (2, 1, "active"),
        (3, 1, "ended"),
    ]
