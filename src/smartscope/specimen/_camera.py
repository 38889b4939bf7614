"""The sensor: photon noise, gain register, read noise, gain, offset, 16 bit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator

from smartscope.specimen._parameters import Parameters
from smartscope.specimen._threads import bands, begin, in_order

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_SMOOTH_READ_NOISE_E = 1.0
_MANY_ELECTRONS = 30.0
_EMCCD = {"read_noise_e": 60.0, "gain_e_per_adu": 12.0}
"""Typical values behind a gain register, where the file does not say."""


class Camera(Parameters):
    """A scientific camera.

    Attributes
    ----------
    kind : str
        ``scmos``, or ``emccd``: electrons are multiplied before they are read.
    offset_adu : float
        Counts without any light.
    gain_e_per_adu : float
        Electrons per count; of an EMCCD, behind the gain register (12 by default).
    read_noise_e : float
        Standard deviation, electrons; of an EMCCD, behind the gain register (60 by
        default).
    saturation_adu : int
        Highest count, at most 65535.
    multiplication : float
        EMCCD only: EM gain, how many an electron becomes on average; its randomness
        doubles the variance of the photon noise.
    clock_induced_e : float
        EMCCD only: electrons per pixel and frame that no photon made, which are
        multiplied as well.
    """

    kind: Literal["scmos", "emccd"] = "scmos"
    offset_adu: NonNegativeFloat = 100.0
    gain_e_per_adu: PositiveFloat = 0.5
    read_noise_e: NonNegativeFloat = 1.6
    saturation_adu: int = Field(65535, ge=1, le=65535)
    multiplication: float = Field(300.0, ge=1)
    clock_induced_e: NonNegativeFloat = 0.002

    @model_validator(mode="before")
    @classmethod
    def _typical(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("kind") == "emccd":
            return _EMCCD | values
        return values

    def draw(
        self, shape: tuple[int, int], noise: np.random.Generator
    ) -> Callable[[], NDArray[np.float32]]:
        """Begin to draw the normal numbers of a frame; call the result to have them.

        They do not depend on the picture, so they can be drawn while it is painted.
        """
        return begin(lambda: noise.standard_normal(shape, dtype=np.float32))

    def read_out(
        self,
        electrons: NDArray[np.float32],
        drawn: NDArray[np.float32],
        noise: np.random.Generator,
    ) -> NDArray[np.uint16]:
        """Turn expected electrons into counts.

        Parameters
        ----------
        electrons : ndarray (y, x) float32
            Expected photoelectrons of each pixel, >= 0.
        drawn : ndarray (y, x) float32
            Standard normal numbers; overwritten.
        noise : Generator
            For what normal numbers cannot give.
        """
        if self.kind == "emccd":
            counts = multiplied(
                electrons + np.float32(self.clock_induced_e),
                self.multiplication,
                drawn,
                noise,
            )
            counts += np.float32(self.read_noise_e) * noise.standard_normal(
                counts.shape, dtype=np.float32
            )
            return self._digitise(counts)
        if self.read_noise_e < _SMOOTH_READ_NOISE_E:
            return self._digitise(
                noisy_electrons(electrons, self.read_noise_e, noise, drawn)
            )
        image = np.empty(electrons.shape, np.uint16)

        def develop(band: slice) -> None:
            seen = _bent(electrons[band], self.read_noise_e, drawn[band])
            image[band] = self._digitise(seen)

        for _ in in_order(develop, bands(*electrons.shape)):
            pass
        return image

    def _digitise(self, electrons: NDArray[np.float32]) -> NDArray[np.uint16]:
        # Overwrites electrons.
        electrons *= np.float32(1.0 / self.gain_e_per_adu)
        electrons += np.float32(self.offset_adu + 0.5)
        np.clip(electrons, 0, self.saturation_adu, out=electrons)
        return electrons.astype(np.uint16)


def noisy_electrons(
    mean: NDArray[np.float32],
    read_noise_e: float,
    noise: np.random.Generator,
    drawn: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Poisson photon noise plus normal read noise, electrons.

    With a read noise of an electron or more the sum has a smooth density with a
    small skewness, and one normal number bent by a second-order Cornish-Fisher term
    draws it: mean and variance are exact, the skewness is right to a few percent.
    That costs a fifth of a Poisson generator. Quieter cameras, whose single
    electrons show, get true Poisson numbers where electrons are few.

    Parameters
    ----------
    drawn : ndarray (y, x) float32, optional
        Standard normal numbers; overwritten. None draws them.
    """
    if drawn is None:
        drawn = noise.standard_normal(mean.shape, dtype=np.float32)
    if read_noise_e >= _SMOOTH_READ_NOISE_E:
        return _bent(mean, read_noise_e, drawn)
    few = mean < _MANY_ELECTRONS
    counted = noise.poisson(mean[few]).astype(np.float32)
    counted += np.float32(read_noise_e) * drawn[few]
    seen = _bent(np.maximum(mean, np.float32(_MANY_ELECTRONS)), read_noise_e, drawn)
    seen[few] = counted
    return seen


def multiplied(
    mean: NDArray[np.float32],
    gain: float,
    drawn: NDArray[np.float32],
    noise: np.random.Generator,
) -> NDArray[np.float32]:
    """Electrons behind a gain register, for `mean` expected before it.

    Each electron becomes an exponentially distributed number of them with mean
    `gain` (Robbins and Hadwen, IEEE Trans. Electron Devices 50, 2003): the variance is
    twice that of the photons. The sum over Poisson many is a non-central chi-square
    with no degrees of freedom; where electrons are many, that with one degree less
    its mean, a shifted normal number squared, has the same mean and third cumulant
    and a variance right to a percent.

    Parameters
    ----------
    drawn : ndarray (y, x) float32
        Standard normal numbers; overwritten.
    """
    few = mean < _MANY_ELECTRONS
    counted = gain * noise.standard_gamma(noise.poisson(mean[few]))
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
