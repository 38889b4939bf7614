"""The kind `bacteria`: colonies of rods that grow, divide and push each other.

Cells add a constant length between divisions (Taheri-Araghi et al., Current Biology
2015) and elongate exponentially. Seen in fluorescence, or label-free as in phase
contrast: dark rods in a bright halo.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from smartscope.specimen._biology import (
    BLEACHING,
    EXCITATION,
    HARM,
    TRANSMISSION,
    Backdrop,
    Biology,
)
from smartscope.specimen._columns import Columns
from smartscope.specimen._events import NAN, TrueEvent
from smartscope.specimen._harm import mean_unbleached, unbleached, vigour
from smartscope.specimen._population import spread_out
from smartscope.specimen._random import mix, normal, seed_key, uniform
from smartscope.specimen._rods import axis_ends, push_apart
from smartscope.specimen._sample import Sample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from smartscope.specimen._biology import Light, Moment, Now
    from smartscope.specimen._picture import Picture
    from smartscope.specimen._truth import Truth

_ROUNDS = 6
_CONSTRICTS = 0.88
"""Share of the length at division at which the constriction begins."""
_CROWDED = 0.8
"""Growth slows down from this share of `Bacteria.max_cells` on."""
_BLUNT = 0.35
"""Of the width: how much shorter than the cell its axis is drawn, for round caps."""
_THICK = 1.3
"""The Gaussian cross-section of this many widths has its half maximum at the wall."""
_DARK, _HALO, _HALO_WIDTH = 0.95, 0.2, 3.4
"""Phase contrast: depth of the cell, height of the halo, and its width in widths."""


class Bacteria(Sample):
    """Parameters; `channels: {PRESET: fluorescence | phase}`.

    Attributes
    ----------
    cells : int
        At the start, each far from the others.
    max_cells : int
        Food for this many: growth slows down and stops there.
    area_um : (x, y)
        The first cells are spread over it, around ``(0, 0)``.
    width_um : float
    birth_um : float
        Mean length at birth; also what is added before division.
    length_spread : float
        Relative standard deviation of the added length.
    doubling_s : float
        Mean time in which a cell doubles its length.
    growth_spread : float
        Relative standard deviation of single cells' growth rates.
    brightness_spread : float
        Standard deviation of the logarithm of cells' brightness.
    wiggle : float
        Standard deviation of the turn of each daughter at birth, rad.
    """

    contents = ("fluorescence", "phase")

    # At 10x; at 100x they are a tenth, as those of an oil objective.
    psf_um: PositiveFloat = 1.0
    depth_of_field_um: PositiveFloat = 5.0
    photons_per_ms: NonNegativeFloat = 15.0
    cells: NonNegativeInt = 6
    max_cells: PositiveInt = 400
    area_um: tuple[PositiveFloat, PositiveFloat] = (40.0, 40.0)
    width_um: PositiveFloat = 0.9
    birth_um: PositiveFloat = 2.2
    length_spread: NonNegativeFloat = 0.12
    doubling_s: PositiveFloat = 1500.0
    growth_spread: NonNegativeFloat = 0.1
    brightness_spread: NonNegativeFloat = 0.25
    wiggle: NonNegativeFloat = 0.06


@dataclass(frozen=True, slots=True, eq=False)
class Rods(Columns):
    """One row per cell.

    Attributes
    ----------
    length_um : (n,)
        From pole to pole.
    divides_um : (n,)
        Length at which it divides.
    moving_um_s, turning_s, growing_um_s
        During the step.
    event : (n,) int
        Index of its division, or -1.
    """

    cell_id: NDArray[np.int64]
    parent_id: NDArray[np.int64]
    key: NDArray[np.uint64]
    xy_um: NDArray[np.float64]
    angle: NDArray[np.float64]
    length_um: NDArray[np.float64]
    divides_um: NDArray[np.float64]
    moving_um_s: NDArray[np.float64]
    turning_s: NDArray[np.float64]
    growing_um_s: NDArray[np.float64]
    signal: NDArray[np.float64]
    event: NDArray[np.int64]
    dose: NDArray[np.float64]
    bleached: NDArray[np.float64]

    def after(self, s: float) -> Rods:
        """They as they are `s` seconds into the step."""
        return replace(
            self,
            xy_um=self.xy_um + s * self.moving_um_s,
            angle=self.angle + s * self.turning_s,
            length_um=self.length_um + s * self.growing_um_s,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Colonies:
    """All of a step."""

    rods: Rods
    next_id: int
    events: tuple[TrueEvent, ...]


class BacteriaBiology(Biology[Colonies, Bacteria]):
    """See `Bacteria`."""

    model = Bacteria
    step_s = 4.0

    # --- life

    def found(self, now: Now) -> Colonies:
        """Single cells of all ages."""
        p, n = self.p, self.p.cells
        rng = np.random.Generator(np.random.SFC64([self.seed & 0xFFFFFFFF, 0xBAC]))
        key = seed_key(self.seed, n)
        born_um = p.birth_um * np.ones(n)
        divides_um = born_um + self._added_um(key)
        spread = p.brightness_spread
        rods = Rods(
            cell_id=1 + np.arange(n),
            parent_id=np.zeros(n, np.int64),
            key=key,
            xy_um=spread_out(n, p.area_um, rng),
            angle=2 * np.pi * uniform(key, 2),
            length_um=born_um + uniform(key, 3) * (divides_um - born_um),
            divides_um=divides_um,
            moving_um_s=np.zeros((n, 2)),
            turning_s=np.zeros(n),
            growing_um_s=np.zeros(n),
            signal=np.exp(spread * normal(key, 4) - spread**2 / 2),
            event=np.full(n, -1),
            dose=np.zeros(n),
            bleached=np.zeros(n),
        )
        return self._grow(Colonies(rods, 1 + n, ()), now)

    def _added_um(self, key: NDArray[np.uint64]) -> NDArray[np.float64]:
        noise = self.p.length_spread * np.clip(normal(key, 1), -2.5, 2.5)
        # A daughter must be longer than wide.
        return np.maximum(self.p.birth_um * (1 + noise), 0.2 * self.p.birth_um)

    def step(self, state: Colonies, light: Light, now: Now) -> Colonies:
        """Grow, push, collect light, divide."""
        old, half = state.rods, self.p.bleach_half_dose
        grown = old.after(self.step_s)
        # Growth makes new, unbleached proteins.
        left = unbleached(old.bleached + light[BLEACHING], half)
        left = 1 - (1 - left) * old.length_um / grown.length_um
        rods = replace(
            grown,
            dose=old.dose + light[HARM],
            bleached=-half * np.log2(np.maximum(left, 1e-12)),
        )
        return self._grow(self._divide(replace(state, rods=rods), now), now)

    def _divide(self, state: Colonies, now: Now) -> Colonies:
        p, rods = self.p, state.rods
        ripe = np.flatnonzero((rods.length_um >= rods.divides_um) & (rods.event >= 0))
        ripe = ripe[: max(p.max_cells - len(rods), 0)]
        if not len(ripe):
            return state
        events = list(state.events)
        places = rods.xy_um[ripe] + now.drift_um[:2]
        for i, (x_um, y_um) in zip(rods.event[ripe], places.tolist(), strict=True):
            events[i] = replace(events[i], end_s=now.t_s, x_um=x_um, y_um=y_um)
        mothers = rods.rows(ripe)
        first = 0.5 + 0.02 * np.clip(normal(mothers.key, 7), -2, 2)
        young = self._daughter(mothers, 0, first, state.next_id)
        young = young.followed_by(self._daughter(mothers, 1, 1 - first, state.next_id))
        young = young.rows(np.argsort(young.cell_id))
        rest = rods.rows(np.delete(np.arange(len(rods)), ripe))
        return Colonies(
            rest.followed_by(young), state.next_id + len(young), tuple(events)
        )

    def _daughter(
        self, mothers: Rods, side: int, share: NDArray[np.float64], next_id: int
    ) -> Rods:
        key = mix(mothers.key, 20 + side)
        length_um = share * mothers.length_um
        out = np.stack([np.cos(mothers.angle), np.sin(mothers.angle)], axis=1)
        off_um = (side - 0.5) * (mothers.length_um - length_um)
        return replace(
            mothers,
            cell_id=next_id + side + 2 * np.arange(len(mothers)),
            parent_id=mothers.cell_id,
            key=key,
            xy_um=mothers.xy_um + off_um[:, None] * out,
            angle=mothers.angle + self.p.wiggle * normal(key, 8),
            length_um=length_um,
            divides_um=length_um + self._added_um(key),
            event=np.full(len(mothers), -1),
        )

    def _grow(self, state: Colonies, now: Now) -> Colonies:
        """Decide growth and motion of the step, note constrictions that begin."""
        p, rods, dt_s = self.p, state.rods, self.step_s
        food = (p.max_cells - len(rods)) / ((1 - _CROWDED) * p.max_cells)
        pace = np.maximum(1 + p.growth_spread * normal(rods.key, 9), 0.1)
        pace *= vigour(rods.dose, p.harm_dose) * np.clip(food, 0.0, 1.0)
        # One that could not divide for want of food does not grow on for ever.
        pace *= rods.length_um < 1.5 * rods.divides_um
        growing = rods.length_um * np.expm1(np.log(2) * dt_s / p.doubling_s * pace)
        growing = growing / dt_s
        axis_um = np.maximum(rods.length_um + growing * dt_s - p.width_um, 0.0)
        xy_um, angle = push_apart(rods.xy_um, rods.angle, axis_um, p.width_um, _ROUNDS)
        rods = replace(
            rods,
            moving_um_s=(xy_um - rods.xy_um) / dt_s,
            turning_s=(angle - rods.angle) / dt_s,
            growing_um_s=growing,
        )
        return self._note_constrictions(replace(state, rods=rods), now)

    def _note_constrictions(self, state: Colonies, now: Now) -> Colonies:
        rods = state.rods
        missing_um = _CONSTRICTS * rods.divides_um - rods.length_um
        wait_s = missing_um / np.maximum(rods.growing_um_s, 1e-12)
        starts = (rods.event < 0) & (wait_s < self.step_s) & (rods.growing_um_s > 0)
        onset_s = now.t_s + np.maximum(wait_s, 0.0)
        rows = np.flatnonzero(starts)
        rows = rows[np.argsort(onset_s[rows], kind="stable")]
        event = rods.event.copy()
        event[rows] = len(state.events) + np.arange(len(rows))
        places = rods.xy_um + now.drift_um[:2]
        new = tuple(
            TrueEvent(
                "division",
                int(rods.cell_id[i]),
                float(onset_s[i]),
                NAN,
                *places[i].tolist(),
            )
            for i in rows
        )
        return replace(
            state, rods=replace(rods, event=event), events=state.events + new
        )

    # --- looks

    def points(self, state: Colonies, after_s: float) -> NDArray[np.float64]:
        """Middle of each cell."""
        rods = state.rods
        xy_um = rods.xy_um + after_s * rods.moving_um_s
        return np.column_stack([xy_um, np.full(len(rods), self.p.z_um)])

    def speed_um_s(self, state: Colonies) -> float:
        """Of the fastest cell."""
        return float(np.linalg.norm(state.rods.moving_um_s, axis=1).max(initial=0.0))

    def backdrop(self, content: str) -> Backdrop:
        """Phase contrast has a bright field."""
        if content == "phase":
            return Backdrop(self.p.brightfield_photons_per_ms, TRANSMISSION)
        return super().backdrop(content)

    def paint(self, state: Colonies, moment: Moment, picture: Picture) -> None:
        """Rods, each as two halves with a constriction that deepens between them."""
        p, rods = self.p, state.rods.after(moment.now.after_s)
        pixel2 = picture.pixel_map.pixel_um**2
        wide_um, halo_um = _THICK * p.width_um, _HALO_WIDTH * p.width_um
        # What a Gaussian cross-section holds for its peak, per um of its width.
        across = np.sqrt(2 * np.pi) / 4 / pixel2
        if picture.content == "phase":
            field = picture.photons(p.brightfield_photons_per_ms, TRANSMISSION)
            halo, dark = _HALO * field * across, -_DARK * field * across
            self._lines(rods, moment, picture, halo * halo_um, halo_um)
            self._lines(rods, moment, picture, dark * wide_um, wide_um)
        elif picture.full_ms[EXCITATION]:
            left = mean_unbleached(
                rods.bleached + moment.light[BLEACHING],
                picture.light[BLEACHING],
                p.bleach_half_dose,
            )
            level = picture.photons(p.photons_per_ms) * rods.signal * left
            self._lines(rods, moment, picture, level * across * wide_um, wide_um)

    def _lines(
        self,
        rods: Rods,
        moment: Moment,
        picture: Picture,
        per_um: NDArray[np.float64] | float,
        width_um: float,
    ) -> None:
        blunt_um = _BLUNT * self.p.width_um
        axis_um = np.maximum(rods.length_um - blunt_um, 0.05)
        gap_um = np.minimum(self._constriction(rods) * blunt_um, axis_um - 0.04)
        middle = moment.points_um
        ends = axis_ends(middle[:, :2], rods.angle, axis_um)
        inner = axis_ends(middle[:, :2], rods.angle, gap_um)
        z_um = middle[:, 2:]
        # Light goes with the length of the cell, caps and constriction included.
        dense = per_um * rods.length_um / (axis_um - gap_um)
        for end, start in zip(ends, inner, strict=True):
            picture.lines(
                np.hstack([start, z_um]),
                np.hstack([end, z_um]),
                width_um=width_um,
                per_um=dense,
            )

    def _constriction(self, rods: Rods) -> NDArray[np.float64]:
        """How far the division of each is: 0 to 1."""
        begins = _CONSTRICTS * rods.divides_um
        done = (rods.length_um - begins) / (rods.divides_um - begins)
        return np.clip(done, 0.0, 1.0)

    def describe(self, state: Colonies, moment: Moment) -> Truth:
        """Cells, and all divisions."""
        p, rods = self.p, state.rods.after(moment.now.after_s)
        dose = rods.dose + moment.light[HARM]
        bleached = rods.bleached + moment.light[BLEACHING]
        constriction = self._constriction(rods)
        area_um2 = p.width_um * (rods.length_um - (1 - np.pi / 4) * p.width_um)
        return moment.truth(
            rods.cell_id,
            parent_id=rods.parent_id,
            radius_um=np.sqrt(area_um2 / np.pi),
            phase=np.where(constriction > 0, "division", "growth"),
            brightness=unbleached(bleached, p.bleach_half_dose),
            dose=dose,
            alive=dose < 2 * p.harm_dose,
            events=state.events,
            measures={
                "length_um": rods.length_um,
                "angle": rods.angle,
                "constriction": constriction,
            },
            scalars={"cells": float(len(rods)), "area_um2": float(area_um2.sum())},
        )
