"""Mitochondria: fissions in light, time and truth."""

from __future__ import annotations

import numpy as np
import pytest

STILL = {
    "cells": 1,
    "area_um": (1.0, 1.0),
    "drift_um_s": (0.0, 0.0, 0.0),
    "vignetting": 0.0,
    "autofluorescence": 0.0,
    "background_photons_per_ms": 0.0,
    "bleach_half_dose": 1e12,
    "harm_dose": 1e12,
    "z_spread_um": 0.0,
    "fusion_per_min": 0.0,
    "decoys": 0.0,
    "channels": {"Rhodamine": "marker"},
}
SPLITTING = STILL | {
    "mitochondria": 1,
    "length_um": 9.0,
    "length_spread": 0.0,
    "speed_um_s": 0.0,
    "fission_per_um_min": 0.3,
    "abortive_share": 0.0,
    "max_mitochondria": 2,
}


def _bench(lab, seed=3, side=400, **changes):
    view = lab.full_view(side, magnification=100.0)
    return lab.Bench(seed=seed, view=view, kind="mitochondria", **changes)


def _fissions(truth, kind="fission"):
    return [event for event in truth.events if event.kind == kind]


def _around(image, bench, x_um, y_um, reach=3):
    """Sum of a square of pixels around a place; the stage is at 0, 0."""
    height, width = image.shape
    pixel_um = 0.1
    x = round((width - 1) / 2 + x_um / pixel_um)
    y = round((height - 1) / 2 + y_um / pixel_um)
    part = image[y - reach : y + reach + 1, x - reach : x + reach + 1]
    return float((part.astype(float) - 100.0).sum())


def test_a_fission_keeps_all_light_and_both_halves_draw_apart(lab):
    bench = _bench(lab, **SPLITTING | {"photons_per_ms": 200.0})
    (event,) = _fissions(bench.truth(300.0))
    assert event.end_s - event.onset_s > 15
    before = lab.photons(bench.snap(max(event.onset_s - 1, 0.0)))
    during = lab.photons(bench.snap(event.end_s - 1))
    after = lab.photons(bench.snap(event.end_s + 0.5))
    late = lab.photons(bench.snap(event.end_s + 30))
    for light in (during, after, late):
        assert light == pytest.approx(before, rel=0.005)
    whole, parted = bench.truth(event.end_s - 0.1), bench.truth(event.end_s + 0.1)
    apart = bench.truth(event.end_s + 30)
    assert whole.cell_id.tolist() == [event.object_id]
    assert parted.parent_id.tolist() == [event.object_id] * 2
    gap = [np.hypot(*(np.diff(t.x_um), np.diff(t.y_um))) for t in (parted, apart)]
    # Each half draws back along itself, so a bent tube has its middles part by less.
    assert 0.7 < gap[1] - gap[0] < 1.6


def test_onset_and_end_are_what_the_pixels_show(lab):
    bench = _bench(lab, **SPLITTING)
    (event,) = _fissions(bench.truth(300.0))
    span = event.end_s - event.onset_s

    def neck(t_s, **changes):
        view = lab.full_view(400, magnification=100.0, **changes)
        return _around(bench.snap(t_s, view=view), bench, event.x_um, event.y_um)

    times = event.onset_s + span * np.array([-0.02, 0.01, 0.3, 0.6, 0.95, 1.03, 1.5])
    tube, marker = [], []
    for t_s in times:
        tube.append(neck(t_s))
        marker.append(neck(t_s + 0.1, channel="Rhodamine"))
    relative = np.array(tube) / tube[0]
    assert relative[1] == pytest.approx(1.0, abs=0.06)
    assert (np.diff(relative[1:5]) < -0.05).all()
    assert relative[4] < 0.55
    assert relative[6] < 0.1
    full = max(marker)
    assert abs(marker[0]) < 0.1 * full
    assert marker[2] > 0.3 * full
    assert marker[4] > 0.9 * full
    assert marker[6] < 0.6 * full


