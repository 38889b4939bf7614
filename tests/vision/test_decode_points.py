"""Heat maps to points, emitters, classes."""

from __future__ import annotations

import decode_reference as ref
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartscope.vision.decode import (
    classes_of,
    density_to_emitters,
    heat_to_points,
    maps_to_emitters,
)

EMPTY = [(0, 0), (1, 1), (1, 9), (40, 30)]


def spread_points(seed, count=25, side=80):
    rng = np.random.default_rng(seed)
    y, x = np.divmod(np.arange(count), 5)
    jitter = rng.uniform(-3, 3, (2, count))
    return np.column_stack([y, x]) * (side / 5) + side / 10 + jitter.T


@pytest.mark.parametrize("sigma", [1.0, 1.5, 2.5])
def test_gaussians_are_placed_to_a_tenth_of_a_pixel(sigma) -> None:
    truth = spread_points(0)
    points = heat_to_points(
        ref.gaussian_heat((80, 80), truth, sigma), threshold=0.3, min_distance_px=3
    )
    assert len(points) == len(truth)
    found = np.column_stack([points.y_px, points.x_px])
    apart = np.hypot(*(found[:, None] - truth).transpose(2, 0, 1))
    assert sorted(apart.argmin(axis=1)) == list(range(len(truth)))
    assert apart.min(axis=1).max() < 0.1
    order = np.lexsort((np.rint(found[:, 1]), np.rint(found[:, 0])))
    assert order.tolist() == list(range(len(found))), "raster order"


def test_noise_moves_points_by_little() -> None:
    truth = spread_points(1)
    heat = ref.gaussian_heat((80, 80), truth)
    heat += np.random.default_rng(0).normal(0, 0.01, heat.shape).astype(np.float32)
    points = heat_to_points(heat, threshold=0.3, min_distance_px=4)
    found = np.column_stack([points.y_px, points.x_px])
    apart = np.hypot(*(found[:, None] - truth).transpose(2, 0, 1)).min(axis=1)
    assert len(found) == len(truth)
    assert np.sqrt((apart**2).mean()) < 0.1


def test_points_on_the_border_are_found() -> None:
    truth = np.array([(0, 0), (0, 20.4), (39, 31), (17.7, 31)])
    points = heat_to_points(
        ref.gaussian_heat((40, 32), truth), threshold=0.3, min_distance_px=3
    )
    assert points.y_px == pytest.approx([0, 0, 17.7, 39], abs=0.05)
    assert points.x_px == pytest.approx([0, 20.4, 31, 31], abs=0.05)


@given(seed=st.integers(0, 1000), distance=st.floats(0, 9))
@settings(max_examples=40, deadline=None)
def test_the_higher_of_near_peaks_wins(seed, distance) -> None:
    heat = np.random.default_rng(seed).random((24, 31)).astype(np.float32)
    points = heat_to_points(heat, threshold=0.5, min_distance_px=distance)
    tops = []
    for i, j in sorted(np.ndindex(heat.shape), key=lambda at: -heat[at]):
        around = heat[max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2]
        free = all(np.hypot(i - k, j - m) >= distance for k, m in tops)
        if heat[i, j] > 0.5 and heat[i, j] == around.max() and free:
            tops.append((i, j))
    assert points.score.tolist() == [heat[at] for at in sorted(tops)]
    assert np.abs(points.y_px - [i for i, _ in sorted(tops)]).max(initial=0) <= 0.5


def test_a_flat_top_is_one_point_at_its_middle() -> None:
    heat = np.zeros((20, 20), np.float32)
    heat[4:9, 5:12] = 1
    points = heat_to_points(heat, threshold=0.5, min_distance_px=0)
    assert (points.y_px.tolist(), points.x_px.tolist()) == ([6], [8])


def test_offsets_and_grid_lead_to_full_resolution() -> None:
    heat = np.zeros((10, 10), np.float32)
    heat[3, 4] = 0.9
    offsets = np.zeros((2, 10, 10), np.float32)
    offsets[:, 3, 4] = 1.25, -0.5
    points = heat_to_points(
        heat, threshold=0.5, min_distance_px=8, grid=4, offsets=offsets
    )
    assert (points.y_px.tolist(), points.x_px.tolist()) == ([13.25], [15.5])
    plain = heat_to_points(heat, threshold=0.5, min_distance_px=8, grid=4)
    assert (plain.y_px.tolist(), plain.x_px.tolist()) == ([12], [16])


