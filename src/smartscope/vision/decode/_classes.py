"""Class scores to a class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def classes_of(scores: NDArray[Any], *, softmax: bool = False) -> tuple[int, float]:
    """Index and confidence of the best class.

    Parameters
    ----------
    scores : ndarray (classes,) or with further axes of length 1
        At least one class.
    softmax : bool
        The scores are logits: confidence is their softmax. Otherwise they are taken
        as they are.

    Returns
    -------
    index : int
        The first of equal ones.
    confidence : float
    """
    flat = np.asarray(scores, dtype=np.float64).ravel()
    best = int(np.argmax(flat))
    if not softmax:
        return best, float(flat[best])
    return best, float(1.0 / np.exp(flat - flat[best]).sum())
