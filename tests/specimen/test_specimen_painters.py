"""Spots, lines and outlines: what convolution gives, cut at the border."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage

from smartscope.specimen._paint_lines import paint_lines
from smartscope.specimen._paint_outlines import paint_outline
from smartscope.specimen._paint_spots import paint_gaussians, paint_spots

SHAPE = (60, 80)
PIXEL = 12**-0.5
"""What averaging over a pixel adds to a standard deviation."""


def _spots(places, sigma, total, shape=SHAPE):
    canvas = np.zeros(shape, np.float32)
    n = len(places)
    paint_spots(
        canvas,
        np.array(places, float),
        np.broadcast_to(np.asarray(sigma, float), n),
        np.broadcast_to(np.asarray(total, float), n),
    )
    return canvas


def test_spots_keep_their_sum_and_centre(lab):
    for sigma in (0.5, 0.9, 2.5):
        canvas = _spots([(30.3, 41.7)], sigma, 500.0)
        assert canvas.sum() == pytest.approx(500.0, rel=1e-4)
        (cy, cx), (vy, vx) = lab.moments(canvas, 0)
        assert (cy, cx) == pytest.approx((30.3, 41.7), abs=0.06)
        if sigma > 0.8:
            assert (vy, vx) == pytest.approx((sigma**2, sigma**2), rel=0.05)


def test_spots_add_up_and_are_cut_at_the_border():
    places = [(-1.0, 10.0), (5.5, 79.5), (30.0, 40.0), (30.0, 40.0), (200.0, 3.0)]
    whole = _spots([(y + 50, x + 50) for y, x in places], 1.5, 100.0, (170, 190))
    assert _spots(places, 1.5, 100.0) == pytest.approx(whole[50:110, 50:130], abs=1e-4)
    assert whole[50:110, 50:130].sum() < 400


def test_many_small_spots_agree_with_the_painter_of_wide_ones():
    rng = np.random.default_rng(1)
    places = rng.uniform((-8, -8), (68, 88), size=(200, 2))
    sigma = np.full(200, 4.0)
    total = rng.uniform(50, 100, size=200)
    wide = np.zeros(SHAPE, np.float32)
    paint_gaussians(wide, places, sigma, total / (2 * np.pi * 16))
    error = np.abs(_spots(places, sigma, total) - wide)
    assert error.max() < 0.02 * wide.max()


def _lines(points, sigma, per_px=10.0, shape=SHAPE):
    points = np.array(points, float)
    canvas = np.zeros(shape, np.float32)
    n = len(points) - 1
    paint_lines(canvas, points[:-1], points[1:], np.full(n, sigma), np.full(n, per_px))
    return canvas


def _brute_line(points, sigma, per_px=10.0, fine=8):
    canvas = np.zeros((SHAPE[0] * fine, SHAPE[1] * fine))
    for a, b in pairwise(points):
        a, b = np.array(a), np.array(b)
        length = np.linalg.norm(b - a)
        steps = (np.arange(2000) + 0.5) / 2000
        y, x = ((a + (b - a) * steps[:, None] + 0.5) * fine - 0.5).round().astype(int).T
        np.add.at(canvas, (y, x), per_px * length / 2000)
    smooth = ndimage.gaussian_filter(canvas, sigma * fine)
    return smooth.reshape(SHAPE[0], fine, SHAPE[1], fine).sum(axis=(1, 3))


@pytest.mark.parametrize("sigma", [1.0, 2.5])
def test_a_bent_line_is_what_convolution_gives(sigma):
    points = [(20.0, 15.0), (35.0, 30.0), (38.0, 45.0), (25.0, 60.0)]
    painted = _lines(points, np.hypot(sigma, PIXEL))
    expected = _brute_line(points, sigma)
    assert painted.sum() == pytest.approx(expected.sum(), rel=0.005)
    assert np.abs(painted - expected).max() < 0.03 * expected.max()


def test_a_line_is_the_same_in_one_piece_and_in_many():
    ends = np.array([[20.0, 10.0], [40.0, 70.0]])
    pieces = ends[0] + (ends[1] - ends[0]) * np.linspace(0, 1, 14)[:, None]
    assert _lines(pieces, 1.3) == pytest.approx(_lines(ends, 1.3), abs=0.02)


def test_lines_are_cut_at_the_border():
    points = [(-20.0, 30.0), (30.0, 40.0), (90.0, 100.0)]
    whole = _lines([(y + 100, x + 100) for y, x in points], 1.5, shape=(300, 300))
    assert _lines(points, 1.5) == pytest.approx(whole[100:160, 100:180], abs=1e-3)


def _circle(y, x, radius, corners=200):
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return np.stack([y + radius * np.sin(angle), x + radius * np.cos(angle)], 1)


@pytest.mark.parametrize("blur", [0.0, 1.2, 4.0])
def test_an_outline_is_filled_and_blurred(lab, blur):
    canvas = np.zeros(SHAPE, np.float32)
    paint_outline(canvas, _circle(30.4, 40.2, 15.0), blur, 100.0)
    assert canvas.sum() == pytest.approx(100 * np.pi * 15**2, rel=0.015)
    assert canvas[30, 40] == pytest.approx(100, rel=0.02)
    (cy, cx), (vy, vx) = lab.moments(canvas, 0)
    assert (cy, cx) == pytest.approx((30.4, 40.2), abs=0.1)
    assert vy == pytest.approx(15**2 / 4 + blur**2, rel=0.03)
    assert vx == pytest.approx(vy, rel=0.03)


@pytest.mark.parametrize("centre", [(-3.0, 20.0), (30.0, 78.0), (63.0, -2.0)])
def test_an_outline_is_cut_at_the_border(centre):
    canvas = np.zeros(SHAPE, np.float32)
    paint_outline(canvas, _circle(*centre, 15.0), 1.5, 100.0)
    whole = np.zeros((160, 180), np.float32)
    paint_outline(whole, _circle(centre[0] + 50, centre[1] + 50, 15.0), 1.5, 100.0)
    assert canvas == pytest.approx(whole[50:110, 50:130], abs=0.5)
    nothing = np.zeros(SHAPE, np.float32)
    paint_outline(nothing, _circle(-100.0, 20.0, 15.0), 1.5, 100.0)
    assert not nothing.any()
