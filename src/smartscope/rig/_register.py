"""How far one picture is shifted against another, to a fraction of a pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft, ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

_UPSAMPLING = 50
_REACH_PX = 1.5
_PASSBAND = 0.12
"""Cycles per pixel."""
_SMALLEST_PX = 32


@dataclass(frozen=True, slots=True)
class Shift:
    """Where the content of the first picture lies in the second.

    Attributes
    ----------
    dy_px, dx_px : float
        Content at ``(y, x)`` of the first lies at ``(y + dy, x + dx)`` of the second.
    confidence : float
        0..1: how much the best match stands out from the second best. Noise gives
        less than about 0.1, a textured picture more than 0.5.
    """

    dy_px: float
    dx_px: float
    confidence: float


def measure_shift(first: NDArray[np.generic], second: NDArray[np.generic]) -> Shift:
    """Shift between two pictures of the same shape, by phase correlation.

    Found to a pixel first, then refined on the overlap alone with an upsampled
    Fourier transform (Guizar-Sicairos et al., Optics Letters 33, 156, 2008), so that
    neither wrapping nor the window biases it.

    Parameters
    ----------
    first, second : ndarray, (y, x), any real dtype

    Raises
    ------
    ValueError
        If the shapes differ or a side is below 32 pixels.
    """
    if first.shape != second.shape or first.ndim != 2:
        raise ValueError(
            f"two pictures of one shape, not {first.shape}, {second.shape}"
        )
    if min(first.shape) < _SMALLEST_PX:
        raise ValueError(f"a side of {min(first.shape)} pixels is too small")
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    dy, dx, confidence = _coarse(a, b)
    overlap_a, overlap_b = _overlap(a, b, dy, dx)
    if min(overlap_a.shape) < _SMALLEST_PX:
        return Shift(dy, dx, 0.0)
    fine_y, fine_x = _fine(overlap_a, overlap_b)
    return Shift(dy + fine_y, dx + fine_x, confidence)


def _spectrum(image: NDArray[np.float64]) -> NDArray[np.complex128]:
    # Uneven illumination stays where it is when the sample moves: take it away.
    flat = image - ndimage.gaussian_filter(image, min(image.shape) / 12)
    window = np.outer(np.hanning(image.shape[0]), np.hanning(image.shape[1]))
    return np.asarray(fft.fft2((flat - flat.mean()) * window))


def _cross(
    a: NDArray[np.float64], b: NDArray[np.float64], whitening: float
) -> NDArray[np.complex128]:
    cross = _spectrum(b) * np.conj(_spectrum(a))
    strength = np.abs(cross)
    floor = 1e-12 * strength.max() + 1e-300
    return np.asarray(cross / (strength + floor) ** whitening)


def _coarse(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[int, int, float]:
    # Half whitened: the peak stands out sharply, and noise does not take over.
    surface = fft.ifft2(_cross(a, b, 0.5)).real
    peak = np.unravel_index(int(surface.argmax()), surface.shape)
    best = float(surface[peak])
    if best <= 0:
        return 0, 0, 0.0
    radius = max(4, min(surface.shape) // 24)
    rolled = np.roll(surface, (radius - int(peak[0]), radius - int(peak[1])), (0, 1))
    rolled[: 2 * radius + 1, : 2 * radius + 1] = -np.inf
    second = max(0.0, float(rolled.max()))
    height, width = surface.shape
    dy = int(peak[0]) - (height if peak[0] > height // 2 else 0)
    dx = int(peak[1]) - (width if peak[1] > width // 2 else 0)
    return dy, dx, 1.0 - second / best


def _overlap(
    a: NDArray[np.float64], b: NDArray[np.float64], dy: int, dx: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    height, width = a.shape
    ya, xa = max(0, -dy), max(0, -dx)
    yb, xb = max(0, dy), max(0, dx)
    h, w = height - abs(dy), width - abs(dx)
    return a[ya : ya + h, xa : xa + w], b[yb : yb + h, xb : xb + w]


def _fine(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[float, float]:
    # Not whitened: against camera noise nothing is more exact than plain correlation
    # of the spatial frequencies that optics pass.
    fy, fx = fft.fftfreq(a.shape[0]), fft.fftfreq(a.shape[1])
    passed = np.exp(-0.5 * (fy[:, None] ** 2 + fx**2) / _PASSBAND**2)
    cross = _cross(a, b, 0.0) * passed
    steps = np.arange(-_REACH_PX, _REACH_PX + 0.5 / _UPSAMPLING, 1.0 / _UPSAMPLING)
    rows = np.exp(2j * np.pi * np.outer(steps, fy))
    columns = np.exp(2j * np.pi * np.outer(fx, steps))
    surface = (rows @ cross @ columns).real
    y, x = np.unravel_index(int(surface.argmax()), surface.shape)
    return float(steps[y]), float(steps[x])
