"""What the makers of label images share: holes, sizes, numbering."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def fill_label_holes(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Give background that one object alone encloses to that object, in a copy.

    Background connects over edges, not over corners; what touches the border of the
    image, or two objects, is no hole.
    """
    count, part = cv2.connectedComponents((labels == 0).view(np.uint8), connectivity=4)
    width = labels.shape[1]
    inner = np.ones(count, np.bool_)
    inner[0] = False  # the objects
    for edge in (part[0], part[-1], part[:, 0], part[:, -1]):
        inner[edge] = False
    if not inner.any():
        return labels
    where = np.flatnonzero(inner[part])
    hole = part.ravel()[where]
    # A hole lies off the border, so all four neighbours are in the image.
    flat = labels.ravel()
    beside = np.stack([flat[where + way] for way in (-width, -1, 1, width)])
    most = beside.max(axis=0)
    least = np.where(beside == 0, np.iinfo(np.int32).max, beside).min(axis=0)
    greatest = np.zeros(count, np.int32)
    smallest = np.full(count, np.iinfo(np.int32).max, np.int32)
    np.maximum.at(greatest, hole, most)
    np.minimum.at(smallest, hole, least)
    owner = np.where(greatest == smallest, greatest, 0)
    filled = labels.copy()
    filled.ravel()[where] = owner[hole]
    return filled


def keep_sizes(
    labels: NDArray[np.int32], least_px: float, most_px: float | None = None
) -> NDArray[np.int32]:
    """Only objects of a size in this range, numbered 1, 2, ... without gaps."""
    area = np.bincount(labels.ravel())
    keep = (area >= least_px) & (area > 0)
    if most_px is not None:
        keep &= area <= most_px
    keep[:1] = False
    number = np.where(keep, np.cumsum(keep), 0).astype(np.int32)
    return np.asarray(number[labels] if len(number) else labels, dtype=np.int32)
