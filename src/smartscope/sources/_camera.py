"""Frames from the Micro-Manager camera of a rig."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from smartscope.core import NS_PER_MS, HardwareError, StreamError
from smartscope.rig import import_quietly
from smartscope.sources._arrival import Arrivals
from smartscope.sources._base import Shot
from smartscope.sources._dating import Dating
from smartscope.sources._losses import LossWatch, Tags
from smartscope.sources._pool import FramePool, pool_size

import_quietly()
from pymmcore_plus import CMMCorePlus  # noqa: E402  after the quiet import

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    import numpy as np
    from numpy.typing import NDArray

    from smartscope.rig import Rig

FIRST_FRAME_S = 20.0
FRAME_PATIENCE_S = 5.0


class CameraSource:
    """Snaps, bursts and streams with the camera that fills the rig's camera role.

    Nobody else may take images from the core meanwhile: two takers steal from each
    other. Listeners of the core are not told when the camera starts and stops: they
    would run with the light on, on the thread that takes the frames. They have the
    events of ``core.mda``.

    Parameters
    ----------
    rig : Rig
        Open rig; the source uses its core and clock and changes nothing but the
        camera's acquisition state.
    """

    sequences_focus = True
    simulated = False

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._core = rig.core
        self._driver = _past_listeners(rig.core)
        self._clock = rig.clock
        self._pool: FramePool | None = None
        self._misses = 0
        self._arrivals = Arrivals(rig.config.camera.spin_ms / 1000)
        self._dating = Dating(rig.config)
        self._exposure_ms = 0.0
        # Light gated by the camera counts as lit until the camera is known to rest.
        rig.history.set("camera", rig.clock.now_ns(), 0.0)

    def geometry(self) -> tuple[tuple[int, int], str]:
        """``(height, width)`` of a frame now, and its dtype name."""
        core = self._core
        dtype = "uint8" if core.getBytesPerPixel() == 1 else "uint16"
        return (core.getImageHeight(), core.getImageWidth()), dtype

    def prepare(self, buffers: int) -> None:
        """Make and touch the buffers of streamed frames; see `Source.prepare`."""
        shape, dtype = self.geometry()
        pool = self._pool
        if pool is not None and (pool.shape, pool.dtype.name) == (shape, dtype):
            return
        self._misses += pool.misses if pool is not None else 0
        # The old one goes first, or both would be there at once.
        self._pool = pool = None
        most_mb = self._rig.config.camera.pool_mb
        count = pool_size(shape, dtype, most_mb, buffers)
        self._pool = FramePool(shape, dtype, count)

    @property
    def buffers(self) -> tuple[int, int]:
        """Buffers prepared, and frames for which none was free."""
        pool = self._pool
        return (len(pool), self._misses + pool.misses) if pool is not None else (0, 0)

    def snap(self, exposure_ms: float, exposed: Callable[[], None]) -> Shot:
        """Expose once; see `Source.snap`."""
        camera = self._core.getCameraDevice()
        before = self._clock.now_ns()
        self._rig.history.set("camera", before, 1.0)
        try:
            self._driver.snapImage()
            after = self._clock.now_ns()
            exposed()
            pixels = self._core.getImage()
        except RuntimeError as error:
            raise HardwareError(f"snap failed: {error}", device=camera) from error
        finally:
            self._rig.history.set("camera", self._clock.now_ns(), 0.0)
        latest = max(before, after - int(exposure_ms * NS_PER_MS))
        pixels.setflags(write=False)
        return Shot(
            pixels=pixels,
            t_exposed_ns=before,
            t_end_ns=after,
            t_received_ns=self._clock.now_ns(),
            exposed_uncertainty_ns=latest - before,
        )

    def burst(
        self,
        frames: int,
        exposure_ms: float,
        exposed: Callable[[], None],
        stopped: Callable[[], bool],
    ) -> Generator[Shot]:
        """Hardware-timed burst; see `Source.burst`."""
        got = 0
        for shot in self.stream(frames, lambda: exposure_ms, stopped):
            if shot.lost is not None and shot.lost.certain:
                raise StreamError(
                    f"the camera lost {shot.lost.frames} frame(s) of a burst before "
                    f"frame {shot.image_number}; raise micromanager.buffer_mb or the "
                    "exposure"
                )
            got += 1
            if got == frames:
                exposed()
            yield shot

    def stream(
        self,
        frames: int | None,
        exposure_ms: Callable[[], float],
        stopped: Callable[[], bool],
    ) -> Generator[Shot]:
        """Sequence acquisition; see `Source.stream`."""
        core, got = self._core, 0
        watch = LossWatch(self._rig.config.camera.frame_counter)
        self._arrivals.begin()
        self._exposure_ms = exposure_ms()
        self._arrivals.expect(self._exposure_ms / 1000)
        self._dating.begin(self._clock.now_ns(), self._exposure_ms)
        self._start(frames)
        try:
            while (frames is None or got < frames) and not stopped():
                if not self._wait(exposure_ms(), stopped, first=got == 0):
                    break
                shot = self._take(watch, exposure_ms())
                if shot is None:
                    continue
                got += 1
                yield shot
            self._stop()
            # What was exposed is taken, or nobody could tell what became of it.
            while core.getRemainingImageCount() and (frames is None or got < frames):
                shot = self._take(watch, exposure_ms())
                if shot is None:
                    break
                got += 1
                yield shot
        finally:
            self._stop()

    def _start(self, frames: int | None) -> None:
        core, camera = self._driver, self._core.getCameraDevice()
        try:
            if frames is None:
                core.startContinuousSequenceAcquisition(0.0)
            else:
                core.startSequenceAcquisition(camera, frames, 0.0, True)
        except RuntimeError as error:
            raise HardwareError(
                f"the camera did not start: {error}", device=camera
            ) from error
        self._rig.history.set("camera", self._clock.now_ns(), 1.0)

    def _stop(self) -> None:
        camera = self._core.getCameraDevice()
        try:
            if self._core.isSequenceRunning():
                self._driver.stopSequenceAcquisition(camera)
        except RuntimeError as error:
            raise HardwareError(
                f"the camera did not stop: {error}", device=camera
            ) from error
        self._rig.history.set("camera", self._clock.now_ns(), 0.0)

    def _wait(
        self, exposure_ms: float, stopped: Callable[[], bool], *, first: bool
    ) -> bool:
        core = self._core
        patience = FIRST_FRAME_S if first else FRAME_PATIENCE_S
        deadline = time.perf_counter() + max(patience, 5 * exposure_ms / 1000)

        def checked() -> bool:
            if stopped():
                return False
            if not core.isSequenceRunning() and not core.getRemainingImageCount():
                raise StreamError(self._why_stopped())
            if time.perf_counter() > deadline:
                raise StreamError(
                    f"camera {core.getCameraDevice()} gave no frame for "
                    f"{patience:g} s; look at its trigger"
                )
            return True

        return self._arrivals.wait(core.getRemainingImageCount, checked)

    def _why_stopped(self) -> str:
        if self._core.isBufferOverflowed():
            return "the camera buffer overflowed; raise micromanager.buffer_mb"
        return (
            f"camera {self._core.getCameraDevice()} stopped by itself; a change of "
            "ROI or binning does that, otherwise look at its cable and power"
        )

    def _take(self, watch: LossWatch, exposure_ms: float) -> Shot | None:
        """The next frame; None if the camera has thrown away what waited."""
        core, arrivals = self._core, self._arrivals
        noticed, came_s = self._clock.now_ns(), time.perf_counter()
        unseen_s = came_s - arrivals.empty_s
        behind = max(0, core.getRemainingImageCount() - 1)
        try:
            popped, tags = core.popNextImageAndMD(fix=False)
        except IndexError:
            # Many cameras answer an overflow by clearing the buffer and going on, and
            # that can happen after we saw a frame in it. The number of the next frame
            # tells how many went; a camera that has stopped is noticed by waiting.
            return None
        except RuntimeError as error:
            raise StreamError(f"a frame could not be taken: {error}") from error
        pixels = self._own(popped)
        # Let go at once, so that the allocator gives the same memory to the next one.
        del popped
        number = _number(tags)
        # One that was there at the first look lay in the buffer for an unknown time.
        on_time = behind == 0 and arrivals.waited
        lost = watch.look(
            number,
            tags,
            came_s=came_s if on_time else None,
            period_s=arrivals.period_s,
        )
        arrivals.came(came_s, on_time=on_time)
        if behind == 0:
            arrivals.empty_s = came_s
        if exposure_ms != self._exposure_ms:
            arrivals.shift((exposure_ms - self._exposure_ms) / 1000)
            self._exposure_ms = exposure_ms
        start_ns, end_ns, unsure_ns = self._dating.date(
            noticed,
            exposure_ms,
            behind=behind,
            unseen_s=unseen_s,
            period_s=arrivals.period_s,
        )
        return Shot(
            pixels=pixels,
            t_exposed_ns=start_ns,
            t_end_ns=end_ns,
            t_received_ns=self._clock.now_ns(),
            exposed_uncertainty_ns=unsure_ns,
            image_number=number,
            lost=lost,
        )

    def _own(self, popped: NDArray[np.uint16]) -> NDArray[np.uint16]:
        pool = self._pool
        if pool is None or not pool.fits(popped):
            popped.setflags(write=False)
            return popped
        return pool.copy(popped)  # type: ignore[return-value]


def _past_listeners(core: CMMCorePlus) -> Any:
    """The core without the signals of pymmcore-plus, where the camera allows it."""
    # A camera written in Python (UniMMCore) is known above the driver only.
    asks = getattr(core, "isPyDevice", None)
    if asks is not None and asks(core.getCameraDevice()):
        return core
    return super(CMMCorePlus, core)


def _number(tags: Tags) -> int | None:
    try:
        return int(tags["ImageNumber"])
    except KeyError:
        return None
