"""One run of one arm on one specimen, in virtual time; made to live in a process."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from smartscope.config import RigConfig, load_experiment, rig_of
from smartscope.core import ConfigError, SmartscopeError
from smartscope.runs import run
from smartscope.score._arms import arm_of, score_of
from smartscope.score._film import Film, read_film

if TYPE_CHECKING:
    from smartscope.config import ArmName, Experiment
    from smartscope.score._arms import Duty

_GOOD = ("completed", "stopped")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What one process is given.

    Attributes
    ----------
    file : Path
        The experiment.
    arm : str
    seed : int
        Of specimen and run.
    duty : Duty or None
        For the arm ``random``.
    output : Path or None
        Parent of the run folder; None keeps nothing.
    """

    file: Path
    arm: ArmName
    seed: int
    duty: Duty | None = None
    output: Path | None = None


def run_job(job: Job) -> Film:
    """Run and measure; what goes wrong is a film with a problem, never lost."""
    try:
        if job.output is not None:
            folder = job.output / job.file.stem / f"{job.arm}-{job.seed}"
            return _filmed(job, folder)
        with tempfile.TemporaryDirectory(
            prefix="smartscope-score-", ignore_cleanup_errors=True
        ) as scratch:
            return _filmed(job, Path(scratch))
    except SmartscopeError as error:
        return Film(job.arm, job.seed, str(error))
    except Exception as error:  # one broken run must not lose the others
        return Film(job.arm, job.seed, f"{type(error).__name__}: {error}")


def _filmed(job: Job, folder: Path) -> Film:
    experiment = load_experiment(job.file)
    seeded = with_seed(arm_of(experiment, job.arm, duty=job.duty), job.seed)
    result = run(seeded, rig=rig_with_seed(experiment, job.seed), output=folder)
    if result.outcome not in _GOOD:
        return Film(job.arm, job.seed, result.message)
    score = score_of(experiment)
    return read_film(result.folder, score, arm=job.arm, seed=job.seed)


def with_seed(experiment: Experiment, seed: int) -> Experiment:
    """Return the experiment with this seed, keeping truth and journal but no images."""
    quiet = experiment.record.model_copy(update={"images": False, "labels": False})
    # A policy that is edited meanwhile must not change in the midst of a run.
    fixed = {"seed": seed, "record": quiet, "reload": False}
    return experiment.model_copy(update=fixed)


def rig_with_seed(experiment: Experiment, seed: int) -> RigConfig:
    """Return the experiment's rig with another specimen, in virtual time.

    Raises
    ------
    ConfigError
        If there is no specimen, and so no truth to score by.
    """
    rig = rig_of(experiment)
    if rig.specimen is None:
        raise ConfigError(
            f"'{rig.name}' has no specimen, so nobody knows what truly happened",
            file=str(experiment.source_file or ""),
            field="rig",
            fix="name a rig with 'specimen:', for example specimen_rig.yaml",
        )
    data = rig.model_dump(exclude={"source_file"})
    data["specimen"]["seed"] = seed
    data["clock"] = {"kind": "virtual"}
    return RigConfig(**data).model_copy(update={"source_file": rig.source_file})
