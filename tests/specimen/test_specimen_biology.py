"""Life: walks, growth, divisions, harm; the same however often one looks."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
import pytest

from smartscope.core import NS_PER_S, DeviceHistory, SmartscopeError
from smartscope.specimen import make_specimen, truth_rows

LIVELY = {
    "cells": 12,
    "area_um": (240, 240),
    "cell_cycle_s": 300.0,
    "mitosis_s": 40.0,
    "speed_um_s": 0.2,
    "bleach_half_dose": 500.0,
    "harm_dose": 900.0,
    "drift_noise_um": (1.0, 1.0, 0.2),
}


def _same(a, b):
    for field in dataclasses.fields(a):
        one, two = getattr(a, field.name), getattr(b, field.name)
        if isinstance(one, np.ndarray):
            assert np.array_equal(one, two), field.name
        else:
            assert str(one) == str(two), field.name


def test_the_same_seed_lives_the_same_life(lab):
    def life(seed):
        bench = lab.Bench(seed=seed, **LIVELY)
        return bench.snap(150.0), bench.truth(150.0)

    (image, truth), (again, truth_again) = life(1), life(1)
    assert np.array_equal(image, again)
    _same(truth, truth_again)
    other, truth_other = life(2)
    assert not np.array_equal(image, other)
    assert not np.allclose(truth.x_um[:5], truth_other.x_um[:5])


def test_life_does_not_depend_on_how_often_one_looks(lab):
    def life(times):
        bench = lab.Bench(**LIVELY)
        for t_s in range(5, 200, 10):
            bench.light(t_s + 0.123, t_s + 0.911)
        for t_s in times:
            bench.expose(t_s)
        return bench.expose(210.25), bench.truth(210.25)

    seldom, truth = life(())
    often, truth_often = life(np.arange(0.05, 210, 0.77))
    assert len(truth.divisions) > 3
    assert truth.dose.max() > 500
    _same(truth, truth_often)
    assert np.array_equal(seldom, often)


def test_asking_for_the_truth_changes_nothing(lab):
    def life(curious):
        bench = lab.Bench(**LIVELY)
        for t_s in range(10, 100, 10):
            bench.snap(t_s)
            if curious:
                bench.truth(t_s + 50)
                bench.truth(t_s)
        return bench.snap(120.0), bench.truth(120.0)

    (image, truth), (image_curious, truth_curious) = life(False), life(True)
    assert np.array_equal(image, image_curious)
    _same(truth, truth_curious)


def test_the_recent_past_is_known_and_time_goes_forward_only(lab):
    bench = lab.Bench(**LIVELY)
    seen = {}
    for t_s in range(1, 140):
        bench.expose(t_s)
        seen[t_s] = bench.truth(t_s)
    _same(seen[100], bench.truth(100))
    _same(seen[80], bench.truth(80))
    with pytest.raises(SmartscopeError, match="no longer knows"):
        bench.truth(20)
    with pytest.raises(SmartscopeError, match="cannot go back in time"):
        bench.expose(138.5)
    bench.expose(139.0)


def test_a_specimen_must_be_started(lab):
    specimen = make_specimen("dividing_cells", seed=1, parameters={})
    with pytest.raises(SmartscopeError, match="call start"):
        specimen.expose(lab.full_view(), DeviceHistory(), 0, 1)
    with pytest.raises(SmartscopeError, match="call start"):
        specimen.truth(0)


def test_starting_anew_begins_the_same_life_at_another_time(lab):
    bench = lab.Bench(**LIVELY)
    bench.expose(90.0)
    first = bench.truth(90.0)
    late_ns = 10**15 + 7
    bench.specimen.start(late_ns)
    _same(first, bench.specimen.truth(late_ns + 90 * NS_PER_S))


def test_forgetting_old_history_is_safe_up_to_what_is_needed(lab):
    def life(forgetful):
        bench = lab.Bench(**LIVELY)
        for i in range(150):
            bench.light(2 * i + 0.2, 2 * i + 1.1)
            bench.expose(2 * i + 0.5)
            if forgetful:
                bench.history.forget_before(bench.specimen.needs_history_from_ns)
        assert forgetful == (bench.specimen.needs_history_from_ns > 0) or not forgetful
        return bench.truth(298.5)

    _same(life(False), life(True))


def test_every_division_makes_two_of_one(lab):
    bench = lab.Bench(**LIVELY | {"harm_dose": 1e9})
    previous = set()
    born_from = {}
    for t_s in range(0, 420, 1):
        truth = bench.truth(t_s)
        bench.expose(t_s, 0.0)
        split = [d for d in truth.divisions if np.isfinite(d.split_s)]
        assert len(truth) == 12 + len(split)
        ids = set(truth.cell_id.tolist())
        for new in ids - previous if t_s else ():
            born_from[new] = int(truth.parent_id[truth.cell_id == new][0])
        previous = ids
    assert len(split) > 12
    grandchildren = 0
    for division in split:
        assert len(division.daughters) == 2
        assert division.split_s - division.onset_s == 40
        assert division.parent_id not in ids
        assert all(born_from[d] == division.parent_id for d in division.daughters)
        assert not division.end_s <= division.split_s
        grandchildren += division.parent_id > 12
    assert grandchildren > 0
    assert truth.cell_id.tolist() == sorted(truth.cell_id.tolist())
    onsets = [d.onset_s for d in truth.divisions]
    assert onsets == sorted(onsets)


def _one_dividing(lab, **changes):
    values = lab.PLAIN | {
        "cell_cycle_s": 200.0,
        "cell_cycle_spread": 0.0,
        "mitosis_s": 50.0,
        "background_photons_per_ms": 0.0,
        "synchrony": 1.0,
    }
    bench = lab.Bench(**values | changes)
    onset_s = bench.truth(60.0).divisions[0].onset_s
    return bench, onset_s


def test_mitosis_rounds_and_brightens_then_light_is_shared(lab):
    bench, onset_s = _one_dividing(lab)
    before, before_truth = bench.snap(onset_s - 1), bench.truth(onset_s - 1)
    rounded, round_truth = bench.snap(onset_s + 45), bench.truth(onset_s + 45)
    after, after_truth = bench.snap(onset_s + 51), bench.truth(onset_s + 51)
    late, late_truth = bench.snap(onset_s + 110), bench.truth(onset_s + 110)
    phases = [
        truth.phase.tolist()
        for truth in (before_truth, round_truth, after_truth, late_truth)
    ]
    assert phases == [
        ["interphase"],
        ["mitosis"],
        ["separation"] * 2,
        ["interphase"] * 2,
    ]
    shrink = (round_truth.radius_um[0] / before_truth.radius_um[0]) ** 2
    assert shrink == pytest.approx(0.6, abs=0.02)
    bright = [np.sort(i.ravel())[-40:].mean() - 100 for i in (before, rounded)]
    assert bright[1] / bright[0] == pytest.approx(1 / 0.6, rel=0.1)
    vy, vx = lab.moments(rounded, 250)[1]
    assert vx == pytest.approx(vy, rel=0.1)
    totals = [lab.photons(image) for image in (before, rounded, after)]
    assert totals == pytest.approx([totals[0]] * 3, rel=0.03)
    for truth, low, high in ((after_truth, 8, 16), (late_truth, 18, 26)):
        gap = np.hypot(np.diff(truth.x_um), np.diff(truth.y_um))[0]
        assert low < gap < high
    division = late_truth.divisions[0]
    assert (division.split_s, division.end_s) == (onset_s + 50, onset_s + 100)
    assert division.daughters == (2, 3)
    assert np.isnan(after_truth.divisions[0].end_s)
    assert np.isnan(round_truth.divisions[0].split_s)
    assert lab.photons(late) > totals[0]


def test_growing_cells_double_area_and_light(lab):
    bench = lab.Bench(
        **lab.PLAIN | {"cell_cycle_s": 1000.0, "background_photons_per_ms": 0.0}
    )
    first, last = bench.truth(0.0), bench.truth(200.0)
    growth = (last.radius_um[0] / first.radius_um[0]) ** 2
    early, late = lab.photons(bench.snap(0.0)), lab.photons(bench.snap(200.0))
    assert 1.05 < growth < 1.3
    assert late / early == pytest.approx(growth, rel=0.02)


def test_harmed_cells_stop_dividing_slow_down_and_die(lab):
    values = LIVELY | {"death_s": 60.0, "repulsion_per_s": 0.0}
    bench = lab.Bench(view=lab.full_view(512), vignetting=0.0, **values)
    bench.light(1.0, 9.1)
    bench.expose(9.5)
    assert bench.truth(9.5).alive.all()
    bench.light(10.0, 15.0)
    bench.expose(16.0)
    stressed = bench.truth(16.0)
    onsets = len(stressed.divisions)
    assert (stressed.dose > 900).all()
    assert stressed.alive.all()
    bench.expose(300.0)
    assert len(bench.truth(300.0).divisions) == onsets
    bench.light(301.0, 306.0)
    bench.expose(307.0)
    doomed = bench.truth(307.0)
    assert not doomed.alive.any()
    assert set(doomed.phase) == {"dying"}
    bench.expose(340.0)
    assert bench.truth(340.0).radius_um.max() < doomed.radius_um.max()
    image = bench.snap(400.0)
    assert len(bench.truth(400.0)) == 0
    assert image.max() < 200


def test_light_harms_only_the_cells_it_hits(lab):
    """A cell's own walk does not depend on what happens to others."""

    def life(lit):
        values = LIVELY | {"cells": 30, "area_um": (900, 900), "repulsion_per_s": 0.0}
        bench = lab.Bench(**values)
        if lit:
            bench.light(1.0, 30.0)
        bench.expose(100.0)
        return bench.truth(100.0)

    dark, lit = life(False), life(True)
    safe = {
        int(i): (x, y)
        for i, x, y, dose, parent in zip(
            lit.cell_id, lit.x_um, lit.y_um, lit.dose, lit.parent_id, strict=True
        )
        if dose == 0 and parent == 0
    }
    assert 5 < len(safe) < 30
    assert (~lit.alive).any()
    for i, x, y in zip(dark.cell_id.tolist(), dark.x_um, dark.y_um, strict=True):
        if i in safe:
            assert (x, y) == safe[i]


