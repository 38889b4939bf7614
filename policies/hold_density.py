"""Hold the density of single emitters by how much light switches them on."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import (
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PrivateAttr,
    model_validator,
)

from smartscope.core import Action, Nothing, Observation, SetPower
from smartscope.policies import PID, Policy, PolicyContext

if TYPE_CHECKING:
    from collections.abc import Iterator

_FEWEST = 0.1
"""An empty frame counts as this share of the target: a logarithm needs a number."""


class HoldDensity(Policy):
    """As many emitters in a frame as can be told apart, while labels are used up.

    The density is what vision finds in a frame, over the area of the frame, and its
    running mean is held at the target by the activation light. The fewer labels are
    left, the more light it takes: the power grows by orders of magnitude, so it is
    controlled in proportion to itself (a PI controller of its logarithm). When the
    highest power does no longer hold the target the labels are spent; a `stop_rule`
    may end the run then.

    After Stefko et al., "Autonomous illumination control for localization microscopy",
    Optics Express 26, 30882 (2018), https://doi.org/10.1364/OE.26.030882
    """

    requires = ("light",)

    line: str
    """Light line that switches the labels on."""
    target_per_um2: PositiveFloat = 0.3
    """Emitters in a frame for each square micrometre of it."""
    min_percent: float = Field(0.01, gt=0, le=100)
    """Lowest power; the range from here to the highest is what it controls."""
    max_percent: float = Field(100.0, gt=0, le=100)
    """Highest power; the limits of the rig hold anyway."""
    smooth_s: NonNegativeFloat = 1.0
    """Time over which the number of emitters is averaged, because it fluctuates."""
    response_s: PositiveFloat = 2.0
    """Half the density for so long doubles the power; longer than `smooth_s`."""
    gain: NonNegativeFloat = 0.7
    """Answer to the present error at once; 1 doubles the power at half the density."""
    step: float = Field(0.05, ge=0)
    """Smaller relative changes of the power are not worth an action."""
    channel: str | None = None
    """Look at frames of this channel only."""

    _loop: PID = PrivateAttr()
    _mean: float | None = PrivateAttr(None)
    _last_s: float = PrivateAttr(-math.inf)
    _power: float = PrivateAttr(math.nan)
    _before: float = PrivateAttr(math.nan)

    @model_validator(mode="after")
    def _ordered(self) -> HoldDensity:
        if self.min_percent >= self.max_percent:
            raise ValueError("min_percent must be below max_percent")
        return self

    def start(self, context: PolicyContext) -> None:
        """Check that the rig has the line."""
        super().start(context)
        allowed = min(self.max_percent, context.highest_percent(self.line))
        highest = max(allowed, self.min_percent)
        self._loop = PID(
            0.0,
            self.gain,
            1 / self.response_s,
            lowest=math.log(self.min_percent),
            highest=math.log(highest),
            max_gap_s=10 * self.response_s,
        )

    def react(self, seen: Observation) -> Iterator[Action]:
        """Set the power that holds the density."""
        if self.channel is not None and seen.channel != self.channel:
            return
        self._take_over(seen)
        density = self._density(seen)
        if density is None:
            yield Nothing(reason="the frame shows no part of the sample", state="blind")
            return
        share = max(density / self.target_per_um2, _FEWEST)
        power = math.exp(self._loop.update(math.log(share), seen.t_s))
        yield self._set(seen, density, power)

    def _density(self, seen: Observation) -> float | None:
        """Running mean of the emitters per square micrometre."""
        height, width = seen.shape
        area_um2 = height * width * seen.pixel_map.pixel_um**2
        if seen.moving or not area_um2 > 0:
            return None
        now = len(seen.detections) / area_um2
        passed_s = max(0.0, seen.t_s - self._last_s)
        self._last_s = seen.t_s
        if self._mean is None or not self.smooth_s:
            self._mean = now
        else:
            self._mean += (now - self._mean) * -math.expm1(-passed_s / self.smooth_s)
        return self._mean

    def _set(self, seen: Observation, density: float, power: float) -> Action:
        what = f"{density:.3g} emitters/um2, target {self.target_per_um2:g}"
        now = self._power
        if "dose_budget" in seen.interlocks and not power < now:
            state, why = "dose budget", "no more light, the dose budget is spent"
        elif abs(power - now) <= self.step * now:
            spent = math.isclose(self._loop.output, self._loop.highest)
            state = (
                "at maximum" if spent and density < self.target_per_um2 else "holding"
            )
            why = f"{now:.3g} % stays"
        else:
            self._before, self._power = now, power
            return SetPower(
                line=self.line, power_percent=power, reason=f"{what}: {power:.3g} %"
            )
        return Nothing(
            reason=f"{what}: {why}",
            score=density,
            threshold=self.target_per_um2,
            state=state,
        )

    def _take_over(self, seen: Observation) -> None:
        """Begin with the power that is on; go on with it where a change was refused."""
        power = seen.state.power_percent.get(self.line, 0.0)
        if math.isnan(self._power):
            self._power = power
        elif self.not_done(seen):
            self._power = self._before
        else:
            return
        self._loop.take_over(math.log(max(self._power, self.min_percent)))
