"""Bacteria: growth, division, pushing, food and light."""

from __future__ import annotations

import numpy as np
import pytest

PLAIN = {
    "drift_um_s": (0.0, 0.0, 0.0),
    "vignetting": 0.0,
    "background_photons_per_ms": 0.0,
    "bleach_half_dose": 1e12,
    "harm_dose": 1e12,
    "growth_spread": 0.0,
    "brightness_spread": 0.0,
    "channels": {"Rhodamine": "phase"},
}
ONE = PLAIN | {"cells": 1, "area_um": (1.0, 1.0)}


def _bench(lab, seed=3, side=256, **changes):
    view = lab.full_view(side, magnification=100.0)
    return lab.Bench(seed=seed, view=view, kind="bacteria", **changes)


def _overlap(truth, width_um=0.9):
    """Deepest overlap of two cells, from points along their axes."""
    axis = truth.measures["length_um"] - width_um
    along = np.linspace(-0.5, 0.5, 15)[None, :] * axis[:, None]
    angle = truth.measures["angle"][:, None]
    x = truth.x_um[:, None] + along * np.cos(angle)
    y = truth.y_um[:, None] + along * np.sin(angle)
    points = np.stack([x, y], axis=2)
    n = len(points)
    worst = 0.0
    for i in range(n):
        for j in range(i + 1, n):
            gaps = np.linalg.norm(points[i][:, None] - points[j][None], axis=2)
            worst = max(worst, width_um - float(gaps.min()))
    return worst


def test_cells_elongate_exponentially_and_double_in_time(lab):
    bench = _bench(lab, **PLAIN, cells=3, doubling_s=800.0, area_um=(200.0, 200.0))
    begin = bench.truth(0.0).measures["length_um"].sum()
    for doublings in (1, 2, 3):
        later = bench.truth(800.0 * doublings).measures["length_um"].sum()
        assert later == pytest.approx(begin * 2**doublings, rel=0.01)


@pytest.mark.parametrize("doubling_s", [400.0, 800.0])
def test_divisions_keep_pace_with_growth(lab, doubling_s):
    counts = [
        len(_bench(lab, seed=seed, **PLAIN, doubling_s=doubling_s).truth(1600.0))
        for seed in range(3)
    ]
    expected = 6 * 2 ** (1600.0 / doubling_s)
    assert np.mean(counts) == pytest.approx(expected, rel=0.2)


def test_a_division_keeps_all_light_and_both_daughters_touch(lab):
    bench = _bench(lab, **ONE, doubling_s=600.0, photons_per_ms=150.0)
    (event,) = [e for e in bench.truth(900.0).events if np.isfinite(e.end_s)][:1]
    truths = {}
    lights = []
    for t_s in (event.onset_s, event.end_s - 0.2, event.end_s + 0.2):
        lights.append(lab.photons(bench.snap(t_s)))
        truths[t_s] = bench.truth(t_s)
    assert lights[1] > 1.05 * lights[0]
    assert lights[2] == pytest.approx(lights[1], rel=0.01)
    before, after = list(truths.values())[1:]
    assert before.cell_id.tolist() == [event.object_id]
    assert after.parent_id.tolist() == [event.object_id] * 2
    assert after.measures["length_um"].sum() == pytest.approx(
        before.measures["length_um"].sum(), rel=0.01
    )
    gap = np.hypot(np.diff(after.x_um), np.diff(after.y_um))[0]
    assert gap == pytest.approx(after.measures["length_um"].mean(), rel=0.05)


