from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from smartscope.core import Nothing, Pictures, ShowPattern
from smartscope.policies import load_policy_class
from smartscope.testing import CONTEXT, cell, sight

SteerCell = load_policy_class("steer_cell")


def policy(**parameters):
    made = SteerCell(**{"path_um": [[40.0, 0.0]], **parameters})
    made.start(CONTEXT)
    return made


def see(made, *tracks, **more):
    (action,) = made.react(sight(0.0, tracks=tracks, **more))
    return action


def lit_um(action):
    """Corners of the one lit region, (x, y) in the sample: 0.5 um pixels, middle 50."""
    (corners,) = action.polygons_px
    return (np.array(corners)[:, ::-1] - 50) * 0.5


ROUND = math.pi * 10.0**2


def test_it_lights_the_edge_on_the_side_of_the_aim():
    made = policy(half_angle_deg=45.0, inside_um=2.0, outside_um=3.0)
    action = see(made, cell(1, 0.0, 0.0, area_um2=ROUND))
    assert isinstance(action, ShowPattern)
    assert action.intensity == 255
    places = lit_um(action)
    reach = np.linalg.norm(places, axis=1)
    assert reach.min() == pytest.approx(8.0)
    assert reach.max() == pytest.approx(13.0)
    angles = np.degrees(np.arctan2(places[:, 1], places[:, 0]))
    assert angles.min() == pytest.approx(-45)
    assert angles.max() == pytest.approx(45)


def test_a_cell_beside_the_path_is_led_back_to_it():
    made = policy(lookahead_um=8.0)
    see(made, cell(1, 0.0, 0.0, area_um2=ROUND))
    action = see(made, cell(1, 10.0, 6.0, area_um2=ROUND))
    x, y = (lit_um(action) - [10.0, 6.0]).mean(axis=0)
    assert math.atan2(y, x) == pytest.approx(math.atan2(-6, 8), abs=0.05)
    assert "6 um beside its path" in action.reason


def test_the_outline_is_that_of_vision_where_there_is_one():
    labels = np.zeros((101, 101), np.int32)
    labels[40:61, 20:81] = 1  # 30 um wide, 10 um high
    flat = replace(cell(1, 0.0, 0.0, area_um2=ROUND), detection=0)
    for path, reach in (([[40.0, 0.0]], 15.0), ([[0.0, 40.0]], 5.0)):
        made = policy(path_um=path, half_angle_deg=1.0, outside_um=1.0)
        action = see(made, flat, pictures=Pictures(labels=labels))
        far = np.linalg.norm(lit_um(action), axis=1).max()
        assert far == pytest.approx(reach + 1.0, abs=0.8)


def test_it_goes_round_corners_and_never_back():
    made = policy(path_um=[[30.0, 0.0], [30.0, 30.0]], lookahead_um=6.0)
    see(made, cell(1, 0.0, 0.0))
    for x_um in (10.0, 20.0, 30.0):
        see(made, cell(1, x_um, 0.0))
    action = see(made, cell(1, 30.0, 0.0))
    x, y = (lit_um(action) - [30.0, 0.0]).mean(axis=0)
    assert abs(x) < 0.1 * y, "now along the second leg"


def test_at_the_end_it_is_dark_once_and_then_says_so():
    made = policy(path_um=[[5.0, 0.0]], tolerance_um=1.0)
    see(made, cell(1, 0.0, 0.0))
    dark = see(made, cell(1, 4.5, 0.0))
    assert dark.polygons_px == ()
    rest = see(made, cell(1, 4.5, 0.0))
    assert isinstance(rest, Nothing)
    assert (rest.state, rest.threshold) == ("dark", 1.0)
    assert isinstance(see(made, cell(1, 9.0, 0.0)), ShowPattern), "it is held there"


def test_a_lost_cell_is_not_lit_and_taken_up_again_nearby():
    made = policy(reach_um=15.0)
    see(made, cell(1, 0.0, 0.0), cell(2, 20.0, 0.0))
    assert see(made, cell(2, 20.0, 0.0)).polygons_px == (), "the other is too far"
    assert see(made, cell(7, 3.0, 0.0)).track_id == 7
    assert isinstance(see(policy()), Nothing)


def test_sample_coordinates_choose_the_cell_at_the_start():
    made = policy(path_um=[[20.0, 0.0], [20.0, 20.0]], absolute=True)
    action = see(made, cell(1, 0.0, 0.0), cell(2, 18.0, 1.0))
    assert action.track_id == 2
    with pytest.raises(ValidationError, match="at least one point"):
        policy(path_um=[])
