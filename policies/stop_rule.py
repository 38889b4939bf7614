"""End the run, or a phase of it, when there is enough."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from pydantic import (
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    PrivateAttr,
    model_validator,
)

from smartscope.core import Action, NextPhase, Nothing, Observation, Stop, View
from smartscope.policies import Debounce, Policy

if TYPE_CHECKING:
    from collections.abc import Iterator


class StopRule(Policy):
    """Enough cells, enough signal, enough time, enough light: whatever comes first.

    Cells are counted over all positions; each counts once it has been tracked for
    `least_frames`, and goes on counting when it is gone. Signal is enough when a
    measurement of the frame has been above `signal` in several sights in a row. Light
    is power times exposure of the frames seen, summed, of one position: the one that
    has got most.

    Acquisition that ends when enough has been found: Tischer et al., "Adaptive
    fluorescence microscopy by online feedback image analysis", Methods in Cell Biology
    123, 489 (2014), https://doi.org/10.1016/B978-0-12-420138-5.00026-4
    """

    per = "run"

    cells: PositiveInt | None = None
    """Enough cells; nothing does not count them."""
    least_frames: PositiveInt = 3
    """A cell counts when it has been found in so many frames."""
    feature: str | None = None
    """Only cells count that have at least `least` of this feature."""
    least: float = 0.0
    """See `feature`; in its unit."""
    events: PositiveInt | None = None
    """Enough events of `trigger`; nothing does not count them."""
    trigger: str = "mitosis"
    """Kind of event that counts, over all positions."""
    signal: PositiveFloat | None = None
    """Enough of `measure`; nothing does not look at it."""
    measure: str = "signal_to_noise"
    """Measurement of the frame."""
    sights: PositiveInt = 3
    """Sights in a row with enough of it."""
    time_s: PositiveFloat | None = None
    """Enough time since the first sight; nothing is as long as the plan."""
    dose_percent_s: PositiveFloat | None = None
    """Enough light at any position: percent of power, times seconds."""
    then: Literal["stop", "next phase"] = "stop"
    """What happens then."""
    grace_s: NonNegativeFloat = 0.0
    """Never before so much time."""

    _counted: set[tuple[View, int]] = PrivateAttr(default_factory=set)
    _events: set[tuple[View, int]] = PrivateAttr(default_factory=set)
    _doses: dict[View, float] = PrivateAttr(default_factory=dict)
    _sure: dict[View, Debounce] = PrivateAttr(default_factory=dict)
    _begun_s: float | None = PrivateAttr(None)
    _told: bool = PrivateAttr(False)

    @model_validator(mode="after")
    def _some(self) -> StopRule:
        rules = (self.cells, self.events, self.signal, self.time_s, self.dose_percent_s)
        if all(rule is None for rule in rules):
            raise ValueError(
                "name at least one of cells, events, signal, time_s, dose_percent_s"
            )
        return self

    def react(self, seen: Observation) -> Iterator[Action]:
        """Count, and end what has enough."""
        if self._begun_s is None:
            self._begun_s = seen.t_s
        self._count(seen)
        shares = dict(self._shares(seen))
        what, share = max(shares.items(), key=lambda item: item[1])
        early = seen.t_s - self._begun_s < self.grace_s
        if self._told and not self._lost(seen):
            yield self._nothing(share, "ending", f"enough {what}: the end is asked for")
        elif share < 1 or early:
            said = "not before the time that is set" if early else "not enough yet"
            yield self._nothing(
                share, "going on", f"{100 * share:.3g} % {what}, {said}"
            )
        else:
            self._told = True
            why = f"enough {what}: {100 * share:.3g} % of what was wanted"
            yield Stop(reason=why) if self.then == "stop" else NextPhase(reason=why)

    def _shares(self, seen: Observation) -> Iterator[tuple[str, float]]:
        """Of every rule, how much of what it wants there is."""
        if self.cells is not None:
            yield "cells", len(self._counted) / self.cells
        if self.events is not None:
            yield f"{self.trigger} events", len(self._events) / self.events
        if self.signal is not None:
            sure = any(d.count >= self.sights for d in self._sure.values())
            now = seen.measurements.get(self.measure, math.nan)
            part = min(max(now / self.signal, 0.0), 0.99) if now > 0 else 0.0
            yield self.measure, 1.0 if sure else part
        if self.time_s is not None:
            yield "time", (seen.t_s - (self._begun_s or 0.0)) / self.time_s
        if self.dose_percent_s is not None:
            most = max(self._doses.values(), default=0.0)
            yield "light", min(most / self.dose_percent_s, 1e6)

    def _count(self, seen: Observation) -> None:
        for track in seen.tracks:
            value = track.features.get(self.feature or "", math.nan)
            enough = self.feature is None or value >= self.least
            if track.state == "active" and track.frames >= self.least_frames and enough:
                self._counted.add((seen.view, track.track_id))
        for event in seen.events_of(self.trigger):
            self._events.add((seen.view, event.event_id))
        if self.signal is not None:
            now = seen.measurements.get(self.measure, math.nan)
            sure = self._sure.setdefault(seen.view, Debounce(self.sights))
            sure.update(now >= self.signal)
        lit_s = (seen.state.exposure_ms or 0.0) / 1000 * (1 + seen.skipped)
        dose = lit_s * sum(seen.state.power_percent.values())
        self._doses[seen.view] = self._doses.get(seen.view, 0.0) + dose

    def _lost(self, seen: Observation) -> bool:
        return bool(self.not_done(seen, rejected=False))

    def _nothing(self, share: float, state: str, why: str) -> Nothing:
        return Nothing(reason=why, score=share, threshold=1.0, state=state)
