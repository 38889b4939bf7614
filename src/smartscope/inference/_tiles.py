"""Images larger than a network wants: overlapping tiles, blended where they meet."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_BLEND_SHARE = 8
"""The blend is a tile's length divided by this: a seam costs at most an eighth more."""


@dataclass(frozen=True, slots=True)
class Span:
    """Tiles along one axis of the input.

    Attributes
    ----------
    size : int
        Pixels of the image.
    tile : int
        Pixels the network is given.
    starts : tuple of int
        First pixel of each tile, in the image; below 0 where a short image lies in
        the middle of its one tile.
    halo : int
        Pixels at each inner end of a tile that do not count; whole ones of the output.
    """

    size: int
    tile: int
    starts: tuple[int, ...]
    halo: int = 0

    @classmethod
    def over(cls, size: int, tile: int, *, halo: int = 0, grid: int = 1) -> Span:
        """Spread tiles evenly over an axis.

        Parameters
        ----------
        size, tile : int
            Pixels of the image and of one tile; a longer tile is padded at both ends.
        halo : int
            Spoilt pixels at each end of a tile.
        grid : int
            Every start is a multiple of it: input pixels for one of the output.
        """
        if size <= tile:
            margin = (tile - size) // 2
            return cls(size, tile, (-(margin // grid) * grid,))
        # All in pixels of the output: a halo that ends inside of one spoils it.
        spoilt = math.ceil(halo / grid)
        blend = max(1, tile // _BLEND_SHARE // grid)
        step = max(1, tile // grid - 2 * spoilt - blend)
        # The last tile may stick out by less than one output pixel.
        last = math.ceil((size - tile) / grid)
        count = 1 + math.ceil(last / step)
        # Rounded to the nearest without a preference for even numbers, which would
        # make some steps too long.
        gaps = count - 1
        starts = ((2 * last * k + gaps) // (2 * gaps) * grid for k in range(count))
        return cls(size, tile, tuple(starts), spoilt * grid)

    def weights(self, number: int, scale: float) -> NDArray[np.float32]:
        """How much each output pixel of a tile counts, for an output of this scale.

        Zero in the halo, rising to one over the overlap; one up to the border where
        the image ends.
        """
        length = round(self.tile * scale)
        weights = np.ones(length, dtype=np.float32)
        if number > 0:
            ramp = self._ramp(self.starts[number - 1], self.starts[number], scale)
            weights[: len(ramp)] *= ramp
        if number < len(self.starts) - 1:
            ramp = self._ramp(self.starts[number], self.starts[number + 1], scale)
            weights[length - len(ramp) :] *= ramp[::-1]
        return weights

    def _ramp(self, before: int, after: int, scale: float) -> NDArray[np.float32]:
        shared = round((before + self.tile - after) * scale)
        halo = min(round(self.halo * scale), shared // 2)
        ramp = np.zeros(shared, dtype=np.float32)
        inner = shared - 2 * halo
        ramp[halo : halo + inner] = (np.arange(inner) + 0.5) / inner
        ramp[halo + inner :] = 1.0
        return ramp


@dataclass(frozen=True, slots=True)
class Tiling:
    """Tiles over rows and columns."""

    rows: Span
    columns: Span

    @property
    def single(self) -> bool:
        """One tile takes the whole image."""
        return len(self.rows.starts) == len(self.columns.starts) == 1

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Number of row and column of each tile."""
        for row in range(len(self.rows.starts)):
            for column in range(len(self.columns.starts)):
                yield row, column

    def corner(self, row: int, column: int) -> tuple[int, int]:
        """First pixel ``(y, x)`` of a tile."""
        return self.rows.starts[row], self.columns.starts[column]


class Blend:
    """Puts the tiles of one output together.

    Parameters
    ----------
    tiling : Tiling
        Of the input.
    scale : (float, float)
        Output pixels for one input pixel along y and x.
    """

    def __init__(self, tiling: Tiling, scale: tuple[float, float]) -> None:
        self._tiling = tiling
        self._scale = scale
        self._rows = _shares(tiling.rows, scale[0])
        self._columns = _shares(tiling.columns, scale[1])
        self._sum: NDArray[np.float32] | None = None

    def add(self, row: int, column: int, tile: NDArray[Any]) -> None:
        """Add a tile ``(..., y, x)`` of the output."""
        height, width = (
            _length(self._tiling.rows, self._scale[0]),
            _length(self._tiling.columns, self._scale[1]),
        )
        if self._sum is None or self._sum.shape[:-2] != tile.shape[:-2]:
            self._sum = np.zeros((*tile.shape[:-2], height, width), dtype=np.float32)
        elif (row, column) == (0, 0):
            self._sum[...] = 0
        y, x = self._tiling.corner(row, column)
        top, left = round(y * self._scale[0]), round(x * self._scale[1])
        share = self._rows[row][:, None] * self._columns[column]
        # A short side lies in the middle of its one tile; a last tile may stick out.
        seen = (
            slice(max(-top, 0), min(tile.shape[-2], height - top)),
            slice(max(-left, 0), min(tile.shape[-1], width - left)),
        )
        into = self._sum[
            ...,
            max(top, 0) : top + seen[0].stop,
            max(left, 0) : left + seen[1].stop,
        ]
        into += tile[(..., *seen)] * share[seen]

    def image(self) -> NDArray[np.float32]:
        """The whole output; it belongs to the blend until the next first tile."""
        if self._sum is None:
            raise ValueError("no tile was added")
        return self._sum


def _length(span: Span, scale: float) -> int:
    return math.ceil(span.size * scale)


def _shares(span: Span, scale: float) -> list[NDArray[np.float32]]:
    """Weights of each tile, made to sum to one at every output pixel."""
    count = len(span.starts)
    weights = [span.weights(number, scale) for number in range(count)]
    if count == 1:
        return weights
    end = round((span.starts[-1] + span.tile) * scale)
    total = np.zeros(end, dtype=np.float32)
    places = [round(start * scale) for start in span.starts]
    for place, weight in zip(places, weights, strict=True):
        total[place : place + len(weight)] += weight
    return [
        weight / total[place : place + len(weight)]
        for place, weight in zip(places, weights, strict=True)
    ]
