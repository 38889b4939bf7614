"""Frames from the Micro-Manager camera of a rig."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from smartscope.core import NS_PER_MS, HardwareError, StreamError
from smartscope.sources._base import Shot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from smartscope.rig import Rig

FIRST_FRAME_S = 20.0
FRAME_PATIENCE_S = 5.0


class CameraSource:
    """Snaps, bursts and streams with the camera that fills the rig's camera role.

    Parameters
    ----------
    rig : Rig
        Open rig; the source uses its core and clock and changes nothing but the
        camera's acquisition state.
    """

    sequences_focus = True

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._core = rig.core
        self._clock = rig.clock
        # Light gated by the camera counts as lit until the camera is known to rest.
        rig.history.set("camera", rig.clock.now_ns(), 0.0)

    def geometry(self) -> tuple[tuple[int, int], str]:
        """``(height, width)`` of a frame now, and its dtype name."""
        core = self._core
        dtype = "uint8" if core.getBytesPerPixel() == 1 else "uint16"
        return (core.getImageHeight(), core.getImageWidth()), dtype

    def snap(self, exposure_ms: float, exposed: Callable[[], None]) -> Shot:
        """Expose once; see `Source.snap`."""
        camera = self._core.getCameraDevice()
        before = self._clock.now_ns()
        self._rig.history.set("camera", before, 1.0)
        try:
            self._core.snapImage()
            after = self._clock.now_ns()
            exposed()
            pixels = self._core.getImage()
        except RuntimeError as error:
            raise HardwareError(f"snap failed: {error}", device=camera) from error
        finally:
            self._rig.history.set("camera", self._clock.now_ns(), 0.0)
        latest = max(before, after - int(exposure_ms * NS_PER_MS))
        return Shot(
            pixels=_frozen(pixels),
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
    ) -> Iterator[Shot]:
        """Hardware-timed burst; see `Source.burst`."""
        self._start(lambda: self._core.startSequenceAcquisition(frames, 0.0, True))
        expected = 0
        for shot in self._pop(lambda: exposure_ms, stopped, frames):
            if shot.image_number is not None and shot.image_number != expected:
                raise StreamError(
                    f"the camera lost {shot.image_number - expected} frame(s) of a "
                    f"burst before frame {shot.image_number}; raise "
                    "micromanager.buffer_mb or the exposure"
                )
            expected += 1
            if expected == frames:
                exposed()
            yield shot

    def stream(
        self, exposure_ms: Callable[[], float], stopped: Callable[[], bool]
    ) -> Iterator[Shot]:
        """Continuous acquisition; see `Source.stream`."""
        self._start(lambda: self._core.startContinuousSequenceAcquisition(0.0))
        yield from self._pop(exposure_ms, stopped, None)

    def _start(self, start: Callable[[], None]) -> None:
        try:
            start()
        except RuntimeError as error:
            raise HardwareError(
                f"the camera did not start: {error}",
                device=self._core.getCameraDevice(),
            ) from error
        self._rig.history.set("camera", self._clock.now_ns(), 1.0)

    def _pop(
        self,
        exposure_ms: Callable[[], float],
        stopped: Callable[[], bool],
        frames: int | None,
    ) -> Iterator[Shot]:
        core, got = self._core, 0
        try:
            while (frames is None or got < frames) and not stopped():
                now_ms = exposure_ms()
                if not self._wait_for_image(now_ms, first=got == 0, stop=stopped):
                    return
                pixels, tags = core.popNextImageAndMD()
                yield self._shot(pixels, dict(tags), now_ms)
                got += 1
        finally:
            if core.isSequenceRunning():
                core.stopSequenceAcquisition()
            self._rig.history.set("camera", self._clock.now_ns(), 0.0)

    def _wait_for_image(
        self, exposure_ms: float, *, first: bool, stop: Callable[[], bool]
    ) -> bool:
        core = self._core
        patience = FIRST_FRAME_S if first else FRAME_PATIENCE_S
        deadline = time.perf_counter() + max(patience, 5 * exposure_ms / 1000)
        while core.getRemainingImageCount() == 0:
            if stop():
                return False
            if core.isBufferOverflowed():
                raise StreamError(
                    "the camera buffer overflowed; raise micromanager.buffer_mb"
                )
            if not core.isSequenceRunning() and core.getRemainingImageCount() == 0:
                raise StreamError(
                    f"camera {core.getCameraDevice()} stopped by itself; a change of "
                    "ROI or binning does that, otherwise look at its cable and power"
                )
            if time.perf_counter() > deadline:
                raise StreamError(
                    f"camera {core.getCameraDevice()} gave no frame for "
                    f"{patience:g} s; look at its trigger"
                )
            time.sleep(0.0005)
        return True

    def _shot(
        self, pixels: NDArray[np.uint16], tags: dict[str, str], exposure_ms: float
    ) -> Shot:
        received = self._clock.now_ns()
        exposure_ns = int(exposure_ms * NS_PER_MS)
        # Frames that still wait behind this one came later by their exposures.
        arrived = received - self._core.getRemainingImageCount() * exposure_ns
        number = tags.get("ImageNumber")
        return Shot(
            pixels=_frozen(pixels),
            t_exposed_ns=arrived - exposure_ns,
            t_end_ns=arrived,
            t_received_ns=received,
            # Arrival minus exposure is late by readout, transfer and our polling.
            exposed_uncertainty_ns=int(
                (self._rig.config.timing.readout_ms + 1.0) * NS_PER_MS
            ),
            image_number=int(number) if number is not None else None,
        )


def _frozen(pixels: NDArray[np.uint16]) -> NDArray[np.uint16]:
    pixels.setflags(write=False)
    return pixels
