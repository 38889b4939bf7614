"""What neighbours do together: drift of the sample, cells moving as a sheet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_NEIGHBOURS = 6
_LEAST_TRACKS = 5
# A common shift must explain this many times more tracks than standing still does.
_SUPPORT = 1.5


def common_shift(
    predicted: NDArray[np.float64],
    xy_um: NDArray[np.float64],
    far_um: float,
    near_um: float,
) -> NDArray[np.float64]:
    """Shift ``(dx, dy)`` in um by which most tracks meet an object.

    Every pair of a track and an object within `far_um` votes for its difference; the
    fullest disk of radius `near_um` wins if it beats no shift clearly.

    Parameters
    ----------
    predicted : ndarray (tracks, 2)
        Where tracks are expected, um.
    xy_um : ndarray (objects, 2)
        Where objects are, um.
    """
    zero = np.zeros(2)
    if len(predicted) < _LEAST_TRACKS or len(xy_um) < _LEAST_TRACKS:
        return zero
    near: Any = cKDTree(xy_um).query_ball_point(predicted, far_um, return_sorted=True)
    track = np.repeat(np.arange(len(predicted)), [len(rows) for rows in near])
    row = np.array([k for rows in near for k in rows], dtype=np.int64)
    votes = xy_um[row] - predicted[track]
    if len(votes) < _LEAST_TRACKS:
        return zero
    tree = cKDTree(votes)
    counts = np.asarray(tree.query_ball_point(votes, near_um, return_length=True))
    best = int(np.argmax(counts))
    still = len(tree.query_ball_point(zero, near_um))
    if counts[best] < max(_SUPPORT * still, _LEAST_TRACKS):
        return zero
    members = tree.query_ball_point(votes[best], near_um, return_sorted=True)
    return np.asarray(np.median(votes[members], axis=0))


def local_shift(
    base: NDArray[np.float64],
    xy_um: NDArray[np.float64],
    pairs: Sequence[tuple[int, int]],
) -> NDArray[np.float64]:
    """Median displacement of each track's nearest linked neighbours, itself left out.

    Parameters
    ----------
    base : ndarray (tracks, 2)
        Positions that displacements are counted from, um.
    xy_um : ndarray (objects, 2)
    pairs : (track row, object row)

    Returns
    -------
    ndarray (tracks, 2)
        um; zeros while fewer than five tracks are linked.
    """
    if len(pairs) < _LEAST_TRACKS:
        return np.zeros_like(base)
    linked = np.array(pairs, dtype=np.int64)
    moved = xy_um[linked[:, 1]] - base[linked[:, 0]]
    many = min(_NEIGHBOURS + 1, len(linked))
    _, nearest = cKDTree(base[linked[:, 0]]).query(base, many)
    own = linked[nearest, 0] == np.arange(len(base))[:, None]
    steps = np.where(own[..., None], np.nan, moved[nearest])
    # A track without a link of its own keeps all neighbours: drop the farthest.
    steps[~own.any(axis=1), -1] = np.nan
    return np.asarray(np.nanmedian(steps, axis=1))
