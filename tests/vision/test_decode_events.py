"""Score maps over time to events."""

from __future__ import annotations

import decode_reference as ref
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartscope.vision.decode import EventFinder

SHAPE = (48, 56)


def film(finder, frames, grid=1):
    """All reports, frame by frame; frames are lists of ``(y, x, height)``."""
    reports = []
    for k, peaks in enumerate(frames):
        score = np.zeros(SHAPE, np.float32)
        for y, x, height in peaks:
            score = np.maximum(score, height * ref.gaussian_heat(SHAPE, [(y, x)], 2))
        reports.append(finder.update(score, 2.0 * k, grid))
    return reports


def one(height):
    return [(20, 30, height)]


def test_an_event_begins_peaks_and_ends_once() -> None:
    heights = [0.3, 0.45, 0.6, 0.9, 0.5, 0.3, 0.2, 0.3]
    finder = EventFinder(threshold=0.5, release=0.25, min_distance_px=6)
    reports = film(finder, map(one, heights))
    assert [len(found) for found in reports] == [0, 0, 1, 1, 1, 1, 1, 0]
    events = [event for found in reports for event in found]
    assert [e.state for e in events] == ["onset", *["active"] * 3, "ended"]
    assert {e.id for e in events} == {1}
    assert {e.onset_s for e in events} == {4.0}
    assert [e.duration_s for e in events] == [0, 2, 4, 6, 8]
    assert [e.score for e in events] == pytest.approx([0.6, 0.9, 0.5, 0.3, 0])
    assert [e.peak_score for e in events] == pytest.approx([0.6, *[0.9] * 4])
    assert [e.peak_s for e in events] == [4, 6, 6, 6, 6]
    assert (events[-1].y_px, events[-1].x_px) == pytest.approx((20, 30), abs=0.01)


def test_release_is_half_of_the_threshold_if_not_given() -> None:
    finder = EventFinder(threshold=0.6, min_distance_px=6)
    reports = film(finder, map(one, [0.7, 0.31, 0.29]))
    assert [found[0].state for found in reports] == ["onset", "active", "ended"]


def test_one_that_ended_is_new_when_it_comes_again() -> None:
    finder = EventFinder(threshold=0.5, min_distance_px=6)
    reports = film(finder, map(one, [0.8, 0, 0.8, 0, 0]))
    assert [[(e.id, e.state) for e in found] for found in reports] == [
        [(1, "onset")],
        [(1, "ended")],
        [(2, "onset")],
        [(2, "ended")],
        [],
    ]


def test_moving_events_keep_their_ids_and_places() -> None:
    paths = [[(10 + 2 * k, 8 + 3 * k, 0.9), (40 - k, 45, 0.8)] for k in range(8)]
    reports = film(EventFinder(threshold=0.5, min_distance_px=5), paths)
    for found, peaks in zip(reports, paths, strict=True):
        assert [e.id for e in found] == [1, 2]
        for event, (y, x, _) in zip(found, peaks, strict=True):
            assert (event.y_px, event.x_px) == pytest.approx((y, x), abs=0.1)


def test_a_jump_farther_than_the_distance_is_another_event() -> None:
    frames = [[(10, 10, 0.9)], [(10, 17, 0.9)]]
    reports = film(EventFinder(threshold=0.5, min_distance_px=5), frames)
    assert [(e.id, e.state) for e in reports[1]] == [(1, "ended"), (2, "onset")]


def test_peaks_that_run_together_are_one_event_from_then_on() -> None:
    frames = [
        [(20, 14, 0.9), (20, 30, 0.9)],
        [(20, 18, 0.9), (20, 28, 0.9)],
        [(20, 20, 0.9), (20, 26, 0.8)],
        [(20, 21, 0.9)],
    ]
    reports = film(EventFinder(threshold=0.5, min_distance_px=7), frames)
    assert [(e.id, e.state) for e in reports[1]] == [(1, "active"), (2, "active")]
    assert [(e.id, e.state) for e in reports[2]] == [(1, "active"), (2, "ended")]
    assert [(e.id, e.state) for e in reports[3]] == [(1, "active")]


def test_grid_gives_full_resolution_pixels() -> None:
    finder = EventFinder(threshold=0.5, min_distance_px=12)
    first, second = film(finder, [[(10.3, 12, 0.9)], [(12.3, 12, 0.9)]], grid=4)
    assert first[0].y_px == pytest.approx(41.2, abs=0.2)
    assert second[0].id == 1
    assert second[0].x_px == pytest.approx(48)


def test_a_map_gone_wild_is_bounded() -> None:
    noise = np.random.default_rng(0).random(SHAPE).astype(np.float32)
    finder = EventFinder(threshold=0.5, min_distance_px=0, most=20)
    found = finder.update(noise, 0.0)
    assert len(found) == 20
    heights = sorted(event.score for event in found)
    assert heights[-1] == noise.max()


@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 12),
)
@settings(max_examples=30, deadline=None)
def test_every_event_has_one_life(seed, count) -> None:
    rng = np.random.default_rng(seed)
    asked = {"threshold": 0.6, "release": 0.3, "min_distance_px": 6.0}
    maps = [rng.random((12, 14)).astype(np.float32) ** 3 for _ in range(count)]
    finder, twin = EventFinder(**asked), EventFinder(**asked)
    life: dict[int, list[str]] = {}
    for k, score in enumerate(maps):
        found = finder.update(score, float(k))
        assert found == twin.update(score, float(k)), "the same every time"
        assert [e.id for e in found] == sorted({e.id for e in found})
        for event in found:
            life.setdefault(event.id, []).append(event.state)
            assert event.duration_s == k - event.onset_s
            assert event.score <= event.peak_score
            if event.state == "onset":
                assert event.score > 0.6
    assert sorted(life) == list(range(1, len(life) + 1))
    for states in life.values():
        assert states[0] == "onset"
        assert set(states[1:-1]) <= {"active"}
        assert states.count("onset") == 1


@pytest.mark.parametrize("shape", [(0, 0), (1, 1), (30, 20)])
def test_nothing_happens_in_nothing(shape) -> None:
    finder = EventFinder(threshold=0.5, min_distance_px=5)
    for k in range(3):
        assert finder.update(np.zeros(shape, np.float32), float(k)) == []
