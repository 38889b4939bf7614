"""Seeing again with models: exact on the same runtime, else within the tolerance."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from smartscope.core import Detections, Observation

_COMPARED = ("runtime", "precision", "threads")
_TOLERANCE = 0.02
_SAME_PLACE_PX = 2.0


class ModelsThen:
    """The models of a run beside those of now.

    Parameters
    ----------
    told : iterable of mapping
        ``model`` entries of the journal.
    now : iterable of (stage, facts)
        As the pipeline says, once its models have run.

    Attributes
    ----------
    notes : tuple of str
        What is another than in the run, a sentence part each.
    tolerance : float or None
        What may differ, where a model runs on something else now; None: nothing may.
        The largest of the models', since what one gives goes into the next.
    """

    def __init__(
        self,
        told: Iterable[Mapping[str, Any]],
        now: Iterable[tuple[str, Mapping[str, Any]]],
    ) -> None:
        before = {entry["stage"]: entry for entry in told}
        notes: list[str] = []
        tolerances: list[float] = []
        for stage, facts in now:
            known = before.get(stage)
            if known is None:
                continue
            if known.get("sha256") != facts.get("sha256"):
                notes.append(f"the model of {stage} has changed since the run")
            elsewhere = _elsewhere(stage, known, facts)
            if elsewhere:
                notes.append(elsewhere)
                allowed = facts.get("tolerance") or known.get("tolerance")
                tolerances.append(allowed or _TOLERANCE)
        self.notes = tuple(notes)
        self.tolerance = max(tolerances, default=None)
        self._events = [0, 0]

    def difference(self, old: Observation, new: Observation) -> str:
        """What differs by more than the tolerance, in words; empty if nothing."""
        tolerance = self.tolerance or 0.0
        self._events[0] += len(old.events)
        self._events[1] += len(new.events)
        return (
            _objects(old, new, tolerance)
            or _count("tracks", len(old.tracks), len(new.tracks), tolerance)
            or _measurements(old.measurements, new.measurements, tolerance)
        )

    def in_all(self) -> str:
        """The same for what only all observations together tell."""
        before, now = self._events
        # An event may well be seen a frame earlier or later.
        return _count("reports of events", before, now, self.tolerance or 0.0)


def _elsewhere(stage: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    changed = [key for key in _COMPARED if then.get(key) != now.get(key)]
    if not changed:
        return ""
    if changed == ["threads"]:
        words = f"with {then.get('threads')} threads, with {now.get('threads')} now"
    else:
        words = f"on {then.get('runtime')}, on {now.get('runtime')} now"
    return f"{stage} ran {words}"


def _allowed(count: int, tolerance: float) -> int:
    """How many of `count` may come out otherwise: one always may."""
    return max(1, ceil(tolerance * count))


def _count(what: str, before: int, now: int, tolerance: float) -> str:
    if abs(before - now) <= _allowed(max(before, now), tolerance):
        return ""
    return f"{before} {what} were seen, {now} now"


def _objects(old: Observation, new: Observation, tolerance: float) -> str:
    before, now = old.detections, new.detections
    if words := _count("objects", len(before), len(now), tolerance):
        return words
    apart = _unmatched(before, now)
    if apart > _allowed(max(len(before), len(now)), tolerance):
        return (
            f"{apart} objects are more than {_SAME_PLACE_PX:g} px from where they were"
        )
    return ""


def _unmatched(before: Detections, now: Detections) -> int:
    """Objects of the run without one at their place now."""
    if not len(before) or not len(now):
        return len(before)
    away = np.hypot(
        before.y_px[:, None] - now.y_px[None, :],
        before.x_px[:, None] - now.x_px[None, :],
    )
    return int((away.min(axis=1) > _SAME_PLACE_PX).sum())


def _measurements(
    before: Mapping[str, float], now: Mapping[str, float], tolerance: float
) -> str:
    if before.keys() != now.keys():
        names = ", ".join(sorted(before.keys() ^ now.keys()))
        return f"measured in one of them only: {names}"
    for name, value in before.items():
        new = now[name]
        if np.isnan(value) and np.isnan(new):
            continue
        largest = max(abs(value), abs(new))
        # Counts of objects change by whole ones.
        free = 1.0 if float(value).is_integer() and float(new).is_integer() else 0.0
        if not abs(value - new) <= max(free, tolerance * largest):
            return f"{name} was {value:.6g}, is now {new:.6g}"
    return ""
