from __future__ import annotations

import numpy as np
import pytest

from smartscope.specimen import Pattern

KIND = "blinking_molecules"
GATES = {"405": "always", "561": "always"}
LASTING = {"bleach_half_dose": 1e12, "on_per_s": 0.0, "off_per_s": 0.0}
FEW = {"area_um": (12.0, 12.0), "vignetting": 0.0, "drift_um_s": (0.0, 0.0, 0.0)}
QUIET = {"kind": "scmos", "read_noise_e": 1.0}


@pytest.fixture
def molecules(lab):
    """Molecules in a field of 25.6 um under 405 and 561, in percent."""

    def make(p405=0.0, p561=100.0, seed=3, side=256, view=None, **parameters):
        view = view or lab.full_view(side, magnification=100.0, gates=GATES)
        values = FEW | {"activation": {"405": 1}, "excitation": {"405": 0}} | parameters
        bench = lab.Bench(seed=seed, kind=KIND, view=view, shutter=False, **values)
        bench.set(0.0, **{"power:405": p405, "power:561": p561})
        bench.expose(0.0, 0.0)
        return bench

    return make


def _count(bench):
    return len(bench.specimen.biology._key)


@pytest.mark.parametrize("p405", [5.0, 50.0])
def test_how_many_are_on_follows_the_rate_equations(molecules, p405):
    bench = molecules(p405, **LASTING)
    on, off = 0.002 * p405, 0.1 * 100.0
    seen = [bench.truth(t).scalars["emitters_on"] for t in np.arange(2.0, 8.0, 0.5)]
    expected = _count(bench) * on / (on + off)
    # Twelve looks that are each Poisson and all but independent.
    tolerance = 4 * np.sqrt(expected / len(seen)) + 0.01 * expected
    assert np.mean(seen) == pytest.approx(expected, abs=tolerance)
    truth = bench.truth(3.0)
    density = truth.scalars["density_per_um2"]
    assert density == pytest.approx(len(truth) / 144.0)


def test_they_come_up_with_the_rate_of_activation_in_the_dark(molecules):
    bench = molecules(100.0, p561=0.0, **LASTING)
    share = len(bench.truth(3.0)) / _count(bench)
    assert share == pytest.approx(1 - np.exp(-0.002 * 100 * 3), abs=0.05)
    assert share > 0.3


def test_excitation_switches_them_off_exponentially(molecules):
    bench = molecules(100.0, p561=0.0, **LASTING)
    bench.set(3.0, **{"power:405": 0.0, "power:561": 50.0})
    start = len(bench.truth(3.0))
    left = [len(bench.truth(3.0 + t)) / start for t in (0.113, 0.227, 0.5)]
    expected = np.exp(-0.1 * 50 * np.array([0.113, 0.227, 0.5]))
    assert start > 500
    assert left == pytest.approx(expected, abs=0.05)


def test_without_activation_and_by_themselves(molecules):
    assert len(molecules(0.0, **LASTING).truth(5.0)) == 0
    alone = molecules(0.0, **LASTING | {"on_per_s": 0.05, "off_per_s": 0.5}, p561=0.0)
    share = np.mean([len(alone.truth(t)) for t in (10.0, 14.0, 18.0)]) / _count(alone)
    assert share == pytest.approx(0.05 / 0.55, rel=0.15)


def test_the_pool_is_finite(molecules):
    bench = molecules(100.0, bleach_half_dose=2.0, on_per_percent_s=0.05)
    pool = [bench.truth(t).scalars["unbleached"] for t in (0.0, 0.5, 1.5, 10.0)]
    assert pool[0] == 1.0
    assert pool[0] > pool[1] > pool[2] > pool[3]
    assert pool[3] < 0.02
    assert len(bench.truth(10.0)) < 3
    # Of the ways to end, off at 10 per s and bleached at 100 ln 2 / 2 per s.
    hardy = molecules(100.0, bleach_half_dose=1e12, on_per_percent_s=0.05)
    assert hardy.truth(10.0).scalars["unbleached"] == 1.0


