"""Appearances: what is new where the frame before showed nothing."""

from __future__ import annotations

import pytest
from test_vision_events import course
from vision_fields import ONE_UM, field, film, frame, pipeline

from smartscope.core import ConfigError, PixelMap

CHAIN = ("segment", {"track": {"min_frames": 2, "max_gap_frames": 1}})
OLD = [(30, 30), (130, 100)]
NEW = (80, 60)


def chain(**stage):
    found = {"kind": "spot", "sure_s": 10.0, "margin_um": 15.0, **stage}
    return pipeline(*CHAIN, {"appearance": found})


def see(points_of_frames, **stage):
    return film(chain(**stage), [field(p) for p in points_of_frames])


def test_what_was_there_has_not_appeared_and_what_comes_has():
    seen = see([OLD] * 3 + [[*OLD, NEW]] * 6 + [OLD] * 4)
    assert course(seen, "spot") == [
        (5, 1, "onset"),  # ten seconds after its first frame
        *((n, 1, "active") for n in range(6, 10)),
        (10, 1, "ended"),
    ]
    events = [e for o in seen for e in o.events]
    assert {e.onset_s for e in events} == {15.0}
    assert [round(e.score, 2) for e in events[:4]] == [0.5, 0.75, 1.0, 1.0]
    assert (events[0].y_um, events[0].x_um) == pytest.approx(NEW, abs=0.5)
    assert events[0].track_id == 3


def test_what_is_gone_soon_is_no_event():
    assert not course(see([OLD] * 3 + [[*OLD, NEW]] * 2 + [OLD] * 4), "spot")


def test_what_comes_in_over_the_edge_has_not_appeared():
    walks = [[*OLD, (80, 200 - 8 * k)] for k in range(8)]
    assert not course(see([OLD] * 2 + walks), "spot")
    assert course(see([OLD] * 2 + walks, margin_um=0.0), "spot")


def test_it_ends_when_it_has_lasted_too_long_and_stays_so():
    reports = course(see([OLD] * 2 + [[*OLD, NEW]] * 12, max_duration_s=30.0), "spot")
    assert [s for _, _, s in reports] == ["onset", *["active"] * 4, "ended"]


def test_what_a_moved_stage_or_a_larger_region_shows_was_there_before():
    pipe = chain()
    whole = [*OLD, NEW]
    small = field(whole)[:60, :120]  # shows the first one only
    shown = [small] * 4 + [field(whole)] * 6
    seen = [pipe.see(frame(image, n), 5.0 * n) for n, image in enumerate(shown)]
    assert not course(seen, "spot")
    moved = chain()
    for n in range(10):
        # The stage goes 100 um to the right: the sample moves left in the image.
        points = [(80, 150)] if n < 4 else [(80, 50), (60, 120)]
        stage = (0.0 if n < 4 else 100.0, 0.0)
        seen = moved.see(frame(field(points), n, stage=stage), 5.0 * n)
        assert not seen.events


def test_binned_frames_have_margins_in_um_too():
    pipe = chain()
    half = PixelMap(((2.0, 0.0), (0.0, 2.0)), (0.0, 0.0))
    assert half.pixel_um == 2 * ONE_UM.pixel_um
    frames = [OLD] * 2 + [[*OLD, (80, 188)]] * 4  # 11 px, 22 um from the edge
    seen = [
        pipe.see(frame(field(p), n, pixel_map=half), 5.0 * n)
        for n, p in enumerate(frames)
    ]
    assert course(seen, "spot")


def test_it_needs_tracks():
    with pytest.raises(ConfigError, match="needs tracks"):
        pipeline("segment", "appearance")
