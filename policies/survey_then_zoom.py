"""Look over the whole sample at low magnification, then at the best of it closely."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt, PrivateAttr

from smartscope.core import (
    Acquire,
    Action,
    ConfigError,
    Nothing,
    Observation,
    SwitchObjective,
)
from smartscope.policies import Policy, PolicyContext

if TYPE_CHECKING:
    from collections.abc import Iterator

_PATIENCE = 3
"""Fields of the plan in a row after which frames that were asked for are given up."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An object of the survey, um in the sample; `z_um` is where the focus was."""

    rank: float
    x_um: float
    y_um: float
    z_um: float | None

    def near(self, other: Candidate, um: float) -> bool:
        """Whether this may be the same object."""
        return math.hypot(self.x_um - other.x_um, self.y_um - other.y_um) <= um


class SurveyThenZoom(Policy):
    """Rank what a survey of all fields has shown, and image the best at high power.

    The plan is the survey: a grid or a list of positions, again and again, with an
    interval that leaves time for what comes between. Once every field has been seen the
    best objects are visited one after the other with `objective`, the place corrected
    by how much the objectives differ (`calibration.*.offset_um` of the rig file). Then
    the survey objective comes back and the plan goes on. Fields that were due meanwhile
    are seen through the wrong objective, and count for nothing.

    Low-resolution search, high-resolution acquisition as in Micropilot: Conrad et al.,
    "Micropilot: automation of fluorescence microscopy-based imaging for systems
    biology", Nature Methods 8, 246 (2011), https://doi.org/10.1038/nmeth.1558
    """

    per = "run"
    requires = ("stage", "affine")

    objective: str
    """Preset of the objective for the pictures of single objects."""
    survey_objective: str | None = None
    """The one of the survey; nothing is the one that the first frame was taken with."""
    rank_by: str = "area_um2"
    """Feature by which objects are ranked, for example `mean_FITC`; most is best."""
    least: NonNegativeFloat = 0.0
    """Objects with less of it are not looked at closely."""
    best: PositiveInt = 5
    """At most so many objects after each survey."""
    apart_um: PositiveFloat = 15.0
    """What is nearer to one that was chosen counts as the same object."""
    new_only: bool = True
    """Never look twice at the same place."""
    fields: PositiveInt | None = None
    """Fields of a survey; nothing is all of the plan."""
    channel: str | None = None
    """Channel of the close pictures; nothing is that of the survey."""
    exposure_ms: PositiveFloat | None = None
    """Exposure of the close pictures; nothing is that of the survey."""
    frames: PositiveInt = 1
    """Time points of each object."""
    interval_s: NonNegativeFloat = 0.0
    """Time between them; 0 is as fast as the camera goes."""
    z_offsets_um: tuple[float, ...] = ()
    """Planes of each time point, relative to the focus of the survey; none is one."""

    _survey_with: str | None = PrivateAttr(None)
    _seen: dict[int, list[Candidate]] = PrivateAttr(default_factory=dict)
    _queue: list[Candidate] = PrivateAttr(default_factory=list)
    _done: list[Candidate] = PrivateAttr(default_factory=list)
    _coming: int = PrivateAttr(0)
    _between: int = PrivateAttr(0)
    _zooming: bool = PrivateAttr(False)

    def start(self, context: PolicyContext) -> None:
        """Check that both objectives are calibrated."""
        super().start(context)
        known = context.objectives
        for field in ("objective", "survey_objective"):
            name = getattr(self, field)
            if known and name is not None and name not in known:
                raise ConfigError(
                    f"the rig has no calibrated objective {name}",
                    field=field,
                    fix=f"known are: {', '.join(known)}",
                )
        self._survey_with = self.survey_objective

    def react(self, seen: Observation) -> Iterator[Action]:
        """Gather what the survey shows, then send the microscope from best to best."""
        if self._zooming:
            yield from self._zoom(seen)
        elif seen.role == "reaction":
            yield Nothing(reason="no frame of the survey", state="survey")
        else:
            yield from self._survey(seen)

    # ----------------------------------------------------------------- the survey

    def _survey(self, seen: Observation) -> Iterator[Action]:
        here = seen.state.objective
        if self._survey_with is None:
            self._survey_with = here
        if here != self._survey_with:
            yield SwitchObjective(
                objective=self._survey_with or "",
                reason=f"the survey is seen with {self._survey_with}, not with {here}",
            )
            return
        self._seen[seen.view.position] = self._candidates(seen)
        wanted = self.fields or self.context.positions or 1
        if len(self._seen) < wanted:
            yield Nothing(
                reason=f"{len(self._seen)} of {wanted} fields of the survey are seen",
                score=float(len(self._seen)),
                threshold=float(wanted),
                state="survey",
            )
            return
        found = [c for field in self._seen.values() for c in field]
        self._seen.clear()
        self._queue = self._choose(found)
        if not self._queue:
            yield Nothing(
                reason=f"none of {len(found)} objects is new and good enough",
                score=0.0,
                threshold=self.least,
                state="survey",
            )
            return
        self._zooming = True
        yield SwitchObjective(
            objective=self.objective,
            reason=f"the survey is complete: {len(self._queue)} of {len(found)} "
            f"objects are looked at closely, with most {self.rank_by}",
        )
        yield self._visit()

    def _candidates(self, seen: Observation) -> list[Candidate]:
        found = seen.detections
        ranks = found.values(self.rank_by)
        if ranks is None or seen.moving:
            return []
        good = np.flatnonzero(np.isfinite(ranks) & (ranks >= self.least))
        return [
            Candidate(
                float(ranks[row]),
                float(found.x_um[row]),
                float(found.y_um[row]),
                seen.state.z_um if "focus" in self.context.roles else None,
            )
            for row in good
        ]

    def _choose(self, found: list[Candidate]) -> list[Candidate]:
        """The best, no two of them the same object."""
        chosen: list[Candidate] = []
        old = self._done if self.new_only else []
        for one in sorted(found, key=lambda c: (-c.rank, c.x_um, c.y_um)):
            if len(chosen) == self.best:
                break
            if not any(one.near(other, self.apart_um) for other in (*chosen, *old)):
                chosen.append(one)
        return chosen

    # ------------------------------------------------------------ the best of it

    def _zoom(self, seen: Observation) -> Iterator[Action]:
        refused = [o.message for o in self.not_done(seen)]
        if seen.role == "reaction":
            self._coming -= 1 + seen.skipped
            self._between = 0
        else:
            self._between += 1
        if self._coming > 0 and not refused and self._between < _PATIENCE:
            left = f"{self._coming} frames of this object are to come"
            yield Nothing(reason=left, state="zoom")
        elif self._queue:
            yield self._visit()
        else:
            self._zooming = False
            why = f"; not all went well: {refused[0]}" if refused else ""
            yield SwitchObjective(
                objective=self._survey_with or "",
                reason=f"all chosen objects are imaged{why}",
            )

    def _visit(self) -> Action:
        one = self._queue.pop(0)
        self._done.append(one)
        self._coming, self._between = self.frames, 0
        dx, dy, dz = self._offset_um()
        return Acquire(
            frames=self.frames,
            interval_s=self.interval_s,
            channel=self.channel,
            exposure_ms=self.exposure_ms,
            z_offsets_um=self.z_offsets_um,
            x_um=one.x_um + dx,
            y_um=one.y_um + dy,
            z_um=None if one.z_um is None else one.z_um + dz,
            reason=f"{self.rank_by} {one.rank:.3g}, {len(self._queue)} more to visit",
        )

    def _offset_um(self) -> tuple[float, float, float]:
        """What the objectives differ by: the same thing is found so far away."""
        known, none = self.context.objectives, (0.0, 0.0, 0.0)
        there = known.get(self.objective, none)
        here = known.get(self._survey_with or "", none)
        return there[0] - here[0], there[1] - here[1], there[2] - here[2]
