"""What every source of frames gives, whoever makes the pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    import numpy as np
    from numpy.typing import NDArray

    from smartscope.sources._losses import Lost


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One exposure as it came out of a source.

    Attributes
    ----------
    pixels : ndarray, (y, x), u8 or u16, read-only
    t_exposed_ns : int
        Estimated start of the exposure, run clock.
    exposed_uncertainty_ns : int
        The start lies within plus or minus this.
    t_end_ns : int
        Estimated end of the exposure.
    t_received_ns : int
        When the pixels were ours.
    image_number : int or None
        Micro-Manager's counter in a burst or stream.
    lost : Lost or None
        Frames missing between this one and the one before.
    """

    pixels: NDArray[np.uint16]
    t_exposed_ns: int
    t_end_ns: int
    t_received_ns: int
    exposed_uncertainty_ns: int = 0
    image_number: int | None = None
    lost: Lost | None = None


class Source(Protocol):
    """Turns one request into shots; called by the engine on the acquisition thread.

    A source exposes; it moves nothing, and it opens no shutter: the engine has set
    the hardware before it asks.
    """

    sequences_focus: bool
    """Whether `burst` follows a focus sequence loaded into the hardware."""

    simulated: bool
    """Pixels are made here: the source waits for whoever is slower."""

    def geometry(self) -> tuple[tuple[int, int], str]:
        """``(height, width)`` of a frame now, and its dtype name."""
        ...

    def prepare(self, buffers: int) -> None:
        """Get memory for streamed frames of the present geometry, before the light.

        `buffers` is how many frames may be held at once; fewer if the rig says so.
        """
        ...

    @property
    def buffers(self) -> tuple[int, int]:
        """Buffers prepared, and frames for which none was free."""
        ...

    def snap(self, exposure_ms: float, exposed: Callable[[], None]) -> Shot:
        """Expose once and return the shot.

        `exposed` is called as soon as the exposure is over, before the image is read
        out, so that the light is not on for longer than the camera looks.

        Raises
        ------
        HardwareError
            If no image could be had; never returns a stale one.
        """
        ...

    def burst(
        self,
        frames: int,
        exposure_ms: float,
        exposed: Callable[[], None],
        stopped: Callable[[], bool],
    ) -> Generator[Shot]:
        """Expose `frames` times as fast as the camera goes; `exposed` as in `snap`.

        Raises
        ------
        HardwareError, StreamError
            If the camera stops early or a frame was lost.
        """
        ...

    def stream(
        self,
        frames: int | None,
        exposure_ms: Callable[[], float],
        stopped: Callable[[], bool],
    ) -> Generator[Shot]:
        """Expose `frames` times (None: on and on) until `stopped`.

        Lost frames are reported with the next shot (`Shot.lost`). What the camera has
        taken when it is stopped still comes. `exposure_ms` is asked for each frame,
        because it may change meanwhile.

        Raises
        ------
        HardwareError, StreamError
            If the camera does not start, stops by itself or falls silent.
        """
        ...
