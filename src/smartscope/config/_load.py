"""Files to validated models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartscope.config._experiment import Experiment
from smartscope.config._explain import near
from smartscope.config._paths import exists, resolve
from smartscope.config._rig import RigConfig

if TYPE_CHECKING:
    from pathlib import Path


def load_experiment(path: str | Path) -> Experiment:
    """Read an experiment file, or a shipped one by name.

    Raises
    ------
    ConfigError
        The first thing that is wrong, with file, line, field and what to do.
    """
    return Experiment.load(path)


def load_rig(path: str | Path) -> RigConfig:
    """Read a rig file, or a shipped one by name; raises as `load_experiment`."""
    return RigConfig.load(path)


def rig_of(experiment: Experiment) -> RigConfig:
    """Read the rig file an experiment names.

    Raises
    ------
    ConfigError
        At the experiment's line if there is no such file, else as `load_rig`.
    """
    path = resolve(experiment.source_file, experiment.rig)
    if not exists(path):
        beside = [p.name for p in path.parent.glob("*.y*ml")]
        guess = near(path.name, beside)
        fix = f"did you mean '{guess}'?" if guess else "put it beside this file"
        raise experiment.problem("rig", f"there is no file '{experiment.rig}'", fix)
    return load_rig(path)
