"""The kind `rare_events_sample`: wells and fields, most of them empty or ordinary."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from smartscope.specimen._biology import BLEACHING, HARM, TRANSMISSION, Biology
from smartscope.specimen._columns import Columns
from smartscope.specimen._events import TrueEvent
from smartscope.specimen._harm import mean_unbleached, unbleached
from smartscope.specimen._population import smooth
from smartscope.specimen._random import mix, normal, seed_key, uniform
from smartscope.specimen._sample import Sample
from smartscope.specimen._truth import Division

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from smartscope.specimen._biology import Light, Moment, Now
    from smartscope.specimen._picture import Picture
    from smartscope.specimen._truth import Truth

_NEVER = math.inf
_CONDENSED = 0.6
"""Area of a nucleus in mitosis over that before."""
_GROWTH = 20.0
"""A daughter grows for this many times the time of mitosis."""


class RareEventsSample(Sample):
    """Cells on a plate of round wells or on a large slide, with something rare to find.

    Each well is cut into fields; most hold nothing, some hold ordinary cells, which
    stand still. A few odd cells, large and bright, lie among them, and now and then
    somewhere one divides.

    Attributes
    ----------
    wells : (columns, rows)
        Around stage position (0, 0). ``[1, 1]`` is one slide.
    well_pitch_um, well_um : float
        From well to well; diameter of a well.
    field_um : float
        Side of a field.
    occupied : float
        Share of the fields that hold cells.
    cells_per_field : float
        Mean number in those that do.
    odd_cells : int
        How many odd ones there are in the whole sample.
    odd_brightness, odd_size : float
        Over those of an ordinary cell.
    division_every_s : float
        Mean time from one division to the next, anywhere in the sample.
    mitosis_s : float
        From the onset of rounding to the split, and from there to the end of
        separation.
    nucleus_um : float
        Typical radius of a nucleus.
    brightness_spread : float
        Relative spread between ordinary cells.
    tilt : (x, y)
        Slope of the sample, um of focus per mm.
    z_spread_um : float
        Standard deviation of the cells' focus around that of their place.
    """

    contents = ("nuclei", "brightfield")

    wells: tuple[PositiveInt, PositiveInt] = (4, 3)
    well_pitch_um: PositiveFloat = 4500.0
    well_um: PositiveFloat = 3300.0
    field_um: PositiveFloat = 512.0
    occupied: float = Field(0.12, ge=0, le=1)
    cells_per_field: NonNegativeFloat = 25.0
    odd_cells: NonNegativeInt = 8
    odd_brightness: PositiveFloat = 4.0
    odd_size: PositiveFloat = 1.5
    division_every_s: PositiveFloat = 120.0
    mitosis_s: PositiveFloat = 120.0
    nucleus_um: PositiveFloat = 7.0
    brightness_spread: float = Field(0.2, ge=0, le=1)
    tilt: tuple[float, float] = (0.5, -0.3)
    z_spread_um: NonNegativeFloat = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Cells(Columns):
    """One row per cell, ascending `cell_id`.

    Attributes
    ----------
    well, field : ndarray int64
        Numbers from 0, row by row; those of fields count within the well.
    odd : ndarray bool
    radius_um, signal : ndarray
        Of the grown nucleus; daughters have their parent's. Relative brightness.
    onset_s : ndarray
        When it rounds up for division; inf is never.
    born_s : ndarray
        When it came out of a division; -inf is never.
    axis : ndarray
        Of its division, rad.
    """

    cell_id: NDArray[np.int64]
    parent_id: NDArray[np.int64]
    key: NDArray[np.uint64]
    xyz_um: NDArray[np.float64]
    well: NDArray[np.int64]
    field: NDArray[np.int64]
    odd: NDArray[np.bool_]
    radius_um: NDArray[np.float64]
    signal: NDArray[np.float64]
    onset_s: NDArray[np.float64]
    born_s: NDArray[np.float64]
    axis: NDArray[np.float64]
    dose: NDArray[np.float64]
    bleached: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Plate:
    """All cells through one step, and their divisions so far."""

    cells: Cells
    next_id: int
    divisions: tuple[Division, ...]
    found: tuple[TrueEvent, ...]


class RareEventsSampleBiology(Biology[Plate, RareEventsSample]):
    """See `RareEventsSample`.

    Cells stand still and wait, so a step costs little however many there are; only
    those in view are drawn.
    """

    model = RareEventsSample
    step_s = 2.0

    def found(self, now: Now) -> Plate:
        """Ordinary cells in some of the fields, odd ones among them."""
        cells = _settle(self.p, self.seed)
        odd = tuple(
            TrueEvent("odd_cell", i, 0.0, math.nan, x, y)
            for i, (x, y, _) in zip(
                cells.cell_id[cells.odd].tolist(),
                cells.xyz_um[cells.odd].tolist(),
                strict=True,
            )
        )
        return self._onset(Plate(cells, len(cells) + 1, (), odd), now)

    def step(self, state: Plate, light: Light, now: Now) -> Plate:
        """Collect light; split those that are due; choose who begins to divide."""
        cells = replace(
            state.cells,
            dose=state.cells.dose + light[HARM],
            bleached=state.cells.bleached + light[BLEACHING],
        )
        state = self._split(replace(state, cells=cells), now)
        return self._onset(state, now)

    def points(self, state: Plate, after_s: float) -> NDArray[np.float64]:
        """Middle of each nucleus."""
        return state.cells.xyz_um

    def paint(self, state: Plate, moment: Moment, picture: Picture) -> None:
        """Nuclei in view; those in division are condensed, daughters are plates."""
        p, every = self.p, moment.points_um
        rows = self._in_view(every, picture)
        cells, t_s = state.cells.rows(rows), moment.now.t_s
        radius, condensed = self._sizes(cells, t_s)
        aspect = 1 + 0.35 * uniform(cells.key, 4) * (1 - condensed)
        aspect = np.where(cells.born_s > -_NEVER, aspect + 0.6 * condensed, aspect)
        where = self._places(cells, every[rows], t_s)
        if picture.content == "brightfield":
            self._paint_shadows(where, radius, condensed, picture)
            return
        left = mean_unbleached(
            cells.bleached + moment.light[BLEACHING][rows],
            picture.light[BLEACHING][rows],
            p.bleach_half_dose,
        )
        peak = picture.photons(p.photons_per_ms) * cells.signal * left
        picture.ellipses(
            where,
            long_um=radius * np.sqrt(aspect),
            short_um=radius / np.sqrt(aspect),
            angle=np.where(
                cells.born_s > -_NEVER,
                cells.axis + np.pi / 2,
                np.pi * uniform(cells.key, 5),
            ),
            peak=peak / (1 - (1 - _CONDENSED) * condensed),
            texture=0.8 * (1 - 0.7 * condensed),
            tile=(cells.key >> np.uint64(40)).astype(np.int64),
        )

    def describe(self, state: Plate, moment: Moment) -> Truth:
        """All cells, the odd ones and the divisions."""
        cells, t_s = state.cells, moment.now.t_s
        dose = cells.dose + moment.light[HARM]
        bleached = cells.bleached + moment.light[BLEACHING]
        phase = np.where(cells.onset_s <= t_s, "mitosis", "interphase")
        young = t_s - cells.born_s < self.p.mitosis_s
        return moment.truth(
            cells.cell_id,
            xyz_um=self._places(cells, moment.points_um, t_s),
            parent_id=cells.parent_id,
            radius_um=self._sizes(cells, t_s)[0],
            phase=np.where(young, "separation", phase),
            brightness=unbleached(bleached, self.p.bleach_half_dose),
            dose=dose,
            alive=dose < 2 * self.p.harm_dose,
            divisions=[
                replace(d, end_s=math.nan) if d.end_s > t_s else d
                for d in state.divisions
            ],
            events=state.found + tuple(_mitosis(d) for d in state.divisions),
            measures={
                "odd": cells.odd.astype(np.int64),
                "well": cells.well,
                "field": cells.field,
            },
        )

    # --- divisions

    @property
    def _mitosis_s(self) -> float:
        """Whole steps, so that splits fall on the start of one."""
        return max(1, round(self.p.mitosis_s / self.step_s)) * self.step_s

    def _onset(self, state: Plate, now: Now) -> Plate:
        """Some ordinary cell that is alive and not in division begins one."""
        key = mix(seed_key(self.seed, 1), 60)
        chance = -math.expm1(-self.step_s / self.p.division_every_s)
        if float(uniform(key, 1000 + 2 * now.step)[0]) >= chance:
            return state
        cells = state.cells
        ready = ~cells.odd & (cells.onset_s == _NEVER)
        ready &= (cells.dose < self.p.harm_dose) & (cells.born_s == -_NEVER)
        rows = np.flatnonzero(ready)
        if not len(rows):
            return state
        row = rows[int(float(uniform(key, 1001 + 2 * now.step)[0]) * len(rows))]
        onset_s = cells.onset_s.copy()
        onset_s[row] = now.t_s
        x_um, y_um = (cells.xyz_um[row, :2] + now.drift_um[:2]).tolist()
        division = Division(
            parent_id=int(cells.cell_id[row]), daughters=(), onset_s=now.t_s,
            split_s=math.nan, end_s=math.nan, x_um=x_um, y_um=y_um,
        )  # fmt: skip
        return replace(
            state,
            cells=replace(cells, onset_s=onset_s),
            divisions=(*state.divisions, division),
        )

    def _split(self, state: Plate, now: Now) -> Plate:
        """Two daughters for each cell that has been in mitosis long enough."""
        cells, divisions = state.cells, list(state.divisions)
        due = cells.onset_s + self._mitosis_s <= now.t_s
        if not due.any():
            return state
        parents = cells.rows(due)
        twice = np.repeat(np.arange(len(parents)), 2)
        side = np.tile([0.0, np.pi], len(parents))
        both = parents.rows(twice)
        ids = state.next_id + np.arange(len(both))
        both = replace(
            both,
            cell_id=ids,
            parent_id=both.cell_id,
            key=mix(np.asarray(both.key ^ ids.astype(np.uint64)), 12),
            onset_s=np.full(len(both), _NEVER),
            born_s=np.full(len(both), now.t_s),
            axis=both.axis + side,
        )
        for i, parent in enumerate(parents.cell_id.tolist()):
            at = next(j for j, d in enumerate(divisions) if d.parent_id == parent)
            divisions[at] = replace(
                divisions[at],
                daughters=tuple(ids[2 * i : 2 * i + 2].tolist()),
                split_s=now.t_s,
                end_s=now.t_s + self._mitosis_s,
            )
        return replace(
            state,
            cells=cells.rows(~due).followed_by(both),
            next_id=state.next_id + len(both),
            divisions=tuple(divisions),
        )

    # --- looks

    def _in_view(
        self, points_um: NDArray[np.float64], picture: Picture
    ) -> NDArray[np.int64]:
        """Cells near enough to be seen; the painters look closer."""
        height, width = picture.canvas.shape
        reach_um = 0.5 * math.hypot(height, width) * picture.pixel_map.pixel_um
        reach_um += 8 * self.p.odd_size * self.p.nucleus_um
        # The centre of a region of interest need not be that of the field.
        middle = np.array([[(height - 1) / 2, (width - 1) / 2]])
        where = picture.to_image(points_um[:, :2])
        reach_px = reach_um / picture.pixel_map.pixel_um
        return np.flatnonzero((np.abs(where - middle) < reach_px).all(axis=1))

    def _sizes(
        self, cells: Cells, t_s: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Radius, and how condensed each nucleus is, 0..1."""
        rounding = smooth((t_s - cells.onset_s) / (0.4 * self._mitosis_s))
        opening = 1 - smooth((t_s - cells.born_s) / self._mitosis_s)
        condensed = np.maximum(rounding, opening)
        # Each daughter has half the DNA and makes the other half as it grows.
        grown = np.clip((t_s - cells.born_s) / (_GROWTH * self._mitosis_s), 0, 1)
        area = (0.5 + 0.5 * grown) * (1 - (1 - _CONDENSED) * condensed)
        return cells.radius_um * np.sqrt(area), condensed

    def _places(
        self, cells: Cells, points_um: NDArray[np.float64], t_s: float
    ) -> NDArray[np.float64]:
        """Where nuclei are: daughters part from where their parent was."""
        share = smooth((t_s - cells.born_s) / self._mitosis_s)
        gap = np.where(cells.born_s > -_NEVER, 0.7 + 0.7 * share, 0.0)
        gap *= self.p.nucleus_um
        moved = points_um.copy()
        moved[:, 0] += gap * np.cos(cells.axis)
        moved[:, 1] += gap * np.sin(cells.axis)
        return moved

    def _paint_shadows(
        self,
        where: NDArray[np.float64],
        radius: NDArray[np.float64],
        condensed: NDArray[np.float64],
        picture: Picture,
    ) -> None:
        """Label-free: flat grey cells; in division they are round and stand out."""
        ground = picture.photons(self.p.brightfield_photons_per_ms, TRANSMISSION)
        body = radius * (1.9 - 0.7 * condensed)
        picture.ellipses(
            where, long_um=body, short_um=body, peak=-ground * (0.1 + 0.25 * condensed)
        )
        picture.ellipses(where, long_um=radius, short_um=radius, peak=-0.08 * ground)
        picture.ellipses(
            where,
            long_um=0.5 * body,
            short_um=0.5 * body,
            peak=0.45 * ground * condensed,
        )


