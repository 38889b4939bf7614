"""The sensor: photon noise, read noise, gain, offset, 16 bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveFloat

from smartscope.specimen._parameters import Parameters

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SMOOTH_READ_NOISE_E = 1.0
_MANY_ELECTRONS = 30.0


class Camera(Parameters):
    """A scientific camera.

    Attributes
    ----------
    offset_adu : float
        Counts without any light.
    gain_e_per_adu : float
        Electrons per count.
    read_noise_e : float
        Standard deviation, electrons.
    saturation_adu : int
        Highest count, at most 65535.
    """

    offset_adu: NonNegativeFloat = 100.0
    gain_e_per_adu: PositiveFloat = 0.5
    read_noise_e: NonNegativeFloat = 1.6
    saturation_adu: int = Field(65535, ge=1, le=65535)

    def read_out(
        self, electrons: NDArray[np.float32], noise: np.random.Generator
    ) -> NDArray[np.uint16]:
        """Turn expected electrons into counts.

        Parameters
        ----------
        electrons : ndarray (y, x) float32
            Expected photoelectrons of each pixel, >= 0.
        """
        counts = noisy_electrons(electrons, self.read_noise_e, noise)
        counts *= np.float32(1.0 / self.gain_e_per_adu)
        counts += np.float32(self.offset_adu + 0.5)
        np.clip(counts, 0, self.saturation_adu, out=counts)
        return counts.astype(np.uint16)


def noisy_electrons(
    mean: NDArray[np.float32], read_noise_e: float, noise: np.random.Generator
) -> NDArray[np.float32]:
    """Poisson photon noise plus normal read noise, electrons.

    With a read noise of an electron or more the sum has a smooth density with a
    small skewness, and one normal number bent by a second-order Cornish-Fisher term
    draws it: mean and variance are exact, the skewness is right to a few percent.
    That costs a fifth of a Poisson generator. Quieter cameras, whose single
    electrons show, get true Poisson numbers where electrons are few.
    """
    z = noise.standard_normal(mean.shape, dtype=np.float32)
    if read_noise_e >= _SMOOTH_READ_NOISE_E:
        return _bent(mean, read_noise_e, z)
    few = mean < _MANY_ELECTRONS
    counted = noise.poisson(mean[few]).astype(np.float32)
    counted += np.float32(read_noise_e) * z[few]
    drawn = _bent(np.maximum(mean, np.float32(_MANY_ELECTRONS)), read_noise_e, z)
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
    variance -= 2 * bend * bend
    np.sqrt(variance, out=variance)
    variance *= z
    z *= z
    z -= 1
    z *= bend
    z += variance
    z += mean
    return z


def noise_generator(seed: int, t_ns: int) -> np.random.Generator:
    """Noise that belongs to a seed and to the start of an exposure."""
    entropy = np.random.SeedSequence([seed & 0xFFFFFFFFFFFFFFFF, 0xCA, t_ns])
    return np.random.Generator(np.random.SFC64(entropy))
