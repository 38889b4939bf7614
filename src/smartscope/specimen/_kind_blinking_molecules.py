"""The kind `blinking_molecules`: single molecules on filaments that light switches."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat

from smartscope.specimen._biology import (
    ACTIVATION,
    BLEACHING,
    EXCITATION,
    HARM,
    Biology,
)
from smartscope.specimen._camera import Camera
from smartscope.specimen._columns import Columns
from smartscope.specimen._random import mix, normal, seed_key, uniform
from smartscope.specimen._sample import Sample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from smartscope.specimen._biology import Light, Moment, Now
    from smartscope.specimen._picture import Picture
    from smartscope.specimen._truth import Truth

_NODE_UM = 0.5
_STIFF_UM = 30.0
"""Way along which a filament keeps its direction."""
_HANDLE_UM = 0.015
"""Labels sit this far beside the axis of their filament."""
_BRIGHTNESS_SPREAD = 0.25


class BlinkingMolecules(Sample):
    """Photoswitchable labels on filaments, for single-molecule localisation.

    Each molecule is dark, on or bleached. The rates of a switch are proportional to
    light, as in the usual three-state scheme (Betzig et al., Science 313, 2006;
    Dempsey et al., Nature Methods 8, 2011): `activation` light (by default of no line;
    name one, for example ``activation: {"405": 1}``) switches on, `excitation` light
    makes those that are on shine and switches them off, and `bleaching` light destroys
    them. Destroyed ones are never replaced.

    The point-spread function of the defaults has a standard deviation of 130 nm at
    100x, `psf_um` x 10 / magnification, and pixels there are 100 nm.

    Attributes
    ----------
    area_um : (x, y)
        Extent of the sample around stage position (0, 0).
    filaments : int
    labels_per_um : float
        Of filament.
    on_per_percent_s : float
        Share of the dark ones that a percent-second of activation light switches on.
    on_per_s : float
        Rate at which dark ones switch on by themselves.
    off_per_percent_s : float
        Rate constant of switching off, per percent-second of excitation light.
    off_per_s : float
        Rate at which they switch off by themselves.
    photons_per_ms : float
        Of the whole spot of a molecule that is on.
    bleach_half_dose : float
        Percent-seconds that a molecule must have been on to be destroyed with a
        probability of one half.
    z_spread_um : float
        Standard deviation of the filaments' focus.
    patch_um : float
        Light is felt with this resolution.
    """

    contents = ("molecules", "filaments")

    area_um: tuple[PositiveFloat, PositiveFloat] = (50.0, 50.0)
    filaments: NonNegativeInt = 30
    labels_per_um: NonNegativeFloat = 25.0
    on_per_percent_s: NonNegativeFloat = 0.002
    on_per_s: NonNegativeFloat = 0.001
    off_per_percent_s: NonNegativeFloat = 0.1
    off_per_s: NonNegativeFloat = 0.2
    z_spread_um: NonNegativeFloat = 0.15
    patch_um: PositiveFloat = 2.5
    psf_um: PositiveFloat = 1.3
    photons_per_ms: NonNegativeFloat = 25.0
    background_photons_per_ms: NonNegativeFloat = 0.15
    bleach_half_dose: PositiveFloat = 30.0
    camera: Camera = Camera(kind="emccd")
    drift_um_s: tuple[float, float, float] = (0.0003, -0.0002, 0.0001)


@dataclass(frozen=True, slots=True, eq=False)
class Glowing(Columns):
    """Molecules that are on.

    Attributes
    ----------
    off_left, bleach_left : ndarray
        What is left to bear until it switches off or is destroyed; drawn from
        exponential laws, in units of rate constant times light.
    """

    index: NDArray[np.int64]
    off_left: NDArray[np.float64]
    bleach_left: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Switching:
    """Who glows during part of a step, and in which share of it.

    Attributes
    ----------
    glowing : Glowing
        As it began, or as it switched on.
    begin, end : ndarray
        From which share of the part to which; beyond 1 is still on at its end.
    bleached : ndarray bool
        Destroyed rather than switched off at the end.
    """

    glowing: Glowing
    begin: NDArray[np.float64]
    end: NDArray[np.float64]
    bleached: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Molecules:
    """All molecules through one step; patches are where light is felt.

    Attributes
    ----------
    step : int
    glowing : Glowing
    wakes : ndarray (molecules,)
        How much urge to switch on its patch must have felt until it does; inf for
        those that are on or destroyed.
    urge, dose : ndarray (patches,)
        Felt since the start.
    lit : ndarray (patches,) bool
        Had excitation light when there was some last.
    destroyed : int
    """

    step: int
    glowing: Glowing
    wakes: NDArray[np.float64]
    urge: NDArray[np.float64]
    dose: NDArray[np.float64]
    lit: NDArray[np.bool_]
    destroyed: int


class BlinkingMoleculesBiology(Biology[Molecules, BlinkingMolecules]):
    """See `BlinkingMolecules`.

    Switching is exact for light that comes evenly through a step: thresholds are drawn
    ahead, and each instant asks how much of them light has used up.
    """

    model = BlinkingMolecules
    step_s = 0.02

    def __init__(self, seed: int, parameters: BlinkingMolecules) -> None:
        super().__init__(seed, parameters)
        p = self.p
        self._threads_um = _filaments(p, seed)
        self._xyz_um = _labels(p, seed, self._threads_um)
        self._key = seed_key(seed, len(self._xyz_um))
        self._shine = np.exp(_BRIGHTNESS_SPREAD * normal(self._key, 21))
        count = [max(1, math.ceil(side / p.patch_um)) for side in p.area_um]
        cell = (self._xyz_um[:, :2] / np.array(p.area_um) + 0.5) * count
        x, y = np.clip(cell.astype(np.int64), 0, np.array(count) - 1).T
        self._patch = x * count[1] + y
        sides = [
            (np.arange(n) + 0.5) * side / n - side / 2
            for n, side in zip(count, p.area_um, strict=True)
        ]
        grid = np.stack(np.meshgrid(*sides, indexing="ij"), -1).reshape(-1, 2)
        self._patches_um = np.column_stack([grid, np.full(len(grid), p.z_um)])
        self._patch_um2 = p.area_um[0] * p.area_um[1] / len(grid)

    def found(self, now: Now) -> Molecules:
        """All dark."""
        patches, none = len(self._patches_um), np.zeros(0)
        return Molecules(
            step=now.step,
            glowing=Glowing(np.zeros(0, np.int64), none, none),
            wakes=_exponential(uniform(self._key, 22)),
            urge=np.zeros(patches),
            dose=np.zeros(patches),
            lit=np.ones(patches, np.bool_),
            destroyed=0,
        )

    def step(self, state: Molecules, light: Light, now: Now) -> Molecules:
        """Switch on, off and forever off."""
        urge = state.urge + self._urge(light, self.step_s)
        seen = self._switching(state, light, self.step_s)
        stays = seen.end > 1
        share = (1 - seen.begin)[stays]
        glowing = seen.glowing.rows(stays)
        off, bleach = self._wear(light, self.step_s, glowing.index)
        wakes = state.wakes.copy()
        wakes[glowing.index] = np.inf
        gone = seen.glowing.index[~stays & seen.bleached]
        wakes[gone] = np.inf
        dark = seen.glowing.index[~stays & ~seen.bleached]
        chance = uniform(self._key[dark], 1000 + 4 * state.step)
        wakes[dark] = urge[self._patch[dark]] + _exponential(chance)
        lit = light[EXCITATION] > 0
        return Molecules(
            step=now.step,
            glowing=replace(
                glowing,
                off_left=glowing.off_left - off * share,
                bleach_left=glowing.bleach_left - bleach * share,
            ),
            wakes=wakes,
            urge=urge,
            dose=state.dose + light[HARM],
            lit=lit if lit.any() else state.lit,
            destroyed=state.destroyed + len(gone),
        )

    def points(self, state: Molecules, after_s: float) -> NDArray[np.float64]:
        """Middle of each patch."""
        return self._patches_um

    def paint(self, state: Molecules, moment: Moment, picture: Picture) -> None:
        """Spots of those that are on; or all filaments, as if none ever bleached."""
        # Molecules are counted whole: their light does not grow with the pixels.
        full = picture.photons(self.p.photons_per_ms) / picture.binning**2
        if picture.content == "filaments":
            ends = self._threads_um + moment.now.drift_um
            start, end = ends[:, :-1].reshape(-1, 3), ends[:, 1:].reshape(-1, 3)
            dim = 0.02 * full * self.p.labels_per_um
            picture.lines(start, end, width_um=2 * _HANDLE_UM, per_um=dim)
            return
        light = {role: moment.light[role] + got for role, got in picture.light.items()}
        seen = self._switching(state, light, moment.now.after_s)
        rows = seen.glowing.index
        where = self._patch[rows]
        # Shares are of all light since the step began, of which this shot is the last.
        all_light = np.maximum(light[EXCITATION][where], 1e-300)
        first = moment.light[EXCITATION][where] / all_light
        overlap = np.minimum(seen.end, 1) - np.maximum(seen.begin, first)
        lasting = np.maximum(overlap, 0) / np.maximum(1 - first, 1e-12)
        picture.spots(
            self._xyz_um[rows] + moment.now.drift_um,
            total=full * lasting * self._shine[rows],
        )

    def describe(self, state: Molecules, moment: Moment) -> Truth:
        """Those that are on at this moment, and how dense they are where it is lit."""
        seen = self._switching(state, moment.light, moment.now.after_s)
        rows = np.sort(seen.glowing.index[seen.end > 1])
        lit = moment.light[EXCITATION] > 0
        lit = lit if lit.any() else state.lit
        inside = int(lit[self._patch[rows]].sum())
        dose = state.dose + moment.light[HARM]
        total = max(len(self._key), 1)
        return moment.truth(
            rows + 1,
            xyz_um=self._xyz_um[rows] + moment.now.drift_um,
            radius_um=_HANDLE_UM,
            dose=dose[self._patch[rows]],
            scalars={
                "density_per_um2": inside / float(lit.sum() * self._patch_um2),
                "emitters_on": float(len(rows)),
                "unbleached": 1 - state.destroyed / total,
            },
        )

    # --- switching

    def _urge(self, light: Light, after_s: float) -> NDArray[np.float64]:
        """Rate constant of switching on times light and time, per patch."""
        p = self.p
        return p.on_per_s * after_s + p.on_per_percent_s * light[ACTIVATION]

    def _wear(
        self, light: Light, after_s: float, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What switches off and what destroys, for molecules `rows`."""
        p, where = self.p, self._patch[rows]
        off = p.off_per_s * after_s + p.off_per_percent_s * light[EXCITATION][where]
        return off, light[BLEACHING][where] * (math.log(2) / p.bleach_half_dose)

    def _switching(self, state: Molecules, light: Light, after_s: float) -> Switching:
        """Who has glowed since the step began, given the light since."""
        urge = self._urge(light, after_s)
        reached = (state.urge + urge)[self._patch]
        woken = np.flatnonzero(state.wakes < reached)
        where = self._patch[woken]
        key = self._key[woken]
        fresh = Glowing(
            woken,
            _exponential(uniform(key, 1001 + 4 * state.step)),
            _exponential(uniform(key, 1002 + 4 * state.step)),
        )
        glowing = state.glowing.followed_by(fresh)
        begin = np.concatenate(
            [
                np.zeros(len(state.glowing)),
                (state.wakes[woken] - state.urge[where]) / urge[where],
            ]
        )
        off, bleach = self._wear(light, after_s, glowing.index)
        until_off = glowing.off_left / np.maximum(off, 1e-300)
        until_bleached = glowing.bleach_left / np.maximum(bleach, 1e-300)
        return Switching(
            glowing,
            begin,
            begin + np.minimum(until_off, until_bleached),
            until_bleached < until_off,
        )


