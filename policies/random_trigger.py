"""Film fast at random times: the control for whether looking was of any use."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field, PositiveFloat, PrivateAttr

from smartscope.core import Action, Nothing, Observation, SetInterval
from smartscope.policies import Policy, PolicyContext

if TYPE_CHECKING:
    from collections.abc import Iterator


class RandomTrigger(Policy):
    """Film fast for a share of the time, at times that have nothing to do with events.

    Every fast film lasts `lasts_s`; the waits between them are drawn from an
    exponential distribution, so that none can be foreseen from the last one. Given the
    duty and the duration of another policy's fast films it spends the same light, and
    what that policy finds more is owed to its looking.

    A control for event-driven acquisition as in Mahecic et al., "Event-driven
    acquisition for content-enriched microscopy", Nature Methods 19, 1262 (2022),
    https://doi.org/10.1038/s41592-022-01589-x
    """

    fast_interval_s: PositiveFloat = 0.5
    """Time between frames of a fast film."""
    duty: float = Field(0.1, ge=0, le=1)
    """Share of the time that is filmed fast, on average."""
    lasts_s: PositiveFloat = 10.0
    """How long one fast film lasts."""

    _rng: np.random.Generator = PrivateAttr()
    _next_s: float = PrivateAttr(default=math.inf)
    _until_s: float = PrivateAttr(default=-math.inf)
    _is_on: bool = PrivateAttr(default=False)

    def start(self, context: PolicyContext) -> None:
        """Draw when the first film begins."""
        super().start(context)
        self._rng = context.rng()
        begins_on = self._rng.random() < self.duty
        self._next_s = 0.0 if begins_on else self._wait_s()

    def react(self, seen: Observation) -> Iterator[Action]:
        """Begin a film when its time has come, and end it."""
        while seen.t_s >= self._next_s:
            # From when it begins, so that films begun late are as long as the others;
            # the next one is drawn from when it was due, so that there are as many.
            self._until_s = max(seen.t_s, self._until_s) + self.lasts_s
            self._next_s += self.lasts_s + self._wait_s()
        is_on = seen.t_s < self._until_s
        again = self.not_done(seen, rejected=False)
        if is_on == self._is_on and not again:
            state = "fast" if is_on else "slow"
            yield Nothing(reason="what is seen does not matter", state=state)
            return
        self._is_on = is_on
        yield SetInterval(
            interval_s=self.fast_interval_s if is_on else None,
            reason="its random time has come" if is_on else "the film is over",
        )

    def _wait_s(self) -> float:
        if self.duty >= 1:
            return 0.0
        if self.duty <= 0:
            return math.inf
        return float(self._rng.exponential(self.lasts_s * (1 / self.duty - 1)))
