"""Opens the record of a run, with all that is needed to explain and replay it."""

from __future__ import annotations

import importlib.metadata
import platform
from typing import TYPE_CHECKING, Any

from smartscope.config import dump_experiment, dump_yaml, with_absolute_paths
from smartscope.core import encode
from smartscope.policies import source_file, source_of
from smartscope.record import RunWriter
from smartscope.runs._loop import to_header

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

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
    fields: Mapping[int, str] | None = None,
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
        "policies": _told(policies),
        "phases": [phase.name for phase in files.experiment.phases],
        "arms": arms_of(policies),
        "fields": {str(number): name for number, name in (fields or {}).items()},
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


def arms_of(policies: Sequence[PolicyFactory]) -> dict[str, list[int]]:
    """Stage positions of each arm, in the order of the experiment."""
    return {p.arm: list(p.positions) for p in policies if p.arm}


def _told(policies: Sequence[PolicyFactory]) -> list[dict[str, Any]]:
    names = _source_names(policies)
    return [
        {
            "name": p.name,
            "class": p.policy.__name__,
            "parameters": p.parameters,
            "priority": p.priority,
            "positions": list(p.positions),
            "phases": list(p.phases),
            "arm": p.arm,
            "lease_s": p.lease_s,
            "rest_s": p.rest_s,
            "source_sha256": p.source_hash,
            "source": names[p.source_hash],
        }
        for p in policies
    ]


def _source_names(policies: Sequence[PolicyFactory]) -> dict[str, str]:
    """Where each source lies in the run; files of one name do not hide each other."""
    names: dict[str, str] = {}
    for policy in policies:
        file, digest = source_file(policy.policy), policy.source_hash
        name = f"policies/{file.name}"
        if name in names.values() and digest not in names:
            name = f"policies/{file.stem}-{digest[:8]}{file.suffix}"
        names.setdefault(digest, name)
    return names


def _keep_sources(run: Path, policies: Sequence[PolicyFactory]) -> None:
    """Copy each policy's source into the run, so that what decided is known later."""
    names = _source_names(policies)
    for policy in policies:
        file = run / names[policy.source_hash]
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(source_of(policy.policy))


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed as a package"
    return found
