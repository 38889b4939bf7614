"""Where and how sharp things appear."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage

from smartscope.core import Orientation, PixelMap, Roi, compose_pixel_map
from smartscope.specimen._paint import Ellipses, paint_ellipses, paint_gaussians


def _paint(side=120, **values):
    defaults = {
        "x_um": 0.0,
        "y_um": 0.0,
        "long_um": 10.0,
        "short_um": 10.0,
        "angle": 0.0,
        "blur_um": 0.8,
        "peak": 100.0,
        "texture": 0.0,
        "tile": 0,
    }
    shapes = Ellipses(**{k: np.array([v]) for k, v in (defaults | values).items()})
    canvas = np.zeros((side, side), np.float32)
    middle = (side - 1) / 2
    paint_ellipses(
        canvas, shapes, PixelMap(((1.0, 0.0), (0.0, 1.0)), (middle, middle)), (0, 0)
    )
    return canvas


def _brute_force(long_um, short_um, angle, blur_um, side=120, fine=6):
    axis = (np.arange(side * fine) + 0.5) / fine - side / 2
    y, x = np.meshgrid(axis, axis, indexing="ij")
    u = x * np.cos(angle) + y * np.sin(angle)
    v = -x * np.sin(angle) + y * np.cos(angle)
    ellipse = 100.0 * ((u / long_um) ** 2 + (v / short_um) ** 2 <= 1)
    blurred = ndimage.gaussian_filter(ellipse, blur_um * fine)
    return blurred.reshape(side, fine, side, fine).mean(axis=(1, 3))


@pytest.mark.parametrize("blur_um", [0.6, 1.5, 4.0, 9.0, 14.0])
@pytest.mark.parametrize("axes", [(10.0, 10.0), (12.0, 8.0)])
def test_a_blurred_ellipse_is_what_convolution_gives(axes, blur_um):
    long_um, short_um = axes
    painted = _paint(long_um=long_um, short_um=short_um, angle=0.6, blur_um=blur_um)
    expected = _brute_force(long_um, short_um, 0.6, blur_um)
    assert painted.sum() == pytest.approx(expected.sum(), rel=0.01)
    assert np.abs(painted - expected).max() < 0.07 * expected.max()


def test_defocus_lowers_the_peak_and_keeps_the_photons(lab):
    values = lab.PLAIN | {"background_photons_per_ms": 0.0, "photons_per_ms": 200.0}
    peaks, totals = [], []
    for z_um in (0.0, 16.0, 26.0, 36.0, 48.0, 60.0):
        bench = lab.Bench(**values)
        bench.set(0.5, z_um=z_um)
        image = bench.snap(1.0)
        peaks.append(ndimage.gaussian_filter(image.astype(float), 1).max() - 100)
        totals.append(lab.photons(image))
    assert all(a > 1.02 * b for a, b in pairwise(peaks))
    assert peaks[-1] < peaks[0] / 5
    assert totals == pytest.approx([totals[0]] * len(totals), rel=0.02)


def test_blur_is_the_same_above_and_below_focus_and_follows_the_plane(lab):
    def width(stage_z_um, plane_um):
        bench = lab.Bench(**lab.PLAIN | {"z_um": plane_um, "photons_per_ms": 500.0})
        bench.set(0.5, z_um=stage_z_um)
        return sum(lab.moments(bench.snap(1.0), 300)[1])

    sharp = width(30.0, 30.0)
    assert sharp == pytest.approx(width(0.0, 0.0), rel=0.01)
    assert width(42.0, 30.0) == pytest.approx(width(18.0, 30.0), rel=0.02)
    assert width(42.0, 30.0) > 1.15 * sharp


def test_chromatin_moves_neither_photons_nor_the_centroid(lab):
    for tile in range(24):
        smooth, rough = _paint(tile=tile), _paint(tile=tile, texture=1.0)
        assert rough.sum() == pytest.approx(smooth.sum(), rel=0.04)
        assert lab.moments(rough, 0)[0] == pytest.approx(
            lab.moments(smooth, 0)[0], abs=0.35
        )
        assert rough[55:65, 55:65].std() > 5 * smooth[55:65, 55:65].std()
    tops = [_paint(tile=tile, texture=1.0)[60] for tile in (0, 1)]
    assert not np.allclose(*tops)


def test_wide_spots_on_a_coarse_grid_are_true_gaussians():
    canvas = np.zeros((101, 77), np.float32)
    centre, sigma = np.array([[40.3, 30.8], [90.0, 2.0]]), np.array([9.0, 14.0])
    paint_gaussians(canvas, centre, sigma, np.array([10.0, 4.0]))
    y, x = np.indices(canvas.shape)
    expected = sum(
        p * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * s * s))
        for (cy, cx), s, p in zip(centre, sigma, (10.0, 4.0), strict=True)
    )
    assert np.abs(canvas - expected).max() < 0.25


def test_a_cell_across_the_rim_is_cut_not_lost(lab):
    def left_of(stage_x_um):
        bench = lab.Bench(**lab.PLAIN | {"background_photons_per_ms": 0.0})
        bench.set(0.5, x_um=stage_x_um)
        return lab.photons(bench.snap(1.0))

    whole = left_of(0.0)
    assert left_of(127.5) == pytest.approx(whole / 2, rel=0.1)
    assert left_of(-128.5) == pytest.approx(whole / 2, rel=0.1)
    assert left_of(200.0) < 0.03 * whole


@pytest.mark.parametrize("case", range(14))
def test_a_lone_cell_appears_where_the_true_affine_says(lab, case):
    rng = np.random.default_rng(case)
    parameters = lab.PLAIN | {
        "rotation_deg": float(rng.uniform(-180, 180)),
        "mirror": bool(rng.integers(2)),
        "sensor_um_per_px": float(rng.uniform(0.4, 1.2)),
        "photons_per_ms": 1000.0,
        "background_photons_per_ms": 0.0,
    }
    roi = Roi(int(rng.integers(100)), int(rng.integers(60)), 240, 180)
    flips = [bool(flip) for flip in rng.integers(2, size=3)]
    view = lab.full_view(
        sensor_shape=(400, 500),
        roi=roi,
        binning=int(rng.choice([1, 2])),
        orientation=Orientation(*flips),
    )
    bench = lab.Bench(seed=case, view=view, **parameters)
    magnification = float(rng.choice([10.0, 20.0]))
    bench.set(0.0, magnification=magnification)
    pixel_map = compose_pixel_map(
        bench.specimen.true_affine(magnification),
        sensor_shape=view.sensor_shape,
        roi=roi,
        binning=view.binning,
        orientation=view.orientation,
    )
    cell = bench.truth(0.5)
    wanted = rng.uniform(0.3, 0.7, size=2) * view.shape
    offset = pixel_map.to_sample(wanted, 0.0, 0.0)
    stage = np.array([cell.x_um[0], cell.y_um[0]]) - offset
    bench.set(0.5, x_um=stage[0], y_um=stage[1])
    image = bench.snap(1.0)
    assert image.shape == view.shape
    assert lab.moments(image, 300)[0] == pytest.approx(tuple(wanted), abs=0.15)


def test_the_sign_convention_by_hand(lab):
    """A stage move by the affine of a sensor offset moves the picture against it."""
    values = lab.PLAIN | {"rotation_deg": 37.0, "mirror": True, "photons_per_ms": 500.0}
    bench = lab.Bench(**values)
    (a, b), (c, d) = bench.specimen.true_affine(10.0)
    assert a * d - b * c == pytest.approx(-1.0)
    middle = (127.5, 127.5)
    assert lab.moments(bench.snap(1.0), 300)[0] == pytest.approx(middle, abs=0.1)
    dx, dy = 30.0, -45.0
    bench.set(1.5, x_um=a * dx + b * dy, y_um=c * dx + d * dy)
    found = lab.moments(bench.snap(2.0), 300)[0]
    assert found == pytest.approx((127.5 - dy, 127.5 - dx), abs=0.1)


def test_a_stronger_objective_magnifies(lab):
    def area(magnification):
        bench = lab.Bench(**lab.PLAIN | {"photons_per_ms": 500.0})
        bench.set(0.0, magnification=magnification)
        return (bench.snap(1.0) > 5000).sum()

    assert area(20.0) == pytest.approx(4 * area(10.0), rel=0.1)


def test_the_view_gives_the_magnification_where_the_history_has_none(lab):
    values = lab.PLAIN | {"photons_per_ms": 500.0}
    low = lab.Bench(**values).snap(1.0)
    high = lab.Bench(**values, view=lab.full_view(magnification=20.0)).snap(1.0)
    assert (high > 5000).sum() == pytest.approx(4 * (low > 5000).sum(), rel=0.1)


def test_drift_moves_picture_and_truth_together(lab):
    values = lab.PLAIN | {"drift_um_s": (0.5, -0.3, 0.1), "photons_per_ms": 500.0}
    bench = lab.Bench(**values, drift_noise_um=(1.0, 1.0, 0.5))
    first = bench.truth(0.0)
    bench.set(50.0, z_um=5.0)
    image = bench.snap(60.4)
    truth = bench.truth(60.4)
    moved = (truth.x_um[0] - first.x_um[0], truth.y_um[0] - first.y_um[0])
    assert moved == pytest.approx((30.2, -18.1), abs=4.0)
    assert moved != pytest.approx((30.2, -18.1), abs=1e-3)
    assert truth.drift_um[:2] == pytest.approx(moved)
    assert truth.focus_plane_um == pytest.approx(6.0, abs=2.0)
    found = lab.moments(image, 300)[0]
    assert found == pytest.approx(
        (127.5 + truth.y_um[0], 127.5 + truth.x_um[0]), abs=0.2
    )


def test_a_wobbling_stage_jitters_but_returns(lab):
    values = lab.PLAIN | {"photons_per_ms": 500.0, "stage_wobble_um": 2.0}
    bench = lab.Bench(**values)
    found = np.array([lab.moments(bench.snap(1 + 0.13 * i), 300)[0] for i in range(60)])
    offset = found - found.mean(axis=0)
    assert np.sqrt((offset**2).mean(axis=0)) == pytest.approx((2.0, 2.0), rel=0.3)
    assert found.mean(axis=0) == pytest.approx((127.5, 127.5), abs=0.6)
