"""Focus: how sharp the image is, whatever its brightness and its noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import NonNegativeFloat, PositiveFloat  # noqa: TC002 - read at run time
from scipy import ndimage

from smartscope.vision._stage import Stage, StageConfig, Workspace

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WIDE = 12
"""What is larger than so many details is background."""


class FocusConfig(StageConfig):
    """Settings of `focus`.

    Attributes
    ----------
    detail_um : float
        Size of what blurs first, um: about the resolution of the objective.
    min_contrast : float
        Without so much contrast, in sigmas of the pixel noise, there is nothing to
        focus on and nothing is measured.
    """

    detail_um: PositiveFloat = 0.8
    min_contrast: NonNegativeFloat = 0.3


class Focus(Stage[FocusConfig, None]):
    """Measures how sharp the frame is.

    Per frame: ``focus``, 0..2, by how much pixels `detail_um` apart differ: their mean
    squared difference over the variance of the picture. It depends neither on
    brightness nor, on average, on noise. Its reciprocal is a parabola of the defocus,
    as far as the blur grows like that of a Gaussian beam. ``focus_contrast`` is that of
    the picture over its pixel noise. An empty field has no ``focus``.

    A squared gradient over a distance is that of Brenner et al., J. Histochem.
    Cytochem. 24, 100 (1976); its reciprocal as a parabola: Yazdanfar et al., Optics
    Express 16, 8670 (2008), https://doi.org/10.1364/OE.16.008670. Products of
    neighbours in place of squares keep the noise out.
    """

    Config: ClassVar[type[StageConfig]] = FocusConfig

    def features(self) -> frozenset[str]:
        """None."""
        return frozenset()

    def process(self, work: Workspace, state: Any) -> None:
        """Add the measurements of this frame."""
        image = work.flat(self.input)
        detail_px = max(1, round(work.px(self.config.detail_um)))
        if min(image.shape) < 4 * detail_px:
            return
        wide = ndimage.uniform_filter(image, 2 * _WIDE * detail_px + 1, mode="nearest")
        sharp, contrast = sharpness(image - wide, detail_px)
        work.measurements["focus_contrast"] = contrast
        if contrast >= self.config.min_contrast and np.isfinite(sharp):
            work.measurements["focus"] = sharp


def sharpness(image: NDArray[np.float32], detail_px: int) -> tuple[float, float]:
    """Sharpness of a picture, and its contrast over its noise.

    Parameters
    ----------
    image : ndarray (y, x)
        Without its background.
    detail_px : int
        Distance over which differences count.

    Returns
    -------
    sharp : float
        1 less the correlation over this distance; NaN where nothing is correlated.
    contrast : float
        Standard deviation of the picture over that of its noise.
    """
    energy, details = 0.0, 0.0
    for one in (image, image.T):
        change = one[:, detail_px:] - one[:, :-detail_px]
        # Noise differs from row to row, so it drops out of these products.
        energy += float(np.mean(one[1:] * one[:-1])) / 2
        details += float(np.mean(change[1:] * change[:-1])) / 4
    noise2 = max(float(np.mean(image * image)) - energy, 1e-3)
    contrast = float(np.sqrt(max(energy, 0.0) / noise2))
    sharp = details / energy if energy > 0 else float("nan")
    return sharp, contrast