def _exponential(chance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Numbers of a unit exponential law, for chances in [0, 1)."""
    return np.asarray(-np.log1p(-chance))


def _filaments(p: BlinkingMolecules, seed: int) -> NDArray[np.float64]:
    """Nodes (filaments, n, 3) of smooth random walks that cross the area."""
    key = mix(seed_key(seed, p.filaments), 31)
    nodes = math.ceil(1.2 * max(p.area_um) / _NODE_UM)
    width = math.sqrt(2 * _NODE_UM / _STIFF_UM)
    turns = [width * normal(key, 100 + i) for i in range(nodes)]
    heading = 2 * np.pi * uniform(key, 1)[:, None] + np.cumsum(np.stack(turns, 1), 1)
    moves = _NODE_UM * np.stack([np.cos(heading), np.sin(heading)], -1)
    xy_um = np.cumsum(moves, axis=1)
    xy_um -= xy_um[:, nodes // 2, None]
    middle = np.stack([uniform(key, 2), uniform(key, 3)], 1) - 0.5
    xy_um += (middle * np.array(p.area_um))[:, None]
    z_um = p.z_um + p.z_spread_um * normal(key, 4)
    z_um = np.broadcast_to(z_um[:, None, None], (*xy_um.shape[:2], 1))
    return np.concatenate([xy_um, z_um], axis=2)


def _labels(
    p: BlinkingMolecules, seed: int, threads_um: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Places (n, 3) of labels inside the area."""
    pieces = threads_um.shape[1] - 1
    count = round(len(threads_um) * pieces * _NODE_UM * p.labels_per_um)
    key = mix(seed_key(seed, count), 32)
    which = (uniform(key, 1) * len(threads_um)).astype(np.int64)
    along = uniform(key, 2) * pieces
    node = along.astype(np.int64)
    start, end = threads_um[which, node], threads_um[which, node + 1]
    xyz_um = start + (end - start) * (along - node)[:, None]
    xyz_um[:, 0] += _HANDLE_UM * normal(key, 3)
    xyz_um[:, 1] += _HANDLE_UM * normal(key, 4)
    inside = (np.abs(xyz_um[:, :2]) < np.array(p.area_um) / 2).all(axis=1)
    return np.asarray(xyz_um[inside])