def test_cells_walk_at_their_speed_and_keep_to_the_sample(lab):
    bench = lab.Bench(
        cells=40,
        area_um=(600, 300),
        speed_um_s=2.0,
        persistence_s=50.0,
        repulsion_per_s=0.0,
        cell_cycle_s=1e9,
        drift_um_s=(0, 0, 0),
    )
    truths = []
    for t_s in np.arange(0.0, 400.0, 4.5):
        bench.expose(t_s, 0.0)
        truths.append(bench.truth(t_s))
    x = np.array([t.x_um for t in truths])
    y = np.array([t.y_um for t in truths])
    assert np.abs(x).max() < 300 + 12
    assert np.abs(y).max() < 150 + 12
    assert np.abs(x).max() > 250
    a, b = bench.truth(396.0), bench.truth(396.5)
    speed = np.hypot(b.x_um - a.x_um, b.y_um - a.y_um) / 0.5
    assert speed.mean() == pytest.approx(2.0, rel=0.15)


def test_a_runner_wanders_far_and_smoothly(lab):
    bench = lab.Bench(
        cells=5,
        area_um=(6000, 6000),
        runner={"speed_um_s": 1.0, "persistence_s": 400.0, "brightness": 3.0},
    )
    where = []
    for t_s in range(0, 1500, 10):
        truth = bench.truth(t_s)
        bench.expose(t_s, 0.0)
        assert truth.cell_id[0] == 1
        where.append((truth.x_um[0], truth.y_um[0]))
    assert where[0] == pytest.approx((60.0, -40.0))
    moves = np.diff(np.array(where), axis=0)
    length = np.linalg.norm(moves, axis=1)
    assert length.mean() == pytest.approx(10.0, rel=0.05)
    cosine = (moves[1:] * moves[:-1]).sum(axis=1) / (length[1:] * length[:-1])
    assert cosine.mean() > 0.95
    extent = np.ptp(np.array(where), axis=0)
    assert np.hypot(*extent) > 500
    assert 1 not in {division.parent_id for division in truth.divisions}


