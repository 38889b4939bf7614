"""Frame buffers made and touched before the first frame comes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray


class FramePool:
    """Hands out read-only images over memory that is there already.

    The first touch of fresh memory costs a page fault for every 4 KiB, 0.8 ms for a
    512 x 512 image; a pool pays it once, before the run. A buffer is used again only
    when nobody holds an image over it any more, however it was sliced or wrapped: every
    numpy view keeps the array that owns its memory, so that array's reference count
    tells.

    Not thread-safe: called by the pump thread alone. Images may be let go anywhere.

    Parameters
    ----------
    shape : (height, width)
    dtype : numpy dtype
    count : int
        Buffers; each is written once, here.

    Attributes
    ----------
    misses : int
        Images for which no buffer was free; their memory was made on the spot.
    """

    def __init__(self, shape: tuple[int, int], dtype: DTypeLike, count: int) -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.misses = 0
        # How many references the search itself counts differs between Pythons (from
        # 3.14 on a local name counts none), so a buffer nobody uses is asked.
        self._buffers: list[NDArray[np.generic]] = [np.empty(1, self.dtype)]
        _, self._idle = self._search(-1)
        self._buffers = [np.empty(shape, self.dtype) for _ in range(count)]
        for buffer in self._buffers:
            buffer.fill(0)

    def __len__(self) -> int:
        return len(self._buffers)

    def copy(self, pixels: NDArray[np.generic]) -> NDArray[np.generic]:
        """Copy `pixels` ``(y, x)`` into a buffer; returns a read-only view of it."""
        buffer = self._free()
        np.copyto(buffer, pixels)
        image = buffer.view()
        image.setflags(write=False)
        return image

    def fits(self, pixels: NDArray[np.generic]) -> bool:
        """Whether the pool was made for images like this one."""
        return pixels.shape == self.shape and pixels.dtype == self.dtype

    def _free(self) -> NDArray[np.generic]:
        buffer, _ = self._search(self._idle)
        if buffer is not None:
            return buffer
        self.misses += 1
        return np.empty(self.shape, self.dtype)

    def _search(self, idle: int) -> tuple[NDArray[np.generic] | None, int]:
        """First buffer with `idle` references, and how many the last one had."""
        held = 0
        # Always from the first: the same few are then still in the processor's cache.
        for buffer in self._buffers:
            held = sys.getrefcount(buffer)
            if held == idle:
                return buffer, held
        return None, held


def pool_size(
    shape: tuple[int, int], dtype: DTypeLike, most_mb: float, wanted: int
) -> int:
    """How many of `wanted` buffers of this kind fit into `most_mb`, 4 at least."""
    each = shape[0] * shape[1] * np.dtype(dtype).itemsize
    return int(min(wanted, max(4, most_mb * 1e6 // max(1, each))))
