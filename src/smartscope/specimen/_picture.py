"""The picture a kind paints on: where things land on the sensor, and how bright."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from smartscope.specimen._biology import EXCITATION
from smartscope.specimen._paint import Ellipses, paint_ellipses
from smartscope.specimen._paint_lines import paint_lines
from smartscope.specimen._paint_outlines import paint_outline
from smartscope.specimen._paint_spots import paint_gaussians, paint_spots

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from smartscope.core import PixelMap
    from smartscope.specimen._biology import Light
    from smartscope.specimen._sample import Sample

_DISC = np.sqrt(12.0)
"""A pixel averages over its square: a variance of side squared over 12."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Part of an exposure in which all stands still; positions are with drift.

    Sizes are in um of the sample, brightness in electrons per image pixel. Defocus is
    seen to here: each thing is blurred by how far it is from the focus.

    Attributes
    ----------
    canvas : ndarray (y, x) float32
        Expected electrons; vignetting and light patterns are applied afterwards.
    sample : Sample
    pixel_map : PixelMap
    stage_um : (x, y, z)
        Where stage and focus really are.
    magnification : float
    binning : int
    channel : str or None
        Channel preset.
    content : str
        What it shows, one of `Sample.contents`.
    full_ms : mapping of role to float
        Milliseconds of full light at the centre of the field (where a pattern is
        bright), by role.
    light : Light
        Percent-seconds that each point receives during this part.
    lasts_s : float
        Length of this part; `Moment.now` is its middle. What changes fast, but stays
        in its place, is painted as its mean over it.
    """

    canvas: NDArray[np.float32]
    sample: Sample
    pixel_map: PixelMap
    stage_um: tuple[float, float, float]
    magnification: float
    binning: int
    channel: str | None
    content: str
    full_ms: Mapping[str, float]
    light: Light
    lasts_s: float

    def photons(self, per_ms: float, role: str = EXCITATION) -> float:
        """Electrons per image pixel of a thing that gives `per_ms` in full light.

        Counts light, binning and `Sample.channel_brightness`.
        """
        full = per_ms * self.full_ms[role] * self.binning**2
        return full * self.sample.channel_brightness.get(self.channel or "", 1.0)

    def blur_um(self, z_um: NDArray[np.float64]) -> NDArray[np.float64]:
        """Standard deviation of the point-spread function for things at `z_um`."""
        return self.sample.blur_um(z_um - self.stage_um[2], self.magnification)

    def to_image(self, xy_um: NDArray[np.float64]) -> NDArray[np.float64]:
        """``(y, x)`` image pixels of sample positions ``(x, y)``, (n, 2)."""
        return self.pixel_map.to_image(xy_um, *self.stage_um[:2])

    def ellipses(
        self,
        xyz_um: NDArray[np.float64],
        *,
        long_um: ArrayLike,
        short_um: ArrayLike,
        angle: ArrayLike = 0.0,
        peak: ArrayLike,
        texture: ArrayLike = 0.0,
        tile: ArrayLike = 0,
    ) -> None:
        """Paint filled ellipses, (n, 3) centres.

        Parameters
        ----------
        long_um, short_um : (n,)
            Semi-axes.
        angle : (n,)
            Of the long axis in the sample, rad.
        peak : (n,)
            Electrons per pixel inside, without blur.
        texture, tile : (n,)
            0 smooth to 1 full chromatin, and which.
        """
        n = len(xyz_um)
        shapes = Ellipses(
            x_um=xyz_um[:, 0],
            y_um=xyz_um[:, 1],
            long_um=_column(long_um, n),
            short_um=_column(short_um, n),
            angle=_column(angle, n),
            blur_um=self.blur_um(xyz_um[:, 2]),
            peak=_column(peak, n),
            texture=_column(texture, n),
            tile=np.broadcast_to(np.asarray(tile, np.int64), (n,)),
        )
        paint_ellipses(self.canvas, shapes, self.pixel_map, self.stage_um[:2])

    def glows(
        self, xyz_um: NDArray[np.float64], *, sigma_um: ArrayLike, peak: ArrayLike
    ) -> None:
        """Paint wide soft Gaussians, (n, 3): bodies, haze, out-of-focus light.

        Parameters
        ----------
        peak : (n,)
            Electrons per pixel in the middle, without blur; blur keeps the sum.
        """
        n = len(xyz_um)
        body = _column(sigma_um, n)
        spread = np.hypot(body, self.blur_um(xyz_um[:, 2]))
        paint_gaussians(
            self.canvas,
            self.to_image(xyz_um[:, :2]),
            spread / self.pixel_map.pixel_um,
            _column(peak, n) * (body / spread) ** 2,
        )

    def spots(
        self,
        xyz_um: NDArray[np.float64],
        *,
        total: ArrayLike,
        sigma_um: ArrayLike = 0.0,
    ) -> None:
        """Paint small spots, (n, 3): molecules, vesicles.

        Parameters
        ----------
        total : (n,)
            Electrons of the whole spot.
        sigma_um : (n,)
            Its own size; 0 is a point.
        """
        n = len(xyz_um)
        pixel_um = self.pixel_map.pixel_um
        spread = np.hypot(self.blur_um(xyz_um[:, 2]), _column(sigma_um, n))
        paint_spots(
            self.canvas,
            self.to_image(xyz_um[:, :2]),
            np.hypot(spread, pixel_um / _DISC) / pixel_um,
            _column(total, n),
        )

    def lines(
        self,
        start_um: NDArray[np.float64],
        end_um: NDArray[np.float64],
        *,
        width_um: ArrayLike,
        per_um: ArrayLike,
    ) -> None:
        """Paint straight pieces of filaments, (n, 3) ends; joints add up seamlessly.

        Parameters
        ----------
        width_um : (n,)
            Full width; the cross-section is a Gaussian of a quarter of it.
        per_um : (n,)
            Electrons per um of length.
        """
        n = len(start_um)
        pixel_um = self.pixel_map.pixel_um
        middle_z = 0.5 * (start_um[:, 2] + end_um[:, 2])
        spread = np.hypot(self.blur_um(middle_z), _column(width_um, n) / 4)
        paint_lines(
            self.canvas,
            self.to_image(start_um[:, :2]),
            self.to_image(end_um[:, :2]),
            np.hypot(spread, pixel_um / _DISC) / pixel_um,
            _column(per_um, n) * pixel_um,
        )

    def outlines(
        self,
        outlines_um: Sequence[NDArray[np.float64]],
        *,
        z_um: NDArray[np.float64],
        peak: ArrayLike,
    ) -> None:
        """Paint filled closed outlines, each (k, 2) corners in order.

        Parameters
        ----------
        z_um : ndarray (n,)
        peak : (n,)
            Electrons per pixel inside, without blur.
        """
        blur_px = self.blur_um(z_um) / self.pixel_map.pixel_um
        peaks = _column(peak, len(outlines_um))
        for outline, blur, level in zip(outlines_um, blur_px, peaks, strict=True):
            paint_outline(
                self.canvas, self.to_image(outline), float(blur), float(level)
            )


def _column(value: ArrayLike, n: int) -> NDArray[np.float64]:
    return np.broadcast_to(np.asarray(value, np.float64), (n,))
