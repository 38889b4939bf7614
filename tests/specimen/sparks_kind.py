"""A kind of our own: cells that flash now and then, in two kinds of channel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from pydantic import NonNegativeInt, PositiveFloat

from smartscope.specimen._biology import BLEACHING, HARM, Biology
from smartscope.specimen._columns import Columns
from smartscope.specimen._events import TrueEvent
from smartscope.specimen._harm import mean_unbleached, unbleached
from smartscope.specimen._random import normal, seed_key, uniform
from smartscope.specimen._sample import Sample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from smartscope.specimen._biology import Light, Moment, Now
    from smartscope.specimen._picture import Picture
    from smartscope.specimen._truth import Truth


class Sparks(Sample):
    """Flashing cells; `channels: {PRESET: cells | brightfield}`."""

    contents = ("cells", "brightfield")
    cells: NonNegativeInt = 20
    every_s: PositiveFloat = 30.0
    decay_s: PositiveFloat = 0.2


@dataclass(frozen=True, slots=True, eq=False)
class Cells(Columns):
    """One row per cell."""

    cell_id: NDArray[np.int64]
    key: NDArray[np.uint64]
    xyz_um: NDArray[np.float64]
    flash_s: NDArray[np.float64]
    dose: NDArray[np.float64]
    bleached: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """Cells of a step, and all events drawn so far, also ahead of time."""

    cells: Cells
    events: tuple[TrueEvent, ...]


class SparksBiology(Biology[State, Sparks]):
    """See `Sparks`."""

    model = Sparks

    def found(self, now: Now) -> State:
        """Cells at random places."""
        n, key = self.p.cells, seed_key(self.seed, self.p.cells)
        x, y = (512 * (uniform(key, salt) - 0.5) for salt in (1, 2))
        z = self.p.z_um + normal(key, 3)
        cells = Cells(
            1 + np.arange(n),
            key,
            np.stack([x, y, z], 1),
            self.p.every_s * uniform(key, 4),
            np.zeros(n),
            np.zeros(n),
        )
        return self._draw_events(State(cells, ()), now)

    def step(self, state: State, light: Light, now: Now) -> State:
        """Collect light; the dead vanish; draw the flashes of the coming step."""
        old = state.cells
        cells = replace(
            old, dose=old.dose + light[HARM], bleached=old.bleached + light[BLEACHING]
        ).rows(old.dose < 2 * self.p.harm_dose)
        return self._draw_events(replace(state, cells=cells), now)

    def points(self, state: State, after_s: float) -> NDArray[np.float64]:
        return state.cells.xyz_um

    def paint(self, state: State, moment: Moment, picture: Picture) -> None:
        p, cells = self.p, state.cells
        if picture.content == "brightfield":
            dark = -0.3 * picture.photons(p.brightfield_photons_per_ms, "transmission")
            picture.ellipses(moment.points_um, long_um=8, short_um=8, peak=dark)
            return
        left = mean_unbleached(
            cells.bleached + moment.light[BLEACHING],
            picture.light[BLEACHING],
            p.bleach_half_dose,
        )
        level = picture.photons(p.photons_per_ms) * left * self._calcium(cells, moment)
        picture.ellipses(moment.points_um, long_um=8, short_um=6, peak=level)

    def describe(self, state: State, moment: Moment) -> Truth:
        cells = state.cells
        return moment.truth(
            cells.cell_id,
            radius_um=7.0,
            dose=cells.dose + moment.light[HARM],
            brightness=unbleached(cells.bleached, self.p.bleach_half_dose),
            events=state.events,
            measures={"calcium": self._calcium(cells, moment)},
            scalars={"cells": float(len(cells))},
        )

    def _calcium(self, cells: Cells, moment: Moment) -> NDArray[np.float64]:
        since = moment.now.t_s - cells.flash_s
        flash = np.exp(-np.maximum(since, 0) / self.p.decay_s)
        return np.where(since >= 0, 0.1 + flash, 0.1)

    def _draw_events(self, state: State, now: Now) -> State:
        cells, end_s = state.cells, now.t_s + self.step_s
        due = cells.flash_s < now.t_s - 5 * self.p.decay_s
        gap = -self.p.every_s * np.log1p(-uniform(cells.key, 100 + now.step))
        flash_s = np.where(due, np.maximum(now.t_s, cells.flash_s + gap), cells.flash_s)
        new = np.flatnonzero((flash_s >= now.t_s) & (flash_s < end_s))
        events = tuple(
            TrueEvent(
                "transient",
                int(cells.cell_id[i]),
                float(flash_s[i]),
                float(flash_s[i]) + 3 * self.p.decay_s,
                *(cells.xyz_um[i, :2] + now.drift_um[:2]).tolist(),
                peak_s=float(flash_s[i]),
            )
            for i in new[np.argsort(flash_s[new])]
        )
        return State(replace(cells, flash_s=flash_s), state.events + events)
