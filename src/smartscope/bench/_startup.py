"""From the start of a process to the first frame in the user's hands."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from smartscope.bench._measured import Measured, peak_rss_mib
from smartscope.bench._stats import summarise

if TYPE_CHECKING:
    from smartscope.bench._job import Job


def startup(job: Job) -> dict[str, Any]:
    """Import, open the demo microscope, snap, and note when a frame is at hand."""
    first_ns = _PEERS[job.peer](job)
    got = Measured(
        asked=1,
        published=1,
        seen=1,
        lost=0,
        latency_ms=summarise([(first_ns - job.spawned_ns) / 1e6]),
        peak_rss_mib=peak_rss_mib(),
    )
    return got.to_dict()


# Each imports what it needs when it is called: that is what is measured.


def _floor(job: Job) -> int:
    import pymmcore

    core = pymmcore.CMMCore()
    core.setDeviceAdapterSearchPaths([job.adapters])
    core.loadSystemConfiguration(job.cfg)
    core.setExposure(job.exposure_ms)
    core.snapImage()
    core.getImage()
    first_ns = time.time_ns()
    core.unloadAllDevices()
    return first_ns


def _plain(job: Job) -> int:
    from pymmcore_plus import CMMCorePlus
    from useq import MDAEvent

    came: list[int] = []
    core = CMMCorePlus(adapter_paths=[job.adapters])
    core.loadSystemConfiguration(job.cfg)
    core.mda.events.frameReady.connect(lambda *_: came.append(time.time_ns()))
    core.run_mda([MDAEvent(exposure=job.exposure_ms)]).join()
    core.unloadAllDevices()
    return came[0]


def _smartscope(job: Job) -> int:
    import smartscope
    from smartscope.bench._notes import NOTES
    from smartscope.bench._smartscope import bench_experiment, plan

    NOTES.clear()
    experiment = bench_experiment(job, plan(job, 1), ask="frame")
    # As a user starts it: the run opens the rig that its experiment names.
    result = smartscope.run(experiment, rig="demo_laser_rig", output=job.scratch)
    if result.outcome != "completed":
        raise RuntimeError(f"the run {result.outcome}: {result.message}")
    ago_ns = time.perf_counter_ns() - NOTES.seen[0][4]
    return time.time_ns() - ago_ns


_PEERS = {"floor": _floor, "plain": _plain, "smartscope": _smartscope}
