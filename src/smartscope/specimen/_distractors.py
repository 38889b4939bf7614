"""What is in the picture and is not the sample: it drifts, bleaches, means nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from smartscope.specimen._picture import Picture


class Draw(Protocol):
    """Paints distractors."""

    def __call__(
        self, xyz_um: NDArray[np.float64], left: NDArray[np.float64], picture: Picture
    ) -> None:
        """Paint them at (n, 3), with the share (n,) of fluorescence that is left."""


@dataclass(frozen=True, slots=True, eq=False)
class Distractors:
    """Some of one sort.

    Attributes
    ----------
    xyz_um : ndarray (n, 3)
        At the start, in the sample without drift.
    velocity_um_s : ndarray (n, 2)
        Of their own.
    area_um : (x, y)
        What leaves this area around (0, 0) comes in again at the other side.
    draw : Draw
    """

    xyz_um: NDArray[np.float64]
    velocity_um_s: NDArray[np.float64]
    area_um: tuple[float, float]
    draw: Draw

    def __len__(self) -> int:
        return len(self.xyz_um)

    def at(self, t_s: float) -> NDArray[np.float64]:
        """Where they are, (n, 3)."""
        size = np.array(self.area_um)
        moved = self.xyz_um[:, :2] + self.velocity_um_s * t_s
        inside = np.mod(moved + size / 2, size) - size / 2
        return np.concatenate([inside, self.xyz_um[:, 2:]], axis=1)
