"""Random numbers of the sensor: photons, read noise, gain register."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

if TYPE_CHECKING:
    from numpy.typing import NDArray

SMOOTH_READ_NOISE_E = 1.0
_MANY_ELECTRONS = 30.0
_CLASSES = 65536


def noise_generator(seed: int, t_ns: int, part: int = 0) -> np.random.Generator:
    """Noise that belongs to a seed, to the start of an exposure and a part of it."""
    entropy = [seed & 0xFFFFFFFFFFFFFFFF, 0xCA, t_ns, part]
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(entropy)))


def normals(shape: tuple[int, ...], noise: np.random.Generator) -> NDArray[np.float32]:
    """Draw standard normal numbers, a quarter of the cost of numpy's.

    16 random bits choose one of 65536 equally likely classes, whose middle quantile
    is taken; numbers in the two outermost classes, beyond 4.17, are drawn exactly, so
    that the rare far ones of a large image are there.
    """
    count = int(np.prod(shape))
    chosen = noise.integers(0, _CLASSES, count, dtype=np.uint16)
    drawn = _quantiles().take(chosen)
    # Adding 1 takes the last class to 0, round the end.
    outer = np.flatnonzero(chosen + np.uint16(1) < 2)
    far = special.ndtri((1.0 - noise.random(len(outer))) / _CLASSES)
    drawn[outer] = np.where(chosen[outer] == 0, far, -far)
    return drawn.reshape(shape)


@lru_cache(maxsize=1)
def _quantiles() -> NDArray[np.float32]:
    middle = (np.arange(_CLASSES) + 0.5) / _CLASSES
    return np.asarray(special.ndtri(middle), dtype=np.float32)


def noisy_electrons(
    mean: NDArray[np.float32], read_noise_e: float, noise: np.random.Generator
) -> NDArray[np.float32]:
    """Poisson photon noise plus normal read noise, electrons.

    With a read noise of an electron or more the sum has a smooth density with a
    small skewness, and one normal number bent by a second-order Cornish-Fisher term
    draws it: mean and variance are exact, the skewness is right to a few percent.
    That costs a twentieth of a Poisson generator. Quieter cameras, whose single
    electrons show, get true Poisson numbers where electrons are few.

    Parameters
    ----------
    mean : ndarray (y, x) float32
        Expected electrons.
    """
    drawn = normals(mean.shape, noise)
    if read_noise_e >= SMOOTH_READ_NOISE_E:
        return _bent(mean, read_noise_e, drawn)
    few = mean < _MANY_ELECTRONS
    counted = noise.poisson(mean[few]).astype(np.float32)
    counted += np.float32(read_noise_e) * drawn[few]
    seen = _bent(np.maximum(mean, np.float32(_MANY_ELECTRONS)), read_noise_e, drawn)
    seen[few] = counted
    return seen


def multiplied(
    mean: NDArray[np.float32], gain: float, noise: np.random.Generator
) -> NDArray[np.float32]:
    """Electrons behind a gain register, for `mean` expected before it.

    Each electron becomes an exponentially distributed number of them with mean
    `gain` (Robbins and Hadwen, IEEE Trans. Electron Devices 50, 2003): the variance is
    twice that of the photons. The sum over Poisson many is a non-central chi-square
    with no degrees of freedom; where electrons are many, that with one degree less
    its mean, a shifted normal number squared, has the same mean and third cumulant
    and a variance right to a percent.
    """
    few = mean < _MANY_ELECTRONS
    counted = np.float32(gain) * noise.standard_gamma(
        noise.poisson(mean[few]).astype(np.float32), dtype=np.float32
    )
    if few.all():
        return counted.reshape(mean.shape)
    drawn = normals(mean.shape, noise)
    drawn += np.sqrt(np.float32(2.0) * mean)
    drawn *= drawn
    drawn -= 1
    drawn *= np.float32(gain / 2)
    drawn[few] = counted
    return drawn


def _bent(
    mean: NDArray[np.float32], read_noise_e: float, z: NDArray[np.float32]
) -> NDArray[np.float32]:
    # Overwrites z.
    variance = mean + np.float32(read_noise_e**2)
    bend = mean / variance
    bend *= np.float32(1 / 6)
    # The bend adds 2 * bend**2 of variance: take it off the straight term.
    straight = bend * bend
    straight *= np.float32(-2)
    straight += variance
    np.sqrt(straight, out=straight)
    slope = np.multiply(bend, z, out=variance)
    slope += straight
    z *= slope
    z -= bend
    z += mean
    return z
