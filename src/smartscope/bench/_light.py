"""How long until the shutter is closed, while something else keeps the devices busy."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from useq import MDAEvent

from smartscope.bench._devices import LED, SHUTTER, SLOW_STAGE, add_slow_stage
from smartscope.bench._measured import MS, Measured, peak_rss_mib
from smartscope.bench._stats import summarise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from smartscope.bench._job import Job

STEP_UM = 1000.0
QUEUED = 4
_LOOK_S = 0.0002
_PATIENCE_S = 30.0


def light(job: Job) -> dict[str, Any]:
    """Open the shutter, keep the devices busy, ask for darkness, and look."""
    with _PEERS[job.peer](job) as (core, busy, request):
        core.setShutterOpen(SHUTTER, True)
        if not core.getShutterOpen(SHUTTER):
            raise RuntimeError("the shutter did not open, so nothing can be measured")
        stop = threading.Event()
        many = QUEUED if job.situation == "queue" else 1
        workers = [threading.Thread(target=busy, args=(stop,)) for _ in range(many)]
        for worker in workers:
            worker.start()
        time.sleep(job.hold_s / 4)
        alive = all(worker.is_alive() for worker in workers)
        took_ms = _until_dark(core, request)
        stop.set()
        for worker in workers:
            worker.join()
    if not alive:
        raise RuntimeError("nothing kept the devices busy when darkness was asked for")
    got = Measured(latency_ms=summarise([took_ms]), peak_rss_mib=peak_rss_mib())
    return got.to_dict()


def _until_dark(core: Any, request: Callable[[], Any]) -> float:
    """Milliseconds from the request until the shutter reads back as closed."""
    asking = threading.Thread(target=request)
    began = time.perf_counter_ns()
    asking.start()
    while core.getShutterOpen(SHUTTER):
        if time.perf_counter_ns() - began > _PATIENCE_S * 1e9:
            raise RuntimeError(f"the light was not off within {_PATIENCE_S:g} s")
        time.sleep(_LOOK_S)
    took_ms = (time.perf_counter_ns() - began) / MS
    asking.join()
    return took_ms


def _busy_core(core: Any, job: Job) -> Callable[[threading.Event], None]:
    """What keeps a core busy in this situation, on a thread of its own."""

    def snap(stop: threading.Event) -> None:
        core.snapImage()

    def move(stop: threading.Event) -> None:
        core.setXYPosition(SLOW_STAGE, STEP_UM, 0.0)
        core.waitForDevice(SLOW_STAGE)

    def queue(stop: threading.Event) -> None:
        k = 0
        while not stop.is_set():
            core.setProperty(LED, "State", str((k := k + 1) % 2))

    return {"snap": snap, "move": move, "queue": queue}[job.situation]


def _slow(core: Any, job: Job) -> None:
    core.setExposure(job.hold_s * 1000)
    if job.situation == "move":
        add_slow_stage(core, um=STEP_UM, seconds=job.hold_s)


@contextmanager
def _floor(job: Job) -> Iterator[tuple[Any, Any, Any]]:
    from smartscope.bench._floor import opened

    with opened(job) as core:
        _slow(core, job)
        core.setTimeoutMs(60_000)
        yield core, _busy_core(core, job), lambda: core.setShutterOpen(SHUTTER, False)


@contextmanager
def _plain(job: Job) -> Iterator[tuple[Any, Any, Any]]:
    from smartscope.bench._plain import opened

    with opened(job, sequenced=False) as core:
        _slow(core, job)
        core.setTimeoutMs(60_000)
        exposure_ms = job.hold_s * 1000
        events = {
            "snap": MDAEvent(exposure=exposure_ms),
            "move": MDAEvent(x_pos=STEP_UM, y_pos=0.0, exposure=1.0),
        }

        def acquire(stop: threading.Event) -> None:
            core.run_mda([events[job.situation]]).join()

        def request() -> None:
            core.mda.cancel()
            core.setShutterOpen(SHUTTER, False)

        busy = acquire if job.situation in events else _busy_core(core, job)
        yield core, busy, request


@contextmanager
def _smartscope(job: Job) -> Iterator[tuple[Any, Any, Any]]:
    from smartscope.bench._seam import SeamCore
    from smartscope.bench._smartscope import bench_rig
    from smartscope.core import RealClock
    from smartscope.rig import Rig

    core = SeamCore(job)
    _slow(core, job)
    config = bench_rig(**{"stage": SLOW_STAGE} if job.situation == "move" else {})
    try:
        with Rig.open(
            config, RealClock(), base_dir=Path(job.cfg).parent, core=core
        ) as rig:
            failures: list[str] = []

            def request() -> None:
                failures.extend(rig.apply_safe_state())

            yield core, _busy_rig(rig, job), request
            if failures:
                raise RuntimeError(f"the safe state was not reached: {failures[0]}")
    finally:
        core.close()


def _busy_rig(rig: Any, job: Job) -> Callable[[threading.Event], None]:
    from smartscope.core import HardwareError
    from smartscope.sources import CameraSource

    def snap(stop: threading.Event) -> None:
        CameraSource(rig).snap(job.hold_s * 1000, lambda: None)

    def move(stop: threading.Event) -> None:
        rig.actuator.settle(rig.actuator.move_stage(STEP_UM, 0.0))

    def queue(stop: threading.Event) -> None:
        k = 0
        while not stop.is_set():
            value = str((k := k + 1) % 2)
            # Several settle the same device: a later command takes over an earlier.
            with suppress(HardwareError):
                rig.actuator.settle(rig.actuator.set_property(LED, "State", value))

    return {"snap": snap, "move": move, "queue": queue}[job.situation]


_PEERS = {"floor": _floor, "plain": _plain, "smartscope": _smartscope}
