"""Endocytic spots: lives, recruitment, rates and light."""

from __future__ import annotations

import numpy as np
import pytest

CALM = {
    "drift_um_s": (0.0, 0.0, 0.0),
    "vignetting": 0.0,
    "background_photons_per_ms": 0.0,
    "membrane": 0.0,
    "static_spots": 0,
    "diffusion_um2_s": 0.0,
    "bleach_half_dose": 1e12,
    "harm_dose": 1e12,
    "channels": {"Rhodamine": "recruit"},
}


def _bench(lab, seed=3, side=256, **changes):
    view = lab.full_view(side, magnification=100.0)
    return lab.Bench(seed=seed, view=view, kind="vesicles", **changes)


def _of(truth, kind):
    return [event for event in truth.events if event.kind == kind]


def _light_at(lab, bench, t_s, event, channel=None):
    view = lab.full_view(256, magnification=100.0, channel=channel)
    image = bench.snap(t_s, view=view).astype(float) - 100.0
    y, x = (round(127.5 + um / 0.1) for um in (event.y_um, event.x_um))
    return image[y - 4 : y + 5, x - 4 : x + 5].sum()


def _lonely(truth, after_s):
    """An endocytosis well inside of the picture, far from every other event."""
    for event in _of(truth, "endocytosis"):
        others = [
            np.hypot(e.x_um - event.x_um, e.y_um - event.y_um)
            for e in truth.events
            if e is not event
        ]
        inside = max(abs(event.x_um), abs(event.y_um)) < 11
        if event.onset_s > after_s and event.end_s > 0 and inside and min(others) > 1.5:
            return event
    raise AssertionError("all crowded")


def test_pixels_show_onset_recruitment_and_end_when_the_truth_says(lab):
    bench = _bench(lab, **CALM, starts_per_um2_min=0.01)
    event = _lonely(bench.truth(400.0), 5.0)
    life_s = event.end_s - event.onset_s
    at = [event.onset_s - 1, event.onset_s + 2, event.onset_s + 0.65 * life_s]
    at += [event.peak_s, event.end_s + 0.2]
    coat, recruited = [], []
    for t_s in at:
        coat.append(_light_at(lab, bench, t_s, event))
        recruited.append(_light_at(lab, bench, t_s + 0.05, event, "Rhodamine"))
    full = coat[2]
    assert abs(coat[0]) < 0.08 * full
    assert 0.1 * full < coat[1] < 0.6 * full
    assert coat[3] == pytest.approx(full, rel=0.1)
    assert abs(coat[4]) < 0.08 * full
    assert np.argmax(recruited) == 3
    assert abs(recruited[2]) < 0.15 * recruited[3]
    assert abs(recruited[4]) < 0.15 * recruited[3]


def test_spots_are_as_small_as_the_microscope_can_show(lab):
    bench = _bench(lab, **CALM, starts_per_um2_min=0.01, photons_per_ms=200.0)
    event = _lonely(bench.truth(400.0), 5.0)
    image = bench.snap((event.onset_s + event.peak_s) / 2).astype(float)
    y, x = (round(127.5 + um / 0.1) for um in (event.y_um, event.x_um))
    part = image[y - 6 : y + 7, x - 6 : x + 7]
    _, (vy, vx) = lab.moments(part, 100.0 + 0.02 * part.max())
    # Point-spread function 0.1 um, its own size 0.07 um, pixel 0.1 um.
    assert np.sqrt((vy + vx) / 2) == pytest.approx(np.sqrt(1 + 0.49 + 1 / 12), rel=0.12)


