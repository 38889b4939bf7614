"""Dose of one line through one objective, on a map in stage coordinates."""

from __future__ import annotations

import math
from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from smartscope.safety._dose import Dose

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_CELLS = 16
"""Map cells along one side of the lit field: places are known to 1/16 of it."""

_LOOKED_AT = _CELLS // 2 - 2
"""Cells from the middle of a field within which its most lit place is searched."""

Cell = tuple[int, int]


def to_j_cm2(energy_mj: float, field_um: tuple[float, float]) -> float:
    """Energy per area, J/cm2, of an energy spread over a lit field."""
    area_cm2 = field_um[0] * field_um[1] * 1e-8
    return energy_mj * 1e-3 / area_cm2


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
        self.total = Dose(j_cm2=0.0 if calibrated else None)
        self._cell_um = (field_um[0] / _CELLS, field_um[1] / _CELLS)
        self._booked: defaultdict[Cell, NDArray[np.float64]] = defaultdict(
            lambda: np.zeros(3)
        )

    def book(
        self, cell: Cell, *, percent_s: float, energy_mj: float, lit_s: float
    ) -> None:
        """Add light given while the stage stood in `cell`."""
        j_cm2 = to_j_cm2(energy_mj, self.field_um)
        self._booked[cell] += (percent_s, j_cm2, lit_s)
        self.total_mj += energy_mj
        self.total += Dose(
            percent_s=percent_s,
            j_cm2=j_cm2 if self.calibrated else None,
            lit_s=lit_s,
        )

    def path(
        self, x_um: tuple[float, float], y_um: tuple[float, float]
    ) -> Iterator[tuple[Cell, float, float]]:
        """Cut a straight stage path at cell borders.

        Parameters
        ----------
        x_um, y_um : (at start, at end)

        Yields
        ------
        (cell, from, to)
            Parts of the path as fractions 0..1, in order, without gaps.
        """
        cuts = {0.0, 1.0}
        for (a, b), cell_um in zip((x_um, y_um), self._cell_um, strict=True):
            if a != b:
                low, high = sorted((a / cell_um, b / cell_um))
                borders = range(math.ceil(low), math.floor(high) + 1)
                cuts.update((n * cell_um - a) / (b - a) for n in borders)
        edges = sorted(cut for cut in cuts if 0.0 <= cut <= 1.0)
        for start, end in pairwise(edges):
            middle = (start + end) / 2
            x = x_um[0] + (x_um[1] - x_um[0]) * middle
            y = y_um[0] + (y_um[1] - y_um[0]) * middle
            yield self._cell(x, y), start, end

    def at(self, x_um: float, y_um: float) -> Dose:
        """Dose of a place in the sample, never below the truth."""
        spans = []
        for place, cell_um in zip((x_um, y_um), self._cell_um, strict=True):
            middle = place / cell_um
            low = math.ceil(middle - _CELLS / 2 - 1e-9) - 1
            spans.append(range(low, math.floor(middle + _CELLS / 2 + 1e-9) + 1))
        return self._dose(self._near(spans[0], spans[1]).sum(axis=(0, 1)))

    def field(self, x_um: float, y_um: float) -> Dose:
        """Dose of the most lit place of the field around a stage position.

        The outer tenth of the field is left out, so that fields which touch do not
        count for each other; `at` leaves nothing out.
        """
        i, j = self._cell(x_um, y_um)
        far = _LOOKED_AT + _CELLS // 2
        if len(self._booked) == 1:
            # The stage has not moved yet: all there is, or nothing.
            ((a, b), light) = next(iter(self._booked.items()))
            seen = abs(a - i) <= far and abs(b - j) <= far
            return self._dose(light if seen else np.zeros(3))
        near = self._near(range(i - far, i + far + 1), range(j - far, j + far + 1))
        # What each place gets is the sum over the stage cells that may light it.
        box = _CELLS + 1
        rows = sliding_window_view(near, box, axis=0).sum(axis=-1)
        places = sliding_window_view(rows, box, axis=1).sum(axis=-1)
        return self._dose(places.reshape(-1, 3).max(axis=0))

    def hottest(self) -> tuple[Dose, float, float] | None:
        """Most lit field: its dose and where the stage stood, None if all is dark."""
        best: tuple[Dose, float, float] | None = None
        for cell in self._booked:
            x_um, y_um = (
                (n + 0.5) * um for n, um in zip(cell, self._cell_um, strict=True)
            )
            dose = self.field(x_um, y_um)
            if best is None or dose.value > best[0].value:
                best = (dose, x_um, y_um)
        return best

    def _cell(self, x_um: float, y_um: float) -> Cell:
        return math.floor(x_um / self._cell_um[0]), math.floor(y_um / self._cell_um[1])

    def _near(self, columns: range, rows: range) -> NDArray[np.float64]:
        """Booked light in a window of stage cells, shape (columns, rows, 3)."""
        window = np.zeros((len(columns), len(rows), 3))
        if len(self._booked) < len(columns) * len(rows):
            for (i, j), light in self._booked.items():
                if i in columns and j in rows:
                    window[i - columns.start, j - rows.start] = light
            return window
        for i in columns:
            for j in rows:
                if (i, j) in self._booked:
                    light = self._booked[i, j]
                    window[i - columns.start, j - rows.start] = light
        return window

    def _dose(self, light: NDArray[np.float64]) -> Dose:
        percent_s, j_cm2, lit_s = light.tolist()
        known = self.calibrated or percent_s == 0.0
        return Dose(percent_s=percent_s, j_cm2=j_cm2 if known else None, lit_s=lit_s)
