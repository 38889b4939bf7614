"""The benchmark of the decoders measures what it says."""

from __future__ import annotations

import cv2
import pytest

from smartscope.bench import WORKS
from smartscope.bench._decoders import DECODERS, OBJECTS

TASKS = WORKS["decoders"]


@pytest.fixture(autouse=True)
def threads():
    before = cv2.getNumThreads()
    yield
    cv2.setNumThreads(before)


def test_every_decoder_that_is_made_is_measured() -> None:
    assert [task.job.situation for task in TASKS] == list(DECODERS)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.job.situation)
def test_all_objects_are_decoded_each_time(task) -> None:
    got = task.shortened(2).job.run()
    assert got["more"]["objects"] == OBJECTS
    assert got["seen"] == got["latency_ms"]["n"] == 2
