"""How well found objects match the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linear_sum_assignment

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)


class Counts:
    """F1, precision and recall of a subclass that counts hits and errors."""

    __slots__ = ()
    true_positive: int
    false_positive: int
    false_negative: int

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN); 1 where there is nothing and nothing was found."""
        total = 2 * self.true_positive + self.false_positive + self.false_negative
        return 2 * self.true_positive / total if total else 1.0

    @property
    def precision(self) -> float:
        """TP / (TP + FP); 1 where nothing was found."""
        found = self.true_positive + self.false_positive
        return self.true_positive / found if found else 1.0

    @property
    def recall(self) -> float:
        """TP / (TP + FN); 1 where there is nothing."""
        there = self.true_positive + self.false_negative
        return self.true_positive / there if there else 1.0


@dataclass(frozen=True, slots=True)
class Matching(Counts):
    """Counts at one overlap.

    Attributes
    ----------
    iou : float
        Least intersection over union of a match.
    true_positive, false_positive, false_negative : int
        Objects matched one to one, found without partner, missed.
    """

    iou: float
    true_positive: int
    false_positive: int
    false_negative: int

    @property
    def ap(self) -> float:
        """TP / (TP + FP + FN), called average precision in the StarDist papers."""
        total = self.true_positive + self.false_positive + self.false_negative
        return self.true_positive / total if total else 1.0


def overlaps(
    truth: NDArray[np.integer], found: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Intersection over union of each true (rows) with each found object (columns)."""
    _, t = np.unique(truth, return_inverse=True)
    _, f = np.unique(found, return_inverse=True)
    t, f = _from_zero(truth, t), _from_zero(found, f)
    table = np.zeros((int(t.max(initial=0)) + 1, int(f.max(initial=0)) + 1))
    np.add.at(table, (t.ravel(), f.ravel()), 1)
    union = table.sum(1, keepdims=True) + table.sum(0, keepdims=True) - table
    with np.errstate(invalid="ignore"):
        ratio = np.where(union > 0, table / union, 0.0)
    return np.asarray(ratio[1:, 1:])


def _from_zero(
    image: NDArray[np.integer], inverse: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Consecutive labels with background at 0, also where there is no background."""
    return inverse if image.size and image.min() == 0 else inverse + 1


def match(
    truth: NDArray[np.integer],
    found: NDArray[np.integer],
    iou: Sequence[float] = THRESHOLDS,
) -> list[Matching]:
    """Match objects one to one so that as many as can be overlap by `iou`.

    The assignment of stardist.matching: among pairs that reach the overlap, as many as
    possible, then of the largest sum of overlaps.
    """
    ratio = overlaps(truth, found)
    return [_at(ratio, least) for least in iou]


def _at(ratio: NDArray[np.float64], least: float) -> Matching:
    n_true, n_found = ratio.shape
    matched = 0
    if min(n_true, n_found) and (ratio >= least).any():
        cost = -(ratio >= least).astype(float) - ratio / (2 * min(n_true, n_found))
        i, j = linear_sum_assignment(cost)
        matched = int((ratio[i, j] >= least).sum())
    return Matching(least, matched, n_found - matched, n_true - matched)


def pooled(per_image: Iterable[Sequence[Matching]]) -> list[Matching]:
    """Counts of all images together, one for each overlap."""
    return [
        Matching(
            at[0].iou,
            sum(m.true_positive for m in at),
            sum(m.false_positive for m in at),
            sum(m.false_negative for m in at),
        )
        for at in zip(*per_image, strict=True)
    ]
