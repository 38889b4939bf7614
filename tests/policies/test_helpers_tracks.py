"""Which track: debouncing and selection."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
from sights import cell

import smartscope.policies._helpers_gates as gates
import smartscope.policies._helpers_tracks as helpers
from smartscope.policies import TrackDebounce, pick


def test_the_examples_in_the_documentation():
    assert doctest.testmod(helpers).failed == doctest.testmod(gates).failed == 0
    assert doctest.testmod(helpers).attempted == 13
    assert doctest.testmod(gates).attempted == 8


def ids(tracks):
    return [track.track_id for track in tracks]


def left(track):
    return track.x_um < 0


def test_each_track_is_counted_for_itself():
    sure = TrackDebounce(2)
    assert ids(sure.update([cell(1, -1, 0), cell(2, 1, 0)], left)) == []
    assert ids(sure.update([cell(1, -1, 0), cell(2, -1, 0)], left)) == [1]
    assert ids(sure.update([cell(2, -1, 0), cell(1, -1, 0)], left)) == [2, 1]
    assert ids(sure.update([cell(1, 1, 0), cell(2, -1, 0)], left)) == [2]
    assert (sure.count(1), sure.count(2), sure.count(3)) == (0, 3, 0)


@pytest.mark.parametrize("state", ["lost", "tentative"])
def test_a_sight_without_the_cell_says_nothing(state):
    sure = TrackDebounce(2)
    sure.update([cell(1, -1, 0)], left)
    assert ids(sure.update([cell(1, 5, 0, state)], left)) == []
    assert ids(sure.update([cell(1, -1, 0)], left)) == [1]


@pytest.mark.parametrize("gone", [[], [cell(1, -1, 0, "ended")]])
def test_who_is_gone_is_forgotten(gone):
    sure = TrackDebounce(2)
    sure.update([cell(1, -1, 0)], left)
    assert sure.update(gone, left) == ()
    assert sure.update([cell(1, -1, 0)], left) == ()
    with pytest.raises(ValueError, match="1 or more"):
        TrackDebounce(0)


def bright(number, score, x_um=0.0, state="active"):
    return cell(number, x_um, 0, state, features={"score": score})


CELLS = (bright(1, 5.0, 10), bright(2, 9.0, 30), bright(3, 2.0, -4))


def chosen(by, tracks=CELLS, **more):
    found = pick(tracks, by, near_um=(0, 0), **more)
    return found and found.track_id


def test_the_nearest_and_the_brightest():
    assert (chosen("nearest"), chosen("brightest")) == (3, 2)
    assert chosen("nearest", done={3, 1}) == 2
    assert chosen("nearest", done={1, 2, 3}) is chosen("nearest", ()) is None


def test_only_sure_cells_are_chosen():
    states = ("tentative", "lost", "ended")
    assert (
        chosen("nearest", [bright(n, 1, state=s) for n, s in enumerate(states)]) is None
    )


def test_equals_go_to_the_older():
    twins = (bright(8, 1, 5), bright(7, 1, -5))
    assert chosen("nearest", twins) == chosen("brightest", twins) == 7


def test_it_sticks_to_its_choice():
    assert chosen("nearest", current=2) == 2
    assert chosen("nearest", current=2, margin=26) == 2
    assert chosen("nearest", current=2, margin=25.9) == 3
    assert chosen("brightest", current=1, margin=4) == 1
    assert chosen("brightest", current=1, margin=3.9) == 2
    assert chosen("nearest", current=2, done={2}) == 3, "done, so let go"
    young = (bright(1, 5, 10), bright(2, 9, 30, "tentative"))
    assert chosen("nearest", young, current=2) == 2
    gone = (bright(1, 5, 10), bright(2, 9, 30, "lost"))
    assert chosen("nearest", gone, current=2) == 1


def test_nan_is_never_the_brightest_and_holds_what_is_held():
    dim = (bright(1, math.nan), bright(2, 0.1))
    assert chosen("brightest", dim) == 2
    assert chosen("brightest", dim, current=1, margin=0) == 1
    assert chosen("brightest", dim, feature="nowhere") is None


def test_chance_is_the_policys_own():
    def draw(seed):
        rng = np.random.default_rng(seed)
        return [chosen("random", rng=rng) for _ in range(60)]

    assert draw(1) == draw(1) != draw(2)
    assert set(draw(1)) == {1, 2, 3}
    assert chosen("random", CELLS[::-1], rng=np.random.default_rng(1)) == draw(1)[0]
    assert chosen("random", rng=np.random.default_rng(1), current=2) == 2
    assert chosen("random", (), rng=np.random.default_rng(1)) is None


def test_what_is_missing_is_said():
    with pytest.raises(ValueError, match="needs rng"):
        pick(CELLS, "random")
    with pytest.raises(ValueError, match="needs near_um"):
        pick(CELLS, "nearest")
    with pytest.raises(ValueError, match="got 'largest'"):
        pick(CELLS, "largest")
