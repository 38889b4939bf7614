"""The measures, as pure functions of times, places and truth.

Every one returns a numerator and a denominator, so that runs are pooled by adding
both. ``docs/scoreboard.md`` defines them in words.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from smartscope.score._match import Happened, Matched

Part = tuple[float, float]
"""Numerator and denominator; a denominator of 0 says that there was nothing."""

NO_PART: Part = (0.0, 0.0)
_FAST = 1.5
"""Frames at most so many target intervals apart are filmed at the target rate."""
_FIRST = 5
"""Frames whose median signal to noise is what is to be held."""
_LAST = 10
"""Frames at the end that show who is followed then."""
_STEP_UM = 0.1
"""A path is looked at in steps of this."""


def recall(matched: Matched) -> Part:
    """Events found, of those that had to be found."""
    return float(matched.found), float(len(matched.asked))


def precision(reports: int, matched: Matched) -> Part:
    """Reports that are of a true event, of all reports."""
    return float(reports - matched.false), float(reports)


def reported_after_s(matched: Matched) -> Part:
    """Time from onset to first report, summed over the events found."""
    delays = [
        report.seen_s - event.onset_s
        for event, report in zip(matched.asked, matched.reports, strict=True)
        if report is not None
    ]
    return float(sum(delays)), float(len(delays))


def filmed(
    event: Happened,
    t_s: NDArray[np.float64],
    sees: NDArray[np.bool_],
    interval_s: float,
) -> float:
    """Share of an event that was filmed at the target rate.

    A frame covers `interval_s` around its exposure; what no frame covers was not
    filmed at that rate. So a burst covers no more than its time, and a rate ten times
    too slow covers a tenth.

    Parameters
    ----------
    t_s : ndarray (n,) float64
        Times of all frames, ascending.
    sees : ndarray (n,) bool
        Whether the event lies in the frame.
    interval_s : float
        Time between frames at the target rate.
    """
    middle = t_s[sees]
    begin = np.maximum(middle - interval_s / 2, event.onset_s)
    end = np.minimum(middle + interval_s / 2, event.end_s)
    # Neighbours that overlap must not count twice.
    begin[1:] = np.maximum(begin[1:], end[:-1])
    covered = float(np.maximum(end - begin, 0.0).sum())
    return covered / (event.end_s - event.onset_s)


def coverage(
    events: Sequence[Happened],
    t_s: NDArray[np.float64],
    sees: Sequence[NDArray[np.bool_]],
    interval_s: float,
) -> Part:
    """Shares `filmed` summed over events, and how many events."""
    shares = [filmed(e, t_s, s, interval_s) for e, s in zip(events, sees, strict=True)]
    return float(sum(shares)), float(len(shares))


def fast_spans(t_s: NDArray[np.float64], interval_s: float) -> NDArray[np.float64]:
    """``(begin, end)`` of the times filmed at the target rate, (m, 2), s."""
    fast = np.flatnonzero(np.diff(t_s) <= _FAST * interval_s)
    if not len(fast):
        return np.empty((0, 2))
    first = np.flatnonzero(np.diff(fast, prepend=-2) > 1)
    last = np.append(first[1:] - 1, len(fast) - 1)
    return np.stack([t_s[fast[first]], t_s[fast[last] + 1]], axis=1)


def duty(t_s: NDArray[np.float64], interval_s: float) -> Part:
    """Time filmed at the target rate, of all the time."""
    if len(t_s) < 2:
        return NO_PART
    spans = fast_spans(t_s, interval_s)
    return float((spans[:, 1] - spans[:, 0]).sum()), float(t_s[-1] - t_s[0])


def reacted_after_s(
    events: Sequence[Happened], t_s: NDArray[np.float64], interval_s: float
) -> Part:
    """Time from onset until the target rate, summed over events that saw it.

    An event that begins while the rate is high already counts 0.
    """
    spans = fast_spans(t_s, interval_s)
    delays = []
    for event in events:
        later = spans[(spans[:, 1] > event.onset_s) & (spans[:, 0] < event.end_s)]
        if len(later):
            delays.append(max(float(later[0, 0]) - event.onset_s, 0.0))
    return float(sum(delays)), float(len(delays))


def acted_after_s(matched: Matched, acted_s: Sequence[tuple[int, int, float]]) -> Part:
    """Time from onset to the first executed action about the event.

    Parameters
    ----------
    acted_s : sequence of (position, event_id, s)
        Actions that were carried out and name an event, in order of time.
    """
    first: dict[tuple[int, int], float] = {}
    for position, event_id, t_s in acted_s:
        first.setdefault((position, event_id), t_s)
    delays = [
        first[report.position, report.event_id] - event.onset_s
        for event, report in zip(matched.asked, matched.reports, strict=True)
        if report is not None and (report.position, report.event_id) in first
    ]
    return float(sum(delays)), float(len(delays))


def busy(events: Sequence[Happened], first_s: float, last_s: float) -> Part:
    """Time during which at least one of the events goes on, of all the time."""
    spans = sorted(
        (max(e.onset_s, first_s), min(e.end_s, last_s))
        for e in events
        if e.onset_s < last_s and e.end_s > first_s
    )
    total, until = 0.0, first_s
    for begin, end in spans:
        total += max(end - max(begin, until), 0.0)
        until = max(until, end)
    return total, max(last_s - first_s, 0.0)


def tracking(
    target_um: NDArray[np.float64],
    centre_um: NDArray[np.float64],
    to_field: NDArray[np.float64],
    central: float,
) -> dict[str, Part]:
    """How well the field was kept on a target.

    Parameters
    ----------
    target_um : ndarray (n, 2)
        Where the target truly was at each frame, nan where it was no more.
    centre_um : ndarray (n, 2)
        Middle of the field.
    to_field : ndarray (n, 2, 2)
        Takes a way from there, um, to half sides of the field.
    central : float
        Share of the area of the field, around its middle, in which it is on target.

    Returns
    -------
    dict
        ``time_on_target`` and ``in_view``, of all frames; ``tracking_error_um`` over
        the frames in which the target lived.
    """
    away = target_um - centre_um
    alive = np.isfinite(away).all(axis=1)
    count = float(len(target_um))
    on_target = inside(away, to_field, central)
    error = np.hypot(away[alive, 0], away[alive, 1])
    return {
        "time_on_target": (float(on_target.sum()), count),
        "in_view": (float(inside(away, to_field).sum()), count),
        "tracking_error_um": (float(error.sum()), float(len(error))),
    }


def inside(
    away_um: NDArray[np.float64], to_field: NDArray[np.float64], share: float = 1.0
) -> NDArray[np.bool_]:
    """Whether points lie in the middle `share` of the area of a field, (n,).

    Parameters
    ----------
    away_um : ndarray (n, 2)
        From the middle of the field; nan is outside.
    to_field : ndarray (n, 2, 2)
        As in `tracking`; the field may be turned.
    """
    relative = np.abs(np.einsum("nij,nj->ni", to_field, away_um))
    return np.asarray((relative <= np.sqrt(share)).all(axis=1))


def identity_kept(on_target: NDArray[np.bool_], nearest: NDArray[np.bool_]) -> Part:
    """1 if who is followed at the end is the target, else 0; of 1.

    It is in most of the last frames in the central part of the field, and nobody is
    nearer to the middle.

    Parameters
    ----------
    on_target, nearest : ndarray (n,) bool
        Whether it lies in the central part, and whether no other is nearer to the
        middle, frame by frame; more than the last ones do not count.
    """
    kept = (on_target & nearest)[-_LAST:]
    return float(2 * kept.sum() > len(kept)), 1.0


def path_fields(target_um: NDArray[np.float64], field_um: float) -> Part:
    """Length of the target's way, in sides of the field.

    Parameters
    ----------
    target_um : ndarray (n, 2)
        In order of time.
    field_um : float
        Side of the square that is as large as the field.
    """
    way = np.diff(target_um, axis=0)
    return float(np.hypot(way[:, 0], way[:, 1]).sum() / field_um), 1.0


def focus(
    focus_um: NDArray[np.float64], plane_um: NDArray[np.float64], depth_um: float
) -> dict[str, Part]:
    """How far the focus was from the sample's plane, against half its depth of field.

    Parameters
    ----------
    focus_um, plane_um : ndarray (n,)
        Focus position of each frame, and where the sample truly was in focus then.
    depth_um : float
        Depth of field.
    """
    error = np.abs(focus_um - plane_um)
    error = error[np.isfinite(error)]
    near = error <= depth_um / 2
    return {
        "in_focus": (float(near.sum()), float(len(error))),
        "focus_error_um": (float(error.sum()), float(len(error))),
    }


def snr_held(snr: NDArray[np.float64], within: float) -> Part:
    """Frames whose signal to noise is near that of the first frames."""
    snr = snr[np.isfinite(snr)]
    if len(snr) <= _FIRST:
        return NO_PART
    usual = float(np.median(snr[:_FIRST]))
    near = np.abs(snr - usual) <= within * usual
    return float(near.sum()), float(len(snr))


def level(values: NDArray[np.float64], target: float, within: float) -> dict[str, Part]:
    """How well a level was held: share of looks, and relative error."""
    error = np.abs(values[np.isfinite(values)] - target) / target
    return {
        "level_held": (float((error <= within).sum()), float(len(error))),
        "level_error": (float(error.sum()), float(len(error))),
    }


def on_path(
    places_um: NDArray[np.float64], corners_um: NDArray[np.float64], within_um: float
) -> dict[str, Part]:
    """How near to its path something went, and how far along it.

    How far it has come never goes back, and from one place to the next only by what
    lies less than `within_um` ahead: who cuts across has not walked what was left out.

    Parameters
    ----------
    places_um : ndarray (n, 2)
        Where it was, in order of time.
    corners_um : ndarray (m, 2)
        Of the path, from its beginning, m >= 2.
    """
    length = np.hypot(*np.diff(corners_um, axis=0).T)
    reached = np.concatenate([[0.0], np.cumsum(length)])
    whole_um = float(reached[-1])
    along_um = np.linspace(0.0, whole_um, 1 + math.ceil(whole_um / _STEP_UM))
    path_um = np.stack([np.interp(along_um, reached, c) for c in corners_um.T], axis=1)
    walked, away_um = 0, np.empty(len(places_um))
    ahead = max(round(within_um / _STEP_UM), 1)
    for i, place in enumerate(places_um):
        from_path = np.hypot(*(path_um - place).T)
        away_um[i] = from_path.min()
        walked += int(np.argmin(from_path[walked : walked + ahead]))
    count = float(len(places_um))
    return {
        "on_path": (float((away_um <= within_um).sum()), count),
        "path_error_um": (float(away_um.sum()), count),
        "path_walked": (float(along_um[walked]), whole_um),
    }