def test_nobody_starts_on_top_of_the_runner(lab):
    for seed in range(5):
        bench = lab.Bench(
            seed=seed,
            cells=200,
            area_um=(300, 300),
            runner={"start_um": (0.0, 0.0)},
        )
        truth = bench.truth(0.0)
        assert (truth.x_um[0], truth.y_um[0]) == (0.0, 0.0)
        away_um = np.hypot(truth.x_um[1:], truth.y_um[1:])
        assert away_um.min() == pytest.approx(20.0), "2.5 radii of a nucleus"


def test_a_single_fast_cell_can_be_followed_too(lab):
    bench = lab.Bench(**lab.PLAIN | {"speed_um_s": 1.0, "area_um": (4000, 4000)})
    assert bench.truth(0.0).x_um[0] == 0.0
    far = bench.truth(600.0)
    assert np.hypot(far.x_um[0], far.y_um[0]) > 100
    bench.set(599.0, x_um=far.x_um[0], y_um=far.y_um[0])
    found = lab.moments(bench.snap(600.0), 300)[0]
    assert found == pytest.approx((127.5, 127.5), abs=0.3)


def _overlaps(truth):
    x, y, r = truth.x_um, truth.y_um, truth.radius_um
    gap = np.hypot(x[:, None] - x, y[:, None] - y) - 0.9 * (r[:, None] + r)
    return int((np.triu(gap < 0, 1) & ~np.eye(len(x), dtype=bool)).sum())


