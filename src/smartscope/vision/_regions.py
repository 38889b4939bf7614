"""Which pixels belong to which object, and sums over them without image passes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """Pixels of `count` objects as two flat lists of equal length.

    Attributes
    ----------
    where : ndarray (pixels,) int64
        Flat index of the pixel in a ``(y, x)`` image.
    row : ndarray (pixels,) int64
        Object (0-based row in the detections) the pixel belongs to.
    area_px : ndarray (count,) float64
    """

    where: NDArray[np.int64]
    row: NDArray[np.int64]
    count: int
    shape: tuple[int, int]
    area_px: NDArray[np.float64]

    @classmethod
    def from_disks(
        cls,
        y_px: NDArray[np.float64],
        x_px: NDArray[np.float64],
        radius_px: float,
        shape: tuple[int, int],
    ) -> Regions:
        """Disks around points, cut at the image border; disks may overlap."""
        reach = max(1, int(np.ceil(radius_px)))
        dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1]
        inside = dy**2 + dx**2 <= max(radius_px, 1.0) ** 2
        y = np.rint(y_px).astype(np.int64)[:, None] + dy[inside]
        x = np.rint(x_px).astype(np.int64)[:, None] + dx[inside]
        row = np.broadcast_to(np.arange(len(y_px))[:, None], y.shape)
        keep = (y >= 0) & (y < shape[0]) & (x >= 0) & (x < shape[1])
        where = (y * shape[1] + x)[keep]
        return cls.build(where, row[keep].astype(np.int64), len(y_px), shape)

    @classmethod
    def build(
        cls,
        where: NDArray[Any],
        row: NDArray[np.int64],
        count: int,
        shape: tuple[int, int],
    ) -> Regions:
        """Regions of these pixels, with their areas."""
        area = np.bincount(row, minlength=count).astype(np.float64)
        return cls(where, row, count, shape, area)

    def total(self, image: NDArray[Any]) -> NDArray[np.float64]:
        """Sum of `image` (y, x) over each object, ``(count,)`` float64."""
        values = image.ravel()[self.where].astype(np.float64)
        return np.asarray(np.bincount(self.row, values, self.count), dtype=np.float64)

    def mean(self, image: NDArray[Any]) -> NDArray[np.float64]:
        """Mean of `image` (y, x) over each object, ``(count,)`` float64."""
        return self.total(image) / np.maximum(self.area_px, 1)

    def centroids(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """``(y_px, x_px)`` of each object."""
        y, x = np.divmod(self.where, self.shape[1])
        area = np.maximum(self.area_px, 1)
        return (
            np.bincount(self.row, y, self.count) / area,
            np.bincount(self.row, x, self.count) / area,
        )

    def shapes(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """``(eccentricity, compactness)`` from the second moments.

        Eccentricity is that of the ellipse with the same moments: 0 is round, towards
        1 is a line. Compactness is area over the area of that ellipse: 1 for any
        ellipse, less for bent, ragged and hollow shapes.
        """
        cy, cx = self.centroids()
        y, x = np.divmod(self.where, self.shape[1])
        dy, dx = y - cy[self.row], x - cx[self.row]
        area = np.maximum(self.area_px, 1)
        # A pixel is a square, not a point: its own second moment is 1/12.
        vyy = np.bincount(self.row, dy * dy, self.count) / area + 1 / 12
        vxx = np.bincount(self.row, dx * dx, self.count) / area + 1 / 12
        vxy = np.bincount(self.row, dy * dx, self.count) / area
        middle, half = (vyy + vxx) / 2, np.hypot((vyy - vxx) / 2, vxy)
        large, small = middle + half, np.maximum(middle - half, 1e-9)
        eccentricity = np.sqrt(np.clip(1 - small / large, 0, 1))
        compactness = np.minimum(area / (4 * np.pi * np.sqrt(large * small)), 1.0)
        return eccentricity, compactness
