"""Online linking: which object of this frame is which object of the frames before."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Cost of a link: squared distance over the gate, plus unlikeness. Unlikeness alone
# never forbids a link, a distance over the gate always does.
_LIMIT = 2.0
_AREA_WEIGHT = 0.6
_BRIGHT_WEIGHT = 0.6
_GAP_COST = 0.05
# Share of a new velocity that is believed: localisation noise is a large part of it.
_VELOCITY_GAIN = 0.3


@dataclass(slots=True, eq=False)
class Objects:
    """What one frame offers for linking, one row per detection.

    Attributes
    ----------
    xy_um : ndarray (n, 2) float64
        Sample coordinates.
    area_um2, bright : ndarray (n,) float64
        Both positive; `bright` in any unit that stays the same over time.
    """

    xy_um: NDArray[np.float64]
    area_um2: NDArray[np.float64]
    bright: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.xy_um)


@dataclass(slots=True, eq=False)
class Followed:
    """Bounded memory of one track: last sight, velocity, running size and brightness.

    `area_um2` and `bright` follow growth quickly and shrinking slowly, so that they
    still tell the size before rounding when a cell divides.
    """

    track_id: int
    xy_um: NDArray[np.float64]
    seen_s: float
    born_s: float
    area_um2: float
    bright: float
    parent: int | None = None
    v_um_s: NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))
    frames: int = 1
    missed: int = 0
    detection: int | None = None
    active: bool = False
    features: dict[str, float] = field(default_factory=dict)

    def predict(self, t_s: float, horizon_s: float) -> NDArray[np.float64]:
        """Position at `t_s`, at constant velocity for at most `horizon_s`."""
        ahead = min(max(t_s - self.seen_s, 0.0), horizon_s)
        return np.asarray(self.xy_um + self.v_um_s * ahead)

    def see(self, t_s: float, row: int, objects: Objects, reference_s: float) -> None:
        """Take detection `row` as this track's place at `t_s`."""
        step_s = t_s - self.seen_s
        xy = objects.xy_um[row]
        # A step much shorter than usual tells little about velocity or trend.
        weight = min(1.0, step_s / reference_s) if step_s > 0 else 0.0
        if step_s > 0:
            velocity = (xy - self.xy_um) / step_s
            self.v_um_s = self.v_um_s + _VELOCITY_GAIN * weight * (
                velocity - self.v_um_s
            )
        self.area_um2 = _follow(self.area_um2, float(objects.area_um2[row]), weight)
        self.bright = _follow(self.bright, float(objects.bright[row]), weight)
        self.xy_um, self.seen_s, self.detection = xy, t_s, row
        self.frames += 1
        self.missed = 0


def _follow(running: float, value: float, weight: float) -> float:
    return running + weight * (0.3 if value > running else 0.07) * (value - running)


def link(
    predicted: NDArray[np.float64],
    reach_um: NDArray[np.float64],
    tracks: list[Followed],
    objects: Objects,
) -> list[tuple[int, int]]:
    """Best gated one-to-one assignment of tracks to objects.

    Jaqaman et al. 2008, frame to frame: the cheapest set of links within the gates,
    where leaving a track or object alone costs as much as the worst link allowed.
    Solved apart for each group of tracks that compete.

    Parameters
    ----------
    predicted : ndarray (tracks, 2)
        Expected sample coordinates, um.
    reach_um : ndarray (tracks,)
        Gate of each track, um.

    Returns
    -------
    list of (track row, object row)
        Sorted by track row.
    """
    if not tracks or not len(objects):
        return []
    i, j, cost = _candidates(predicted, reach_um, tracks, objects)
    n, m = len(tracks), len(objects)
    alone = (np.bincount(i, minlength=n)[i] == 1) & (
        np.bincount(j, minlength=m)[j] == 1
    )
    pairs = list(zip(i[alone].tolist(), j[alone].tolist(), strict=True))
    i, j, cost = i[~alone], j[~alone], cost[~alone]
    if len(i):
        graph = coo_matrix((np.ones(len(i)), (i, n + j)), shape=(n + m, n + m))
        _, group = connected_components(graph, directed=False)
        order = np.argsort(group[i], kind="stable")
        cuts = np.flatnonzero(np.diff(group[i][order])) + 1
        for part in np.split(order, cuts):
            pairs += _solve(i[part], j[part], cost[part])
    return sorted(pairs)


def _candidates(
    predicted: NDArray[np.float64],
    reach_um: NDArray[np.float64],
    tracks: list[Followed],
    objects: Objects,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    near = cKDTree(objects.xy_um).query_ball_point(
        predicted, reach_um, return_sorted=True
    )
    i = np.repeat(np.arange(len(tracks)), [len(rows) for rows in near])
    j = np.array([row for rows in near for row in rows], dtype=np.int64)
    distance2 = ((predicted[i] - objects.xy_um[j]) ** 2).sum(axis=1) / reach_um[i] ** 2
    area = np.array([track.area_um2 for track in tracks])
    bright = np.array([track.bright for track in tracks])
    missed = np.array([track.missed for track in tracks])
    cost = (
        distance2
        + _AREA_WEIGHT * _unlike(area[i], objects.area_um2[j])
        + _BRIGHT_WEIGHT * _unlike(bright[i], objects.bright[j])
        + np.minimum(_GAP_COST * missed[i], 0.2)
    )
    good = cost < _LIMIT
    return i[good], j[good], cost[good]


def _unlike(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """0 for equal values, 1 for a factor of two or more."""
    return np.asarray(np.minimum(np.log2(a / b) ** 2, 1.0))


def _solve(
    i: NDArray[np.int64], j: NDArray[np.int64], cost: NDArray[np.float64]
) -> list[tuple[int, int]]:
    rows, row = np.unique(i, return_inverse=True)
    columns, column = np.unique(j, return_inverse=True)
    n, m = len(rows), len(columns)
    # The right block lets each track stay unlinked at the price of the limit.
    matrix = np.full((n, m + n), 4.0 * _LIMIT)
    matrix[row, column] = cost
    matrix[np.arange(n), m + np.arange(n)] = _LIMIT
    a, b = linear_sum_assignment(matrix)
    linked = (b < m) & (matrix[a, b] < _LIMIT)
    return list(zip(rows[a[linked]].tolist(), columns[b[linked]].tolist(), strict=True))
