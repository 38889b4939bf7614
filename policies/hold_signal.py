"""Hold the signal-to-noise of what is tracked while it bleaches."""

from __future__ import annotations

import math
from statistics import median
from typing import TYPE_CHECKING

from pydantic import Field, PositiveFloat, PrivateAttr, model_validator

from smartscope.core import (
    Action,
    Nothing,
    Observation,
    SetPower,
    View,
)
from smartscope.policies import Policy, PolicyContext

if TYPE_CHECKING:
    from collections.abc import Iterator


class HoldSignal(Policy):
    """Raise the light just as much as bleaching takes away, and lower it when it can.

    Power is multiplied by ``(target / measured) ** gain``, at most by `max_step` at
    once. It starts from the power and the signal of the very frame it looks at, so an
    old frame asks for the same power again and never adds to it. With several stage
    positions the weakest one decides.

    Light controlled by the signal, to spare the sample: Hoebe et al., "Controlled
    light-exposure microscopy reduces photobleaching and phototoxicity in fluorescence
    live-cell imaging", Nature Biotechnology 25, 249 (2007),
    https://doi.org/10.1038/nbt1278
    """

    per = "run"
    requires = ("light",)

    line: str
    """Light line whose power is set."""
    target: PositiveFloat
    """Signal-to-noise to hold."""
    measure: str = "signal_to_noise"
    """Measurement of the frame, or feature of the tracks (then their median)."""
    channel: str | None = None
    """Look at frames of this channel only."""
    tolerance: float = Field(0.05, ge=0, lt=1)
    """Leave the power alone while the signal is this close, as a part of the target."""
    gain: float = Field(1.0, gt=0, le=2)
    """1 is safe; where noise comes from few photons, 2 reaches the target at once."""
    max_step: float = Field(1.25, gt=1)
    """Largest factor of a single change."""
    min_percent: float = Field(0.1, gt=0, le=100)
    """Never lower the power below this."""
    max_percent: float = Field(100.0, gt=0, le=100)
    """Never raise it above this; the limits of the rig hold anyway."""

    _wanted: dict[View, float] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _ordered(self) -> HoldSignal:
        if self.min_percent > self.max_percent:
            raise ValueError("min_percent must not be above max_percent")
        return self

    def start(self, context: PolicyContext) -> None:
        """Check that the rig has the line."""
        super().start(context)
        context.highest_percent(self.line)

    def react(self, seen: Observation) -> Iterator[Action]:
        """Set the power that holds the target, or say why it stays."""
        if self.channel is not None and seen.channel != self.channel:
            return
        power = seen.state.power_percent.get(self.line, 0.0)
        signal = self._signal(seen)
        if power <= 0:
            yield self._stay(signal, "off", f"line {self.line} was off in this frame")
        elif signal is None:
            # Never more light for an empty field.
            yield self._stay(None, "no signal", f"nothing to measure {self.measure} on")
        else:
            yield self._hold(seen, power, signal)

    def _hold(self, seen: Observation, power: float, signal: float) -> Action:
        ratio = self.target / signal
        close = abs(math.log(ratio)) <= math.log1p(self.tolerance)
        factor = 1.0 if close else ratio**self.gain
        step = min(max(factor, 1 / self.max_step), self.max_step)
        self._wanted[seen.view] = power * step
        wanted = max(self._wanted.values())
        highest = min(self.max_percent, self.context.highest_percent(self.line))
        new = min(max(wanted, self.min_percent), highest)
        what = f"{self.measure} {signal:.3g}, target {self.target:g}"
        if new > power and "dose_budget" in seen.interlocks:
            return self._stay(
                signal,
                "dose budget",
                f"{what}: no more light, the dose budget is spent",
            )
        if math.isclose(new, power, rel_tol=1e-3):
            if wanted > highest * (1 + 1e-3):
                state, why = "at maximum", f"{highest:g} % is the most that is allowed"
            elif wanted < self.min_percent * (1 - 1e-3):
                state, why = "at minimum", f"{self.min_percent:g} % is the least set"
            else:
                state, why = "holding", f"{power:.3g} % is right"
            return self._stay(signal, state, f"{what}: {why}")
        change = "raised" if new > power else "lowered"
        return SetPower(
            line=self.line,
            power_percent=new,
            reason=f"{what}: {change} from {power:.3g} to {new:.3g} %",
        )

    def _signal(self, seen: Observation) -> float | None:
        """Measured signal-to-noise of a frame; None if there is none to trust."""
        values = [seen.measurements.get(self.measure, math.nan)]
        if self.measure not in seen.measurements:
            values = [
                track.features[self.measure]
                for track in seen.tracks
                if track.state == "active" and self.measure in track.features
            ]
        sound = [v for v in values if math.isfinite(v) and v > 0]
        return median(sound) if sound else None

    def _stay(self, signal: float | None, state: str, why: str) -> Nothing:
        return Nothing(reason=why, score=signal, threshold=self.target, state=state)
