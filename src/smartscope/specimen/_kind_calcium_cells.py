"""The kind `calcium_cells`: neurons with sparse, fast calcium transients.

Each spike adds a transient that rises and decays exponentially, as fluorescence of
fast calcium sensors does (Chen et al., Nature 2013); overlapping ones add up. Spikes
are drawn in continuous time and an exposure sees their true mean over it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import exp, log
from typing import TYPE_CHECKING

import numpy as np
from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    model_validator,
)

from smartscope.specimen._biology import BLEACHING, EXCITATION, HARM, Biology
from smartscope.specimen._columns import Columns
from smartscope.specimen._events import TrueEvent
from smartscope.specimen._harm import mean_unbleached, unbleached, vigour
from smartscope.specimen._population import spread_out
from smartscope.specimen._random import mix, normal, seed_key, uniform
from smartscope.specimen._sample import Sample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from smartscope.specimen._biology import Light, Moment, Now
    from smartscope.specimen._picture import Picture
    from smartscope.specimen._truth import Truth

_DENDRITES = 3
_HAZE_AREA_UM2 = 500.0
"""One patch of neuropil for each such area."""
_EVEN = (0.7548776662, 0.5698402910)
_END = log(10.0)
"""A transient counts as over when it has decayed to a tenth: time constants."""


class CalciumCells(Sample):
    """Parameters; `channels: {PRESET: calcium}`.

    Attributes
    ----------
    cells : int
    area_um : (x, y)
        Cells and neuropil fill it, around ``(0, 0)``.
    soma_um, soma_spread : float
        Mean radius of a cell body, and relative standard deviation.
    z_spread_um : float
        Standard deviation of the height of cells.
    rate_per_min : float
        Spikes of each active cell; intervals are exponentially distributed.
    active_share : float
        Of all cells; the others are silent.
    rise_s, decay_s : float
        Time constants of a transient.
    dff : float
        Mean peak of a transient over the resting brightness (delta F / F).
    dff_spread : float
        Standard deviation of the logarithm of single peaks.
    neuropil : float
        Mean brightness of what lies between the cells, relative to a soma at rest.
    neuropil_waves : float
        How much the neuropil brightens and fades, slowly and everywhere.
    """

    contents = ("calcium",)

    photons_per_ms: NonNegativeFloat = 10.0
    cells: NonNegativeInt = 120
    area_um: tuple[PositiveFloat, PositiveFloat] = (600.0, 600.0)
    soma_um: PositiveFloat = 7.0
    soma_spread: NonNegativeFloat = 0.12
    z_spread_um: NonNegativeFloat = 3.0
    rate_per_min: NonNegativeFloat = Field(1.0, le=600)
    active_share: float = Field(0.7, ge=0, le=1)
    rise_s: PositiveFloat = 0.03
    decay_s: PositiveFloat = 0.5
    dff: NonNegativeFloat = 1.5
    dff_spread: NonNegativeFloat = 0.3
    neuropil: NonNegativeFloat = 0.45
    neuropil_waves: NonNegativeFloat = 0.1

    @model_validator(mode="after")
    def _rises_faster(self) -> CalciumCells:
        if self.rise_s >= self.decay_s:
            raise ValueError("rise_s must be shorter than decay_s")
        return self


@dataclass(frozen=True, slots=True, eq=False)
class Cells(Columns):
    """One row per cell.

    Attributes
    ----------
    decaying, rising : (n,)
        Sums over past spikes, at the start of the step: their difference is calcium.
    next_s : (n,)
        Of the next spike.
    spikes : (n,) int64
        Drawn so far.
    """

    cell_id: NDArray[np.int64]
    key: NDArray[np.uint64]
    xyz_um: NDArray[np.float64]
    radius_um: NDArray[np.float64]
    decaying: NDArray[np.float64]
    rising: NDArray[np.float64]
    next_s: NDArray[np.float64]
    spikes: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Spikes(Columns):
    """Spikes of one step: row of the cell, time, height (1 is `CalciumCells.dff`)."""

    row: NDArray[np.int64]
    onset_s: NDArray[np.float64]
    height: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Tissue:
    """All of a step; `dose` and `bleached` are of cells, then patches of neuropil."""

    cells: Cells
    haze_um: NDArray[np.float64]
    dose: NDArray[np.float64]
    bleached: NDArray[np.float64]
    spikes: Spikes
    begin_s: float
    events: tuple[TrueEvent, ...]


class CalciumCellsBiology(Biology[Tissue, CalciumCells]):
    """See `CalciumCells`."""

    model = CalciumCells
    step_s = 1.0

    def found(self, now: Now) -> Tissue:
        """Cells that keep their distance, in even neuropil."""
        p, n = self.p, self.p.cells
        rng = np.random.Generator(np.random.SFC64([self.seed & 0xFFFFFFFF, 0xCA2]))
        key = seed_key(self.seed, n)
        z_um = p.z_um + p.z_spread_um * normal(key, 1)
        active = uniform(key, 3) < p.active_share
        cells = Cells(
            cell_id=1 + np.arange(n),
            key=key,
            xyz_um=np.column_stack([spread_out(n, p.area_um, rng), z_um]),
            radius_um=p.soma_um * (1 + p.soma_spread * np.clip(normal(key, 2), -2, 2)),
            decaying=np.zeros(n),
            rising=np.zeros(n),
            next_s=np.where(active, self._gap_s(key, 0), np.inf),
            spikes=np.zeros(n, np.int64),
        )
        patches = int(np.ceil(p.area_um[0] * p.area_um[1] / _HAZE_AREA_UM2))
        # An additive sequence (Roberts 2018) fills the area evenly, yet not in rows.
        number = np.arange(patches) + uniform(seed_key(self.seed, 1), 5)
        even = np.mod(number[:, None] * _EVEN, 1.0) - 0.5
        height = 8 * normal(mix(seed_key(self.seed, patches), 5), 2)
        haze_um = np.column_stack([even * p.area_um, p.z_um + height])
        dark = np.zeros(n + patches)
        return self._draw_spikes(
            Tissue(cells, haze_um, dark, dark, _NO_SPIKES, now.t_s, ()), now
        )

    def _gap_s(self, key: NDArray[np.uint64], number: int) -> NDArray[np.float64]:
        if not self.p.rate_per_min:
            return np.full(len(key), np.inf)
        return np.asarray(
            -60 / self.p.rate_per_min * np.log1p(-uniform(mix(key, 100), number))
        )

    def step(self, state: Tissue, light: Light, now: Now) -> Tissue:
        """Collect light, let calcium decay, draw the spikes of the step."""
        decaying, rising = self._sums(state, now.t_s)
        cells = replace(state.cells, decaying=decaying, rising=rising)
        state = replace(
            state,
            cells=cells,
            dose=state.dose + light[HARM],
            bleached=state.bleached + light[BLEACHING],
            begin_s=now.t_s,
        )
        return self._draw_spikes(state, now)

    def _draw_spikes(self, state: Tissue, now: Now) -> Tissue:
        cells, p, end_s = state.cells, self.p, now.t_s + self.step_s
        strong = vigour(state.dose[: len(cells)], p.harm_dose)
        next_s, count = cells.next_s.copy(), cells.spikes.copy()
        drawn = _NO_SPIKES
        while (due := np.flatnonzero(next_s < end_s)).size:
            keys = mix(cells.key[due] + count[due].astype(np.uint64), 7)
            height = np.exp(p.dff_spread * normal(keys, 1) - p.dff_spread**2 / 2)
            # Harmed cells fall silent: some of their spikes do not happen.
            fires = uniform(keys, 2) < strong[due]
            drawn = drawn.followed_by(
                Spikes(due[fires], next_s[due[fires]], height[fires])
            )
            count[due] += 1
            next_s[due] += self._gap_s(keys, 3)
        drawn = drawn.rows(np.argsort(drawn.onset_s, kind="stable"))
        return replace(
            state,
            cells=replace(cells, next_s=next_s, spikes=count),
            spikes=drawn,
            events=state.events + self._events(cells, drawn, now),
        )

    def _events(self, cells: Cells, drawn: Spikes, now: Now) -> tuple[TrueEvent, ...]:
        rise_s, decay_s = self.p.rise_s, self.p.decay_s
        peak_s = log(decay_s / rise_s) * decay_s * rise_s / (decay_s - rise_s)
        places = cells.xyz_um[drawn.row, :2] + now.drift_um[:2]
        return tuple(
            TrueEvent(
                "transient",
                int(cells.cell_id[row]),
                onset_s,
                onset_s + peak_s + _END * decay_s,
                x_um,
                y_um,
                peak_s=onset_s + peak_s,
            )
            for row, onset_s, (x_um, y_um) in zip(
                drawn.row.tolist(), drawn.onset_s.tolist(), places.tolist(), strict=True
            )
        )

    # --- calcium

    def _sums(
        self, state: Tissue, t_s: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The decaying and the rising sum at `t_s`, in or at the end of the step."""
        cells, spikes = state.cells, state.spikes
        past = spikes.onset_s <= t_s
        row, since_s = spikes.row[past], t_s - spikes.onset_s[past]
        sums = []
        for tau, before in (
            (self.p.decay_s, cells.decaying),
            (self.p.rise_s, cells.rising),
        ):
            new = spikes.height[past] * np.exp(-since_s / tau)
            sums.append(
                before * np.exp(-(t_s - state.begin_s) / tau)
                + np.bincount(row, new, len(cells))
            )
        return sums[0], sums[1]

    def _calcium(self, state: Tissue, t_s: float) -> NDArray[np.float64]:
        """Delta F / F of each cell at a moment."""
        decaying, rising = self._sums(state, t_s)
        return self._scale() * (decaying - rising)

    def _mean_calcium(
        self, state: Tissue, t_s: float, lasts_s: float
    ) -> NDArray[np.float64]:
        """Mean delta F / F over a time around `t_s`: exact, by integrals."""
        if lasts_s < 1e-6:
            return self._calcium(state, t_s)
        first_s, last_s = t_s - lasts_s / 2, t_s + lasts_s / 2
        before, after = self._sums(state, first_s), self._sums(state, last_s)
        spikes = state.spikes
        within = (spikes.onset_s > first_s) & (spikes.onset_s <= last_s)
        gained = np.bincount(
            spikes.row[within], spikes.height[within], len(state.cells)
        )
        # Each sum S obeys S' = -S/tau + spikes, so its integral is what it lost.
        area_decaying = self.p.decay_s * (before[0] + gained - after[0])
        area_rising = self.p.rise_s * (before[1] + gained - after[1])
        return self._scale() * (area_decaying - area_rising) / lasts_s

    def _scale(self) -> float:
        """Makes the peak of a mean transient `dff`."""
        ratio = self.p.rise_s / self.p.decay_s
        peak = exp(log(ratio) * ratio / (1 - ratio)) - exp(log(ratio) / (1 - ratio))
        return self.p.dff / peak

    # --- looks

    def points(self, state: Tissue, after_s: float) -> NDArray[np.float64]:
        """Cells, then patches of neuropil."""
        return np.concatenate([state.cells.xyz_um, state.haze_um])

    def paint(self, state: Tissue, moment: Moment, picture: Picture) -> None:
        """Bodies with a dark nucleus, stumps of dendrites, neuropil."""
        p, cells = self.p, state.cells
        if not picture.full_ms[EXCITATION]:
            return
        n, full = len(cells), picture.photons(p.photons_per_ms)
        left = mean_unbleached(
            state.bleached + moment.light[BLEACHING],
            picture.light[BLEACHING],
            p.bleach_half_dose,
        )
        now_s = moment.now.t_s
        calcium = self._mean_calcium(state, now_s, picture.lasts_s)
        level = full * left[:n] * (0.6 + 0.8 * uniform(cells.key, 12)) * (1 + calcium)
        haze_um = moment.points_um[n:]
        waves = 1 + p.neuropil_waves * (
            np.sin(now_s / 3.1 + haze_um[:, 0] / 90)
            + np.sin(now_s / 4.7 - haze_um[:, 1] / 70)
        )
        key = mix(seed_key(self.seed, len(haze_um)), 6)
        sigma_um = 13 + 12 * uniform(key, 1)
        peak = (0.3 + 1.4 * uniform(key, 2)) * full * p.neuropil * waves * left[n:]
        peak *= _HAZE_AREA_UM2 / (2 * np.pi * sigma_um**2)
        picture.glows(haze_um, sigma_um=sigma_um, peak=peak)
        self._paint_cells(cells, moment.points_um[:n], level, picture)

    def _paint_cells(
        self,
        cells: Cells,
        xyz_um: NDArray[np.float64],
        level: NDArray[np.float64],
        picture: Picture,
    ) -> None:
        radius, key = cells.radius_um, cells.key
        angle, slim = np.pi * uniform(key, 10), 1 + 0.15 * uniform(key, 11)
        shape = {"angle": angle, "tile": (key >> np.uint64(40)).astype(np.int64)}
        picture.ellipses(
            xyz_um,
            long_um=radius * slim,
            short_um=radius / slim,
            peak=level,
            texture=0.7,
            **shape,
        )
        # The sensor is kept out of the nucleus.
        picture.ellipses(
            xyz_um,
            long_um=0.58 * radius * slim,
            short_um=0.58 * radius / slim,
            peak=-0.55 * level,
            **shape,
        )
        pixel2 = picture.pixel_map.pixel_um**2
        for number in range(_DENDRITES):
            mine = mix(key, 60 + number)
            way = 2 * np.pi * (uniform(mine, 1) + number) / _DENDRITES
            out = np.stack([np.cos(way), np.sin(way), np.zeros(len(way))], axis=1)
            reach = (radius * (1.6 + 1.5 * uniform(mine, 2)))[:, None]
            picture.lines(
                xyz_um + 0.8 * radius[:, None] * out,
                xyz_um + reach * out,
                width_um=3.0,
                per_um=0.5 * level / pixel2,
            )

    def describe(self, state: Tissue, moment: Moment) -> Truth:
        """Cells, their calcium, and all transients."""
        p, cells = self.p, state.cells
        n = len(cells)
        dose = state.dose[:n] + moment.light[HARM][:n]
        bleached = state.bleached[:n] + moment.light[BLEACHING][:n]
        calcium = self._calcium(state, moment.now.t_s)
        return moment.truth(
            cells.cell_id,
            xyz_um=moment.points_um[:n],
            radius_um=cells.radius_um,
            phase="interphase",
            brightness=unbleached(bleached, p.bleach_half_dose),
            dose=dose,
            alive=dose < 2 * p.harm_dose,
            events=state.events,
            measures={"calcium": calcium},
            scalars={"mean_calcium": float(calcium.mean()) if n else 0.0},
        )


_NO_SPIKES = Spikes(np.zeros(0, np.int64), np.zeros(0), np.zeros(0))
