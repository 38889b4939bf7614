from __future__ import annotations

import numpy as np
import pytest

from smartscope.specimen import Pattern

KIND = "optogenetic_cell"
CALM = {
    "ruffle_um_s": 0.0,
    "wander_um_s": 0.0,
    "vignetting": 0.0,
    "drift_um_s": (0.0, 0.0, 0.0),
    "bleach_half_dose": 1e12,
    "harm_dose": 1e12,
}


@pytest.fixture
def cell(lab):
    """A cell in a field of 64 um; 488 steers, 561 shows; SLM patterns by their mask."""

    def make(p488=0.0, mask=None, channel=None, seed=3, p561=100.0, **parameters):
        patterns = {} if mask is None else {1: Pattern(np.float32(mask))}
        view = lab.full_view(
            256,
            magnification=40.0,
            gates={"488": "always", "561": "camera_ttl"},
            slm_line="488",
            patterns=patterns,
            channel=channel,
        )
        values = {
            "activation": {"488": 1},
            "excitation": {"488": 0},
            "harm": {"561": 0},
        }
        values |= {"channels": {"R": "reporter", "BF": "brightfield"}}
        bench = lab.Bench(
            seed=seed, kind=KIND, view=view, shutter=False, **values | parameters
        )
        bench.set(0.0, slm=1, **{"power:488": p488, "power:561": p561})
        bench.expose(0.0, 0.0)
        return bench

    return make


@pytest.fixture
def right():
    """Light on the right half of the field."""
    mask = np.zeros((256, 256))
    mask[:, 128:] = 1
    return mask


def _where(truth):
    return np.array([truth.x_um[0], truth.y_um[0]])


def test_a_half_lit_cell_sets_off_at_the_speed_of_its_edge(cell, right):
    """The centroid of a disc gains 2 / pi of the edge's speed, +-1/2 on its halves."""
    bench = cell(100.0, right, **CALM, response_s=0.2, rounding_s=1e9)
    moved = (_where(bench.truth(8.0)) - _where(bench.truth(3.0))) / 5.0
    assert moved[0] == pytest.approx(2 / np.pi * 0.2 * 100 / 102, rel=0.1)
    assert abs(moved[1]) < 0.01


def test_it_moves_into_the_light_and_stays_there_at_constant_area(cell, right):
    bench = cell(10.0, right, **CALM)
    end = bench.truth(400.0)
    assert 9.0 < end.x_um[0] < 20.0
    assert bench.truth(460.0).x_um[0] == pytest.approx(end.x_um[0], abs=1.0)
    for t_s in (0.0, 50.0, 400.0):
        assert bench.truth(t_s).radius_um[0] == pytest.approx(12.0, rel=3e-3)


def test_light_without_a_pattern_falls_everywhere_and_moves_nothing(cell):
    bench = cell(50.0, **CALM)
    truth = bench.truth(120.0)
    assert truth.measures["activity"][0] == pytest.approx(50 / 52, rel=1e-6)
    assert np.hypot(*_where(truth)) < 1e-6


def test_activity_follows_light_with_a_lag(cell):
    bench = cell(2.0, **CALM)
    activity = [bench.truth(t).measures["activity"][0] for t in (6.0, 60.0)]
    assert activity == pytest.approx([0.5 * (1 - np.exp(-1)), 0.5], rel=1e-3)


def test_in_the_dark_it_walks_at_random(cell):
    ends = np.array([_where(cell(0.0, seed=seed).truth(400.0)) for seed in range(6)])
    way = np.hypot(*ends.T)
    assert 0.5 < way.mean() < 6.0
    assert np.abs(np.hypot(*ends.mean(axis=0))) < way.mean()


def test_the_reporter_is_first_order_in_dose_and_decay(cell):
    bench = cell(20.0, **CALM)
    bench.set(600.0, **{"power:488": 0.0})
    full = 0.0005 * 20.0 * 300.0
    for t_s in (10.5, 100.0, 300.0, 600.0):
        level = bench.truth(t_s).measures["reporter"][0]
        assert level == pytest.approx(full * (1 - np.exp(-t_s / 300)), rel=1e-3)
    bench.expose(600.0, 0.0)
    after = bench.truth(900.0).measures["reporter"][0]
    assert after == pytest.approx(full * (1 - np.exp(-2)) * np.exp(-1), rel=1e-3)


