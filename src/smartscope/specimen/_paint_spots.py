"""Gaussian spots, small and wide, painted fast and cut at the field's border."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from smartscope.specimen._threads import bands, in_order

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TAIL = 4.0
"""Standard deviations after which a small spot is cut off."""
_CHUNK_PIXELS = 150_000


def add_patches(
    canvas: NDArray[np.float32],
    patches: NDArray[np.float32],
    corner: NDArray[np.int64],
) -> None:
    """Add square `patches` (n, side, side) at `corner` (n, 2), cut at the border."""
    height, width = canvas.shape
    side = patches.shape[1]
    for patch, (top, left) in zip(patches, corner.tolist(), strict=True):
        y0, x0 = max(top, 0), max(left, 0)
        y1, x1 = min(top + side, height), min(left + side, width)
        if y0 < y1 and x0 < x1:
            canvas[y0:y1, x0:x1] += patch[y0 - top : y1 - top, x0 - left : x1 - left]


def in_view(
    centre_yx: NDArray[np.float64],
    reach_px: NDArray[np.float64],
    shape: tuple[int, ...],
) -> NDArray[np.int64]:
    """Indices of things that touch the field, the smallest first."""
    reach = reach_px[:, None]
    seen = ((centre_yx > -reach - 1) & (centre_yx < np.array(shape) + reach)).all(
        axis=1
    )
    found = np.flatnonzero(seen)
    return np.asarray(found[np.argsort(reach_px[found], kind="stable")])


def chunks(
    order: NDArray[np.int64], side: NDArray[np.int64]
) -> list[NDArray[np.int64]]:
    """Split `order` (small to large) so that patches of a chunk fit the cache."""
    parts = []
    while len(order):
        fits = np.arange(1, len(order) + 1) * side[order] ** 2 <= _CHUNK_PIXELS
        count = max(1, int(fits.sum()))
        parts.append(order[:count])
        order = order[count:]
    return parts


def paint_spots(
    canvas: NDArray[np.float32],
    centre_yx: NDArray[np.float64],
    sigma_px: NDArray[np.float64],
    total: NDArray[np.float64],
) -> None:
    """Add round Gaussians of given sums to `canvas` (y, x); none is lost to pixels.

    For wide overlapping ones `paint_gaussians` is cheaper.
    """
    reach = np.ceil(_TAIL * sigma_px).astype(np.int64) + 1
    order = in_view(centre_yx, reach.astype(np.float64), canvas.shape)
    for rows in chunks(order, 2 * reach + 1):
        size = int(reach[rows].max())
        corner = np.round(centre_yx[rows]).astype(np.int64)
        steps = np.arange(-size, size + 1)
        offset = steps - (centre_yx[rows] - corner)[:, :, None]
        profile = np.exp(-0.5 * (offset / sigma_px[rows][:, None, None]) ** 2)
        profile /= profile.sum(axis=2, keepdims=True)
        tall = (profile[:, 0] * total[rows][:, None]).astype(np.float32)
        patches = tall[:, :, None] * profile[:, 1].astype(np.float32)[:, None, :]
        add_patches(canvas, patches, corner - size)


def paint_gaussians(
    canvas: NDArray[np.float32],
    centre_yx: NDArray[np.float64],
    sigma_px: NDArray[np.float64],
    peak: NDArray[np.float64],
) -> None:
    """Add round Gaussians to `canvas` (y, x), to two percent of their peak.

    Wide spots are smooth, so they are summed on a grid as coarse as the narrowest
    allows and interpolated; interpolation keeps the sum of photons.
    """
    height, width = canvas.shape
    reach = 4 * sigma_px[:, None]
    shape = np.array(canvas.shape)
    seen = ((centre_yx > -reach) & (centre_yx < shape + reach)).all(axis=1)
    if not seen.any():
        return
    step = int(np.clip(sigma_px[seen].min() / 2.5, 1, 8))
    centre, sigma = centre_yx[seen] / step, sigma_px[seen] / step
    coarse = np.zeros((height // step + 2, width // step + 2), np.float32)
    low = np.maximum(centre - 4 * sigma[:, None], 0).astype(np.int64)
    high = np.maximum(centre + 4 * sigma[:, None] + 1, 1).astype(np.int64)
    nodes = np.arange(int((high - low).max()))
    rows = _gaussian(low[:, :1] + nodes, centre[:, 0], sigma)
    rows *= peak[seen].astype(np.float32)[:, None]
    columns = _gaussian(low[:, 1:] + nodes, centre[:, 1], sigma)
    spans = np.concatenate([low, np.minimum(high, coarse.shape)], axis=1).tolist()
    for row, column, (y0, x0, y1, x1) in zip(rows, columns, spans, strict=True):
        if y0 < y1 and x0 < x1:
            coarse[y0:y1, x0:x1] += row[: y1 - y0, None] * column[None, : x1 - x0]
    for _ in in_order(
        lambda band: _add_interpolated(canvas[band], coarse, step, band.start),
        bands(height, width),
    ):
        pass


def _gaussian(
    nodes: NDArray[np.int64], centre: NDArray[np.float64], sigma: NDArray[np.float64]
) -> NDArray[np.float32]:
    scaled = ((nodes - centre[:, None]) / sigma[:, None]).astype(np.float32)
    return np.asarray(np.exp(np.float32(-0.5) * scaled * scaled))


def _add_interpolated(
    canvas: NDArray[np.float32], coarse: NDArray[np.float32], step: int, top: int
) -> None:
    """Add rows of the interpolated grid, the first of which is row `top`."""
    height, width = canvas.shape
    first, last = top // step, (top + height - 1) // step + 2
    share = np.arange(step, dtype=np.float32) / step
    # Along the few coarse rows first: what is left to do at full size is long rows.
    rows = coarse[first:last]
    wide = (rows[:, 1:] - rows[:, :-1])[:, :, None] * share
    wide += rows[:, :-1, None]
    wide = wide.reshape(len(rows), -1)[:, :width]
    tall = (wide[1:] - wide[:-1])[:, None, :] * share[:, None]
    tall += wide[:-1, None, :]
    skip = top - first * step
    canvas += tall.reshape(-1, width)[skip : skip + height]