def _mitosis(division: Division) -> TrueEvent:
    return TrueEvent(
        "mitosis", division.parent_id, division.onset_s, division.end_s,
        division.x_um, division.y_um, peak_s=division.split_s,
    )  # fmt: skip


def _fields(p: RareEventsSample) -> NDArray[np.float64]:
    """Middles (x, y) of the fields of a well that lie in it, from its middle."""
    half = int(p.well_um / p.field_um / 2) + 1
    side = p.field_um * np.arange(-half, half + 1)
    x, y = (a.ravel() for a in np.meshgrid(side, side))
    inside = np.hypot(np.abs(x) + p.field_um / 2, np.abs(y) + p.field_um / 2)
    fields = np.stack([x, y], 1)[inside <= p.well_um / 2]
    return fields if len(fields) else np.zeros((1, 2))


def _settle(p: RareEventsSample, seed: int) -> Cells:
    """Ordinary cells in occupied fields, then odd ones."""
    fields = _fields(p)
    columns, rows = p.wells
    well_x, well_y = np.meshgrid(np.arange(columns), np.arange(rows))
    wells = np.stack([well_x.ravel(), well_y.ravel()], 1) - np.array(
        [(columns - 1) / 2, (rows - 1) / 2]
    )
    middles = (wells[:, None] * p.well_pitch_um + fields).reshape(-1, 2)
    every = seed_key(seed, len(middles))
    taken = np.flatnonzero(uniform(every, 1) < p.occupied)
    rng = np.random.default_rng([seed & 0xFFFFFFFF, 5])
    home = np.repeat(taken, rng.poisson(p.cells_per_field, len(taken)))
    odd_home = (uniform(seed_key(seed, p.odd_cells), 2) * len(middles)).astype(np.int64)
    home = np.concatenate([home, odd_home])
    n = len(home)
    key = mix(seed_key(seed, n), 50)
    place = np.stack([uniform(key, 1), uniform(key, 2)], 1) - 0.5
    xy_um = middles[home] + 0.94 * p.field_um * place
    z_um = p.z_um + xy_um @ np.array(p.tilt) / 1000 + p.z_spread_um * normal(key, 7)
    odd, zero = np.arange(n) >= n - p.odd_cells, np.zeros(n)
    size = np.where(odd, p.odd_size, 1.0) * p.nucleus_um
    signal = np.where(odd, p.odd_brightness, 1.0)
    return Cells(
        cell_id=1 + np.arange(n),
        parent_id=np.zeros(n, np.int64),
        key=key,
        xyz_um=np.column_stack([xy_um, z_um]),
        well=home // len(fields),
        field=home % len(fields),
        odd=odd,
        radius_um=size * (0.9 + 0.2 * uniform(key, 6)),
        signal=signal * np.exp(p.brightness_spread * normal(key, 3)),
        onset_s=np.full(n, _NEVER),
        born_s=np.full(n, -_NEVER),
        axis=2 * np.pi * uniform(key, 8),
        dose=zero,
        bleached=zero,
    )
