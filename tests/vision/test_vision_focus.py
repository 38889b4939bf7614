"""Sharpness: of the picture, not of its light or its noise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from vision_fields import field, frame, pipeline

POINTS = [(y, x) for y in range(20, 150, 30) for x in range(25, 190, 30)]


def image(blur_px, *, height=300.0, noise=5.0, seed=0):
    clean = field(POINTS, height=height, noise=0.0).astype(float)
    soft = ndimage.gaussian_filter(clean, blur_px)
    soft += np.random.default_rng(seed).normal(0, noise, soft.shape)
    return np.clip(np.rint(soft), 0, 65535).astype(np.uint16)


def measured(picture, **config):
    pipe = pipeline({"focus": {"detail_um": 1.0, **config}})
    return pipe.see(frame(picture), 0.0).measurements


def test_more_blur_is_less_sharp():
    sharp = [measured(image(blur))["focus"] for blur in (0.5, 1, 2, 3, 4, 6)]
    assert np.all(np.diff(sharp) < 0)
    assert sharp[0] > 2 * sharp[-1]


@pytest.mark.parametrize("blur", [1.0, 3.0])
def test_neither_brightness_nor_noise_counts(blur):
    usual = measured(image(blur))["focus"]
    for other in (
        image(blur, height=3000.0),
        image(blur, noise=30.0),
        image(blur, height=100.0),
        image(blur) + np.uint16(400),
    ):
        assert measured(other)["focus"] == pytest.approx(usual, rel=0.12)


def test_its_reciprocal_is_a_parabola_of_the_blur():
    blurs = np.array([0.0, 1.0, 2.0, 3.0])
    upside = np.array([1 / measured(image(b, noise=1.0))["focus"] for b in blurs])
    fit = np.polynomial.polynomial.polyfit(blurs**2, upside, 1)
    line = np.polynomial.polynomial.polyval(blurs**2, fit)
    assert np.abs(line / upside - 1).max() < 0.2


@pytest.mark.parametrize("level", [0.0, 100.0, 5000.0])
def test_an_empty_field_has_no_focus(level):
    rng = np.random.default_rng(1)
    empty = np.rint(rng.normal(level, 7.0, (160, 200)).clip(0)).astype(np.uint16)
    found = measured(empty)
    assert "focus" not in found
    assert found["focus_contrast"] < 0.2
    assert "focus" not in measured(np.full((160, 200), 100, np.uint16))


def test_a_region_too_small_to_tell_is_left_alone():
    assert not measured(image(1.0)[:3, :3])
