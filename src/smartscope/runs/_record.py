"""Opens the record of a run, with all that is needed to explain and replay it."""

from __future__ import annotations

import importlib.metadata
import inspect
import platform
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smartscope.config import dump_experiment, dump_yaml, with_absolute_paths
from smartscope.core import encode
from smartscope.record import RunWriter
from smartscope.runs._loop import to_header

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smartscope.core import Clock, PixelMap
    from smartscope.policies import PolicyContext, PolicyFactory
    from smartscope.record import ImageLayout
    from smartscope.runs._files import Files

_PACKAGES = (
    "smartscope",
    "pymmcore-plus",
    "pymmcore",
    "useq-schema",
    "numpy",
    "scipy",
    "tensorstore",
    "pydantic",
)


def start_record(
    files: Files,
    *,
    parent: Path,
    layouts: Sequence[ImageLayout],
    clock: Clock,
    context: PolicyContext,
    policies: Sequence[PolicyFactory],
    channels: Sequence[str],
    pixel_map: PixelMap | None = None,
    shadow: bool = False,
) -> RunWriter:
    """Make the run folder; raises `ConfigError` if it cannot be had."""
    header: dict[str, Any] = {
        "versions": _versions(),
        "host": {"system": platform.platform(), "python": platform.python_version()},
        "clock": files.rig.clock.model_dump(),
        "shadow": shadow,
        "base_dir": str(files.base_dir.resolve()),
        "channels": list(channels),
        "policy_context": to_header(context),
        "policies": [
            {
                "name": p.name,
                "class": p.policy.__name__,
                "parameters": p.parameters,
                "priority": p.priority,
                "source_sha256": p.source_hash,
            }
            for p in policies
        ],
        "pixel_map": encode(pixel_map),
    }
    writer = RunWriter.create(
        parent,
        files.experiment.name,
        experiment_yaml=dump_experiment(with_absolute_paths(files.experiment)),
        rig_yaml=dump_yaml(with_absolute_paths(files.rig)),
        header=header,
        config=files.experiment.record,
        layouts=layouts,
        clock=clock,
    )
    _keep_sources(writer.path, policies)
    return writer


def _keep_sources(run: Path, policies: Sequence[PolicyFactory]) -> None:
    """Copy each policy's file into the run, so that what decided can be read later."""
    for policy in policies:
        source = inspect.getsourcefile(policy.policy)
        if source is not None:
            folder = run / "policies"
            folder.mkdir(exist_ok=True)
            shutil.copyfile(source, folder / Path(source).name)


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed as a package"
    return found
