"""Puts sections that were measured into a rig file that a person wrote."""

from __future__ import annotations

import os
import re
import shutil
from typing import TYPE_CHECKING, Any

import yaml

from smartscope.config import load_rig
from smartscope.core import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from smartscope.config import RigConfig

__all__ = ["paste", "sections_as_yaml"]

Sections = dict[str, dict[str, Any]]


def sections_as_yaml(sections: Mapping[str, Mapping[str, Any]]) -> str:
    """Lay sections out as a person would write them into a rig file."""
    text = ""
    for name, keys in sections.items():
        inner = yaml.safe_dump(
            dict(keys), sort_keys=False, allow_unicode=True, default_flow_style=False
        )
        rows = "".join(f"  {row}\n" for row in inner.splitlines())
        text += f"{name}:\n{rows}"
    return text


def paste(file: Path, sections: Mapping[str, Mapping[str, Any]]) -> Path | None:
    """Write sections into a rig file; what it says already stays as it is.

    The rest of the file keeps its lines and comments; the file as it was stays beside
    it as ``NAME.bak``.

    Returns
    -------
    Path or None
        The copy of the file as it was; None when there was nothing to add.

    Raises
    ------
    ConfigError
        If the file is laid out so that they cannot be put in, or cannot be written.
    """
    config = load_rig(file)
    wanted = {name: _merged(config, name, keys) for name, keys in sections.items()}
    new = {name: keys for name, keys in wanted.items() if keys != _said(config, name)}
    if not new:
        return None
    try:
        return _replace(file, new)
    except OSError as error:
        raise ConfigError(
            f"it cannot be written ({error.strerror or error})",
            file=str(file),
            fix="copy it to a folder of your own, or paste the lines by hand",
        ) from error


def _replace(file: Path, sections: Sections) -> Path:
    # Bytes, so that line ends and a byte order mark stay as they are.
    text = file.read_bytes().decode("utf-8")
    for name, keys in sections.items():
        text = _with_section(text, name, sections_as_yaml({name: keys}))
    draft = file.with_name(f"{file.stem}.new{file.suffix}")
    draft.write_bytes(text.encode("utf-8"))
    try:
        _check(file, draft, sections)
        shutil.copymode(file, draft)
        backup = file.with_name(f"{file.name}.bak")
        shutil.copy2(file, backup)
        os.replace(draft, file)
    finally:
        draft.unlink(missing_ok=True)
    return backup


def _check(file: Path, draft: Path, sections: Sections) -> None:
    try:
        config = load_rig(draft)
        fits = all(_said(config, name) == keys for name, keys in sections.items())
    except ConfigError:
        fits = False
    if not fits:
        raise ConfigError(
            f"{' and '.join(sections)} cannot be put into a file of this layout",
            file=str(file),
            fix="paste the lines by hand",
        )


def _said(config: RigConfig, section: str) -> dict[str, Any]:
    if section == "capabilities":
        return dict(config.capabilities)
    return config.camera.model_dump(exclude_unset=True)


def _merged(
    config: RigConfig, section: str, found: Mapping[str, Any]
) -> dict[str, Any]:
    merged = dict(found)
    for key, value in _said(config, section).items():
        before = merged.get(key)
        both = isinstance(before, dict) and isinstance(value, dict)
        merged[key] = {**before, **value} if both and before else value
    return merged


def _with_section(text: str, name: str, block: str) -> str:
    """`text` with its top-level section `name` replaced, or appended."""
    end = "\r\n" if "\r\n" in text else "\n"
    block = block.replace("\n", end)
    lines = text.splitlines(keepends=True)
    starts = re.compile(rf"\ufeff?{re.escape(name)}[ \t]*:")
    first = next((i for i, line in enumerate(lines) if starts.match(line)), None)
    if first is None:
        gap = "" if text.endswith(("\n", "\r")) else end
        return f"{text}{gap}{block}"
    last = first + 1
    while last < len(lines) and not lines[last][:1].strip(" \t\r\n#"):
        last += 1
    # Empty lines and comments before the next section belong to that one.
    while last > first + 1 and not lines[last - 1][:1].strip("\r\n#"):
        last -= 1
    return "".join([*lines[:first], block, *lines[last:]])
