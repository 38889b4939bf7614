"""A whole run in virtual time: experiment in, what was done and what was true out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from smartscope.config import (
    Experiment,
    RigConfig,
    Stream,
    find_rig,
    load_experiment,
    load_rig,
    rig_of,
)
from smartscope.core import NS_PER_S, ConfigError
from smartscope.runs import run

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import useq

    from smartscope.core import Action
    from smartscope.record import RunFolder
    from smartscope.runs import RunResult

_DONE = ("applied", "scheduled", "noted")


@dataclass(frozen=True)
class SimulatedRun:
    """A finished run on a specimen.

    Attributes
    ----------
    result : RunResult
        `result.outcome` is ``completed``, or says what came between.
    """

    result: RunResult

    @property
    def journal(self) -> RunFolder:
        """Frames, observations, decisions and outcomes, as they were recorded."""
        return self.result.folder

    @cached_property
    def truth(self) -> Mapping[str, list[Any]]:
        """Columns of the ground truth: a row for each object and look, ``t_s`` first.

        Raises
        ------
        RecordError
            If the run has seen nothing.
        """
        return self._columns("truth")

    @cached_property
    def true_events(self) -> Mapping[str, list[Any]]:
        """Columns of what truly happened: kind, object_id, onset_s, end_s, x_um, y_um.

        Raises
        ------
        RecordError
            If the run has seen nothing.
        """
        return self._columns("true_events")

    def actions(self, kind: type[Action], *, policy: str = "") -> list[float]:
        """Run times, s, at which actions of this kind were decided and carried out.

        Parameters
        ----------
        kind : type of Action
        policy : str
            Of this policy only, by its name in the experiment.
        """
        done = {o.action_id for o in self.journal.outcomes if o.status in _DONE}
        return [
            request.t_decided_ns / NS_PER_S
            for decision in self.journal.decisions
            for request in decision.requests
            if isinstance(request.action, kind)
            and request.action_id in done
            and policy in ("", decision.policy)
        ]

    def _columns(self, table: str) -> Mapping[str, list[Any]]:
        columns: dict[str, list[Any]] = self.journal.table(table).to_pydict()
        return columns


def run_experiment(
    experiment: Experiment | str | Path,
    *,
    output: Path,
    seed: int | None = None,
    duration_s: float | None = None,
    rig: RigConfig | str | Path | None = None,
) -> SimulatedRun:
    """Run an experiment on its specimen in virtual time: as fast as the computer can.

    The same seed gives the same frames, decisions and truth.

    Parameters
    ----------
    experiment : Experiment, path or str
        As for `smartscope.run`.
    output : path
        Parent of the run folder; pytest's ``tmp_path``.
    seed : int, optional
        Of the specimen and of everything random in the experiment.
    duration_s : float, optional
        Ends a plan with one interval, or a stream, after this time.
    rig : RigConfig or path, optional
        Instead of the rig the experiment names.

    Raises
    ------
    ConfigError
        If the rig has no specimen, the plan cannot be cut, or the run cannot start.

    Examples
    --------
    >>> def test_it_films_divisions_fast(tmp_path):
    ...     done = run_experiment("quickstart", output=tmp_path, seed=3, duration_s=400)
    ...     assert done.result.outcome == "completed"
    ...     assert done.actions(SetInterval)
    """
    if not isinstance(experiment, Experiment):
        experiment = load_experiment(experiment)
    if rig is None:
        rig = rig_of(experiment)
    elif not isinstance(rig, RigConfig):
        rig = load_rig(find_rig(rig))
    if rig.specimen is None:
        raise ConfigError(
            f"{rig.name} has no specimen, and a test must not run a microscope",
            field="rig",
            fix="name a rig file with a 'specimen'",
        )
    if duration_s is not None:
        cut = _cut(experiment.acquisition, duration_s)
        experiment = experiment.model_copy(update={"acquisition": cut})
    if seed is not None:
        experiment = experiment.model_copy(update={"seed": seed})
        specimen = rig.specimen.model_copy(update={"seed": seed})
        rig = rig.model_copy(update={"specimen": specimen})
    return SimulatedRun(run(experiment, rig=rig, output=output, clock="virtual"))


def _cut(plan: useq.MDASequence | Stream, duration_s: float) -> Any:
    if isinstance(plan, Stream):
        return plan.model_copy(update={"frames": None, "duration_s": duration_s})
    interval = getattr(plan.time_plan, "interval", None)
    step_s = interval.total_seconds() if interval is not None else 0.0
    if not step_s > 0:
        raise ConfigError(
            "the plan has no single interval, so it cannot be cut short",
            field="duration_s",
            fix="leave it out, or write 'time_plan: {interval: ..., loops: ...}'",
        )
    loops = max(1, math.floor(duration_s / step_s) + 1)
    return plan.replace(time_plan={"interval": step_s, "loops": loops})
