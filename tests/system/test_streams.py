"""Continuous acquisition: the camera runs, reactions are applied meanwhile."""

from __future__ import annotations

import numpy as np
from small_runs import DEMO, SEGMENT, experiment, rig, specimen_rig

from smartscope import replay, run
from smartscope.testing import FaultyCore


def stream(**fields):
    return {"stream": {"channel": "FITC", "exposure_ms": 5, **fields}}


def test_a_stream_of_the_demo_camera_loses_nothing(tmp_path) -> None:
    result = run(
        experiment(
            acquisition=stream(frames=60),
            rig="demo_laser_rig.yaml",
            vision=["measure"],
        ),
        rig=rig("demo_laser_rig"),
        output=tmp_path,
    )
    assert result.outcome == "completed", result.message
    folder = result.folder
    assert result.frames == 60
    assert [f.at for f in folder.frames] == [(i,) for i in range(60)]
    seen = sum(1 for _ in folder.entries("observation"))
    skipped = sum(1 for _ in folder.entries("skipped"))
    assert seen + skipped == 60, "every frame was seen, or counted as skipped"
    assert folder.verify() == ()
    (name,) = result.images
    assert result.images[name].shape == (60, 512, 512)


def test_light_changes_while_the_camera_runs(tmp_path, policy) -> None:
    body = """
if seen.number == 3:
    yield SetPower(reason="brighter", line="488", power_percent=40.0)
"""
    result = run(
        experiment(
            acquisition=stream(frames=10), vision=["measure"], policies=[policy(body)]
        ),
        rig=specimen_rig(),
        output=tmp_path,
    )
    assert result.outcome == "completed", result.message
    folder = result.folder
    powers = [f.state.power_percent["488"] for f in folder.frames]
    assert powers == [10.0] * 4 + [40.0] * 6
    means = [folder.image(f.frame_id).mean() - 100 for f in folder.frames]
    assert np.mean(means[4:]) > 3 * np.mean(means[:4])
    (outcome,) = folder.outcomes
    assert outcome.status == "applied"
    assert float(outcome.readback["power_percent"]) == 40.0
    assert replay(result.path).identical


def test_a_region_change_restarts_the_camera(tmp_path, policy) -> None:
    body = """
if seen.number == 2:
    yield SetRoi(reason="smaller", x_px=0, y_px=0, width_px=256, height_px=128)
"""
    result = run(
        experiment(
            acquisition=stream(frames=8), vision=["measure"], policies=[policy(body)]
        ),
        rig=specimen_rig(),
        output=tmp_path,
    )
    assert result.outcome == "completed", result.message
    shapes = [f.shape for f in result.folder.frames]
    assert shapes[:3] == [(512, 512)] * 3
    assert shapes[-1] == (128, 256)
    assert len(list(result.folder.entries("restart"))) == 1
    assert result.folder.verify() == ()


def test_a_policy_ends_a_stream(tmp_path, policy) -> None:
    body = "if seen.number == 4:\n    yield Stop(reason='seen enough')"
    result = run(
        experiment(
            acquisition=stream(duration_s=60), vision=SEGMENT, policies=[policy(body)]
        ),
        rig=specimen_rig(),
        output=tmp_path,
    )
    assert result.outcome == "stopped"
    assert result.exit_code == 0
    assert result.frames == 5


def test_cancelling_a_stream_from_outside(tmp_path) -> None:
    core = FaultyCore(str(DEMO / "demo_laser.cfg"))
    try:
        seen = []

        def on_frame(*frame) -> None:
            seen.append(frame)
            if len(seen) == 5:
                core.mda.cancel()

        core.mda.events.frameReady.connect(on_frame)
        result = run(
            experiment(acquisition=stream(duration_s=60), rig="demo_laser_rig.yaml"),
            rig=rig("demo_laser_rig"),
            core=core,
            output=tmp_path,
        )
        assert result.outcome == "cancelled"
        assert not core.isSequenceRunning()
        assert float(core.getProperty("Laser", "Voltage")) == 0
        assert not core.getShutterOpen("Shutter")
    finally:
        core.close()
