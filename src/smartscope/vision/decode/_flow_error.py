"""Whether instances agree with the flows they were made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MEAN = np.full((3, 1), 1 / 3, np.float32)
# Heat has reached each pixel of an instance of 512 px by then; larger ones are rare
# and mostly wrong, and must not cost a minute.
_MOST_ROUNDS = 1024


def flow_errors(
    labels: NDArray[np.int32], flows: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Mean square difference between an instance's own flow and the given one.

    Heat spreads from the middle of each instance through its pixels alone; its own
    flow is the gradient of the heat, of unit length (Stringer et al. 2021).

    Parameters
    ----------
    labels : ndarray (y, x) int32
        1..n, without gaps.
    flows : ndarray (2, y, x) float32
        Along y and x, in steps.

    Returns
    -------
    errors : ndarray (n,) float64
    """
    pixels = _Pixels.of(labels)
    if pixels.count == 0:
        return np.empty(0)
    # On a sheet on which no two instances touch, one filter serves them all.
    sheet, (place_y, place_x) = pixels.spread()
    inside = np.zeros(sheet, np.float32)
    inside[place_y, place_x] = 1
    middle = pixels.middles()
    source = place_y[middle], place_x[middle]
    heat = np.zeros(sheet, np.float32)
    for _ in range(min(2 * pixels.longest, _MOST_ROUNDS)):
        heat[source] += 1
        spread = cv2.sepFilter2D(heat, -1, _MEAN, _MEAN, borderType=cv2.BORDER_CONSTANT)
        heat = np.multiply(spread, inside, out=heat)
    # Back side by side: at a seam the neighbour's heat counts, as it does in training.
    warm = np.zeros((labels.shape[0] + 2, labels.shape[1] + 2), np.float32)
    y, x = pixels.y + 1, pixels.x + 1
    warm[y, x] = heat[place_y, place_x]
    dy = (warm[y + 1, x] - warm[y - 1, x]).astype(np.float64)
    dx = (warm[y, x + 1] - warm[y, x - 1]).astype(np.float64)
    length = np.hypot(dy, dx)
    length[length == 0] = 1
    wrong = (dy / length - flows[0, pixels.y, pixels.x]) ** 2
    wrong += (dx / length - flows[1, pixels.y, pixels.x]) ** 2
    return np.asarray(np.bincount(pixels.row, wrong, pixels.count) / pixels.area)


@dataclass(frozen=True, slots=True, eq=False)
class _Pixels:
    """Pixels of all instances, in raster order within each."""

    y: NDArray[np.int64]
    x: NDArray[np.int64]
    row: NDArray[np.int64]
    count: int
    area: NDArray[np.int64]
    box: tuple[
        NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]
    ]

    @classmethod
    def of(cls, labels: NDArray[np.int32]) -> _Pixels:
        where = np.flatnonzero(labels)
        row = labels.ravel()[where].astype(np.int64) - 1
        order = np.argsort(row, kind="stable")
        row = row[order]
        y, x = np.divmod(where[order], labels.shape[1])
        count = int(row[-1]) + 1 if len(row) else 0
        area = np.bincount(row, minlength=count)
        first = np.cumsum(area) - area
        if count == 0:
            return cls(y, x, row, 0, area, (area, area, area, area))
        top, left = np.minimum.reduceat(y, first), np.minimum.reduceat(x, first)
        tall = np.maximum.reduceat(y, first) - top + 1
        wide = np.maximum.reduceat(x, first) - left + 1
        return cls(y, x, row, count, area, (top, left, tall, wide))

    @property
    def longest(self) -> int:
        """Height and width of the largest instance together."""
        return int((self.box[2] + self.box[3]).max()) + 2

    def middles(self) -> NDArray[np.int64]:
        """Pixel of each instance that is nearest to its centroid, as places here."""
        area = self.area.astype(np.float64)
        cy = np.bincount(self.row, self.y) / area
        cx = np.bincount(self.row, self.x) / area
        away = (self.y - cy[self.row]) ** 2 + (self.x - cx[self.row]) ** 2
        order = np.lexsort((away, self.row))
        return np.asarray(order[np.cumsum(self.area) - self.area])

    def spread(
        self,
    ) -> tuple[tuple[int, int], tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Size of a sheet with a gap around each instance, and the pixels on it."""
        top, left, tall, wide = self.box
        # Shelves of instances of about one height waste little.
        order = np.argsort(-tall, kind="stable")
        across = max(int(np.sqrt(((tall + 1) * (wide + 1)).sum())), int(wide.max())) + 2
        end = np.cumsum(wide[order] + 1)
        shelf_y, shelf_x = (
            np.zeros(self.count, np.int64),
            np.zeros(self.count, np.int64),
        )
        y, done, k = 1, 0, 0
        while k < self.count:
            stop = max(
                int(np.searchsorted(end, done + across - 1, side="right")), k + 1
            )
            rows = order[k:stop]
            shelf_y[rows] = y
            shelf_x[rows] = end[k:stop] - wide[rows] - done
            y += int(tall[rows[0]]) + 1
            done, k = int(end[stop - 1]), stop
        place_y = self.y - top[self.row] + shelf_y[self.row]
        place_x = self.x - left[self.row] + shelf_x[self.row]
        return (y + 1, across + 2), (place_y, place_x)
