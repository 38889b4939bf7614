"""How a target was followed, from the truth of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.score import _measures as measures

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from smartscope.config import ScoreTarget
    from smartscope.score._film import Sights
    from smartscope.score._measures import Part


def of_target(
    truth: Mapping[str, NDArray[Any]], sights: Sights, target: ScoreTarget | None
) -> dict[str, Part]:
    """Measures of a target; none where nothing was to be followed, or ever lived.

    Parameters
    ----------
    truth : mapping of column to ndarray
        A row for each object and look; looks in order of time.
    sights : Sights
    target : ScoreTarget or None
    """
    if target is None:
        return {}
    living = {name: column[truth["alive"]] for name, column in truth.items()}
    its = living["cell_id"] == target.object_id
    if not its.any():
        return {}
    where_um = _places(living)[its]
    target_um = _at(sights.t_s, living["t_s"][its], where_um, np.unique(truth["t_s"]))
    away_um = target_um - sights.centre_um
    field_um = 2 / np.sqrt(abs(np.linalg.det(sights.to_field)).mean())
    return {
        **measures.tracking(
            target_um, sights.centre_um, sights.to_field, target.central
        ),
        "identity_kept": measures.identity_kept(
            measures.inside(away_um, sights.to_field, target.central),
            _nearest(living, its, sights),
        ),
        "path_fields": measures.path_fields(where_um, float(field_um)),
        "touched": _touched(living, its),
    }


def _at(
    t_s: NDArray[np.float64],
    seen_s: NDArray[np.float64],
    seen_um: NDArray[np.float64],
    looks_s: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Where the target was at `t_s`, (n, 2); nan from its last look on, if it died."""
    places = np.stack([np.interp(t_s, seen_s, xy) for xy in seen_um.T], axis=1)
    # Frames are looked at now and then: the last ones may have no look after them.
    to_last = seen_s[-1] == looks_s[-1]
    longest_s = float(np.diff(looks_s).max(initial=0.0)) if to_last else 0.0
    places[t_s > seen_s[-1] + longest_s] = np.nan
    return places


def _places(living: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
    return np.stack([living["x_um"], living["y_um"]], axis=1)


def _nearest(
    living: Mapping[str, NDArray[Any]], its: NDArray[np.bool_], sights: Sights
) -> NDArray[np.bool_]:
    """Whether no other is nearer to the middle of the field, sight by sight."""
    looks_s = np.unique(living["t_s"])
    between = (looks_s[1:] + looks_s[:-1]) / 2
    look = looks_s[np.searchsorted(between, sights.t_s)]
    begin, end = (
        np.searchsorted(living["t_s"], look, side) for side in ("left", "right")
    )
    places = _places(living)
    found = []
    for i, (a, b) in enumerate(zip(begin, end, strict=True)):
        way = places[a:b] - sights.centre_um[i]
        found.append(bool(its[a + int(np.argmin(np.hypot(*way.T)))]))
    return np.array(found)


def _touched(living: Mapping[str, NDArray[Any]], its: NDArray[np.bool_]) -> Part:
    """Looks at which another one overlaps the target, of all at which it lives."""
    if its.all():
        return measures.NO_PART
    _, look = np.unique(living["t_s"], return_inverse=True)
    row = np.full(look.max() + 1, -1)
    row[look[its]] = np.flatnonzero(its)
    other = np.flatnonzero(~its & (row[look] >= 0))
    its_row = row[look[other]]
    places, radius_um = _places(living), living["radius_um"]
    apart = np.hypot(*(places[other] - places[its_row]).T)
    touching = apart < radius_um[other] + radius_um[its_row]
    return float(len(np.unique(look[other[touching]]))), float(its.sum())
