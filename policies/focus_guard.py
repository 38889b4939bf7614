"""Keep the sample in focus by what the image shows, and by how it has drifted."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveFloat, PrivateAttr

from smartscope.core import Acquire, Action, Nothing, Observation, ShiftPosition
from smartscope.policies import Cooldown, Forecast, Policy, PolicyContext

if TYPE_CHECKING:
    from collections.abc import Iterator

_PATIENCE = 3
"""Frames of the plan in a row after which a sweep counts as over."""


class FocusGuard(Policy):
    """A short sweep now and then, and the drift it has learned in between.

    A sweep takes a few planes around the present focus, as frames of its own. A
    parabola through the reciprocal of their sharpness has its lowest point where the
    sample is in focus. Between sweeps the focus follows the drift that they have shown.
    When the frames of the plan lose sharpness a sweep comes early.

    Fields without anything to focus on are left alone, and the focus never goes farther
    than `range_um` from where it was at first. For a plan; one that is focused by hand,
    or has found its focus, when it begins. Needs the stage `focus` in vision.

    The parabola: Yazdanfar et al., "Simple and robust image-based autofocusing for
    digital microscopy", Optics Express 16, 8670 (2008),
    https://doi.org/10.1364/OE.16.008670
    """

    requires = ("focus",)

    measure: str = "focus"
    """Measurement of the frame that tells how sharp it is; more is sharper."""
    channel: str | None = None
    """Look at frames of this channel only, and take the sweeps in it."""
    keep: Literal["sharpest", "first"] = "sharpest"
    """The sharpest plane, or the one of the first sweep, however far beside it."""
    step_um: PositiveFloat = 1.0
    """Between planes of a sweep; about the depth of field."""
    planes: int = Field(3, ge=3, le=21)
    """Planes of a sweep."""
    every_s: PositiveFloat = 60.0
    """Time from sweep to sweep."""
    early: float = Field(0.1, ge=0, lt=1)
    """A loss of sharpness by this part makes a sweep come early."""
    least_s: NonNegativeFloat = 10.0
    """Never two sweeps within this time."""
    memory_s: NonNegativeFloat = 90.0
    """Memory of the drift: long for noisy sweeps, short for a drift that changes."""
    tolerance_um: PositiveFloat = 0.2
    """The focus stays while it is this close to where it should be."""
    range_um: PositiveFloat = 20.0
    """Farthest from the first focus that it ever goes."""

    _drift: Forecast = PrivateAttr()
    _rest: Cooldown = PrivateAttr()
    _first_um: float | None = PrivateAttr(None)
    _plan_um: float = PrivateAttr(0.0)
    _early: bool = PrivateAttr(False)
    _awaited: int = PrivateAttr(0)
    _others: int = PrivateAttr(0)
    _swept: list[tuple[float, float]] = PrivateAttr(default_factory=list)
    _swept_s: float = PrivateAttr(-math.inf)
    _found_s: float = PrivateAttr(-math.inf)
    _best: float = PrivateAttr(0.0)
    _focus_um: float = PrivateAttr(0.0)
    _beside_um: float | None = PrivateAttr(None)

    def start(self, context: PolicyContext) -> None:
        """Know nothing of the drift yet."""
        super().start(context)
        self._drift = Forecast(self.memory_s)
        self._rest = Cooldown(self.least_s)

    def react(self, seen: Observation) -> Iterator[Action]:
        """Follow the drift, sweep in time, and correct what a sweep shows."""
        z_um = seen.state.z_um
        other = self.channel is not None and seen.channel != self.channel
        if other or z_um is None or not math.isfinite(z_um):
            return
        sharp = seen.measurements.get(self.measure, math.nan)
        if self._first_um is None:
            self._first_um = z_um
        if self._awaited:
            yield from self._gather(seen, z_um, sharp)
        elif seen.role == "reaction":
            return
        elif not self.fresh(seen):
            yield self._nothing(sharp, "waiting", "the last correction is under way")
        elif not sharp > 0:
            yield self._nothing(None, "empty", "there is nothing to focus on")
        else:
            yield from self._watch(seen, z_um, sharp)

    # ------------------------------------------------------------ between sweeps

    def _watch(self, seen: Observation, z_um: float, sharp: float) -> Iterator[Action]:
        lost = sharp < (1 - self.early) * self._best
        for_s = seen.t_s - self._swept_s
        if (lost or for_s >= self.every_s) and self._rest.take(seen.t_s):
            self._early = lost
            what = (
                f"sharpness {sharp:.3g} of {self._best:.3g}" if lost else "it is time"
            )
            yield from self._sweep(z_um, f"{what}, {for_s:.3g} s after the last sweep")
            return
        known_s = seen.t_s - self._found_s
        if self._drift.velocity and known_s < 2 * self.every_s:
            # From the last focus on; the forecast's own place lags behind turns.
            speed = self._drift.velocity[0]
            wanted = self._focus_um + speed * known_s
            aim = self._allowed(wanted)
            if abs(aim - z_um) > self.tolerance_um:
                yield ShiftPosition(
                    dz_um=aim - z_um, reason=f"a drift of {60 * speed:.2g} um/min"
                )
                return
            if abs(wanted - aim) > self.tolerance_um:
                yield self._nothing(sharp, "at its range", self._beyond(wanted))
                return
        yield self._nothing(sharp, "in focus", f"sharp, {for_s:.3g} s after a sweep")

    def _sweep(self, z_um: float, why: str) -> Iterator[Action]:
        """Ask for the planes of a sweep, all within the range."""
        half = (self.planes - 1) / 2
        step_um = min(self.step_um, self.range_um / half)
        middle = self._allowed(z_um, margin_um=step_um * half)
        self._plan_um, self._swept = z_um, []
        self._awaited, self._others = self.planes, 0
        for k in range(self.planes):
            plane = middle + step_um * (k - half)
            yield Acquire(z_um=plane, channel=self.channel, reason=f"sweep: {why}")

    # ------------------------------------------------------------------- a sweep

    def _gather(self, seen: Observation, z_um: float, sharp: float) -> Iterator[Action]:
        own = seen.role == "reaction"
        if own and sharp > 0 and not seen.moving:
            self._swept.append((z_um, sharp))
        self._awaited -= int(own)
        self._others = 0 if own else self._others + 1
        if self._awaited > 0 and self._others < _PATIENCE:
            yield self._nothing(None, "sweeping", f"{self._awaited} planes to come")
            return
        self._awaited, self._swept_s = 0, seen.t_s
        found = in_focus(self._swept, 1.5 * self.step_um)
        if found is None:
            yield self._nothing(None, "unsure", "the sweep shows no focus")
            return
        best_um, self._best = found
        self._found_s = seen.t_s
        if self._beside_um is None:
            first = self.keep == "first"
            self._beside_um = self._plan_um - best_um if first else 0.0
        self._focus_um = best_um + self._beside_um
        off_um = abs(self._focus_um - self._plan_um)
        if self._early and off_um > 1.5 * self.step_um:
            self._drift.restart()  # somebody has pushed it: that was no drift
        self._drift.update(seen.t_s, self._focus_um)
        aim = self._allowed(self._focus_um)
        off_um = aim - self._plan_um
        what = f"the sweep is sharpest at {best_um:.4g} um"
        if abs(off_um) > self.tolerance_um / 2:
            yield ShiftPosition(dz_um=off_um, reason=f"{what}, {off_um:+.2g} um")
        elif abs(self._focus_um - aim) > self.tolerance_um:
            why = f"{what}: {self._beyond(self._focus_um)}"
            yield self._nothing(None, "at its range", why)
        else:
            yield Nothing(
                reason=what,
                score=abs(off_um),
                threshold=self.tolerance_um / 2,
                state="in focus",
            )

    def _allowed(self, z_um: float, margin_um: float = 0.0) -> float:
        first, far_um = self._first_um or 0.0, self.range_um - margin_um
        return min(max(z_um, first - far_um), first + far_um)

    def _beyond(self, z_um: float) -> str:
        away_um = abs(z_um - (self._first_um or 0.0))
        return f"{away_um:.3g} um from the first focus; range_um is {self.range_um:g}"

    def _nothing(self, sharp: float | None, state: str, why: str) -> Nothing:
        score = sharp if sharp is not None and math.isfinite(sharp) else None
        least = (1 - self.early) * self._best
        return Nothing(reason=why, score=score, threshold=least, state=state)


def in_focus(
    swept: list[tuple[float, float]], beyond_um: float
) -> tuple[float, float] | None:
    """Focus and sharpness there, from planes ``(z_um, sharpness)``; None if unclear.

    At most `beyond_um` outside of the planes.
    """
    z_um, sharp = np.array(swept, dtype=float).reshape(-1, 2).T
    good = np.isfinite(sharp) & (sharp > 1e-6) & (sharp < 1e6)
    z_um, sharp = z_um[good], sharp[good]
    if len(np.unique(z_um)) < 3:
        return None
    middle = z_um.mean()
    c, b, a = np.polynomial.polynomial.polyfit(z_um - middle, 1 / sharp, 2)
    low, high = z_um.min() - beyond_um, z_um.max() + beyond_um
    if a <= 0:  # no lowest point between them: towards the sharpest plane
        k = int(np.argmax(sharp))
        return float(z_um[k]), float(sharp[k])
    best = float(np.clip(middle - b / (2 * a), low, high))
    least = c + b * (best - middle) + a * (best - middle) ** 2
    return best, 1 / max(float(least), 1 / (4 * float(sharp.max())))
