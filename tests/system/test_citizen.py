"""pymmcore-plus looks on from outside and sees a normal acquisition."""

from __future__ import annotations

import threading
import time

import pymmcore
import pytest
import useq
from pymmcore_plus import CMMCorePlus
from small_runs import DEMO, SEGMENT, experiment, rig, specimen_rig

from smartscope import run
from smartscope.core import HardwareError
from smartscope.record import RunFolder


@pytest.fixture
def core():
    core = CMMCorePlus()
    core.loadSystemConfiguration(DEMO / "demo_laser.cfg")
    yield core
    core.unloadAllDevices()
    pymmcore.CMMCore.registerCallback(core, None)


def test_an_outside_listener_sees_a_normal_acquisition(core, tmp_path) -> None:
    seen: list = []
    events = core.mda.events
    events.sequenceStarted.connect(lambda seq, meta: seen.append(("started", seq)))
    events.frameReady.connect(lambda img, event, meta: seen.append((img, event, meta)))
    events.sequenceFinished.connect(lambda seq: seen.append(("finished", seq)))
    result = run(experiment(), rig=specimen_rig(), core=core, output=tmp_path)
    assert result.outcome == "completed"
    assert isinstance(seen[0][1], useq.MDASequence)
    assert seen[0][1].sizes["t"] == 5
    assert seen[-1][0] == "finished"
    frames = seen[1:-1]
    assert [event.index["t"] for _, event, _ in frames] == [0, 1, 2, 3, 4]
    assert all(img.shape == (512, 512) for img, _, _ in frames)
    assert all(meta["exposure_ms"] == 20 for _, _, meta in frames)


def test_the_users_core_is_given_back_as_it_was(core, tmp_path) -> None:
    before = (core.getAutoShutter(), core.mda.engine, core.getCameraDevice())
    run(experiment(), rig=specimen_rig(), core=core, output=tmp_path)
    assert (core.getAutoShutter(), core.mda.engine, core.getCameraDevice()) == before
    assert "Camera" in core.getLoadedDevices()


def test_a_raising_listener_loses_nothing(core, tmp_path) -> None:
    def broken(*args):
        raise ValueError("somebody else's bug")

    core.mda.events.frameReady.connect(broken)
    result = run(
        experiment(vision=SEGMENT), rig=specimen_rig(), core=core, output=tmp_path
    )
    assert result.outcome == "completed"
    assert result.folder.verify() == ()
    assert sum(1 for _ in result.folder.entries("observation")) == 5


def _slowly() -> dict:
    return {
        "channels": [{"config": "FITC", "exposure": 5}],
        "time_plan": {"interval": 60, "loops": 3},
    }


def test_cancel_from_outside_while_waiting_ends_the_run(core, tmp_path) -> None:
    cancelled = []
    core.mda.events.sequenceCanceled.connect(cancelled.append)
    timer = threading.Timer(0.5, core.mda.cancel)
    core.mda.events.frameReady.connect(lambda *frame: timer.start())
    began = time.monotonic()
    result = run(
        experiment(acquisition=_slowly(), rig="demo_laser_rig.yaml"),
        rig=rig("demo_laser_rig"),
        core=core,
        output=tmp_path,
    )
    timer.join()
    assert result.outcome == "cancelled"
    assert len(cancelled) == 1
    assert result.frames == 1
    assert time.monotonic() - began < 30, "it did not wait for the next due time"
    assert core.getProperty("Laser", "Voltage") == "0.0000"


def test_pause_from_outside_holds_and_resumes(core, tmp_path) -> None:
    taken: list = []

    def on_frame(img, event, meta) -> None:
        taken.append(time.monotonic())
        if len(taken) == 2:
            core.mda.set_paused(True)
            threading.Timer(1.0, lambda: core.mda.set_paused(False)).start()

    core.mda.events.frameReady.connect(on_frame)
    plan = {
        "channels": [{"config": "FITC", "exposure": 5}],
        "time_plan": {"interval": 0.1, "loops": 4},
    }
    result = run(
        experiment(acquisition=plan, rig="demo_laser_rig.yaml"),
        rig=rig("demo_laser_rig"),
        core=core,
        output=tmp_path,
    )
    assert result.outcome == "completed"
    assert len(taken) == 4
    assert taken[2] - taken[1] >= 0.9
    pauses = [e["paused"] for e in RunFolder(result.path).entries("pause")]
    assert pauses == [True, False]


def test_finding_04_a_second_run_on_the_same_core_is_refused(core, tmp_path) -> None:
    stop = threading.Event()
    results: list = []
    first = threading.Thread(
        target=lambda: results.append(
            run(
                experiment(acquisition=_slowly(), rig="demo_laser_rig.yaml"),
                rig=rig("demo_laser_rig"),
                core=core,
                output=tmp_path,
                stop=stop,
            )
        )
    )
    started = threading.Event()
    core.mda.events.sequenceStarted.connect(lambda *a: started.set())
    first.start()
    assert started.wait(30)
    with pytest.raises(HardwareError, match=r"driven by|acquiring"):
        run(experiment(), rig=specimen_rig(), core=core, output=tmp_path)
    stop.set()
    first.join()
    assert results[0].outcome == "stopped"
    assert results[0].exit_code == 130
