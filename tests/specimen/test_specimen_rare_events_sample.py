from __future__ import annotations

import numpy as np
import pytest

KIND = "rare_events_sample"
STILL = {"drift_um_s": (0.0, 0.0, 0.0), "vignetting": 0.0}


@pytest.fixture
def plate(lab):
    def make(seed=3, channel=None, side=512, **parameters):
        view = lab.full_view(side, channel=channel)
        values = STILL | {"channels": {"BF": "brightfield"}} | parameters
        return lab.Bench(seed=seed, kind=KIND, view=view, **values)

    return make


def test_most_fields_are_empty_and_few_cells_are_odd(plate):
    truth = plate().truth(0.0)
    odd = truth.measures["odd"] == 1
    places = set(zip(truth.measures["well"], truth.measures["field"], strict=True))
    assert odd.sum() == 8
    assert set(truth.measures["well"]) <= set(range(12))
    # Of 12 wells of 21 fields each, an eighth, and those of the odd cells.
    assert 12 < len(places) < 12 * 21 / 4
    assert 300 < len(truth) < 1500
    found = [e for e in truth.events if e.kind == "odd_cell"]
    assert [e.object_id for e in found] == truth.cell_id[odd].tolist()


def test_cells_lie_inside_their_wells(plate):
    truth = plate(occupied=1.0, cells_per_field=3.0).truth(0.0)
    column, row = truth.measures["well"] % 4, truth.measures["well"] // 4
    x = truth.x_um - (column - 1.5) * 4500
    y = truth.y_um - (row - 1.0) * 4500
    assert np.hypot(x, y).max() < 3300 / 2
    assert len(set(truth.measures["well"])) == 12


def test_one_well_is_a_slide_and_it_slopes(plate):
    bench = plate(wells=(1, 1), well_um=8000.0, tilt=(2.0, -1.0), z_spread_um=0.0)
    truth = bench.truth(0.0)
    assert truth.z_um == pytest.approx((2 * truth.x_um - truth.y_um) / 1000)
    assert np.ptp(truth.x_um) > 5000


def test_odd_cells_stand_out(lab, plate):
    values = {"brightness_spread": 0.0, "background_photons_per_ms": 0.0}
    bench = plate(side=64, occupied=0.0, **values)
    ordinary = plate(side=64, cells_per_field=1.0, occupied=0.5, **values)
    sums = []
    for b, t_s in ((bench, 1.0), (ordinary, 1.0)):
        truth = b.truth(0.0)
        i = int(np.argmin(np.hypot(truth.x_um, truth.y_um)))
        if b is ordinary:
            assert truth.measures["odd"][i] == 0
        b.set(0.5, x_um=truth.x_um[i], y_um=truth.y_um[i], z_um=truth.z_um[i])
        sums.append(lab.photons(b.snap(t_s)))
    assert sums[0] / sums[1] == pytest.approx(4.0 * 1.5**2, rel=0.5)


def test_an_empty_field_is_empty(plate):
    bench = plate()
    bench.set(0.0, x_um=2250.0, y_um=2250.0)  # between four wells
    image = bench.snap(1.0)
    assert image.mean() == pytest.approx(100 + 2 * 20.0, rel=0.01)
    assert image.max() < 200


def test_divisions_come_at_their_rate_and_make_two_of_one(plate):
    bench = plate(division_every_s=40.0, mitosis_s=60.0)
    truth = bench.truth(2000.0)
    assert len(truth.divisions) == pytest.approx(50, abs=20)
    done = [d for d in truth.divisions if d.split_s <= 2000.0]
    assert len(truth) == len(bench.truth(0.0)) + len(done)
    d = done[3]
    assert (d.split_s - d.onset_s, len(d.daughters)) == (60.0, 2)
    before, after = bench.truth(d.split_s - 0.1), bench.truth(d.split_s + 1.0)
    assert before.phase[before.cell_id == d.parent_id] == "mitosis"
    assert d.parent_id not in after.cell_id
    rows = np.isin(after.cell_id, d.daughters)
    assert set(after.parent_id[rows]) == {d.parent_id}
    assert set(after.phase[rows]) == {"separation"}
    assert after.x_um[rows].mean() == pytest.approx(d.x_um)
    events = [e for e in truth.events if e.kind == "mitosis"]
    assert [e.onset_s for e in events] == [d.onset_s for d in truth.divisions]


