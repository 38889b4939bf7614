"""What stands for nothing found."""

from __future__ import annotations

import numpy as np
import pytest

from smartscope.core import Detections, Observation, View, encode
from smartscope.core.codec import dump
from smartscope.core.objects import NO_DETECTIONS


def observation() -> Observation:
    return Observation(number=0, view=View(), frame_ids=(0,), t_ns=0, t_s=0.0)


def test_every_sight_of_nothing_shares_one_that_nobody_can_change() -> None:
    nothing = observation().detections
    assert nothing is NO_DETECTIONS is observation().detections
    assert len(nothing) == 0
    with pytest.raises(TypeError):
        nothing.features["mean"] = np.empty(0)  # type: ignore[index]
    with pytest.raises(ValueError, match="read-only"):
        nothing.label[:] = 3


def test_nothing_is_written_as_it_always_was() -> None:
    assert dump(NO_DETECTIONS) == dump(Detections())
    assert encode(NO_DETECTIONS) == encode(Detections())
    assert encode(NO_DETECTIONS)["features"] == {}
