"""The last frames of a view, for models that look at how things change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from smartscope.core import PixelMap
    from smartscope.vision._stage import Workspace

_JUMP_PX = 2.0
"""A field that has moved farther is another one, for a model that compares pixels."""


class Place:
    """Where a view was last seen, to know when it jumps."""

    def __init__(self) -> None:
        self._stage_um: tuple[float, float] | None = None
        self._map: PixelMap | None = None
        self._shape: tuple[int, int] | None = None

    def jumped(self, work: Workspace) -> bool:
        """Whether a pixel shows another part of the sample than in the last frame.

        The stage moved more than 2 pixels, or ROI, binning or objective changed.
        False for the first frame.
        """
        before, self._stage_um = self._stage_um, work.stage_um
        same = self._map in (None, work.pixel_map) and self._shape in (None, work.shape)
        self._map, self._shape = work.pixel_map, work.shape
        if before is None or not same:
            return not same
        way_um = np.hypot(before[0] - work.stage_um[0], before[1] - work.stage_um[1])
        return bool(way_um > _JUMP_PX * work.pixel_map.pixel_um)


class Window:
    """The last `length` frames, oldest first, as channels of one image.

    Where there are fewer, the oldest is repeated. Frames are copied: the buffers they
    come in are used again.

    Parameters
    ----------
    length : int
    """

    def __init__(self, length: int) -> None:
        self._length = length
        # Twice as long as needed, so that the frames lie in order without being moved
        # each time; the last ones move to the front when it is full.
        self._slots: NDArray[Any] | None = None
        self._end = 0

    def restart(self) -> None:
        """Forget all frames."""
        self._end = 0

    def take(self, frame: NDArray[Any]) -> NDArray[Any]:
        """Add a frame.

        Parameters
        ----------
        frame : ndarray (c, y, x)
            The newest. One of another shape or type restarts the window.

        Returns
        -------
        ndarray (length * c, y, x)
            A view, valid until the next frame.
        """
        slots = self._slots
        if (
            slots is None
            or slots.shape[1:] != frame.shape
            or slots.dtype != frame.dtype
        ):
            shape = (2 * self._length, *frame.shape)
            slots = self._slots = np.empty(shape, dtype=frame.dtype)
            self._end = 0
        if self._end == 0:
            slots[: self._length] = frame
            self._end = self._length
        else:
            if self._end == len(slots):
                kept = self._length - 1
                slots[:kept] = slots[self._end - kept :]
                self._end = kept
            slots[self._end] = frame
            self._end += 1
        inside = slots[self._end - self._length : self._end]
        return inside.reshape(-1, *frame.shape[1:])
