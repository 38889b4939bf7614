"""Spots in recordings of scenes that stand still: many frames tell where they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from smartscope.training._denoise import static_scenes
from smartscope.training._spots import peaks
from smartscope.training._spots_rivals import laplace_map
from smartscope.training._spots_scenes import LEAST_SNR, Scene

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SIGMA_PX, _HEIGHT = 1.3, 6.0
_AROUND_PX = 11


def recorded_scenes(stack: NDArray[Any]) -> list[Scene]:
    """Single frames, with the spots that the mean of the frames around them shows.

    A spot is a peak of the Laplacian of a Gaussian of that mean, far above what is left
    of the noise there, that stands out from its surroundings by `LEAST_SNR` times the
    noise of a single frame.

    Parameters
    ----------
    stack : ndarray (t, y, x)
        A scene that stands still over 20 frames.
    """
    return [_scene(frame, mean) for frame, mean in static_scenes(stack)]


def _scene(frame: NDArray[Any], mean: NDArray[np.float64]) -> Scene:
    noise = float(np.std(frame - mean))
    points = peaks(laplace_map(mean, _SIGMA_PX), _HEIGHT)
    # A point response as wide as the spot: its pixels share their noise.
    smooth = ndimage.gaussian_filter(mean, 0.7)
    above = smooth - ndimage.median_filter(smooth, _AROUND_PX)
    y, x = np.rint(points).astype(int).T
    snr = above[y, x] / noise
    seen = snr >= LEAST_SNR
    return Scene(frame, points[seen], snr[seen], _SIGMA_PX)
