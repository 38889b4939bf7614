"""Blurred ellipses, painted fast.

A nucleus is a disc convolved with a Gaussian point-spread function, stretched to an
ellipse. The disc's blurred profile is exact: a Gaussian ball at distance r from the
centre lies within radius 1 with the probability of a non-central chi-square law. The
stretch gives an ellipse its right second moments at every blur; only the softness of
an elongated one's rim is stretched along with it. Sums of photons do not depend on
the blur.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from smartscope.specimen._paint_spots import add_patches, chunks, paint_gaussians
from smartscope.specimen._texture import REACH, SIDE, TILES, chromatin
from smartscope.specimen._threads import in_order

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from smartscope.core import PixelMap

_LEVELS = 96
_SAMPLES = 1024
_SHARPEST, _SOFTEST = 0.03, 1.0
_TAIL = 3.6
"""Standard deviations of blur beyond the rim after which a nucleus is cut off."""


@dataclass(frozen=True, slots=True, eq=False)
class Ellipses:
    """What to paint; arrays (n,).

    Attributes
    ----------
    x_um, y_um : float64
        Sample coordinates.
    long_um, short_um : float64
        Semi-axes.
    angle : float64
        Of the long axis in the sample, rad.
    blur_um : float64
        Standard deviation of the point-spread function.
    peak : float64
        Mean signal per pixel inside, without blur.
    texture : float64
        0 is smooth, 1 is full chromatin.
    tile : int64
        Which chromatin.
    """

    x_um: NDArray[np.float64]
    y_um: NDArray[np.float64]
    long_um: NDArray[np.float64]
    short_um: NDArray[np.float64]
    angle: NDArray[np.float64]
    blur_um: NDArray[np.float64]
    peak: NDArray[np.float64]
    texture: NDArray[np.float64]
    tile: NDArray[np.int64]

    def where(self, keep: NDArray[np.bool_] | NDArray[np.int64]) -> Ellipses:
        """Those for which `keep` holds."""
        return Ellipses(
            *(np.asarray(getattr(self, name)[keep]) for name in self.__slots__)
        )


def paint_ellipses(
    canvas: NDArray[np.float32],
    shapes: Ellipses,
    pixel_map: PixelMap,
    stage_xy_um: tuple[float, float],
) -> None:
    """Add `shapes` to `canvas` (y, x), signal per image pixel."""
    radius = np.sqrt(shapes.long_um * shapes.short_um)
    # A pixel averages over its square.
    blur = np.hypot(shapes.blur_um, pixel_map.pixel_um / np.sqrt(12.0))
    soft = blur > _SOFTEST * radius
    if soft.any():
        far = shapes.where(soft)
        variance = blur[soft] ** 2 + radius[soft] ** 2 / 4
        total = far.peak * np.pi * far.long_um * far.short_um
        paint_gaussians(
            canvas,
            pixel_map.to_image(np.stack([far.x_um, far.y_um], 1), *stage_xy_um),
            np.sqrt(variance) / pixel_map.pixel_um,
            total / (2 * np.pi * variance),
        )
    sharp = ~soft
    if sharp.any():
        _paint_sharp(canvas, shapes.where(sharp), blur[sharp], pixel_map, stage_xy_um)


def _paint_sharp(
    canvas: NDArray[np.float32],
    shapes: Ellipses,
    blur_um: NDArray[np.float64],
    pixel_map: PixelMap,
    stage_xy_um: tuple[float, float],
) -> None:
    radius = np.sqrt(shapes.long_um * shapes.short_um)
    relative = np.clip(blur_um / radius, _SHARPEST, _SOFTEST)
    level = _level_of(relative)
    spread = radius**2 / 4 + blur_um**2
    stretch = np.sqrt(
        np.stack([shapes.long_um, shapes.short_um]) ** 2 / 4 + blur_um**2
    ) / np.sqrt(spread)
    amplitude = shapes.peak * shapes.long_um * shapes.short_um
    amplitude = amplitude / (radius**2 * stretch[0] * stretch[1])
    to_body = _body_frame(shapes.angle, radius * stretch, pixel_map)
    reach_um = (1 + _TAIL * relative) * radius * stretch.max(axis=0)
    reach_px = np.ceil(reach_um / pixel_map.pixel_um).astype(np.int64) + 1
    centre = pixel_map.to_image(np.stack([shapes.x_um, shapes.y_um], 1), *stage_xy_um)
    corner = np.round(centre).astype(np.int64)
    height, width = canvas.shape
    seen = ((corner + reach_px[:, None]) >= 0).all(axis=1) & (
        (corner - reach_px[:, None]) < (height, width)
    ).all(axis=1)
    # Neighbours in size share a chunk, so that a few large ones do not make every
    # patch large.
    order = np.flatnonzero(seen)[np.argsort(reach_px[seen], kind="stable")]
    # Fine structure fades with blur much sooner than the nucleus itself.
    grain = shapes.texture * np.exp(-((relative / 0.25) ** 2))
    sharp = _Sharp(
        corner, centre - corner, reach_px, to_body, amplitude, level, grain, shapes.tile
    )
    parts = chunks(order, 2 * reach_px + 1)
    for patches, corners in in_order(lambda rows: _patches(sharp, rows), parts):
        add_patches(canvas, patches, corners)


@dataclass(frozen=True, slots=True, eq=False)
class _Sharp:
    corner: NDArray[np.int64]
    fraction: NDArray[np.float64]
    reach_px: NDArray[np.int64]
    to_body: NDArray[np.float64]
    amplitude: NDArray[np.float64]
    level: NDArray[np.int64]
    grain: NDArray[np.float64]
    tile: NDArray[np.int64]


def _patches(
    sharp: _Sharp, rows: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Painted squares (n, side, side) of some nuclei, and their corners (n, 2)."""
    reach = int(sharp.reach_px[rows].max())
    steps = np.arange(-reach, reach + 1)
    dy = (steps[None, :] - sharp.fraction[rows, 0, None])[:, :, None]
    dx = (steps[None, :] - sharp.fraction[rows, 1, None])[:, None, :]
    m = sharp.to_body[rows][:, :, :, None, None]
    u = _sum(m[:, 0, 0] * dx, m[:, 0, 1] * dy)
    v = _sum(m[:, 1, 0] * dx, m[:, 1, 1] * dy)
    distance2 = u * u
    distance2 += v * v
    grain = sharp.grain[rows].astype(np.float32)[:, None, None]
    textured = bool((grain > 0.01).any())
    if textured:
        where = _tile_index(u, v, sharp.tile[rows])
        outline = chromatin().outline.take(where)
        outline *= grain
        outline += 1
        distance2 *= outline
    patches = _profile(distance2, sharp.level[rows])
    if textured:
        density = chromatin().density.take(where)
        density *= grain
        density += 1
        patches *= density
    patches *= sharp.amplitude[rows].astype(np.float32)[:, None, None]
    return patches, sharp.corner[rows] - reach


