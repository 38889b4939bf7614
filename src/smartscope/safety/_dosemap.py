"""Dose of one line through one objective, on a map in stage coordinates."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from smartscope.safety._dose import Dose

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

_CELLS = 16
"""Map cells along one side of the lit field: places are known to 1/16 of it."""

_LOOKED_AT = _CELLS // 2 - 2
"""Cells from the middle of a field within which its most lit place is searched."""

_FAR = _LOOKED_AT + _CELLS // 2
"""Light from further off reaches no place that is looked at."""

_NEAR = _CELLS // 2 - _LOOKED_AT
"""Light from no further off reaches all places that are looked at alike."""

# What each place gets is the sum over the stage cells that may light it: row k of this
# sums the cells of place k along one axis.
_REACHES = np.array(
    [
        [float(0 <= cell - place <= _CELLS) for cell in range(2 * _FAR + 1)]
        for place in range(2 * _LOOKED_AT + 1)
    ]
)

Cell = tuple[int, int]

_Light = list[float]
"""Percent-seconds, J/cm2 and lit seconds; added to in place."""


def to_j_cm2(energy_mj: float, field_um: tuple[float, float]) -> float:
    """Energy per area, J/cm2, of an energy spread over a lit field."""
    area_cm2 = field_um[0] * field_um[1] * 1e-8
    return energy_mj * 1e-3 / area_cm2


def cut_path(
    x_um: tuple[float, float], y_um: tuple[float, float], cell_um: tuple[float, float]
) -> Iterator[tuple[Cell, float, float]]:
    """Cut a straight stage path at the borders of map cells.

    Parameters
    ----------
    x_um, y_um : (at start, at end)
    cell_um : (width, height)

    Yields
    ------
    (cell, from, to)
        Parts of the path as fractions 0..1, in order, without gaps.
    """
    cuts = {0.0, 1.0}
    for (a, b), side_um in zip((x_um, y_um), cell_um, strict=True):
        if a != b:
            low, high = sorted((a / side_um, b / side_um))
            borders = range(math.ceil(low), math.floor(high) + 1)
            cuts.update((n * side_um - a) / (b - a) for n in borders)
    edges = sorted(cut for cut in cuts if 0.0 <= cut <= 1.0)
    for start, end in pairwise(edges):
        middle = (start + end) / 2
        x = x_um[0] + (x_um[1] - x_um[0]) * middle
        y = y_um[0] + (y_um[1] - y_um[0]) * middle
        yield (math.floor(x / cell_um[0]), math.floor(y / cell_um[1])), start, end


class _Lights:
    """Light by cell, found by neighbourhood whatever the size of the whole."""

    def __init__(self) -> None:
        self.of: dict[Cell, _Light] = {}
        self._blocks: dict[Cell, dict[Cell, _Light]] = {}

    def put(self, cell: Cell, light: _Light) -> None:
        self.of[cell] = light
        self._blocks.setdefault((cell[0] >> 4, cell[1] >> 4), {})[cell] = light

    def drop(self, cell: Cell) -> None:
        key = (cell[0] >> 4, cell[1] >> 4)
        del self.of[cell], self._blocks[key][cell]
        if not self._blocks[key]:
            del self._blocks[key]

    def within(self, columns: range, rows: range) -> list[tuple[Cell, _Light]]:
        found: list[tuple[Cell, _Light]] = []
        low, high = rows[0] >> 4, rows[-1] >> 4
        for i in range(columns[0] >> 4, (columns[-1] >> 4) + 1):
            for j in range(low, high + 1):
                if block := self._blocks.get((i, j)):
                    found += [
                        (cell, light)
                        for cell, light in block.items()
                        if cell[0] in columns and cell[1] in rows
                    ]
        return found


class DoseMap:
    """Where the stage stood with light on, and what each place in the sample got.

    Light is booked to the cell in which the stage stood, which costs the same however
    long the run is. A place in the sample is asked for what all the cells gave whose
    lit field may have covered it, so an answer is never below the truth; it is above
    it only within a cell of the edge of a lit field.

    Parameters
    ----------
    field_um : (width, height)
        Lit area at the sample, um.
    calibrated : bool
        Whether energies are known.
    """

    def __init__(self, field_um: tuple[float, float], *, calibrated: bool) -> None:
        self.field_um = field_um
        self.calibrated = calibrated
        self.total_mj = 0.0
        self._total: _Light = [0.0, 0.0, 0.0]
        self._cell_um = (field_um[0] / _CELLS, field_um[1] / _CELLS)
        self._booked = _Lights()
        # Answers of `field`, until light comes that reaches only part of the field.
        self._fields = _Lights()
        # Everything that light booked to the cell `_lit` adds to.
        self._lit: Cell | None = None
        self._rising: list[_Light] = []

    @property
    def total(self) -> Dose:
        """All the light, summed over places."""
        percent_s, j_cm2, lit_s = self._total
        known = j_cm2 if self.calibrated else None
        return Dose(percent_s=percent_s, j_cm2=known, lit_s=lit_s)

    def book(
        self, cell: Cell, *, percent_s: float, energy_mj: float, lit_s: float
    ) -> None:
        """Add light given while the stage stood in `cell`."""
        j_cm2 = to_j_cm2(energy_mj, self.field_um)
        if cell != self._lit:
            self._rising = self._all_that_rise(cell)
            self._lit = cell
        for light in self._rising:
            light[0] += percent_s
            light[1] += j_cm2
            light[2] += lit_s
        self.total_mj += energy_mj

    def path(
        self, x_um: tuple[float, float], y_um: tuple[float, float]
    ) -> Iterator[tuple[Cell, float, float]]:
        """Cut a straight stage path at cell borders; see `cut_path`."""
        return cut_path(x_um, y_um, self._cell_um)

    def at(self, x_um: float, y_um: float) -> Dose:
        """Dose of a place in the sample, never below the truth."""
        spans = []
        for place, cell_um in zip((x_um, y_um), self._cell_um, strict=True):
            middle = place / cell_um
            low = math.ceil(middle - _CELLS / 2 - 1e-9) - 1
            spans.append(range(low, math.floor(middle + _CELLS / 2 + 1e-9) + 1))
        lights = [light for _, light in self._booked.within(spans[0], spans[1])]
        return self._dose(_sum(lights))

    def field(self, x_um: float, y_um: float) -> Dose:
        """Dose of the most lit place of the field around a stage position.

        The outer tenth of the field is left out, so that fields which touch do not
        count for each other; `at` leaves nothing out. Asked again where the stage
        stands, or where no light has come near, it costs next to nothing.
        """
        cell = self.cell(x_um, y_um)
        light = self._fields.of.get(cell)
        if light is None:
            light = self._most_lit(cell)
            self._fields.put(cell, light)
            self._lit = None  # what is booked next adds to this one too
        return self._dose(light)

    def hottest(self) -> tuple[Dose, float, float] | None:
        """Most lit field: its dose and where the stage stood, None if all is dark."""
        best: tuple[Dose, float, float] | None = None
        for cell in self._booked.of:
            dose = self._dose(self._fields.of.get(cell) or self._most_lit(cell))
            if best is None or dose.value > best[0].value:
                x_um, y_um = (
                    (n + 0.5) * um for n, um in zip(cell, self._cell_um, strict=True)
                )
                best = (dose, x_um, y_um)
        return best

    def cell(self, x_um: float, y_um: float) -> Cell:
        """Cell in which the stage stands."""
        return math.floor(x_um / self._cell_um[0]), math.floor(y_um / self._cell_um[1])

    def _all_that_rise(self, cell: Cell) -> list[_Light]:
        """What light in `cell` adds to; forgets the fields it lights but in part."""
        here = self._booked.of.get(cell)
        if here is None:
            here = [0.0, 0.0, 0.0]
            self._booked.put(cell, here)
        rising = [self._total, here]
        for other, light in self._fields.within(*_around(cell)):
            if _apart(cell, other) <= _NEAR:
                # Every place looked at gets the same, so the most lit one does too.
                rising.append(light)
            else:
                self._fields.drop(other)
        return rising

    def _most_lit(self, cell: Cell) -> _Light:
        """Light of the most lit place of a field, from all that was booked near it."""
        columns, rows = _around(cell)
        near = self._booked.within(columns, rows)
        if len(near) == 1 or all(_apart(cell, other) <= _NEAR for other, _ in near):
            return _sum([light for _, light in near])
        window = np.zeros((len(columns), len(rows), 3))
        for (i, j), light in near:
            window[i - columns[0], j - rows[0]] = light
        places: NDArray[np.float64] = _REACHES @ (
            (_REACHES @ window.reshape(len(columns), -1)).reshape(-1, len(rows), 3)
        )
        most: _Light = places.reshape(-1, 3).max(axis=0).tolist()
        return most

    def _dose(self, light: _Light) -> Dose:
        percent_s, j_cm2, lit_s = light
        known = self.calibrated or percent_s == 0.0
        return Dose(percent_s=percent_s, j_cm2=j_cm2 if known else None, lit_s=lit_s)


def _around(cell: Cell) -> tuple[range, range]:
    """Columns and rows of cells whose light reaches a place looked at from `cell`."""
    i, j = cell
    return range(i - _FAR, i + _FAR + 1), range(j - _FAR, j + _FAR + 1)


def _apart(one: Cell, other: Cell) -> int:
    return max(abs(one[0] - other[0]), abs(one[1] - other[1]))


def _sum(lights: Sequence[_Light]) -> _Light:
    return [sum(kind) for kind in zip(*lights, strict=True)] or [0.0, 0.0, 0.0]
