"""What must not outlive a break or an end of a stream: light, sequences, dead time."""

from __future__ import annotations

import time

from film_helpers import film
from small_runs import DEMO

from smartscope.testing import FaultyCore


class StubbornShutter(FaultyCore):
    """Its shutter opens, and says that it did not."""

    lies = True

    def getShutterOpen(self, *args):
        is_open = super().getShutterOpen(*args)
        return False if self.lies and is_open else is_open


def test_a_light_that_came_half_on_is_out_before_anybody_hears_of_it(tmp_path) -> None:
    core = StubbornShutter(str(DEMO / "demo_laser.cfg"))
    found = []

    def heard(*_) -> None:
        core.lies = False
        found.append(core.getShutterOpen("Shutter"))
        core.lies = True

    core.mda.events.sequenceFinished.connect(heard)
    try:
        result = film(core, tmp_path, frames=10)
        assert result.outcome == "failed"
        assert found == [False]
    finally:
        core.close()


def test_the_dead_time_includes_stopping_the_camera(core, policy, tmp_path) -> None:
    body = """
if seen.number == 5:
    yield SetRoi(reason="x", x_px=0, y_px=0, width_px=128, height_px=128)
"""
    core.watch("stopSequenceAcquisition", lambda *args: time.sleep(0.2))
    result = film(core, tmp_path, frames=30, policies=[policy(body)])
    assert result.outcome == "completed", result.message
    (restart,) = result.folder.entries("restart")
    assert restart["dead_ms"] > 200


def test_the_focus_stops_following_the_camera_after_a_stack(policy, tmp_path) -> None:
    told: list[str] = []

    class Core(FaultyCore):
        def startStageSequence(self, *args):
            told.append("start")
            return super().startStageSequence(*args)

        def stopStageSequence(self, *args):
            told.append("stop")
            return super().stopStageSequence(*args)

    core = Core(str(DEMO / "demo_laser.cfg"))
    core.setProperty("Z", "UseSequences", "Yes")
    core.watch(
        "startSequenceAcquisition", lambda *args: told.append(f"camera {args[1]}")
    )
    body = """
if seen.number == 5:
    yield Acquire(reason="look", z_offsets_um=(-2.0, 0.0, 2.0))
"""
    try:
        result = film(core, tmp_path, frames=30, policies=[policy(body)])
        assert result.outcome == "completed", result.message
    finally:
        core.close()
    kinds = [word.split()[0] for word in told]
    assert kinds[-4:] == ["start", "camera", "stop", "camera"]


def test_a_backlog_that_is_worked_off_slowly_is_no_policy_that_hangs(
    core, policy, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr("smartscope.runs._live._PATIENCE_S", 0.5)
    body = "import time\ntime.sleep(0.05)\nreturn ()"
    result = film(
        core,
        tmp_path,
        frames=40,
        policies=[policy(body)],
        schedule={"vision": "lossless", "vision_backlog": 100},
    )
    assert result.outcome == "completed", result.message
    assert sum(1 for _ in result.folder.entries("observation")) == 40
