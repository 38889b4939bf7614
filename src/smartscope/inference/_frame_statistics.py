"""Numbers of one image that say what kind of image it is, in half a millisecond."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SAMPLE = 16384
_STRIPS = 8
_STRIP_ROWS = 18
_SCALES = 5
# Structures of 64 pixels, the widest, must not run over the end of a strip.
_THICK_ROWS = 2 ** (_SCALES + 1)
_LEAST_STRIPS = 4
_LARGE = 512 * 512
# Half a step of the camera's converter: below that there is no noise to speak of.
_QUANTUM = 0.29
FLOOR = 1e-6
"""Stands for nothing where a logarithm is taken."""
FEATURES = ("sparsity", *(f"scale_{2**n}" for n in range(1, _SCALES + 1)))
"""Structure over scales, see `FrameStatistics.features`."""


@dataclass(frozen=True, slots=True)
class FrameStatistics:
    """Numbers of one image; every tuple has one entry for each channel.

    Attributes
    ----------
    background : tuple of float
        Middle of the shortest interval that holds a quarter of the pixels, in the
        units of the image (camera counts).
    signal : tuple of float
        99.8th percentile above the background, in the same units.
    full_range : float or None
        Largest value the pixels can hold; None for float images.
    noise : tuple of float
        Standard deviation from pixel to pixel (Immerkaer 1996, with a median in place
        of the mean, so that edges do not count), as a share of `signal`.
    focus : tuple of float
        0..1: how much brightness changes over two pixels (Brenner 1976), noise taken
        off, as a share of what it would be without any structure.
    clipped : tuple of float
        0..1: share of pixels at the highest value that occurs.
    features : ndarray (c, len(FEATURES)) float64
        Logarithms of the share of bright pixels, and of the energy of structures 2, 4,
        ... pixels wide, with background at 0 and signal at 1.
    """

    background: tuple[float, ...]
    signal: tuple[float, ...]
    full_range: float | None
    noise: tuple[float, ...]
    focus: tuple[float, ...]
    clipped: tuple[float, ...]
    features: NDArray[np.float64]

    @property
    def channels(self) -> int:
        """How many channels the image had."""
        return len(self.background)

    @property
    def vector(self) -> NDArray[np.float64]:
        """What the distance is measured in: noise, focus and features, as logarithms.

        Shape ``(c * (2 + len(FEATURES)),)``.
        """
        logs = np.log10(np.maximum([self.noise, self.focus], FLOOR)).T
        return np.concatenate([logs, self.features], axis=1).ravel()


def frame_statistics(image: NDArray[Any]) -> FrameStatistics:
    """Measure one image, below a millisecond for 512 x 512 pixels.

    Large images are sampled evenly; the same image gives the same numbers.

    Parameters
    ----------
    image : ndarray (y, x) or (c, y, x)
        Any integer or float type; finite, not written to.

    Raises
    ------
    ValueError
        Another number of axes.
    """
    planes = image[np.newaxis] if image.ndim == 2 else image
    if planes.ndim != 3:
        raise ValueError(f"an image is (y, x) or (c, y, x), not {image.shape}")
    integers = image.dtype.kind in "ui"
    found = [_plane(plane, integers=integers) for plane in planes]
    columns = list(zip(*(scalars for scalars, _ in found), strict=True))
    return FrameStatistics(
        background=columns[0],
        signal=columns[1],
        full_range=float(np.iinfo(image.dtype).max) if integers else None,
        noise=columns[2],
        focus=columns[3],
        clipped=columns[4],
        features=np.array([features for _, features in found]),
    )


def _plane(
    plane: NDArray[Any], *, integers: bool
) -> tuple[tuple[float, ...], list[float]]:
    """The numbers of `SCALARS` and of `FEATURES`."""
    step = max(1, int(np.sqrt(plane.size / _SAMPLE)))
    # Floats are sorted fastest, and hold all counts of a camera exactly.
    sample = plane[::step, ::step].astype(np.float32)
    values = np.sort(sample, axis=None).astype(np.float64)
    count = len(values)
    quarter = max(1, count // 4)
    widths = values[quarter:] - values[:-quarter]
    at = int(np.argmin(widths)) + quarter // 2 if len(widths) else count // 2
    background, top = float(values[at]), float(values[int(0.998 * (count - 1))])
    least = _QUANTUM if integers else max(abs(background), 1.0) * FLOOR
    signal = max(top - background, least)
    clipped = 1.0 - float(np.searchsorted(values, values[-1], "left")) / count
    bright = float(np.searchsorted(values, background + 0.5 * signal, "left"))
    sparsity = np.log10(max(1.0 - bright / count, 1.0 / count))
    sigma, focus = _detail(plane, least)
    energies = _energies(plane, background, signal)
    scalars = (background, signal, sigma / signal, focus, clipped)
    return scalars, [float(sparsity), *energies]


def _detail(plane: NDArray[Any], least: float) -> tuple[float, float]:
    """Noise in units of the image, and sharpness 0..1, from some strips of rows."""
    height, width = plane.shape
    if height < 3 or width < 3:
        return least, 0.0
    rows = min(height, _STRIP_ROWS)
    starts = np.linspace(0, height - rows, min(_STRIPS, max(1, height // rows)))
    strips = np.stack([plane[s : s + rows] for s in starts.astype(int)])
    strips = strips.astype(np.float32)
    # Rows minus twice the middle one, then the same over columns: Immerkaer's mask.
    across = strips[:, :-2] - 2 * strips[:, 1:-1] + strips[:, 2:]
    mask = across[..., :-2] - 2 * across[..., 1:-1] + across[..., 2:]
    sample = np.abs(mask[..., ::2]).ravel()
    middle = len(sample) // 2
    sigma = float(np.partition(sample, middle)[middle]) / (6 * 0.6745)
    sigma = max(sigma, least if least == _QUANTUM else 0.0)
    change = strips[..., 2:] - strips[..., :-2]
    energy = float(np.vdot(change, change)) / change.size
    spread = float(strips.var(dtype=np.float64))
    of_structure = max(spread - sigma * sigma, 0.0)
    of_change = max(energy - 2 * sigma * sigma, 0.0)
    return sigma, min(of_change / (2 * of_structure), 1.0) if of_structure else 0.0


def _energies(plane: NDArray[Any], background: float, signal: float) -> list[float]:
    """Log energy of structures 2, 4, ... pixels wide: differences of block means.

    Block means of one size are orthogonal to what is left of the next smaller one, so
    that the energies are differences of mean squares (Haar).
    """
    level, energies = _halved(_thinned(plane).astype(np.float32)), []
    level = (level - np.float32(background)) / np.float32(signal)
    before = float(np.vdot(level, level)) / max(level.size, 1)
    for _ in range(_SCALES):
        if min(level.shape) >= 2:
            level = _halved(level)
            now = float(np.vdot(level, level)) / level.size
            energies.append(max(before - now, FLOOR))
            before = now
        else:
            energies.append(FLOOR)
    return [float(np.log10(energy)) for energy in energies]


def _thinned(plane: NDArray[Any]) -> NDArray[Any]:
    """Of a large image some strips, as high as the widest structures looked at."""
    height, width = plane.shape
    count = max(_LEAST_STRIPS, _LARGE // (_THICK_ROWS * width))
    if plane.size <= _LARGE or count * _THICK_ROWS >= height:
        return plane
    starts = np.linspace(0, height - _THICK_ROWS, count).astype(int)
    return np.concatenate([plane[s : s + _THICK_ROWS] for s in starts])


def _halved(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means of 2 x 2 blocks; an odd last row or column is left out."""
    image = image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2]
    out = image[0::2, 0::2] + image[0::2, 1::2]
    out += image[1::2, 0::2]
    out += image[1::2, 1::2]
    out *= np.float32(0.25)
    return out