def test_onset_and_end_are_what_the_pixels_show(lab):
    bench = _bench(lab, **ONE, doubling_s=1200.0, photons_per_ms=150.0)
    event = bench.truth(2000.0).events[0]

    def middle(t_s):
        image = bench.snap(t_s).astype(float) - 100.0
        y, x = (round(127.5 + um / 0.1) for um in (event.y_um, event.x_um))
        return image[y - 2 : y + 3, x - 2 : x + 3].mean() / image.max()

    span = event.end_s - event.onset_s
    at = event.onset_s + span * np.array([-0.1, 0.02, 0.5, 0.97, 1.5])
    shown = [middle(t_s) for t_s in at]
    assert shown[1] == pytest.approx(shown[0], abs=0.06)
    assert shown[0] > shown[2] + 0.02
    assert shown[2] > shown[3] + 0.02
    before, after = (
        bench.truth(event.onset_s + by).measures["constriction"][0] for by in (-5, 5)
    )
    assert before == 0 < after


def test_a_colony_pushes_itself_apart(lab):
    truth = _bench(lab, **ONE, doubling_s=1000.0).truth(6000.0)
    assert 40 < len(truth) < 100
    # A contact gives a little under pressure.
    assert _overlap(truth) < 0.3
    spread = np.hypot(truth.x_um - truth.x_um.mean(), truth.y_um - truth.y_um.mean())
    tight = np.sqrt(truth.scalars["area_um2"] / np.pi)
    assert tight < spread.max() < 4 * tight


def test_food_ends_and_with_it_growth(lab):
    bench = _bench(lab, **PLAIN, max_cells=40, doubling_s=200.0)
    numbers = [len(bench.truth(t_s)) for t_s in (400.0, 800.0, 1200.0, 1600.0)]
    assert max(numbers) <= 40
    assert numbers[-1] >= 36
    one, two = (bench.truth(t_s).measures["length_um"].sum() for t_s in (1600, 1800))
    assert two < 1.05 * one


def test_phase_contrast_shows_dark_cells_in_a_bright_halo(lab):
    view = lab.full_view(256, magnification=100.0, channel="Rhodamine")
    bench = _bench(lab, **ONE, brightfield_photons_per_ms=400.0)
    truth = bench.truth(1.0)
    image = bench.snap(1.0, view=view).astype(float) - 100.0
    far = np.median(image)
    y, x = (round(127.5 + um[0] / 0.1) for um in (truth.y_um, truth.x_um))
    assert image[y - 1 : y + 2, x - 1 : x + 2].mean() < 0.45 * far
    assert np.percentile(image, 99.9) > 1.05 * far


def test_light_slows_growth_kills_and_bleaches_and_growth_renews_protein(lab):
    def life(**changes):
        bench = _bench(
            lab,
            **PLAIN
            | {"bleach_half_dose": 300.0, "doubling_s": 600.0, "area_um": (12.0, 12.0)}
            | changes,
        )
        bench.light(0.0, 6.0)
        for t_s in range(6):
            bench.expose(float(t_s), ms=1000)
        return bench.truth(8.0), bench.truth(608.0)

    early, late = life()
    assert early.brightness.max() == pytest.approx(0.25, abs=0.04)
    # After one doubling half of the protein is new.
    assert late.brightness.mean() == pytest.approx(0.625, abs=0.04)
    early, slow = life(harm_dose=400.0)
    grown = slow.measures["length_um"].sum() / early.measures["length_um"].sum()
    assert grown == pytest.approx(np.sqrt(2), rel=0.08)
    early, dead = life(harm_dose=250.0)
    assert not dead.alive.any()
    assert dead.measures["length_um"].sum() == pytest.approx(
        early.measures["length_um"].sum(), rel=0.01
    )


def test_the_same_seed_gives_the_same_colony_however_often_one_looks(lab):
    def life(times):
        bench = _bench(lab, doubling_s=300.0)
        for t_s in times:
            bench.expose(t_s)
            bench.truth(t_s + 6)
        return bench.snap(901.0), bench.truth(901.0)

    (image, truth), (again, truth_again) = life([]), life(np.arange(0.5, 900, 31.7))
    assert np.array_equal(image, again)
    assert str(truth.events) == str(truth_again.events)
    assert np.array_equal(truth.x_um, truth_again.x_um)
    assert truth.cell_id.tolist() == sorted(truth.cell_id.tolist())
