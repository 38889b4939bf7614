"""Film fast while something is happening, slowly otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, PositiveFloat, PrivateAttr, model_validator

from smartscope.core import Action, Event, Nothing, Observation, SetInterval
from smartscope.policies import Hysteresis, Policy, PolicyContext

if TYPE_CHECKING:
    from collections.abc import Iterator


class RateSwitch(Policy):
    """Film fast while an event lasts, and at the baseline's rate otherwise.

    The fast rate starts when the score of the triggering event reaches `on_score` and
    ends when it has fallen below `off_score`, so a score that flickers around one
    threshold does not switch the rate back and forth. Light is spent where the biology
    is: most frames of a slow film show nothing.

    After Mahecic et al., "Event-driven acquisition for content-enriched microscopy",
    Nature Methods 19, 1262 (2022), https://doi.org/10.1038/s41592-022-01589-x
    """

    trigger: str = "mitosis"
    """Kind of event that starts fast filming."""
    fast_interval_s: PositiveFloat = 0.5
    """Time between frames while the event lasts."""
    on_score: float = Field(0.5, ge=0, le=1)
    """Score at which fast filming starts."""
    off_score: float = Field(0.3, ge=0, le=1)
    """Score below which it ends; not above `on_score`."""
    min_fast_s: float = Field(5.0, ge=0)
    """Once started, fast filming lasts at least so long."""
    max_fast_s: PositiveFloat | None = None
    """And at most so long: it starts again only after the score was low."""
    cooldown_s: float = Field(0.0, ge=0)
    """After fast filming, the slow rate lasts at least so long."""

    _busy: Hysteresis = PrivateAttr()

    @model_validator(mode="after")
    def _ordered(self) -> RateSwitch:
        if self.off_score > self.on_score:
            raise ValueError("off_score must not be above on_score")
        if self.max_fast_s is not None and self.max_fast_s < self.min_fast_s:
            raise ValueError("max_fast_s must not be below min_fast_s")
        return self

    def start(self, context: PolicyContext) -> None:
        """Begin at the slow rate."""
        super().start(context)
        self._busy = Hysteresis(
            on=self.on_score,
            off=self.off_score,
            min_on_s=self.min_fast_s,
            min_off_s=self.cooldown_s,
        )

    def react(self, seen: Observation) -> Iterator[Action]:
        """Switch the rate when the strongest triggering event says so."""
        lasting = [e for e in seen.events_of(self.trigger) if e.state != "ended"]
        event = next((e for e in lasting if e.score >= 0), None)  # NaN tells nothing
        score = event.score if event is not None else 0.0
        was_fast = self._busy.is_on
        fast_s = seen.t_s - self._busy.since_s
        is_fast = self._busy.update(score, seen.t_s)
        spent = self.max_fast_s is not None and fast_s >= self.max_fast_s
        if was_fast and is_fast and spent:
            self._busy.release(seen.t_s)
            yield self._slow(f"{self.trigger} filmed for {fast_s:g} s, the longest set")
        elif was_fast and not is_fast:
            low = f"{self.trigger} score {score:.2f} is below {self.off_score:g}"
            yield self._slow(f"{low} after {fast_s:g} s")
        elif is_fast and not was_fast and event is not None:
            yield self._fast(event)
        elif is_fast and self._refused(seen):
            yield SetInterval(
                interval_s=self.fast_interval_s,
                reason="asked again: the change to fast filming was not carried out",
            )
        elif not is_fast and self._refused(seen):
            yield self._slow("asked again: the change of rate was not carried out")
        else:
            yield self._nothing(score, seen.t_s)

    def _refused(self, seen: Observation) -> bool:
        return bool(self.not_done(seen, rejected=False))

    def _fast(self, event: Event) -> SetInterval:
        return SetInterval(
            interval_s=self.fast_interval_s,
            reason=f"{self.trigger} score {event.score:.2f} reached {self.on_score:g}",
            event_id=event.event_id,
            track_id=event.track_id,
        )

    def _slow(self, why: str) -> SetInterval:
        return SetInterval(interval_s=None, reason=why)

    def _nothing(self, score: float, t_s: float) -> Nothing:
        what = f"strongest {self.trigger} score {score:.2f}"
        left_s = self._busy.left_s(t_s)
        if self._busy.is_on:
            state, threshold = "fast", self.off_score
            why = f"{what}, still above {threshold:g}"
            if score < threshold:
                why = f"{what}, but fast filming lasts {left_s:g} s more at least"
        elif score >= self.on_score:
            state, threshold = "cooling down", self.on_score
            why = f"{what}, but no fast filming yet: {left_s:g} s of cool-down left"
            if left_s == 0:
                why = f"{what}, but it was filmed as long as is set"
        else:
            state, threshold = "slow", self.on_score
            why = f"{what}, below {threshold:g}"
        return Nothing(reason=why, score=score, threshold=threshold, state=state)
