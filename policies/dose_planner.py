"""Spend a light budget where the sample changes, and make it last to the end."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import Field, PositiveFloat, PositiveInt, PrivateAttr, model_validator

from smartscope.core import Action, Nothing, Observation, SetInterval
from smartscope.policies import Policy

if TYPE_CHECKING:
    from collections.abc import Iterator


_WORTH = 1.25
"""Intervals that differ by less than this factor are not worth a change."""


class DosePlanner(Policy):
    """A number of frames for the whole run: many where much changes, few elsewhere.

    Each frame costs light. The frames that are left are spread over the time that is
    left, and the rate follows how fast the sample changes compared with what is usual:
    twice the change, twice the rate. Then every frame shows about as much that is new
    as any other. What has been spent early is lacking later, so nothing is overspent.

    The change of an object is the way it has moved in parts of `moved_um`, and the
    change of its `feature` in parts of `changed`; a daughter is compared with its
    mother. Of all objects the root mean square counts, so that one that divides among
    many that rest is seen. An image of each position is planned on its own.

    Samples where a curve changes, at equal steps of its change: de Boor, "Good
    approximation by splines with variable knots", in Spline Functions and Approximation
    Theory, 57 (1973), https://doi.org/10.1007/978-3-0348-5979-0_3. Light where and when
    it tells most: Scherf & Huisken, "The smart and gentle microscope", Nature
    Biotechnology 33, 815 (2015), https://doi.org/10.1038/nbt.3310
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
            why = f"{self._spent} of {self.frames} frames are spent: as the plan says"
            yield self._set(None, rate, why, "spent")
            return
        relative = 1.0 if rate is None else self._relative(rate)
        # What the longest interval takes to the end is not there to be spent.
        least_hz = 1 / self.max_interval_s
        free_hz = max(left / left_s - least_hz, 0.0)
        rate_hz = least_hz + free_hz * relative**self.eagerness
        why = f"{relative:.2g} times the usual change, {left} frames for {left_s:.3g} s"
        yield self._set(self._between(rate_hz), rate, why, "filming")

    def _between(self, rate_hz: float) -> float | None:
        """Interval that films about so often; None is that of the plan.

        It divides the plan's, or a frame would come shortly before each of the plan's
        that shows nothing new.
        """
        most = max(int(self.max_interval_s / self.min_interval_s), 1)
        parts = min(round(self.max_interval_s * rate_hz), most)
        return self.max_interval_s / parts if parts > 1 else None

    # ------------------------------------------------------------- what changes

    def _change(self, seen: Observation) -> float | None:
        """Change of the objects for each second; None if nothing compares."""
        passed_s = seen.t_s - self._before_s
        if seen.moving or passed_s < self.over_s:
            return self._rate  # over less time noise is all that changes
        before, self._before, self._before_s = self._before, {}, seen.t_s
        squares = []
        for track in seen.tracks:
            if track.state != "active":
                continue
            value = track.features.get(self.feature or "", math.nan)
            now = (track.x_um, track.y_um, value)
            self._before[track.track_id] = now
            was = before.get(track.track_id, before.get(track.parent or 0))
            if was is not None and math.isfinite(change := self._of_one(was, now)):
                squares.append(change * change)
        if not squares:
            self._rate = None
            return None
        change = math.sqrt(sum(squares) / len(squares))
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
        self, interval_s: float | None, rate: float | None, why: str, state: str
    ) -> Action:
        now_s = self._asked_s
        if interval_s == now_s or self._close(interval_s, now_s):
            held = "the plan's interval" if now_s is None else f"{now_s:.3g} s"
            return Nothing(
                reason=f"{why}: {held} stays",
                score=rate,
                threshold=self._total / self._total_s if self._total_s else None,
                state=state,
            )
        self._asked_s = interval_s
        return SetInterval(interval_s=interval_s, reason=why)

    def _close(self, one_s: float | None, other_s: float | None) -> bool:
        if one_s is None or other_s is None:
            return False
        return abs(math.log(one_s / other_s)) < math.log(_WORTH)

    def _take_back(self, seen: Observation) -> None:
        if self.not_done(seen):
            self._asked_s = None
