"""Events against the true divisions of a simulated specimen, with intervals."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite, sqrt
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linear_sum_assignment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_Z95 = 1.959963984540054
DRAWS = 10_000
_FAR = 1e9

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Happened:
    """A true division: times in s of the run, place in um of the sample.

    `end_s` is not a number where the run ended first.
    """

    onset_s: float
    end_s: float
    x_um: float
    y_um: float


@dataclass(frozen=True, slots=True)
class Reported:
    """An event as it was first reported; `seen_s` is when."""

    onset_s: float
    seen_s: float
    x_um: float
    y_um: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What counts as found.

    Attributes
    ----------
    half_um : (float, float)
        Half of the field along x and y, around the middle (0, 0).
    last_s : float
        Time of the last frame.
    within_um, slack_s : float
        An event is a division's if it lies this near, was first seen at most so long
        before the onset and began at most so long after the end.
    margin_um, settle_s : float
        Divisions nearer to the border, or within so long of the first or the last
        frame, are asked of nobody: an event there is neither found nor false.
    """

    half_um: tuple[float, float]
    last_s: float
    within_um: float = 20.0
    slack_s: float = 20.0
    margin_um: float = 20.0
    settle_s: float = 60.0

    def asked(self, division: Happened) -> bool:
        """Whether this one has to be found."""
        inside = (
            abs(division.x_um) <= self.half_um[0] - self.margin_um
            and abs(division.y_um) <= self.half_um[1] - self.margin_um
        )
        end_s = division.end_s if isfinite(division.end_s) else inf
        in_time = division.onset_s >= self.settle_s and (
            end_s <= self.last_s - self.settle_s
        )
        return inside and in_time

    def away_um(self, division: Happened, event: Reported) -> float | None:
        """Distance of an event that can be this division's; None where it cannot."""
        end_s = division.end_s if isfinite(division.end_s) else self.last_s
        if event.seen_s < division.onset_s - self.slack_s:
            return None
        if event.onset_s > end_s + self.slack_s:
            return None
        away = float(np.hypot(division.x_um - event.x_um, division.y_um - event.y_um))
        return away if away <= self.within_um else None


@dataclass(frozen=True, slots=True)
class Score:
    """Counts of one film.

    Attributes
    ----------
    true : int
        Divisions that had to be found.
    found : int
        Those with an event of their own.
    false : int
        Events that are no division's; also the second event of one division.
    aside : int
        Events of divisions that nobody is asked for.
    """

    true: int = 0
    found: int = 0
    false: int = 0
    aside: int = 0

    def __add__(self, other: Score) -> Score:
        return Score(
            self.true + other.true,
            self.found + other.found,
            self.false + other.false,
            self.aside + other.aside,
        )

    @property
    def recall(self) -> float | None:
        """Share of the divisions that were found; None where there were none."""
        return self.found / self.true if self.true else None

    @property
    def precision(self) -> float | None:
        """Share of true ones among the events; None where there were no events."""
        events = self.found + self.false
        return self.found / events if events else None


def score(
    divisions: Sequence[Happened], events: Sequence[Reported], rule: Rule
) -> Score:
    """Match events with divisions one to one, as many as can be, the nearest first.

    Parameters
    ----------
    divisions : sequence of Happened
        All of the sample, also those out of view.
    events : sequence of Reported
    rule : Rule
    """
    asked = [rule.asked(division) for division in divisions]
    cost = np.full((len(events), len(divisions)), _FAR)
    for i, event in enumerate(events):
        for k, division in enumerate(divisions):
            away_um = rule.away_um(division, event)
            if away_um is not None:
                # One that has to be found goes before one that has not.
                cost[i, k] = away_um + (0.0 if asked[k] else rule.within_um)
    pairs = zip(*linear_sum_assignment(cost), strict=True)
    matched = [asked[k] for i, k in pairs if cost[i, k] < _FAR]
    found, aside = matched.count(True), matched.count(False)
    return Score(sum(asked), found, len(events) - found - aside, aside)


def wilson(hits: int, of: int) -> Interval:
    """95 % score interval of a share (Wilson, J. Am. Stat. Assoc. 22, 209, 1927).

    ``(0, 1)`` where nothing was counted.
    """
    if not of:
        return 0.0, 1.0
    share, z2 = hits / of, _Z95**2
    middle = (share + z2 / (2 * of)) / (1 + z2 / of)
    half = _Z95 * sqrt(share * (1 - share) / of + z2 / (4 * of**2)) / (1 + z2 / of)
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True, slots=True)
class Difference:
    """How much larger a share is than another, with its 95 % interval.

    `how` says what the interval is.
    """

    value: float
    low: float
    high: float
    how: str


def difference(
    mine: NDArray[np.int64], theirs: NDArray[np.int64], *, seed: int = 4
) -> Difference | None:
    """Share of `mine` less that of `theirs`, paired by specimen.

    The interval comes from `DRAWS` draws of whole specimens with replacement (cluster
    bootstrap, percentiles), since divisions in one film share their conditions. Where
    all specimens agree there is nothing to draw from; then it is the interval of two
    independent shares from their score intervals (Newcombe, Stat. Med. 17, 873, 1998,
    method 10), which is the wider for pairs.

    Parameters
    ----------
    mine, theirs : ndarray (specimens, 2)
        Hits, and of how many.
    seed : int
        Of the draws.

    Returns
    -------
    Difference or None
        None where one of them has nothing to count.
    """
    sums = [int(n) for n in (*mine.sum(axis=0), *theirs.sum(axis=0))]
    if not sums[1] or not sums[3]:
        return None
    value = sums[0] / sums[1] - sums[2] / sums[3]
    chosen = np.random.default_rng(seed).integers(len(mine), size=(DRAWS, len(mine)))
    one, other = mine[chosen].sum(axis=1), theirs[chosen].sum(axis=1)
    both = (one[:, 1] > 0) & (other[:, 1] > 0)
    drawn = one[both, 0] / one[both, 1] - other[both, 0] / other[both, 1]
    low, high = (float(q) for q in np.percentile(drawn, (2.5, 97.5)))
    if high > low:
        return Difference(value, low, high, f"bootstrap over {len(mine)} specimens")
    return Difference(value, *_newcombe(*sums), "Newcombe's, all specimens agree")


def _newcombe(hits: int, of: int, other_hits: int, other_of: int) -> Interval:
    p, q = hits / of, other_hits / other_of
    low, high = wilson(hits, of)
    other_low, other_high = wilson(other_hits, other_of)
    return (
        p - q - sqrt((p - low) ** 2 + (other_high - q) ** 2),
        p - q + sqrt((high - p) ** 2 + (q - other_low) ** 2),
    )
