"""Random numbers that belong to a cell and a moment, not to the order of calls.

Each number is a hash of its key and salts, so one cell's walk does not depend on how
many others there are, on the light, or on how often anybody looked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = 0xFFFFFFFFFFFFFFFF


def mix(key: NDArray[np.uint64], salt: int) -> NDArray[np.uint64]:
    """Hash each key with `salt` (the finaliser of SplitMix64, Steele et al. 2014).

    Parameters
    ----------
    key : ndarray (n,) uint64
        At least one-dimensional: numpy warns of overflow on scalars only.
    """
    z = key + np.uint64((_GOLDEN * (salt + 1)) & _MASK)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)))


def uniform(key: NDArray[np.uint64], salt: int) -> NDArray[np.float64]:
    """One number in ``[0, 1)`` for each key."""
    return np.asarray((mix(key, salt) >> np.uint64(11)) * 2.0**-53)


def normal(key: NDArray[np.uint64], salt: int) -> NDArray[np.float64]:
    """One standard normal number for each key (Box-Muller)."""
    hashed = mix(key, salt)
    radius = np.sqrt(-2.0 * np.log1p(-uniform(hashed, 1)))
    return np.asarray(radius * np.cos(2.0 * np.pi * uniform(hashed, 2)))


def seed_key(seed: int, count: int) -> NDArray[np.uint64]:
    """`count` different keys for one seed."""
    start = mix(np.array([seed & _MASK], dtype=np.uint64), 0)
    count_up = np.arange(count, dtype=np.uint64)
    return mix(np.asarray(start + count_up, dtype=np.uint64), 1)
