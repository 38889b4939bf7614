"""Images for networks that bring none: made up, in camera counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_REACH_PX = 48
"""Beyond it an object adds less than a thousandth of a count."""


def synthetic_image(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.uint16]:
    """Round bright objects on uneven ground, with photon noise: camera counts.

    Parameters
    ----------
    shape : tuple of int
        ``(y, x)``, ``(c, y, x)`` or ``(c, z, y, x)``.
    """
    random = np.random.default_rng(seed)
    height, width = shape[-2:]
    y, x = np.ogrid[:height, :width]
    clean: NDArray[Any] = 100 + 20 * np.sin(y / 37) * np.cos(x / 53)
    for _ in range(max(3, height * width // 1700)):
        at_y, at_x = random.uniform(0, height), random.uniform(0, width)
        radius = random.uniform(3, 9)
        rows = slice(max(0, int(at_y) - _REACH_PX), int(at_y) + _REACH_PX)
        columns = slice(max(0, int(at_x) - _REACH_PX), int(at_x) + _REACH_PX)
        distance = np.hypot(y[rows] - at_y, x[:, columns] - at_x)
        bright = random.uniform(100, 500)
        clean[rows, columns] += bright / (1 + np.exp(distance - radius))
    return random.poisson(np.broadcast_to(clean, shape)).astype(np.uint16)
