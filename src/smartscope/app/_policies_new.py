"""`policies new`: a policy that works, an experiment that uses it, and its test."""

from __future__ import annotations

import keyword
import re
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING

import typer

from smartscope.config import shipped
from smartscope.core import ConfigError
from smartscope.policies import list_installed, list_shipped

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["new_policy"]

_TEMPLATES = {
    "{name}.py": "policy.py.txt",
    "{name}.yaml": "experiment.yaml.txt",
    "test_{name}.py": "test_policy.py.txt",
}
_DEMO = ("specimen_rig.yaml", "demo_laser.cfg")
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
# No file on Windows can be called so, whatever its ending.
_DEVICES = re.compile(r"con|prn|aux|nul|(com|lpt)[0-9]")


def new_policy(name: str, folder: Path) -> int:
    """Write the files of a new policy into `folder`; nothing is overwritten.

    The simulated microscope of the demos is put beside them if it is not there yet.

    Raises
    ------
    ConfigError
        If the name will not do, a file is in the way, or the folder cannot be written.
    """
    _check_name(name)
    words = {"name": name, "class_name": "".join(map(str.capitalize, name.split("_")))}
    texts = {
        folder / file.format(name=name): Template(_template(source)).substitute(words)
        for file, source in _TEMPLATES.items()
    }
    for path in texts:
        if path.exists():
            raise ConfigError(
                "this exists already and is not overwritten",
                file=str(path),
                fix="choose another name, or another folder with --path",
            )
    demo = shipped("demo_configs")
    for file in _DEMO:
        if not (folder / file).exists():
            texts[folder / file] = (demo / file).read_text(encoding="utf-8")
    _write(folder, texts)
    for path in texts:
        typer.echo(f"Written: {path}")
    typer.echo(f"\nRun it:  smartscope run {folder / name}.yaml")
    typer.echo(f"Test it: python -m pytest {folder / f'test_{name}.py'}")
    return 0


def _write(folder: Path, texts: dict[Path, str]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in texts.items():
            path.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise ConfigError(
            f"the files cannot be written there ({error.strerror or error})",
            file=str(folder),
            fix="name a folder you may write in with --path",
        ) from error


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise ConfigError(
            f"'{name}' cannot be the name of a policy",
            field="NAME",
            fix="use small letters, digits and single underscores, "
            "for example burst_on_flash",
        )
    if _DEVICES.fullmatch(name):
        problem = f"Windows allows no file called '{name}.py'"
    elif name in (*list_shipped(), *list_installed()):
        problem = f"there is a policy '{name}' already"
    elif name.startswith("test_") or name.endswith("_test"):
        problem = f"pytest takes a file '{name}.py' for a test"
    elif f"{name}.yaml" in _DEMO:
        problem = f"'{name}.yaml' is the simulated microscope"
    else:
        return
    raise ConfigError(problem, field="NAME", fix="choose another name")


def _template(file: str) -> str:
    return (files("smartscope.app") / "_templates" / file).read_text(encoding="utf-8")
