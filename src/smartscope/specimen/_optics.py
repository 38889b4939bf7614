"""The true optics: what the sample looks like from the sensor.

They are the specimen's own, so a rig's calibration can be right or wrong about them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveFloat

from smartscope.core import compose_pixel_map, image_to_sensor
from smartscope.specimen._parameters import Parameters

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from smartscope.core import Matrix, PixelMap
    from smartscope.specimen._view import SpecimenView

_REFERENCE_MAGNIFICATION = 10.0


class Optics(Parameters):
    """Parameters of every kind that is seen through a widefield microscope.

    Attributes
    ----------
    sensor_um_per_px : float
        Side of an unbinned sensor pixel in the sample at 10x; scales with 10/mag.
    rotation_deg : float
        Turn of the camera against the stage axes.
    mirror : bool
        The image is mirrored left to right (before the turn).
    psf_um : float
        Standard deviation of the point-spread function in focus at 10x; scales with
        10/mag.
    depth_of_field_um : float
        Defocus at which the point-spread function is wider by the square root of
        two, at 10x; scales with 10/mag. Far from focus the blur grows in proportion.
    vignetting : float
        Fraction of the light missing at the corners of the sensor.
    excitation : mapping of light line to float
        How strongly each line excites; 1 where not named.
    bleaching, harm : mapping of light line to float, or None
        How strongly each line bleaches and harms; None is as it excites.
    activation : mapping of light line to float
        How strongly each line activates (switches on, steers); 0 where not named.
    transmission : mapping of light line to float
        How strongly each line shines through a label-free channel; 1 where not named.
    stage_wobble_um : float
        The stage trembles around where it says it is (root mean square per axis).
    stage_settle_um, stage_settle_ms, stage_settle_hz : float
        After a move the stage swings along its way around the target: first
        amplitude (never more than the way it came), time constant of the decay, and
        frequency.
    """

    sensor_um_per_px: PositiveFloat = 1.0
    rotation_deg: float = 0.0
    mirror: bool = False
    psf_um: PositiveFloat = 0.8
    depth_of_field_um: PositiveFloat = 4.0
    vignetting: float = Field(0.1, ge=0, le=0.9)
    excitation: dict[str, NonNegativeFloat] = Field(default_factory=dict)
    bleaching: dict[str, NonNegativeFloat] | None = None
    harm: dict[str, NonNegativeFloat] | None = None
    activation: dict[str, NonNegativeFloat] = Field(default_factory=dict)
    transmission: dict[str, NonNegativeFloat] = Field(default_factory=dict)
    stage_wobble_um: NonNegativeFloat = 0.0
    stage_settle_um: NonNegativeFloat = 0.0
    stage_settle_ms: PositiveFloat = 60.0
    stage_settle_hz: NonNegativeFloat = 20.0

    def true_affine(self, magnification: float) -> Matrix:
        """Um per unbinned sensor pixel, sign convention of `smartscope.core`."""
        scale = self.sensor_um_per_px * _REFERENCE_MAGNIFICATION / magnification
        angle = math.radians(self.rotation_deg)
        cos, sin = scale * math.cos(angle), scale * math.sin(angle)
        flip = -1.0 if self.mirror else 1.0
        return ((flip * cos, -sin), (flip * sin, cos))

    def pixel_map(self, view: SpecimenView, magnification: float) -> PixelMap:
        """Where the pixels of this view truly lie in the sample."""
        return compose_pixel_map(
            self.true_affine(magnification),
            sensor_shape=view.sensor_shape,
            roi=view.roi,
            binning=view.binning,
            orientation=view.orientation,
        )

    def blur_um(
        self, defocus_um: NDArray[np.float64], magnification: float
    ) -> NDArray[np.float64]:
        """Standard deviation of the point-spread function in the sample.

        The width follows that of a Gaussian beam around its waist; the total number
        of photons does not depend on it, as in a widefield microscope.
        """
        scale = _REFERENCE_MAGNIFICATION / magnification
        relative = defocus_um / (self.depth_of_field_um * scale)
        return np.asarray(self.psf_um * scale * np.hypot(1.0, relative))

    def irradiance(
        self,
        offset_um: NDArray[np.float64],
        sensor_shape: tuple[int, int],
        magnification: float,
    ) -> NDArray[np.float64]:
        """Share of the central light at points of the sample; 0 outside the field.

        Parameters
        ----------
        offset_um : ndarray (n, 2)
            ``(x, y)`` from the stage position.
        """
        inverse = np.linalg.inv(np.asarray(self.true_affine(magnification)))
        half = np.array([sensor_shape[1] / 2, sensor_shape[0] / 2])
        relative = offset_um @ inverse.T / half
        inside = (np.abs(relative) <= 1.0).all(axis=1)
        corner2 = float(half @ half)
        loss = self.vignetting * ((relative * half) ** 2).sum(axis=1) / corner2
        return np.where(inside, 1.0 - loss, 0.0)

    def flat_field(
        self, view: SpecimenView
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        """Share of the central light at image pixels; None is even.

        Returns
        -------
        down, across : ndarray (y,), (x,) float32
            Their sum is the share at ``(y, x)``.
        """
        if self.vignetting == 0:
            return None
        matrix, shift = image_to_sensor(
            roi=view.roi, binning=view.binning, orientation=view.orientation
        )
        height, width = view.sensor_shape
        centre = np.array([(width - 1) / 2, (height - 1) / 2])
        # Each sensor axis depends on one image axis only, so the sum of squares
        # splits into a row and a column.
        along_x = np.arange(view.shape[1])[:, None] * matrix[:, 0]
        along_y = np.arange(view.shape[0])[:, None] * matrix[:, 1]
        used_x, used_y = np.abs(matrix[:, 0]) > 0, np.abs(matrix[:, 1]) > 0
        offset = shift - centre
        row = ((along_x + offset) ** 2)[:, used_x].sum(axis=1)
        column = ((along_y + offset) ** 2)[:, used_y].sum(axis=1)
        weight = self.vignetting / float((width / 2) ** 2 + (height / 2) ** 2)
        across = (0.5 - weight * row).astype(np.float32)
        down = (0.5 - weight * column).astype(np.float32)
        return down, across

    def wobble(self, seed: int, t_s: float) -> tuple[float, float]:
        """Tremble of the stage at a moment, um."""
        if self.stage_wobble_um == 0:
            return 0.0, 0.0
        phase = float(seed % 1000)
        # Two incommensurate tones per axis; each sine has a mean square of 1/2.
        x = math.sin(19.1 * t_s + phase) + math.sin(44.3 * t_s + 2 * phase)
        y = math.sin(23.7 * t_s + 3 * phase) + math.sin(39.9 * t_s + 5 * phase)
        return self.stage_wobble_um * x, self.stage_wobble_um * y
