"""A frame that is a whole group is answered at once, and as if it had been gathered."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vision_fields import frame, pipeline

from smartscope.core import View
from smartscope.vision._gather import Gathered, Gatherer
from smartscope.vision._stage import UNNAMED, Input

CHANNELS = ("FITC", "Cy5", "DAPI")
PIXELS = np.arange(6, dtype=np.uint16).reshape(2, 3)

inputs = st.lists(
    st.builds(
        Input,
        st.sampled_from([*CHANNELS, UNNAMED]),
        st.sampled_from(["max", "mean", 0, 1]),
    ),
    max_size=3,
)
shots = st.lists(
    st.fixed_dictionaries(
        {
            "channel": st.sampled_from([None, None, *CHANNELS, "unplanned"]),
            "index": st.fixed_dictionaries(
                {"t": st.integers(0, 2), "c": st.integers(0, 3)},
                optional={"z": st.integers(0, 2)},
            ),
            "group": st.integers(0, 2).map(lambda t: ("t", t)),
            "view": st.integers(0, 1).map(View),
            # Mostly as in a stream: each is the last of its group.
            "last_of_group": st.sampled_from([True, True, True, False]),
        }
    ),
    max_size=12,
)


def told(gathered: Gathered | None) -> object:
    if gathered is None:
        return None
    return (
        [one.frame_id for one in gathered.frames],
        {wanted: (a.dtype, a.tolist()) for wanted, a in gathered.images.items()},
        {wanted: one.frame_id for wanted, one in gathered.first_of.items()},
    )


@settings(max_examples=300, deadline=None)
@given(
    required=inputs,
    optional=inputs,
    channels=st.sampled_from([CHANNELS, CHANNELS, (), CHANNELS[:1]]),
    shots=shots,
)
def test_the_short_way_answers_as_the_long_one(required, optional, channels, shots):
    short, long = (Gatherer(required, optional, channels) for _ in range(2))
    for number, shot in enumerate(shots):
        taken = frame(PIXELS * number, number, **shot)
        assert told(short.add(taken)) == told(long._gather(taken))
        assert short.dropped == long.dropped
        assert short._open.keys() == long._open.keys()


@pytest.mark.parametrize("axis", ["c", "z"])
def test_a_frame_is_known_by_its_channel_and_plane(axis):
    wanted = Input("Cy5") if axis == "c" else Input("FITC", 1)
    gatherer = Gatherer([wanted], (), CHANNELS)
    answers = [
        gatherer.add(frame(PIXELS, number, channel=None, index={axis: place}))
        for number, place in enumerate([0, 1, 0, 1, 2])
    ]
    assert [answer is not None for answer in answers] == [
        False,
        True,
        False,
        True,
        False,
    ]
    assert gatherer.dropped == 0


def test_streams_go_the_short_way(monkeypatch):
    def never(self, taken):
        raise AssertionError("a stream's frame was gathered")

    monkeypatch.setattr(Gatherer, "_gather", never)
    pipe = pipeline("measure")
    for number in range(3):
        seen = pipe.see(frame(PIXELS, number, view=View(number % 2)), float(number))
        assert seen is not None
        assert seen.frame_ids == (number,)


def test_what_one_answer_holds_is_not_that_of_the_next():
    gatherer = Gatherer([Input("FITC")], (), ("FITC",))
    first, second = (gatherer.add(frame(PIXELS, number)) for number in range(2))
    assert first is not None
    assert second is not None
    first.images.clear()
    first.frames.clear()
    first.first_of.clear()
    assert told(second) is not None
    assert [one.frame_id for one in second.frames] == [1]
    assert list(second.images) == list(second.first_of) == [Input("FITC")]


@pytest.mark.parametrize("stages", [(), ("measure",)], ids=["none", "measure"])
def test_nothing_found_is_shared_and_cannot_be_written(stages):
    pipe = pipeline(*stages)
    first, second = (pipe.see(frame(PIXELS, number), 0.0) for number in range(2))
    assert first is not None
    assert second is not None
    if not stages:
        assert first.detections is second.detections
    for entry in dataclasses.fields(first.detections):
        value = getattr(first.detections, entry.name)
        if isinstance(value, np.ndarray):
            assert value.shape == (0,)
            assert not value.flags.writeable
            assert value.dtype == (np.int64 if entry.name == "label" else np.float64)
    assert first.measurements is not second.measurements
    assert first.pictures.raw is not second.pictures.raw
