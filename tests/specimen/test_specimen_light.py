"""Light over time: within an exposure, and between exposures."""

from __future__ import annotations

import numpy as np
import pytest

from smartscope.core import NS_PER_S


def _dark(lab, **changes):
    return lab.PLAIN | {"background_photons_per_ms": 0.0} | changes


def test_light_on_for_half_the_window_gives_half_the_photons(lab):
    full = lab.Bench(**_dark(lab)).snap(1.0, 100)
    bench = lab.Bench(**_dark(lab))
    bench.light(0.9, 1.05)
    half = bench.expose(1.0, 100)
    assert lab.photons(half) == pytest.approx(lab.photons(full) / 2, rel=0.02)


def test_power_changed_half_way_counts_for_its_half(lab):
    bench = lab.Bench(**_dark(lab))
    bench.set(0, **{"power:488": 100})
    full = lab.photons(bench.snap(1.0, 100))
    bench.light(2.0, 2.1)
    bench.set(2.05, **{"power:488": 20})
    mixed = lab.photons(bench.expose(2.0, 100))
    assert mixed == pytest.approx(0.6 * full, rel=0.02)


def test_a_moving_stage_smears_along_its_way_only(lab):
    still = lab.Bench(**_dark(lab)).snap(1.0, 100)
    bench = lab.Bench(**_dark(lab))
    t0 = NS_PER_S
    bench.set(0.0, x_um=-20.0)
    bench.history.ramp("x_um", t0, t0 + NS_PER_S // 10, 20.0)
    moved = bench.snap(1.0, 100)
    (cy0, cx0), (vy0, vx0) = lab.moments(still, 140)
    (cy1, cx1), (vy1, vx1) = lab.moments(moved, 115)
    assert lab.photons(moved) == pytest.approx(lab.photons(still), rel=0.02)
    assert (cy1, cx1) == pytest.approx((cy0, cx0), abs=0.3)
    assert vx1 - vx0 == pytest.approx(40**2 / 12, rel=0.1)
    assert vy1 == pytest.approx(vy0, rel=0.15)


def test_a_jump_of_the_stage_half_way_shows_the_cell_twice(lab):
    bench = lab.Bench(**_dark(lab))
    bench.set(1.05, x_um=60.0)
    image = bench.snap(1.0, 100)
    left, right = image[:, :98], image[:, 98:]
    assert lab.photons(left) == pytest.approx(lab.photons(right), rel=0.03)


def test_a_fast_cell_is_smeared_in_a_long_exposure(lab):
    def variance(ms):
        changes = {"speed_um_s": 20.0, "persistence_s": 1e9, "area_um": (900, 900)}
        bench = lab.Bench(**_dark(lab, **changes), seed=5)
        vy, vx = lab.moments(bench.snap(1.0, ms), 110)[1]
        return vy + vx

    assert variance(900) > variance(10) + 15


def test_bleaching_follows_all_light_also_between_frames(lab):
    changes = _dark(lab, bleach_half_dose=1000.0)
    bench = lab.Bench(**changes)
    fresh = lab.photons(bench.snap(1.0))
    bench.light(2.0, 12.0)
    bleached = lab.photons(bench.snap(20.0))
    # 10 s at 100 % are one half dose, each exposure another 2 %.s.
    assert bleached / fresh == pytest.approx(0.5, rel=0.02)
    truth = bench.truth(20.0)
    assert truth.dose[0] == pytest.approx(1002.0, rel=1e-6)
    assert truth.brightness[0] == pytest.approx(2 ** -(1002 / 1000), rel=1e-6)


def test_dose_is_power_times_time(lab):
    bench = lab.Bench(**_dark(lab))
    bench.set(0, **{"power:488": 40})
    bench.light(1.25, 4.75)
    bench.expose(10.0)
    assert bench.truth(2.25).dose[0] == pytest.approx(40 * 1.0)
    assert bench.truth(10.0).dose[0] == pytest.approx(40 * 3.5)


def test_bleaching_within_a_long_exposure(lab):
    changes = _dark(lab, photons_per_ms=5.0)
    steady = lab.photons(lab.Bench(**changes).snap(1.0, 3000))
    changes["bleach_half_dose"] = 100.0
    fading = lab.Bench(**changes).snap(1.0, 3000)
    decay = 3 * np.log(2)
    share = (1 - np.exp(-decay)) / decay
    assert lab.photons(fading) == pytest.approx(share * steady, rel=0.02)


def test_only_what_lies_in_the_field_is_lit(lab):
    bench = lab.Bench(**_dark(lab))
    bench.set(0.5, x_um=1000.0)
    bench.light(1.0, 2.0)
    bench.set(3.0, x_um=0.0)
    bench.light(4.0, 5.0)
    bench.expose(6.0)
    assert bench.truth(3.0).dose[0] == 0
    assert bench.truth(6.0).dose[0] == pytest.approx(100.0)


def test_a_cell_that_the_stage_passes_gets_light_while_it_is_in_the_field(lab):
    bench = lab.Bench(**_dark(lab))
    bench.set(0.0, x_um=-1000.0)
    bench.history.ramp("x_um", NS_PER_S, 11 * NS_PER_S, 1000.0)
    bench.light(0.5, 20.0)
    bench.expose(25.0)
    seconds_in_field = 256 / 200
    assert bench.truth(25.0).dose[0] == pytest.approx(100 * seconds_in_field, rel=0.1)


@pytest.mark.parametrize(
    ("gate", "seconds"), [("shutter", 0.5), ("always", 10.0), ("camera_ttl", 0.25)]
)
def test_gates_limit_the_lit_time(lab, gate, seconds):
    view = lab.full_view(gates={"488": gate})
    bench = lab.Bench(**_dark(lab), view=view)
    bench.set(0, **{"power:488": 100})
    bench.light(2.0, 2.5)
    for t_s in (2.1, 3.0, 4.9, 7.0, 9.0):
        bench.expose(t_s, 50)
    assert bench.truth(10.0).dose[0] == pytest.approx(100 * seconds, rel=1e-6)


def test_a_camera_gated_line_counts_exposures_nobody_rendered(lab):
    view = lab.full_view(gates={"488": "camera_ttl"})
    bench = lab.Bench(**_dark(lab), view=view)
    bench.set(0, **{"power:488": 100, "camera": 0})
    bench.set(1.0, camera=1)
    bench.set(1.5, camera=0)
    bench.expose(3.0, 100)
    assert bench.truth(5.0).dose[0] == pytest.approx(60.0, rel=1e-6)


def test_light_is_weaker_for_cells_at_the_rim_of_the_field(lab):
    changes = _dark(lab, vignetting=0.5)
    bench = lab.Bench(**changes)
    bench.set(0.5, x_um=127.0, y_um=127.0)
    bench.light(1.0, 2.0)
    bench.expose(3.0)
    assert bench.truth(3.0).dose[0] == pytest.approx(50, rel=0.02)
