"""Cells as arrays, and how they are at one moment."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from smartscope.specimen._columns import Columns
from smartscope.specimen._random import mix, normal, uniform

if TYPE_CHECKING:
    from numpy.typing import NDArray

INTERPHASE, MITOSIS, SEPARATION, DYING = range(4)
PHASES = np.array(["interphase", "mitosis", "separation", "dying"])

STEP_S = 1.0
"""Biology moves in steps of this much specimen time, however often it is looked at."""

_CONDENSED = 0.6
"""Area of a nucleus in mitosis over its area before."""


@dataclass(frozen=True, slots=True, eq=False)
class Population(Columns):
    """One entry per cell, ascending `cell_id`.

    Attributes
    ----------
    key : ndarray uint64
        Root of the cell's random numbers.
    x_um, y_um, z_um : ndarray
        In the sample without drift.
    vx_um_s, vy_um_s : ndarray
        Velocity during the present step.
    heading : ndarray
        Direction of its own walk, rad.
    pace : ndarray
        Its own speed, um/s.
    persistence_s : ndarray
        How long it keeps its heading.
    cycle_s : ndarray
        Length of its cell cycle.
    progress : ndarray
        Through interphase, 0..1.
    phase : ndarray int8
    phase_s : ndarray
        Time in the phase, s.
    fertile : ndarray bool
        Whether it ever divides.
    axis : ndarray
        Direction in which it will divide or has come from, rad.
    angle, aspect : ndarray
        Of the long axis of its nucleus, rad; long over short axis.
    signal : ndarray
        Brightness relative to the typical cell.
    dose, bleached : ndarray
        Harming and bleaching light received, percent-seconds.
    """

    cell_id: NDArray[np.int64]
    parent_id: NDArray[np.int64]
    key: NDArray[np.uint64]
    x_um: NDArray[np.float64]
    y_um: NDArray[np.float64]
    z_um: NDArray[np.float64]
    vx_um_s: NDArray[np.float64]
    vy_um_s: NDArray[np.float64]
    heading: NDArray[np.float64]
    pace: NDArray[np.float64]
    persistence_s: NDArray[np.float64]
    cycle_s: NDArray[np.float64]
    progress: NDArray[np.float64]
    phase: NDArray[np.int8]
    phase_s: NDArray[np.float64]
    fertile: NDArray[np.bool_]
    axis: NDArray[np.float64]
    angle: NDArray[np.float64]
    aspect: NDArray[np.float64]
    signal: NDArray[np.float64]
    dose: NDArray[np.float64]
    bleached: NDArray[np.float64]

    def position(self, after_s: float) -> NDArray[np.float64]:
        """``(x_um, y_um)``, (n, 2), some time into the present step."""
        return np.stack(
            [self.x_um + self.vx_um_s * after_s, self.y_um + self.vy_um_s * after_s], 1
        )


@dataclass(frozen=True, slots=True, eq=False)
class Appearance:
    """Nuclei at one moment, arrays (n,).

    Attributes
    ----------
    radius_um : float64
        Of the disc of the same area.
    aspect, angle : float64
    strength : float64
        Fluorescence per area relative to a typical unbleached interphase nucleus.
    texture : float64
        0..1, how much chromatin shows.
    rounded : float64
        1 in the middle of a division, when nucleus and cell are round; else 0.
    presence : float64
        1, falling to 0 while a dead cell falls apart.
    """

    radius_um: NDArray[np.float64]
    aspect: NDArray[np.float64]
    angle: NDArray[np.float64]
    strength: NDArray[np.float64]
    texture: NDArray[np.float64]
    rounded: NDArray[np.float64]
    presence: NDArray[np.float64]


def smooth(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """From 0 to 1 while `x` goes from 0 to 1, level at both ends."""
    x = np.clip(x, 0.0, 1.0)
    return np.asarray(x * x * (3.0 - 2.0 * x))


def appearance(
    cells: Population,
    after_s: float,
    *,
    nucleus_um: float,
    mitosis_s: float,
    death_s: float,
) -> Appearance:
    """How nuclei look some time into the present step.

    DNA doubles evenly through interphase together with the area, is conserved while
    the nucleus condenses, and is shared by the daughters: so the sum of light is
    continuous through a division.
    """
    phase_s = cells.phase_s + after_s
    mitosis, separation, dying = (
        cells.phase == p for p in (MITOSIS, SEPARATION, DYING)
    )
    content = 2.0 ** (np.clip(cells.progress, 0.0, 1.0) - 0.5)
    condensed = np.where(mitosis, smooth(phase_s / (0.4 * mitosis_s)), 0.0)
    condensed = np.where(separation, 1 - smooth(phase_s / mitosis_s), condensed)
    shrink = 1 - (1 - _CONDENSED) * condensed
    shrink = np.where(dying, 1 - 0.65 * smooth(phase_s / (0.3 * death_s)), shrink)
    presence = np.where(dying, 1 - smooth(phase_s / death_s), 1.0)
    # Daughters are plates across the axis of division that round up again.
    aspect = np.where(separation, 1.6, 1.0) * condensed + cells.aspect * (1 - condensed)
    return Appearance(
        radius_um=nucleus_um * np.sqrt(content * shrink),
        aspect=np.where(dying, 1 + (aspect - 1) * presence, aspect),
        angle=cells.angle,
        strength=cells.signal * presence / shrink,
        texture=1 - 0.6 * condensed,
        rounded=condensed,
        presence=presence,
    )


def spread_out(
    count: int, area_um: tuple[float, float], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Random places, (n, 2), that keep their distance (Mitchell's best candidate)."""
    half = np.array(area_um) / 2
    places = np.zeros((count, 2))
    for i in range(1, count):
        tried = rng.uniform(-half, half, size=(6, 2))
        gaps = np.linalg.norm(tried[:, None] - places[None, :i], axis=2).min(axis=1)
        places[i] = tried[np.argmax(gaps)]
    return places


