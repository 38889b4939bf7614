"""One regression test for each finding of the ecosystem survey that applies to plans.

Findings 4 and 5 are in ``test_citizen.py`` and ``test_faults.py``, 9 in
``tests/record/test_run_crash.py``, 11 in ``tests/rig``; 12 does not apply because there
is no window yet.
"""

from __future__ import annotations

import threading

import numpy as np
import pymmcore
from pymmcore_plus import CMMCorePlus
from small_runs import SEGMENT, experiment, rig, specimen_rig

from smartscope import run
from smartscope.testing import fails


def test_finding_01_the_loop_does_not_hang_on_frame_ready(core, tmp_path) -> None:
    """Vision and record have a frame before any listener of frameReady gets it."""
    order: list[str] = []
    listening = threading.Event()

    def listener(img, event, meta) -> None:
        listening.set()
        order.append("listener")

    core.mda.events.frameReady.connect(listener)
    result = run(
        experiment(vision=SEGMENT), rig=specimen_rig(), core=core, output=tmp_path
    )
    assert listening.is_set()
    assert order == ["listener"] * 5
    assert result.frames == 5
    # Disconnected from our own doing: nothing of smartscope listens there.
    core.mda.events.frameReady.disconnect(listener)
    assert len(core.mda.events.frameReady) == 0


def test_finding_02_frames_are_tapped_inside_the_engine(core, tmp_path) -> None:
    """With all emission of frameReady blocked, nothing is lost."""
    with core.mda.events.frameReady.blocked():
        result = run(
            experiment(vision=SEGMENT), rig=specimen_rig(), core=core, output=tmp_path
        )
    assert result.frames == 5
    assert sum(1 for _ in result.folder.entries("observation")) == 5


def test_finding_03_a_cancelled_run_does_not_report_completed(core, tmp_path) -> None:
    plan = {
        "channels": [{"config": "FITC", "exposure": 5}],
        "time_plan": {"interval": 600, "loops": 2},
    }
    finished: list[str] = []
    core.mda.events.sequenceFinished.connect(
        lambda *a: finished.append(str(core.mda.status.finish_reason))
    )
    core.mda.events.frameReady.connect(
        lambda *frame: threading.Timer(0.2, core.mda.cancel).start()
    )
    result = run(
        experiment(acquisition=plan, rig="demo_laser_rig.yaml"),
        rig=rig("demo_laser_rig"),
        core=core,
        output=tmp_path,
    )
    assert finished == ["canceled"]
    assert result.outcome == "cancelled"
    assert result.folder.end["outcome"] == "cancelled"


def test_finding_06_light_is_set_for_every_event(core, tmp_path) -> None:
    """Powers of one channel never stick to the next."""
    plan = {
        "channels": [
            {"config": "FITC", "exposure": 5},
            {"config": "Rhodamine", "exposure": 5},
            {"config": "DAPI", "exposure": 5},
        ],
        "time_plan": {"interval": 0.05, "loops": 3},
    }
    volts: list[float] = []
    core.inject(
        "snapImage", lambda: volts.append(float(core.getProperty("Laser", "Voltage")))
    )
    result = run(
        experiment(
            acquisition=plan,
            rig="demo_laser_rig.yaml",
            light={
                "FITC": {488: {"power_percent": 20}},
                "Rhodamine": {488: {"power_mw": 5.0}},
                "DAPI": {},
            },
        ),
        rig=rig("demo_laser_rig"),
        core=core,
        output=tmp_path,
    )
    assert result.outcome == "completed"
    assert volts == [2.0, 4.0, 0.0] * 3
    powers = [f.state.power_percent["488"] for f in result.folder.frames]
    assert powers == [20.0, 40.0, 0.0] * 3


def test_finding_07_a_changed_frame_shape_loses_nothing(tmp_path, policy) -> None:
    body = """
if seen.number == 1:
    yield SetRoi(reason="smaller", x_px=128, y_px=64, width_px=256, height_px=128)
if seen.number == 3:
    yield SetRoi(reason="whole again")
"""
    result = run(
        experiment(vision=SEGMENT, policies=[policy(body)]),
        rig=specimen_rig(),
        output=tmp_path,
    )
    assert result.outcome == "completed", result.message
    folder = result.folder
    shapes = [folder.image(f.frame_id).shape for f in folder.frames]
    assert shapes == [(512, 512)] * 2 + [(128, 256)] * 2 + [(512, 512)]
    assert folder.verify() == ()


def test_finding_08_a_failed_snap_does_not_shift_later_frames(core, tmp_path) -> None:
    core.inject("snapImage", fails("no trigger", on_call=2))
    plan = {
        "channels": [{"config": "FITC", "exposure": 5}],
        "time_plan": {"interval": 0.05, "loops": 4},
    }
    received: list[int] = []
    core.mda.events.frameReady.connect(
        lambda img, event, meta: received.append(event.index["t"])
    )
    result = run(
        experiment(
            acquisition=plan, rig="demo_laser_rig.yaml", errors={"hardware": "skip"}
        ),
        rig=rig("demo_laser_rig"),
        core=core,
        output=tmp_path,
    )
    assert received == [0, 2, 3]
    assert [f.at for f in result.folder.frames] == [(0, 0), (2, 0), (3, 0)]
    image = np.asarray(result.images["p0"])
    assert image[1].max() == 0, "the lost frame left its place empty"
    assert image[2].max() > 0


def test_finding_10_frames_come_from_plain_cores() -> None:
    from pymmcore_plus.experimental.unicore import UniMMCore

    from smartscope.rig import create_core

    core = create_core()
    try:
        assert isinstance(core, CMMCorePlus)
        assert not isinstance(core, UniMMCore)
    finally:
        pymmcore.CMMCore.registerCallback(core, None)
