"""Answers that were worked out before are those that would be worked out now."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rigs import LINE, experiment, request, rig

from smartscope.core import (
    ACTION_KINDS,
    NS_PER_S,
    Acquire,
    DeviceHistory,
    HardwareState,
    MoveStage,
    SetInterval,
    SetPower,
    SetProperty,
    ShiftPosition,
    value_to_percent,
)
from smartscope.safety import DoseLedger, Guard, Interlocks
from smartscope.safety._actions import _surely_sound, _unsound_number
from smartscope.safety._dosemap import _CELLS, _LOOKED_AT, DoseMap
from smartscope.safety._envelope import Envelope

# ------------------------------------------------------------------------- actions

anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.floats().map(np.float64),
    st.floats(width=32).map(np.float32),
    st.integers(-9, 9).map(np.int32),
    st.text(max_size=3),
    st.tuples(),
    st.tuples(st.floats()),
    st.tuples(st.tuples(st.floats(), st.integers(-9, 9))),
    st.just([math.nan]),
)


@settings(max_examples=400)
@given(kind=st.sampled_from(ACTION_KINDS), data=st.data())
def test_what_is_taken_for_sound_is_sound(kind, data):
    fields = {name: data.draw(anything) for name in kind.__dataclass_fields__}
    action = kind(**fields)
    if _surely_sound(action):
        assert _unsound_number(action) is None


@pytest.mark.parametrize(
    "action",
    [
        SetProperty(device="Camera", property="Gain", value="2", reason=""),
        SetPower(line="488", power_percent=3, reason="", deadline_ms=5.0, track_id=3),
        SetInterval(interval_s=None, reason=""),
        MoveStage(x_um=1.0, y_um=-2.5, reason=""),
        ShiftPosition(dx_um=1e300, reason="", priority=-3),
    ],
    ids=lambda action: type(action).__name__,
)
def test_what_policies_mostly_ask_for_is_seen_to_be_sound_at_once(action):
    assert _surely_sound(action)


@pytest.mark.parametrize(
    "action",
    [
        MoveStage(x_um=math.nan, y_um=0.0, reason=""),
        MoveStage(x_um=0.0, y_um=-math.inf, reason=""),
        MoveStage(x_um="0", y_um=0.0, reason=""),
        SetProperty(device="Camera", property="Gain", value=2, reason=""),
        SetPower(line=None, power_percent=1.0, reason=""),
        SetPower(line="488", power_percent=None, reason=""),
        Acquire(frames=1.5, reason=""),
        Acquire(z_offsets_um=(0.0, math.nan), reason=""),
    ],
)
def test_what_is_unsound_is_not_passed_over(action):
    assert not _surely_sound(action)
    assert _unsound_number(action)


# -------------------------------------------------------------------------- limits

rising = st.lists(st.integers(-2, 12), min_size=2, max_size=5, unique=True).map(sorted)


# Far from 0 a percent is a coarse measure of a value: rounding decides at the ends.
ranges = st.sampled_from([(0.0, 10.0), (-1.0, 12.0), (-1e9 / 3, 1e9 / 7)])


@settings(max_examples=200)
@given(
    data=st.data(),
    volts=rising,
    span=ranges,
    objective=st.sampled_from(["10x", "20x", None]),
)
def test_a_power_is_judged_the_same_with_and_without_the_table(
    data, volts, span, objective
):
    watts = st.floats(0.0, 10.0)
    points = [[float(v), data.draw(watts)] for v in volts]
    line = {**LINE, "range": list(span), "calibration": {"10x": points}}
    limits: dict[str, Any] = {}
    if (limit := data.draw(st.none() | st.floats(0.0, 12.0))) is not None:
        limits["power_mw"] = {488: limit}
    if (limit := data.draw(st.none() | st.floats(0.0, 100.0))) is not None:
        limits["power_percent"] = {488: limit}
    envelope = Envelope(rig(limits=limits, light={488: line}), experiment(light={}))
    highest = envelope.highest_percent(objective)["488"]
    ends = [0.0, -0.0, 100.0, highest, *(value_to_percent(v, *span) for v in volts)]
    nudge = st.sampled_from([1e-12, -1e-12, 1e-8, -1e-8, 0.01, -0.01])
    near = st.builds(float.__add__, st.sampled_from(ends), nudge)
    drawn = data.draw(st.lists(st.floats() | st.floats(-1.0, 101.0) | near, max_size=8))
    for percent in (*ends, *drawn):
        for name in ("488", "no such line"):
            once = envelope.power(name, percent, objective)
            assert once == envelope._power(name, percent, objective)
            assert once == envelope.power(name, percent, objective)


ROLES = ("stage", "focus", "fine_focus", "objective", "shutter")
labels = st.sampled_from(["A", "B", "C", "Core", "Exposure"])


def why_not(made, device: str, name: str) -> str | None:
    """The same, one question after the other."""
    for line, config in made.light.items():
        if (device, name) == config.power:
            return f"{device}.{name} is the power of line {line}: use SetPower"
    if (device, name) == (made.roles.camera, "Exposure"):
        return f"{device}.{name} has an action of its own: use SetExposure"
    for role in ROLES:
        if device == getattr(made.roles, role):
            return f"{device} is the rig's {role}: its properties are not set by hand"
    if device == "Core" or any((device, name) == e[:2] for e in made.safe_state):
        return f"{device}.{name} keeps the rig safe and is not set by a policy"
    return None


@settings(max_examples=150, deadline=None)
@given(
    roles=st.dictionaries(st.sampled_from(ROLES), labels),
    lines=st.lists(st.tuples(labels, labels), max_size=3),
    safe=st.lists(st.tuples(labels, labels), max_size=3),
    asked=st.tuples(labels, labels),
)
def test_a_property_is_refused_for_the_first_reason(roles, lines, safe, asked):
    made = rig(
        roles={"camera": "A", **roles},
        light={f"line {i}": {"power": list(power)} for i, power in enumerate(lines)},
        safe_state=[[*entry, 0] for entry in safe],
    )
    device, name = asked
    envelope = Envelope(made, experiment(light={}))
    assert envelope.reserved(device, name) == why_not(made, device, name)
    planned = envelope.property(device, name, 1e9, None)
    found = [line for line, config in made.light.items() if config.power == asked]
    assert (planned is None) == (not found)
    assert planned is None or f"of line {found[0]} is not between" in planned


def test_the_guard_itself_takes_these_ways(monkeypatch):
    """A frame does not pay for sentences that nobody will read."""
    guard = Guard(rig(limits={"power_mw": {488: 5}}), experiment())
    where: list[str] = []
    monkeypatch.setattr(Envelope, "where", lambda self, field: where.append(field))
    power = request(SetPower(line="488", power_percent=20.0, reason=""))
    state = HardwareState(objective="10x")
    guard.check_action(power, state=state, t_ns=0)
    where.clear()
    assert guard.check_action(power, state=state, t_ns=1) is None
    assert where == []


def test_interlocks_that_do_not_hold_change_nothing():
    locks = Interlocks()
    assert locks.active == ()
    assert not locks.clear("disk")
    assert locks.trip("disk", "full")
    assert not locks.clear("hardware")
    assert locks.active == ("disk",)
    assert locks.clear("disk")
    assert locks.active == ()


# ---------------------------------------------------------------------------- dose

FIELD = (160.0, 320.0)  # cells of 10 x 20 um


def most_lit(booked: dict[tuple[int, int], list[float]], i: int, j: int) -> list[float]:
    """What `DoseMap.field` says it is, place by place."""
    if not booked:
        return [0.0, 0.0, 0.0]
    near = np.arange(-_LOOKED_AT, _LOOKED_AT + 1)
    a, b = np.array(list(booked)).T
    reached_x = np.abs(a - (i + near)[:, None]) <= _CELLS // 2
    reached_y = np.abs(b - (j + near)[:, None]) <= _CELLS // 2
    reached = reached_x[:, None, :] & reached_y[None, :, :]
    lights = np.array(list(booked.values()))
    got = (reached[..., None] * lights).sum(axis=2)
    return got.reshape(-1, 3).max(axis=0).tolist()


# Mostly close together, at the distances where something begins or ends to count.
steps = st.sampled_from([0, 1, 2, 3, -2, 8, 13, 14, 15, -14, 30])
cells = st.builds(lambda a, b, c: (a + c, b), steps, steps, st.sampled_from([0, 0, 1]))
amounts = st.floats(0.0, 50.0)
acts = st.lists(
    st.tuples(st.just("book"), cells, amounts, amounts)
    | st.tuples(st.just("ask"), cells, st.just(0.0), st.just(0.0)),
    max_size=40,
)


def at_edges(edge: int) -> list[tuple[Any, ...]]:
    """Light at one end of a field, then some that begins just short of that end."""
    places = [("book", (-14, edge)), ("ask", (0, 0)), ("book", (edge, 0))]
    return [(what, place, 2.0, 1.0) for what, place in [*places, ("ask", (0, 0))]]


@settings(max_examples=200, deadline=None)
@given(acts=acts)
@example(acts=at_edges(2))
@example(acts=at_edges(3))
@example(acts=at_edges(14))
@example(acts=at_edges(15))
def test_a_field_that_was_asked_before_is_not_out_of_date(acts):
    found = DoseMap(FIELD, calibrated=True)
    booked: dict[tuple[int, int], list[float]] = {}
    for what, (i, j), percent_s, lit_s in acts:
        if what == "book":
            found.book((i, j), percent_s=percent_s, energy_mj=lit_s * 3, lit_s=lit_s)
            light = booked.setdefault((i, j), [0.0, 0.0, 0.0])
            j_cm2 = lit_s * 3e-3 / (FIELD[0] * FIELD[1] * 1e-8)
            for kind, more in enumerate((percent_s, j_cm2, lit_s)):
                light[kind] += more
        dose = found.field(10.0 * i + 5, 20.0 * j + 5)
        truth = most_lit(booked, i, j)
        assert [dose.percent_s, dose.j_cm2, dose.lit_s] == pytest.approx(
            truth, rel=1e-12, abs=0
        )
    if booked:
        hot = found.hottest()
        hottest = max(most_lit(booked, *cell)[1] for cell in booked)
        assert hot is not None
        assert hot[0].j_cm2 == pytest.approx(hottest, rel=1e-12, abs=0)


def counted(monkeypatch) -> list[tuple[int, int]]:
    """Cells whose field had to be worked out from what was booked."""
    worked_out: list[tuple[int, int]] = []
    plain = DoseMap._most_lit

    def most_lit_here(self, cell):
        worked_out.append(cell)
        return plain(self, cell)

    monkeypatch.setattr(DoseMap, "_most_lit", most_lit_here)
    return worked_out


@pytest.mark.parametrize(
    ("places", "shared"),
    [
        ([(0, 0)], True),
        ([(0, 0), (2, 1)], True),
        ([(0, 0), (15, 0), (0, 15)], False),
        ([(0, 0), (40, 40)], False),
    ],
    ids=["stands", "jitters", "returns to neighbours", "returns from far"],
)
def test_what_was_asked_is_not_worked_out_again(monkeypatch, places, shared):
    worked_out = counted(monkeypatch)
    found = DoseMap(FIELD, calibrated=True)
    for lap in range(20):
        for k, (i, j) in enumerate(places):
            found.book((i, j), percent_s=1.0, energy_mj=1.0, lit_s=1.0)
            here = found.field(10.0 * i + 5, 20.0 * j + 5)
            assert here.lit_s == (lap * len(places) + k + 1 if shared else lap + 1)
    assert len(worked_out) == len(places)


def test_looking_for_the_hottest_keeps_nothing():
    found = DoseMap(FIELD, calibrated=True)
    for i in range(50):
        found.book((40 * i, 0), percent_s=1.0 + i, energy_mj=1.0, lit_s=1.0)
    hot = found.hottest()
    assert hot is not None
    assert hot[1:] == (5.0, 10.0), "all gave the same J/cm2: the first one"
    assert not found._fields.of


class Naive(DoseLedger):
    """Cuts the history at everything at once, also while nothing shines."""

    def advance(self, t_ns: int) -> None:
        for lamp in self._lamps():
            gate = lamp.gate if lamp.gate in self._history.keys() else None
            keys = lamp.keys + ((gate,) if gate else ())
            for t0, t1, values in self._history.segments(keys, self._charged_ns, t_ns):
                if gate and max(values[gate]) <= 0:
                    continue
                percent, x, y = (values[key] for key in lamp.keys)
                if max(percent) > 0 or lamp.leaks:
                    lit_s = (t1 - t0) / NS_PER_S
                    self._charge(self._map_of(lamp, None), lamp, lit_s, percent, x, y)
        self._charged_ns = max(self._charged_ns, t_ns)


changes = st.lists(
    st.tuples(
        st.sampled_from(
            ["power:488", "power:561", "shutter", "camera", "x_um", "y_um"]
        ),
        st.integers(0, 1000),
        st.integers(0, 200),
        st.sampled_from([0.0, 0.0, 1.0, 20.0, 100.0]),
    ),
    max_size=20,
)


@settings(max_examples=150, deadline=None)
@given(
    changes=changes,
    gates=st.tuples(*[st.sampled_from(["always", "shutter", "camera_ttl"])] * 2),
    leak_mw=st.sampled_from([0.0, 0.5]),
    looks=st.lists(st.integers(0, 1300), max_size=5),
)
def test_asking_the_gate_first_charges_the_same(changes, gates, leak_mw, looks):
    history = DeviceHistory()
    for key, t_ms, takes_ms, value in sorted(changes, key=lambda change: change[1]):
        history.ramp(key, t_ms * 10**6, (t_ms + takes_ms) * 10**6, value)
    calibration = {"10x": [[0, leak_mw], [4, 2], [10, 12]]}
    light = {
        488: {**LINE, "gate": gates[0], "calibration": calibration},
        561: {**LINE, "gate": gates[1], "power": ["Lamp", "Level"]},
    }
    accounts = [
        kind(rig(light=light), history, start_ns=0, objective="10x")
        for kind in (DoseLedger, Naive)
    ]
    for t_ms in [*sorted(looks), 1300]:
        for account in accounts:
            account.advance(t_ms * 10**6)
        for answers in (
            [account.total() for account in accounts],
            [account.total("561") for account in accounts],
            [account.charge((0.0, 0.0)) for account in accounts],
            [account.at(20.0, 20.0) for account in accounts],
        ):
            ours, theirs = [(d.percent_s, d.j_cm2, d.lit_s) for d in answers]
            assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-12)
