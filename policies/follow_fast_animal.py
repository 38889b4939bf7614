"""Keep a fast animal in the field: the stage goes to where it will be."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, PrivateAttr

from smartscope.core import Action, MoveStage, Nothing, Observation
from smartscope.policies import Forecast, Policy, PolicyContext

if TYPE_CHECKING:
    from collections.abc import Iterator

Place = tuple[float, float]

_LAG_WEIGHT = 0.3
"""Weight of the newest measured lag; moves of other lengths take other times."""


class FollowFastAnimal(Policy):
    """Centre an animal that crosses the field in a moment, and find it again when lost.

    The stage is late: it moves after the frame on which that was decided, and the
    animal moves meanwhile. So the aim is where the animal will be in the first frame
    that shows the move, from its velocity and from the time that this took so far. Aims
    are absolute places in the sample: the same sight never moves the stage twice.

    An animal that is out of sight is expected to go on for `patience_s`; then fields
    around the last place are looked at, in a square spiral. So it is where none has
    been in sight yet.

    For a stream, or a plan that names no stage positions and has short intervals.

    Tracking by moving the stage as in Leifer et al., "Optogenetic manipulation of
    neural activity in freely moving Caenorhabditis elegans", Nature Methods 8, 147
    (2011), https://doi.org/10.1038/nmeth.1554
    """

    requires = ("stage", "affine")

    channel: str | None = None
    """Look at frames of this channel only."""
    feature: str = "area_um2"
    """The animal is the object with the most of this, for example `mean_FITC`."""
    least: NonNegativeFloat = 0.0
    """Objects with less of it are never the animal."""
    reach_um: PositiveFloat = 100.0
    """Farthest from where it is expected that an object may be the animal."""
    tolerance_um: PositiveFloat = 5.0
    """The stage rests while the animal is to be closer to the middle than this."""
    memory_s: NonNegativeFloat = 0.3
    """Memory of its velocity: long for noisy places, short for sudden turns."""
    lead_s: NonNegativeFloat | None = None
    """Time between a sight and the frame that shows its move; nothing measures it."""
    margin_um: NonNegativeFloat = 50.0
    """Distance kept from the limits of the stage."""
    patience_s: NonNegativeFloat = 0.5
    """So long it is expected to go on as it did before it is searched for."""
    overlap: float = Field(0.2, ge=0, lt=1)
    """Part of a field that the next one of the search overlaps."""
    search_rings: PositiveInt = 4
    """The spiral begins anew after so many rings around the last place."""

    _forecast: Forecast = PrivateAttr()
    _home: Place | None = PrivateAttr(None)
    _seen_s: float = PrivateAttr(-math.inf)
    _asked_s: float | None = PrivateAttr(None)
    _lag_s: float | None = PrivateAttr(None)
    _fields: int = PrivateAttr(0)

    def start(self, context: PolicyContext) -> None:
        """Know nothing of the animal yet."""
        super().start(context)
        self._forecast = Forecast(self.memory_s)

    def react(self, seen: Observation) -> Iterator[Action]:
        """Go where the animal will be, or look for it."""
        if self.channel is not None and seen.channel != self.channel:
            return
        if seen.moving or seen.state.x_um is None or seen.state.y_um is None:
            yield Nothing(reason="the stage moved during this frame", state="waiting")
            return
        now_s = seen.t_s + (seen.state.exposure_ms or 0.0) / 2000  # middle of exposure
        if (place := self._find(seen, now_s)) is not None:
            if self._lost_s(now_s) > self.patience_s:
                self._forecast.restart()
            self._forecast.update(now_s, *place)
            self._seen_s, self._fields = now_s, 0
        if not self.fresh(seen):
            yield Nothing(reason="the last move does not show yet", state="waiting")
            return
        self._measure_lag(seen.t_s)
        if self._home is None:
            self._home, self._seen_s = seen.field_centre_um(), max(self._seen_s, now_s)
        if self._forecast.position and self._lost_s(now_s) <= self.patience_s:
            yield self._follow(seen, now_s)
        elif self._lost_s(now_s) > self.patience_s:
            yield self._search(seen, now_s)
        else:
            yield Nothing(reason="no animal has been in sight yet", state="waiting")

    # -------------------------------------------------------------- where it is

    def _find(self, seen: Observation, now_s: float) -> Place | None:
        """Place of the animal in the sample, None if nothing in sight can be it."""
        found = seen.detections
        values = found.values(self.feature)
        if values is None:
            return None
        fits = np.isfinite(values) & (values >= self.least)
        expected = self._forecast.predict(now_s)
        if expected and self._lost_s(now_s) <= self.patience_s:
            away = np.hypot(found.x_um - expected[0], found.y_um - expected[1])
            fits &= away <= self.reach_um
        if not fits.any():
            return None
        row = int(np.argmax(np.where(fits, values, -np.inf)))
        return float(found.x_um[row]), float(found.y_um[row])

    def _lost_s(self, now_s: float) -> float:
        return now_s - self._seen_s

    def _measure_lag(self, t_s: float) -> None:
        """Take the time between the sight of a move and the first one that shows it."""
        if self._asked_s is None:
            return
        lag_s = t_s - self._asked_s
        self._asked_s = None
        if self._lag_s is None:
            self._lag_s = lag_s
        self._lag_s += _LAG_WEIGHT * (lag_s - self._lag_s)

    # -------------------------------------------------------------- where to go

    def _follow(self, seen: Observation, now_s: float) -> Action:
        lag_s = self.lead_s
        if lag_s is None:
            lag_s = self._lag_s or 0.0
        aim = self._forecast.predict(now_s + lag_s)
        speed = math.hypot(*self._forecast.velocity)
        what = f"{speed:.3g} um/s, aimed {lag_s:.3g} s ahead"
        return self._go(seen, (aim[0], aim[1]), f"it moves at {what}", "following")

    def _search(self, seen: Observation, now_s: float) -> Action:
        """Next field of the spiral around the place where its forecast ended."""
        last = self._forecast.predict(self._seen_s + self.patience_s)
        middle = self._allowed((last[0], last[1]) if last else self._home or (0.0, 0.0))
        (a, b), (c, d) = seen.pixel_map.matrix
        height, width = seen.shape
        step = 1 - self.overlap
        fields = (2 * self.search_rings + 1) ** 2
        for _ in range(fields):
            i, j = spiral(self._fields % fields)
            self._fields += 1
            across, down = i * step * width, j * step * height
            aim = (
                middle[0] + a * across + b * down,
                middle[1] + c * across + d * down,
            )
            if aim == self._allowed(aim):  # fields beyond the limits are left out
                break
        why = f"out of sight for {self._lost_s(now_s):.3g} s, field {self._fields}"
        return self._go(seen, aim, why, "searching")

    def _go(self, seen: Observation, aim: Place, why: str, state: str) -> Action:
        x_um, y_um = seen.field_centre_um()
        here = (seen.state.x_um or 0.0, seen.state.y_um or 0.0)
        # The middle of a region need not be where the stage is.
        wanted = (here[0] + aim[0] - x_um, here[1] + aim[1] - y_um)
        target = self._allowed(wanted)
        if target != wanted:
            why, state = f"{why}; held at the limits of the stage", "at the limits"
        way_um = math.hypot(target[0] - here[0], target[1] - here[1])
        if not way_um > self.tolerance_um:
            return Nothing(
                reason=f"{why}: {way_um:.3g} um to go, within tolerance",
                score=way_um,
                threshold=self.tolerance_um,
                state=state,
            )
        self._asked_s = seen.t_s
        return MoveStage(
            x_um=target[0],
            y_um=target[1],
            reason=f"{state}: {why}, {way_um:.3g} um to go",
        )

    def _allowed(self, place: Place) -> Place:
        """The nearest place that keeps the margin to the limits of the stage."""
        box = self.context.stage_um
        if box is None:
            return place
        return (
            _within(place[0], box[0], box[1], self.margin_um),
            _within(place[1], box[2], box[3], self.margin_um),
        )


def _within(um: float, low: float, high: float, margin: float) -> float:
    margin = min(margin, (high - low) / 2)
    return min(max(um, low + margin), high - margin)


def spiral(number: int) -> tuple[int, int]:
    """Cell (i, j) of a square spiral: (0, 0), then ring after ring around it."""
    if number == 0:
        return 0, 0
    ring = (math.isqrt(number) + 1) // 2
    side, step = divmod(number - (2 * ring - 1) ** 2, 2 * ring)
    along = step - ring + 1
    return (
        (ring, along),
        (-along, ring),
        (-ring, -along),
        (along, -ring),
    )[side]
