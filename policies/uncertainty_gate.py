"""Take the expensive picture only where the cheap one leaves a doubt."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import (
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    PrivateAttr,
    model_validator,
)

from smartscope.core import Acquire, Action, Nothing, Observation
from smartscope.policies import Cooldown, Policy, PolicyContext, TrackMemory

if TYPE_CHECKING:
    from collections.abc import Iterator


class UncertaintyGate(Policy):
    """Measure cheaply; measure dearly what lies too close to the decision.

    A feature of each object, or the score of an event, is a verdict if it is clearly
    below `low` or clearly above `high`. In between it is a doubt. When doubt is enough
    the expensive picture is taken: another channel, more light, a longer exposure, a
    stack. An object that has got one is settled for `settled_s`, so that what will stay
    ambiguous does not ask for ever.

    After Bouchard et al., "Resolution enhancement with a task-assisted GAN to guide
    optical nanoscopy image analysis and acquisition", Nature Machine Intelligence 5,
    830 (2023), https://doi.org/10.1038/s42256-023-00689-3, where real high-resolution
    pictures are taken where predicted ones disagree.
    """

    feature: str = "score"
    """Feature of the tracks that is judged; or a kind of event, then its score."""
    low: float = 0.3
    """A clear no is below this, in the unit of the feature."""
    high: float = 0.7
    """A clear yes is above this."""
    least_objects: PositiveInt = 1
    """So many doubtful objects make the picture worth its price."""
    channel: str | None = None
    """Channel of the expensive picture; nothing is that of the cheap one."""
    exposure_ms: PositiveFloat | None = None
    """Its exposure; nothing is that of the cheap one."""
    z_offsets_um: tuple[float, ...] = ()
    """Its planes, relative to the focus; none is one."""
    frames: PositiveInt = 1
    """Time points of it."""
    settled_s: NonNegativeFloat = 300.0
    """An object whose picture has been taken is no doubt for so long."""
    cooldown_s: NonNegativeFloat = 10.0
    """Never two within this time."""
    most: PositiveInt | None = None
    """At most so many in the whole run."""
    watch: str | None = None
    """Judge frames of this channel only."""

    _settled: TrackMemory[float] = PrivateAttr(default_factory=TrackMemory)
    _rest: Cooldown = PrivateAttr()
    _taken: int = PrivateAttr(0)

    @model_validator(mode="after")
    def _ordered(self) -> UncertaintyGate:
        if self.low >= self.high:
            raise ValueError("low must be below high")
        return self

    def start(self, context: PolicyContext) -> None:
        """Doubt nothing yet."""
        super().start(context)
        self._rest = Cooldown(self.cooldown_s)

    def react(self, seen: Observation) -> Iterator[Action]:
        """Count the doubts, and take the picture if they are worth it."""
        if seen.role == "reaction" or seen.moving:
            return
        if self.watch is not None and seen.channel != self.watch:
            return
        self._settled.keep(seen.tracks)
        doubtful = self._doubtful(seen)
        score, least = float(len(doubtful)), float(self.least_objects)
        what = f"{len(doubtful)} objects with {self.feature} within {self._band()}"
        if len(doubtful) < self.least_objects:
            state, why = "sure", f"{what}, {self.least_objects} are needed"
        elif self.most is not None and self._taken >= self.most:
            state, why = "spent", f"{what}, but {self.most} pictures are all"
        elif "dose_budget" in seen.interlocks:
            state, why = "spent", f"{what}, but the dose budget is spent"
        elif not self._rest.take(seen.t_s):
            left_s = self._rest.left_s(seen.t_s)
            state, why = "resting", f"{what}, cool-down, {left_s:.3g} s left"
        else:
            self._taken += 1
            for track_id in doubtful:
                self._settled.set(track_id, seen.t_s)
            yield Acquire(
                frames=self.frames,
                channel=self.channel,
                exposure_ms=self.exposure_ms,
                z_offsets_um=self.z_offsets_um,
                reason=f"{what}: the expensive picture decides",
                track_id=doubtful[0],
            )
            return
        yield Nothing(reason=why, score=score, threshold=least, state=state)

    def _band(self) -> str:
        return f"{self.low:g}..{self.high:g}"

    def _doubtful(self, seen: Observation) -> list[int]:
        """Objects between a clear no and a clear yes, not settled; oldest first."""
        values = {
            event.track_id: event.score
            for event in seen.events_of(self.feature)
            if event.state != "ended" and event.track_id is not None
        }
        doubtful = []
        for track in seen.tracks:
            value = values.get(
                track.track_id, track.features.get(self.feature, math.nan)
            )
            settled_s = self._settled.get(track.track_id)
            open_still = settled_s is None or seen.t_s - settled_s > self.settled_s
            if (
                track.state == "active"
                and self.low <= value <= self.high
                and open_still
            ):
                doubtful.append(track.track_id)
        return sorted(doubtful)
