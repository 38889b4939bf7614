"""Fast image arithmetic on float32 that several stages share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

Image = "NDArray[np.float32]"
_SAMPLE = 65536
# Half a count: below that, the steps of the camera's converter are the noise.
_QUANTUM = 0.29


def smooth(image: NDArray[np.float32], sigma_px: float) -> NDArray[np.float32]:
    """Gaussian blur; mirrored borders.

    Below 2 px the taps are added with whole-array arithmetic, four times faster
    than scipy's general filter.
    """
    if sigma_px < 0.3:
        return image
    reach = int(np.ceil(2.5 * sigma_px))
    if reach > 5 or reach >= min(image.shape):
        out: NDArray[np.float32] = ndimage.gaussian_filter(
            image, sigma_px, truncate=2.5, mode="mirror"
        )
        return out
    taps = np.exp(-0.5 * (np.arange(reach + 1) / sigma_px) ** 2)
    taps = (taps / (2 * taps.sum() - taps[0])).astype(np.float32)
    padded = np.pad(image, reach, mode="reflect")
    rows = _blur_rows(padded, taps, reach)
    return _blur_rows(rows.T, taps, reach).T


def _blur_rows(
    padded: NDArray[np.float32], taps: NDArray[np.float32], reach: int
) -> NDArray[np.float32]:
    height = padded.shape[0] - 2 * reach
    out: NDArray[np.float32] = padded[reach : reach + height] * taps[0]
    for i in range(1, reach + 1):
        pair = padded[reach - i : reach - i + height]
        pair = pair + padded[reach + i : reach + i + height]
        pair *= taps[i]
        out += pair
    return out


def shrink(image: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Block means; the last blocks may be smaller. ``(ceil(h/f), ceil(w/f))``."""
    if factor <= 1:
        return image
    height, width = image.shape
    rows, columns = np.arange(0, height, factor), np.arange(0, width, factor)
    total = np.add.reduceat(np.add.reduceat(image, rows, axis=0), columns, axis=1)
    tall = np.diff(np.append(rows, height)).astype(np.float32)
    wide = np.diff(np.append(columns, width)).astype(np.float32)
    return np.asarray(total / (tall[:, None] * wide[None, :]), dtype=np.float32)


def grow(
    small: NDArray[np.float32], factor: int, shape: tuple[int, int]
) -> NDArray[np.float32]:
    """Undo `shrink` by linear interpolation between block centres."""
    if factor <= 1:
        return small
    return _grow_rows(_grow_rows(small, factor, shape[0]).T, factor, shape[1]).T


def _grow_rows(
    small: NDArray[np.float32], factor: int, height: int
) -> NDArray[np.float32]:
    at = (np.arange(height) - (factor - 1) / 2) / factor
    at = np.clip(at, 0, len(small) - 1)
    low = np.minimum(at.astype(np.int64), max(len(small) - 2, 0))
    high = np.minimum(low + 1, len(small) - 1)
    weight = (at - low).astype(np.float32)[:, None]
    out = small[low]
    out += weight * (small[high] - out)
    return out


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Sorted pixels of an image, thinned evenly to about 65 000.

    Thresholds and noise come from it exactly, without histogram bins.
    """

    values: NDArray[np.float64]
    sums: NDArray[np.float64]

    @classmethod
    def of(cls, image: NDArray[Any]) -> Sample:
        """Sample an image ``(y, x)``, or any list of pixels."""
        if image.ndim == 2:
            step = max(1, int(np.sqrt(image.size / _SAMPLE)))
            image = image[::step, ::step]
        values = np.sort(image, axis=None).astype(np.float64)
        return cls(values, np.cumsum(values))

    def background(self) -> tuple[float, float]:
        """Level and noise (sigma) of the background.

        The level is the middle of the shortest interval that holds a quarter of the
        pixels, so objects may cover most of the field; the noise is taken below the
        level only, where no object adds to it.
        """
        values = self.values
        quarter = max(1, len(values) // 4)
        widths = values[quarter:] - values[:-quarter]
        if len(widths) == 0:
            return float(values[0]), _QUANTUM
        middle = int(np.argmin(widths)) + quarter // 2
        level = values[middle]
        # 31.7 % of the lower half of a normal distribution lies beyond one sigma.
        sigma = level - values[int(0.317 * middle)]
        return float(level), max(float(sigma), _QUANTUM)

    def otsu(self) -> float:
        """Threshold with the largest variance between both sides (Otsu 1979)."""
        n = len(self.values)
        low = np.arange(1, n, dtype=np.float64)
        mean_low = self.sums[:-1] / low
        mean_high = (self.sums[-1] - self.sums[:-1]) / (n - low)
        between = low * (n - low) * (mean_high - mean_low) ** 2
        best = int(np.argmax(between)) if n > 1 else 0
        return float(self.values[best])

    def li(self) -> float:
        """Threshold of least cross entropy (Li and Lee 1993; Li and Tam 1998)."""
        floor = self.values[0]
        values, n = self.values - floor, len(self.values)
        sums = self.sums - floor * np.arange(1, n + 1)
        threshold = sums[-1] / n
        for _ in range(100):
            k = int(np.searchsorted(values, threshold, side="right"))
            if k == 0 or k == n:
                break
            low, high = sums[k - 1] / k, (sums[-1] - sums[k - 1]) / (n - k)
            if low <= 0 or high <= low:
                break
            new = (high - low) / (np.log(high) - np.log(low))
            if abs(new - threshold) < 1e-6 * values[-1]:
                break
            threshold = new
        return float(threshold + floor)
