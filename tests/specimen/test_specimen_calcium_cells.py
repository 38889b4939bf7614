"""Calcium: spikes in continuous time, seen by any exposure as their true mean."""

from __future__ import annotations

import numpy as np
import pytest

from smartscope.core import ConfigError

QUIET = {
    "drift_um_s": (0.0, 0.0, 0.0),
    "vignetting": 0.0,
    "background_photons_per_ms": 0.0,
    "neuropil": 0.0,
    "dff_spread": 0.0,
    "active_share": 1.0,
    "z_spread_um": 0.0,
    "bleach_half_dose": 1e12,
    "harm_dose": 1e12,
}
ONE = QUIET | {
    "camera": {"read_noise_e": 0.0},
    "cells": 1,
    "area_um": (1.0, 1.0),
    "photons_per_ms": 15.0,
}


def _bench(lab, **changes):
    return lab.Bench(kind="calcium_cells", **changes)


def _lonely_spike(bench, until_s=400.0):
    """A transient with nothing before and after it, whole within a step."""
    events = bench.truth(until_s).events
    for before, event, after in zip(events, events[1:], events[2:], strict=False):
        alone = event.onset_s - before.onset_s > 8 < after.onset_s - event.onset_s
        if alone and 0.3 < event.onset_s % 1 < 0.5:
            return event
    raise AssertionError("no lonely spike")


def test_a_transient_rises_and_decays_as_told(lab):
    bench = _bench(lab, **ONE, rate_per_min=5.0, dff=2.0)
    event = _lonely_spike(bench)

    def calcium(t_s):
        return bench.truth(t_s).measures["calcium"][0]

    assert calcium(event.onset_s - 0.001) < 1e-3
    assert calcium(event.peak_s) == pytest.approx(2.0, rel=1e-3)
    assert calcium(event.onset_s + 0.03) > 0.6 * 2.0
    ratio = calcium(event.peak_s + 1.0) / calcium(event.peak_s + 0.5)
    assert ratio == pytest.approx(np.exp(-1.0), rel=0.01)
    assert calcium(event.end_s) == pytest.approx(0.2, rel=0.3)


def test_one_long_exposure_is_the_sum_of_many_short_ones(lab):
    def total(parts, rate):
        bench = _bench(lab, **ONE, rate_per_min=rate)
        start = _lonely_spike(_bench(lab, **ONE, rate_per_min=5.0)).onset_s - 0.1
        step = 0.6 / parts
        bench.light(start, start + 0.6)
        return sum(
            lab.photons(bench.expose(start + i * step, ms=1000 * step))
            for i in range(parts)
        )

    short, long, resting = total(60, 5.0), total(1, 5.0), total(1, 0.0)
    assert long == pytest.approx(short, rel=0.003)
    # Peak dff 1.5 for a mean of about 0.8 over this exposure.
    assert long > 1.4 * resting


def test_the_pixels_brighten_where_and_when_the_truth_says(lab):
    bench = _bench(lab, **QUIET, cells=30, area_um=(240.0, 240.0), rate_per_min=1.0)
    event = next(e for e in bench.truth(20.0).events if e.onset_s > 2)
    before = bench.snap(event.onset_s - 0.02, ms=10).astype(float)
    after = bench.snap(event.peak_s, ms=10).astype(float)
    gain = after - before
    y, x = np.unravel_index(np.argmax(gain), gain.shape)
    assert np.hypot(x - 127.5 - event.x_um, y - 127.5 - event.y_um) < 9
    still = bench.snap(event.peak_s + 0.05, ms=10)
    assert still.max() > before.max()


@pytest.mark.parametrize("rate", [2.0, 4.0])
def test_spikes_come_at_their_rate_independently(lab, rate):
    counts = []
    for seed in range(4):
        bench = _bench(lab, seed=seed, **QUIET, cells=50, rate_per_min=rate)
        events = bench.truth(120.0).events
        counts.append(len(events))
        onsets = [e.onset_s for e in events]
        assert onsets == sorted(onsets)
    expected = 4 * 50 * rate * 2
    assert abs(sum(counts) - expected) < 3.5 * np.sqrt(expected)
    cells = [e.object_id for e in events]
    # A Poisson count varies as much as its mean.
    spread = np.bincount(cells, minlength=51)[1:]
    assert 0.5 < spread.var() / spread.mean() < 1.7


def test_what_is_still_to_come_is_not_told(lab):
    bench = _bench(lab, **QUIET, cells=60, rate_per_min=5.0)
    event = bench.truth(5.0).events[0]
    told = bench.truth(event.onset_s + 0.001).events[-1]
    assert told.onset_s == event.onset_s
    assert np.isnan(told.peak_s)
    assert np.isnan(told.end_s)


def test_the_same_seed_gives_the_same_spikes_however_often_one_looks(lab):
    def life(times):
        bench = _bench(lab, cells=40, rate_per_min=6.0)
        for t_s in times:
            bench.expose(t_s)
            bench.truth(t_s + 2)
        return bench.snap(30.2), bench.truth(30.2)

    (image, truth), (again, truth_again) = life([]), life(np.arange(0.1, 30, 0.43))
    assert np.array_equal(image, again)
    assert np.array_equal(truth.measures["calcium"], truth_again.measures["calcium"])
    assert truth.events == truth_again.events


def test_light_bleaches_and_silences(lab):
    bench = _bench(
        lab, **QUIET | {"harm_dose": 300.0, "bleach_half_dose": 300.0}, cells=40
    )
    bench.light(0.0, 9.0)
    for t_s in range(9):
        bench.expose(float(t_s), ms=1000)
    truth = bench.truth(120.0)
    # The corners of the area lie outside of the field and get no light.
    dark = truth.dose == 0
    assert dark.any()
    assert (truth.alive == (truth.dose < 600)).all()
    assert (truth.brightness[~dark] < 0.2).all()
    late = {e.object_id for e in truth.events if e.onset_s > 10}
    assert late
    assert late <= set(truth.cell_id[dark].tolist())


def test_a_rise_slower_than_the_decay_is_refused(lab):
    with pytest.raises(ConfigError, match="rise_s must be shorter"):
        _bench(lab, rise_s=0.6)
