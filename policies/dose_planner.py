"""Spend a light budget where the sample changes, and make it last to the end."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import Field, PositiveFloat, PositiveInt, PrivateAttr, model_validator

from smartscope.core import Action, Nothing, Observation, SetInterval
from smartscope.policies import Policy, PolicyContext

if TYPE_CHECKING:
    from collections.abc import Iterator


class DosePlanner(Policy):
    """A number of frames for the whole run: many where much changes, few elsewhere.

    Each frame costs light. The budget is spread over the time that is left, and the
    rate follows how fast the sample changes compared with what is usual: twice the
    change, twice the rate, within its limits. What is spent early is lacking later, so
    the rate falls when more has been spent than the time that has passed allows.

    The change is by how much the tracked objects have moved, and how much a feature of
    them has changed, over `over_s`; in parts of `moved_um` and `changed`.

    Light where and when it tells most: Scherf & Huisken, "The smart and gentle
    microscope", Nature Biotechnology 33, 815 (2015), https://doi.org/10.1038/nbt.3310
    """

    frames: PositiveInt
    """Frames that the light budget allows in the whole run."""
    duration_s: PositiveFloat
    """How long they have to last; the plan should be as long."""
    min_interval_s: PositiveFloat = 1.0
    """Never film faster than this."""
    max_interval_s: PositiveFloat = 60.0
    """Never slower; the plan's own interval should be as long."""
    moved_um: PositiveFloat = 2.0
    """Way of an object that counts as much as a change by `changed`."""
    feature: str | None = "area_um2"
    """Feature of the tracks whose change counts; nothing is their way alone."""
    changed: PositiveFloat = 0.2
    """Relative change of the feature that counts as much as a way of `moved_um`."""
    over_s: PositiveFloat = 10.0
    """The change is that over so long at least, so that noise does not count."""
    eagerness: float = Field(1.0, ge=0, le=4)
    """0: the same rate always; 1: in proportion to the change; more: for bursts."""

    _before: dict[int, tuple[float, float, float]] = PrivateAttr(default_factory=dict)
    _before_s: float = PrivateAttr(-math.inf)
    _begun_s: float | None = PrivateAttr(None)
    _total: float = PrivateAttr(0.0)
    _total_s: float = PrivateAttr(0.0)
    _rate: float | None = PrivateAttr(None)
    _spent: int = PrivateAttr(0)
    _asked_s: float | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _ordered(self) -> DosePlanner:
        if self.min_interval_s > self.max_interval_s:
            raise ValueError("min_interval_s must not be above max_interval_s")
        return self

    def start(self, context: PolicyContext) -> None:
        """Nothing is spent yet."""
        super().start(context)
        self._asked_s = None

    def react(self, seen: Observation) -> Iterator[Action]:
        """Set the interval that spends what is left where it tells most."""
        if self._begun_s is None:
            self._begun_s = seen.t_s
        self._spent += 1 + seen.skipped
        self._take_back(seen)
        left = self.frames - self._spent
        left_s = max(self._begun_s + self.duration_s - seen.t_s, self.min_interval_s)
        rate = self._change(seen)
        if left <= 0 or "dose_budget" in seen.interlocks:
            spent = f"{self._spent} of {self.frames} frames are spent"
            yield from self._set(None, rate, f"{spent}: as the plan says")
            return
        even_s = left_s / left
        relative = 1.0 if rate is None else self._relative(rate)
        interval_s = even_s / max(relative**self.eagerness, 1e-3)
        interval_s = min(max(interval_s, self.min_interval_s), self.max_interval_s)
        yield from self._set(
            interval_s,
            rate,
            f"{relative:.2g} times the usual change, {left} frames for {left_s:.3g} s",
        )

    # ------------------------------------------------------------- what changes

    def _change(self, seen: Observation) -> float | None:
        """Mean change of all objects for each second; None if nothing compares."""
        now = {
            t.track_id: (t.x_um, t.y_um, t.features.get(self.feature or "", math.nan))
            for t in seen.tracks
            if t.state == "active"
        }
        passed_s = seen.t_s - self._before_s
        if seen.moving or passed_s < self.over_s:
            return self._rate  # over less time noise is all that changes
        both = [(self._before[k], now[k]) for k in now if k in self._before]
        self._before, self._before_s = now, seen.t_s
        changes = [c for a, b in both if math.isfinite(c := self._of_one(a, b))]
        if not changes or not math.isfinite(passed_s):
            return self._rate
        change = sum(changes) / len(changes)
        self._rate = change / passed_s
        self._total += change
        self._total_s += passed_s
        return self._rate

    def _of_one(
        self, was: tuple[float, float, float], now: tuple[float, float, float]
    ) -> float:
        way = math.hypot(now[0] - was[0], now[1] - was[1]) / self.moved_um
        if not (was[2] > 0 and now[2] > 0):
            return way
        return way + abs(math.log(now[2]) - math.log(was[2])) / self.changed

    def _relative(self, rate: float) -> float:
        """The change over what is usual, kept within reason."""
        if not (self._total > 0 and rate > 0):
            return 0.1
        return min(max(rate * self._total_s / self._total, 0.1), 10.0)

    # ---------------------------------------------------------------- what is done

    def _set(
        self, interval_s: float | None, rate: float | None, why: str
    ) -> Iterator[Action]:
        now = self._asked_s
        close = (
            interval_s is not None
            and now is not None
            and abs(math.log(interval_s / now)) < math.log(1.25)
        )
        if close or interval_s == now:
            held = "the plan's interval" if now is None else f"{now:.3g} s"
            yield Nothing(
                reason=f"{why}: {held} stays",
                score=rate,
                threshold=self._total / self._total_s if self._total_s else None,
                state="spent" if interval_s is None else "filming",
            )
            return
        self._asked_s = interval_s
        yield SetInterval(interval_s=interval_s, reason=why)

    def _take_back(self, seen: Observation) -> None:
        lost = ("outbid", "rejected", "expired", "failed")
        mine = (o for o in seen.outcomes if o.policy == self.context.name)
        if any(o.status in lost for o in mine):
            self._asked_s = None
