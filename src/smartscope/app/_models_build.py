"""`models build`: engines for NVIDIA cards, and int8 weights."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, cast, get_args

import numpy as np
import typer

from smartscope.app._models import reading
from smartscope.app._models_bench import parse_shape
from smartscope.core import ConfigError
from smartscope.inference import (
    ALL_CAPABILITIES,
    Precision,
    Weights,
    build,
    find_model,
    list_models,
    load_model,
    quantise,
    read_content,
    user_folder,
    write_package,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from smartscope.inference import BuildReport, Intake, Model

__all__ = ["build_one"]

_ENGINES = ("tensorrt-rtx", "tensorrt")
_QUANTISED = ("openvino", "onnxruntime")
_RANGE = ((128, 128), (512, 512), (2048, 2048))
"""Smallest, most frequent and largest image of an engine for any size."""
_MOST_IMAGES = 32
_IMAGES = (".tif", ".tiff", ".npy")


def build_one(
    name: str,
    *,
    runtime: str,
    sm: str | None,
    precision: str | None,
    shape: str | None,
    camera: str | None,
    calibrate: Path | None,
    output: Path | None,
    as_json: bool,
) -> int:
    """Build and say where it is.

    Raises
    ------
    ConfigError
        An argument is wrong, or the model cannot be read.
    ModelError
        The runtime cannot build it.
    """
    precision = precision or ("int8" if runtime in _QUANTISED else "fp16")
    _check(runtime, sm, precision, calibrate)
    path = find_model(name)
    with reading():
        model = load_model(path)
    if runtime in _QUANTISED:
        return _quantised(path, name, model, _tensors(model, calibrate), as_json)
    report = build(
        path,
        runtime=cast("Any", runtime),
        precision=cast("Any", precision),
        sizes=_RANGE if shape is None else [_plane(shape)],
        camera=camera,
        calibration=_raw(model, calibrate),
        output=output,
        sm=ALL_CAPABILITIES if sm is None else _capabilities(sm),
    )
    _tell(report, as_json)
    return 0


def _plane(text: str) -> tuple[int, int]:
    *_, height, width = parse_shape(text)
    return height, width


def _tell(report: BuildReport, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(asdict(report), indent=2, default=str))
        return
    how = "Kept from earlier" if report.kept else "Built"
    typer.echo(f"{how}: {report.path}")
    typer.echo(
        f"  {report.runtime}, {report.target}, {report.precision}, "
        f"{report.size_mb:.1f} MB, {report.seconds:.1f} s"
    )
    for tensor in report.tensors:
        sizes = " x ".join("any" if n is None else str(n) for n in tensor.shape)
        typer.echo(f"  {tensor.mode} {tensor.name}: {tensor.dtype} {sizes}")
    for note in report.notes:
        typer.echo(f"  note: {note}")


def _check(
    runtime: str, sm: str | None, precision: str, calibrate: Path | None
) -> None:
    if runtime not in _ENGINES + _QUANTISED:
        raise ConfigError(
            f"nothing is built for '{runtime}'",
            field="--runtime",
            fix=f"use one of {', '.join(_ENGINES + _QUANTISED)}",
        )
    offered = ("int8",) if runtime in _QUANTISED else _of_engines()
    if precision not in offered:
        raise ConfigError(
            f"'{precision}' is not built for '{runtime}'",
            field="--precision",
            fix=f"use {' or '.join(offered)}; fp32 and bf16 need no building",
        )
    if runtime in _QUANTISED and calibrate is None:
        raise ConfigError(
            f"{precision} needs images like those of the experiment",
            field="--calibrate",
            fix="name a folder with 8 to 30 of them (TIFF or .npy)",
        )
    if sm is not None and runtime != "tensorrt-rtx":
        raise ConfigError(
            f"'{runtime}' does not build for cards that are not here",
            field="--sm",
            fix="use --runtime tensorrt-rtx, or leave it out",
        )


def _of_engines() -> tuple[str, ...]:
    return tuple(p for p in get_args(Precision) if p != "bf16")


def _network(model: Model) -> Weights:
    for weights in model.weights:
        if weights.kind == "onnx" and weights.precision == "fp32":
            return weights
    raise ConfigError(
        "the model has no ONNX weights in float32 to build from", file=model.file
    )


def _capabilities(text: str) -> tuple[int, ...]:
    parts = text.replace(".", "").split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise ConfigError(
            f"'{text}' is no list of compute capabilities",
            field="--sm",
            fix="write it as 75,80,86,89,120",
        )
    return tuple(int(part) for part in parts)


def _raw(model: Model, place: Path | None) -> list[NDArray[Any]]:
    """Calibration images; the first so many of a folder."""
    if place is None:
        return []
    if len(model.inputs) != 1:
        raise ConfigError(
            f"the model has {len(model.inputs)} inputs; only one can be calibrated",
            file=model.file,
        )
    axes = len(model.inputs[0].layout.image_order)
    found: list[NDArray[Any]] = []
    for file in _files(place):
        found += _images(file, axes)
        if len(found) >= _MOST_IMAGES:
            break
    return found[:_MOST_IMAGES]


def _tensors(model: Model, place: Path | None) -> list[list[NDArray[Any]]]:
    """Calibration images as the network takes them, each of its own size."""
    intake = model.inputs[0]
    return [[_tensor(intake, image, model.file)] for image in _raw(model, place)]


def _files(place: Path) -> list[Path]:
    if place.is_dir():
        files = sorted(p for p in place.iterdir() if p.suffix.lower() in _IMAGES)
    else:
        files = [place] if place.is_file() else []
    if not files:
        raise ConfigError(
            "there are no images",
            file=str(place),
            field="--calibrate",
            fix="name a TIFF or .npy file, or a folder of them",
        )
    return files


def _images(file: Path, axes: int) -> list[NDArray[Any]]:
    """Images of a file: one, or the frames along its first axis."""
    import tifffile

    try:
        if file.suffix.lower() == ".npy":
            array = np.load(file, allow_pickle=False)
        else:
            array = np.asarray(tifffile.imread(file))
    except (OSError, ValueError, tifffile.TiffFileError) as error:
        raise ConfigError(
            f"cannot be read as an image ({error})", file=str(file), fix="leave it out"
        ) from error
    if array.ndim in (axes - 1, axes):
        return [array]
    if array.ndim == axes + 1:
        return list(array)
    raise ConfigError(
        f"has {array.ndim} axes, the model's images have {axes - 1} or {axes}",
        file=str(file),
    )


def _tensor(intake: Intake, image: NDArray[Any], file: str) -> NDArray[Any]:
    planes = intake.planes(image)
    sizes = dict(zip(intake.layout.image_order, planes.shape, strict=True))
    for letter in "zyx":
        axis = intake.layout.axis(letter)
        if axis is None or axis.least is None:
            continue
        # The largest size the network takes that the image fills: nothing is padded.
        least = axis.least
        steps = (sizes[letter] - least) // axis.step if axis.step else 0
        if sizes[letter] < least:
            raise ConfigError(
                f"an image of {sizes[letter]} pixels along {letter} is smaller than "
                f"the model takes ({least})",
                file=file,
                field="--calibrate",
                fix="leave it out",
            )
        sizes[letter] = least + steps * axis.step
    tensor = np.empty(intake.layout.shape(sizes), np.float32)
    view = intake.layout.as_image(tensor)
    whole = tuple(slice(0, size) for size in view.shape[1:])
    intake.scaled(planes).write(whole, view)
    return tensor


def _quantised(
    path: Path,
    name: str,
    model: Model,
    images: Sequence[Sequence[NDArray[Any]]],
    as_json: bool,
) -> int:
    """Add int8 weights to the user's own copy of a model."""
    network = _network(model)
    content = quantise(network.content, images, file=network.file)
    digest = hashlib.sha256(content).hexdigest()
    made = Weights("onnx", content, f"{network.file} (int8)", digest, "int8")
    with reading():
        whole = read_content(path)
    kept = tuple(w for w in whole.weights if w.precision != "int8")
    target = _target(path)
    write_package(target, replace(whole, weights=(*kept, made)))
    if as_json:
        told = {"path": str(target), "sha256": digest, "bytes": len(content)}
        typer.echo(json.dumps(told, indent=2))
        return 0
    typer.echo(f"Added int8 weights ({len(content) / 1e6:.2f} MB) to {target}.")
    typer.echo(f"See what they cost: smartscope models check {name}")
    return 0


def _target(path: Path) -> Path:
    """The package itself where it is the user's own, or a copy in the user's folder."""
    own = [entry.path for entry in list_models() if entry.origin == "own"]
    if path.is_dir() and path.resolve() in [each.resolve() for each in own]:
        return path
    target = user_folder() / (path.name if path.is_dir() else path.stem)
    if target.exists():
        raise ConfigError(
            f"the copy with int8 weights would replace your model '{target.name}'",
            file=str(path),
            fix="import it under another name first, and build that one",
        )
    return target
