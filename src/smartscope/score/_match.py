"""What was reported against what truly happened."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite, isnan, nan
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linear_sum_assignment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smartscope.config import ScoreWindow

_FAR = 1e9


@dataclass(frozen=True, slots=True)
class Happened:
    """A true event: times in s of the run, place in um of the sample.

    `end_s` is infinite where the run ended first.
    """

    onset_s: float
    end_s: float
    x_um: float
    y_um: float


@dataclass(frozen=True, slots=True)
class Reported:
    """An event of vision as it was first reported; `seen_s` is when.

    `onset_s` is when it says that it began. Where it is given, this and not `seen_s`
    has to come before the end of the true one.
    """

    seen_s: float
    x_um: float
    y_um: float
    event_id: int = 0
    position: int = 0
    onset_s: float = nan


@dataclass(frozen=True, slots=True)
class Place:
    """A field that the plan films again and again: middle and half sides, um."""

    x_um: float
    y_um: float
    half_x_um: float
    half_y_um: float

    def holds(self, x_um: float, y_um: float, margin_um: float = 0.0) -> bool:
        """Whether a point lies so far inside."""
        return (
            abs(x_um - self.x_um) <= self.half_x_um - margin_um
            and abs(y_um - self.y_um) <= self.half_y_um - margin_um
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """Which report is of which event.

    Attributes
    ----------
    asked : tuple of Happened
        Events that had to be found.
    reports : tuple of (Reported or None)
        The report of each of them.
    false : int
        Reports that are of no event; also the second one of an event.
    """

    asked: tuple[Happened, ...]
    reports: tuple[Reported | None, ...]
    false: int

    @property
    def found(self) -> int:
        """How many of `asked` were found."""
        return sum(report is not None for report in self.reports)


def is_asked(
    event: Happened, window: ScoreWindow, places: Sequence[Place], last_s: float
) -> bool:
    """Whether this event has to be found in a run that films until `last_s`."""
    in_time = event.onset_s >= window.settle_s and (
        event.end_s <= last_s - window.settle_s
    )
    return in_time and any(
        place.holds(event.x_um, event.y_um, window.margin_um) for place in places
    )


def match(
    events: Sequence[Happened],
    reports: Sequence[Reported],
    window: ScoreWindow,
    places: Sequence[Place],
    last_s: float,
) -> Matched:
    """Match reports with events one to one, as many as can be, the nearest first.

    Parameters
    ----------
    events : sequence of Happened
        All of the sample, also those nobody is asked for.
    reports : sequence of Reported
    window : ScoreWindow
    places : sequence of Place
        The fields of the plan.
    last_s : float
        Time of the last frame.
    """
    asked = [is_asked(event, window, places, last_s) for event in events]
    cost = np.full((len(reports), len(events)), _FAR)
    for i, report in enumerate(reports):
        for k, event in enumerate(events):
            away_um = _away_um(event, report, window)
            if away_um is not None:
                # One that has to be found goes before one that has not.
                cost[i, k] = away_um + (0.0 if asked[k] else window.within_um)
    rows, columns = linear_sum_assignment(cost)
    pairs = {
        int(k): reports[int(i)]
        for i, k in zip(rows, columns, strict=True)
        if cost[i, k] < _FAR
    }
    wanted = [k for k, is_wanted in enumerate(asked) if is_wanted]
    return Matched(
        asked=tuple(events[k] for k in wanted),
        reports=tuple(pairs.get(k) for k in wanted),
        false=len(reports) - len(pairs),
    )


def _away_um(event: Happened, report: Reported, window: ScoreWindow) -> float | None:
    end_s = event.end_s if isfinite(event.end_s) else inf
    begun_s = report.seen_s if isnan(report.onset_s) else report.onset_s
    if report.seen_s < event.onset_s - window.slack_s:
        return None
    if begun_s > end_s + window.slack_s:
        return None
    away = float(np.hypot(event.x_um - report.x_um, event.y_um - report.y_um))
    return away if away <= window.within_um else None
