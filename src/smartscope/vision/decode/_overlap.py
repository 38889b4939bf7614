"""How much of star-convex polygons is shared, many pairs at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Rings and rays of the quick look; what it puts this near to the limit, on either
# side, is looked at closely.
_QUICK_RINGS = 1
_QUICK_RAYS = 8
_DOUBT = 0.3
_CLOSE_RINGS = 6
# Pairs looked at in one go: their samples stay in the processor's cache.
_AT_ONCE = 2048


@dataclass(frozen=True, slots=True, eq=False)
class Shapes:
    """Star-convex polygons.

    Attributes
    ----------
    y, x : ndarray (n,) float32
        Centres, px.
    rays : ndarray (n, rays) float32
        Ray ``k`` points at ``2 pi k / rays``, from x towards y; all above 0, px.
    area, outer : ndarray (n,) float32
        Area, px^2; radius of the circle around the centre that holds it, px.
    """

    y: NDArray[np.float32]
    x: NDArray[np.float32]
    rays: NDArray[np.float32]
    area: NDArray[np.float32]
    outer: NDArray[np.float32]

    @classmethod
    def of(cls, y: NDArray[Any], x: NDArray[Any], rays: NDArray[np.float32]) -> Shapes:
        """Polygons with these centres; rays below a tenth of a pixel become that."""
        rays = np.ascontiguousarray(np.maximum(rays, np.float32(0.1)))
        turn = 2 * np.pi / rays.shape[1]
        wedges = np.einsum("ij,ij->i", rays[:, :-1], rays[:, 1:])
        wedges += rays[:, -1] * rays[:, 0]
        area = np.float32(0.5 * np.sin(turn)) * wedges
        return cls(
            y.astype(np.float32), x.astype(np.float32), rays, area, rays.max(axis=1)
        )

    def __len__(self) -> int:
        return len(self.y)

    def corners(
        self, rows: NDArray[np.int64], less_px: float = 0.0
    ) -> NDArray[np.float32]:
        """Corners ``(y, x)`` of some, ``(rows, rays, 2)``, each ray shortened."""
        sine, cosine = _directions(self.rays.shape[1])
        rays = np.maximum(self.rays[rows] - np.float32(less_px), np.float32(0.1))
        y = self.y[rows, None] + rays * sine
        x = self.x[rows, None] + rays * cosine
        return np.stack([y, x], axis=2)

    def near(
        self, first: NDArray[np.int64], second: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Pairs, one of each list, whose outer circles meet, as places in the lists."""
        if len(first) == 0 or len(second) == 0:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        order = np.argsort(self.y[second], kind="stable")
        y = self.y[second][order]
        reach = self.outer[first] + self.outer[second].max()
        low = np.searchsorted(y, self.y[first] - reach)
        count = np.searchsorted(y, self.y[first] + reach, side="right") - low
        i = np.repeat(np.arange(len(first)), count)
        j = order[np.arange(len(i)) + np.repeat(low - np.cumsum(count) + count, count)]
        a, b = first[i], second[j]
        apart = (self.y[a] - self.y[b]) ** 2 + (self.x[a] - self.x[b]) ** 2
        meet = apart < (self.outer[a] + self.outer[b]) ** 2
        return i[meet], j[meet]

    def clash(
        self, a: NDArray[np.int64], b: NDArray[np.int64], limit: float
    ) -> NDArray[np.bool_]:
        """Whether the pairs share more than `limit` of the smaller one's area."""
        step = max(1, self.rays.shape[1] // _QUICK_RAYS)
        share = self.shared(a, b, rings=_QUICK_RINGS, step=step)
        doubt = np.flatnonzero(np.abs(share - limit) < _DOUBT)
        share[doubt] = self.shared(a[doubt], b[doubt], rings=_CLOSE_RINGS)
        return share > limit

    def shared(
        self, a: NDArray[np.int64], b: NDArray[np.int64], *, rings: int, step: int = 1
    ) -> NDArray[np.float32]:
        """Share of the smaller one's area that lies in the other, from samples.

        Parameters
        ----------
        rings, step : int
            Samples lie on so many rings of equal area, on every `step`-th ray.
        """
        swap = self.area[a] > self.area[b]
        small, large = np.where(swap, b, a), np.where(swap, a, b)
        parts = [
            self._inside(small[k : k + _AT_ONCE], large[k : k + _AT_ONCE], rings, step)
            for k in range(0, len(a), _AT_ONCE)
        ]
        return np.concatenate(parts) if parts else np.empty(0, np.float32)

    def _inside(
        self, small: NDArray[np.int64], large: NDArray[np.int64], rings: int, step: int
    ) -> NDArray[np.float32]:
        count = self.rays.shape[1]
        sine, cosine = (way[::step] for way in _directions(count))
        rays = self.rays[small, ::step]
        ring = np.sqrt((np.arange(rings, dtype=np.float32) + 0.5) / rings)[:, None]
        dy = (self.y[small] - self.y[large])[:, None, None] + ring * (rays * sine)[
            :, None
        ]
        dx = (self.x[small] - self.x[large])[:, None, None] + ring * (rays * cosine)[
            :, None
        ]
        flat = len(small), -1
        away, angle = cv2.cartToPolar(dx.reshape(flat), dy.reshape(flat))
        angle *= np.float32(count / (2 * np.pi))
        if step > 1:
            ray = np.rint(angle).astype(np.int32) % count
            within = away <= self.rays[large[:, None], ray]
        else:
            within = away <= self._reach(large, angle)
        weight = rays * rays
        held = within.reshape(len(small), rings, -1).sum(axis=1, dtype=np.float32)
        share = np.einsum("ij,ij->i", held, weight) / (rings * weight.sum(axis=1))
        return np.asarray(share, dtype=np.float32)

    def _reach(
        self, rows: NDArray[np.int64], angle: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Way from the centre to the outline at `angle`, in rays from the first."""
        count = self.rays.shape[1]
        turn = np.float32(2 * np.pi / count)
        before = angle.astype(np.int32)
        part = angle - before
        near = self.rays[rows[:, None], before % count]
        far = self.rays[rows[:, None], (before + 1) % count]
        # The straight line from corner to corner, in polar form.
        share = np.sin((1 - part) * turn) / near + np.sin(part * turn) / far
        return np.asarray(np.sin(turn) / share, dtype=np.float32)


def _directions(count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    angle = 2 * np.pi * np.arange(count) / count
    return np.sin(angle).astype(np.float32), np.cos(angle).astype(np.float32)
