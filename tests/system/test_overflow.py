"""Frames that lay in the camera's buffer, and buffers cleared under our hands."""

from __future__ import annotations

import time

import pytest
from small_runs import experiment, rig

from smartscope import run
from smartscope.sources._arrival import Arrivals


def plan(**fields):
    return experiment(
        acquisition={"stream": {"channel": "FITC", "exposure_ms": 5, **fields}},
        rig="demo_laser_rig.yaml",
    )


class Cleared:
    """Empties the buffer between the look and the taking of one frame."""

    def __init__(self, core, at: int, *, stops: bool = False) -> None:
        self.core, self.at, self.stops = core, at, stops
        self.calls = self.thrown = 0
        core.inject("popNextImageMD", self)

    def __call__(self, *_) -> None:
        self.calls += 1
        if self.calls != self.at:
            return
        if self.stops:
            self.core.stopSequenceAcquisition()
        # As adapters do, without the numbers starting again.
        while self.core.getRemainingImageCount():
            self.core.popNextImage()
            self.thrown += 1


def test_a_stream_goes_on_after_an_overflow(tmp_path, core) -> None:
    cleared = Cleared(core, at=6)
    result = run(plan(frames=12), rig=rig("demo_laser_rig"), core=core, output=tmp_path)
    folder = result.folder
    assert cleared.thrown >= 1
    assert result.frames >= 6, result.message
    certain = [e for e in folder.entries("lost") if e["by"] == "buffer"]
    assert [e["frames"] for e in certain] == [cleared.thrown]


@pytest.mark.parametrize("at", [1, 6])
def test_a_camera_that_stopped_meanwhile_is_told(tmp_path, core, at) -> None:
    Cleared(core, at=at, stops=True)
    result = run(
        plan(duration_s=30), rig=rig("demo_laser_rig"), core=core, output=tmp_path
    )
    assert result.outcome == "failed"
    assert "stopped by itself" in result.message
    assert "IndexError" not in result.message


def test_a_frame_that_lay_in_the_buffer_tells_no_arrival(
    tmp_path, core, monkeypatch
) -> None:
    """Every fourth frame is taken so slowly that the next is there before we look."""
    looks, told, taken = [0], [], [0]
    wait, came = Arrivals.wait, Arrivals.came

    def waits(self, there, checked):
        looks[0] = 0

        def counted():
            looks[0] += 1
            return there()

        return wait(self, counted, checked)

    def comes(self, t_s, *, on_time):
        told.append((looks[0], on_time))
        return came(self, t_s, on_time=on_time)

    def slow(*_) -> None:
        taken[0] += 1
        if taken[0] % 4 == 0:
            time.sleep(0.03)

    monkeypatch.setattr(Arrivals, "wait", waits)
    monkeypatch.setattr(Arrivals, "came", comes)
    core.watch("popNextImageMD", slow)
    result = run(
        plan(frames=24, exposure_ms=20),
        rig=rig("demo_laser_rig"),
        core=core,
        output=tmp_path,
    )
    assert result.outcome == "completed", result.message
    at_once = [on_time for looked, on_time in told if looked <= 1]
    assert at_once, "some frame was there at the first look"
    assert not any(at_once)
    assert any(on_time for looked, on_time in told if looked > 1)
