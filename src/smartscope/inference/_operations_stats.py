"""Exact statistics of camera frames, fast: percentiles, mean and deviation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_CHUNK = 8192
"""Values at a time: they stay in the nearest cache, and BLAS takes one thread."""

_EXACT = 2**17
"""16-bit counts whose squares OpenCV sums so that rounding gives the true sum."""

_MOST_FLOAT = 2**24
"""OpenCV counts in float32, which is exact below this."""


def percentiles(values: NDArray[Any], percents: Sequence[float]) -> NDArray[np.float64]:
    """Percentiles as `numpy.percentile` gives them (linear interpolation).

    8- and 16-bit counts are counted instead of sorted.

    Parameters
    ----------
    values : ndarray
        Of any shape and number type, not empty.
    percents : sequence of float
        0 to 100.

    Returns
    -------
    ndarray (n,) float64
    """
    places = [percent / 100 * (values.size - 1) for percent in percents]
    lower = [math.floor(place) for place in places]
    upper = [min(low + 1, values.size - 1) for low in lower]
    ranks = sorted({*lower, *upper})
    if set(ranks) <= {0, values.size - 1}:
        # Smallest and largest need no order between them.
        ends = {0: float(values.min()), values.size - 1: float(values.max())}
        found = [ends[rank] for rank in ranks]
    elif values.dtype in (np.uint8, np.uint16):
        found = _by_counting(values, ranks)
    else:
        found = _by_partition(values, ranks)
    at = dict(zip(ranks, found, strict=True))
    return np.array(
        [
            _between(at[low], at[high], place - low)
            for low, high, place in zip(lower, upper, places, strict=True)
        ]
    )


def mean_and_deviation(values: NDArray[Any]) -> tuple[float, float]:
    """Mean and standard deviation (divided by n) of all values.

    Exact for 8- and 16-bit counts; of floats, two passes in float64.
    """
    if values.dtype in (np.uint8, np.uint16):
        return _of_counts(values)
    flat = values.ravel()
    if flat.dtype == np.float64:
        return float(flat.mean()), float(flat.std())
    mean = float(flat.mean(dtype=np.float64))
    buffer = np.empty(min(_CHUNK, flat.size))
    total = 0.0
    for start in range(0, flat.size, _CHUNK):
        part = flat[start : start + _CHUNK]
        apart = np.subtract(part, mean, out=buffer[: part.size])
        total += float(np.dot(apart, apart))
    return mean, math.sqrt(total / flat.size)


def _of_counts(values: NDArray[Any]) -> tuple[float, float]:
    import cv2

    flat = np.ascontiguousarray(values).reshape(1, -1)
    total = squares = 0
    for start in range(0, flat.size, _EXACT):
        part = flat[:, start : start + _EXACT]
        # Whole numbers, but for the last digits: OpenCV squares the root of the sum.
        total += round(cv2.sumElems(part)[0])
        squares += round(cv2.norm(part, cv2.NORM_L2SQR))
    count = values.size
    return total / count, math.sqrt(squares * count - total * total) / count


def _by_counting(values: NDArray[Any], ranks: Sequence[int]) -> list[float]:
    """Values at these ranks of the sorted counts."""
    reached = np.cumsum(_counts(values), dtype=np.float64)
    return [float(np.searchsorted(reached, rank, side="right")) for rank in ranks]


def _counts(values: NDArray[Any]) -> NDArray[Any]:
    """How often each count occurs."""
    if values.size >= _MOST_FLOAT or not values.flags.c_contiguous:
        return np.bincount(values.ravel())
    # Three times as fast, since it makes no wide copy of the frame.
    import cv2

    bins = int(values.max()) + 1
    lines = values.reshape(-1, values.shape[-1])
    return cv2.calcHist([lines], [0], None, [bins], [0, bins]).ravel()


def _by_partition(values: NDArray[Any], ranks: Sequence[int]) -> list[float]:
    parted = np.partition(values.ravel(), ranks)
    return [float(parted[rank]) for rank in ranks]


def _between(low: float, high: float, share: float) -> float:
    # From the nearer end, as numpy does: both ends are met exactly.
    if share >= 0.5:
        return high - (high - low) * (1 - share)
    return low + (high - low) * share
