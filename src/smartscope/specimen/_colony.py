"""A colony of dividing cells: its state at a step, and the next step.

Everything that will happen during a step is decided at its start, from what light was
received until then. So a state can be looked at anywhere inside its step, and nothing
depends on when anybody does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from smartscope.specimen._biology import BLEACHING, HARM
from smartscope.specimen._harm import vigour as vigour_of
from smartscope.specimen._population import (
    DYING,
    INTERPHASE,
    MITOSIS,
    SEPARATION,
    STEP_S,
    Population,
    appearance,
    cycle_lengths,
    daughters,
    push_apart,
    spread_out,
    turn,
)
from smartscope.specimen._random import mix, normal, seed_key, uniform
from smartscope.specimen._truth import Division

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from smartscope.specimen._biology import Light, Now
    from smartscope.specimen._dividing import DividingCells, Runner

_PACE_SPREAD = 0.25
_START_GAP = 0.7
"""Half the distance of new daughters, in typical nucleus radii."""
_ALONE = 2.5
"""Least distance of others from the runner at the start, in typical nucleus radii."""


@dataclass(frozen=True, slots=True, eq=False)
class Colony:
    """The colony through one step.

    Attributes
    ----------
    now : Now
        When the step began.
    """

    now: Now
    cells: Population
    next_id: int
    divisions: tuple[Division, ...]


def found_colony(p: DividingCells, seed: int, now: Now) -> Colony:
    """Make the colony as it is at the start."""
    cells = _first_cells(p, seed)
    if p.runner is not None:
        runner = _runner(p, p.runner, seed)
        cells = runner.followed_by(_beside(cells, p.runner, _ALONE * p.nucleus_um))
    return Colony(now, _set_off(cells, p), len(cells) + 1, ())


def next_step(colony: Colony, light: Light, p: DividingCells, now: Now) -> Colony:
    """Let one step pass.

    Parameters
    ----------
    light : Light
        What each cell received during the step.
    now : Now
        The end of the step.
    """
    old = colony.cells
    moved = old.position(STEP_S)
    vigour = vigour_of(old.dose, p.harm_dose)
    growing = (old.phase == INTERPHASE) | (old.phase == SEPARATION)
    cells = replace(
        old,
        x_um=moved[:, 0],
        y_um=moved[:, 1],
        progress=np.where(
            growing, old.progress + vigour * STEP_S / old.cycle_s, old.progress
        ),
        phase_s=old.phase_s + STEP_S,
        dose=old.dose + light[HARM],
        bleached=old.bleached + light[BLEACHING],
    )
    colony = replace(colony, now=now, cells=cells)
    return _set_off_all(_change_phases(colony, p), p)


def _change_phases(colony: Colony, p: DividingCells) -> Colony:
    colony = _bury(colony, p)
    colony = _settle(colony, p)
    colony = _split(colony, p)
    return _enter_mitosis(colony, p)


def _bury(colony: Colony, p: DividingCells) -> Colony:
    cells = colony.cells
    dying = cells.phase == DYING
    doomed = ~dying & (cells.dose >= 2 * p.harm_dose)
    gone = dying & (cells.phase_s >= p.death_s)
    if doomed.any():
        cells = _to_phase(cells, doomed, DYING)
    if gone.any():
        cells = cells.rows(~gone)
    return replace(colony, cells=cells)


def _settle(colony: Colony, p: DividingCells) -> Colony:
    cells = colony.cells
    apart = (cells.phase == SEPARATION) & (cells.phase_s >= p.mitosis_s)
    if not apart.any():
        return colony
    return replace(colony, cells=_to_phase(cells, apart, INTERPHASE))


def _split(colony: Colony, p: DividingCells) -> Colony:
    cells = colony.cells
    ripe = (cells.phase == MITOSIS) & (cells.phase_s >= p.mitosis_s)
    if not ripe.any():
        return colony
    parents = cells.rows(ripe)
    young = daughters(
        parents,
        colony.next_id,
        half_gap_um=np.full(len(parents), _START_GAP * p.nucleus_um),
        cycle_s=p.cell_cycle_s,
        cycle_spread=p.cell_cycle_spread,
    )
    return replace(
        colony,
        cells=cells.rows(~ripe).followed_by(young),
        next_id=colony.next_id + len(young),
        divisions=_note_split(colony, parents, p),
    )


def _note_split(
    colony: Colony, parents: Population, p: DividingCells
) -> tuple[Division, ...]:
    drift = colony.now.drift_um
    row = {int(parent): i for i, parent in enumerate(parents.cell_id)}

    def after(division: Division) -> Division:
        i = row.get(division.parent_id)
        if i is None:
            return division
        first = colony.next_id + 2 * i
        return replace(
            division,
            daughters=(first, first + 1),
            split_s=colony.now.t_s,
            end_s=colony.now.t_s + p.mitosis_s,
            x_um=float(parents.x_um[i] + drift[0]),
            y_um=float(parents.y_um[i] + drift[1]),
        )

    return tuple(after(division) for division in colony.divisions)


def _enter_mitosis(colony: Colony, p: DividingCells) -> Colony:
    cells = colony.cells
    due = np.flatnonzero(
        (cells.phase == INTERPHASE)
        & (cells.progress >= 1)
        & cells.fertile
        & (cells.dose < p.harm_dose)
    )
    if not len(due):
        return colony
    room = p.max_cells - len(cells) - int((cells.phase == MITOSIS).sum())
    due = due[: max(room, 0)]
    if not len(due):
        return colony
    entering = np.zeros(len(cells), bool)
    entering[due] = True
    drift = colony.now.drift_um
    begun = tuple(
        Division(
            parent_id=int(cells.cell_id[i]),
            daughters=(),
            onset_s=colony.now.t_s,
            split_s=math.nan,
            end_s=math.nan,
            x_um=float(cells.x_um[i] + drift[0]),
            y_um=float(cells.y_um[i] + drift[1]),
        )
        for i in due
    )
    cells = _to_phase(cells, entering, MITOSIS)
    axis = np.where(entering, 2 * math.pi * uniform(cells.key, 6), cells.axis)
    return replace(
        colony, cells=replace(cells, axis=axis), divisions=colony.divisions + begun
    )


def _to_phase(cells: Population, which: NDArray[np.bool_], phase: int) -> Population:
    return replace(
        cells,
        phase=np.where(which, np.int8(phase), cells.phase),
        phase_s=np.where(which, 0.0, cells.phase_s),
    )


def _set_off_all(colony: Colony, p: DividingCells) -> Colony:
    half = (p.area_um[0] / 2, p.area_um[1] / 2)
    cells = turn(colony.cells, colony.now.step, half)
    return replace(colony, cells=_set_off(cells, p))


def _set_off(cells: Population, p: DividingCells) -> Population:
    """Decide the velocities of the coming step."""
    # Rounded cells hold still; daughters go apart and then walk again.
    free = np.where(cells.phase == MITOSIS, 0.1, 1.0) * (cells.phase != DYING)
    parting = cells.phase == SEPARATION
    elapsed = np.clip(cells.phase_s / p.mitosis_s, 0.0, 1.0)
    free = np.where(parting, elapsed, free)
    way_um = max(p.separation_um / 2 - _START_GAP * p.nucleus_um, 0.0)
    away = np.where(parting, 2 * way_um / p.mitosis_s * (1 - elapsed), 0.0)
    own = cells.pace * vigour_of(cells.dose, p.harm_dose) * free
    looks = appearance(
        cells,
        0.0,
        nucleus_um=p.nucleus_um,
        mitosis_s=p.mitosis_s,
        death_s=p.death_s,
    )
    push = push_apart(cells.position(0.0), looks.radius_um, p.repulsion_per_s)
    return replace(
        cells,
        vx_um_s=own * np.cos(cells.heading) + away * np.cos(cells.axis) + push[:, 0],
        vy_um_s=own * np.sin(cells.heading) + away * np.sin(cells.axis) + push[:, 1],
    )


def _first_cells(p: DividingCells, seed: int) -> Population:
    n = p.cells
    rng = np.random.Generator(np.random.SFC64([seed & 0xFFFFFFFF, 0xCE11]))
    places = spread_out(n, p.area_um, rng)
    # Evenly spread over the cycle, not at random: then divisions come evenly, too.
    phase = (rng.permutation(n) + rng.uniform(0, 1, n)) / max(n, 1)
    progress = phase + p.synchrony * (0.97 - phase)
    key = seed_key(seed, n)
    pace = p.speed_um_s * np.exp(_PACE_SPREAD * normal(key, 7) - _PACE_SPREAD**2 / 2)
    return _new_cells(
        p, key, 1 + np.arange(n) + (p.runner is not None), places, pace, progress
    )


def _new_cells(
    p: DividingCells,
    key: NDArray[np.uint64],
    cell_id: NDArray[np.int64],
    places: NDArray[np.float64],
    pace: NDArray[np.float64],
    progress: NDArray[np.float64],
) -> Population:
    n = len(key)
    spread = p.brightness_spread
    return Population(
        cell_id=cell_id.astype(np.int64),
        parent_id=np.zeros(n, np.int64),
        key=key,
        x_um=places[:, 0].copy(),
        y_um=places[:, 1].copy(),
        z_um=p.z_um + p.z_spread_um * normal(key, 8),
        vx_um_s=np.zeros(n),
        vy_um_s=np.zeros(n),
        heading=2 * math.pi * uniform(key, 9),
        pace=pace,
        persistence_s=np.full(n, p.persistence_s),
        cycle_s=cycle_lengths(key, p.cell_cycle_s, p.cell_cycle_spread),
        progress=progress,
        phase=np.full(n, INTERPHASE, np.int8),
        phase_s=np.zeros(n),
        fertile=np.ones(n, bool),
        axis=np.zeros(n),
        angle=2 * math.pi * uniform(key, 10),
        aspect=1.1 + 0.5 * uniform(key, 5),
        signal=np.exp(spread * normal(key, 13) - spread**2 / 2),
        dose=np.zeros(n),
        bleached=np.zeros(n),
    )


def _runner(p: DividingCells, runner: Runner, seed: int) -> Population:
    key = mix(seed_key(seed, 1), 77)
    one = np.ones(1)
    cells = _new_cells(
        p,
        key,
        np.ones(1, np.int64),
        np.array([runner.start_um]),
        one * runner.speed_um_s,
        one * 0.5,
    )
    return replace(
        cells,
        persistence_s=one * runner.persistence_s,
        signal=one * runner.brightness,
        fertile=np.array([runner.divides]),
    )


def _beside(cells: Population, runner: Runner, gap_um: float) -> Population:
    """Move cells that would start on top of the runner to beside it."""
    away_x, away_y = (
        cells.x_um - runner.start_um[0],
        cells.y_um - runner.start_um[1],
    )
    away_um = np.hypot(away_x, away_y)
    # One exactly there may go anywhere.
    angle = np.where(away_um > 0, np.arctan2(away_y, away_x), cells.heading)
    out_um = np.maximum(gap_um - away_um, 0.0)
    return replace(
        cells,
        x_um=cells.x_um + out_um * np.cos(angle),
        y_um=cells.y_um + out_um * np.sin(angle),
    )
