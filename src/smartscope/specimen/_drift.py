"""Drift of the sample against stage and focus: steady, and a random walk."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from smartscope.specimen._random import mix, normal, seed_key

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from smartscope.specimen._sample import Sample


@dataclass(frozen=True, slots=True, eq=False)
class Drift:
    """Drift through one step; the walk goes straight within it.

    Attributes
    ----------
    walk_um, next_walk_um : ndarray (3,)
        Random part at its start and at its end.
    """

    sample: Sample
    seed: int
    step_s: float
    number: int
    walk_um: NDArray[np.float64]
    next_walk_um: NDArray[np.float64]

    @classmethod
    def at_start(cls, sample: Sample, seed: int, step_s: float) -> Drift:
        """Drift through the first step."""
        nowhere = np.zeros(3)
        next_walk = nowhere + _jitter(sample, seed, step_s, 0)
        return cls(sample, seed, step_s, 0, nowhere, next_walk)

    def next(self) -> Drift:
        """Drift through the following step."""
        number, walk = self.number + 1, self.next_walk_um
        return replace(
            self,
            number=number,
            walk_um=walk,
            next_walk_um=walk + _jitter(self.sample, self.seed, self.step_s, number),
        )

    def at(self, after_s: float) -> NDArray[np.float64]:
        """``(x, y, z)`` um, some time into the step."""
        share = after_s / self.step_s
        walk = self.walk_um + (self.next_walk_um - self.walk_um) * share
        t_s = self.number * self.step_s + after_s
        return np.asarray(np.array(self.sample.drift_um_s) * t_s + walk)


def _jitter(
    sample: Sample, seed: int, step_s: float, number: int
) -> NDArray[np.float64]:
    """Random part of a step."""
    size_um = sample.drift_noise_um
    if not any(size_um):
        return np.zeros(3)
    axes = mix(seed_key(seed, 3), 99)
    return np.asarray(np.array(size_um) * math.sqrt(step_s / 60) * normal(axes, number))