def test_truth_hides_what_is_to_come(plate):
    bench = plate(division_every_s=40.0)
    first = bench.truth(600.0).divisions[0]
    assert bench.truth(first.onset_s - 0.1).divisions == ()
    (begun,) = bench.truth(first.onset_s + 1.0).divisions
    assert np.isnan([begun.split_s, begun.end_s]).all()
    assert begun.daughters == ()
    split = bench.truth(first.split_s + 1.0).divisions[0]
    assert np.isnan(split.end_s) and len(split.daughters) == 2


def test_light_is_conserved_through_a_division(lab, plate):
    values = {"division_every_s": 40.0, "bleach_half_dose": 1e12, "harm_dose": 1e12}
    values |= {"background_photons_per_ms": 0.0, "odd_cells": 0, "z_spread_um": 0.0}
    probe = plate(**values, cells_per_field=1.0, side=64)
    d = next(d for d in probe.truth(900.0).divisions if d.end_s < 900)
    bench = plate(**values, cells_per_field=1.0, side=64)
    bench.set(0.0, x_um=d.x_um, y_um=d.y_um, z_um=0.5 * d.x_um / 1000)
    before = bench.snap(d.onset_s - 1.0)
    after = bench.snap(d.split_s + 1.0)
    assert lab.photons(after) == pytest.approx(lab.photons(before), rel=0.03)
    peaks = [np.percentile(image, 99.5) for image in (before, after)]
    assert peaks[1] > peaks[0]


def test_label_free_a_dividing_cell_is_a_dark_ring(plate):
    values = {"division_every_s": 40.0, "odd_cells": 0}
    d = plate(**values).truth(900.0).divisions[0]
    bench = plate(**values, channel="BF")
    bench.set(0.0, x_um=d.x_um, y_um=d.y_um)
    flat = bench.snap(max(d.onset_s - 2.0, 0.1)).astype(float)[240:272, 240:272]
    ring = bench.snap(d.onset_s + 100.0).astype(float)[240:272, 240:272]
    assert ring.min() < 0.9 * flat.min()


def test_only_light_in_view_counts(plate):
    bench = plate()
    start = bench.truth(0.0)
    bench.set(0.0, x_um=start.x_um[0], y_um=start.y_um[0])
    bench.snap(1.0, 100)
    dose = bench.truth(2.0).dose
    near = np.maximum(
        np.abs(start.x_um - start.x_um[0]), np.abs(start.y_um - start.y_um[0])
    )
    assert dose[near <= 256] == pytest.approx(10.0)
    assert (dose[near > 256] == 0).all()
    brightness = bench.truth(2.0).brightness
    assert brightness[0] == pytest.approx(2 ** (-10 / 3000))


def test_only_what_is_in_view_is_drawn(plate, monkeypatch):
    from smartscope.specimen import Picture

    drawn = []
    real = Picture.ellipses

    def counting(self, xyz_um, **how):
        drawn.append(len(xyz_um))
        real(self, xyz_um, **how)

    monkeypatch.setattr(Picture, "ellipses", counting)
    bench = plate(occupied=1.0, cells_per_field=30.0)
    start = bench.truth(0.0)
    assert len(start) > 5000
    bench.set(0.0, x_um=start.x_um[0], y_um=start.y_um[0])
    bench.snap(1.0)
    assert len(drawn) == 1
    assert 10 < drawn[0] < 0.03 * len(start)


def test_the_same_seed_gives_the_same_plate(plate):
    one, two = plate(), plate()
    one.snap(10.0)
    two.snap(10.0)
    for _ in range(3):
        one.truth(300.0)
    assert one.truth(500.0).events == two.truth(500.0).events
    assert np.array_equal(one.snap(500.0), two.snap(500.0))
    assert len(plate(seed=9).truth(0.0)) != len(one.truth(0.0))