def test_each_cell_counts_its_own_light(cell, right):
    values = CALM | {"cells": 2, "area_um": (60.0, 1.0), "edge_um_s": 0.0}
    bench = cell(20.0, right, **values)
    start = bench.truth(0.0)
    level = bench.truth(100.0).measures["reporter"]
    lit, dark = np.argmax(start.x_um), np.argmin(start.x_um)
    assert start.x_um[dark] < -13 < start.x_um[lit]
    assert level[dark] == 0.0
    assert level[lit] > 0.05


def test_pictures_show_the_cell_where_it_is_and_its_reporter(lab, cell, right):
    bench = cell(10.0, right, **CALM, background_photons_per_ms=0.0)
    bench.expose(100.0, 0.0)
    image, truth = bench.expose(100.0, 50.0), bench.truth(100.0)
    (y, x), _ = lab.moments(image, 160)
    assert (x - 127.5) / 4 == pytest.approx(truth.x_um[0], abs=0.3)
    assert (y - 127.5) / 4 == pytest.approx(truth.y_um[0], abs=0.3)
    levels = []
    for t_s in (60.0, 240.0):
        shown = cell(10.0, **CALM, channel="R", background_photons_per_ms=0.0)
        shown.expose(t_s, 0.0)
        level = shown.truth(t_s).measures["reporter"][0]
        levels.append(lab.photons(shown.expose(t_s, 50.0)) / level)
    assert levels[0] == pytest.approx(levels[1], rel=0.03)


def test_label_free_it_has_a_dark_rim(cell):
    bench = cell(0.0, **CALM, channel="BF")
    image = bench.expose(1.0, 20.0).astype(float)
    row, ground = image[120:136].mean(axis=0), np.median(image[:20])
    rim = [int(127.5 - 48), int(127.5 + 48)]
    assert all(row[i - 2 : i + 3].min() < 0.8 * ground for i in rim)
    assert 0.85 * ground < row[100] < 0.99 * ground


def test_neighbours_push_each_other_apart(cell):
    bench = cell(0.0, **CALM, cells=4, area_um=(20.0, 20.0))

    def nearest(truth):
        xy = np.stack([truth.x_um, truth.y_um], 1)
        gaps = np.linalg.norm(xy[:, None] - xy[None], axis=2)
        return gaps[np.triu_indices(4, 1)].min()

    assert nearest(bench.truth(200.0)) > max(1.8 * 12.0, nearest(bench.truth(0.0)))


def test_too_much_light_stills_and_kills(cell, right):
    values = CALM | {"harm_dose": 500.0, "harm": {"561": 0, "488": 1}}
    bench = cell(100.0, np.ones((256, 256)), **values)
    bench.set(12.0, **{"power:488": 0.0})
    dead = bench.truth(13.0)
    assert not dead.alive[0]
    level = dead.measures["reporter"][0]
    assert 0 < level < 0.0005 * 1100
    later = bench.truth(100.0)
    assert _where(later) == pytest.approx(_where(dead), abs=0.02)
    assert bench.truth(8.0).alive[0]


def test_the_same_seed_gives_the_same_life_however_often_one_looks(cell, right):
    often, once = (cell(10.0, right, cells=2) for _ in range(2))
    for t_s in np.arange(1.0, 40.0, 2.7):
        often.expose(t_s, 0.0)
        often.truth(t_s)
        once.expose(t_s, 0.0)
    assert often.truth(40.0).x_um.tolist() == once.truth(40.0).x_um.tolist()
    assert np.array_equal(often.expose(40.5, 20.0), once.expose(40.5, 20.0))
    assert (
        cell(10.0, right, cells=2, seed=5).truth(40.0).x_um[1]
        != (once.truth(40.0).x_um[1])
    )
    assert len(once.specimen.biology.points(once.specimen._kept[-1].state, 0.0)) == 122