def _sum(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.add(a.astype(np.float32), b.astype(np.float32))


def _body_frame(
    angle: NDArray[np.float64], axes_um: NDArray[np.float64], pixel_map: PixelMap
) -> NDArray[np.float64]:
    # (n, 2, 2): image (dx, dy) -> (u, v) in units of the stretched radius.
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], -2)
    return np.asarray(turn / axes_um.T[:, :, None] @ np.asarray(pixel_map.matrix))


def _tile_index(
    u: NDArray[np.float32], v: NDArray[np.float32], tile: NDArray[np.int64]
) -> NDArray[np.int32]:
    index = _column(u)
    index *= SIDE
    index += _column(v)
    index += ((tile % TILES) * SIDE * SIDE).astype(np.int32)[:, None, None]
    return index


def _column(u: NDArray[np.float32]) -> NDArray[np.int32]:
    scaled = u * np.float32(SIDE / (2 * REACH))
    scaled += np.float32(SIDE / 2)
    np.clip(scaled, 0, SIDE - 1, out=scaled)
    return scaled.astype(np.int32)


def _level_of(relative: NDArray[np.float64]) -> NDArray[np.int64]:
    share = np.log(relative / _SHARPEST) / np.log(_SOFTEST / _SHARPEST)
    return np.asarray(np.round(share * (_LEVELS - 1)), dtype=np.int64)


def _profile(
    distance2: NDArray[np.float32], level: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Look up the blurred disc at squared distances, for each one's blur level."""
    table, span = _table()
    distance2 *= (_SAMPLES / span[level]).astype(np.float32)[:, None, None]
    np.minimum(distance2, np.float32(_SAMPLES - 1), out=distance2)
    index = distance2.astype(np.int32)
    index += (level * _SAMPLES).astype(np.int32)[:, None, None]
    return table.take(index)


@lru_cache(maxsize=1)
def _table() -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Blurred discs, (levels * samples,), and the squared distance each spans."""
    blur = _SHARPEST * (_SOFTEST / _SHARPEST) ** (np.arange(_LEVELS) / (_LEVELS - 1))
    span = (1 + _TAIL * blur) ** 2
    distance2 = (np.arange(_SAMPLES) + 0.5) / _SAMPLES * span[:, None]
    disc = special.chndtr(1 / blur[:, None] ** 2, 2.0, distance2 / blur[:, None] ** 2)
    # Even out what sampling and the cut tail lost: every level holds the same.
    disc *= (1.0 / (disc.mean(axis=1) * span))[:, None]
    disc[:, -1] = 0
    return disc.astype(np.float32).ravel(), span
