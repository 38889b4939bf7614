"""Debris, floating and dead cells: in the picture, not in the truth."""

from __future__ import annotations

import numpy as np
import pytest

from smartscope.core import ConfigError
from smartscope.specimen import make_specimen, specimen_kinds, use_threads
from smartscope.specimen._distractors import Distractors
from smartscope.specimen._kind_dividing_cells import DividingCellsBiology

EMPTY = {
    "cells": 0,
    "vignetting": 0.0,
    "background_photons_per_ms": 0.0,
    "drift_um_s": (0.0, 0.0, 0.0),
    "bleach_half_dose": 1e12,
    "photons_per_ms": 200.0,
}
STILL = {"per_mm2": 1000.0, "area_um": (400.0, 400.0), "drifting": 0.0}


def _alike(a, b):
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def test_there_are_none_by_default(lab):
    plain = lab.Bench(cells=30)
    assert isinstance(plain.specimen.biology, DividingCellsBiology)
    away = {"per_mm2": 500.0, "area_um": (50.0, 50.0), "drifting": 0.0}
    littered = lab.Bench(cells=30, debris=away)
    for bench in (plain, littered):
        bench.set(0.5, x_um=250.0)
    assert np.array_equal(plain.snap(1.0), littered.snap(1.0))
    for bench in (plain, littered):
        bench.set(1.5, x_um=0.0)
    assert not np.array_equal(plain.snap(2.0), littered.snap(2.0))


def test_debris_is_as_much_as_asked_for_and_stays_in_its_place(lab):
    def seen(per_mm2, x_um=0.0):
        debris = STILL | {"per_mm2": per_mm2, "brightness_spread": 0.0}
        bench = lab.Bench(**EMPTY, debris=debris)
        bench.set(0.5, x_um=x_um)
        return bench.snap(1.0).astype(float)

    image, moved = seen(1000.0), seen(1000.0, 60.0)
    assert _alike(image[:, 60:], moved[:, :-60]) > 0.98
    assert abs(_alike(image, moved)) < 0.1
    assert lab.photons(seen(4000.0)) == pytest.approx(4 * lab.photons(image), rel=0.25)


@pytest.mark.parametrize("z_um", [0.0, 15.0])
def test_one_speck_gives_its_photons_in_and_out_of_focus(lab, z_um):
    speck = {
        "per_mm2": 400.0,
        "area_um": (50.0, 50.0),
        "clumps": 0.0,
        "brightness": 2.0,
        "brightness_spread": 0.0,
        "size_um": 4.0,
        "drifting": 0.0,
        "z_spread_um": 0.0,
    }
    bench = lab.Bench(**EMPTY, debris=speck)
    bench.set(0.5, z_um=z_um)
    image = bench.snap(1.0)
    # A Gaussian whose standard deviation is half of the radius.
    expected = 2.0 * 200 * 20 * 2 * np.pi * 2.0**2
    assert lab.photons(image) == pytest.approx(expected, rel=0.01)
    blur_um = 0.8 * np.hypot(1.0, z_um / 4.0)
    peak = expected / (2 * np.pi * (2.0**2 + blur_um**2 + 1 / 12))
    assert (image.max() - 100) * 0.5 == pytest.approx(peak, rel=0.1)


def test_debris_bleaches_where_light_falls(lab):
    values = EMPTY | {"bleach_half_dose": 10.0, "debris": STILL}
    lit, dark = lab.Bench(**values), lab.Bench(**values)
    lit.light(1.0, 1.1)
    seen = lab.photons(lit.snap(3.0, 2.0)), lab.photons(dark.snap(3.0, 2.0))
    assert seen[0] == pytest.approx(seen[1] / 2, rel=0.05)
    for bench in (lit, dark):
        bench.set(4.0, x_um=300.0)
    assert np.array_equal(lit.snap(5.0, 2.0), dark.snap(5.0, 2.0))


def test_drifting_debris_moves_with_time_and_the_rest_does_not(lab):
    def change(drifting):
        debris = STILL | {"drifting": drifting, "speed_um_s": 0.3}
        bench = lab.Bench(**EMPTY, debris=debris)
        return _alike(bench.snap(1.0).astype(float), bench.snap(61.0).astype(float))

    assert change(0.0) > 0.99
    assert change(1.0) < 0.3


def test_what_drifts_out_comes_in_again():
    sort = Distractors(
        xyz_um=np.array([[40.0, 0.0, 3.0], [0.0, -49.0, 0.0]]),
        velocity_um_s=np.array([[2.0, 0.0], [0.0, -1.0]]),
        area_um=(100.0, 100.0),
        draw=lambda xyz_um, left, picture: None,
    )
    assert sort.at(0.0).tolist() == sort.xyz_um.tolist()
    assert sort.at(10.0).tolist() == [[-40.0, 0.0, 3.0], [0.0, 41.0, 0.0]]