def close_pairs(xy_um: NDArray[np.float64], reach_um: float) -> NDArray[np.int64]:
    """Index pairs ``(m, 2)``, i < j, ascending, nearer than `reach_um`."""
    if len(xy_um) < 2:
        return np.empty((0, 2), np.int64)
    pairs = cKDTree(xy_um).query_pairs(reach_um, output_type="ndarray")
    # Sums of floats depend on their order; a tree's order is nobody's promise.
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    return np.asarray(pairs[order], dtype=np.int64)


def push_apart(
    xy_um: NDArray[np.float64], radius_um: NDArray[np.float64], rate_per_s: float
) -> NDArray[np.float64]:
    """Velocity (n, 2), um/s, that takes overlapping neighbours apart."""
    push = np.zeros_like(xy_um)
    if rate_per_s == 0 or len(xy_um) < 2:
        return push
    pairs = close_pairs(xy_um, 2.2 * float(radius_um.max()))
    if not len(pairs):
        return push
    i, j = pairs.T
    apart = xy_um[i] - xy_um[j]
    distance = np.maximum(np.linalg.norm(apart, axis=1), 1e-9)
    overlap = np.maximum(1.1 * (radius_um[i] + radius_um[j]) - distance, 0.0)
    half = (0.5 * rate_per_s * overlap / distance)[:, None] * apart
    np.add.at(push, i, half)
    np.add.at(push, j, -half)
    return push


def turn(cells: Population, step: int, half_area_um: tuple[float, float]) -> Population:
    """Turn each cell a little at random, and back in where it left the area.

    A walk at constant speed whose heading diffuses: the direction is forgotten after
    `persistence_s`.
    """
    sigma = np.sqrt(2.0 * STEP_S / cells.persistence_s)
    heading = cells.heading + sigma * normal(cells.key, step + 1000)
    cos, sin = np.cos(heading), np.sin(heading)
    leaving_x = (np.abs(cells.x_um) > half_area_um[0]) & (cos * cells.x_um > 0)
    leaving_y = (np.abs(cells.y_um) > half_area_um[1]) & (sin * cells.y_um > 0)
    heading = np.where(leaving_x, math.pi - heading, heading)
    heading = np.where(leaving_y, -heading, heading)
    return replace(cells, heading=heading)


def daughters(
    parents: Population,
    first_id: int,
    *,
    half_gap_um: NDArray[np.float64],
    cycle_s: float,
    cycle_spread: float,
) -> Population:
    """Two cells for each parent, one after the other, on both sides of its axis."""
    twice = np.repeat(np.arange(len(parents)), 2)
    side = np.tile([1.0, -1.0], len(parents))
    both = parents.rows(twice)
    key = np.where(side > 0, mix(both.key, 11), mix(both.key, 12))
    axis = both.axis + np.where(side > 0, 0.0, math.pi)
    gap = half_gap_um[twice]
    return replace(
        both,
        cell_id=first_id + np.arange(len(both)),
        parent_id=both.cell_id,
        key=key,
        x_um=both.x_um + gap * np.cos(axis),
        y_um=both.y_um + gap * np.sin(axis),
        heading=axis,
        cycle_s=cycle_lengths(key, cycle_s, cycle_spread),
        progress=np.zeros(len(both)),
        phase=np.full(len(both), SEPARATION, np.int8),
        phase_s=np.zeros(len(both)),
        axis=axis,
        angle=axis + math.pi / 2 + 0.4 * normal(key, 4),
        aspect=1.1 + 0.5 * uniform(key, 5),
    )


def cycle_lengths(
    key: NDArray[np.uint64], mean_s: float, spread: float
) -> NDArray[np.float64]:
    """Length of each cell's cycle, s; never below a third of the mean."""
    return mean_s * np.maximum(1 + spread * normal(key, 3), 1 / 3)
