"""Dose through an SLM: only what is lit is charged, and never too little."""

from __future__ import annotations

import numpy as np
import pytest
from rigs import rig

from smartscope.core import NS_PER_S, DeviceHistory
from smartscope.safety import DoseLedger

SENSOR = (200, 200)
SHAPE = (60, 80)
# Sensor pixels to SLM pixels: mirrored, turned, and larger than the sensor.
TURN = np.deg2rad(20)
LINEAR = 0.35 * np.array([[-np.cos(TURN), np.sin(TURN)], [np.sin(TURN), np.cos(TURN)]])
SHIFT = np.array([39.5, 29.5]) - LINEAR @ np.array([99.5, 99.5])
AFFINE = np.column_stack([LINEAR, SHIFT]).tolist()
UM = [[0.0, -2.0], [2.0, 0.0]]
POWER_MW = 12.0
FIELD_UM = (500, 400)
FULL = POWER_MW * 1e-3 / (FIELD_UM[0] * FIELD_UM[1] * 1e-8)
"""W/cm2 where the SLM is fully lit, at 100 %."""


def stand(**more):
    return rig(
        slm={"line": 488, "calibration": {"10x": AFFINE}},
        calibration={"10x": {"pixel_um": 2, "affine": UM}},
        **more,
    )


def lit(pattern, *, seconds=10.0, config=None, sensor=SENSOR, x_um=0.0):
    """A ledger after `seconds` of full light through one pattern."""
    history = DeviceHistory()
    history.set("shutter", 0, 1)
    history.set("power:488", 0, 100)
    history.set("x_um", 0, x_um)
    history.set("y_um", 0, 0)
    if pattern is not None:
        history.set_pattern(0, 1, pattern)
    ledger = DoseLedger(
        config or stand(), history, start_ns=0, objective="10x", sensor_px=sensor
    )
    ledger.advance(int(seconds * NS_PER_S))
    return ledger, history


def blob(rows, columns, light=255):
    pattern = np.zeros(SHAPE, np.uint8)
    pattern[rows, columns] = light
    return pattern


def to_slm(x_um, y_um):
    """SLM pixel (x, y) that lights a place in the sample, stage at 0."""
    sensor = np.linalg.solve(np.array(UM), [x_um, y_um]) + 99.5
    return LINEAR @ sensor + SHIFT


def true_share(pattern, x_um, y_um):
    x, y = np.rint(to_slm(x_um, y_um)).astype(int)
    inside = 0 <= x < SHAPE[1] and 0 <= y < SHAPE[0]
    return pattern[y, x] / 255 if inside else 0.0


@pytest.mark.parametrize("light", [255, 100])
def test_only_the_lit_part_is_charged_and_never_too_little(light):
    pattern = blob(slice(20, 33), slice(50, 62), light)
    ledger, _ = lit(pattern)
    whole = FULL * 10
    got = ledger.charge((0.0, 0.0)).j_cm2
    assert got == pytest.approx(whole * light / 255)
    cell = np.array(FIELD_UM) / 128
    slm_um = 2 / 0.35
    charged = dark = 0
    for x_um in np.arange(-240, 240, 13.7):
        for y_um in np.arange(-190, 190, 11.3):
            dose = ledger.at(x_um, y_um).j_cm2
            true = whole * true_share(pattern, x_um, y_um)
            assert dose >= true * (1 - 1e-9)
            reach = 3 * max(cell) + slm_um
            near = [
                true_share(pattern, x_um + dx, y_um + dy)
                for dx in (-reach, 0, reach)
                for dy in (-reach, 0, reach)
            ]
            if max(near) == 0:
                assert dose == 0
                dark += 1
            if min(near) > 0:
                assert dose == pytest.approx(true)
                charged += 1
    assert charged > 3
    assert dark > 500


def test_the_total_counts_the_share_of_the_field_that_is_lit():
    half = blob(slice(0, 60), slice(0, 10))
    ledger, _ = lit(half)
    area_um2 = 600 * (2 / 0.35) ** 2
    share = area_um2 / (FIELD_UM[0] * FIELD_UM[1])
    assert ledger.total("488").j_cm2 == pytest.approx(FULL * 10 * share, rel=1e-6)
    summary = ledger.summary()["lines"]["488"]
    assert summary["energy_mj"] == pytest.approx(POWER_MW * 10 * share, rel=1e-6)
    assert summary["worst_field"]["j_cm2"] == pytest.approx(FULL * 10)
    assert not [note for note in ledger.summary()["notes"] if "488" in note]


