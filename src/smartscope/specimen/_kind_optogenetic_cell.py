"""The kind `optogenetic_cell`: edges that follow light, a reporter that counts it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from smartscope.specimen._biology import (
    ACTIVATION,
    BLEACHING,
    HARM,
    TRANSMISSION,
    Biology,
)
from smartscope.specimen._columns import Columns
from smartscope.specimen._harm import mean_unbleached, unbleached, vigour
from smartscope.specimen._population import push_apart, spread_out
from smartscope.specimen._random import normal, seed_key, uniform
from smartscope.specimen._sample import Sample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from smartscope.specimen._biology import Light, Moment, Now
    from smartscope.specimen._picture import Picture
    from smartscope.specimen._truth import Truth

_EDGE = 48
"""Points along the edge of a cell."""
_INNER = 12
_FEELERS = _EDGE + _INNER + 1
_FINE = 4
"""Corners of a drawn outline for each point of the edge."""
_ANGLES = 2 * np.pi * np.arange(_EDGE) / _EDGE
_RAYS = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], 1)
_RUFFLES = (2, 3, 4, 5, 6)
_PUSH_PER_S = 0.05


class OptogeneticCell(Sample):
    """Cells steered and switched by `activation` light (name its lines).

    Where it falls on the edge, the edge protrudes, elsewhere it retracts, at constant
    area, as with photoactivatable Rac (Wu et al., Nature 461, 2009): the edge moves
    outwards at `edge_um_s` times local less mean activity. Activity follows a
    saturating function of light with a first-order lag. Light without a pattern falls
    on all of the edge and moves nothing.

    The same light makes a reporter, with first-order decay, as in light-inducible
    transcription (Milias-Argeitis et al., Nature Communications 7, 2016): level' =
    `reporter_per_percent_s` x percent - level / `reporter_decay_s`.

    Attributes
    ----------
    cells : int
        One alone starts in the middle of the sample.
    area_um : (x, y)
        Where they start, around stage position (0, 0).
    radius_um : float
    edge_um_s : float
        Speed of an edge of full activity where the mean is none.
    half_percent : float
        Light that makes half of the full activity.
    response_s : float
        Time constant of the activity.
    rounding_s : float
        Time constant with which tension rounds the cell.
    wander_um_s, persistence_s : float
        Speed of the cell's own walk, and how long it keeps its direction.
    ruffle_um_s : float
        Speed of the edge's own restlessness.
    reporter_per_percent_s, reporter_decay_s : float
        Induction and decay; a level of 1 is as bright as the cell marker.
    """

    contents = ("cell", "reporter", "brightfield")

    cells: PositiveInt = 1
    area_um: tuple[PositiveFloat, PositiveFloat] = (120.0, 120.0)
    radius_um: PositiveFloat = 12.0
    edge_um_s: NonNegativeFloat = 0.2
    half_percent: PositiveFloat = 2.0
    response_s: PositiveFloat = 6.0
    rounding_s: PositiveFloat = 90.0
    wander_um_s: NonNegativeFloat = 0.01
    persistence_s: PositiveFloat = 300.0
    ruffle_um_s: NonNegativeFloat = 0.05
    reporter_per_percent_s: NonNegativeFloat = 0.0005
    reporter_decay_s: PositiveFloat = 300.0
    harm_dose: PositiveFloat = 50000.0


@dataclass(frozen=True, slots=True, eq=False)
class Cells(Columns):
    """One row per cell; edges are distances from the centroid in `_EDGE` directions.

    Attributes
    ----------
    centre_um : ndarray (n, 2)
    push_um_s : ndarray (n, 2)
        Velocity of the whole cell during the step: neighbours push.
    edge_um, edge_um_s : ndarray (n, _EDGE)
    activity : ndarray (n, _EDGE)
        0..1.
    heading : ndarray (n,)
        Of its own walk, rad.
    """

    cell_id: NDArray[np.int64]
    key: NDArray[np.uint64]
    centre_um: NDArray[np.float64]
    push_um_s: NDArray[np.float64]
    edge_um: NDArray[np.float64]
    edge_um_s: NDArray[np.float64]
    activity: NDArray[np.float64]
    heading: NDArray[np.float64]
    reporter: NDArray[np.float64]
    dose: NDArray[np.float64]
    bleached: NDArray[np.float64]

    def edges(self, after_s: float) -> NDArray[np.float64]:
        """Distances from the centroid some time into the step."""
        return np.asarray(self.edge_um + self.edge_um_s * after_s)

    def centres(self, after_s: float) -> NDArray[np.float64]:
        """What the edges are measured from."""
        return np.asarray(self.centre_um + self.push_um_s * after_s)


class OptogeneticCellBiology(Biology[Cells, OptogeneticCell]):
    """See `OptogeneticCell`."""

    model = OptogeneticCell
    step_s = 1.0

    def found(self, now: Now) -> Cells:
        """Round, dark and still."""
        p, n = self.p, self.p.cells
        key = seed_key(self.seed, n)
        places = np.zeros((1, 2))
        if n > 1:
            places = spread_out(n, p.area_um, np.random.default_rng(self.seed))
        zero, edge = np.zeros(n), np.zeros((n, _EDGE))
        cells = Cells(
            1 + np.arange(n), key, places, np.zeros((n, 2)), edge + p.radius_um,
            edge, edge, 2 * np.pi * uniform(key, 1), zero, zero, zero,
        )  # fmt: skip
        return self._ahead(cells, now)

    def step(self, state: Cells, light: Light, now: Now) -> Cells:
        """Edges move, activity and reporter follow the light."""
        p, n = self.p, len(state)
        felt = light[ACTIVATION].reshape(n, _FEELERS)
        percent = felt[:, :_EDGE] / self.step_s
        aim = percent / (percent + p.half_percent)
        share = 1 - math.exp(-self.step_s / p.response_s)
        turn = math.sqrt(2 * self.step_s / p.persistence_s)
        cells = replace(
            self._moved(state),
            activity=state.activity + share * (aim - state.activity),
            heading=state.heading + turn * normal(state.key, 1000 + now.step),
            reporter=self._reporter(state, light, self.step_s),
            dose=state.dose + _mean(light[HARM]),
            bleached=state.bleached + _mean(light[BLEACHING]),
        )
        return self._ahead(cells, now)

    def points(self, state: Cells, after_s: float) -> NDArray[np.float64]:
        """For each cell its edge, a ring inside and the middle, (n * _FEELERS, 3)."""
        edge = state.edges(after_s)[:, :, None] * _RAYS
        inner = 0.5 * edge[:, :: _EDGE // _INNER]
        local = np.concatenate([edge, inner, np.zeros((len(state), 1, 2))], axis=1)
        xy_um = (local + state.centres(after_s)[:, None]).reshape(-1, 2)
        return np.column_stack([xy_um, np.full(len(xy_um), self.p.z_um)])

    def speed_um_s(self, state: Cells) -> float:
        """Of the fastest edge."""
        return float(np.abs(state.edge_um_s).max(initial=0.0))

    def paint(self, state: Cells, moment: Moment, picture: Picture) -> None:
        """Filled outlines with a rim and a nucleus."""
        p, after_s = self.p, moment.now.after_s
        outlines = self._outlines(state, moment)
        z_um = np.full(len(state), p.z_um + moment.now.drift_um[2])
        middle = np.column_stack([self._centroids(state, moment), z_um])
        nucleus_um = 0.38 * p.radius_um
        if picture.content == "brightfield":
            ground = picture.photons(p.brightfield_photons_per_ms, TRANSMISSION)
            picture.outlines(outlines, z_um=z_um, peak=-0.06 * ground)
            self._rims(picture, outlines, z_um, -0.5 * ground)
            picture.ellipses(
                middle, long_um=nucleus_um, short_um=nucleus_um, peak=-0.1 * ground
            )
            return
        left = mean_unbleached(
            state.bleached + _mean(moment.light[BLEACHING]),
            _mean(picture.light[BLEACHING]),
            p.bleach_half_dose,
        )
        level = picture.photons(p.photons_per_ms) * left
        if picture.content == "reporter":
            made = self._reporter(state, moment.light, after_s)
            picture.outlines(outlines, z_um=z_um, peak=level * made)
            return
        picture.outlines(outlines, z_um=z_um, peak=0.6 * level)
        self._rims(picture, outlines, z_um, 0.5 * level)
        picture.ellipses(
            middle, long_um=nucleus_um, short_um=nucleus_um, peak=-0.3 * level
        )

    def describe(self, state: Cells, moment: Moment) -> Truth:
        """Cells by their centroid; the reporter and the mean activity are measures."""
        p, after_s = self.p, moment.now.after_s
        dose = state.dose + _mean(moment.light[HARM])
        bleached = state.bleached + _mean(moment.light[BLEACHING])
        z_um = np.full(len(state), p.z_um + moment.now.drift_um[2])
        return moment.truth(
            state.cell_id,
            xyz_um=np.column_stack([self._centroids(state, moment), z_um]),
            radius_um=np.sqrt(_area(state.edges(after_s)) / np.pi),
            brightness=unbleached(bleached, p.bleach_half_dose),
            dose=dose,
            alive=dose < 2 * p.harm_dose,
            measures={
                "reporter": self._reporter(state, moment.light, after_s),
                "activity": state.activity.mean(axis=1),
            },
        )

    # --- motion

    def _reporter(
        self, state: Cells, light: Light, after_s: float
    ) -> NDArray[np.float64]:
        p = self.p
        made = p.reporter_per_percent_s * _mean(light[ACTIVATION])
        made *= vigour(state.dose, p.harm_dose)
        decayed = state.reporter * math.exp(-after_s / p.reporter_decay_s)
        # What came during the step has decayed for half of it, on average.
        return np.asarray(decayed + made * math.exp(-after_s / 2 / p.reporter_decay_s))

    def _moved(self, state: Cells) -> Cells:
        """Edges after the step, again measured from the centroid, at the old area."""
        edge = np.maximum(state.edges(self.step_s), 0.2 * self.p.radius_um)
        offset = _centroid(edge)
        corners = edge[:, :, None] * _RAYS - offset[:, None]
        angle = np.arctan2(corners[:, :, 1], corners[:, :, 0])
        reach = np.linalg.norm(corners, axis=2)
        edge = np.stack(
            [
                np.interp(_ANGLES, a, r, period=2 * np.pi)
                for a, r in zip(angle, reach, strict=True)
            ]
        )
        full = math.pi * self.p.radius_um**2
        edge *= np.sqrt(full / _area(edge))[:, None]
        centre = state.centres(self.step_s) + offset
        return replace(state, edge_um=edge, centre_um=centre)

    def _ahead(self, cells: Cells, now: Now) -> Cells:
        """Velocities of the coming step."""
        p = self.p
        ruffle = np.zeros((len(cells), _EDGE))
        for lobes in _RUFFLES:
            phase = 2 * np.pi * uniform(cells.key, 10 + lobes)[:, None]
            pace = 0.02 * lobes * (-1) ** lobes
            ruffle += np.cos(lobes * _ANGLES + phase + pace * now.t_s)
        own = p.ruffle_um_s / len(_RUFFLES) * ruffle
        own += p.wander_um_s * np.cos(_ANGLES - cells.heading[:, None])
        driven = cells.activity - cells.activity.mean(axis=1, keepdims=True)
        able = vigour(cells.dose, p.harm_dose)[:, None]
        tension = cells.edge_um.mean(axis=1, keepdims=True) - cells.edge_um
        speed = able * (p.edge_um_s * driven + own) + tension / p.rounding_s
        radius = np.full(len(cells), p.radius_um)
        push = push_apart(cells.centre_um, radius, _PUSH_PER_S)
        return replace(cells, edge_um_s=speed, push_um_s=push)

    # --- looks

    def _outlines(self, state: Cells, moment: Moment) -> list[NDArray[np.float64]]:
        edge = state.edges(moment.now.after_s)
        fine = np.fft.irfft(np.fft.rfft(edge), _FINE * _EDGE) * _FINE
        angles = 2 * np.pi * np.arange(_FINE * _EDGE) / (_FINE * _EDGE)
        rays = np.stack([np.cos(angles), np.sin(angles)], 1)
        centres = state.centres(moment.now.after_s) + moment.now.drift_um[:2]
        return list(fine[:, :, None] * rays + centres[:, None])

    def _centroids(self, state: Cells, moment: Moment) -> NDArray[np.float64]:
        after_s = moment.now.after_s
        inside = _centroid(state.edges(after_s))
        return np.asarray(state.centres(after_s) + inside + moment.now.drift_um[:2])

    def _rims(
        self,
        picture: Picture,
        outlines: list[NDArray[np.float64]],
        z_um: NDArray[np.float64],
        peak: NDArray[np.float64] | float,
    ) -> None:
        """A membrane 0.6 um wide along each outline."""
        width_um = 0.6
        ends = [
            np.column_stack([o, np.full(len(o), z)])
            for o, z in zip(outlines, z_um, strict=True)
        ]
        start = np.concatenate(ends)
        end = np.concatenate([np.roll(e, -1, axis=0) for e in ends])
        level = np.broadcast_to(peak, (len(outlines),)).repeat(_FINE * _EDGE)
        # Electrons per pixel over the width are electrons per um of length.
        per_um = level * width_um / picture.pixel_map.pixel_um**2
        picture.lines(start, end, width_um=width_um, per_um=per_um)


def _mean(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of each cell's points."""
    return np.asarray(light.reshape(-1, _FEELERS).mean(axis=1))


def _crosses(edge: NDArray[np.float64]) -> NDArray[np.float64]:
    # Twice the area of each triangle of the centre and two neighbouring corners.
    return np.asarray(edge * np.roll(edge, -1, axis=1) * math.sin(2 * np.pi / _EDGE))


def _area(edge: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(0.5 * _crosses(edge).sum(axis=1))


def _centroid(edge: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each polygon, (n, 2), from where its edge is measured."""
    corners = edge[:, :, None] * _RAYS
    third = (corners + np.roll(corners, -1, axis=1)) / 3
    weight = _crosses(edge)[:, :, None]
    return np.asarray((third * weight).sum(axis=1) / weight.sum(axis=1))
