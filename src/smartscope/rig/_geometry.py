"""Which part of the chip the camera reads out, and how: the image geometry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from smartscope.core import (
    HardwareError,
    Orientation,
    PixelMap,
    Roi,
    compose_pixel_map,
    image_to_sensor,
)

if TYPE_CHECKING:
    from smartscope.config import Calibration
    from smartscope.core import Matrix
    from smartscope.rig._port import Port

_TRANSPOSE = ("TransposeXY", "TransposeMirrorX", "TransposeMirrorY")
_CORRECTED = "TransposeCorrection"
GEOMETRY_PROPERTIES = ("Binning", *_TRANSPOSE, _CORRECTED)


@dataclass(frozen=True, slots=True)
class Geometry:
    """How the image relates to the chip.

    Attributes
    ----------
    roi : Roi
        Region read out, unbinned sensor pixels.
    binning : int
    orientation : Orientation
    """

    roi: Roi
    binning: int
    orientation: Orientation


class CameraGeometry:
    """Reads and converts the geometry of one camera.

    Adapters take and give the ROI in *binned* pixels; everything of ours is in sensor
    pixels, so this is the one place that multiplies and divides.
    """

    def __init__(self, port: Port, camera: str) -> None:
        self._port = port
        self._camera = camera
        names = set(port.core.getDevicePropertyNames(camera))
        self._present = [name for name in GEOMETRY_PROPERTIES if name in names]
        self.sensor_shape = self._measure_sensor()

    def read(self) -> Geometry:
        """Ask the camera for its geometry."""
        values = {
            name: self._port.get_property(self._camera, name) for name in self._present
        }
        binning = _binning_of(values.get("Binning", "1"))
        # A camera that corrects its images delivers them as the chip saw them.
        raw = values.get(_CORRECTED, "0") == "0"
        flags = [raw and values.get(name, "0") == "1" for name in _TRANSPOSE]
        return Geometry(
            scaled(self._port.get_roi(self._camera), binning),
            binning,
            Orientation(*flags),
        )

    def binned(self, roi: Roi, binning: int) -> Roi:
        """Convert sensor pixels to the adapter's, refusing what is not on the chip.

        Raises
        ------
        HardwareError
            If the region leaves the chip or does not fall on whole binned pixels.
        """
        height, width = self.sensor_shape
        box = (roi.x_px, roi.y_px, roi.width_px, roi.height_px)
        if (
            min(roi.x_px, roi.y_px) < 0
            or min(roi.width_px, roi.height_px) < 1
            or roi.x_px + roi.width_px > width
            or roi.y_px + roi.height_px > height
        ):
            # The demo camera, for one, takes any region without complaint.
            raise HardwareError(
                f"the ROI x {box[0]}, y {box[1]}, {box[2]} x {box[3]} does not lie on "
                f"the chip of {width} x {height} pixels",
                device=self._camera,
            )
        if any(side % binning for side in box):
            raise HardwareError(
                f"the ROI {box} does not fall on whole pixels at binning {binning}; "
                f"use multiples of {binning}",
                device=self._camera,
            )
        return Roi(*(side // binning for side in box))

    def _measure_sensor(self) -> tuple[int, int]:
        core, port, camera = self._port.core, self._port, self._camera
        if core.isSequenceRunning(camera):
            raise HardwareError(
                "the camera is running; stop the live view before opening the rig",
                device=camera,
            )
        before = port.get_roi(camera)
        port.set_roi(camera, None)
        full = port.get_roi(camera)
        if before != full:
            port.set_roi(camera, before)
        binning = 1
        if "Binning" in self._present:
            binning = _binning_of(port.get_property(camera, "Binning"))
        return full.height_px * binning, full.width_px * binning


def scaled(roi: Roi, factor: int) -> Roi:
    """`roi` with all sides multiplied."""
    return Roi(
        roi.x_px * factor,
        roi.y_px * factor,
        roi.width_px * factor,
        roi.height_px * factor,
    )


def _binning_of(text: str) -> int:
    # Adapters write "2", "2x2" or "2X2".
    return max(1, int(float(text.lower().split("x")[0])))


@dataclass(frozen=True, slots=True)
class Affine:
    """Sample geometry of one objective, per unbinned sensor pixel.

    `measured` is False where only a pixel size is known: directions are then guessed
    and moving by image is refused.
    """

    matrix: Matrix
    measured: bool


def affine_of(
    port: Port, calibration: Calibration | None, orientation: Orientation
) -> Affine:
    """Affine of the present objective: the rig's, else Micro-Manager's, else a guess.

    Micro-Manager's counts only where its scale agrees with Micro-Manager's own pixel
    size within 10 %, and where it is not the identity that stands for "never set".
    """
    if calibration is not None and calibration.affine is not None:
        return Affine(calibration.affine, True)
    core, side = port.core, 0.0
    if known := core.getCurrentPixelSizeConfig(True):
        side = core.getPixelSizeUmByID(known)
        a, b, _, c, d, _ = core.getPixelSizeAffineByID(known)
        scale = abs(a * d - b * c) ** 0.5
        untouched = (a, b, c, d) == (1.0, 0.0, 0.0, 1.0)
        if not untouched and side > 0 and abs(scale / side - 1.0) < 0.1:
            return Affine(to_sensor_affine(((a, b), (c, d)), 1, orientation), True)
    if calibration is not None:
        side = calibration.pixel_um
    side = side if side > 0 else 1.0
    return Affine(((side, 0.0), (0.0, side)), False)


def to_sensor_affine(
    image_affine: Matrix, binning: int, orientation: Orientation
) -> Matrix:
    """Affine per sensor pixel from one per image pixel; inverse of the composition."""
    somewhere = Roi(0, 0, binning, binning)
    to_sensor, _ = image_to_sensor(
        roi=somewhere, binning=binning, orientation=orientation
    )
    matrix = np.asarray(image_affine) @ np.linalg.inv(to_sensor)
    (a, b), (c, d) = matrix.tolist()
    return ((a, b), (c, d))


def pixel_map_of(
    affine: Affine, geometry: Geometry, sensor_shape: tuple[int, int]
) -> PixelMap:
    """Compose the pixel map of frames in this geometry."""
    return compose_pixel_map(
        affine.matrix,
        sensor_shape=sensor_shape,
        roi=geometry.roi,
        binning=geometry.binning,
        orientation=geometry.orientation,
    )
