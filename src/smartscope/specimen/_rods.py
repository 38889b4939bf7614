"""Rods that push each other out of the way: spherocylinders in a plane.

A rod is a straight axis with round caps. Where two come closer than their width, the
contact pushes and turns both; a few rounds of this for each step of growth keep a
colony almost free of overlap (overdamped dynamics, as in Rudge et al., ACS Synthetic
Biology 2012, solved by relaxation).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from smartscope.specimen._population import close_pairs

if TYPE_CHECKING:
    from numpy.typing import NDArray

_GIVE = 0.35
"""Share of an overlap that one round takes away."""
_MOST = 0.25
"""No round moves a rod by more than this share of its width."""


def axis_ends(
    xy_um: NDArray[np.float64], angle: NDArray[np.float64], axis_um: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both ends (n, 2) of axes of given lengths (n,)."""
    half = 0.5 * axis_um[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return xy_um - half, xy_um + half


def push_apart(
    xy_um: NDArray[np.float64],
    angle: NDArray[np.float64],
    axis_um: NDArray[np.float64],
    width_um: float,
    rounds: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places (n, 2) and angles (n,) after some rounds of pushing."""
    reach_um = float(axis_um.max(initial=0.0)) + 1.5 * width_um
    pairs = close_pairs(xy_um, reach_um)
    for _ in range(rounds if len(pairs) else 0):
        shift, turn = _round(xy_um, angle, axis_um, width_um, pairs)
        xy_um, angle = xy_um + shift, angle + turn
    return xy_um, angle


def _round(
    xy_um: NDArray[np.float64],
    angle: NDArray[np.float64],
    axis_um: NDArray[np.float64],
    width_um: float,
    pairs: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    ends = axis_ends(xy_um, angle, axis_um)
    # Each end of each rod of a pair against the other rod's axis.
    own = np.concatenate([pairs[:, 0], pairs[:, 0], pairs[:, 1], pairs[:, 1]])
    other = np.concatenate([pairs[:, 1], pairs[:, 1], pairs[:, 0], pairs[:, 0]])
    half = len(pairs)
    is_second = np.tile(np.repeat([False, True], half), 2)[:, None]
    point = np.where(is_second, ends[1][own], ends[0][own])
    along = ends[1][other] - ends[0][other]
    share = ((point - ends[0][other]) * along).sum(axis=1)
    share /= np.maximum((along**2).sum(axis=1), 1e-9)
    touched = ends[0][other] + np.clip(share, 0.0, 1.0)[:, None] * along
    way = point - touched
    gap = np.linalg.norm(way, axis=1)
    close = gap < width_um
    own, other, gap = own[close], other[close], gap[close]
    way = way[close] / np.maximum(gap, 1e-9)[:, None]
    force = 0.5 * _GIVE * (width_um - gap)[:, None] * way
    shift, turn = np.zeros_like(xy_um), np.zeros_like(angle)
    for row, where, push in ((own, point, force), (other, touched, -force)):
        arm = where[close] - xy_um[row]
        inertia = (axis_um[row] + width_um) ** 2 / 6
        torque = (arm[:, 0] * push[:, 1] - arm[:, 1] * push[:, 0]) / inertia
        turn += np.bincount(row, torque, len(turn))
        for axis in (0, 1):
            shift[:, axis] += np.bincount(row, push[:, axis], len(turn))
    size = np.linalg.norm(shift, axis=1, keepdims=True)
    shift *= np.minimum(1.0, _MOST * width_um / np.maximum(size, 1e-9))
    return shift, np.clip(turn, -0.2, 0.2)
