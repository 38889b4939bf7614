"""Watch without a label, and take fluorescence only where something happens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import (
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    PrivateAttr,
    model_validator,
)

from smartscope.core import Acquire, Action, ConfigError, Event, Nothing, Observation
from smartscope.policies import Cooldown, Hysteresis, Policy, PolicyContext

if TYPE_CHECKING:
    from collections.abc import Iterator


class LabelFreeThenFluorescence(Policy):
    """Watch in a gentle channel, and film in another one while an event lasts.

    The plan has the gentle channel only, transmitted light for example. While vision
    sees the event there, a few frames at a time are taken in the other channel: light
    that bleaches and harms falls on the field only while there is something to see. The
    event is judged in the gentle channel throughout.

    A label-free image that starts a costly one, after Ibrahim et al., Nature
    Communications 16 (2025), https://doi.org/10.1038/s41467-025-64856-3; one modality
    that starts another as in Alvelid et al., Nature Methods 19, 1268 (2022),
    https://doi.org/10.1038/s41592-022-01588-y
    """

    trigger: str = "rounding"
    """Kind of event that asks for fluorescence."""
    channel: str
    """Preset of the fluorescence; the experiment says how strong its light is."""
    on_score: float = Field(0.5, ge=0, le=1)
    """Score at which it begins."""
    off_score: float = Field(0.3, ge=0, le=1)
    """Score below which it ends; not above `on_score`."""
    frames: PositiveInt = 1
    """Frames at a time."""
    interval_s: PositiveFloat = 5.0
    """Time between them, and from the last one to the next time."""
    exposure_ms: PositiveFloat | None = None
    """Their exposure; nothing is that of the gentle channel."""
    z_offsets_um: tuple[float, ...] = ()
    """Planes of each of them, relative to the focus; none is one."""
    after_s: NonNegativeFloat = 0.0
    """It goes on for so long at least, whatever the score does."""
    max_frames: PositiveInt | None = None
    """At most so many in the whole run."""

    _busy: Hysteresis = PrivateAttr()
    _rest: Cooldown = PrivateAttr()
    _taken: int = PrivateAttr(0)

    @model_validator(mode="after")
    def _ordered(self) -> LabelFreeThenFluorescence:
        if self.off_score > self.on_score:
            raise ValueError("off_score must not be above on_score")
        return self

    def start(self, context: PolicyContext) -> None:
        """Check that the plan is gentle, and begin to watch."""
        super().start(context)
        if self.channel in context.channels:
            raise ConfigError(
                f"{self.channel} is a channel of the plan, it would be taken anyway",
                field="channel",
                fix="leave it out of the plan, and name its light under 'light'",
            )
        self._busy = Hysteresis(self.on_score, self.off_score, min_on_s=self.after_s)
        self._rest = Cooldown(self.frames * self.interval_s)

    def react(self, seen: Observation) -> Iterator[Action]:
        """Take the next frames while the event lasts."""
        self._count_lost(seen)
        if seen.channel == self.channel or seen.moving:
            yield Nothing(reason="no frame that the event shows in", state="waiting")
            return
        lasting = (e for e in seen.events_of(self.trigger) if e.state != "ended")
        event = next((e for e in lasting if e.score >= 0), None)
        score = event.score if event else 0.0
        busy = self._busy.update(score, seen.t_s)
        why = f"strongest {self.trigger} score {score:.2f}"
        left = (self.max_frames or self._taken + self.frames) - self._taken
        if not busy:
            yield self._nothing(score, "watching", f"{why}: without a label")
        elif left <= 0:
            why = f"{why}, but {self._taken} frames are all that are allowed"
            yield self._nothing(score, "spent", why)
        elif "dose_budget" in seen.interlocks:
            yield self._nothing(score, "spent", f"{why}, but the dose budget is spent")
        elif not self._rest.take(seen.t_s):
            left_s = self._rest.left_s(seen.t_s)
            why = f"{why}: the next frame in {left_s:.3g} s"
            yield self._nothing(score, "filming", why)
        else:
            yield self._acquire(event, why, min(self.frames, left))

    def _acquire(self, event: Event | None, why: str, frames: int) -> Action:
        self._taken += frames
        return Acquire(
            frames=frames,
            interval_s=self.interval_s if frames > 1 else 0.0,
            channel=self.channel,
            exposure_ms=self.exposure_ms,
            z_offsets_um=self.z_offsets_um,
            reason=f"{why}: {frames} frames in {self.channel}",
            event_id=event.event_id if event else None,
            track_id=event.track_id if event else None,
        )

    def _count_lost(self, seen: Observation) -> None:
        """What was not taken may be asked for again at once."""
        lost = len(self.not_done(seen, rejected=False))
        if lost:
            self._taken = max(0, self._taken - lost * self.frames)
            self._rest = Cooldown(self.frames * self.interval_s)

    def _nothing(self, score: float, state: str, why: str) -> Nothing:
        threshold = self.off_score if self._busy.is_on else self.on_score
        return Nothing(reason=why, score=score, threshold=threshold, state=state)
