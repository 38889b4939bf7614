"""Intervals for paired comparisons over seeds; pure functions of counts and sums."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite, nan, sqrt
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.special import ndtr, ndtri

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

How = Literal["ratio", "saving", "difference"]

DRAWS = 10_000
_SEED = 5
_Z95 = 1.959963984540054
_BOOTSTRAP = "BCa bootstrap"
_AGREE = "all seeds agree: from score intervals"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % interval.

    `how` says what the interval is; `low` and `high` are nan where there is none.
    """

    value: float
    low: float = nan
    high: float = nan
    how: str = ""


NOTHING = Estimate(nan)


def wilson(hits: float, of: float) -> tuple[float, float]:
    """95 % score interval of a share (Wilson, J. Am. Stat. Assoc. 22, 209, 1927).

    ``(0, 1)`` where nothing was counted.
    """
    if not of:
        return 0.0, 1.0
    share, z2 = hits / of, _Z95**2
    middle = (share + z2 / (2 * of)) / (1 + z2 / of)
    half = _Z95 * sqrt(share * (1 - share) / of + z2 / (4 * of**2)) / (1 + z2 / of)
    return max(0.0, middle - half), min(1.0, middle + half)


def newcombe(
    hits: float, of: float, other_hits: float, other_of: float
) -> tuple[float, float]:
    """95 % interval of a share less another, independent one.

    From the score interval of each (Newcombe, Stat. Med. 17, 873, 1998, method 10);
    for pairs it is too wide rather than too narrow.
    """
    p, q = hits / of, other_hits / other_of
    p_low, p_high = wilson(hits, of)
    q_low, q_high = wilson(other_hits, other_of)
    return (
        p - q - sqrt((p - p_low) ** 2 + (q_high - q) ** 2),
        p - q + sqrt((p_high - p) ** 2 + (q - q_low) ** 2),
    )


def pooled(parts: NDArray[np.float64], *, counted: bool) -> Estimate:
    """Sum over sum of one arm, with its interval.

    Parameters
    ----------
    parts : ndarray (seeds, 2) float64
        Numerator and denominator of each seed.
    counted : bool
        Whether they are hits and trials; then the interval is Wilson's, else a BCa
        bootstrap over seeds.
    """
    top, bottom = (float(total) for total in parts.sum(axis=0))
    if not bottom:
        return NOTHING
    value = top / bottom
    if counted:
        return Estimate(value, *wilson(top, bottom), "Wilson")
    interval = _bca(parts, _share)
    if interval is None:
        return Estimate(value)
    return Estimate(value, *interval, _BOOTSTRAP)


def compared(
    mine: NDArray[np.float64],
    theirs: NDArray[np.float64],
    how: How,
    *,
    counted: bool,
) -> Estimate:
    """Compare sum over sum of two arms, paired by seed.

    Seeds are drawn with replacement, both arms of a seed together, since the same
    specimen is easy or hard for both; the interval is bias-corrected and accelerated
    (Efron, J. Am. Stat. Assoc. 82, 171, 1987). Where all seeds agree there is nothing
    to draw from: counts then get the interval of two independent shares, which is the
    wider for pairs, by square-and-add of their score intervals (difference: Newcombe,
    Stat. Med. 17, 873, 1998, method 10; ratio: Donner and Zou, Stat. Methods Med. Res.
    21, 347, 2012).

    Parameters
    ----------
    mine, theirs : ndarray (seeds, 2) float64
        Numerator and denominator of each seed, the same seeds in the same order.
    how : str
        ``ratio`` is mine over theirs, ``saving`` theirs over mine, ``difference``
        mine less theirs.
    counted : bool
        Whether they are hits and trials.

    Returns
    -------
    Estimate
        Not a number where one arm has nothing to count.
    """
    if how == "saving":
        return compared(theirs, mine, "ratio", counted=counted)
    if not mine[:, 1].sum() or not theirs[:, 1].sum():
        return NOTHING
    if how == "ratio" and not theirs[:, 0].sum():
        return NOTHING
    both = np.hstack([mine, theirs])
    statistic = _ratio if how == "ratio" else _difference
    value = float(statistic(both.sum(axis=0)))
    interval = _bca(both, statistic)
    if interval is not None:
        return Estimate(value, *interval, _BOOTSTRAP)
    if not counted:
        return Estimate(value, value, value, "no two seeds differ")
    return Estimate(value, *_independent(both.sum(axis=0), how), _AGREE)


def _share(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(sums[..., 0] / sums[..., 1])


def _ratio(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(_share(sums[..., :2]) / _share(sums[..., 2:]))


def _difference(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(_share(sums[..., :2]) - _share(sums[..., 2:]))


def _bca(
    rows: NDArray[np.float64],
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> tuple[float, float] | None:
    """Interval of ``statistic(rows.sum(axis=0))``; None where nothing varies."""
    count = len(rows)
    if count < 2:
        return None
    chosen = np.random.default_rng(_SEED).integers(count, size=(DRAWS, count))
    drawn = statistic(rows[chosen].sum(axis=1))
    drawn = drawn[np.isfinite(drawn)]
    left_out = statistic(rows.sum(axis=0) - rows)
    value = float(statistic(rows.sum(axis=0)))
    if not len(drawn) or not np.isfinite(left_out).all() or np.ptp(drawn) == 0:
        return None
    # Draws equal to the value count half, as is right for counts, where many are.
    below = (drawn < value).mean() + (drawn == value).mean() / 2
    bias = float(ndtri(np.clip(below, 1 / DRAWS, 1 - 1 / DRAWS)))
    away = left_out.mean() - left_out
    spread = float((away**2).sum()) ** 1.5
    skew = float((away**3).sum()) / (6 * spread) if spread else 0.0
    z = bias + np.array([-_Z95, _Z95])
    levels = ndtr(bias + z / (1 - skew * z))
    low, high = (float(q) for q in np.quantile(drawn, levels))
    return low, high


def _independent(sums: NDArray[np.float64], how: How) -> tuple[float, float]:
    """Interval of two independent shares, from the score interval of each."""
    if how == "difference":
        return newcombe(*(float(n) for n in sums))
    p, q = float(sums[0] / sums[1]), float(sums[2] / sums[3])
    p_low, p_high = wilson(sums[0], sums[1])
    q_low, q_high = wilson(sums[2], sums[3])
    low = _ratio_end(p, q, p_low, q_high, -1.0)
    high = _ratio_end(p, q, p_high, q_low, 1.0)
    return low, high if isfinite(high) else inf


def _ratio_end(p: float, q: float, end: float, other: float, sign: float) -> float:
    across = other * (2 * q - other)
    if across <= 0:
        return inf
    inside = (p * q) ** 2 - end * (2 * p - end) * across
    return (p * q + sign * sqrt(max(inside, 0.0))) / across
