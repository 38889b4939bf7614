"""Light that an SLM has shaped: which places of the sample got how much of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from smartscope.safety._dose import Dose
from smartscope.safety._dosemap import cut_path, to_j_cm2
from smartscope.safety._light import of_objective

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from smartscope.config import RigConfig

_CELLS = 128
"""Map cells along one side of the lit field: places are known to 1/128 of it."""
_FINE = 4
"""The edge of a pattern is looked for on a grid this much finer."""
_MOST_CELLS = 1024
_TILE = 64

Cell = tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class _Shade:
    """A pattern on the map: its cells, relative to the one in which the stage stands.

    Attributes
    ----------
    first : (column, row)
        Of `light`.
    light : ndarray, (row, column), float64
        0..1, the brightest that any part of the cell can get.
    share : float
        Of the field's light that comes through.
    """

    first: Cell
    light: NDArray[np.float64]
    share: float


def slm_to_sample(
    rig: RigConfig, objective: str | None, sensor_px: tuple[int, int] | None
) -> NDArray[np.float64] | None:
    """Affine from SLM pixels to um from the stage position, ``(x, y)`` to ``(x, y)``.

    None where the rig file does not know it: then nobody knows where a pattern falls.
    """
    slm, pixels = rig.slm, of_objective(rig.calibration, objective)
    affine = None if slm is None else of_objective(slm.calibration, objective)
    if affine is None or pixels is None or pixels.affine is None or sensor_px is None:
        return None
    to_slm = np.asarray(affine, dtype=np.float64)
    inverse = np.linalg.inv(to_slm[:, :2])
    middle = np.array([(sensor_px[1] - 1) / 2, (sensor_px[0] - 1) / 2])
    to_um = np.asarray(pixels.affine, dtype=np.float64) @ inverse
    shift = to_um @ -to_slm[:, 2] - np.asarray(pixels.affine) @ middle
    return np.column_stack([to_um, shift])


class PatternMap:
    """Dose of one line behind the SLM, through one objective, in stage coordinates.

    As `DoseMap`, but a place is charged only for the patterns that may have lit it:
    the answer is never below the truth, and above it only within two cells of the edge
    of a lit region. The SLM is taken to hold light back, not to send it elsewhere.

    Parameters
    ----------
    field_um : (width, height)
        Lit area at the sample with all of the SLM lit, um.
    to_sample : ndarray, (2, 3)
        See `slm_to_sample`.
    calibrated : bool
        Whether energies are known.
    """

    def __init__(
        self,
        field_um: tuple[float, float],
        to_sample: NDArray[np.float64],
        *,
        calibrated: bool,
    ) -> None:
        self.field_um = field_um
        self.calibrated = calibrated
        self.total_mj = 0.0
        self._to_sample = to_sample
        self._cell_um = (field_um[0] / _CELLS, field_um[1] / _CELLS)
        self._total = np.zeros(3)
        self._tiles: dict[Cell, NDArray[np.float64]] = {}
        # Light of one pattern from one place; on the map once it is asked for.
        self._pending: dict[Cell, NDArray[np.float64]] = {}
        self._number: int | None = None
        self._shade: _Shade | None = None

    @property
    def total(self) -> Dose:
        """All the light that came through, summed over places."""
        return self._dose(self._total)

    def shine(self, number: int, light: NDArray[np.uint8]) -> float:
        """Take this pattern from now on; returns its share of the field's light.

        Parameters
        ----------
        number : int
            The same number is the same pattern.
        light : ndarray, (y, x), uint8
            In SLM pixels: 255 is all the light.
        """
        if number != self._number or self._shade is None:
            self._settle()
            self._number, self._shade = number, self._shade_of(light)
        return self._shade.share

    def path(
        self, x_um: tuple[float, float], y_um: tuple[float, float]
    ) -> Iterator[tuple[Cell, float, float]]:
        """Cut a straight stage path at cell borders; see `cut_path`."""
        return cut_path(x_um, y_um, self._cell_um)

    def cell(self, x_um: float, y_um: float) -> Cell:
        """Cell in which the stage stands."""
        return math.floor(x_um / self._cell_um[0]), math.floor(y_um / self._cell_um[1])

    def book(
        self, cell: Cell, *, percent_s: float, energy_mj: float, lit_s: float
    ) -> None:
        """Add light given through the pattern while the stage stood in `cell`.

        `energy_mj` is what would have come with all of the SLM lit.
        """
        if self._shade is None or not self._shade.share:
            return
        light = np.array([percent_s, to_j_cm2(energy_mj, self.field_um), lit_s])
        known = self._pending.get(cell)
        self._pending[cell] = light if known is None else known + light
        share = self._shade.share
        self._total += light * (share, share, 1.0)
        self.total_mj += energy_mj * share

    def at(self, x_um: float, y_um: float) -> Dose:
        """Dose of a place in the sample, never below the truth."""
        self._settle()
        column, row = self.cell(x_um, y_um)
        tile = self._tiles.get((column // _TILE, row // _TILE))
        if tile is None:
            return Dose()
        return self._dose(tile[:, row % _TILE, column % _TILE])

    def field(self, x_um: float, y_um: float) -> Dose:
        """Dose of the most lit place of the field around a stage position."""
        self._settle()
        column, row = self.cell(x_um, y_um)
        most, half = np.zeros(3), _CELLS // 2
        low, high = (column - half, row - half), (column + half, row + half)
        for i, j in _tiles_within(low, high):
            if (tile := self._tiles.get((i, j))) is not None:
                part = tile[
                    :,
                    max(0, low[1] - j * _TILE) : high[1] + 1 - j * _TILE,
                    max(0, low[0] - i * _TILE) : high[0] + 1 - i * _TILE,
                ]
                np.maximum(most, part.max(axis=(1, 2)), out=most)
        return self._dose(most)

    def hottest(self) -> tuple[Dose, float, float] | None:
        """Most lit place: its dose and where it is, None if all is dark."""
        self._settle()
        best: tuple[Dose, float, float] | None = None
        for (i, j), tile in self._tiles.items():
            row, column = np.unravel_index(np.argmax(tile[0]), tile[0].shape)
            dose = self._dose(tile[:, row, column])
            if best is None or dose.value > best[0].value:
                x_um = (i * _TILE + int(column) + 0.5) * self._cell_um[0]
                y_um = (j * _TILE + int(row) + 0.5) * self._cell_um[1]
                best = (dose, x_um, y_um)
        return best

    # ------------------------------------------------------------------- inside

    def _shade_of(self, light: NDArray[np.uint8]) -> _Shade:
        import cv2  # here: few rigs have an SLM

        # Whatever part of a cell is bright makes it bright: edges are looked for on a
        # finer grid, and the stage may stand anywhere in its own cell.
        height, width = light.shape
        corners = np.array([[x, y] for x in (-1, width) for y in (-1, height)])
        um = corners @ self._to_sample[:, :2].T + self._to_sample[:, 2]
        low = np.floor(um.min(axis=0) / self._cell_um).astype(int) - 1
        high = np.ceil(um.max(axis=0) / self._cell_um).astype(int) + 1
        sides = np.minimum(high - low, _MOST_CELLS)
        pixels = tuple(int(side) * _FINE for side in sides)
        to_grid = np.diag(_FINE / np.asarray(self._cell_um))
        shift = to_grid @ self._to_sample[:, 2] - low * _FINE - 0.5
        matrix = np.column_stack([to_grid @ self._to_sample[:, :2], shift])
        # A grid point sees the brightest SLM pixel within one step of the grid.
        step = np.abs(np.linalg.inv(matrix[:, :2])).sum(axis=1)
        kernel = np.ones([2 * math.ceil(s / 2) + 1 for s in step[::-1]], np.uint8)
        seen = cv2.warpAffine(
            cv2.dilate(light, kernel), matrix, pixels, flags=cv2.INTER_NEAREST
        )
        blocks = seen.reshape(sides[1], _FINE, sides[0], _FINE).max(axis=(1, 3))
        bright = cv2.dilate(blocks, np.ones((3, 3), np.uint8))
        area_um2 = abs(float(np.linalg.det(self._to_sample[:, :2])))
        lit_um2 = float(light.sum(dtype=np.float64)) / 255 * area_um2
        share = min(1.0, lit_um2 / (self.field_um[0] * self.field_um[1]))
        return _Shade((int(low[0]), int(low[1])), np.asarray(bright / 255.0), share)

    def _settle(self) -> None:
        """Put onto the map what was booked since the last pattern or question."""
        shade = self._shade
        if shade is None:
            return
        rows, columns = shade.light.shape
        for cell, light in self._pending.items():
            low = (cell[0] + shade.first[0], cell[1] + shade.first[1])
            for i, j in _tiles_within(low, (low[0] + columns - 1, low[1] + rows - 1)):
                x0, y0 = i * _TILE - low[0], j * _TILE - low[1]
                part = shade.light[
                    max(0, y0) : max(0, y0 + _TILE), max(0, x0) : max(0, x0 + _TILE)
                ]
                if not part.any():
                    continue
                tile = self._tiles.get((i, j))
                if tile is None:
                    tile = self._tiles[i, j] = np.zeros((3, _TILE, _TILE))
                y, x = max(0, -y0), max(0, -x0)
                into = tile[:, y : y + part.shape[0], x : x + part.shape[1]]
                into[0] += part * light[0]
                into[1] += part * light[1]
                into[2] += (part > 0) * light[2]
        self._pending.clear()

    def _dose(self, light: NDArray[np.float64]) -> Dose:
        percent_s, j_cm2, lit_s = (float(value) for value in light)
        known = self.calibrated or percent_s == 0.0
        return Dose(percent_s=percent_s, j_cm2=j_cm2 if known else None, lit_s=lit_s)


def _tiles_within(low: Cell, high: Cell) -> Iterator[Cell]:
    for i in range(low[0] // _TILE, high[0] // _TILE + 1):
        for j in range(low[1] // _TILE, high[1] // _TILE + 1):
            yield i, j
