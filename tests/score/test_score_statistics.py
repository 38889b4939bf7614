"""Intervals: known values, and coverage where the truth is made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from smartscope.score import compared, newcombe, pooled, wilson


def test_wilson_gives_the_published_interval() -> None:
    # Newcombe, Stat. Med. 17, 857 (1998), table I.
    for hits, of, low, high in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ]:
        assert wilson(hits, of) == pytest.approx((low, high), abs=5e-5)
    assert wilson(0, 0) == (0.0, 1.0)


def test_the_difference_of_two_shares_has_the_published_interval() -> None:
    # Newcombe, Stat. Med. 17, 873 (1998), table II, method 10: 56/70 less 48/80.
    assert newcombe(56, 70, 48, 80) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_values_are_sums_over_sums_and_not_means_of_shares() -> None:
    parts = np.array([[1.0, 1.0], [0.0, 9.0]])
    assert pooled(parts, counted=True).value == 0.1
    assert pooled(parts, counted=True).high == pytest.approx(wilson(1, 10)[1])


def test_a_saving_is_the_other_way_round_than_a_ratio() -> None:
    rng = np.random.default_rng(0)
    mine = np.stack([rng.uniform(1, 2, 20), np.ones(20)], axis=1)
    theirs = np.stack([rng.uniform(5, 9, 20), np.ones(20)], axis=1)
    saving = compared(mine, theirs, "saving", counted=False)
    ratio = compared(theirs, mine, "ratio", counted=False)
    assert saving == ratio
    assert saving.low < saving.value < saving.high
    assert saving.value == pytest.approx(theirs[:, 0].sum() / mine[:, 0].sum())


def test_pairs_are_drawn_together() -> None:
    # Hard and easy specimens: each arm alone varies, their ratio never does.
    hardness = np.linspace(1, 10, 20)
    one = np.ones(20)
    mine, theirs = np.stack([2 * hardness, one], 1), np.stack([hardness, one], 1)
    ratio = compared(mine, theirs, "ratio", counted=False)
    assert ratio.value == pytest.approx(2.0)
    assert ratio.high - ratio.low < 1e-9
    alone = pooled(mine, counted=False)
    assert alone.high - alone.low > 1.0


def test_where_all_seeds_agree_counts_still_have_an_interval() -> None:
    everything = np.full((20, 2), 4.0)
    ratio = compared(everything, everything, "ratio", counted=True)
    assert ratio.value == 1.0
    assert 0.9 < ratio.low < 1.0 < ratio.high < 1.1
    fewer = np.full((5, 2), 1.0)
    assert compared(fewer, fewer, "ratio", counted=True).low < ratio.low
    difference = compared(everything, everything, "difference", counted=True)
    assert -0.06 < difference.low < 0 < difference.high < 0.06


def test_ratio_of_shares_agrees_with_the_published_example() -> None:
    # Donner and Zou (2012) build the interval of a ratio from single intervals; where
    # the denominator is known exactly it is the numerator's interval over it.
    mine = np.full((4, 2), [3.0, 4.0])
    theirs = np.full((4, 2), [2500.0, 5000.0])
    ratio = compared(mine, theirs, "ratio", counted=True)
    low, high = wilson(12, 16)
    assert ratio.low == pytest.approx(low / 0.5, abs=0.02)
    assert ratio.high == pytest.approx(high / 0.5, abs=0.02)


@pytest.mark.parametrize("side", ["mine", "theirs"])
def test_nothing_to_count_is_no_number(side: str) -> None:
    some, none = np.ones((3, 2)), np.zeros((3, 2))
    pair = (none, some) if side == "mine" else (some, none)
    assert np.isnan(compared(*pair, "ratio", counted=True).value)
    assert np.isnan(compared(*pair, "difference", counted=True).value)


def test_intervals_cover_the_truth_about_95_times_in_100() -> None:
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(100):
        # Skewed doses with a true ratio of means of 3.
        base = rng.lognormal(0, 0.6, (25, 1))
        mine = np.hstack([base * rng.lognormal(0, 0.3, (25, 1)), np.ones((25, 1))])
        theirs = np.hstack(
            [3 * base * rng.lognormal(0, 0.3, (25, 1)), np.ones((25, 1))]
        )
        found = compared(mine, theirs, "saving", counted=False)
        covered += found.low <= 3.0 <= found.high
    assert 86 <= covered <= 100


def test_the_draws_are_always_the_same() -> None:
    rng = np.random.default_rng(1)
    mine, theirs = rng.uniform(1, 2, (20, 2)), rng.uniform(1, 2, (20, 2))
    first = compared(mine, theirs, "ratio", counted=False)
    assert compared(mine, theirs, "ratio", counted=False) == first
