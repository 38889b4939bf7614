"""Film at a fixed rate, whatever is seen: the control that a smart policy must beat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, PositiveFloat, PrivateAttr

from smartscope.core import Action, Nothing, Observation, SetInterval
from smartscope.policies import Policy

if TYPE_CHECKING:
    from collections.abc import Iterator


class FixedRate(Policy):
    """Film every `interval_s`, all the time or for a share of it, and look at nothing.

    Without an interval it leaves the plan as it is: an arm that only films. With a
    `duty` below 1 it films fast for that share of every `period_s`, like a clockwork.

    Event-driven acquisition is held against a slow and a fast fixed rate by Mahecic
    et al., "Event-driven acquisition for content-enriched microscopy", Nature Methods
    19, 1262 (2022), https://doi.org/10.1038/s41592-022-01589-x
    """

    interval_s: PositiveFloat | None = None
    """Time between frames; nothing leaves the plan alone."""
    duty: float = Field(1.0, ge=0, le=1)
    """Share of the time that is filmed so."""
    period_s: PositiveFloat = 60.0
    """The share begins anew so often."""

    _is_on: bool = PrivateAttr(default=False)

    def react(self, seen: Observation) -> Iterator[Action]:
        """Set the rate when its time has come; nothing else matters."""
        if self.interval_s is None:
            yield Nothing(reason="the plan is filmed as it is", state="plan")
            return
        is_on = self.duty >= 1 or seen.t_s % self.period_s < self.duty * self.period_s
        again = self.not_done(seen, rejected=False)
        if is_on == self._is_on and not again:
            state = "fast" if is_on else "plan"
            yield Nothing(reason=f"{self.duty:.0%} of the time is filmed", state=state)
            return
        self._is_on = is_on
        yield SetInterval(
            interval_s=self.interval_s if is_on else None,
            reason="the fixed rate begins" if is_on else "the share is filmed",
        )
