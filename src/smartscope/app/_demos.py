"""The shipped experiments: list them, or hand out copies to edit."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import typer
import yaml

from smartscope.config import shipped, shipped_files
from smartscope.core import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["copy_demos", "list_demos"]

SKIP = shutil.ignore_patterns("__pycache__", "*.pyc", "runs", ".*")


def list_demos() -> int:
    """Print every demo with what it shows."""
    demos = {file.stem: file for file in shipped_files("experiment")}
    width = max(map(len, demos), default=0)
    for name, file in demos.items():
        typer.echo(f"{name:<{width}}  {_shows(file)}")
    typer.echo("\nRun one with: smartscope run NAME")
    typer.echo("Get copies to edit with: smartscope demos --copy DIR")
    return 0


def copy_demos(target: Path) -> int:
    """Copy demos and policies into `target`; nothing that exists is overwritten.

    Raises
    ------
    ConfigError
        If a file is in the way or the folder cannot be written.
    """
    sources = {"": shipped("demo_configs"), "policies": shipped("policies")}
    for below, source in sources.items():
        _refuse_overwriting(source, target / below)
    try:
        for below, source in sources.items():
            shutil.copytree(source, target / below, ignore=SKIP, dirs_exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"the demos cannot be copied there ({error.strerror or error})",
            file=str(target),
            fix="name a folder you may write in",
        ) from error
    typer.echo(f"Copied to {target}. Try: smartscope run {target / 'quickstart.yaml'}")
    return 0


def _refuse_overwriting(source: Path, target: Path) -> None:
    if target.exists() and not target.is_dir():
        raise ConfigError(
            "this is a file, not a folder", file=str(target), fix="name a folder"
        )
    for item in source.iterdir():
        there = target / item.name
        if there.exists() and not item.name.startswith((".", "__pycache__")):
            raise ConfigError(
                "this exists already and is not overwritten",
                file=str(there),
                fix="name an empty or new folder",
            )


def _shows(file: Path) -> str:
    loaded: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
    return str(loaded.get("name") or "")
