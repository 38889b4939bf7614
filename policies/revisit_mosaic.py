"""Come back to each field as often as it changes, and leave out the empty ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pydantic import (
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PrivateAttr,
    model_validator,
)

from smartscope.core import Action, Nothing, Observation, SetInterval
from smartscope.policies import Policy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_SAME = 0.05
"""Relative change of an interval that is not worth an action."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What was in the field: places (n, 2), um, and areas (n,), um^2."""

    t_s: float
    xy_um: NDArray[np.float64]
    area_um2: NDArray[np.float64]


class RevisitMosaic(Policy):
    """Give every field of a large sample the rate that it deserves.

    The plan visits all fields, rarely. In a field with something in it that changed
    since the last visit the next one comes sooner, else later; an empty field is left
    to the plan. Objects count as changed that have no counterpart of about the same
    size within `moved_um`: what came, went, moved, divided or rounded up. So the
    interval settles where about `change` of the objects differ from one visit to the
    next.

    Each field has a state of its own, as in the adaptive visits of many fields by
    Conrad et al., "Micropilot", Nature Methods 8, 246 (2011),
    https://doi.org/10.1038/nmeth.1558
    """

    min_interval_s: PositiveFloat = 10.0
    """Never come back sooner."""
    max_interval_s: PositiveFloat = 300.0
    """A field with something in it is not left alone for longer."""
    change: float = Field(0.2, gt=0, le=1)
    """Share of the objects that may change from visit to visit."""
    pace: float = Field(2.0, gt=1)
    """The interval is divided, or multiplied, by at most this at once."""
    moved_um: PositiveFloat = 5.0
    """An object that is farther from where one was has moved."""
    resized: float = Field(0.3, gt=0, lt=1)
    """Relative change of the area from which on it counts as changed."""
    min_area_um2: NonNegativeFloat = 0.0
    """Smaller objects are not looked at."""
    empty_below: int = Field(1, ge=1)
    """A field with fewer objects is empty."""

    _last: Sight | None = PrivateAttr(None)
    _interval_s: float | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _ordered(self) -> RevisitMosaic:
        if self.max_interval_s < self.min_interval_s:
            raise ValueError("max_interval_s must not be below min_interval_s")
        return self

    def react(self, seen: Observation) -> Iterator[Action]:
        """Set when this field is visited next, or say why that stays."""
        if seen.moving:
            yield Nothing(reason="the stage moved during this frame", state="waiting")
            return
        now = self._look(seen)
        last, self._last = self._last, now
        if len(now.area_um2) < self.empty_below:
            yield from self._leave(seen, len(now.area_um2))
        elif last is None or len(last.area_um2) < self.empty_below:
            # Something new: come back soon to see what it does.
            yield self._visit(seen, self.min_interval_s, 1.0, "something is here now")
        elif now.t_s <= last.t_s:
            yield Nothing(reason="no time has passed", state="visited")
        else:
            yield self._adapt(seen, last, now)

    # --------------------------------------------------------------- what changed

    def _look(self, seen: Observation) -> Sight:
        found = seen.detections
        kept = found.area_um2 >= self.min_area_um2
        places = np.column_stack([found.x_um, found.y_um])
        return Sight(seen.t_s, places[kept], found.area_um2[kept])

    def _changed(self, before: Sight, now: Sight) -> float:
        """Share of the objects, of both visits, without a counterpart in the other."""
        away = np.hypot(
            before.xy_um[:, None, 0] - now.xy_um[None, :, 0],
            before.xy_um[:, None, 1] - now.xy_um[None, :, 1],
        )
        a, b = before.area_um2[:, None], now.area_um2[None, :]
        alike = (away <= self.moved_um) & (np.abs(a - b) <= self.resized * a)
        kept = np.count_nonzero(alike.any(axis=1)) + np.count_nonzero(alike.any(axis=0))
        return 1 - float(kept) / (len(before.area_um2) + len(now.area_um2))

    # --------------------------------------------------------------- when it is next

    def _adapt(self, seen: Observation, last: Sight, now: Sight) -> Action:
        share = self._changed(last, now)
        factor = self.change / share if share else self.pace
        # Of the time that has really passed: the plan may have come between.
        passed_s = now.t_s - last.t_s
        wanted_s = passed_s * min(max(factor, 1 / self.pace), self.pace)
        why = f"{share:.0%} of {len(now.area_um2)} objects changed in {passed_s:.3g} s"
        return self._visit(seen, wanted_s, share, why)

    def _visit(
        self, seen: Observation, wanted_s: float, share: float, why: str
    ) -> Action:
        interval_s = min(max(wanted_s, self.min_interval_s), self.max_interval_s)
        present_s = self._interval_s
        same = present_s is not None and abs(interval_s / present_s - 1) <= _SAME
        if same and not self._refused(seen):
            return Nothing(
                reason=f"{why}: the next visit is in {present_s:.3g} s, as before",
                score=share,
                threshold=self.change,
                state="visited",
            )
        self._interval_s = interval_s
        return SetInterval(
            interval_s=interval_s,
            reason=f"{why}: the next visit is in {interval_s:.3g} s",
        )

    def _leave(self, seen: Observation, count: int) -> Iterator[Action]:
        if self._interval_s is None and not self._refused(seen):
            yield Nothing(
                reason=f"{count} objects, empty: left to the plan",
                score=float(count),
                threshold=float(self.empty_below),
                state="empty",
            )
            return
        self._interval_s = None
        yield SetInterval(
            interval_s=None, reason=f"{count} objects, empty: left to the plan"
        )

    def _refused(self, seen: Observation) -> bool:
        """Whether the last change was not carried out, and may be asked for again."""
        return bool(self.not_done(seen, rejected=False))
