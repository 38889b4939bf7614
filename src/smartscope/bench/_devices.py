"""The demo devices every peer drives, prepared in the same way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from smartscope.bench._measured import Marks, WallClock, mark

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartscope.bench._job import Job

CAMERA, LED, SHUTTER, CHANNEL = "Camera", "LED", "Shutter", "FITC"
GROUP = "Channel"
SLOW_STAGE = "SlowXY"
_STEP_UM = 0.1


def prepare(core: Any, job: Job) -> None:
    """Load the demo microscope and an LED into `core`, with a fast camera.

    Parameters
    ----------
    core : CMMCore or CMMCorePlus
        Its adapter path is set already.
    """
    core.loadSystemConfiguration(job.cfg)
    core.loadDevice(LED, "DemoCamera", "DStateDevice")
    core.setParentLabel(LED, "DHub")
    core.initializeDevice(LED)
    core.setConfig(GROUP, CHANNEL)
    core.waitForSystem()
    for axis in "XY":
        core.setProperty(CAMERA, f"OnCameraCCD{axis}Size", str(job.size_px))
    # A fast image repeats the last one made, so that there is something to find.
    core.setExposure(1.0)
    core.snapImage()
    core.setProperty(CAMERA, "FastImage", "1")
    core.setExposure(job.exposure_ms)


def add_slow_stage(core: Any, *, um: float, seconds: float) -> None:
    """Add a stage whose move over `um` takes `seconds`; it becomes the xy stage."""
    core.loadDevice(SLOW_STAGE, "NotificationTester", "NTAsyncXYStage")
    core.initializeDevice(SLOW_STAGE)
    slew_s = seconds / (um / _STEP_UM)
    core.setProperty(SLOW_STAGE, "SlewTimePerStep_s", f"{slew_s:.9f}")
    core.setProperty(SLOW_STAGE, "UpdateInterval_s", "0.002")
    core.setXYStageDevice(SLOW_STAGE)


@dataclass(slots=True)
class Log:
    """Times taken at the seam to the driver, the same for every peer.

    Attributes
    ----------
    frames : int
        After so many frames the last mark is set.
    snaps : list of (entered, returned)
        `snapImage`, ns.
    pops : list of (popped, image number, received)
        Of sequences, in order of arrival; `received` is the core's wall-clock text.
    keep : bool
        False only counts: a soak watches memory, and this would be what grows.
    picture : function or None
        From the number of a frame to the pixels that stand for it.
    """

    frames: int
    snaps: list[tuple[int, int]] = field(default_factory=list)
    pops: list[tuple[int, str, str]] = field(default_factory=list)
    marks: Marks = field(default_factory=Marks)
    wall: WallClock = field(default_factory=WallClock)
    keep: bool = True
    picture: Callable[[int], Any] | None = None
    _count: int = 0

    def counted(self) -> None:
        """Tell of one more frame; marks the first and the last."""
        self._count += 1
        if self._count == 1:
            self.marks.first = mark()
        if self._count == self.frames:
            self.marks.last = mark()

    def received_ns(self) -> dict[int, int]:
        """When the core received each frame, by image number; of one sequence."""
        return {int(n): self.wall.to_perf_ns(text) for _, n, text in self.pops}
