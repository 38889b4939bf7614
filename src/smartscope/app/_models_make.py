"""`models import` and `models export`: to and from other programs."""

from __future__ import annotations

import shutil
from dataclasses import replace as changed
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
import yaml

from smartscope.app._models import reading
from smartscope.core import ConfigError
from smartscope.inference import (
    export_package,
    find_model,
    import_model,
    list_models,
    load_model,
    read_content,
    user_folder,
    write_czann,
    write_package,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smartscope.inference import Answers

__all__ = ["export_one", "import_one"]


def import_one(
    file: Path,
    answers: Answers,
    *,
    preprocess: Sequence[str],
    postprocess: Sequence[str],
    decoder: str | None,
    replace: bool,
) -> int:
    """Write a package into the user's folder and say how to use it.

    Raises
    ------
    ConfigError
        The file is not sound, an answer is wrong, or the name is taken.
    """
    answers = changed(
        answers,
        preprocessing=tuple(_yaml(text, "--preprocess") for text in preprocess),
        postprocessing=tuple(_yaml(text, "--postprocess") for text in postprocess),
        decoder=None if decoder is None else _yaml(decoder, "--decoder"),
    )
    source = _source(file)
    name = answers.name or (source.name if source.is_dir() else source.stem)
    target = _place(name, replace)
    with reading():
        content = import_model(source, answers)
        # Whole or not at all: a model that was there stays until the new one is.
        fresh = target.with_name(f".{target.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        try:
            write_package(fresh, content)
            shutil.rmtree(target, ignore_errors=True)
            fresh.rename(target)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    typer.echo(f"Imported as '{name}' into {target}.")
    if content.card.decoder.kind is None:
        typer.echo(
            "It does not say what its output means: give --decoder, or choose the "
            "stage that fits it."
        )
    typer.echo(f"Try: smartscope models check {name}")
    return 0


def _source(file: Path) -> Path:
    """What is imported: a file or folder, not a name that might be misspelt."""
    try:
        return find_model(file)
    except ConfigError as error:
        if file.exists():
            raise
        raise ConfigError(
            "there is no such file or folder", file=str(file), fix="check the path"
        ) from error


def _yaml(text: str, option: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        first = str(error).split("\n", maxsplit=1)[0]
        raise ConfigError(
            f"'{text}' is not readable as YAML ({first})",
            field=option,
            fix="write it as in 'scale_range: {max_percentile: 99.8}'",
        ) from error


def _place(name: str, replace: bool) -> Path:
    """Folder of a new model, if it may have that name."""
    if Path(name).name != name or name.startswith(".") or name != name.strip():
        raise ConfigError(
            f"'{name}' cannot be the name of a model",
            field="--name",
            fix="use letters, digits, - and _",
        )
    for entry in list_models():
        if entry.name.lower() != name.lower():
            continue
        if entry.origin == "shipped":
            raise ConfigError(
                f"'{name}' is a model that comes with smartscope",
                field="--name",
                fix="choose another name",
            )
        if not replace or not entry.path.is_dir():
            raise ConfigError(
                f"there is a model '{name}' already ({entry.path})",
                field="--name",
                fix="choose another name, or add --replace",
            )
    return user_folder() / name


def export_one(model: str, target: Path, *, kind: str, zipped: bool) -> int:
    """Write a model where other programs can read it.

    Raises
    ------
    ConfigError
        The model is not sound, cannot be written like that, or something is in the
        way.
    """
    source = find_model(model)
    if zipped and kind != "bioimageio":
        raise ConfigError(
            f"--format {kind} writes one file already",
            field="--zip",
            fix="leave it out",
        )
    suffix = {"bioimageio": ".zip" if zipped else "", "czann": ".czann"}
    ending = suffix.get(kind, ".onnx")
    if ending and target.suffix.lower() != ending:
        target = target.with_name(target.name + ending)
    if target.exists():
        raise ConfigError(
            "this exists already and is not overwritten",
            file=str(target),
            fix="name another place",
        )
    with reading():
        if kind == "bioimageio":
            export_package(source, target)
        elif kind == "czann":
            write_czann(target, read_content(source))
        else:
            _write_onnx(source, target)
    typer.echo(f"Written to {target}.")
    return 0


def _write_onnx(source: Path, target: Path) -> None:
    weights = next((w for w in load_model(source).weights if w.kind == "onnx"), None)
    if weights is None:
        raise ConfigError("the model has no ONNX weights", file=str(source))
    try:
        target.write_bytes(weights.content)
    except OSError as error:
        raise ConfigError(
            f"cannot be written ({error.strerror or error})",
            file=str(target),
            fix="name a file in a folder that exists",
        ) from error
