"""StarDist's rays to polygons."""

from __future__ import annotations

import decode_reference as ref
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartscope.core import ModelError
from smartscope.vision.decode import rays_to_labels
from smartscope.vision.decode._overlap import Shapes

SHAPE = (150, 133)


@pytest.fixture(scope="module", params=[1, 2, 3])
def specimen(request):
    grid = request.param
    disks = ref.grid_of_disks(SHAPE, 26, 13)
    truth = ref.disk_labels(SHAPE, disks)
    return truth, *ref.disk_maps(truth, disks, 32, grid), grid


@pytest.mark.parametrize("exhaustive", [False, True])
def test_touching_and_cut_objects_are_found_as_they_are(specimen, exhaustive) -> None:
    truth, prob, rays, grid = specimen
    stars = rays_to_labels(
        prob, rays, shape=SHAPE, grid=grid, threshold=0.4, exhaustive=exhaustive
    )
    assert stars.labels.shape == SHAPE
    assert stars.labels.dtype == np.int32
    assert ref.same_objects(truth, stars.labels, 0.8)
    assert (np.diff(stars.score) <= 0).all(), "the surest first"
    at = stars.y_px.astype(int), stars.x_px.astype(int)
    assert stars.labels[at].tolist() == list(range(1, len(stars) + 1))
    assert stars.score == pytest.approx(prob[at[0] // grid, at[1] // grid])


def test_outlines_are_the_rays_of_the_winners(specimen) -> None:
    _, prob, rays, grid = specimen
    stars = rays_to_labels(prob, rays, shape=SHAPE, grid=grid, threshold=0.4)
    for k in range(len(stars)):
        y, x = stars.y_px[k], stars.x_px[k]
        own = rays[:, int(y) // grid, int(x) // grid]
        assert stars.outlines[k] == pytest.approx(ref.star_corners(y, x, own), abs=1e-3)


def noisy_maps(seed, shape, pitch):
    """Touching disks with noise on all that a model says of them."""
    rng = np.random.default_rng(seed)
    disks = ref.grid_of_disks(shape, pitch, 0.6 * pitch, seed)
    prob, rays = ref.disk_maps(ref.disk_labels(shape, disks), disks, 32, 2)
    rays *= rng.normal(1, 0.08, rays.shape).astype(np.float32)
    prob += rng.normal(0, 0.05, prob.shape).astype(np.float32) * (prob > 0)
    return prob, rays


@pytest.mark.parametrize("seed", range(4))
def test_the_plain_method_is_that_of_drawn_polygons(seed) -> None:
    asked = {"shape": (40, 40), "grid": 2, "threshold": 0.4}
    prob, rays = noisy_maps(seed, (40, 40), 15)
    stars = rays_to_labels(prob, rays, exhaustive=True, **asked)
    found = list(zip(stars.y_px, stars.x_px, strict=True))
    assert found == ref.greedy_stars(prob, rays, nms=0.4, **asked)
    assert len(found) > 5


@pytest.mark.parametrize("seed", range(12))
def test_rounds_find_what_the_plain_method_finds(seed) -> None:
    prob, rays = noisy_maps(seed, (160, 160), 20)
    asked = {"shape": (160, 160), "grid": 2, "threshold": 0.3}
    fast = rays_to_labels(prob, rays, **asked)
    plain = rays_to_labels(prob, rays, exhaustive=True, **asked)
    assert len(plain) > 40
    same = set(zip(fast.y_px, fast.x_px, strict=True))
    same &= set(zip(plain.y_px, plain.x_px, strict=True))
    assert len(same) >= 0.97 * max(len(fast), len(plain))


@given(
    seed=st.integers(0, 10_000),
    apart=st.floats(0, 25),
    scale=st.floats(0.3, 1.0),
)
@settings(max_examples=40, deadline=None)
def test_shared_area_is_that_of_drawn_polygons(seed, apart, scale) -> None:
    rng = np.random.default_rng(seed)
    angle = 2 * np.pi * np.arange(32) / 32
    one = 11 * (1 + 0.25 * np.sin(2 * angle + rng.uniform(0, 6)))
    other = 11 * scale * (1 + 0.25 * np.sin(3 * angle + rng.uniform(0, 6)))
    at = np.array([[30.0, 30.0], [30.0, 30.0 + apart]])
    shapes = Shapes.of(at[:, 0], at[:, 1], np.stack([one, other]).astype(np.float32))
    (share,) = shapes.shared(np.array([0]), np.array([1]), rings=8)
    drawn = [
        ref.polygon_pixels(ref.star_corners(*p, r), (60, 80), 3)
        for p, r in zip(at, (one, other), strict=True)
    ]
    wanted = (drawn[0] & drawn[1]).sum() / min(drawn[0].sum(), drawn[1].sum())
    assert share == pytest.approx(wanted, abs=0.04)
    assert shapes.area == pytest.approx([d.sum() / 9 for d in drawn], rel=0.02)


def test_pairs_are_near_when_their_circles_meet() -> None:
    rng = np.random.default_rng(3)
    y, x = rng.uniform(0, 100, (2, 60))
    shapes = Shapes.of(y, x, rng.uniform(1, 12, (60, 8)).astype(np.float32))
    first, second = np.arange(0, 60, 2), np.arange(59, 0, -2)
    i, j = shapes.near(first, second)
    apart = np.hypot(y[first][:, None] - y[second], x[first][:, None] - x[second])
    meet = apart < shapes.outer[first][:, None] + shapes.outer[second]
    assert sorted(zip(i, j, strict=True)) == sorted(map(tuple, np.argwhere(meet)))


@pytest.mark.parametrize("radius", [4.0, 8.0, 15.0])
def test_drawn_objects_have_the_area_of_their_polygons(radius) -> None:
    """The outline that the drawing adds must not make every object larger."""
    ratios = []
    for part in np.linspace(0, 1, 9):
        prob = np.zeros((50, 50), np.float32)
        prob[25, 24] = 1
        rays = np.full((32, 50, 50), radius + part, np.float32)
        stars = rays_to_labels(prob, rays, shape=(50, 50), grid=1, threshold=0.5)
        pixels = ref.polygon_pixels(stars.outlines[0], (50, 50))
        ratios.append((stars.labels > 0).sum() / pixels.sum())
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.05)


def test_of_overlapping_objects_the_surer_lies_on_top() -> None:
    prob = np.zeros((40, 60), np.float32)
    prob[20, 20], prob[20, 34] = 0.6, 0.9
    rays = np.full((32, 40, 60), 10, np.float32)
    stars = rays_to_labels(prob, rays, shape=(40, 60), grid=1, threshold=0.5)
    assert stars.x_px.tolist() == [34, 20]
    assert stars.labels[20, 27] == 1
    one = rays_to_labels(prob, rays, shape=(40, 60), grid=1, threshold=0.5, nms=0.1)
    assert one.x_px.tolist() == [34], "they share a quarter of their area"


def test_an_object_that_others_hide_is_left_out() -> None:
    prob = np.zeros((40, 60), np.float32)
    prob[20, [24, 30, 36]] = 0.9, 0.6, 0.8
    rays = np.full((32, 40, 60), 7.0, np.float32)
    rays[:, 20, 30] = 3.0
    kept = {"shape": (40, 60), "grid": 1, "threshold": 0.5}
    stars = rays_to_labels(prob, rays, nms=0.9, **kept)
    assert sorted(np.unique(stars.labels)) == list(range(len(stars) + 1))
    assert stars.x_px.tolist() == [24, 36]


def test_equal_probabilities_always_give_the_same_winners() -> None:
    prob = np.zeros((30, 30), np.float32)
    prob[10:16, 10:16] = 1.0
    rays = np.full((16, 30, 30), 9.0, np.float32)
    stars = rays_to_labels(prob, rays, shape=(30, 30), grid=1, threshold=0.5)
    assert (stars.y_px.tolist(), stars.x_px.tolist()) == ([10], [10])


def test_maps_larger_than_the_image_are_cut() -> None:
    prob = np.full((16, 16), 0.9, np.float32)
    rays = np.full((8, 16, 16), 2.0, np.float32)
    stars = rays_to_labels(prob, rays, shape=(21, 27), grid=2, threshold=0.5)
    assert stars.labels.shape == (21, 27)
    assert stars.y_px.max() <= 20
    assert stars.x_px.max() <= 26


@pytest.mark.parametrize("shape", [(0, 0), (1, 1), (3, 1), (5, 8)])
def test_nothing_is_found_in_nothing(shape) -> None:
    size = tuple(-(-side // 2) for side in shape)
    stars = rays_to_labels(
        np.zeros(size, np.float32),
        np.zeros((8, *size), np.float32),
        shape=shape,
        grid=2,
        threshold=0.5,
    )
    assert len(stars) == 0
    assert stars.labels.shape == shape
    assert not stars.labels.any()
    assert stars.outlines.shape == (0, 8, 2)


def test_rays_that_are_not_finite_are_refused_where_an_object_is() -> None:
    prob = np.zeros((20, 20), np.float32)
    prob[10, 10] = 0.9
    rays = np.full((8, 20, 20), 6.0, np.float32)
    rays[3, 2, 2] = np.nan  # nothing is there, and nobody reads it
    options = {"shape": (40, 40), "grid": 2, "threshold": 0.5}
    assert len(rays_to_labels(prob, rays, **options)) == 1
    for value in (np.nan, np.inf, -np.inf):
        rays[3, 10, 10] = value
        with pytest.raises(ModelError, match="rays that are not finite"):
            rays_to_labels(prob, rays, **options)
