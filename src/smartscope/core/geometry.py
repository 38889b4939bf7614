"""Where an image pixel lies in the sample: the one place where this is composed.

Conventions
-----------
Image points are ``(y, x)`` in pixels, the centre of the first pixel at ``(0, 0)``.
Sample points are ``(x_um, y_um)`` in stage coordinates: *the stage position at which
the thing would lie on the reference pixel*. So moving the stage to the sample
coordinates of a cell centres it, whatever the signs of stage and camera are.

The calibrated affine ``[[a, b], [c, d]]`` (um per *sensor* pixel) maps a sensor
offset ``(dx, dy)`` from the sensor centre to a sample offset:
``dX = a*dx + b*dy``, ``dY = c*dx + d*dy``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Matrix = tuple[tuple[float, float], tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Roi:
    """A sub-region of the camera chip, in *sensor* pixels (unbinned)."""

    x_px: int
    y_px: int
    width_px: int
    height_px: int


@dataclass(frozen=True, slots=True)
class Orientation:
    """How the driver turns the sensor image before it hands it over.

    Applied in this order, as Micro-Manager does: transpose (swap x and y), then
    mirror in x, then mirror in y.
    """

    transpose: bool = False
    mirror_x: bool = False
    mirror_y: bool = False


UPRIGHT = Orientation()
"""The image as the sensor saw it."""


@dataclass(frozen=True, slots=True)
class PixelMap:
    """Maps image pixels of one frame geometry to sample coordinates.

    Attributes
    ----------
    matrix : 2 x 2 floats
        um per *image* pixel: ``(dX, dY) = matrix @ (dx, dy)``.
    origin_px : (float, float)
        ``(x, y)`` image pixel that shows the point at the stage position (the
        sensor centre; it may lie outside of an off-centre ROI).
    """

    matrix: Matrix
    origin_px: tuple[float, float]

    @property
    def pixel_um(self) -> float:
        """Side of one image pixel in the sample, um (geometric mean of both axes)."""
        (a, b), (c, d) = self.matrix
        return float(np.sqrt(abs(a * d - b * c)))

    def to_sample(
        self, points_yx: ArrayLike, stage_x_um: float, stage_y_um: float
    ) -> NDArray[np.float64]:
        """Sample coordinates of image points.

        Parameters
        ----------
        points_yx : array-like, shape (n, 2) or (2,)
            Image points ``(y, x)`` in pixels.
        stage_x_um, stage_y_um : float
            Stage position while the frame was exposed, um.

        Returns
        -------
        ndarray, shape as `points_yx`, float64
            ``(x_um, y_um)`` of each point.
        """
        points = np.asarray(points_yx, dtype=np.float64)
        offset_xy = points[..., ::-1] - np.asarray(self.origin_px)
        stage = np.array([stage_x_um, stage_y_um])
        return np.asarray(offset_xy @ np.asarray(self.matrix).T + stage)

    def to_image(
        self, sample_xy_um: ArrayLike, stage_x_um: float, stage_y_um: float
    ) -> NDArray[np.float64]:
        """Image points ``(y, x)`` in pixels of sample points ``(x_um, y_um)``.

        Inverse of `to_sample`; same shapes.
        """
        sample = np.asarray(sample_xy_um, dtype=np.float64)
        offset = sample - np.array([stage_x_um, stage_y_um])
        inverse = np.linalg.inv(np.asarray(self.matrix))
        xy = offset @ inverse.T + np.asarray(self.origin_px)
        return np.asarray(xy[..., ::-1])

    def centre_sample(
        self, shape_yx: tuple[int, int], stage_x_um: float, stage_y_um: float
    ) -> tuple[float, float]:
        """Sample coordinates ``(x_um, y_um)`` of the middle of an image."""
        height, width = shape_yx
        x_um, y_um = self.to_sample(
            ((height - 1) / 2, (width - 1) / 2), stage_x_um, stage_y_um
        )
        return float(x_um), float(y_um)


UNCALIBRATED = PixelMap(((1.0, 0.0), (0.0, 1.0)), (0.0, 0.0))
"""Stands where no calibration exists: 1 um per pixel, origin at the first pixel."""


def image_to_sensor(
    *, roi: Roi, binning: int, orientation: Orientation
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Affine from image pixels ``(x, y)`` to sensor pixels: ``sensor = m @ xy + t``.

    Parameters
    ----------
    roi : Roi
        In unbinned sensor pixels.
    binning : int
        Sensor pixels per image pixel along each axis, >= 1.
    orientation : Orientation
        What the driver did to the read-out image.
    """
    # What is left over at the far edges is not read out, so no mirror counts it.
    width, height = roi.width_px // binning, roi.height_px // binning
    if orientation.transpose:
        width, height = height, width
    matrix = np.eye(2)
    shift = np.zeros(2)
    # Undo in reverse order: mirror y, mirror x, transpose.
    if orientation.mirror_y:
        matrix = np.diag([1.0, -1.0]) @ matrix
        shift = np.diag([1.0, -1.0]) @ shift + [0, height - 1]
    if orientation.mirror_x:
        matrix = np.diag([-1.0, 1.0]) @ matrix
        shift = np.diag([-1.0, 1.0]) @ shift + [width - 1, 0]
    if orientation.transpose:
        swap = np.array([[0.0, 1.0], [1.0, 0.0]])
        matrix, shift = swap @ matrix, swap @ shift
    # The centre of a binned pixel lies between the sensor pixels it sums.
    matrix = matrix * binning
    shift = shift * binning + (binning - 1) / 2 + [roi.x_px, roi.y_px]
    return matrix, shift


def compose_pixel_map(
    affine: Matrix,
    *,
    sensor_shape: tuple[int, int],
    roi: Roi,
    binning: int = 1,
    orientation: Orientation | None = None,
) -> PixelMap:
    """Compose the calibrated affine with ROI offset, binning, transpose and mirror.

    Parameters
    ----------
    affine : 2 x 2 floats
        um per unbinned sensor pixel, see the module text for the sign convention.
    sensor_shape : (height, width)
        Unbinned sensor size in pixels.
    roi : Roi
        Region read out, in unbinned sensor pixels.
    binning : int
        Sensor pixels per image pixel along each axis.
    orientation : Orientation, optional
        What the driver does to the image; default nothing.
    """
    to_sensor, shift = image_to_sensor(
        roi=roi, binning=binning, orientation=orientation or UPRIGHT
    )
    centre = np.array([(sensor_shape[1] - 1) / 2, (sensor_shape[0] - 1) / 2])
    matrix = np.asarray(affine, dtype=np.float64) @ to_sensor
    origin = np.linalg.solve(to_sensor, centre - shift)
    (a, b), (c, d) = matrix.tolist()
    return PixelMap(((a, b), (c, d)), (float(origin[0]), float(origin[1])))
