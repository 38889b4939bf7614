"""A core that notes when the driver was called, below everything that uses it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pymmcore

from smartscope.bench._devices import prepare
from smartscope.rig import import_quietly

import_quietly()
from pymmcore_plus import CMMCorePlus  # noqa: E402  after the quiet import

if TYPE_CHECKING:
    from smartscope.bench._devices import Log
    from smartscope.bench._job import Job


class _Seam(pymmcore.CMMCore):
    """Stands between `CMMCorePlus` and the driver; may show other pixels."""

    seam_log: Log | None

    def snapImage(self) -> None:
        entered = time.perf_counter_ns()
        pymmcore.CMMCore.snapImage(self)
        log = self.seam_log
        if log is not None:
            log.snaps.append((entered, time.perf_counter_ns()))
            log.counted()

    def popNextImageMD(self, *args: Any) -> Any:
        image = pymmcore.CMMCore.popNextImageMD(self, *args)
        log = self.seam_log
        if log is not None:
            if log.keep:
                tags = args[-1]
                number = tags.GetSingleTag("ImageNumber").GetValue()
                received = tags.GetSingleTag("TimeReceivedByCore").GetValue()
                log.pops.append((time.perf_counter_ns(), number, received))
                if log.picture is not None:
                    image = log.picture(int(number))
            log.counted()
        return image


class SeamCore(CMMCorePlus, _Seam):
    """`CMMCorePlus` with the devices of `prepare`, and a log once there is one."""

    def __init__(self, job: Job) -> None:
        self.seam_log = None
        super().__init__(adapter_paths=[job.adapters])
        prepare(self, job)

    def close(self) -> None:
        """Unload the devices and fall silent."""
        self.unloadAllDevices()
        pymmcore.CMMCore.registerCallback(self, None)
