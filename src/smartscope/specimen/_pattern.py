"""Patterned light: what an SLM makes of a light line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from smartscope.core import image_to_sensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from smartscope.specimen._view import SpecimenView

_TO_SENSOR = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """One image on the SLM.

    Attributes
    ----------
    mask : ndarray (y, x) float32
        0 (dark) to 1 (the line's full light), SLM pixels.
    to_sensor : 2 x 3 affine
        ``(x, y)`` of an SLM pixel to ``(x, y)`` of an unbinned sensor pixel.
    """

    mask: NDArray[np.float32]
    to_sensor: tuple[tuple[float, float, float], tuple[float, float, float]] = (
        _TO_SENSOR
    )

    def at_points(
        self,
        offset_um: NDArray[np.float64],
        true_affine: NDArray[np.float64],
        sensor_shape: tuple[int, int],
    ) -> NDArray[np.float64]:
        """Share of light at points of the sample, (n,); 0 beside the SLM's image.

        Parameters
        ----------
        offset_um : ndarray (n, 2)
            ``(x, y)`` from the stage position.
        true_affine : ndarray (2, 2)
            Um per sensor pixel.
        """
        if not len(offset_um):
            return np.zeros(0)
        height, width = sensor_shape
        middle = np.array([(width - 1) / 2, (height - 1) / 2])
        sensor = offset_um @ np.linalg.inv(true_affine).T + middle
        back = self._from_sensor()
        where = (sensor @ back[:, :2].T + back[:, 2]).astype(np.float32)
        # OpenCV's remap takes at most 32767 columns: one row per point.
        found = [
            cv2.remap(
                self.mask,
                part[:, None, 0],
                part[:, None, 1],
                cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_CONSTANT,
                borderValue=0,
            )
            for part in np.array_split(where, len(where) // 30_000 + 1)
        ]
        return np.concatenate(found).ravel().astype(np.float64)

    def on_image(self, view: SpecimenView) -> NDArray[np.float32]:
        """Share of light at each image pixel, (y, x)."""
        matrix, shift = image_to_sensor(
            roi=view.roi, binning=view.binning, orientation=view.orientation
        )
        back = self._from_sensor()
        whole = np.column_stack(
            [back[:, :2] @ matrix, back[:, :2] @ shift + back[:, 2]]
        )
        return np.asarray(
            cv2.warpAffine(
                self.mask,
                whole,
                (view.shape[1], view.shape[0]),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_CONSTANT,
                borderValue=0,
            ),
            dtype=np.float32,
        )

    def _from_sensor(self) -> NDArray[np.float64]:
        return np.asarray(
            cv2.invertAffineTransform(np.asarray(self.to_sensor, np.float64))
        )
