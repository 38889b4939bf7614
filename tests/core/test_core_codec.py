"""Core types survive the journal."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
from collections import OrderedDict
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smartscope.core import (
    ACTION_KINDS,
    Action,
    Decision,
    Detections,
    Event,
    Frame,
    HardwareState,
    Mark,
    MoveStage,
    Observation,
    Outcome,
    Pictures,
    PixelMap,
    Request,
    Roi,
    SetPower,
    ShowPattern,
    Track,
    View,
    decode,
    encode,
)
from smartscope.core.codec import dump

# The same examples everywhere, however busy the machine is.
STEADY = settings(
    derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
INTS = st.integers(-(2**62), 2**62)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(max_size=8)
MAYBE_INT, MAYBE_FLOAT = st.none() | INTS, st.none() | FLOATS
BY_NAME = st.dictionaries(TEXT, FLOATS, max_size=3)
VIEWS = st.builds(View, position=st.integers(0, 99), camera=TEXT)
ROIS = st.builds(Roi, INTS, INTS, INTS, INTS)
STATES = st.builds(
    HardwareState,
    x_um=MAYBE_FLOAT,
    channel=st.none() | TEXT,
    power_percent=BY_NAME,
    shutter_open=st.none() | st.booleans(),
    roi_px=st.none() | ROIS,
    settled_later=st.lists(INTS, max_size=3).map(tuple),
    confirmed_ns=st.dictionaries(TEXT, INTS, max_size=3),
    external=st.lists(TEXT, max_size=2).map(tuple),
)
OUTCOMES = st.builds(
    Outcome,
    action_id=TEXT,
    policy=TEXT,
    status=st.sampled_from(Outcome.FINAL),
    readback=st.dictionaries(TEXT, FLOATS | TEXT, max_size=3),
    t_ns=st.dictionaries(TEXT, INTS, max_size=3),
    command=MAYBE_INT,
)
TRACKS = st.builds(
    Track, track_id=INTS, state=TEXT, x_um=FLOATS, y_um=FLOATS, parent=MAYBE_INT,
    detection=MAYBE_INT, born_s=FLOATS, features=BY_NAME,
)  # fmt: skip
EVENTS = st.builds(
    Event, event_id=INTS, kind=TEXT, score=FLOATS, state=TEXT, onset_s=FLOATS,
    x_um=FLOATS, y_um=FLOATS, track_id=MAYBE_INT,
)  # fmt: skip
POINTS = st.tuples(FLOATS, FLOATS)
BY_TYPE = {
    "str": TEXT,
    "int": INTS,
    "float": FLOATS,
    "bool": st.booleans(),
    "tuple[float, ...]": st.lists(FLOATS, max_size=3).map(tuple),
    "tuple[tuple[tuple[float, float], ...], ...]": st.lists(
        st.lists(POINTS, max_size=3).map(tuple), max_size=2
    ).map(tuple),
}


def of_type(name: str) -> st.SearchStrategy[Any]:
    if name.endswith(" | None"):
        return st.none() | BY_TYPE[name.removesuffix(" | None")]
    return BY_TYPE[name]


def actions(kind: type[Action]) -> st.SearchStrategy[Action]:
    fields = {f.name: of_type(str(f.type)) for f in dataclasses.fields(kind)}
    return st.builds(kind, **fields)


ACTIONS = st.sampled_from(ACTION_KINDS).flatmap(actions)
REQUESTS = st.builds(
    Request, action_id=TEXT, policy=TEXT, view=VIEWS, action=ACTIONS,
    t_decided_ns=INTS, observation=INTS,
)  # fmt: skip
DECISIONS = st.builds(
    Decision, number=INTS, observation=INTS, policy=TEXT, view=VIEWS,
    requests=st.lists(REQUESTS, max_size=3).map(tuple), error=TEXT,
)  # fmt: skip


@st.composite
def detections(draw: st.DrawFn) -> Detections:
    n = draw(st.integers(0, 3))

    def column(values: st.SearchStrategy[Any], kind: Any) -> Any:
        return np.array(draw(st.lists(values, min_size=n, max_size=n)), dtype=kind)

    floats = FLOATS | st.just(math.nan)
    names = ("y_px", "x_px", "x_um", "y_um", "area_um2", "score")
    return Detections(
        label=column(INTS, np.int64),
        **{name: column(floats, np.float64) for name in names},
        features={"mean_FITC": column(floats, np.float64)},
    )


@st.composite
def observations(draw: st.DrawFn) -> Observation:
    return Observation(
        number=draw(INTS),
        view=draw(VIEWS),
        frame_ids=draw(st.lists(INTS, max_size=3).map(tuple)),
        t_ns=draw(INTS),
        t_s=draw(FLOATS),
        role=draw(TEXT),
        index=draw(st.dictionaries(TEXT, INTS, max_size=3)),
        channel=draw(st.none() | TEXT),
        shape=draw(st.tuples(INTS, INTS)),
        state=draw(STATES),
        pixel_map=PixelMap(draw(st.tuples(POINTS, POINTS)), draw(POINTS)),
        moving=draw(st.booleans()),
        detections=draw(detections()),
        tracks=draw(st.lists(TRACKS, max_size=2).map(tuple)),
        events=draw(st.lists(EVENTS, max_size=2).map(tuple)),
        measurements=draw(BY_NAME),
        outcomes=draw(st.lists(OUTCOMES, max_size=2).map(tuple)),
        interlocks=draw(st.lists(TEXT, max_size=2).map(tuple)),
        skipped=draw(INTS),
    )


def through_text(data: Any) -> Any:
    return json.loads(json.dumps(data, allow_nan=False))


def through_json(value: Any) -> Any:
    return decode(type(value), through_text(encode(value)))


@settings(STEADY)
@given(action=ACTIONS)
def test_every_action_comes_back(action: Action) -> None:
    text = json.dumps(encode(action), allow_nan=False)
    back = decode(Action, json.loads(text))
    assert type(back) is type(action)
    assert back == action


@pytest.mark.parametrize("kind", ACTION_KINDS, ids=lambda kind: kind.__name__)
def test_every_kind_is_covered(kind: type[Action]) -> None:
    # A field of a new type fails here, not in a run.
    @settings(STEADY, max_examples=5)
    @given(action=actions(kind))
    def says_what_it_is(action: Action) -> None:
        assert encode(action)["do"] == kind.__name__
        assert decode(kind, through_text(encode(action))) == action

    says_what_it_is()


@settings(STEADY)
@given(decision=DECISIONS)
def test_a_decision_comes_back(decision: Decision) -> None:
    assert through_json(decision) == decision


@settings(STEADY)
@given(outcome=OUTCOMES)
def test_an_outcome_comes_back(outcome: Outcome) -> None:
    assert through_json(outcome) == outcome


@settings(STEADY, max_examples=60)
@given(seen=observations())
def test_an_observation_comes_back(seen: Observation) -> None:
    back = through_json(seen)
    for field in dataclasses.fields(Observation):
        if field.name not in ("detections", "pictures"):
            assert getattr(back, field.name) == getattr(seen, field.name), field.name
    for field in dataclasses.fields(Detections):
        mine, theirs = (getattr(one.detections, field.name) for one in (back, seen))
        if field.name == "features":
            assert mine.keys() == theirs.keys()
            mine, theirs = mine["mean_FITC"], theirs["mean_FITC"]
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)
    assert encode(back) == encode(seen)


def test_the_default_observation_comes_back() -> None:
    seen = Observation(number=0, view=View(), frame_ids=(0,), t_ns=1, t_s=0.0)
    back = through_json(seen)
    assert encode(back) == encode(seen)
    assert back.detections.label.dtype == np.int64
    assert len(back.detections) == 0


def test_pixels_are_never_written() -> None:
    image = np.ones((4, 4), np.uint16)
    seen = Observation(
        number=0, view=View(), frame_ids=(), t_ns=0, t_s=0,
        pictures=Pictures(raw={"FITC": image}),
    )  # fmt: skip
    assert "pictures" not in encode(seen)
    assert "pixels" not in encode(Frame(frame_id=0, pixels=image, view=View()))


def test_numpy_numbers_and_infinities() -> None:
    assert encode(np.float32(0.5)) == 0.5
    assert encode(np.int64(3)) == 3 and type(encode(np.int64(3))) is int
    assert encode(np.bool_(True)) is True
    assert encode(np.array([1.0, np.inf, np.nan, -np.inf])) == [1.0, None, None, None]
    assert encode(np.array([[1.0, np.nan], [2.0, 3.0]])) == [[1.0, None], [2.0, 3.0]]
    assert encode(MappingProxyType({1: (2, 3)})) == {"1": [2, 3]}


def text_of(value: Any) -> str:
    return json.dumps(encode(value), allow_nan=False, separators=(",", ":"))


@settings(STEADY)
@given(value=ACTIONS | DECISIONS | OUTCOMES | STATES | TRACKS | EVENTS)
def test_the_fast_text_is_the_same_text(value: Any) -> None:
    assert dump(value) == text_of(value)
    assert dump({"a": [value, (value,)]}) == text_of({"a": [value, (value,)]})


@settings(STEADY, max_examples=60)
@given(seen=observations())
def test_the_fast_text_of_an_observation_is_the_same_text(seen: Observation) -> None:
    assert dump(seen) == text_of(seen)


class Colour(enum.IntEnum):
    RED = 3


class Word(enum.StrEnum):
    UP = 'u"p'


@dataclasses.dataclass
class Bare:
    pass


@dataclasses.dataclass
class One:
    it: tuple[int, ...] = (1, 2)


@pytest.mark.parametrize(
    "value",
    [
        None, True, False, 0, -7, 10**30, 1.0, -0.0, 1e16, 1e-7, 0.1, 5e-324, "", "é\n",
        "\ud800", "100%", Colour.RED, Word.UP, Bare(), One(), {"%s": "%d"}, {1: 2},
        {None: 1, True: 2}, OrderedDict(a=1), MappingProxyType({"a": (1,)}), [], (), {},
        np.float32(0.5), np.int64(3), np.bool_(True), np.float64(0.1),
        np.arange(5, dtype=np.uint8), np.array([0.1, 1e300]), np.array([], np.float64),
        np.array([1.0, np.nan, np.inf, -np.inf]), np.array([[1.0, np.nan], [2.0, 3.0]]),
        np.zeros((0, 2)), np.zeros((2, 0)), np.array(3.5), np.array([True, False]),
        np.array(["nan", "b"]), np.array([1, 2], np.float16), np.array([True], object),
        Frame(frame_id=0, pixels=np.ones((4, 4), np.uint16), view=View()),
        Mark(reason="x"),
    ],
    ids=repr,
)  # fmt: skip
def test_the_fast_text_of_anything_is_the_same_text(value: Any) -> None:
    assert dump(value) == text_of(value)


@pytest.mark.parametrize(
    "value",
    [math.nan, -math.inf, {"a": [math.inf]}, np.float64("nan"), np.float32("inf"),
     np.array(["x"], "S1"), np.array([1j]), np.datetime64("2026-01-01"),
     SetPower(reason="", line="", power_percent=math.nan)],
    ids=repr,
)  # fmt: skip
def test_what_json_cannot_hold_is_refused_by_both(value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        text_of(value)
    with pytest.raises((TypeError, ValueError)):
        dump(value)


def test_shared_parts_are_known_by_identity_and_never_mixed_up() -> None:
    for k in range(500):
        state = HardwareState(x_um=float(k), channel=str(k))
        frame = Frame(frame_id=k, pixels=None, view=View(k), state=state)  # type: ignore[arg-type]
        again = dataclasses.replace(state, epoch=k)
        assert dump(frame) == text_of(frame)
        assert dump([state, again, state]) == text_of([state, again, state])


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", Action, 1 + 2j])
def test_what_has_no_place_in_a_journal_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="into the journal"):
        encode(value)
    with pytest.raises(TypeError, match="into the journal"):
        dump(value)


@pytest.mark.parametrize(
    ("kind", "data", "error"),
    [
        (Action, {"do": "Explode", "reason": "x"}, KeyError),
        (Action, {"reason": "x"}, KeyError),
        (Mark, {"do": "Mark"}, TypeError),
        (View, {"position": "left"}, TypeError),
        (View, {"position": None}, TypeError),
        (View, {"place": 3}, KeyError),
        (Roi, {"x_px": 1, "y_px": 2, "width_px": 3.5, "height_px": 4}, TypeError),
        (Outcome, {"action_id": "a", "policy": "p", "status": 3}, TypeError),
        (Outcome, {"action_id": "a", "policy": "p", "status": "applied",
                   "readback": {"x": [1]}}, TypeError),
        (PixelMap, {"matrix": [[1, 2]], "origin_px": [0, 0]}, ValueError),
    ],
)  # fmt: skip
def test_what_was_not_written_by_us_is_refused(
    kind: type, data: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        decode(kind, data)


def test_claims_name_resources() -> None:
    view = View(position=3)
    assert MoveStage(reason="", x_um=0, y_um=0).claims(view) == ("stage",)
    assert SetPower(reason="", line="488", power_percent=1).claims(view) == (
        "light:488",
    )
    assert ShowPattern(reason="", polygons_px=()).claims(view) == ("slm",)
    shift = {"reason": "", "dx_um": 1.0}
    kind = next(k for k in ACTION_KINDS if k.__name__ == "ShiftPosition")
    assert kind(**shift).claims(view) == ("stage:3",)
    assert kind(**shift, dz_um=1.0).claims(view) == ("stage:3", "focus:3")
    assert kind(reason="").claims(view) == ()