def test_nuclei_push_each_other_apart(lab):
    def crowd(repulsion_per_s):
        bench = lab.Bench(
            cells=40,
            area_um=(170, 170),
            speed_um_s=0.1,
            cell_cycle_s=1e9,
            repulsion_per_s=repulsion_per_s,
        )
        return _overlaps(bench.truth(300.0))

    alone = crowd(0.0)
    assert alone > 8
    assert crowd(0.05) < 0.2 * alone


def test_crowding_stops_growth(lab):
    bench = lab.Bench(**LIVELY | {"max_cells": 20})
    counts = [len(bench.truth(t_s)) for t_s in (100.0, 600.0, 1200.0)]
    assert counts[0] < counts[1]
    assert counts[1:] == [20, 20]


def test_synchrony_brings_divisions_forward(lab):
    def early(synchrony):
        bench = lab.Bench(cells=20, synchrony=synchrony)
        return len(bench.truth(700.0).divisions)

    assert early(1.0) >= 15
    assert early(0.0) < 8


@pytest.mark.parametrize("seed", [0, 7])
def test_a_demo_of_half_an_hour_shows_divisions_by_default(lab, seed):
    bench = lab.Bench(seed=seed, view=lab.full_view(512))
    start = bench.truth(0.0)
    inside = (np.abs(start.x_um) < 256) & (np.abs(start.y_um) < 256)
    assert 18 <= inside.sum() <= 34
    divisions = bench.truth(1800.0).divisions
    seen = [
        d
        for d in divisions
        if abs(d.x_um) < 230 and abs(d.y_um) < 230 and np.isfinite(d.end_s)
    ]
    assert len(seen) >= 3
    gaps = np.diff([d.onset_s for d in divisions])
    assert gaps.max() < 700


def test_truth_rows_make_a_table(lab):
    bench = lab.Bench(**LIVELY)
    truth = bench.truth(100.5)
    rows = truth_rows(truth)
    assert list(rows)[:3] == ["t_s", "cell_id", "parent_id"]
    assert {len(column) for column in rows.values()} == {len(truth)}
    assert rows["t_s"] == [100.5] * len(truth)
    assert rows["cell_id"] == truth.cell_id.tolist()
    assert all(isinstance(name, str) for name in rows["phase"])
    assert all(a < b for a, b in pairwise(rows["cell_id"]))


def test_two_cameras_may_see_the_same_moment(lab):
    bench = lab.Bench(**LIVELY)
    bench.light(5.0, 5.1)
    one = bench.expose(5.0, 100)
    dose = bench.truth(6.0).dose
    two = bench.expose(5.0, 100, view=lab.full_view(binning=2, channel="other"))
    assert two.shape == (128, 128)
    assert one.shape == (256, 256)
    assert np.array_equal(dose, bench.truth(6.0).dose)


def _seen_in(lab, content, t_s):
    values = lab.PLAIN | {
        "cell_cycle_s": 200.0,
        "cell_cycle_spread": 0.0,
        "mitosis_s": 50.0,
        "background_photons_per_ms": 0.0,
        "synchrony": 1.0,
        "channels": {"It": content},
        "photons_per_ms": 100.0,
        "brightfield_photons_per_ms": 500.0,
    }
    bench = lab.Bench(**values, view=lab.full_view(channel="It"))
    onset_s = bench.truth(60.0).divisions[0].onset_s
    return bench.snap(onset_s + t_s).astype(float)


def test_cytoplasm_surrounds_a_dark_nucleus_and_rounds_up(lab):
    flat, rounded = _seen_in(lab, "cytoplasm", -1), _seen_in(lab, "cytoplasm", 45)
    nuclei = _seen_in(lab, "nuclei", -1)
    ring = (nuclei < 200) & (flat > 300)
    assert ring.sum() > 0.5 * (nuclei > 1000).sum()
    assert flat[124:131, 124:131].mean() < 0.6 * np.median(flat[ring])
    assert rounded[124:131, 124:131].mean() > 2 * np.median(flat[ring])
    (_, (vy, vx)) = lab.moments(rounded, 300)
    assert vy == pytest.approx(vx, rel=0.1)
    assert vy < 0.8 * max(lab.moments(flat, 300)[1])


def test_without_a_label_rounded_cells_stand_out(lab):
    flat, rounded = _seen_in(lab, "brightfield", -1), _seen_in(lab, "brightfield", 45)
    level = np.median(flat)
    assert level == pytest.approx(100 + 500 * 20 / 0.5, rel=0.01)
    depth = [level - image[124:131, 124:131].mean() for image in (flat, rounded)]
    assert 0.02 * level < depth[0] < 0.1 * level
    assert depth[1] > 3 * depth[0]
    assert rounded.max() > level + 0.1 * level
