"""The sensor: photon noise, gain register, read noise, gain, offset, 16 bit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator

from smartscope.specimen._noise import multiplied, noisy_electrons, normals
from smartscope.specimen._parameters import Parameters
from smartscope.specimen._threads import bands, in_order

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

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

    def read_out(
        self,
        shape: tuple[int, int],
        electrons: Callable[[slice], NDArray[np.float32]],
        noise: Callable[[int], np.random.Generator],
    ) -> NDArray[np.uint16]:
        """Turn expected electrons into counts, some rows at a time.

        Parameters
        ----------
        shape : (y, x)
            Of the image.
        electrons : callable
            Expected photoelectrons of some rows, (y, x) float32, >= 0.
        noise : callable
            Generator for the n-th part of the image: each has random numbers of its
            own, so that it does not matter who works on it, and when.
        """
        image = np.empty(shape, np.uint16)

        def develop(part: tuple[int, slice]) -> None:
            number, rows = part
            seen = self._detect(electrons(rows), noise(number))
            image[rows] = self._digitise(seen)

        for _ in in_order(develop, enumerate(bands(*shape))):
            pass
        return image

    def _detect(
        self, electrons: NDArray[np.float32], noise: np.random.Generator
    ) -> NDArray[np.float32]:
        """Draw electrons, as the amplifier gets them."""
        if self.kind == "scmos":
            return noisy_electrons(electrons, self.read_noise_e, noise)
        charge = electrons + np.float32(self.clock_induced_e)
        seen = multiplied(charge, self.multiplication, noise)
        read_noise = normals(seen.shape, noise)
        read_noise *= np.float32(self.read_noise_e)
        seen += read_noise
        return seen

    def _digitise(self, electrons: NDArray[np.float32]) -> NDArray[np.uint16]:
        # Overwrites electrons.
        electrons *= np.float32(1.0 / self.gain_e_per_adu)
        electrons += np.float32(self.offset_adu + 0.5)
        np.clip(electrons, 0, self.saturation_adu, out=electrons)
        return electrons.astype(np.uint16)
