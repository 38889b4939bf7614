"""Events found in films against the divisions that are there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from smartscope.training._metrics import Counts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from smartscope.training._divisions_films import Film, TrueEvent

GRID = 2
"""Pixels of the image for one of the score map."""
MIN_DISTANCE_PX = 14.0
RELEASE = 0.15


@dataclass(frozen=True, slots=True)
class Sighting:
    """An event as a detector reports it.

    Attributes
    ----------
    y_px, x_px : float
        Where its score was greatest.
    first_s, last_s : float
        Its first and its last frame.
    score : float
        Greatest.
    """

    y_px: float
    x_px: float
    first_s: float
    last_s: float
    score: float


@dataclass(frozen=True, slots=True)
class EventScores(Counts):
    """Counts over some films, events matched one to one.

    Attributes
    ----------
    films, true_positive, false_positive, false_negative : int
    delay_s : float
        Median time from the onset of rounding to the first report; nan without any.
    """

    films: int
    true_positive: int
    false_positive: int
    false_negative: int
    delay_s: float

    def to_card(self) -> dict[str, Any]:
        """Plain numbers for the package."""
        return {
            "films": self.films,
            "divisions": self.true_positive + self.false_negative,
            "precision": round(self.precision, 4),
            "recall": round(self.recall, 4),
            "delay_s": round(self.delay_s, 1),
        }


def sightings(
    maps: Sequence[NDArray[np.float32]],
    t_s: Sequence[float] | NDArray[np.float64],
    *,
    threshold: float,
    release: float = RELEASE,
    min_distance_px: float = MIN_DISTANCE_PX,
) -> list[Sighting]:
    """Events of a film, as the decoder follows them."""
    from smartscope.vision.decode import EventFinder

    finder = EventFinder(
        threshold=threshold, release=release, min_distance_px=min_distance_px
    )
    known: dict[int, Sighting] = {}
    for scores, now in zip(maps, t_s, strict=True):
        for event in finder.update(scores, float(now), grid=GRID):
            if event.state == "ended":
                continue
            best = known.get(event.id)
            here = Sighting(
                event.y_px, event.x_px, event.onset_s, float(now), event.score
            )
            if best is not None and best.score >= event.score:
                here = replace(best, last_s=float(now))
            known[event.id] = here
    return list(known.values())


def match_events(
    found: Sequence[Sighting],
    truth: Sequence[TrueEvent],
    *,
    within_px: float,
    slack_s: float,
) -> list[tuple[int, int]]:
    """Pairs ``(found, truth)`` that overlap in time and lie near each other.

    One to one, as many as can be, the nearest first.

    Parameters
    ----------
    within_px : float
        Between the best place of what was found and the true place.
    slack_s : float
        Times may miss each other by so much.
    """
    if not found or not truth:
        return []
    apart = np.array(
        [
            [
                np.hypot(a.y_px - b.y_px, a.x_px - b.x_px)
                if a.first_s <= b.last_s + slack_s and a.last_s >= b.first_s - slack_s
                else np.inf
                for b in truth
            ]
            for a in found
        ]
    )
    near = apart <= within_px
    cost = np.where(near, apart, within_px * (min(apart.shape) + 1) + 1)
    rows, columns = linear_sum_assignment(cost)
    return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if near[i, j]]


def score_events(
    films: Sequence[Film], found: Sequence[Sequence[Sighting]]
) -> EventScores:
    """Compare what was found in films with what happened, pooled.

    A match lies within one typical diameter and overlaps the true time, with one
    frame of slack. Divisions cut off by the border or by the film's ends do not count
    either way.
    """
    hits = false = missed = 0
    delays = []
    for film, seen in zip(films, found, strict=True):
        step = float(np.diff(film.t_s).mean()) if len(film.t_s) > 1 else 0.0
        rule = {"within_px": film.diameter_px, "slack_s": step}
        pairs = match_events(seen, film.events, **rule)
        taken = {i for i, _ in pairs}
        rest = [one for i, one in enumerate(seen) if i not in taken]
        excused = len(match_events(rest, film.maybe, **rule))
        hits += len(pairs)
        missed += len(film.events) - len(pairs)
        false += len(rest) - excused
        delays += [seen[i].first_s - film.events[j].first_s for i, j in pairs]
    delay = float(np.median(delays)) if delays else float("nan")
    return EventScores(len(films), hits, false, missed, delay)
