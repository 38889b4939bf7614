"""Take a fast burst of a small region, or a stack, when something flashes up."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, PrivateAttr

from smartscope.core import Acquire, Action, Event, Nothing, Observation, SetRoi
from smartscope.policies import Cooldown, Policy, PolicyContext, region_around

if TYPE_CHECKING:
    from collections.abc import Iterator

_PATIENCE = 20
"""Frames of the plan in a row after which a burst counts as over."""


class BurstOnTransient(Policy):
    """Watch the whole field at a gentle rate, and film a transient while it lasts.

    When vision reports the event, the camera reads out only a square around it, which
    is faster, and takes a burst there: a fast film, a stack, or a film of stacks. Then
    the whole field is back. Of several at once the surest is filmed; the others, and
    what begins during a burst, are missed.

    After Alvelid et al., "Event-triggered STED imaging", Nature Methods 19, 1268
    (2022), https://doi.org/10.1038/s41592-022-01588-y, where calcium spikes in a
    widefield image start a fast STED film of the place.
    """

    requires = ("affine",)

    trigger: str = "transient"
    """Kind of event that asks for a burst."""
    on_score: float = Field(0.5, ge=0, le=1)
    """Least score of the event."""
    region_um: PositiveFloat | None = 40.0
    """Side of the square that is read out; nothing is the whole field."""
    frames: PositiveInt = 50
    """Time points of a burst."""
    interval_s: NonNegativeFloat = 0.0
    """Time between them; 0 is as fast as the camera goes."""
    exposure_ms: PositiveFloat | None = None
    """Exposure of the burst; nothing is that of the plan."""
    z_offsets_um: tuple[float, ...] = ()
    """Planes of each time point, relative to the focus; none is one."""
    channel: str | None = None
    """Channel of the burst; nothing is that of the frame that showed the event."""
    cooldown_s: NonNegativeFloat = 1.0
    """From one burst to the next at least this long, so that vision sees the field."""

    _rest: Cooldown = PrivateAttr()
    _left: int = PrivateAttr(0)
    _others: int = PrivateAttr(0)
    _small: bool = PrivateAttr(False)
    _done: int | None = PrivateAttr(None)

    def start(self, context: PolicyContext) -> None:
        """Watch."""
        super().start(context)
        self._rest = Cooldown(self.cooldown_s)

    def react(self, seen: Observation) -> Iterator[Action]:
        """Ask for a burst, and for the whole field after it."""
        if self._left > 0:
            yield from self._during(seen)
            return
        best = next(self._open(seen), None)
        if seen.moving or best is None:
            yield self._nothing(seen, f"no {self.trigger} to film", "watching")
        elif not self.fresh(seen):
            yield self._nothing(seen, "this frame is older than the burst", "waiting")
        elif "dose_budget" in seen.interlocks:
            yield self._nothing(seen, "the dose budget is spent", "watching")
        elif not self._rest.take(seen.t_s):
            left_s = self._rest.left_s(seen.t_s)
            yield self._nothing(seen, f"cool-down, {left_s:.3g} s left", "resting")
        else:
            yield from self._burst(seen, best)

    def _open(self, seen: Observation) -> Iterator[Event]:
        """Events that deserve a burst, the surest first; each gets one."""
        for event in seen.events_of(self.trigger):
            placed = math.isfinite(event.x_um) and math.isfinite(event.y_um)
            new = event.state != "ended" and event.event_id != self._done
            if placed and new and event.score >= self.on_score:
                yield event

    def _burst(self, seen: Observation, event: Event) -> Iterator[Action]:
        why = f"{self.trigger} score {event.score:.2f} reached {self.on_score:g}"
        self._left, self._others, self._done = self.frames, 0, event.event_id
        if self.region_um is not None:
            roi = region_around(seen, event.x_um, event.y_um, self.region_um)
            self._small = roi is not None
            if roi is not None:
                yield SetRoi(
                    x_px=roi.x_px,
                    y_px=roi.y_px,
                    width_px=roi.width_px,
                    height_px=roi.height_px,
                    reason=f"{why}: {self.region_um:g} um around it",
                    event_id=event.event_id,
                    track_id=event.track_id,
                )
        yield Acquire(
            frames=self.frames,
            interval_s=self.interval_s,
            exposure_ms=self.exposure_ms,
            z_offsets_um=self.z_offsets_um,
            channel=self.channel,
            reason=f"{why}: {self.frames} time points",
            event_id=event.event_id,
            track_id=event.track_id,
        )

    def _during(self, seen: Observation) -> Iterator[Action]:
        """Count what has come; the whole field again after the last of it."""
        refused = next((o.message or o.status for o in self.not_done(seen)), "")
        here = seen.role == "reaction"
        self._others = 0 if here else self._others + 1
        # What vision skipped during a burst was of the burst.
        self._left = max(0, self._left - int(here) - seen.skipped)
        what = f"{self.frames - self._left} of {self.frames} time points are taken"
        if refused or self._others > _PATIENCE:
            self._left, what = 0, f"not done: {refused or 'no frame of it came'}"
        if self._left == 0 and self._small:
            self._small = False
            yield SetRoi(reason=f"{what}, the whole field again")
        else:
            yield self._nothing(seen, what, "filming" if self._left else "watching")

    def _nothing(self, seen: Observation, why: str, state: str) -> Nothing:
        scores = (e.score for e in seen.events_of(self.trigger) if e.score >= 0)
        return Nothing(
            reason=why,
            score=max(scores, default=0.0),
            threshold=self.on_score,
            state=state,
        )
