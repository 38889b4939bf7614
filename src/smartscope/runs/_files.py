"""Finds and reads the files of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from smartscope.config import (
    ClockConfig,
    Experiment,
    RigConfig,
    Stream,
    find_rig,
    load_experiment,
    load_rig,
    rig_of,
)
from smartscope.core import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """An experiment with its rig; relative paths start from the two folders."""

    experiment: Experiment
    rig: RigConfig
    base_dir: Path
    rig_dir: Path

    @property
    def stream(self) -> Stream | None:
        """The stream of the experiment, None if it is a plan."""
        plan = self.experiment.acquisition
        return plan if isinstance(plan, Stream) else None


def open_files(
    experiment: Experiment | str | Path,
    *,
    rig: RigConfig | str | Path | None = None,
    clock: str | None = None,
) -> Files:
    """Read what is not read yet; `rig` and `clock` replace what the files say.

    Raises
    ------
    ConfigError
        For anything wrong in either file.
    """
    if not isinstance(experiment, Experiment):
        experiment = load_experiment(experiment)
    if rig is None:
        rig = rig_of(experiment)
    elif not isinstance(rig, RigConfig):
        rig = load_rig(find_rig(rig))
    if clock is not None:
        rig = _with_clock(rig, clock)
    return Files(
        experiment=experiment,
        rig=rig,
        base_dir=_folder(experiment.source_file),
        rig_dir=_folder(rig.source_file),
    )


def _folder(file: Path | None) -> Path:
    return file.parent if file is not None else Path.cwd()


def _with_clock(rig: RigConfig, kind: str) -> RigConfig:
    try:
        clock = ClockConfig.model_validate({"kind": kind, "speed": rig.clock.speed})
        data = rig.model_dump(exclude={"source_file"})
        whole = RigConfig.model_validate({**data, "clock": clock.model_dump()})
    except (ValidationError, ConfigError) as error:
        text = getattr(error, "problem", "") or str(error)
        if isinstance(error, ValidationError):
            text = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ConfigError(text, field="--clock", fix="leave it out") from None
    return whole.model_copy(update={"source_file": rig.source_file})
