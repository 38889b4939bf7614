"""Chromatin: what makes a nucleus look like one instead of a disc."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

TILES = 24
SIDE = 96
REACH = 1.5
"""A tile spans ``-REACH..REACH`` nucleus radii along both axes."""


@dataclass(frozen=True, slots=True)
class Chromatin:
    """Tiles in the frame of a nucleus, flattened to ``(TILES * SIDE * SIDE,)``.

    Attributes
    ----------
    density : ndarray float32
        Relative excess of fluorescence; its mean and its first moments over the unit
        disc are 0, so it moves neither photons nor centroids.
    outline : ndarray float32
        Relative excess of the squared radius: the outline as harmonics 2 to 5.
    """

    density: NDArray[np.float32]
    outline: NDArray[np.float32]


@lru_cache(maxsize=1)
def chromatin() -> Chromatin:
    """Make the tiles, the same ones always (they are an alphabet, not a sample)."""
    rng = np.random.Generator(np.random.SFC64(20))
    axis = (np.arange(SIDE) + 0.5) / SIDE * 2 * REACH - REACH
    u, v = np.meshgrid(axis, axis, indexing="ij")
    density = [_density(u, v, rng) for _ in range(TILES)]
    outline = [_outline(u, v, rng) for _ in range(TILES)]
    return Chromatin(
        np.concatenate(density).astype(np.float32),
        np.concatenate(outline).astype(np.float32),
    )


def _density(
    u: NDArray[np.float64], v: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    per_radius = SIDE / (2 * REACH)
    white = rng.standard_normal((2, SIDE, SIDE))
    fine = ndimage.gaussian_filter(white[0], 0.12 * per_radius)
    coarse = ndimage.gaussian_filter(white[1], 0.28 * per_radius)
    tile = 0.16 * fine / fine.std() + 0.14 * coarse / coarse.std()
    # Thicker in the middle than at the rim.
    radius2 = u * u + v * v
    tile += 0.35 * np.sqrt(np.clip(1.15 - radius2, 0, None))
    for _ in range(rng.integers(1, 4)):
        angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.55)
        near2 = (u - distance * np.cos(angle)) ** 2 + (
            v - distance * np.sin(angle)
        ) ** 2
        # Nucleoli hold little DNA.
        tile -= rng.uniform(0.3, 0.5) * np.exp(
            -near2 / (2 * rng.uniform(0.1, 0.16) ** 2)
        )
    inside = radius2 <= 1
    basis = np.stack([np.ones(inside.sum()), u[inside], v[inside]])
    fit = np.linalg.lstsq(basis.T, tile[inside], rcond=None)[0]
    tile -= fit[0] + fit[1] * u + fit[2] * v
    # Beyond the rim the blurred edge keeps a mild version of it.
    tile *= np.clip((1.4 - np.sqrt(radius2)) / 0.4, 0, 1)
    return np.asarray(np.maximum(tile, -0.9).ravel())


def _outline(
    u: NDArray[np.float64], v: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    angle = np.arctan2(v, u)
    bump = np.zeros_like(u)
    for harmonic in range(2, 6):
        phase, size = rng.uniform(0, 2 * np.pi), rng.uniform(0.02, 0.12) / harmonic
        bump += size * np.cos(harmonic * angle + phase)
    return np.asarray((2 * bump).ravel())
