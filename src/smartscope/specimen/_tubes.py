"""Bent tubes: where they begin, how they glide and bend, cutting and joining.

A tube is `NODES` points along its middle line, evenly spaced; between them it is a
smooth (Catmull-Rom) curve.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from smartscope.specimen._population import spread_out
from smartscope.specimen._random import mix, normal, seed_key, uniform

if TYPE_CHECKING:
    from numpy.typing import NDArray

NODES = 14
_PERSISTENCE_UM = 6.0
_GLIDE_S = 20.0
"""For how long a tube keeps its speed along itself."""
_MODES = 6
_FASTEST_BEND = 0.2
_BEND = 6.0
"""Stiffness over squared speed: so bends look the same at any speed."""
_HOLD_PER_S = 0.05
_BEAD_UM = 0.2


@dataclass(frozen=True, slots=True, eq=False)
class Beads:
    """Points close together along tubes.

    Attributes
    ----------
    tube : ndarray (m,) int64
        Row of the tube.
    along_um : ndarray (m,)
        Distance from the tube's first end.
    xy_um : ndarray (m, 2)
    """

    tube: NDArray[np.int64]
    along_um: NDArray[np.float64]
    xy_um: NDArray[np.float64]


def lengths(nodes_um: NDArray[np.float64]) -> NDArray[np.float64]:
    """Length of each tube (n, k, 2)."""
    step = np.diff(nodes_um, axis=1)
    return np.asarray(np.linalg.norm(step, axis=2).sum(axis=1))


def first_tubes(
    seed: int,
    cells: int,
    tubes: int,
    *,
    area_um: tuple[float, float],
    ring_um: tuple[float, float],
    length: tuple[float, float],
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Tubes in the rings around the nuclei of cells.

    Parameters
    ----------
    ring_um : (float, float)
        Radii of nucleus and cell.
    length : (float, float)
        Median, um, and standard deviation of the logarithm.

    Returns
    -------
    homes_um : ndarray (cells, 2)
    cell : ndarray (tubes,) int64
    nodes_um : ndarray (tubes, k, 2)
    """
    rng = np.random.Generator(np.random.SFC64([seed & 0xFFFFFFFF, 0x317]))
    homes_um = spread_out(cells, area_um, rng)
    key = seed_key(seed, tubes)
    cell = np.arange(tubes) % cells
    inner, outer = ring_um
    radius = inner + (outer - inner) * uniform(key, 21) ** 1.2
    bearing = 2 * np.pi * uniform(key, 22)
    # Wrapped around the nucleus where close to it, radial at the periphery.
    radial = uniform(key, 23) < (radius - inner) / (outer - inner)
    heading = bearing + np.where(radial, 0.0, np.pi / 2) + 0.5 * normal(key, 24)
    length_um = length[0] * np.exp(length[1] * np.clip(normal(key, 25), -2.5, 2.0))
    piece_um = length_um / (NODES - 1)
    turn = np.stack([normal(key, 30 + k) for k in range(NODES - 1)], axis=1)
    turn *= np.sqrt(piece_um / _PERSISTENCE_UM)[:, None]
    turn[:, 0] = 0.0
    theta = heading[:, None] + np.cumsum(turn, axis=1)
    steps = piece_um[:, None, None] * np.stack([np.cos(theta), np.sin(theta)], axis=2)
    path = np.concatenate([np.zeros((tubes, 1, 2)), np.cumsum(steps, axis=1)], axis=1)
    start = radius[:, None] * np.stack([np.cos(bearing), np.sin(bearing)], axis=1)
    path += (start - path.mean(axis=1))[:, None]
    away = np.linalg.norm(path, axis=2, keepdims=True)
    path *= np.clip(away, inner, outer) / np.maximum(away, 1e-6)
    return homes_um, cell, homes_um[cell][:, None] + resampled(path)