@pytest.mark.parametrize("camera", [{}, {"kind": "emccd"}, {"read_noise_e": 0.3}])
def test_the_same_seed_gives_the_same_pixels_with_any_number_of_threads(lab, camera):
    def image(seed=3, looks=(), threads=None):
        use_threads(threads)
        try:
            bench = lab.Bench(
                seed=seed,
                view=lab.full_view(400),
                cells=20,
                debris=STILL | {"drifting": 0.5},
                floating_cells=0.5,
                dead_cells=0.5,
                camera=camera,
            )
            for t_s in looks:
                bench.expose(t_s)
            return bench.snap(5.0)
        finally:
            use_threads(None)

    usual = image(threads=1)
    assert np.array_equal(usual, image(looks=(0.3, 1.0, 4.9), threads=2))
    assert np.array_equal(usual, image(threads=3))
    assert not np.array_equal(usual, image(seed=4))


def test_truth_knows_nothing_of_them(lab):
    values = {"cells": 12, "synchrony": 1.0, "cell_cycle_s": 300.0, "mitosis_s": 60.0}
    plain = lab.Bench(**values)
    full = lab.Bench(**values, debris=STILL, floating_cells=1.0, dead_cells=1.0)
    for bench in (plain, full):
        bench.snap(50.0)
    a, b = plain.truth(200.0), full.truth(200.0)
    assert len(a.events) > 3
    assert a.events == b.events
    assert a.divisions == b.divisions
    for name in ("cell_id", "x_um", "z_um", "dose", "phase", "brightness"):
        assert np.array_equal(getattr(a, name), getattr(b, name))


def _added(lab, channel, **more):
    """What distractors add to the image, electrons."""
    values = EMPTY | {
        "cells": 20,
        "area_um": (230.0, 230.0),
        "channels": {"CYTO": "cytoplasm", "BF": "brightfield"},
    }
    images = []
    for distractors in ({}, more):
        view = lab.full_view(channel=channel)
        bench = lab.Bench(view=view, **values, **distractors)
        images.append(bench.snap(1.0).astype(float))
    return (images[1] - images[0]) * 0.5


@pytest.mark.parametrize("channel", [None, "CYTO", "BF"])
def test_floating_cells_are_large_soft_and_dead_ones_small_and_sharp(lab, channel):
    floating = _added(lab, channel, floating_cells=0.5, floating_um=60.0)
    dead = _added(lab, channel, dead_cells=0.5)
    sign = -1 if channel == "BF" else 1
    for added in (floating, dead):
        assert sign * added.sum() > 1000
    # Noise aside, steps between neighbours tell sharp from soft.
    level = {None: 4000, "CYTO": 1500, "BF": 300}[channel]
    steps = [
        (np.abs(np.diff(added, axis=1)) > 0.35 * level).sum()
        for added in (floating, dead)
    ]
    assert steps[1] > 50
    assert steps[0] < steps[1] / 10


def test_debris_is_dark_where_light_shines_through(lab):
    debris = STILL | {"z_spread_um": 0.0}
    added = _added(lab, "BF", debris=debris)
    assert added.min() < -200
    assert added.max() < 200
    assert _added(lab, None, debris=debris).max() > 2000


def test_closed_light_shows_none(lab):
    bench = lab.Bench(**EMPTY, debris=STILL, floating_cells=1.0, dead_cells=1.0)
    assert bench.expose(1.0).max() < 100 + 8 * 1.6 / 0.5


@pytest.mark.parametrize("kind", specimen_kinds())
def test_every_kind_can_have_debris(lab, kind):
    """Bright dirt in front of whatever the kind shows."""
    dirt = {"per_mm2": 3000.0, "area_um": (250.0, 250.0), "brightness": 30.0}
    plain, dirty = (lab.Bench(kind=kind, **more) for more in ({}, {"debris": dirt}))
    assert not np.array_equal(plain.snap(0.2), dirty.snap(0.2))
    a, b = plain.truth(0.2), dirty.truth(0.2)
    assert np.array_equal(a.x_um, b.x_um)
    assert a.events == b.events


def test_a_wrong_share_is_refused():
    with pytest.raises(ConfigError, match=r"specimen\.debris\.clumps"):
        make_specimen("dividing_cells", seed=1, parameters={"debris": {"clumps": 1.5}})