@pytest.mark.parametrize("rate", [0.05, 0.1])
def test_coats_appear_at_their_rate_evenly_over_the_cell(lab, rate):
    seen, places = 0, []
    for seed in range(4):
        bench = _bench(lab, seed=seed, **CALM, starts_per_um2_min=rate, cell_um=20.0)
        new = [e for e in bench.truth(120.0).events if e.onset_s >= 0]
        seen += len(new)
        places += [np.hypot(e.x_um, e.y_um) for e in new]
    # Mean square of the radius: 1 and half the squares of the harmonics.
    area = np.pi * (0.96 * 20.0) ** 2 * (1 + (0.14**2 + 0.09**2 + 0.05**2) / 2)
    expected = 4 * rate * area * 2
    assert abs(seen - expected) < 3.5 * np.sqrt(expected)
    inner = np.mean(np.array(places) < 10.0)
    assert inner == pytest.approx(np.pi * 100 / area, abs=0.04)


def test_half_of_them_succeed_and_the_others_are_short_and_never_recruit(lab):
    truth = _bench(lab, **CALM).truth(200.0)
    good, bad = _of(truth, "endocytosis"), _of(truth, "abortive")
    fresh = [e for e in truth.events if e.onset_s >= 0]
    share = np.mean([e.kind == "endocytosis" for e in fresh])
    assert share == pytest.approx(0.5, abs=3.5 * 0.5 / np.sqrt(len(fresh)))
    over = [e for e in fresh if e.onset_s < 50]
    lives = {
        kind: np.mean([e.end_s - e.onset_s for e in over if e.kind == kind])
        for kind in ("endocytosis", "abortive")
    }
    assert lives["endocytosis"] == pytest.approx(60.0, rel=0.1)
    assert lives["abortive"] == pytest.approx(14.0, rel=0.2)
    assert all(np.isnan(e.peak_s) for e in bad)
    assert all(e.peak_s < e.end_s for e in good if np.isfinite(e.end_s))


def test_it_begins_as_it_goes_on_and_its_number_is_bounded(lab):
    bench = _bench(lab, starts_per_um2_min=0.2)
    numbers = [len(bench.truth(t_s)) for t_s in (0.0, 100.0, 200.0, 300.0)]
    assert np.ptp(numbers) < 0.25 * np.mean(numbers)
    crowded = _bench(lab, starts_per_um2_min=5.0, max_spots=100)
    assert len(crowded.truth(50.0)) <= 100


def test_static_spots_never_change_and_bleach(lab):
    bench = _bench(lab, static_spots=30, starts_per_um2_min=0.0, bleach_half_dose=500.0)
    before = bench.truth(0.0)
    bench.light(1.0, 11.0)
    for t_s in range(1, 11):
        bench.expose(float(t_s), ms=1000)
    after = bench.truth(60.0)
    assert before.phase.tolist() == after.phase.tolist() == ["static"] * 30
    drift = 60.0 * 0.002
    assert np.allclose(after.x_um - before.x_um, drift)
    lit = after.brightness < 1
    assert 0 < lit.sum() < 30
    middle = np.hypot(after.x_um, after.y_um).argmin()
    assert after.brightness[middle] == pytest.approx(0.25, rel=0.05)
    assert not after.events


def test_the_same_seed_gives_the_same_spots_however_often_one_looks(lab):
    def life(times):
        bench = _bench(lab)
        for t_s in times:
            bench.expose(t_s)
            bench.truth(t_s + 3)
        return bench.snap(40.0), bench.truth(40.0)

    (image, truth), (again, truth_again) = life([]), life(np.arange(0.5, 39, 1.3))
    assert np.array_equal(image, again)
    assert str(truth.events) == str(truth_again.events)
    assert np.array_equal(truth.x_um, truth_again.x_um)


def test_a_harmed_cell_starts_no_more(lab):
    bench = _bench(lab, harm_dose=300.0)
    bench.light(0.0, 8.0)
    for t_s in range(8):
        bench.expose(float(t_s), ms=1000)
    truth = bench.truth(100.0)
    assert truth.scalars["cell_dose"] == pytest.approx(800.0, rel=0.02)
    assert not truth.alive.any()
    assert [e for e in truth.events if 0 < e.onset_s < 6]
    assert not [e for e in truth.events if e.onset_s > 9]