def curve(
    nodes_um: NDArray[np.float64], row: NDArray[np.int64], along: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Points (m, 2) on tubes `row` (m,) at fractions `along` (m,) of their length."""
    last = nodes_um.shape[1] - 1
    place = np.clip(along, 0.0, 1.0) * last
    k = np.minimum(place.astype(np.int64), last - 1)
    t = (place - k)[:, None]
    before, start = nodes_um[row, np.maximum(k - 1, 0)], nodes_um[row, k]
    end, after = nodes_um[row, k + 1], nodes_um[row, np.minimum(k + 2, last)]
    bend = t * (2 * before - 5 * start + 4 * end - after)
    bend += t * t * (3 * (start - end) + after - before)
    return np.asarray(start + 0.5 * t * (end - before + bend))


def site_of(
    nodes_um: NDArray[np.float64], site: NDArray[np.float64]
) -> NDArray[np.float64]:
    """One point (n, 2) on each tube, at a fraction of its length."""
    return curve(nodes_um, np.arange(len(nodes_um)), site)


def beads_of(nodes_um: NDArray[np.float64], length_um: NDArray[np.float64]) -> Beads:
    """Points so close together that blurred ones make a smooth tube."""
    count = np.ceil(length_um / _BEAD_UM).astype(np.int64) + 1
    tube = np.repeat(np.arange(len(count)), count)
    number = np.arange(len(tube)) - np.repeat(np.cumsum(count) - count, count)
    along = (number + 0.5) / count[tube]
    return Beads(tube, along * length_um[tube], curve(nodes_um, tube, along))


def resampled(nodes_um: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same lines (n, j, 2) with `NODES` evenly spaced nodes."""
    step = np.linalg.norm(np.diff(nodes_um, axis=1), axis=2)
    reach = np.concatenate([np.zeros((len(step), 1)), np.cumsum(step, axis=1)], axis=1)
    at = np.linspace(0.0, 1.0, NODES)
    even = np.empty((len(nodes_um), NODES, 2))
    for i, (far, line) in enumerate(zip(reach, nodes_um, strict=True)):
        for axis in (0, 1):
            even[i, :, axis] = np.interp(at * far[-1], far, line[:, axis])
    return even


def cut(
    nodes_um: NDArray[np.float64],
    site: NDArray[np.float64],
    gap: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both parts of each tube; a fraction `gap` is missing on each side."""
    n = len(nodes_um)
    at = np.linspace(0.0, 1.0, NODES)
    row = np.repeat(np.arange(n), NODES)
    low, high = (site - gap)[:, None], (site + gap)[:, None]
    first = curve(nodes_um, row, (low * at).ravel())
    second = curve(nodes_um, row, (high + (1 - high) * at).ravel())
    return first.reshape(n, NODES, 2), second.reshape(n, NODES, 2)


def join(
    one_um: NDArray[np.float64], two_um: NDArray[np.float64], at_end: tuple[bool, bool]
) -> NDArray[np.float64]:
    """One tube (k, 2) of two; `at_end` says which end of each one touches."""
    head = one_um if at_end[0] else one_um[::-1]
    tail = two_um[::-1] if at_end[1] else two_um
    return np.asarray(resampled(np.concatenate([head, tail])[None])[0])


def advance(
    nodes_um: NDArray[np.float64],
    key: NDArray[np.uint64],
    step: int,
    *,
    length_um: NDArray[np.float64],
    glide_um_s: NDArray[np.float64],
    recoil_um_s: NDArray[np.float64],
    speed_um_s: float,
    vigour: NDArray[np.float64],
    home_um: NDArray[np.float64],
    ring_um: tuple[float, float],
    dt_s: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where tubes are after `dt_s`, and how fast they then glide along themselves.

    They glide, bend and wander like stiff threads in a bath (a worm-like chain), stay
    out of the nucleus and inside their cell, and keep their length.
    """
    tangent = np.gradient(nodes_um, axis=1)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=2, keepdims=True), 1e-9)
    active = (vigour * speed_um_s)[:, None]
    along = (vigour * glide_um_s + recoil_um_s) * dt_s
    side = np.zeros(nodes_um.shape[:2])
    at = np.linspace(0.0, np.pi, nodes_um.shape[1])
    stepped = mix(key, 900 + step)
    limp = np.minimum(length_um / _PERSISTENCE_UM, 1.0)
    for mode in range(_MODES):
        # A short tube is stiff: it hardly bends.
        push = (normal(stepped, mode) * limp**mode / (1 + mode))[:, None]
        side += push * np.cos(mode * at)
    side *= active * np.sqrt(dt_s)
    across = np.stack([-tangent[:, :, 1], tangent[:, :, 0]], axis=2)
    moved = nodes_um + tangent * along[:, None, None] + across * side[:, :, None]
    moved += (
        _straightening(nodes_um)
        * np.minimum(_BEND * dt_s * active**2, _FASTEST_BEND)[:, :, None]
    )
    moved += (
        _hold(nodes_um - home_um[:, None], ring_um)
        * np.minimum(_HOLD_PER_S * dt_s * active / 0.03, _FASTEST_BEND)[:, :, None]
    )
    middle = moved.mean(axis=1, keepdims=True)
    moved = middle + (moved - middle) * (length_um / lengths(moved))[:, None, None]
    keep = np.exp(-dt_s / _GLIDE_S)
    fresh = speed_um_s * np.sqrt(1 - keep**2) * normal(stepped, 9)
    return moved, glide_um_s * keep + fresh


def _straightening(nodes_um: NDArray[np.float64]) -> NDArray[np.float64]:
    bend = np.zeros_like(nodes_um)
    bend[:, 1:-1] = nodes_um[:, 2:] - 2 * nodes_um[:, 1:-1] + nodes_um[:, :-2]
    return bend


def _hold(
    from_home_um: NDArray[np.float64], ring_um: tuple[float, float]
) -> NDArray[np.float64]:
    """Way back into the ring, for nodes outside of it."""
    away = np.linalg.norm(from_home_um, axis=2, keepdims=True)
    back = np.clip(away, *ring_um) - away
    return np.asarray(back * from_home_um / np.maximum(away, 1e-6))
