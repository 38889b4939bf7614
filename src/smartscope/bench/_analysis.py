"""What is done with a frame: the same functions for every peer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

BUSY_MS = 8.0


def mean(image: NDArray[Any]) -> float:
    """Mean of the first 32 x 32 pixels of ``(y, x)``: almost nothing."""
    return float(image[:32, :32].mean())


def label(image: NDArray[Any]) -> float:
    """Size in pixels of the largest object of ``(y, x)``: 2 to 4 ms for 512 x 512."""
    labels, count = ndimage.label(image > image.mean())
    return float(np.bincount(labels.ravel())[1:].max()) if count else 0.0


def busy(image: NDArray[Any]) -> float:
    """Work on ``(y, x)`` for 8 ms as vision does: array after array."""
    end = time.perf_counter_ns() + int(BUSY_MS * 1e6)
    room = np.empty(image.shape, np.float32)
    while time.perf_counter_ns() < end:
        np.multiply(image, np.float32(0.5), out=room, casting="unsafe")
    return float(room[0, 0])


ANALYSES: dict[str, Callable[[NDArray[Any]], float]] = {
    "mean": mean,
    "label": label,
    "busy": busy,
}
