"""Hold what cells make at a level by how much light switches it on."""

from __future__ import annotations

import math
from statistics import median
from typing import TYPE_CHECKING, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PrivateAttr,
    model_validator,
)

from smartscope.core import (
    Action,
    Nothing,
    Observation,
    SetPower,
    Track,
    View,
)
from smartscope.policies import PID, BangBang, Policy, PolicyContext, pick

if TYPE_CHECKING:
    from collections.abc import Iterator


class ClampReporter(Policy):
    """Measure a reporter in single cells and set the light that switches it on.

    The level is that of one cell, or the median of all in sight. A PID controller sets
    any power between the limits; bang-bang switches between the lowest and the highest
    one, for what answers to pulses. Errors count as parts of the target, so the gains
    need no counts. The light of `line` is that of the channels that name it in the
    experiment: a channel of its own, that no stage looks at, makes a clean pulse.

    Closed-loop light control of gene expression: Milias-Argeitis et al., "In silico
    feedback for in vivo regulation of a gene expression circuit", Nature Biotechnology
    29, 1114 (2011), https://doi.org/10.1038/nbt.2018; of single cells under the
    microscope: Rullan et al., "An optogenetic platform for real-time, single-cell
    interrogation of stochastic transcriptional regulation", Molecular Cell 70, 745
    (2018), https://doi.org/10.1016/j.molcel.2018.04.012
    """

    per = "run"
    requires = ("light",)

    line: str
    """Light line that switches the reporter on."""
    target: PositiveFloat
    """Level to hold, in the unit of `measure`, for example counts."""
    measure: str = "mean_Cy5"
    """Feature of the tracks, or of the objects where nothing tracks them."""
    cells: Literal["median", "one"] = "median"
    """The median of all cells in sight, or one of them: the nearest to the middle."""
    method: Literal["pid", "bang-bang"] = "pid"
    """How the light follows the error."""
    min_percent: float = Field(0.0, ge=0, le=100)
    """Lowest power."""
    max_percent: float = Field(100.0, gt=0, le=100)
    """Highest power; the limits of the rig hold anyway."""
    gain_percent: PositiveFloat = 50.0
    """PID: power for an error as large as the target."""
    integral_s: PositiveFloat = 300.0
    """PID: time in which a lasting error asks for as much again; as the decay."""
    derivative_s: NonNegativeFloat = 0.0
    """PID: how far ahead it looks along the present slope."""
    band: float = Field(0.05, ge=0, le=1)
    """Bang-bang: width of the band in which nothing switches, part of the target."""
    step_percent: PositiveFloat = 0.1
    """Smaller changes of the power are not worth an action."""
    blind_s: PositiveFloat = 120.0
    """After so long without a cell to measure the power is the lowest one."""

    _loop: PID | BangBang = PrivateAttr()
    _levels: dict[View, float] = PrivateAttr(default_factory=dict)
    _cell: dict[View, int] = PrivateAttr(default_factory=dict)
    _power: float = PrivateAttr(math.nan)
    _before: float = PrivateAttr(math.nan)
    _seen_s: float = PrivateAttr(-math.inf)

    @model_validator(mode="after")
    def _ordered(self) -> ClampReporter:
        if self.min_percent >= self.max_percent:
            raise ValueError("min_percent must be below max_percent")
        return self

    def start(self, context: PolicyContext) -> None:
        """Check that the rig has the line, and begin with the lowest power."""
        super().start(context)
        allowed = context.highest_percent(self.line)
        low, high = min(self.min_percent, allowed), min(self.max_percent, allowed)
        self._loop = PID(
            1.0,
            self.gain_percent,
            self.gain_percent / self.integral_s,
            self.gain_percent * self.derivative_s,
            lowest=low,
            highest=high,
            start=low,
            smooth_s=self.derivative_s / 5,
            max_gap_s=self.blind_s,
        )
        if self.method == "bang-bang":
            self._loop = BangBang(1.0, self.band, low=low, high=high)

    def react(self, seen: Observation) -> Iterator[Action]:
        """Set the power that brings the level to the target."""
        self._take_back(seen)
        level = self._level(seen)
        if level is None:
            yield self._blind(seen)
        elif not self.fresh(seen):
            yield self._stay(level, "waiting", "the last power does not show yet")
        else:
            self._seen_s = seen.t_s
            power = self._loop.update(level / self.target, seen.t_s)
            yield self._set(seen, level, power)

    # ------------------------------------------------------------- what is measured

    def _level(self, seen: Observation) -> float | None:
        """Level now, the median over all positions; None if this one has none."""
        if self.cells == "one":
            placed = seen.state.x_um is not None and seen.state.y_um is not None
            near = pick(
                [t for t in seen.tracks if math.isfinite(self._value(t))],
                "nearest",
                near_um=seen.field_centre_um() if placed else (0.0, 0.0),
                current=self._cell.get(seen.view),
            )
            values = []
            if near is not None:
                self._cell[seen.view] = near.track_id
                values = [self._value(near)]
        elif seen.tracks:
            values = [self._value(t) for t in seen.tracks if t.state == "active"]
        else:
            column = seen.detections.values(self.measure)
            values = [] if column is None else column.tolist()
        sound = [v for v in values if math.isfinite(v)]
        if not sound:
            self._levels.pop(seen.view, None)
            return None
        self._levels[seen.view] = median(sound)
        return median(self._levels.values())

    def _value(self, track: Track) -> float:
        return track.features.get(self.measure, math.nan)

    # ---------------------------------------------------------------- what is done

    def _set(self, seen: Observation, level: float, power: float) -> Action:
        what = f"{self.measure} {level:.4g}, target {self.target:g}"
        if "dose_budget" in seen.interlocks and power > self._power:
            why = f"{what}: no more light, the dose budget is spent"
            return self._stay(level, "dose budget", why)
        if abs(power - self._power) < self.step_percent:
            return self._stay(level, "holding", f"{what}: {power:.3g} % is right")
        self._before, self._power = self._power, power
        return SetPower(
            line=self.line, power_percent=power, reason=f"{what}: {power:.3g} %"
        )

    def _blind(self, seen: Observation) -> Action:
        low = min(self.min_percent, self.context.highest_percent(self.line))
        for_s = seen.t_s - self._seen_s
        if self._power > low and for_s > self.blind_s:
            self._before, self._power = self._power, low
            return SetPower(
                line=self.line,
                power_percent=low,
                reason=f"no cell with {self.measure} for {for_s:.3g} s",
            )
        why = f"no cell with {self.measure} in sight, the light stays"
        return self._stay(None, "blind", why)

    def _take_back(self, seen: Observation) -> None:
        """Remember the power that still holds where a change was not carried out."""
        if self.not_done(seen):
            self._power = self._before

    def _stay(self, level: float | None, state: str, why: str) -> Nothing:
        return Nothing(reason=why, score=level, threshold=self.target, state=state)
