from __future__ import annotations

import numpy as np
import pytest

KIND = "thick_sample"
STILL = {"drift_um_s": (0.0, 0.0, 0.0), "drift_noise_um": (0.0, 0.0, 0.0)}


@pytest.fixture
def tissue(lab):
    def make(seed=3, side=256, **parameters):
        values = STILL | {"vignetting": 0.0} | parameters
        return lab.Bench(seed=seed, kind=KIND, view=lab.full_view(side), **values)

    return make


def _stack(bench, depths_um, t_s=1.0):
    images = []
    for i, z_um in enumerate(depths_um):
        bench.set(t_s + i - 0.5, z_um=float(z_um))
        images.append(bench.snap(t_s + i).astype(float))
    return images


def test_cells_lie_in_a_layer_and_at_all_depths(tissue):
    truth = tissue(z_um=12.0).truth(0.0)
    layer = truth.measures["in_layer"] == 1
    assert (layer.sum(), (~layer).sum()) == (120, 260)
    assert truth.z_um[layer].mean() == pytest.approx(12.0, abs=0.4)
    assert truth.z_um[layer].std() == pytest.approx(1.0, rel=0.3)
    rest = truth.z_um[~layer]
    assert 12 - 35 <= rest.min() < 12 - 30
    assert 12 + 40 < rest.max() <= 12 + 45
    assert truth.measures["depth_um"] == pytest.approx(truth.z_um - 12 + 35)
    assert truth.focus_plane_um == 12.0


def test_the_layer_is_sharpest_in_its_plane(tissue):
    """Contrast from pixel to pixel is highest in the plane that the truth names."""
    bench = tissue(z_um=5.0, other_cells=30, texture=0.0)
    depths = np.arange(-15.0, 26.0, 5.0)
    sharp = [np.diff(i, axis=1).var() for i in _stack(bench, depths)]
    assert depths[np.argmax(sharp)] == bench.truth(1.0).focus_plane_um == 5.0


def test_each_nucleus_is_sharp_at_its_own_depth(tissue):
    bench = tissue(
        layer_cells=0, other_cells=1, area_um=(20.0, 20.0), haze_photons_per_ms=0.0
    )
    truth = bench.truth(0.0)
    near, far = _stack(bench, [truth.z_um[0], truth.z_um[0] + 40])
    edges = [np.abs(np.diff(i, axis=1)).max() for i in (near, far)]
    assert edges[0] > 1.5 * edges[1]


def test_what_lies_deeper_is_dimmer(lab, tissue):
    values = {"layer_spread_um": 0.0, "other_cells": 0, "layer_cells": 1}
    values |= {"haze_photons_per_ms": 0.0, "background_photons_per_ms": 0.0}
    shallow, deep = (
        lab.photons(tissue(**values, depth_um=d).snap(1.0)) for d in (10.0, 60.0)
    )
    assert deep / shallow == pytest.approx(np.exp(-50 / 60), rel=0.05)


def test_the_background_depends_on_how_deep_the_focus_is(tissue):
    bench = tissue(layer_cells=0, other_cells=0)
    above, surface, inside, below = (
        i.mean() for i in _stack(bench, [-80.0, -35.0, -20.0, 80.0])
    )
    empty = 100 + 2 * 20.0  # offset, and background of 1 per ms at 0.5 e per count
    assert above == pytest.approx(empty, rel=0.01)
    assert surface - empty == pytest.approx(0.5 * 2 * 40.0, rel=0.05)
    assert inside > surface
    assert below == pytest.approx(empty, rel=0.01)
    # A field all of background: the truth's plane and the tissue move together.
    moved = tissue(layer_cells=0, other_cells=0, z_um=40.0)
    assert _stack(moved, [5.0])[0].mean() == pytest.approx(surface, rel=0.01)


def test_the_focus_plane_drifts_steadily_and_at_random(lab):
    planes = np.array(
        [
            lab.Bench(seed=seed, kind=KIND, view=lab.full_view(16))
            .truth(60.0)
            .focus_plane_um
            for seed in range(16)
        ]
    )
    assert planes.mean() == pytest.approx(0.02 * 60, abs=4 * 1.0 / 4)
    assert planes.std() == pytest.approx(1.0, rel=0.5)
    bench = lab.Bench(kind=KIND, view=lab.full_view(16))
    truth = bench.truth(240.0)
    layer = truth.measures["in_layer"] == 1
    assert truth.z_um[layer].mean() == pytest.approx(truth.focus_plane_um, abs=0.4)
    assert truth.focus_plane_um == truth.drift_um[2]


def test_widefield_light_bleaches_all_depths_and_kills(tissue):
    bench = tissue(area_um=(200.0, 200.0), harm_dose=100.0, bleach_half_dose=100.0)
    bright = bench.snap(1.0)
    bench.light(2.0, 3.0)
    half = bench.snap(4.0)
    truth = bench.truth(4.02)
    assert truth.dose == pytest.approx(np.full(len(truth), 104.0))
    assert truth.brightness == pytest.approx(np.full(len(truth), 2**-1.04))
    assert truth.alive.all()
    assert half.astype(float).std() < 0.6 * bright.astype(float).std()
    bench.light(5.0, 6.0)
    bench.expose(7.0, 0.0)
    assert not bench.truth(7.0).alive.any()
    still = [bench.truth(t).x_um for t in (8.0, 20.0)]
    assert np.array_equal(*still)


def test_living_nuclei_tremble_a_little(tissue):
    bench = tissue()
    x = np.array([bench.truth(t).x_um for t in range(0, 60, 5)])
    assert 0.1 < np.ptp(x, axis=0).mean() <= 0.4


def test_the_same_seed_gives_the_same_tissue_at_constant_cost(lab):
    one, two = (lab.Bench(kind=KIND) for _ in range(2))
    one.truth(100.0)
    assert np.array_equal(one.snap(200.0), two.snap(200.0))
    assert one.truth(200.0).z_um.tolist() == two.truth(200.0).z_um.tolist()
    other = lab.Bench(kind=KIND, seed=8).truth(0.0)
    assert other.x_um[0] != one.truth(200.0).x_um[0]
    assert len(one.truth(200.0)) == len(one.truth(2000.0)) == 380
    assert one.truth(2000.0).events == ()