def test_dark_gives_nothing_and_another_pattern_adds_only_where_it_lights():
    left, right = blob(slice(20, 40), slice(5, 25)), blob(slice(20, 40), slice(55, 75))
    ledger, history = lit(left, seconds=10)
    history.set_pattern(10 * NS_PER_S, 0, np.zeros(SHAPE, np.uint8))
    ledger.advance(30 * NS_PER_S)
    assert ledger.charge((0.0, 0.0)).j_cm2 == pytest.approx(FULL * 10)
    history.set_pattern(30 * NS_PER_S, 2, right)
    ledger.advance(35 * NS_PER_S)
    # The two do not overlap, so the most lit place is that of the longer one.
    assert ledger.charge((0.0, 0.0)).j_cm2 == pytest.approx(FULL * 10)
    doses = []
    for pixel in ((15.0, 30.0), (65.0, 30.0), (40.0, 30.0)):
        sensor = np.linalg.solve(LINEAR, np.array(pixel) - SHIFT) - 99.5
        doses.append(ledger.at(*(np.array(UM) @ sensor)).j_cm2)
    assert doses == pytest.approx([FULL * 10, FULL * 5, 0.0])
    history.set_pattern(35 * NS_PER_S, 1, left)
    ledger.advance(36 * NS_PER_S)
    assert ledger.charge((0.0, 0.0)).j_cm2 == pytest.approx(FULL * 11)


def test_what_is_lit_stays_where_the_stage_stood():
    ledger, history = lit(blob(slice(20, 40), slice(30, 50)), x_um=1000.0)
    history.ramp("x_um", 10 * NS_PER_S, 12 * NS_PER_S, 3000.0)
    history.set("power:488", 10 * NS_PER_S, 0)
    ledger.advance(20 * NS_PER_S)
    assert ledger.charge((1000.0, 0.0)).j_cm2 == pytest.approx(FULL * 10)
    assert ledger.charge((3000.0, 0.0)).j_cm2 == 0
    assert ledger.at(1000.0, 0.0).j_cm2 == pytest.approx(FULL * 10)
    assert ledger.at(3000.0, 0.0).j_cm2 == 0


def test_a_moving_stage_spreads_the_light_and_loses_none():
    ledger, history = lit(blob(slice(29, 31), slice(39, 41)), seconds=0)
    history.ramp("x_um", 0, 10 * NS_PER_S, 100.0)
    ledger.advance(10 * NS_PER_S)
    steady, _ = lit(blob(slice(29, 31), slice(39, 41)))
    assert ledger.total("488").j_cm2 == pytest.approx(steady.total("488").j_cm2)
    assert 0 < ledger.at(50.0, 0.0).j_cm2 < steady.at(0.0, 0.0).j_cm2 / 2


@pytest.mark.parametrize(
    "case", ["nobody said what it shows", "no calibration", "no affine", "no sensor"]
)
def test_what_is_not_known_counts_as_light_on_all_of_the_field(case):
    pattern = blob(slice(20, 21), slice(50, 51))
    sensor, config, told = SENSOR, stand(), pattern
    if case == "nobody said what it shows":
        told = None
    elif case == "no calibration":
        config = rig(slm={"line": 488}, calibration={"10x": {"pixel_um": 2}})
    elif case == "no affine":
        config = rig(slm={"line": 488, "calibration": {"10x": AFFINE}})
    else:
        sensor = None
    ledger, _ = lit(told, config=config, sensor=sensor)
    assert ledger.at(100.0, 100.0).j_cm2 == pytest.approx(FULL * 10)
    assert ledger.at(-200.0, 50.0).j_cm2 == pytest.approx(FULL * 10)
    notes = " ".join(ledger.summary()["notes"])
    assert ("which counts as light on the whole field" in notes) == (told is not None)


def test_a_line_that_does_not_go_over_the_slm_is_even():
    config = stand(
        light={
            488: stand().light["488"].model_dump(),
            561: {"power": ["Lamp", "Level"], "field_um": {"10x": [500, 400]}},
        }
    )
    history = DeviceHistory()
    history.set("power:561", 0, 50)
    history.set_pattern(0, 0, np.zeros(SHAPE, np.uint8))
    ledger = DoseLedger(config, history, start_ns=0, objective="10x", sensor_px=SENSOR)
    ledger.advance(2 * NS_PER_S)
    assert ledger.at(0.0, 0.0).percent_s == pytest.approx(100)
