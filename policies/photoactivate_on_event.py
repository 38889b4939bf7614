"""Bleach or activate what an event happens to, then film fast what becomes of it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    PrivateAttr,
)

from smartscope.core import (
    Acquire,
    Action,
    ConfigError,
    Event,
    Nothing,
    Observation,
    SetInterval,
    ShowPattern,
)
from smartscope.policies import Cooldown, Policy, PolicyContext, outline_px, to_pixels

if TYPE_CHECKING:
    from collections.abc import Iterator

Polygon = tuple[tuple[float, float], ...]


class PhotoactivateOnEvent(Policy):
    """A flash through the SLM on one object, and a fast film of the recovery.

    When vision reports the event, the outline of the object it happens to is shown on
    the SLM, a few frames are taken as they were, then the flash: an exposure in a
    channel of its own, whose light is named in the experiment. From then on the field
    is filmed fast, until the recovery is over. Then the policy waits for the next event
    in another object. Objects that the border of the image cuts are left alone. The SLM
    is dark but for the flash, so a pattern that was refused lights nothing.

    Bleaching and recovery on what an automatic analysis has chosen: Rabut & Ellenberg,
    in "Live Cell Imaging: A Laboratory Manual", CSHL Press, 101 (2005); triggered on
    rare events: Conrad et al., Nature Methods 8, 246 (2011),
    https://doi.org/10.1038/nmeth.1558
    """

    requires = ("slm", "affine", "plan")

    trigger: str = "mitosis"
    """Kind of event that asks for a flash."""
    on_score: float = Field(0.5, ge=0, le=1)
    """Least score of the event."""
    flash_channel: str
    """Channel preset of the flash; the experiment says how strong its light is."""
    flash_ms: PositiveFloat = 500.0
    """Exposure of one flash."""
    flashes: PositiveInt = 1
    """So many exposures, one right after the other."""
    region: Literal["object", "spot"] = "object"
    """What is lit: the whole object, or a spot at the place of the event."""
    margin_um: float = 0.0
    """The outline of the object is widened by so much, or narrowed."""
    border_um: NonNegativeFloat = 2.0
    """What comes nearer to the border of the image is taken for cut, and not lit."""
    spot_um: PositiveFloat = 2.0
    """Radius of the spot."""
    intensity: int = Field(255, ge=1, le=255)
    """Of the light that the SLM can let through."""
    before_frames: NonNegativeInt = 3
    """Frames right before the flash, to compare with."""
    fast_interval_s: PositiveFloat = 1.0
    """Time between frames of the recovery."""
    recovery_s: PositiveFloat = 60.0
    """How long it is filmed."""
    cooldown_s: NonNegativeFloat = 0.0
    """No flash for so long after a recovery."""
    once: bool = True
    """Never flash the same object twice."""

    _rest: Cooldown = PrivateAttr()
    _since_s: float | None = PrivateAttr(None)
    _dark: bool = PrivateAttr(True)
    _target: Event | None = PrivateAttr(None)
    _stage_um: tuple[float, float] = PrivateAttr((0.0, 0.0))
    _film_cause: str = PrivateAttr("")
    _done: set[int] = PrivateAttr(default_factory=set)

    def start(self, context: PolicyContext) -> None:
        """Wait for the first event."""
        super().start(context)
        self._rest = Cooldown(self.recovery_s + self.cooldown_s)
        # The film is the last action of its decision, and its frames say so.
        self._film_cause = ".3" if self.before_frames else ".2"
        if self.flash_channel in context.channels:
            raise ConfigError(
                f"{self.flash_channel} is a channel of the plan, it would always flash",
                field="flash_channel",
                fix="name a preset that the plan does not use",
            )

    def react(self, seen: Observation) -> Iterator[Action]:
        """Flash on an event, film, and go back to watching."""
        if self._since_s is not None:
            yield from self._film(seen)
            return
        lasting = [e for e in seen.events_of(self.trigger) if e.state != "ended"]
        sure = [e for e in lasting if e.score >= self.on_score and self._open(e)]
        score = max((e.score for e in lasting if e.score >= 0), default=0.0)
        if seen.moving or not sure or seen.state.x_um is None:
            yield Nothing(
                reason=f"no {self.trigger} in an object that is to be lit",
                score=score,
                threshold=self.on_score,
                state="watching",
            )
        elif "dose_budget" in seen.interlocks:
            yield Nothing(reason="the dose budget is spent", state="watching")
        elif not self._rest.ready(seen.t_s):
            left_s = self._rest.left_s(seen.t_s)
            yield Nothing(reason=f"cool-down, {left_s:.3g} s left", state="resting")
        else:
            yield from self._flash(seen, sure[0])

    def _open(self, event: Event) -> bool:
        return math.isfinite(event.x_um + event.y_um) and not (
            self.once and event.track_id in self._done
        )

    def _flash(self, seen: Observation, event: Event) -> Iterator[Action]:
        region = self._region(seen, event)
        if region is None:
            yield Nothing(reason="its object is out of sight", state="watching")
            return
        border_px = self.border_um / seen.pixel_map.pixel_um
        if not _within(region, seen.shape, border_px):
            yield Nothing(
                reason="the object is cut by the border of the image",
                score=event.score,
                threshold=self.on_score,
                state="watching",
            )
            return
        self._rest.take(seen.t_s)
        self._since_s, self._dark = seen.t_s, False
        self._target, self._stage_um = event, _stage_um(seen)
        if event.track_id is not None:
            self._done.add(event.track_id)
        for action in self._actions(region, event):
            yield replace(action, event_id=event.event_id, track_id=event.track_id)

    def _actions(self, region: Polygon, event: Event) -> Iterator[Action]:
        why = f"{self.trigger} score {event.score:.2f} reached {self.on_score:g}"
        yield ShowPattern(polygons_px=(region,), intensity=self.intensity, reason=why)
        if self.before_frames:
            before = f"{why}: as it was before the flash"
            yield Acquire(frames=self.before_frames, reason=before)
        yield Acquire(
            frames=self.flashes,
            channel=self.flash_channel,
            exposure_ms=self.flash_ms,
            reason=f"{why}: the flash",
        )
        yield SetInterval(
            interval_s=self.fast_interval_s,
            reason=f"the recovery is filmed for {self.recovery_s:g} s",
        )

    def _region(self, seen: Observation, event: Event) -> Polygon | None:
        track = seen.track(event.track_id)
        if self.region == "object":
            if track is None or track.state != "active":
                return None
            return outline_px(seen, track, margin_um=self.margin_um)
        angles = 2 * math.pi * np.arange(16) / 16
        circle = self.spot_um * np.column_stack([np.cos(angles), np.sin(angles)])
        return to_pixels(seen, circle + np.array([event.x_um, event.y_um]))

    def _film(self, seen: Observation) -> Iterator[Action]:
        """Go dark as soon as the flash is over; end the film in time."""
        for_s = seen.t_s - (self._since_s or 0.0)
        refused = [o.message or o.status for o in self.not_done(seen)]
        # Frames of the film come after the flash; those before it have other causes.
        if not self._dark and seen.cause.endswith(self._film_cause):
            self._dark = True
            yield ShowPattern(polygons_px=(), reason="the flash is over")
        elif not self._dark and not refused:
            yield from self._aim_again(seen)
        if refused and self._target is not None and self._target.track_id is not None:
            # It may get its flash another time.
            self._done.discard(self._target.track_id)
        if refused or for_s >= self.recovery_s:
            if not self._dark:
                self._dark = True
                yield ShowPattern(
                    polygons_px=(), reason="nothing is to be lit any more"
                )
            self._since_s = None
            why = f"filmed for {for_s:.3g} s"
            yield SetInterval(
                interval_s=None, reason=f"not done: {refused[0]}" if refused else why
            )
            return
        yield Nothing(
            reason=f"the recovery has been filmed for {for_s:.3g} s",
            score=for_s,
            threshold=self.recovery_s,
            state="filming",
        )

    def _aim_again(self, seen: Observation) -> Iterator[Action]:
        """A pattern stays in the field: where the stage moved, show a new one."""
        here = _stage_um(seen)
        if math.dist(here, self._stage_um) <= seen.pixel_map.pixel_um / 2:
            return
        self._stage_um = here
        region = None
        if self._target is not None and not seen.moving:
            region = self._region(seen, self._target)
        if region is None:
            self._dark = True
            yield ShowPattern(
                polygons_px=(), reason="the stage moved, and the object is not in sight"
            )
        else:
            yield ShowPattern(
                polygons_px=(region,),
                intensity=self.intensity,
                reason="the stage moved: aimed again",
            )


def _stage_um(seen: Observation) -> tuple[float, float]:
    return seen.state.x_um or 0.0, seen.state.y_um or 0.0


def _within(region: Polygon, shape: tuple[int, int], border_px: float) -> bool:
    """Whether all corners (y, x) are so far inside an image."""
    corners, last = np.array(region), np.array(shape) - 1
    return bool((corners > border_px).all() and (corners < last - border_px).all())
