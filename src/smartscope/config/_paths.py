"""Where files are: beside the file that names them, here, or shipped."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from smartscope.config._explain import near
from smartscope.core import ConfigError

_PACKAGE = Path(__file__).resolve().parents[1]
_TELLS = {
    "experiment": re.compile(r"^acquisition\s*:", re.MULTILINE),
    "rig": re.compile(r"^(micromanager|recording)\s*:", re.MULTILINE),
}


def shipped(folder: Literal["policies", "demo_configs"]) -> Path:
    """Return the folder of files that come with smartscope.

    An installed wheel carries them inside the package; a checkout has them at its top.

    Raises
    ------
    ConfigError
        If the installation lacks them.
    """
    for path in (_PACKAGE / "_shipped" / folder, _PACKAGE.parents[1] / folder):
        if path.is_dir():
            return path
    raise ConfigError(
        f"this installation of smartscope lacks its '{folder}' folder",
        fix="install it again",
    )


def exists(path: Path) -> bool:
    """Tell whether there is such a file or folder; names no disk can hold are not."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def resolve(base_file: Path | None, path: Path) -> Path:
    """Return `path` as seen from the file that names it, or else from here.

    Parameters
    ----------
    base_file : path or None
        The file in which `path` is written; None for Python and the command line.
    path : path
        Absolute, or relative to the folder of `base_file` or to the current folder.

    Returns
    -------
    path
        The first of the two that exists; where it should be if neither does.
    """
    path = Path(path)
    if base_file is None or path.is_absolute():
        return path
    beside = Path(base_file).parent / path
    return path if not exists(beside) and exists(path) else beside


def find_experiment(name: str | Path) -> Path:
    """Return the experiment file `name` stands for.

    Parameters
    ----------
    name : str or path
        A file, or the name of a shipped experiment such as ``quickstart``.

    Raises
    ------
    ConfigError
        If there is neither, naming the nearest.
    """
    return _find(name, "experiment")


def find_rig(name: str | Path) -> Path:
    """Return the rig file `name` stands for; like `find_experiment`."""
    return _find(name, "rig")


def shipped_files(kind: Literal["experiment", "rig"]) -> list[Path]:
    """Return the shipped experiments, or rigs, sorted by name."""
    try:
        folder = shipped("demo_configs")
    except ConfigError:
        return []
    return sorted(
        path
        for path in folder.glob("*.yaml")
        if _TELLS[kind].search(path.read_text(encoding="utf-8"))
    )


def _find(name: str | Path, kind: Literal["experiment", "rig"]) -> Path:
    path = Path(name).expanduser()
    if exists(path):
        return path
    offers = {p.stem: p for p in shipped_files(kind)}
    if len(path.parts) == 1 and path.suffix in ("", ".yaml", ".yml"):
        if path.stem in offers:
            return offers[path.stem]
        if guess := near(path.stem, offers):
            fix = f"did you mean '{guess}'?"
        elif offers:
            fix = f"give a file, or one of: {', '.join(offers)}"
        else:
            fix = "give the name of a file"
        raise ConfigError(f"there is no {kind} '{name}'", fix=fix)
    fix = "check its name"
    if path.parent.is_dir():
        beside = [p.name for p in path.parent.glob("*.y*ml")]
        if guess := near(path.name, beside):
            fix = f"did you mean '{guess}'?"
    raise ConfigError("no such file", file=str(name), fix=fix)
