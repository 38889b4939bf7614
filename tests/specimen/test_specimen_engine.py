"""What every kind gets: steps, roles of light, patterns, events, settling, threads."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sparks_kind import Sparks, SparksBiology

from smartscope.core import NS_PER_MS, NS_PER_S, DeviceHistory, Orientation
from smartscope.specimen import (
    LivingSpecimen,
    Pattern,
    Role,
    TrueEvent,
    make_specimen,
    truth_rows,
    use_threads,
)
from smartscope.specimen._optics import Optics
from smartscope.specimen._stage import settling_um


class Stage:
    """A specimen of our own kind, with devices in a history of its own."""

    def __init__(self, biology, view):
        self.specimen, self.view = LivingSpecimen(biology), view
        self.history = DeviceHistory()
        for key in ("x_um", "y_um", "z_um"):
            self.history.set(key, 0, 0.0)
        self.history.set("shutter", 0, 0)
        self.specimen.start(0)

    def set(self, t_s, **values):
        for key, value in values.items():
            self.history.set(key, round(t_s * NS_PER_S), value)

    def snap(self, t_s, ms=20.0, view=None):
        t0, t1 = round(t_s * NS_PER_S), round(t_s * NS_PER_S + ms * NS_PER_MS)
        self.history.set("shutter", t0, 1)
        self.history.set("shutter", t1, 0)
        return self.specimen.expose(view or self.view, self.history, t0, t1)

    def truth(self, t_s):
        return self.specimen.truth(round(t_s * NS_PER_S))


def _sparks(view, seed=3, **parameters):
    quiet = {"drift_um_s": (0, 0, 0), "vignetting": 0.0}
    return Stage(SparksBiology(seed, Sparks(**quiet | parameters)), view)


def test_a_channel_shows_what_the_kind_says(lab):
    stage = _sparks(
        lab.full_view(512), channels={"BF": "brightfield"}, cells=30, every_s=1e6
    )
    dark = stage.snap(1.0)
    bright = stage.snap(2.0, view=lab.full_view(512, channel="BF"))
    backdrop = (np.median(bright) - 100) * 0.5
    assert backdrop == pytest.approx(40 * 20, rel=0.03)
    truth = stage.truth(2.0)
    centre = np.round(255.5 + np.stack([truth.y_um, truth.x_um], 1)).astype(int)
    inside = ((centre > 5) & (centre < 506)).all(axis=1)
    assert inside.sum() > 20
    y, x = centre[inside].T
    assert (bright[y, x] < np.median(bright) - 200).mean() > 0.9
    assert (dark[y, x] > np.median(dark)).mean() > 0.8


def test_an_unknown_content_is_refused():
    with pytest.raises(ValueError, match=r"cannot show 'nuclei'.*cells, brightfield"):
        Sparks(channels={"DAPI": "nuclei"})


def test_roles_of_lines_add_up_separately(lab):
    class Watching(SparksBiology):
        def roles(self):
            blue = Role({"405": 1.0}, other=0.0)
            return {**super().roles(), "blue": blue}

        def step(self, state, light, now):
            seen.append({role: float(got.sum()) for role, got in light.items()})
            return super().step(state, light, now)

    seen = []
    parameters = Sparks(
        cells=1,
        vignetting=0.0,
        excitation={"405": 0.0},
        bleaching={"640": 2.0, "488": 0.5, "405": 0.0},
        harm={"405": 3.0, "488": 0.0, "640": 0.0},
        activation={"405": 0.5},
    )
    stage = Stage(Watching(1, parameters), lab.full_view(2048))
    stage.set(0, shutter=1, **{"power:405": 10, "power:488": 20, "power:640": 40})
    stage.specimen.expose(stage.view, stage.history, 0, 0)
    stage.specimen.expose(stage.view, stage.history, NS_PER_S, NS_PER_S)
    assert seen[0] == pytest.approx(
        {
            "excitation": 60.0,
            "bleaching": 90.0,
            "harm": 30.0,
            "activation": 5.0,
            "transmission": 70.0,
            "blue": 10.0,
        }
    )


def test_objects_vanish_above_a_dose_and_events_come_when_they_happen(lab):
    stage = _sparks(lab.full_view(2048), cells=40, every_s=5.0, harm_dose=100.0)
    before = stage.truth(3.0)
    after = stage.truth(60.0)
    assert len(before.events) < len(after.events)
    assert {e.kind for e in after.events} == {"transient"}
    onsets = [e.onset_s for e in after.events]
    assert onsets == sorted(onsets)
    assert max(onsets) <= 60.0
    middle = after.events[len(after.events) // 2]
    during = stage.truth(middle.onset_s + 0.1)
    same = next(e for e in during.events if e.onset_s == middle.onset_s)
    assert math.isnan(same.end_s)
    assert same.peak_s == middle.peak_s
    assert all(e.onset_s <= during.t_s for e in during.events)
    column = during.measures["calcium"]
    row = int(np.flatnonzero(during.cell_id == middle.object_id)[0])
    assert column[row] == pytest.approx(0.1 + np.exp(-0.1 / 0.2), rel=1e-6)
    assert truth_rows(during)["calcium"] == column.tolist()
    assert during.scalars == {"cells": 40.0}
    stage.set(61.0, shutter=1)
    stage.set(64.0, shutter=0)
    stage.specimen.expose(stage.view, stage.history, 70 * NS_PER_S, 70 * NS_PER_S)
    assert len(stage.truth(70.0)) == 0


def test_an_event_tells_nothing_of_its_future():
    event = TrueEvent("transient", 3, 10.0, 14.0, 1.0, 2.0, peak_s=12.0)
    assert event.known_at(9.9) is None
    early = event.known_at(11.0)
    assert math.isnan(early.end_s)
    assert math.isnan(early.peak_s)
    assert math.isnan(event.known_at(13.0).end_s)
    assert event.known_at(13.0).peak_s == 12.0
    assert event.known_at(14.0) is event


def test_divisions_are_events_too(lab):
    values = lab.PLAIN | {
        "cell_cycle_s": 200.0,
        "cell_cycle_spread": 0.0,
        "mitosis_s": 50.0,
        "synchrony": 1.0,
    }
    bench = lab.Bench(**values)
    truth = bench.truth(180.0)
    (division,), (event,) = truth.divisions[:1], truth.events[:1]
    assert (event.kind, event.object_id) == ("mitosis", division.parent_id)
    assert (event.onset_s, event.peak_s, event.end_s) == (
        division.onset_s,
        division.split_s,
        division.end_s,
    )


# --- patterned light


def _half(side, **changes):
    mask = np.zeros((64, 64), np.float32)
    mask[:, 32:] = 1
    scale = side / 64
    shift = (scale - 1) / 2
    to_sensor = ((scale, 0.0, shift), (0.0, scale, shift))
    return {"slm_line": "488", "patterns": {7: Pattern(mask, to_sensor)}, **changes}


def test_a_pattern_lights_pixels_and_objects_alike(lab):
    view = lab.full_view(512, **_half(512))
    stage = _sparks(view, cells=60, background_photons_per_ms=10.0)
    stage.set(0, **{"power:488": 100, "slm": 7})
    image = stage.snap(1.0, 100.0)
    left, right = image[:, :240].astype(float), image[:, 272:].astype(float)
    assert np.median(left) == pytest.approx(100, abs=2)
    assert np.median(right) == pytest.approx(100 + 10 * 100 / 0.5, rel=0.02)
    truth = stage.truth(1.1)
    off = np.abs(truth.x_um) > 10
    lit = (truth.x_um > 0) & (truth.x_um < 250)
    assert truth.dose[off & lit] == pytest.approx(10.0, rel=1e-3)
    assert (truth.dose[off & ~lit & (truth.x_um < 0)] == 0).all()


def test_only_the_shaped_line_follows_the_pattern_and_only_while_it_is_shown(lab):
    view = lab.full_view(512, **_half(512))
    stage = _sparks(view, cells=60)
    stage.set(0, **{"power:488": 100, "power:640": 30, "slm": 7})
    stage.snap(1.0, 100.0)
    truth = stage.truth(1.1)
    dark = (truth.x_um < -10) & (np.abs(truth.x_um) < 250)
    assert dark.sum() > 5
    assert truth.dose[dark] == pytest.approx(3.0, rel=1e-3)
    stage.set(2.0, slm=0)
    stage.snap(3.0, 100.0)
    assert stage.truth(3.1).dose[dark] == pytest.approx(3.0 + 13.0, rel=1e-3)


def test_a_pattern_that_changes_within_an_exposure_counts_for_its_time(lab):
    view = lab.full_view(512, **_half(512))
    stage = _sparks(view, cells=0, background_photons_per_ms=10.0)
    stage.set(0, **{"power:488": 100, "slm": 7})
    stage.set(1.025, slm=0)
    image = stage.snap(1.0, 100.0).astype(float)
    assert np.median(image[:, 272:]) == pytest.approx(100 + 2000, rel=0.02)
    assert np.median(image[:, :240]) == pytest.approx(100 + 1500, rel=0.02)


def test_a_full_pattern_is_even_light(lab):
    bright = Pattern(np.ones((8, 8), np.float32), ((80, 0, -20), (0, 80, -20)))
    shaped = lab.full_view(256, slm_line="488", patterns={1: bright})
    images = []
    for view in (shaped, lab.full_view(256)):
        stage = _sparks(view, cells=10)
        stage.set(0, **{"power:488": 100, "slm": 1})
        images.append(stage.snap(1.0).astype(float))
    assert np.abs(images[0] - images[1]).max() <= 1


@pytest.mark.parametrize("flips", [(False, True, False), (True, False, True)])
def test_the_pattern_is_turned_with_the_image(lab, flips):
    """The lit spot is where an object at the same place on the sensor is seen."""
    mask = np.zeros((400, 500), np.float32)
    mask[90:111, 290:311] = 1
    view = lab.full_view(
        sensor_shape=(400, 500),
        orientation=Orientation(*flips),
        slm_line="488",
        patterns={1: Pattern(mask)},
    )
    parameters = {"cells": 0, "rotation_deg": 30.0, "background_photons_per_ms": 50.0}
    stage = _sparks(view, **parameters)
    stage.set(0, **{"power:488": 100, "slm": 1})
    (cy, cx), _ = lab.moments(stage.snap(1.0), 300)
    affine = np.array(stage.specimen.true_affine(10.0))
    xy_um = affine @ (300 - 249.5, 100 - 199.5)
    pixel_map = stage.specimen.sample.pixel_map(view, 10.0)
    expected = pixel_map.to_image(xy_um[None], 0.0, 0.0)[0]
    assert (cy, cx) == pytest.approx(tuple(expected), abs=0.2)
    at = Pattern(mask).at_points(np.array([xy_um, -xy_um]), affine, (400, 500))
    assert at.tolist() == [1.0, 0.0]


# --- the stage settles


def test_a_stage_swings_after_a_move_and_comes_to_rest():
    p = Optics(stage_settle_um=2.0, stage_settle_ms=100.0, stage_settle_hz=10.0)
    history = DeviceHistory()
    history.set("x_um", 0, 0.0)
    history.set("y_um", 0, 5.0)
    history.ramp("x_um", NS_PER_S, 2 * NS_PER_S, 100.0)

    def off(t_s):
        return settling_um(p, history, round(t_s * NS_PER_S))

    assert off(0.9) == (0.0, 0.0)
    assert off(1.5) == (0.0, 0.0)
    assert off(2.0)[0] == pytest.approx(2.0)
    assert off(2.05)[0] == pytest.approx(-2 * math.exp(-0.5), rel=1e-6)
    assert off(2.1)[0] == pytest.approx(2 * math.exp(-1), rel=1e-6)
    assert off(2.1)[1] == 0.0
    assert off(3.0) == (0.0, 0.0)
    assert settling_um(Optics(), history, 2 * NS_PER_S) == (0.0, 0.0)


def test_a_jump_swings_no_further_than_it_came():
    p = Optics(stage_settle_um=2.0)
    history = DeviceHistory()
    history.set("x_um", 0, 0.0)
    history.set("y_um", 0, 0.0)
    history.set("x_um", NS_PER_S, 0.3)
    history.set("y_um", NS_PER_S, 0.4)
    assert settling_um(p, history, NS_PER_S) == pytest.approx((0.3, 0.4))


def test_a_frame_right_after_a_move_is_off_and_a_late_one_is_not(lab):
    def found(wait_s, **settle):
        values = lab.PLAIN | {"photons_per_ms": 500.0} | settle
        bench = lab.Bench(**values)
        bench.set(0.5, x_um=30.0)
        (_, x), _ = lab.moments(bench.snap(0.5 + wait_s, 5.0), 300)
        return x

    swing = {"stage_settle_um": 5.0, "stage_settle_ms": 50.0, "stage_settle_hz": 5.0}
    still = found(0.001)
    assert found(0.001, **swing) - still == pytest.approx(-4.7, abs=0.4)
    assert found(0.5, **swing) == pytest.approx(still, abs=0.1)


# --- threads


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_pixels_do_not_depend_on_the_number_of_threads(lab, threads):
    def life():
        specimen = make_specimen("dividing_cells", seed=4, parameters={"cells": 300})
        bench = lab.Bench(view=lab.full_view(700))
        specimen.start(0)
        bench.specimen = specimen
        return bench.snap(2.0)

    use_threads(None)
    usual = life()
    use_threads(threads)
    try:
        assert np.array_equal(life(), usual)
    finally:
        use_threads(None)
