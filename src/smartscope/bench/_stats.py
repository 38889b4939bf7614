"""Percentiles of one run, and their medians over runs."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

WORST = ("lost", "max", "not_applied", "unaccounted", "rss_growth_mib")
"""Of these the worst repetition counts: a median would hide one that failed."""


def percentile(ordered: Sequence[float], share: float) -> float:
    """Value below which `share` (0..1) of `ordered` lies, between neighbours linearly.

    Raises
    ------
    ValueError
        If there are no values.
    """
    if not ordered:
        raise ValueError("no values, so no percentile")
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def summarise(values_ms: Iterable[float]) -> dict[str, float]:
    """Least, median, p95, p99, max and count of times in ms; empty for no values."""
    ordered = sorted(values_ms)
    if not ordered:
        return {}
    return {
        "min": ordered[0],
        "median": percentile(ordered, 0.5),
        "p95": percentile(ordered, 0.95),
        "p99": percentile(ordered, 0.99),
        "max": ordered[-1],
        "n": len(ordered),
    }


def over_runs(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Median over runs of every number, nested as in one run; None where none has it.

    Of `WORST` the largest counts instead.
    """
    whole: dict[str, Any] = {}
    for key in dict.fromkeys(key for run in runs for key in run):
        values = [run[key] for run in runs if run.get(key) is not None]
        if values and all(isinstance(value, dict) for value in values):
            whole[key] = over_runs(values)
            continue
        numbers = [v for v in values if isinstance(v, int | float)]
        if not numbers:
            whole[key] = None
        else:
            whole[key] = max(numbers) if key in WORST else median(numbers)
    return whole


def ratio(value: float | None, base: float | None) -> float | None:
    """`value` over `base`; None if either is missing or the base is 0."""
    if value is None or not base:
        return None
    return value / base
