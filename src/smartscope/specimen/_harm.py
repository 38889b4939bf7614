"""What light does to objects, the same for every kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def unbleached(dose: NDArray[np.float64], half_dose: float) -> NDArray[np.float64]:
    """Fraction of the fluorescence that is left after `dose`: exponential decay."""
    return np.asarray(np.exp2(-dose / half_dose))


def mean_unbleached(
    dose: NDArray[np.float64], received: NDArray[np.float64], half_dose: float
) -> NDArray[np.float64]:
    """Mean of the exponential decay while `received` is added to `dose`."""
    decay = received * np.log(2.0) / half_dose
    mean = np.where(decay > 1e-9, -np.expm1(-decay) / np.maximum(decay, 1e-9), 1.0)
    return np.asarray(unbleached(dose, half_dose) * mean)


def vigour(dose: NDArray[np.float64], harm_dose: float) -> NDArray[np.float64]:
    """1 up to `harm_dose`, falling to 0 at twice that, where an object dies."""
    return np.asarray(np.clip(2.0 - dose / harm_dose, 0.0, 1.0))