def test_an_exposure_is_the_sum_of_its_parts(lab, molecules):
    still = {"camera": QUIET, "background_photons_per_ms": 0.0, "photons_per_ms": 400.0}
    whole, parts = (molecules(50.0, **still) for _ in range(2))
    one = whole.expose(2.003, 130.0).astype(float) - 100
    many = sum(
        parts.expose(2.003 + 0.013 * i, 13.0).astype(float) - 100 for i in range(10)
    )
    assert one.sum() > 100_000
    assert many.sum() == pytest.approx(one.sum(), rel=0.01)
    assert np.corrcoef(one.ravel(), many.ravel())[0, 1] > 0.99


def test_a_spot_is_as_wide_as_the_psf_and_has_its_photons(lab, molecules):
    view = lab.full_view(64, magnification=100.0, gates=GATES)
    bench = molecules(
        0.0,
        **LASTING | {"on_per_s": 1e6, "off_per_percent_s": 0.0},
        view=view,
        filaments=1,
        labels_per_um=0.05,
        area_um=(40.0, 40.0),
        camera=QUIET,
        background_photons_per_ms=0.0,
        photons_per_ms=500.0,
        z_spread_um=0.0,
    )
    truth = bench.truth(1.0)
    assert len(truth) == 1
    bench.set(0.9, x_um=truth.x_um[0], y_um=truth.y_um[0])
    image = bench.expose(1.0, 100.0)
    centre, variance = lab.moments(image, 110)
    assert centre == pytest.approx((31.5, 31.5), abs=0.2)
    assert np.sqrt(variance) * 100 == pytest.approx(np.full(2, 133.0), abs=6.0)  # nm
    shine = bench.specimen.biology._shine[0]
    assert lab.photons(image) == pytest.approx(50_000 * shine, rel=0.02)
    binned = lab.full_view(64, magnification=100.0, gates=GATES, binning=2)
    same = lab.photons(bench.expose(1.2, 100.0, view=binned))
    assert same == pytest.approx(50_000 * shine, rel=0.02)


def test_patterned_activation_acts_where_it_falls(lab, molecules):
    half = np.zeros((256, 256), np.float32)
    half[:, :128] = 1.0
    view = lab.full_view(
        256,
        magnification=100.0,
        gates=GATES,
        slm_line="405",
        patterns={1: Pattern(half)},
    )
    bench = molecules(100.0, p561=0.0, view=view, **LASTING)
    bench.set(0.0, slm=1)
    bench.expose(0.0, 0.0)
    truth = bench.truth(3.0)
    assert len(truth) > 300
    assert truth.x_um.max() < 2.5
    assert truth.x_um.min() < -4.0


def test_molecules_lie_on_their_filaments(lab, molecules):
    bench = molecules(100.0, labels_per_um=100.0, camera=QUIET)
    view = lab.full_view(256, magnification=100.0, gates=GATES, channel="wide")
    both = molecules(
        100.0, labels_per_um=100.0, camera=QUIET, channels={"wide": "filaments"}
    )
    spots = sum(bench.expose(1.0 + 0.1 * i, 50.0).astype(float) for i in range(20))
    lines = both.expose(3.0, 100.0, view=view).astype(float)
    assert np.corrcoef(spots.ravel(), lines.ravel())[0, 1] > 0.7


def test_the_same_seed_gives_the_same_blinks_however_often_one_looks(molecules):
    often, once = molecules(50.0), molecules(50.0)
    for t_s in np.arange(0.1, 2.0, 0.033):
        often.truth(t_s)
        often.expose(t_s, 0.0)
    assert often.truth(2.01).cell_id.tolist() == once.truth(2.01).cell_id.tolist()
    assert np.array_equal(often.expose(2.05, 30.0), once.expose(2.05, 30.0))
    assert molecules(50.0, seed=4).truth(2.01).cell_id.tolist() != (
        once.truth(2.01).cell_id.tolist()
    )


def test_memory_does_not_grow(molecules):
    bench = molecules(50.0)
    bench.expose(4.0, 0.0)
    state = bench.specimen._kept[-1].state
    assert len(state.glowing) < 0.1 * _count(bench)
    assert np.isinf(state.wakes).sum() == len(state.glowing) + state.destroyed
    assert bench.truth(4.0).events == ()