def test_distance_is_in_full_resolution_pixels() -> None:
    heat = np.zeros((10, 20), np.float32)
    heat[5, [4, 9]] = 0.9, 0.8
    far = heat_to_points(heat, threshold=0.5, min_distance_px=10, grid=2)
    near = heat_to_points(heat, threshold=0.5, min_distance_px=10.5, grid=2)
    assert (len(far), len(near)) == (2, 1)


def decode_maps(shape, emitters):
    """DECODE's maps of ``(y, x, photons)``; probability is shared with neighbours."""
    maps = np.zeros((10, *shape), np.float32)
    for y, x, photons in emitters:
        i, j = round(y), round(x)
        for k, m, share in ((i, j, 0.75), (i, j + 1, 0.15)):
            maps[0, k, m] += share
            maps[1:, k, m] = photons, x - m, y - k, 0.3, 9, 0.1, 0.2, 0.05, 40
    return maps


def test_emitters_gather_their_probability_and_keep_their_numbers() -> None:
    truth = [(3.2, 4.4, 900.0), (10.0, 14.75, 500.0), (15.6, 0.0, 300.0)]
    found = maps_to_emitters(decode_maps((17, 20), truth), threshold=0.7)
    assert found.y_px == pytest.approx([y for y, _, _ in truth], abs=1e-5)
    assert found.x_px == pytest.approx([x for _, x, _ in truth], abs=1e-5)
    assert found.photons == pytest.approx([p for _, _, p in truth])
    assert found.prob == pytest.approx([0.9] * 3)
    assert found.z_um == pytest.approx([0.3] * 3)
    assert found.background == pytest.approx([40] * 3)
    assert found.sigma_photons == pytest.approx([9] * 3)
    assert found.sigma_x_px == pytest.approx([0.1] * 3)
    assert found.sigma_y_px == pytest.approx([0.2] * 3)
    assert found.sigma_z_um == pytest.approx([0.05] * 3)


def test_shared_probability_makes_one_emitter_and_two_sure_ones_stay_two() -> None:
    maps = np.zeros((10, 9, 9), np.float32)
    maps[0, 4, 3:5] = 0.45, 0.4
    assert len(maps_to_emitters(maps, threshold=0.7)) == 1
    maps[0, 4, 3:5] = 0.95, 0.9
    found = maps_to_emitters(maps, threshold=0.7)
    assert found.x_px.tolist() == [3, 4]
    assert found.prob.max() <= 1
    maps[0, 4, 3:5] = 0.45, 0.1
    assert len(maps_to_emitters(maps, threshold=0.7)) == 0, "too little in all"


@pytest.mark.parametrize("upsampling", [4, 8])
def test_density_peaks_become_camera_pixels(upsampling) -> None:
    truth = np.array([(3.3, 5.1), (8.75, 2.0), (9.0, 10.4)])
    fine = (truth + 0.5) * upsampling - 0.5
    density = 0.2 * ref.gaussian_heat((12 * upsampling,) * 2, fine, 0.8)
    found = density_to_emitters(density, upsampling=upsampling, threshold=0.05)
    assert found.y_px == pytest.approx(truth[:, 0], abs=0.1 / upsampling)
    assert found.x_px == pytest.approx(truth[:, 1], abs=0.1 / upsampling)
    assert found.photons == pytest.approx([0.2 * 2 * np.pi * 0.8**2] * 3, rel=0.05)
    assert found.z_um is None


@pytest.mark.parametrize("shape", EMPTY)
def test_nothing_is_found_in_nothing(shape) -> None:
    nothing = np.zeros(shape, np.float32)
    assert len(heat_to_points(nothing, threshold=0.0, min_distance_px=3)) == 0
    assert len(density_to_emitters(nothing, upsampling=4, threshold=0.0)) == 0
    maps = np.zeros((10, *shape), np.float32)
    assert len(maps_to_emitters(maps, threshold=0.5)) == 0


def test_classes() -> None:
    assert classes_of(np.array([0.1, 0.7, 0.2])) == (1, 0.7)
    index, sure = classes_of(
        np.array([1000.0, 1000.0, 0.0]).reshape(3, 1, 1), softmax=True
    )
    assert (index, sure) == (0, 0.5)
    logits = np.array([0.3, -1.2, 2.0])
    index, sure = classes_of(logits, softmax=True)
    assert index == 2
    assert sure == pytest.approx(np.exp(2) / np.exp(logits).sum())
