"""Events against the true divisions of a simulated specimen, with intervals."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from smartscope.config import ScoreWindow
from smartscope.score import Place, match, newcombe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from smartscope.score import Happened, Reported

DRAWS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What counts as found.

    Attributes
    ----------
    half_um : (float, float)
        Half of the field along x and y, around the middle (0, 0).
    last_s : float
        Time of the last frame.
    window : ScoreWindow
        An event is a division's if it lies near, was first seen not long before the
        onset and began not long after the end. Divisions near the border, or near the
        first or the last frame, are asked of nobody: an event there is neither found
        nor false.
    """

    half_um: tuple[float, float]
    last_s: float
    window: ScoreWindow = field(default_factory=ScoreWindow)


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
    field_um = Place(0.0, 0.0, *rule.half_um)
    matched = match(divisions, events, rule.window, [field_um], rule.last_s)
    aside = len(events) - matched.found - matched.false
    return Score(len(matched.asked), matched.found, matched.false, aside)


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
    return Difference(value, *newcombe(*sums), "Newcombe's, all specimens agree")
