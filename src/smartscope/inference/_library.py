"""Where models are: a path, the user's own folder, or shipped with smartscope."""

from __future__ import annotations

import difflib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from smartscope.core import ConfigError
from smartscope.inference._package import DESCRIPTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

_PACKAGE = Path(__file__).resolve().parents[1]
_SUFFIXES = (".zip", ".onnx", ".czann", ".pt", ".pth")
FOLDER_VARIABLE = "SMARTSCOPE_MODELS"

Origin = Literal["own", "shipped"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One model that a name stands for.

    Attributes
    ----------
    name : str
        What to write after ``model:``; the folder or file without its ending.
    path : Path
        The package or file.
    origin : str
        ``own`` (the user's folder) or ``shipped``.
    """

    name: str
    path: Path
    origin: Origin


def user_folder() -> Path:
    """Folder of the user's own models; it need not exist.

    ``SMARTSCOPE_MODELS`` names it, or else it is ``smartscope/models`` where the
    system keeps the data of programs.
    """
    named = os.environ.get(FOLDER_VARIABLE, "")
    if named:
        return Path(named).expanduser()
    if sys.platform == "win32":
        home = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local")
    elif sys.platform == "darwin":
        home = Path.home() / "Library/Application Support"
    else:
        home = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share")
    return home / "smartscope" / "models"


def list_models() -> tuple[Entry, ...]:
    """All models that have a name, the user's own first, each group by name.

    A shipped model of the same name as one of the user's is listed too, though the
    name stands for the user's.
    """
    own = tuple(_entries(user_folder(), "own"))
    folder = _shipped()
    return own if folder is None else own + tuple(_entries(folder, "shipped"))


def find_model(model: str | Path, base_dir: Path | None = None) -> Path:
    """Return the package or file that a name or path stands for.

    Parameters
    ----------
    model : str or path
        A path, or the name of one of the user's own or of the shipped models. What
        exists under that path goes before a name.
    base_dir : path or None
        Folder of the file in which `model` is written, looked at before the current
        folder.

    Returns
    -------
    path
        It exists; whether it is a model is seen when it is read.

    Raises
    ------
    ConfigError
        There is none, naming the nearest.
    """
    path = Path(model).expanduser()
    for place in _places(path, base_dir):
        if _is_model(place) or (len(path.parts) > 1 and _exists(place)):
            return place
    if len(path.parts) != 1:
        raise ConfigError(
            "there is no such model", file=str(model), fix=_beside(path, base_dir)
        )
    entries = list_models()
    for entry in entries:
        if str(path) in (entry.name, entry.path.name):
            return entry.path
    raise ConfigError(f"there is no model '{model}'", fix=_nearest(str(path), entries))


def _places(path: Path, base_dir: Path | None) -> Iterator[Path]:
    if base_dir is not None and not path.is_absolute():
        yield base_dir / path
    yield path


def _shipped() -> Path | None:
    # An installed wheel carries them inside the package, a checkout at its top.
    for path in (_PACKAGE / "_shipped/models", _PACKAGE.parents[1] / "models"):
        if path.is_dir():
            return path
    return None


def _entries(folder: Path, origin: Origin) -> Iterator[Entry]:
    try:
        found = sorted(folder.iterdir(), key=lambda path: path.name.lower())
    except OSError:
        return
    for path in found:
        if not path.name.startswith(".") and _is_model(path):
            name = path.name if path.is_dir() else path.stem
            yield Entry(name, path, origin)


def _is_model(path: Path) -> bool:
    """Tell whether a path looks like a model, without reading it."""
    try:
        if path.is_dir():
            return any((path / name).is_file() for name in DESCRIPTIONS)
        known = path.suffix.lower() in _SUFFIXES or path.name in DESCRIPTIONS
        return known and path.is_file()
    except (OSError, ValueError):
        return False


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _beside(path: Path, base_dir: Path | None) -> str:
    for place in _places(path, base_dir):
        if _exists(place.parent):
            names = [p.name for p in place.parent.iterdir() if _is_model(p)]
            if near := difflib.get_close_matches(path.name, names, 1):
                return f"did you mean '{path.with_name(near[0])}'?"
    return "check the path, or give a name of 'smartscope models list'"


def _nearest(name: str, entries: tuple[Entry, ...]) -> str:
    names = [entry.name for entry in entries]
    lower = {known.lower(): known for known in names}
    if near := difflib.get_close_matches(name.lower(), lower, 1):
        return f"did you mean '{lower[near[0]]}'?"
    if names:
        return f"give a path, or one of: {', '.join(dict.fromkeys(names))}"
    return "give a path to a bioimage.io package, a .onnx or a .czann file"
