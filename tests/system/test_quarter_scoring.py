"""Which events count as found divisions, and how sure the shares are."""

from __future__ import annotations

from dataclasses import replace
from math import nan

import numpy as np
import pytest

from smartscope.bench._quarter_score import Rule, Score, difference, score
from smartscope.score import Happened, Reported

RULE = Rule(half_um=(256.0, 200.0), last_s=1000.0)
DIVISION = Happened(onset_s=400.0, end_s=480.0, x_um=10.0, y_um=20.0)
EVENT = Reported(onset_s=405.0, seen_s=420.0, x_um=12.0, y_um=20.0)


def test_an_event_near_in_place_and_time_is_the_divisions() -> None:
    assert score([DIVISION], [EVENT], RULE) == Score(1, 1, 0, 0)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"x_um": 30.0}, True),
        ({"x_um": 30.1}, False),
        ({"onset_s": 370.0, "seen_s": 380.0}, True),
        ({"onset_s": 370.0, "seen_s": 379.0}, False),
        ({"onset_s": 500.0, "seen_s": 520.0}, True),
        ({"onset_s": 501.0, "seen_s": 520.0}, False),
    ],
)
def test_the_limits_of_place_and_time(changes, found) -> None:
    event = replace(EVENT, **changes)
    expected = Score(1, 1, 0, 0) if found else Score(1, 0, 1, 0)
    assert score([DIVISION], [event], RULE) == expected


def test_a_second_event_of_a_division_is_false() -> None:
    again = replace(EVENT, onset_s=440.0, seen_s=450.0)
    assert score([DIVISION], [EVENT, again], RULE) == Score(1, 1, 1, 0)


def test_one_event_is_not_two_divisions() -> None:
    twin = replace(DIVISION, x_um=16.0)
    assert score([DIVISION, twin], [EVENT], RULE) == Score(2, 1, 0, 0)
    other = replace(EVENT, x_um=18.0)
    assert score([DIVISION, twin], [EVENT, other], RULE) == Score(2, 2, 0, 0)


def test_as_many_as_can_be_are_matched_not_the_nearest_alone() -> None:
    # The first event is nearest to the first division, but the only one of the second.
    left = replace(DIVISION, x_um=0.0)
    right = replace(DIVISION, x_um=22.0)
    middle = replace(EVENT, x_um=9.0)
    outside = replace(EVENT, x_um=-15.0)
    assert score([left, right], [middle, outside], RULE) == Score(2, 2, 0, 0)


@pytest.mark.parametrize(
    "changes",
    [
        {"x_um": 240.0},
        {"y_um": -181.0},
        {"onset_s": 59.0},
        {"end_s": 941.0},
        {"end_s": nan},
    ],
)
def test_divisions_at_the_border_or_the_ends_are_asked_of_nobody(changes) -> None:
    division = replace(DIVISION, **changes)
    place = {"x_um": division.x_um, "y_um": division.y_um}
    event = replace(EVENT, onset_s=division.onset_s, seen_s=division.onset_s, **place)
    assert score([division], [event], RULE) == Score(0, 0, 0, 1)
    assert score([division], [], RULE) == Score(0, 0, 0, 0)


def test_an_event_goes_to_the_division_that_has_to_be_found() -> None:
    border = replace(DIVISION, x_um=240.0)
    inside = replace(DIVISION, x_um=230.0)
    between = replace(EVENT, x_um=238.0)
    assert score([border, inside], [between], RULE) == Score(1, 1, 0, 0)


def test_nothing_happened_and_nothing_was_seen() -> None:
    assert score([], [], RULE) == Score()
    assert score([], [EVENT], RULE) == Score(0, 0, 1, 0)
    assert Score().recall is None
    assert Score().precision is None
    assert Score(4, 3, 1).recall == 0.75
    assert Score(4, 3, 1).precision == 0.75
    assert Score(4, 3, 1, 2) + Score(1, 0, 2, 0) == Score(5, 3, 3, 2)


def counts(*rows) -> np.ndarray:
    return np.array(rows, dtype=np.int64)


def test_the_difference_is_drawn_by_specimen_and_in_pairs() -> None:
    # Hard and easy specimens alike for both: as pairs there is nothing between them.
    theirs = counts(*[(n % 5, 4) for n in range(20)])
    mine = theirs.copy()
    mine[[3, 8], 0] -= 1
    found = difference(mine, theirs)
    assert found is not None
    assert found.value == pytest.approx(-2 / 80)
    assert found.low < found.value < found.high <= 0
    assert found.high - found.low < 0.07, "unpaired it would be 0.3"
    assert found.how == "bootstrap over 20 specimens"
    assert difference(mine, theirs) == found, "the draws have a seed"


def test_specimens_that_all_agree_have_an_interval_all_the_same() -> None:
    # Newcombe, Stat. Med. 17, 873 (1998), table II, method 10: 56/70 less 48/80.
    found = difference(counts((56, 70)), counts((48, 80)))
    assert found is not None
    assert (found.value, found.low, found.high) == pytest.approx(
        (0.2, 0.0524, 0.3339), abs=5e-5
    )
    assert "Newcombe" in found.how


def test_without_divisions_there_is_no_difference() -> None:
    assert difference(counts((0, 0)), counts((1, 2))) is None
