"""Single emitters from the maps of localisation models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from smartscope.vision.decode._points import find_peaks

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Of DECODE: what may be the middle of an emitter, and what is one of its own beside
# a brighter neighbour.
_CANDIDATE = 0.3
_SPLIT = 0.6
_CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.float32)
_SQUARE = np.ones((3, 3), np.uint8)
# Half side of the window in which a peak of density is weighed, upsampled pixels.
_REACH = 2


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Emitters:
    """Emitters found in one frame, one row each, in raster order.

    Attributes
    ----------
    y_px, x_px : ndarray (n,) float64
        Camera pixels.
    prob : ndarray (n,) float64
        How sure the model is that there is one; of a density its height.
    photons : ndarray (n,) float64
        In the model's unit; of a density its sum over the peak.
    z_um, background, sigma_photons, sigma_y_px, sigma_x_px, sigma_z_um : or None
        ``(n,)`` float64; None where the model gives none.
    """

    y_px: NDArray[np.float64]
    x_px: NDArray[np.float64]
    prob: NDArray[np.float64]
    photons: NDArray[np.float64]
    z_um: NDArray[np.float64] | None = None
    background: NDArray[np.float64] | None = None
    sigma_photons: NDArray[np.float64] | None = None
    sigma_y_px: NDArray[np.float64] | None = None
    sigma_x_px: NDArray[np.float64] | None = None
    sigma_z_um: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.y_px)


def maps_to_emitters(maps: NDArray[np.float32], *, threshold: float) -> Emitters:
    """Emitters of a DECODE model (Speiser et al. 2021), by spatial integration.

    An emitter between pixels shares its probability among them. So a candidate is the
    maximum of its 3 x 3 pixels, if above 0.3, and its probability the sum over itself
    and its four neighbours; a pixel above 0.6 that is no maximum is an emitter of its
    own, close to a surer one. Those whose summed probability is above `threshold` are
    given, each at its pixel plus that pixel's offsets.

    Parameters
    ----------
    maps : ndarray (10, y, x) float32
        Probability; photons; offsets x and y, pixels; z, um; the standard deviations of
        photons, x, y and z; background.
    threshold : float
        The authors take 0.7.
    """
    prob = maps[0]
    if prob.size == 0:
        return _emitters(
            maps, np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
        )
    y, x = find_peaks(prob, _CANDIDATE, 0.0)
    chosen = np.zeros(prob.shape, np.bool_)
    chosen[y, x] = True
    chosen |= prob > _SPLIT
    mass = cv2.filter2D(prob, cv2.CV_32F, _CROSS, borderType=cv2.BORDER_CONSTANT)
    y, x = np.nonzero(chosen & (mass > threshold))
    return _emitters(maps, y, x, np.minimum(mass[y, x], 1.0))


def _emitters(
    maps: NDArray[np.float32],
    y: NDArray[np.int64],
    x: NDArray[np.int64],
    prob: NDArray[Any],
) -> Emitters:
    at = maps[:, y, x].astype(np.float64)
    return Emitters(
        y_px=y + at[3],
        x_px=x + at[2],
        prob=prob.astype(np.float64),
        photons=at[1],
        z_um=at[4],
        background=at[9],
        sigma_photons=at[5],
        sigma_y_px=at[7],
        sigma_x_px=at[6],
        sigma_z_um=at[8],
    )


def density_to_emitters(
    density: NDArray[np.float32], *, upsampling: int, threshold: float
) -> Emitters:
    """Emitters of a model that paints them, as Deep-STORM (Nehme et al. 2018, 2020).

    Peaks of the density above `threshold`, the highest of their 5 x 5 upsampled
    pixels, each at the centre of gravity of these.

    Parameters
    ----------
    density : ndarray (y * upsampling, x * upsampling) float32
    upsampling : int
        Its pixels per camera pixel.
    """
    y, x = find_peaks(density, threshold, _REACH + 1)
    # The corners of its window are the farthest that a peak may be moved.
    padded = np.pad(np.maximum(density, 0.0), _REACH)
    reach = np.arange(2 * _REACH + 1)
    window = padded[y[:, None, None] + reach[:, None], x[:, None, None] + reach]
    total = window.sum(axis=(1, 2), dtype=np.float64)
    weight = np.where(total > 0, total, 1.0)
    dy = (window.sum(axis=2) @ (reach - _REACH)) / weight
    dx = (window.sum(axis=1) @ (reach - _REACH)) / weight
    return Emitters(
        y_px=(y + dy + 0.5) / upsampling - 0.5,
        x_px=(x + dx + 0.5) / upsampling - 0.5,
        prob=density[y, x].astype(np.float64),
        photons=total,
    )
