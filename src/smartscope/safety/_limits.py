"""The limits that hold: the tightest of rig and experiment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartscope.config import Limits, StageLimits, did_you_mean

if TYPE_CHECKING:
    from smartscope.config import Experiment, RigConfig

Span = tuple[float, float]

_ONLY_TIGHTER = "an experiment may only tighten"
_FIX = "lower it or ask whoever owns the rig file"
_FIX_SPAN = "narrow it or ask whoever owns the rig file"


def merge_limits(rig: RigConfig, experiment: Experiment) -> Limits:
    """Return the tightest of the rig's limits and the experiment's.

    Raises
    ------
    ConfigError
        If the experiment loosens a limit of the rig, or limits a light line that the
        rig has not.
    """
    merge = _Merge(rig, experiment)
    # The default rate is no wish of the experiment's: only a written one counts.
    ours, theirs = experiment.safety, rig.limits
    written = "actions_per_s" in ours.model_fields_set
    rate = ours.actions_per_s if written else None
    return Limits(
        stage_um=merge.stage(),
        focus_um=merge.span("focus_um", ours.focus_um, theirs.focus_um),
        exposure_ms=merge.span("exposure_ms", ours.exposure_ms, theirs.exposure_ms),
        power_percent=merge.powers(
            "power_percent", ours.power_percent, theirs.power_percent
        ),
        power_mw=merge.powers("power_mw", ours.power_mw, theirs.power_mw),
        max_lit_ms=merge.highest("max_lit_ms", ours.max_lit_ms, theirs.max_lit_ms),
        actions_per_s=merge.highest("actions_per_s", rate, theirs.actions_per_s)
        or theirs.actions_per_s,
    )


class _Merge:
    def __init__(self, rig: RigConfig, experiment: Experiment) -> None:
        self._rig = rig
        self._experiment = experiment

    def stage(self) -> StageLimits | None:
        ours = self._experiment.safety.stage_um
        theirs = self._rig.limits.stage_um
        if ours is None or theirs is None:
            return theirs if ours is None else ours
        self.span("stage_um.x", ours.x, theirs.x)
        self.span("stage_um.y", ours.y, theirs.y)
        return ours

    def span(self, field: str, ours: Span | None, theirs: Span | None) -> Span | None:
        if ours is None or theirs is None:
            return theirs if ours is None else ours
        if ours[0] < theirs[0] or ours[1] > theirs[1]:
            raise self._experiment.problem(
                f"safety.{field}",
                f"{ours[0]:g} to {ours[1]:g} is looser than the rig's {theirs[0]:g} to "
                f"{theirs[1]:g}; {_ONLY_TIGHTER}",
                _FIX_SPAN,
            )
        return ours

    def highest(
        self, field: str, ours: float | None, theirs: float | None
    ) -> float | None:
        if ours is None or theirs is None:
            return theirs if ours is None else ours
        if ours > theirs:
            raise self._experiment.problem(
                f"safety.{field}",
                f"{ours:g} is looser than the rig's {theirs:g}; {_ONLY_TIGHTER}",
                _FIX,
            )
        return ours

    def powers(
        self, field: str, ours: dict[str, float], theirs: dict[str, float]
    ) -> dict[str, float]:
        for line, highest in ours.items():
            if line not in self._rig.light:
                # A limit of a misspelt line would never hold anything back.
                raise self._experiment.problem(
                    f"safety.{field}.{line}",
                    f"the rig has no light line {line}",
                    did_you_mean(line, self._rig.light),
                )
            self.highest(f"{field}.{line}", highest, theirs.get(line))
        return {**theirs, **ours}
