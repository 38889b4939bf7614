"""Take a fast burst when a measurement of the frame crosses a threshold."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import Field, PositiveFloat, PositiveInt, PrivateAttr

from smartscope.core import Acquire, Action, Nothing, Observation
from smartscope.policies import Cooldown, Policy, PolicyContext

if TYPE_CHECKING:
    from collections.abc import Iterator


class BurstWhen(Policy):
    """Burst while something short goes on: the simplest policy that reacts."""

    measure: str
    """Measurement of the frame that is watched."""
    above: float
    """A burst is taken when it is higher than this."""
    frames: PositiveInt = 10
    """Frames of one burst."""
    exposure_ms: PositiveFloat | None = None
    """Their exposure; None keeps that of the plan."""
    cooldown_s: float = Field(5.0, ge=0)
    """Least time between two bursts."""

    _rest: Cooldown = PrivateAttr()

    def start(self, context: PolicyContext) -> None:
        """Begin rested."""
        super().start(context)
        self._rest = Cooldown(self.cooldown_s)

    def react(self, seen: Observation) -> Iterator[Action]:
        """Ask for a burst, or say why not."""
        value = seen.measurements.get(self.measure, math.nan)
        what = f"{self.measure} {value:.4g}"
        if math.isnan(value):
            yield Nothing(reason=f"{self.measure} was not measured")
        elif seen.role == "reaction":
            yield Nothing(reason="a frame of a burst", score=value, state="burst")
        elif value <= self.above:
            yield Nothing(
                reason=f"{what}, not above {self.above:g}",
                score=value,
                threshold=self.above,
            )
        elif not self._rest.take(seen.t_s):
            yield Nothing(reason=f"{what}, but resting", score=value, state="resting")
        else:
            yield Acquire(
                frames=self.frames,
                exposure_ms=self.exposure_ms,
                reason=f"{what} is above {self.above:g}",
            )