def test_a_constriction_that_relaxes_leaves_one_tube(lab):
    rare = {"abortive_share": 0.95, "fission_per_um_min": 0.003}
    bench = _bench(lab, **SPLITTING | rare)
    relaxed = _fissions(bench.truth(400.0), "constriction")[0]
    middle = bench.truth((relaxed.onset_s + relaxed.end_s) / 2)
    assert 0.4 < middle.measures["narrowing"][0] < 0.5
    after = bench.truth(relaxed.end_s + 0.1)
    assert after.cell_id.tolist() == [relaxed.object_id]
    assert after.measures["narrowing"][0] == 0


@pytest.mark.parametrize("rate", [0.002, 0.004])
def test_fissions_come_at_their_rate(lab, rate):
    seen, expected = 0, 0.0
    for seed in range(4):
        bench = _bench(
            lab,
            seed=seed,
            **STILL
            | {"mitochondria": 150, "length_um": 8.0, "length_spread": 0.0}
            | {"fission_per_um_min": rate, "constriction_s": 5.0},
        )
        for t_s in range(0, 120, 20):
            length_um = bench.truth(t_s).measures["length_um"]
            # Short pieces cannot part; those that constrict are not asked again.
            expected += rate * length_um[length_um > 2.64].sum() * 20 / 60
        seen += len(_fissions(bench.truth(120.0)))
    assert abs(seen - expected) < 3.5 * np.sqrt(expected)
    assert expected > 12 * rate / 0.002


def test_total_length_and_light_are_bounded_and_ids_never_come_back(lab):
    bench = _bench(
        lab,
        **STILL
        | {"mitochondria": 60, "fission_per_um_min": 0.05, "fusion_per_min": 2.0}
        | {"max_mitochondria": 70},
    )
    known, seen = set(), set()
    kinds = set()
    for t_s in range(0, 600, 30):
        truth = bench.truth(t_s)
        ids = set(truth.cell_id.tolist())
        assert len(truth) <= 70
        assert not (ids & (seen - known))
        seen, known = seen | ids, ids
        kinds |= {event.kind for event in truth.events}
        bench.expose(t_s)
    assert kinds == {"fission", "fusion", "constriction"}
    assert truth.scalars["network_um"] < 1.3 * bench.truth(570).scalars["network_um"]


def test_the_same_seed_gives_the_same_network_however_often_one_looks(lab):
    def life(times):
        bench = _bench(lab, fission_per_um_min=0.01)
        for t_s in times:
            bench.expose(t_s)
            bench.truth(t_s + 5)
        return bench.snap(90.0), bench.truth(90.0)

    (image, truth), (again, truth_again) = life([]), life(np.arange(1.0, 89.0, 9.7))
    assert np.array_equal(image, again)
    assert str(truth.events) == str(truth_again.events)
    assert np.array_equal(truth.x_um, truth_again.x_um)
    assert len(_fissions(truth)) > 3


def test_light_bleaches_slows_and_stops_fission(lab):
    lives = {}
    for lit in (False, True):
        bench = _bench(
            lab,
            fission_per_um_min=0.02,
            harm_dose=500.0,
            bleach_half_dose=500.0,
            cells=1,
            area_um=(1.0, 1.0),
        )
        if lit:
            bench.light(1.0, 21.0)
            for t_s in np.arange(1.0, 21.0, 0.5):
                bench.expose(t_s, ms=500)
        lives[lit] = (bench.truth(30.0), bench.truth(90.0))
    early, late = lives[True]
    assert not late.alive.any()
    assert (late.brightness < 0.15).all()
    assert not [e for e in late.events if e.onset_s > 24]
    assert [e for e in lives[False][1].events if e.onset_s > 24]
    ids = np.intersect1d(early.cell_id, late.cell_id)
    moved = (
        early.x_um[np.isin(early.cell_id, ids)] - late.x_um[np.isin(late.cell_id, ids)]
    )
    assert np.median(np.abs(moved)) < 0.2
