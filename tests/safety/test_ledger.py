"""The ledger against an independent, dense numerical integral."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rigs import LINE, rig

from smartscope.core import NS_PER_S, DeviceHistory
from smartscope.safety import Dose, DoseLedger

FIELD = (500.0, 400.0)
AREA_CM2 = FIELD[0] * FIELD[1] * 1e-8


def stand(gate: str = "always", **line: Any):
    return rig(light={488: {**LINE, "gate": gate, **line}})


def ledger(history, made=None, objective="10x", start_ns=0) -> DoseLedger:
    return DoseLedger(made or stand(), history, start_ns=start_ns, objective=objective)


def s(seconds: float) -> int:
    return round(seconds * NS_PER_S)


def lit(percent: float = 20.0, **more: float) -> DeviceHistory:
    history = DeviceHistory()
    history.set("power:488", 0, percent)
    for key, value in {"x_um": 0.0, "y_um": 0.0, **more}.items():
        history.set(key, 0, value)
    return history


# 20 % is 2 V is 1 mW; over 500 x 400 um that is 0.5 J/cm2 per second.
PER_S = 1e-3 / AREA_CM2


def test_one_second_of_one_milliwatt():
    account = ledger(lit())
    account.advance(s(1))
    for dose in (account.charge((0, 0)), account.at(0, 0), account.total("488")):
        assert dose.j_cm2 == pytest.approx(PER_S) == pytest.approx(0.5)
        assert dose.percent_s == pytest.approx(20)
        assert dose.lit_s == pytest.approx(1)
        assert (dose.unit, dose.value) == ("J/cm2", dose.j_cm2)
    assert account.charged_ns == s(1)


def test_what_is_charged_is_charged_once():
    account = ledger(lit())
    for t in (0.5, 1, 1, 0.2, 2):
        account.advance(s(t))
    assert account.at(0, 0).lit_s == pytest.approx(2)


def test_nothing_before_the_start_is_charged():
    account = ledger(lit(), start_ns=s(3))
    account.advance(s(1))
    assert account.at(0, 0).lit_s == 0
    account.advance(s(4))
    assert account.at(0, 0).lit_s == pytest.approx(1)


@pytest.mark.parametrize(
    ("gate", "lit_s"), [("always", 10), ("shutter", 4), ("camera_ttl", 1)]
)
def test_gates(gate, lit_s):
    history = lit(shutter=0, camera=0)
    history.set("shutter", s(2), 1)
    history.set("camera", s(3), 1)
    history.set("camera", s(4), 0)
    history.set("shutter", s(6), 0)
    account = ledger(history, stand(gate))
    account.advance(s(10))
    assert account.total().lit_s == pytest.approx(lit_s)


@pytest.mark.parametrize("gate", ["shutter", "camera_ttl"])
def test_a_gate_that_nobody_reports_counts_as_open(gate):
    account = ledger(lit(), stand(gate))
    account.advance(s(1))
    assert account.total().lit_s == pytest.approx(1)
    assert any("counts as open" in note for note in account.summary()["notes"])


def test_light_left_on_between_frames_is_charged():
    # The camera exposes 0.1 s of each second; the shutter was forgotten.
    history = lit(shutter=1, camera=0)
    for t in range(10):
        history.set("camera", s(t), 1)
        history.set("camera", s(t + 0.1), 0)
    account = ledger(history, stand("shutter"))
    account.advance(s(10))
    assert account.total().lit_s == pytest.approx(10)


def test_two_places_far_apart_do_not_share():
    history = lit()
    history.set("power:488", s(1), 0)
    history.set("x_um", s(1), 2000)
    history.set("power:488", s(2), 20)
    account = ledger(history)
    account.advance(s(5))
    assert account.charge((0, 0)).lit_s == pytest.approx(1)
    assert account.charge((2000, 0)).lit_s == pytest.approx(3)
    assert account.charge((1000, 0)) == Dose(j_cm2=0.0)
    assert account.total().lit_s == pytest.approx(4)


def test_fields_that_touch_do_not_count_for_each_other_but_overlaps_do():
    for distance, shared in ((500, False), (499, False), (400, True), (100, True)):
        history = lit()
        history.set("x_um", s(1), distance)
        account = ledger(history)
        account.advance(s(2))
        assert account.charge((0, 0)).lit_s == pytest.approx(2 if shared else 1)
        middle = account.at(distance / 2, 0)
        assert middle.lit_s == pytest.approx(2), "where both shine, both count"


def test_a_place_gets_what_shines_on_it():
    account = ledger(lit(x_um=1000.0, y_um=-300.0))
    account.advance(s(1))
    inside = [(1000, -300), (751, -300), (1249, -300), (1000, -499), (1249, -101)]
    outside = [(700, -300), (1300, -300), (1000, -540), (1000, -60), (0, 0)]
    assert [account.at(*place).lit_s for place in inside] == pytest.approx([1] * 5)
    assert [account.at(*place).lit_s for place in outside] == [0] * 5


def test_without_calibration_dose_is_relative_and_says_so():
    account = ledger(lit(), stand(calibration={}, field_um={}))
    account.advance(s(2))
    dose = account.charge((0, 0))
    assert (dose.j_cm2, dose.value, dose.unit) == (None, 40.0, "percent-seconds")
    assert str(dose) == "40 percent-seconds (relative, not calibrated)"
    assert account.summary()["notes"] == [
        "line 488: no calibration or field_um for objective 10x, so its dose is "
        "relative (percent of range x seconds)"
    ]


def test_another_objective_has_its_own_calibration():
    account = ledger(lit())
    account.set_objective(s(1), "20x")
    account.advance(s(3))
    assert account.at(0, 0).percent_s == pytest.approx(60)
    assert account.at(0, 0).j_cm2 is None, "part of it is not calibrated"
    assert account.at(5000, 0).j_cm2 == 0, "where nothing shone it is known to be none"


def test_a_line_nobody_reported_is_noted():
    account = ledger(DeviceHistory())
    account.advance(s(1))
    assert account.total() == Dose()
    assert account.summary()["notes"] == [
        "line 488: no power was ever reported, so none is charged"
    ]


@pytest.mark.parametrize(
    ("points", "percent", "mw"),
    [
        ([[0, 0], [4, 2], [10, 12]], 100, 12),
        ([[0, 0], [4, 2]], 100, 5),  # goes on as steeply: 0.5 mW per V
        ([[0, 0], [2, 4], [4, 5]], 60, 9),  # ... as at its steepest: 2 mW per V
        ([[4, 2], [10, 12]], 20, 1),  # straight to nothing at 0 %
        ([[4, 2], [10, 12]], 0, 0),
        ([[0, 0.1], [10, 10]], 0, 0.1),  # light that leaks at 0 %
    ],
)
def test_beyond_the_calibration_more_is_charged_never_less(points, percent, mw):
    account = ledger(lit(percent), stand(calibration={"10x": points}))
    account.advance(s(1))
    assert account.at(0, 0).j_cm2 == pytest.approx(mw * PER_S)


def test_summary():
    history = lit(shutter=1)
    history.set("x_um", s(1), 3000)
    account = ledger(history)
    account.advance(s(4))
    found = account.summary({"a": (0.0, 0.0), "b": (3000.0, 0.0)})
    assert found["charged_ns"] == s(4)
    assert found["total"]["percent_s"] == pytest.approx(80)
    line = found["lines"]["488"]
    assert line["energy_mj"] == pytest.approx(4)
    assert line["gate"] == "always"
    worst = line["worst_field"]
    assert worst["j_cm2"] == pytest.approx(3 * PER_S)
    assert abs(worst["x_um"] - 3000) <= FIELD[0] / 16
    assert [found["positions"][p]["lit_s"] for p in "ab"] == pytest.approx([1, 3])
    assert found["notes"] == []


# ------------------------------------------------------------------------ forecast


@pytest.mark.parametrize(
    ("gate", "more", "lit_s"),
    [
        ("camera_ttl", {}, 0.1),
        ("shutter", {}, 0.106),  # snap overhead and readout of the timing table
        ("always", {}, 0.106),
        ("always", {"period_ms": 1000}, 1.0),
        ("shutter", {"period_ms": 1000}, 0.106),
        ("camera_ttl", {"frames": 5}, 0.5),
    ],
)
def test_forecast(gate, more, lit_s):
    account = ledger(DeviceHistory(), stand(gate))
    dose = account.forecast(100, {"488": 20.0, "561": 50.0}, **more)
    assert dose.lit_s == pytest.approx(lit_s)
    assert dose.percent_s == pytest.approx(20 * lit_s)
    assert dose.j_cm2 == pytest.approx(lit_s * PER_S)
    assert account.forecast(100, {"488": 0.0}) == Dose()


def test_the_forecast_is_what_is_charged_then():
    account = ledger(lit(camera=0), stand("camera_ttl"))
    planned = account.forecast(250, {"488": 70.0})
    history = lit(70.0, camera=0)
    history.set("camera", s(1), 1)
    history.set("camera", s(1.25), 0)
    account = ledger(history, stand("camera_ttl"))
    account.advance(s(2))
    assert account.charge((0, 0)).j_cm2 == pytest.approx(planned.j_cm2)


def test_the_cost_does_not_grow_with_the_run():
    class Counting(DeviceHistory):
        cut = 0

        def segments(self, keys, t0_ns, t1_ns):
            for row in super().segments(keys, t0_ns, t1_ns):
                self.cut += 1
                yield row

    history = Counting()
    for key in ("power:488", "x_um", "y_um", "shutter"):
        history.set(key, 0, 0)
    account = ledger(history, stand("shutter"))
    cost = []
    for t in range(300):
        history.set("power:488", s(t), 20 + t % 2)
        history.set("shutter", s(t + 0.2), 1)
        history.set("shutter", s(t + 0.4), 0)
        before = history.cut
        account.advance(s(t + 1))
        cost.append(history.cut - before)
        account.charge((0, 0))
    assert max(cost[100:]) == max(cost[:100]) <= 4
    assert account.total().lit_s == pytest.approx(60)


# ------------------------------------------------- against a dense numerical integral

STEPS = 4000
DURATION_S = 4.0
# Edges of the grid of the integral, so that its midpoints never sit on a jump.
TICK_S = DURATION_S / STEPS

percents = st.sampled_from([0.0, 5.0, 20.0, 39.0, 70.0, 100.0])
ticks = st.integers(0, STEPS - 1)
jumps = st.lists(st.tuples(ticks, percents), max_size=6)
gates = st.lists(st.tuples(ticks, st.sampled_from([0.0, 1.0])), max_size=8)
ramps = st.lists(
    st.tuples(ticks, st.integers(1, STEPS // 2), st.floats(-900, 900)), max_size=4
)


def power_mw(percent: float) -> float:
    return float(np.interp(percent / 10, [0, 4, 10], [0, 2, 12]))


def dense(history: DeviceHistory, gate: str | None, place: tuple[float, float]):
    """Energy (mJ), dose of a place (J/cm2) and lit seconds, by the midpoint rule."""
    energy = dose = seconds = 0.0
    for k in range(STEPS):
        t = s((k + 0.5) * TICK_S)
        if gate and history.at(gate, t) <= 0:
            continue
        percent = history.at("power:488", t)
        if percent <= 0:
            continue
        seconds += TICK_S
        mj = power_mw(percent) * TICK_S
        energy += mj
        off_x = abs(history.at("x_um", t) - place[0])
        off_y = abs(history.at("y_um", t) - place[1])
        if off_x <= FIELD[0] / 2 and off_y <= FIELD[1] / 2:
            dose += mj * 1e-3 / AREA_CM2
    return energy, dose, seconds


def write(history, powers, gate, gating, moves_x, moves_y, power_ramp):
    for key in ("power:488", "x_um", "y_um"):
        history.set(key, 0, 0.0)
    for k, percent in sorted(powers):
        history.set("power:488", s(k * TICK_S), percent)
    if power_ramp is not None:
        start, length, percent = power_ramp
        end = s(min(start + length, STEPS) * TICK_S)
        history.ramp("power:488", s(start * TICK_S), end, percent)
    if gate:
        history.set(gate, 0, 0.0)
        for k, value in sorted(gating):
            history.set(gate, s(k * TICK_S), value)
    for key, moves in (("x_um", moves_x), ("y_um", moves_y)):
        for k, length, target in sorted(moves):
            end = s(min(k + length, STEPS) * TICK_S)
            history.ramp(key, s(k * TICK_S), end, target)


@settings(max_examples=40, deadline=None)
@given(
    powers=jumps,
    gate=st.sampled_from([None, "shutter", "camera"]),
    gating=gates,
    moves_x=ramps,
    moves_y=ramps,
    power_ramp=st.none() | st.tuples(ticks, st.integers(1, STEPS), percents),
    place=st.tuples(st.floats(-900, 900), st.floats(-900, 900)),
    calls=st.lists(st.floats(0, DURATION_S), max_size=6),
)
def test_never_below_the_truth(
    powers, gate, gating, moves_x, moves_y, power_ramp, place, calls
):
    history = DeviceHistory()
    write(history, powers, gate, gating, moves_x, moves_y, power_ramp)
    name = {None: "always", "shutter": "shutter", "camera": "camera_ttl"}[gate]
    account = ledger(history, stand(name))
    for t in [*sorted(calls), DURATION_S]:
        account.advance(s(t))
    energy, dose, seconds = dense(history, gate, place)
    # Wherever the field's edge passes the place, the midpoint rule errs by half a tick.
    slack = 60 * TICK_S
    total = account.total()
    assert total.lit_s == pytest.approx(seconds, abs=1e-9)
    charged = account.summary()["lines"]["488"]["energy_mj"]
    # The calibration bends upwards, so the midpoint rule is too low within a bend.
    assert charged >= energy * (1 - 1e-9)
    bend_mj = 12 * TICK_S if power_ramp else 0.0
    assert charged == pytest.approx(energy, rel=1e-9, abs=1e-9 + bend_mj)
    found = account.at(*place)
    assert found.j_cm2 is not None
    assert found.j_cm2 >= dose - slack * 1e-3 / AREA_CM2
    # Nor far above it: no more than a place that is lit a cell's breadth further off.
    assert found.j_cm2 <= charged * 1e-3 / AREA_CM2 + 1e-9


@settings(max_examples=60, deadline=None)
@given(
    visits=st.lists(
        st.tuples(st.floats(-600, 600), st.floats(-600, 600), percents),
        min_size=1,
        max_size=6,
    ),
    place=st.tuples(st.floats(-600, 600), st.floats(-600, 600)),
)
def test_resting_stage_exactly(visits, place):
    """One second at each place, nothing moves: the truth needs no integral."""
    history = DeviceHistory()
    for t, (x_um, y_um, percent) in enumerate(visits):
        history.set("x_um", s(t), x_um)
        history.set("y_um", s(t), y_um)
        history.set("power:488", s(t), percent)
    account = ledger(history)
    account.advance(s(len(visits)))

    def dose(wider_um: tuple[float, float], at: tuple[float, float]) -> float:
        return sum(
            power_mw(percent) * 1e-3 / AREA_CM2
            for x_um, y_um, percent in visits
            if abs(x_um - at[0]) <= FIELD[0] / 2 + wider_um[0]
            and abs(y_um - at[1]) <= FIELD[1] / 2 + wider_um[1]
        )

    cell = (FIELD[0] / 16 + 1e-6, FIELD[1] / 16 + 1e-6)
    low, high = dose((0, 0), place), dose(cell, place)
    found = account.at(*place).j_cm2
    assert low * (1 - 1e-9) <= found <= high * (1 + 1e-9)
    # The field around a place has a dose not below that of its middle.
    assert account.charge(place).j_cm2 >= low * (1 - 1e-9)
    for x_um, y_um, _ in visits:
        assert account.charge((x_um, y_um)).j_cm2 >= dose((0, 0), (x_um, y_um)) * (
            1 - 1e-9
        )


def test_the_path_of_a_moving_stage_adds_up():
    history = lit()
    history.ramp("x_um", s(1), s(2), 3000.0)
    history.ramp("y_um", s(1), s(2), -777.0)
    account = ledger(history)
    account.advance(s(3))
    assert account.total().lit_s == pytest.approx(3, abs=1e-12)
    # Midway the field passes in the time it takes to cross it, 1/6 s along x.
    assert account.at(1500, -388.5).lit_s == pytest.approx(1 / 6, rel=0.13)
    assert account.at(1500, -388.5).lit_s >= 1 / 6 - 1e-9


def test_doses_add_up_and_forget_no_ignorance():
    known = Dose(percent_s=1, j_cm2=2, lit_s=3)
    unknown = Dose(percent_s=1, j_cm2=None, lit_s=3)
    assert known + known == Dose(percent_s=2, j_cm2=4, lit_s=6)
    assert known + unknown == Dose(percent_s=2, j_cm2=None, lit_s=6)
    assert known.to_dict() == {
        "value": 2,
        "unit": "J/cm2",
        "percent_s": 1,
        "j_cm2": 2,
        "lit_s": 3,
    }
