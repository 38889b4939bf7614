"""Film a spot that appears in a small region, fast, until it vanishes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, NonNegativeFloat, PositiveFloat, PrivateAttr

from smartscope.core import (
    Action,
    Event,
    Nothing,
    Observation,
    SetInterval,
    SetRoi,
)
from smartscope.policies import Cooldown, Policy, PolicyContext, region_around

if TYPE_CHECKING:
    from collections.abc import Iterator


class EndocytosisRoi(Policy):
    """A small region and a high rate for one spot, from its appearance to its end.

    The whole membrane is watched slowly. When vision reports that a spot has appeared,
    the camera reads out a square around it and films it fast. Once it has been out of
    sight for `gone_s` the whole membrane is back: after that time the film shows
    the end, and what came after it. A spot that stays longer than `max_s` is none that
    leaves, and is given up.

    After Alvelid et al., "Event-triggered STED imaging", Nature Methods 19, 1268
    (2022), https://doi.org/10.1038/s41592-022-01588-y
    """

    requires = ("affine", "plan")

    trigger: str = "endocytosis"
    """Kind of event that starts a film: a spot that has appeared."""
    on_score: float = Field(0.5, ge=0, le=1)
    """Least score of the event."""
    region_um: PositiveFloat = 5.0
    """Side of the square that is read out."""
    fast_interval_s: PositiveFloat = 0.2
    """Time between frames of the film."""
    gone_s: NonNegativeFloat = 2.0
    """The film ends when the spot has not been seen for so long."""
    max_s: PositiveFloat = 120.0
    """And after so long at the latest."""
    cooldown_s: NonNegativeFloat = 0.0
    """The whole field for at least so long after a film."""
    channel: str | None = None
    """Look at frames of this channel only."""

    _rest: Cooldown = PrivateAttr()
    _place_um: tuple[float, float] | None = PrivateAttr(None)
    _since_s: float = PrivateAttr(0.0)
    _seen_s: float = PrivateAttr(0.0)
    _event: int | None = PrivateAttr(None)
    _track: int | None = PrivateAttr(None)

    def start(self, context: PolicyContext) -> None:
        """Watch the whole field."""
        super().start(context)
        self._rest = Cooldown(0.0)

    def react(self, seen: Observation) -> Iterator[Action]:
        """Start a film at a spot, and end it with the spot."""
        if self.channel is not None and seen.channel != self.channel:
            return
        if self._place_um is not None:
            yield from self._film(seen)
            return
        spot = next(self._open(seen), None)
        roi = None
        if spot is not None:
            roi = region_around(seen, spot.x_um, spot.y_um, self.region_um)
        if seen.moving or spot is None or roi is None:
            yield self._nothing(seen, f"no {self.trigger} has begun", "watching")
        elif not self.fresh(seen):
            yield self._nothing(seen, "the last film still shows", "waiting")
        elif "dose_budget" in seen.interlocks:
            yield self._nothing(seen, "the dose budget is spent", "watching")
        elif not self._rest.ready(seen.t_s):
            left_s = self._rest.left_s(seen.t_s)
            yield self._nothing(seen, f"cool-down, {left_s:.3g} s left", "resting")
        else:
            self._place_um = (spot.x_um, spot.y_um)
            self._event, self._track = spot.event_id, spot.track_id
            self._since_s = self._seen_s = seen.t_s
            why = f"{self.trigger} score {spot.score:.2f} reached {self.on_score:g}"
            yield SetRoi(
                x_px=roi.x_px,
                y_px=roi.y_px,
                width_px=roi.width_px,
                height_px=roi.height_px,
                reason=f"{why}: {self.region_um:g} um around it",
                event_id=spot.event_id,
                track_id=spot.track_id,
            )
            yield SetInterval(
                interval_s=self.fast_interval_s,
                reason=f"{why}: a frame every {self.fast_interval_s:g} s",
                event_id=spot.event_id,
                track_id=spot.track_id,
            )

    def _open(self, seen: Observation) -> Iterator[Event]:
        """Spots that no film has shown; the newest first, for most is ahead of them."""
        spots = [
            e
            for e in seen.events_of(self.trigger)
            if e.state != "ended"
            and e.score >= self.on_score
            and e.event_id != self._event
            and self._found(seen, e.track_id)
        ]
        yield from sorted(spots, key=lambda e: (-e.onset_s, e.event_id))

    def _film(self, seen: Observation) -> Iterator[Action]:
        refused = next((o.message or o.status for o in self.not_done(seen)), "")
        if self._in_sight(seen):
            self._seen_s = seen.t_s
        for_s, gone_s = seen.t_s - self._since_s, seen.t_s - self._seen_s
        if refused:
            why = f"not done: {refused}"
        elif gone_s > self.gone_s:
            why = f"filmed for {for_s:.3g} s, gone for {gone_s:.3g} s"
        elif for_s > self.max_s:
            why = f"filmed for {for_s:.3g} s, and it is still there"
        else:
            yield Nothing(
                reason=f"filmed for {for_s:.3g} s, gone for {gone_s:.3g} s",
                score=gone_s,
                threshold=self.gone_s,
                state="filming",
            )
            return
        self._place_um = None
        self._rest = Cooldown(self.cooldown_s)
        self._rest.take(seen.t_s)
        yield SetRoi(reason=f"{why}: the whole field again")
        yield SetInterval(interval_s=None, reason=why)

    def _in_sight(self, seen: Observation) -> bool:
        """Whether the spot is there; one without a track while its event lasts."""
        if self._track is not None:
            return seen.track(self._track) is not None and self._found(
                seen, self._track
            )
        return any(
            e.event_id == self._event and e.state != "ended" for e in seen.events
        )

    def _found(self, seen: Observation, track_id: int | None) -> bool:
        track = seen.track(track_id)
        return track is None or track.state in ("active", "tentative")

    def _nothing(self, seen: Observation, why: str, state: str) -> Nothing:
        scores = (e.score for e in seen.events_of(self.trigger) if e.score >= 0)
        return Nothing(
            reason=why,
            score=max(scores, default=0.0),
            threshold=self.on_score,
            state=state,
        )
