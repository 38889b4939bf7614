"""Counts: photon statistics, linearity, darkness, saturation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from smartscope.specimen._noise import (
    multiplied,
    noise_generator,
    noisy_electrons,
    normals,
)


@pytest.mark.parametrize("background", [0.0, 0.25, 1.0, 20.0, 500.0])
@pytest.mark.parametrize("gain", [0.5, 2.0])
def test_mean_and_variance_follow_photons_gain_and_offset(lab, background, gain):
    read_e, offset, ms = 1.6, 100.0, 20.0
    bench = lab.Bench(
        view=lab.full_view(512),
        cells=0,
        vignetting=0.0,
        background_photons_per_ms=background,
        camera={"gain_e_per_adu": gain, "read_noise_e": read_e, "offset_adu": offset},
    )
    image = bench.snap(1.0, ms).astype(float)
    electrons = background * ms
    variance = (electrons + read_e**2) / gain**2 + 1 / 12
    error = np.sqrt(variance / image.size)
    assert image.mean() == pytest.approx(offset + electrons / gain, abs=5 * error)
    assert image.var() == pytest.approx(variance, rel=0.015)


@pytest.mark.parametrize("mean", [0.5, 3.0, 8.0, 40.0])
def test_skewness_is_that_of_photons_plus_read_noise(mean):
    level = np.full((1000, 1000), mean, np.float32)
    drawn = noisy_electrons(level, 1.6, noise_generator(1, 2)).astype(float)
    sigma = np.sqrt(mean + 1.6**2)
    skew = ((drawn - drawn.mean()) ** 3).mean() / drawn.std() ** 3
    assert skew == pytest.approx(mean / sigma**3, abs=0.015)


def test_a_quiet_camera_counts_single_electrons():
    level = np.full((500, 500), 2.0, np.float32)
    drawn = noisy_electrons(level, 0.1, noise_generator(1, 2))
    counted = np.round(drawn)
    assert np.abs(drawn - counted).mean() < 0.1
    share_of_none = (counted == 0).mean()
    assert share_of_none == pytest.approx(np.exp(-2.0), abs=0.004)
    assert drawn.var() == pytest.approx(2.0 + 0.01, rel=0.02)


def test_pixels_are_independent(lab):
    bench = lab.Bench(view=lab.full_view(512), cells=0, vignetting=0.0)
    image = bench.snap(1.0).astype(float)
    z = (image - image.mean()) / image.std()
    assert abs((z[:, 1:] * z[:, :-1]).mean()) < 0.01
    assert abs((z[1:] * z[:-1]).mean()) < 0.01


def test_photons_grow_in_proportion_with_exposure_and_power(lab):
    def total(ms, percent):
        bench = lab.Bench(**lab.PLAIN, background_photons_per_ms=0.0)
        bench.set(0, **{"power:488": percent})
        return lab.photons(bench.snap(1.0, ms))

    one = total(20, 50)
    assert one > 20_000
    assert total(40, 50) == pytest.approx(2 * one, rel=0.02)
    assert total(20, 100) == pytest.approx(2 * one, rel=0.02)
    assert total(20, 25) == pytest.approx(one / 2, rel=0.03)


def test_two_lines_add_up_and_excitation_weighs_them(lab):
    def mean(**parameters):
        bench = lab.Bench(cells=0, vignetting=0.0, **parameters)
        bench.set(0, **{"power:488": 30.0, "power:561": 60.0})
        return bench.snap(1.0).mean() - 100

    assert mean(excitation={"561": 0}) == pytest.approx(mean() / 3, rel=0.02)


def test_a_closed_shutter_leaves_offset_and_read_noise_only(lab):
    bench = lab.Bench(cells=30, area_um=(256, 256))
    image = bench.expose(1.0, 1000.0).astype(float)
    assert image.mean() == pytest.approx(100, abs=0.1)
    assert image.std() == pytest.approx(np.hypot(1.6 / 0.5, 12**-0.5), rel=0.02)


def test_without_any_light_trace_the_light_is_on(lab):
    bench = lab.Bench(shutter=False, cells=0, vignetting=0.0)
    assert bench.expose(1.0, 20.0).mean() == pytest.approx(140, rel=0.01)


def test_bright_pixels_saturate(lab):
    bright = {"photons_per_ms": 1e5}
    image = lab.Bench(**lab.PLAIN | bright).snap(1.0)
    assert image.dtype == np.uint16
    assert image.max() == 65535
    low = lab.Bench(**lab.PLAIN | bright, camera={"saturation_adu": 4095}).snap(1.0)
    assert low.max() == 4095
    assert (image == 65535).sum() > 50


def test_noise_belongs_to_seed_and_time(lab):
    def image(seed, t_s, before=()):
        bench = lab.Bench(seed=seed, cells=0)
        for earlier in before:
            bench.expose(earlier)
        return bench.snap(t_s)

    assert np.array_equal(image(1, 5.0), image(1, 5.0, before=(1.0, 2.0, 3.3)))
    assert not np.array_equal(image(1, 5.0), image(2, 5.0))
    assert not np.array_equal(image(1, 5.0), image(1, 6.0))


def test_binning_sums_photons(lab):
    single = lab.Bench(**lab.PLAIN).snap(1.0)
    view = lab.full_view(binning=2)
    binned = lab.Bench(**lab.PLAIN, view=view).snap(1.0)
    assert binned.shape == (128, 128)
    assert lab.photons(binned) == pytest.approx(lab.photons(single), rel=0.01)
    assert np.median(binned) - 100 == pytest.approx(
        4 * (np.median(single) - 100), rel=0.03
    )


def test_corners_are_darker_by_the_vignetting(lab):
    bench = lab.Bench(cells=0, vignetting=0.4, background_photons_per_ms=500, camera={})
    image = bench.snap(1.0).astype(float) - 100
    middle = image[118:138, 118:138].mean()
    assert image[:6, :6].mean() / middle == pytest.approx(0.62, abs=0.02)
    assert image[-6:, -6:].mean() / middle == pytest.approx(0.62, abs=0.02)


def test_vignetting_stays_with_the_sensor_under_roi_and_transposition(lab):
    from smartscope.core import Orientation, Roi

    def bench(view):
        return lab.Bench(
            view=view, cells=0, vignetting=0.6, background_photons_per_ms=2000
        )

    whole = bench(lab.full_view()).snap(1.0).astype(float)
    roi = Roi(96, 8, 150, 60)
    turned = lab.full_view(
        sensor_shape=(256, 256),
        roi=roi,
        orientation=Orientation(transpose=True, mirror_x=True),
    )
    part = bench(turned).snap(1.0).astype(float)
    expected = whole[8:68, 96:246].T[:, ::-1]
    assert part.shape == expected.shape
    assert np.abs(part / expected - 1).mean() < 0.01


def test_a_channel_has_its_own_brightness(lab):
    def total(channel):
        view = lab.full_view(channel=channel)
        bench = lab.Bench(
            view=view,
            **lab.PLAIN,
            background_photons_per_ms=0.0,
            channel_brightness={"DAPI": 0.25},
        )
        return lab.photons(bench.snap(1.0))

    assert total("DAPI") == pytest.approx(total("FITC") / 4, rel=0.05)


@pytest.mark.parametrize("mean", [0.5, 5.0, 29.0, 31.0, 200.0])
def test_a_gain_register_doubles_the_variance(mean):
    level = np.full((900, 900), mean, np.float32)
    noise = noise_generator(1, 2)
    drawn = multiplied(level, 300.0, noise).astype(float) / 300.0
    assert drawn.mean() == pytest.approx(mean, rel=0.01)
    assert drawn.var() == pytest.approx(2 * mean, rel=0.025)
    skew = ((drawn - drawn.mean()) ** 3).mean() / drawn.std() ** 3
    assert skew == pytest.approx(6 * mean / (2 * mean) ** 1.5, abs=0.06)
    if mean == 0.5:
        assert (drawn == 0).mean() == pytest.approx(np.exp(-0.5), abs=0.005)


def test_an_emccd_shows_clock_induced_charge_in_the_dark(lab):
    def dark(**camera):
        bench = lab.Bench(
            view=lab.full_view(512), cells=0, camera={"kind": "emccd", **camera}
        )
        return bench.expose(1.0).astype(float)

    image, clean = dark(clock_induced_e=0.05), dark(clock_induced_e=0.0)
    assert clean.std() == pytest.approx(60 / 12, rel=0.02)
    assert clean.max() < 100 + 8 * 5
    # One electron in e comes out above the mean of 25 counts.
    above = (image > 100 + 25).mean()
    assert above == pytest.approx(0.05 * np.exp(-1), rel=0.1)
    assert image.mean() - clean.mean() == pytest.approx(0.05 * 300 / 12, rel=0.05)


def test_an_emccd_keeps_photons_and_saturates(lab):
    values = {"cells": 0, "vignetting": 0.0, "background_photons_per_ms": 2.0}
    camera = {"kind": "emccd", "multiplication": 100, "clock_induced_e": 0}
    bench = lab.Bench(view=lab.full_view(512), camera=camera, **values)
    image = bench.snap(1.0, 20.0).astype(float)
    assert (image.mean() - 100) * 12 / 100 == pytest.approx(40, rel=0.01)
    camera["saturation_adu"] = 300
    bench = lab.Bench(view=lab.full_view(512), camera=camera, **values)
    assert bench.snap(1.0, 20.0).max() == 300


def test_normal_numbers_are_normal_out_to_their_tails():
    """Against the exact shares, within five standard errors."""
    drawn = np.sort(normals((2000, 2000), noise_generator(1, 2)).ravel().astype(float))
    n = drawn.size
    assert abs(drawn.mean()) < 5 / np.sqrt(n)
    assert abs(drawn.var() - 1) < 5 * np.sqrt(2 / n)
    assert abs((drawn**4).mean() - 3) < 5 * np.sqrt(96 / n)
    for z in (-5.0, -4.5, -3.0, -1.0, 0.0, 2.0, 4.0, 4.3, 4.8):
        share = stats.norm.cdf(z)
        found = np.searchsorted(drawn, z) / n
        assert abs(found - share) <= 5 * np.sqrt(share * (1 - share) / n), z
    assert 4.5 < drawn.max() < 6.5
    assert -6.5 < drawn.min() < -4.5


def test_parts_of_an_image_have_noise_of_their_own():
    parts = [normals((100, 100), noise_generator(1, 2, part)) for part in (0, 1, 0)]
    assert np.array_equal(parts[0], parts[2])
    assert abs(np.corrcoef(parts[0].ravel(), parts[1].ravel())[0, 1]) < 0.05


@pytest.mark.parametrize("camera", [{}, {"kind": "emccd"}, {"read_noise_e": 0.2}])
def test_no_rows_of_an_image_repeat_each_other(lab, camera):
    bench = lab.Bench(view=lab.full_view(1024), cells=0, vignetting=0.0, camera=camera)
    image = bench.snap(1.0).astype(float)
    z = (image - image.mean()) / image.std()
    # Any two rows: noise that is shared by parts would correlate fully.
    alike = z @ z.T / z.shape[1]
    assert np.abs(alike - np.diag(np.diag(alike))).max() < 0.3
