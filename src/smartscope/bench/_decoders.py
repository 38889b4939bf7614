"""How long the decoders of model outputs take, on outputs made from known objects."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from smartscope.bench._measured import Measured, peak_rss_mib
from smartscope.bench._stats import summarise
from smartscope.vision.decode import (
    flows_to_labels,
    heat_to_points,
    masks_to_labels,
    rays_to_labels,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from smartscope.bench._job import Job

OBJECTS = 150
RAYS = 32
GRID = 2
_WARM_UP = 3


def decoders(job: Job) -> dict[str, Any]:
    """Decode the same output `job.frames` times with one thread.

    `job.situation` names the decoder, a key of `DECODERS`.
    """
    cv2.setNumThreads(1)
    decode = DECODERS[job.situation](disks(job.size_px))
    for _ in range(_WARM_UP):
        found = decode()
    times_ms = []
    for _ in range(job.frames):
        start_ns = time.perf_counter_ns()
        found = decode()
        times_ms.append((time.perf_counter_ns() - start_ns) / 1e6)
    got = Measured(
        seen=job.frames,
        latency_ms=summarise(times_ms),
        peak_rss_mib=peak_rss_mib(),
        more={"objects": found},
    )
    return got.to_dict()


class Disks:
    """Disks in an image, some of them touching, and what models say of them.

    Attributes
    ----------
    y, x, radius : ndarray (n,) float64
        px.
    labels : ndarray (y, x) int64
        Nearest disk of each pixel, 1..n; 0 outside of all.
    """

    def __init__(
        self, y: NDArray[Any], x: NDArray[Any], radius: NDArray[Any], size_px: int
    ):
        self.y, self.x, self.radius = y, x, radius
        self.size_px = size_px
        rows, columns = np.mgrid[:size_px, :size_px]
        nearest = np.full((size_px, size_px), 1.0)
        self.labels = np.zeros((size_px, size_px), np.int64)
        for k in range(len(y)):
            away = np.hypot(rows - y[k], columns - x[k]) / radius[k]
            closer = away < nearest
            nearest[closer] = away[closer]
            self.labels[closer] = k + 1
        self.depth = (1.0 - nearest).astype(np.float32)

    def to_middle(self, step: int = 1) -> NDArray[np.float64]:
        """Way ``(2, y, x)`` to the middle of the disk, every `step`-th pixel."""
        owner = np.maximum(self.labels[::step, ::step] - 1, 0)
        rows, columns = np.mgrid[: self.size_px : step, : self.size_px : step]
        way = np.stack([self.y[owner] - rows, self.x[owner] - columns])
        return np.where(self.labels[::step, ::step] > 0, way, 0.0)


def disks(size_px: int) -> Disks:
    """`OBJECTS` disks in a square image, the same ones every time."""
    rng = np.random.default_rng(4)
    side = int(np.ceil(np.sqrt(OBJECTS)))
    pitch = size_px / side
    row, column = np.divmod(np.arange(OBJECTS), side)
    y = (row + 0.5 + rng.uniform(-0.15, 0.15, OBJECTS)) * pitch
    x = (column + 0.5 + rng.uniform(-0.15, 0.15, OBJECTS)) * pitch
    return Disks(y, x, rng.uniform(0.3, 0.5, OBJECTS) * pitch, size_px)


def rays_of(specimen: Disks) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Probability and rays of a StarDist model at grid `GRID`."""
    middle = specimen.to_middle(GRID)
    owner = np.maximum(specimen.labels[::GRID, ::GRID] - 1, 0)
    turn = 2 * np.pi * np.arange(RAYS)[:, None, None] / RAYS
    along = middle[0] * np.sin(turn) + middle[1] * np.cos(turn)
    free = along**2 - (middle**2).sum(axis=0) + specimen.radius[owner] ** 2
    rays = along + np.sqrt(np.maximum(free, 0.0))
    inside = specimen.labels[::GRID, ::GRID] > 0
    depth = np.ascontiguousarray(specimen.depth[::GRID, ::GRID])
    return depth, np.where(inside, rays, 0.0).astype(np.float32)


def flows_of(specimen: Disks) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Flows and cell logits of a Cellpose model."""
    way = specimen.to_middle()
    unit = way / np.maximum(np.hypot(*way), 1e-6)
    logit = np.where(specimen.labels > 0, 5.0, -5.0)
    return (5 * unit).astype(np.float32), logit.astype(np.float32)


def heat_of(specimen: Disks) -> NDArray[np.float32]:
    """Heat map of a spot model: a Gaussian of 1.5 px on each middle."""
    rows, columns = np.arange(specimen.size_px), np.arange(specimen.size_px)
    tall = np.exp(-0.5 * ((rows[:, None] - specimen.y) / 1.5) ** 2)
    wide = np.exp(-0.5 * ((columns[:, None] - specimen.x) / 1.5) ** 2)
    return np.asarray(tall @ wide.T, dtype=np.float32)


def _stardist(specimen: Disks) -> Callable[[], int]:
    prob, rays = rays_of(specimen)
    shape = (specimen.size_px, specimen.size_px)
    return lambda: len(
        rays_to_labels(prob, rays, shape=shape, grid=GRID, threshold=0.4)
    )


def _watershed(specimen: Disks) -> Callable[[], int]:
    mask = (specimen.labels > 0).astype(np.float32)
    return lambda: int(masks_to_labels(mask, threshold=0.5, fill_holes=True).max())


def _flows(specimen: Disks) -> Callable[[], int]:
    flows, logit = flows_of(specimen)
    return lambda: int(flows_to_labels(flows, logit).max())


def _spots(specimen: Disks) -> Callable[[], int]:
    heat = heat_of(specimen)
    return lambda: len(heat_to_points(heat, threshold=0.3, min_distance_px=3.0))


DECODERS: dict[str, Callable[[Disks], Callable[[], int]]] = {
    "stardist": _stardist,
    "watershed": _watershed,
    "flows": _flows,
    "spots": _spots,
}
