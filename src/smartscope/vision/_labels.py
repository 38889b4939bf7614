"""Label images, the regions in them, and the detections made of those."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from smartscope.core import Detections
from smartscope.vision._regions import Regions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from smartscope.vision._stage import Workspace


@dataclass(slots=True, eq=False)
class Pixels:
    """Labelled pixels as flat lists: objects cover a small part of an image.

    Attributes
    ----------
    where, label : ndarray (pixels,) int
        Flat index and label (1..count) of each.
    """

    where: NDArray[Any]
    label: NDArray[Any]
    count: int
    shape: tuple[int, int]

    @classmethod
    def of(cls, labels: NDArray[Any], count: int) -> Pixels:
        """Pixels of a label image with labels 1..count."""
        where = np.flatnonzero(labels)
        shape = (labels.shape[0], labels.shape[1])
        return cls(where, labels.ravel()[where], count, shape)

    def above_own(
        self, image: NDArray[np.float32], level: float, share: float
    ) -> NDArray[np.bool_]:
        """Which exceed `share` of their object's mean brightness over `level`."""
        values = image.ravel()[self.where]
        area = np.maximum(np.bincount(self.label, minlength=self.count + 1), 1)
        mean = np.bincount(self.label, values, self.count + 1) / area
        threshold = (level + share * (mean - level)).astype(np.float32)
        return np.asarray(values > threshold[self.label])

    def only(self, keep: NDArray[np.bool_]) -> Pixels:
        """Those where `keep` is true."""
        return Pixels(self.where[keep], self.label[keep], self.count, self.shape)


def numbered(
    pixels: Pixels, least_px: float, most_px: float
) -> tuple[NDArray[np.int32], Regions, NDArray[np.int64]]:
    """Label image and regions of objects within these areas, numbered 1..n.

    Third are the rows (label - 1) that they had before.
    """
    area = np.bincount(pixels.label, minlength=pixels.count + 1)
    # What has no pixel left is no object, whatever the least area is.
    keep = (area >= max(least_px, 1)) & (area <= most_px)
    keep[0] = False
    numbers = np.where(keep, np.cumsum(keep), 0).astype(np.int32)
    label = numbers[pixels.label]
    where, label = pixels.where[label > 0], label[label > 0]
    out = np.zeros(pixels.shape, dtype=np.int32)
    out.ravel()[where] = label
    regions = Regions.build(
        where, label.astype(np.int64) - 1, int(keep.sum()), pixels.shape
    )
    return out, regions, np.flatnonzero(keep[1:])


def fill_holes(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill background that does not reach the border of the image."""
    holes, count = ndimage.label(~mask)
    if count <= 1:
        return mask
    edge = np.concatenate([holes[0], holes[-1], holes[:, 0], holes[:, -1]])
    outside = np.zeros(count + 1, dtype=bool)
    outside[edge] = True
    outside[0] = False
    return np.asarray(~outside[holes])


def detections_of(
    work: Workspace,
    regions: Regions,
    score: NDArray[np.float64],
    points_yx: NDArray[np.float64] | None = None,
    features: Mapping[str, NDArray[np.float64]] | None = None,
) -> Detections:
    """Detections of regions, in pixels and in sample coordinates."""
    y_px, x_px = regions.centroids() if points_yx is None else points_yx.T
    sample = work.pixel_map.to_sample(np.column_stack([y_px, x_px]), *work.stage_um)
    return Detections(
        label=np.arange(1, regions.count + 1, dtype=np.int64),
        y_px=np.asarray(y_px, dtype=np.float64),
        x_px=np.asarray(x_px, dtype=np.float64),
        x_um=sample[:, 0].copy(),
        y_um=sample[:, 1].copy(),
        area_um2=regions.area_px * work.pixel_area_um2,
        score=score,
        features=dict(features or {}),
    )
