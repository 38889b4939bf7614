"""Measures against truth made by hand."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest

from smartscope.config import ScoreConfig, ScoreLevel, ScoreTarget, ScoreWindow
from smartscope.score import Happened, Place, Reported, Sights, match
from smartscope.score import _measures as measures
from smartscope.score._film import _of_level
from smartscope.score._target import of_target

if TYPE_CHECKING:
    from smartscope.record import RunFolder

PLACE = Place(0.0, 0.0, 100.0, 100.0)
WINDOW = ScoreWindow(within_um=10, slack_s=5, margin_um=20, settle_s=50)


def matched(events: list[Happened], reports: list[Reported]):  # type: ignore[no-untyped-def]
    return match(events, reports, WINDOW, [PLACE], last_s=1000.0)


def test_found_missed_and_false() -> None:
    events = [
        Happened(100, 160, 0, 0),
        Happened(300, 360, 50, 50),
        Happened(500, 560, -50, 0),
    ]
    reports = [
        Reported(120, 3, 4),  # of the first, 20 s late
        Reported(130, 0, 1),  # of the first again: false
        Reported(400, 50, 50),  # long after the second
        Reported(556, -50, 9),  # of the third, just in time
        Reported(700, 0, 0),  # of nothing
    ]
    got = matched(events, reports)
    assert (got.found, len(got.asked), got.false) == (2, 3, 3)
    assert measures.recall(got) == (2.0, 3.0)
    assert measures.precision(len(reports), got) == (2.0, 5.0)
    # One to one: as many as can be, then the nearest; 130 s lies nearer in space.
    assert measures.reported_after_s(got) == (30.0 + 56.0, 2.0)


def test_events_at_border_and_ends_are_asked_of_nobody_and_their_reports_true() -> None:
    events = [
        Happened(10, 70, 0, 0),  # begins too early
        Happened(980, inf, 0, 0),  # goes on at the end
        Happened(300, 360, 90, 0),  # at the border
        Happened(300, 360, 500, 0),  # out of the field
    ]
    got = matched(events, [Reported(40, 0, 0), Reported(310, 92, 0)])
    assert (len(got.asked), got.false) == (0, 0)
    assert measures.recall(got) == (0.0, 0.0)


def test_an_event_to_be_found_goes_before_one_that_is_not() -> None:
    asked, aside = Happened(300, 360, 79, 0), Happened(300, 360, 83, 0)
    got = matched([aside, asked], [Reported(310, 83, 0)])
    assert got.found == 1


def test_nothing_happened_and_nothing_was_reported() -> None:
    got = matched([], [])
    assert (got.found, got.false, got.asked) == (0, 0, ())


def seeing(t_s: np.ndarray) -> np.ndarray:
    return np.ones(len(t_s), bool)


@pytest.mark.parametrize(
    ("step_s", "share"), [(2.0, 1.0), (20.0, 0.1), (1.0, 1.0), (4.0, 0.5)]
)
def test_coverage_is_the_share_at_the_target_rate(step_s: float, share: float) -> None:
    t_s = np.arange(0, 200, step_s)
    event = Happened(40, 120, 0, 0)
    got = measures.filmed(event, t_s, seeing(t_s), interval_s=2.0)
    assert got == pytest.approx(share, abs=1e-9)


def test_a_burst_covers_no_more_than_its_time() -> None:
    t_s = 50 + np.arange(1000) * 0.01
    event = Happened(40, 140, 0, 0)
    # Ten seconds of frames, and half an interval at both ends.
    got = measures.filmed(event, t_s, seeing(t_s), interval_s=2.0)
    assert got == pytest.approx(0.12, abs=1e-3)


def test_frames_that_do_not_see_the_event_cover_nothing() -> None:
    t_s = np.arange(0, 200, 2.0)
    sees = t_s < 80
    got = measures.filmed(Happened(40, 120, 0, 0), t_s, sees, interval_s=2.0)
    assert got == pytest.approx(0.5, abs=0.02)


RATES = np.concatenate(
    [np.arange(0, 100, 20.0), np.arange(100, 150, 2.0), np.arange(160, 300, 20.0)]
)


def test_fast_spans_and_duty() -> None:
    assert measures.fast_spans(RATES, 2.0).tolist() == [[100.0, 148.0]]
    assert measures.duty(RATES, 2.0) == (48.0, 280.0)
    slow = np.arange(0, 100, 20.0)
    assert measures.fast_spans(slow, 2.0).shape == (0, 2)
    assert measures.duty(slow, 2.0) == (0.0, 80.0)
    fast = np.arange(0, 100, 2.0)
    assert measures.fast_spans(fast, 2.0).tolist() == [[0.0, 98.0]]


def test_reaction_is_when_the_rate_is_high() -> None:
    before, during, never = (
        Happened(80, 140, 0, 0),
        Happened(120, 170, 0, 0),
        Happened(200, 260, 0, 0),
    )
    assert measures.reacted_after_s([before], RATES, 2.0) == (20.0, 1.0)
    assert measures.reacted_after_s([during], RATES, 2.0) == (0.0, 1.0)
    assert measures.reacted_after_s([never], RATES, 2.0) == (0.0, 0.0)


def test_reaction_without_a_rate_is_the_first_action_about_the_event() -> None:
    events = [Happened(100, 160, 0, 0), Happened(300, 360, 50, 50)]
    reports = [Reported(110, 0, 0, 7, 0), Reported(310, 50, 50, 8, 0)]
    acted = [(0, 7, 112.0), (0, 7, 115.0), (1, 8, 301.0)]
    assert measures.acted_after_s(matched(events, reports), acted) == (12.0, 1.0)


def test_busy_counts_overlapping_events_once() -> None:
    events = [Happened(-5, 10, 0, 0), Happened(20, 40, 0, 0), Happened(30, 50, 0, 0)]
    assert measures.busy([*events, Happened(90, inf, 0, 0)], 0, 100) == (50.0, 100.0)


def test_tracking_error_and_time_on_target() -> None:
    nan = float("nan")
    target = np.array([[0, 0], [30, 0], [60, 0], [0, 120], [nan, nan]], float)
    to_field = np.tile(np.eye(2) / 100, (5, 1, 1))
    got = measures.tracking(target, np.zeros((5, 2)), to_field, central=0.25)
    # Half the width in each direction is a quarter of the area.
    assert got["time_on_target"] == (2.0, 5.0)
    assert got["in_view"] == (3.0, 5.0)
    assert got["tracking_error_um"] == (210.0, 4.0)


def test_a_turned_field_ends_at_its_own_sides() -> None:
    # A camera turned by 45 degrees: a square on its corner, half sides of 100 um.
    turned = np.array([[1, 1], [-1, 1]]) / np.sqrt(2) / 100
    away = np.array([[0, 0], [90, 90], [0, 130], [140, 5]], float)
    got = measures.inside(away, np.tile(turned, (4, 1, 1)))
    assert got.tolist() == [True, False, True, False]


def test_identity_is_of_most_of_the_last_frames() -> None:
    yes, no = np.ones(30, bool), np.zeros(30, bool)
    assert measures.identity_kept(yes, yes) == (1.0, 1.0)
    assert measures.identity_kept(yes, no) == (0.0, 1.0)
    assert measures.identity_kept(no, yes) == (0.0, 1.0)
    late = np.arange(30) >= 24  # six of the last ten
    assert measures.identity_kept(late, yes) == (1.0, 1.0)
    assert measures.identity_kept(yes, late) == (1.0, 1.0)
    # Either is not enough: both have to hold in the same frame.
    assert measures.identity_kept(late, np.arange(30) < 26) == (0.0, 1.0)


def test_the_path_is_in_sides_of_the_field() -> None:
    corner = np.array([[0, 0], [300, 0], [300, 400], [300, 400]], float)
    assert measures.path_fields(corner, field_um=100.0) == (7.0, 1.0)


def sights(t_s: list[float], centre_um: list[tuple[float, float]]) -> Sights:
    """Upright fields of 200 um x 200 um."""
    count = len(t_s)
    return Sights(
        t_s=np.array(t_s),
        position=np.zeros(count, np.int64),
        centre_um=np.array(centre_um, float),
        half_um=np.full((count, 2), 100.0),
        to_field=np.tile(np.eye(2) / 100, (count, 1, 1)),
        z_um=np.zeros(count),
        planned=np.ones(count, bool),
    )


def two_cells(looks: int, *, dies_s: float = np.inf) -> dict[str, np.ndarray]:
    """Cell 1 goes 10 um in each second; cell 2 stays at (50, 3)."""
    t_s = np.repeat(np.arange(looks, dtype=float), 2)
    one = np.tile([True, False], looks)
    return {
        "t_s": t_s,
        "cell_id": np.where(one, 1, 2),
        "x_um": np.where(one, 10 * t_s, 50.0),
        "y_um": np.where(one, 0.0, 3.0),
        "radius_um": np.full(2 * looks, 8.0),
        "alive": ~(one & (t_s >= dies_s)),
    }


def test_a_target_that_is_followed_past_a_neighbour() -> None:
    t_s = [float(t) for t in range(21)]
    got = of_target(
        two_cells(21), sights(t_s, [(10 * t, 0) for t in t_s]), ScoreTarget()
    )
    assert got["time_on_target"] == (21.0, 21.0)
    assert got["identity_kept"] == (1.0, 1.0)
    assert got["path_fields"] == (pytest.approx(1.0), 1.0)
    # Nearer than both radii from 40 to 60 um.
    assert got["touched"] == (3.0, 21.0)


def test_a_neighbour_that_is_followed_instead_is_another_identity() -> None:
    t_s = [float(t) for t in range(11)]
    field = sights(t_s, [(min(10 * t, 50), 0) for t in t_s])
    got = of_target(two_cells(11), field, ScoreTarget())
    # The target is in the central part to the end, and yet it is not the one.
    assert got["time_on_target"] == (11.0, 11.0)
    assert got["identity_kept"] == (0.0, 1.0)


def test_a_dead_target_is_off_target_though_its_body_is_there() -> None:
    t_s = [float(t) for t in range(21)]
    got = of_target(
        two_cells(21, dies_s=8), sights(t_s, [(10 * t, 0) for t in t_s]), ScoreTarget()
    )
    assert got["time_on_target"] == (8.0, 21.0)
    assert got["identity_kept"] == (0.0, 1.0)


def test_a_frame_after_the_last_look_still_has_its_target() -> None:
    field = sights([0.0, 10.0, 10.4], [(0, 0), (100, 0), (100, 0)])
    got = of_target(two_cells(11), field, ScoreTarget())
    assert got["time_on_target"] == (3.0, 3.0)
    gone = sights([0.0, 10.0, 13.0], [(0, 0), (100, 0), (100, 0)])
    got = of_target(two_cells(11), gone, ScoreTarget())
    assert got["time_on_target"] == (2.0, 3.0)


def test_alone_nobody_can_touch() -> None:
    truth = two_cells(11)
    alone = {name: column[truth["cell_id"] == 1] for name, column in truth.items()}
    got = of_target(alone, sights([0.0, 1.0], [(0, 0), (10, 0)]), ScoreTarget())
    assert got["touched"] == measures.NO_PART
    assert of_target(alone, sights([0.0], [(0, 0)]), None) == {}
    assert of_target(alone, sights([0.0], [(0, 0)]), ScoreTarget(object_id=9)) == {}


def test_focus_within_half_the_depth_of_field() -> None:
    focus = np.array([0.0, 1.0, 2.0, 4.0, np.nan])
    got = measures.focus(focus, np.zeros(5), depth_um=4.0)
    assert got["in_focus"] == (3.0, 4.0)
    assert got["focus_error_um"] == (7.0, 4.0)


def test_snr_is_held_against_the_first_frames() -> None:
    snr = np.array([10, 10, 10, 10, 10, 11, 8, 12, np.nan], float)
    assert measures.snr_held(snr, within=0.15) == (6.0, 8.0)
    assert measures.snr_held(snr[:5], within=0.15) == measures.NO_PART


def test_level_is_relative_to_its_target() -> None:
    got = measures.level(np.array([2.0, 2.1, 3.0, np.nan]), target=2.0, within=0.1)
    assert got["level_held"] == (2.0, 3.0)
    assert got["level_error"][0] / got["level_error"][1] == pytest.approx(0.55 / 3)


def test_a_level_is_of_those_that_live() -> None:
    truth = {
        "t_s": np.array([0.0, 0.0, 1.0, 1.0]),
        "alive": np.array([True, True, True, False]),
        "reporter": np.array([0.4, 0.6, 0.5, 5.0]),
    }
    wanted = ScoreConfig(level=ScoreLevel(of="reporter", target=0.5))
    nothing_else = cast("RunFolder", None)
    got = _of_level(nothing_else, truth, wanted)
    assert got["level_held"] == (2.0, 2.0)
    assert got["level_error"][0] == pytest.approx(0.0)


CORNER = np.array([[0.0, 0.0], [10.0, 0.0], [10.0, 10.0]])


def test_a_path_is_walked_in_order() -> None:
    along = np.array([(0, 0), (3, 1), (6, -1), (10, 0), (10, 5)], float)
    got = measures.on_path(along, CORNER, within_um=5.0)
    assert got["on_path"] == (5.0, 5.0)
    assert got["path_walked"] == pytest.approx((15.0, 20.0), abs=0.2)
    assert got["path_error_um"] == pytest.approx((2.0, 5.0), abs=0.01)


def test_who_cuts_across_has_not_walked_the_path() -> None:
    across = np.array([(0, 0), (5, 5), (10, 10)], float)
    got = measures.on_path(across, CORNER, within_um=4.0)
    assert got["on_path"] == (2.0, 3.0)
    assert got["path_walked"][0] < 0.5 * got["path_walked"][1]


def test_going_back_takes_nothing_from_what_was_walked() -> None:
    back = np.array([(0, 0), (4, 0), (8, 0), (2, 0)], float)
    got = measures.on_path(back, CORNER, within_um=5.0)
    assert got["path_walked"][0] == pytest.approx(8.0, abs=0.2)
