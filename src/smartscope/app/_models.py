"""`models list` and `models info`: which models there are, and what each one is."""

from __future__ import annotations

import contextlib
import hashlib
import json
from typing import TYPE_CHECKING, Any

import typer

from smartscope.core import ConfigError, ModelError
from smartscope.inference import (
    find_model,
    list_models,
    load_model,
    open_description,
    open_package,
    user_folder,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from smartscope.inference import Axis, Card, Description, Entry, Layout, TensorSpec

__all__ = ["list_all", "reading", "show_info", "table"]

_BARE = (".onnx", ".pt", ".pth", ".czann")


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """Turn the error of a file that is not sound into one of a wrong argument."""
    try:
        yield
    except ModelError as error:
        raise ConfigError(str(error)) from error


def list_all(*, as_json: bool) -> int:
    """Print every model that has a name; one that cannot be read says why."""
    rows = [_row(entry) for entry in list_models()]
    if as_json:
        folder = str(user_folder())
        typer.echo(json.dumps({"folder": folder, "models": rows}, indent=2))
        return 0
    head = ("name", "version", "decoder", "size", "licence", "from")
    cells = [
        (
            row["name"],
            row["version"] or "-",
            row["decoder"] or "-",
            _size(row["bytes"]),
            row["licence"] or "-",
            row["origin"],
        )
        for row in rows
    ]
    if cells:
        typer.echo(table(head, cells))
    for row in rows:
        if row["problem"]:
            typer.echo(f"\n{row['name']} cannot be used: {row['problem']}")
    typer.echo(f"\nYour own are in {user_folder()} ('smartscope models import').")
    typer.echo("More with: smartscope models info NAME")
    return 0


def _row(entry: Entry) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": entry.name,
        "version": "",
        "decoder": "",
        "bytes": _bytes(entry.path),
        "licence": "",
        "origin": entry.origin,
        "path": str(entry.path),
        "problem": "",
    }
    if entry.path.suffix.lower() in _BARE:
        return row
    try:
        card = open_description(open_package(entry.path)).card
    except ModelError as error:
        return row | {"problem": str(error)}
    return row | {
        "version": card.version,
        "decoder": card.decoder.kind or "",
        "licence": card.licence,
    }


def _bytes(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _size(count: int) -> str:
    return f"{count / 1e6:.2f} MB"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of text, all but the last as wide as their widest cell."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in (head, *rows)
    )


def show_info(model: str, *, as_json: bool) -> int:
    """Print all that a model says about itself."""
    path = find_model(model)
    with reading():
        facts = _bare(path) if path.suffix.lower() == ".onnx" else _facts(path)
    if as_json:
        typer.echo(json.dumps(facts, indent=2, default=str))
        return 0
    typer.echo("\n".join(_lines(facts)))
    return 0


def _bare(path: Path) -> dict[str, Any]:
    """An ``.onnx`` file says little; `load_model` looks whether it is sound."""
    model = load_model(path)
    weights = model.weights[0]
    return {
        "name": model.name,
        "path": str(path),
        "inputs": [_tensor("input", model.inputs[0].layout, (), "float32")],
        "outputs": [{"name": output.name} for output in model.outputs],
        "weights": [
            {
                "kind": weights.kind,
                "file": path.name,
                "bytes": len(weights.content),
                "precision": weights.precision,
                "sha256": weights.sha256,
            }
        ],
        "limits": "A bare network: 'smartscope models import' makes a package of it.",
    }


def _facts(path: Path) -> dict[str, Any]:
    if path.suffix.lower() == ".czann":
        raise ConfigError(
            "a ZEISS model has to be imported first",
            file=str(path),
            fix="smartscope models import FILE, then give its name",
        )
    package = open_package(path)
    description: Description = open_description(package)
    weights = []
    for entry in description.weights:
        content = package.read(entry.source.text(), entry.source.field)
        found = hashlib.sha256(content).hexdigest()
        weights.append(
            {
                "kind": entry.kind,
                "file": entry.source.text(),
                "bytes": len(content),
                "precision": entry.precision,
                "sha256": found,
                "as_described": entry.sha256 in ("", found),
                "runnable": entry.runnable,
            }
        )
    return {
        "name": description.name,
        "path": str(path),
        "format": description.format_version,
        **_card(description.card),
        "inputs": [_spec(spec) for spec in description.inputs],
        "outputs": [_spec(spec) for spec in description.outputs],
        "weights": weights,
    }


def _card(card: Card) -> dict[str, Any]:
    decoder = card.decoder
    return {
        "version": card.version,
        "licence": card.licence,
        "description": card.description,
        "authors": list(card.authors),
        "cite": list(card.cite),
        "tags": list(card.tags),
        "decoder": {
            "kind": decoder.kind,
            "output": decoder.output,
            "channel": decoder.channel,
            "threshold": decoder.threshold,
            **decoder.options,
        },
        "pixel_um": card.pixel_um,
        "object_px": card.object_px,
        "window": card.window,
        "tolerance": card.tolerance,
        "training": dict(card.training),
        "domain": dict(card.domain),
        "documentation": card.documentation,
    }


def _spec(spec: TensorSpec) -> dict[str, Any]:
    return _tensor(spec.name, spec.layout, spec.operations, spec.dtype)


def _tensor(
    name: str, layout: Layout, operations: Sequence[Any], dtype: str
) -> dict[str, Any]:
    return {
        "name": name,
        "axes": layout.order,
        "sizes": {axis.name: _axis(axis) for axis in layout.axes},
        "dtype": dtype,
        "operations": [{step.name: dict(step.settings)} for step in operations],
    }


def _axis(axis: Axis) -> str:
    if axis.least is not None:
        text = f"{axis.least} + {axis.step} n" if axis.step else str(axis.least)
        text = "any" if (axis.least, axis.step) == (1, 1) else text
    elif axis.name == "b":
        text = "1"
    elif (axis.scale, axis.offset) != (1.0, 0):
        text = f"{axis.scale:g} x input"
        text += f" {axis.offset:+d}" if axis.offset else ""
    else:
        text = "any"
    return f"{text}, halo {axis.halo}" if axis.halo else text


def _lines(facts: dict[str, Any]) -> Iterator[str]:
    version = f" {facts['version']}" if facts.get("version") else ""
    yield f"{facts['name']}{version}"
    for key in ("description", "limits"):
        if facts.get(key):
            yield f"{facts[key]}"
    yield ""
    for key in ("path", "format", "licence", "pixel_um", "object_px", "tolerance"):
        if facts.get(key):
            yield f"{key:<10} {facts[key]}"
    for key in ("authors", "cite", "tags"):
        if facts.get(key):
            yield f"{key:<10} {'; '.join(facts[key])}"
    if facts.get("window", 1) > 1:
        yield f"{'window':<10} {facts['window']} frames, the newest last"
    decoder = facts.get("decoder") or {}
    if decoder.get("kind"):
        rest = [
            f"{k} {v}" for k, v in decoder.items() if k != "kind" and v not in (None, 0)
        ]
        yield f"{'decoder':<10} {', '.join([decoder['kind'], *rest])}"
    for kind in ("inputs", "outputs"):
        yield ""
        yield kind.capitalize()
        for tensor in facts[kind]:
            yield from _tensor_lines(tensor)
    yield from _weight_lines(facts)
    if facts.get("training"):
        yield ""
        yield "Training"
        yield from _nested(facts["training"], "  ")
    if facts.get("domain"):
        yield ""
        yield "Images it knows (others are 'unfamiliar' in a run)"
        yield from _domain_lines(facts["domain"])
    if facts.get("documentation"):
        yield ""
        yield facts["documentation"].rstrip()


def _nested(facts: Mapping[str, Any], margin: str) -> Iterator[str]:
    """Settings below each other; a mapping of plain values on one line."""
    for name, value in facts.items():
        if not isinstance(value, dict):
            yield f"{margin}{name}: {value}"
        elif any(isinstance(inner, dict) for inner in value.values()):
            yield f"{margin}{name}"
            yield from _nested(value, margin + "  ")
        else:
            told = ", ".join(f"{key} {inner}" for key, inner in value.items())
            yield f"{margin}{name}: {told}"


def _domain_lines(domain: Mapping[str, Any]) -> Iterator[str]:
    """What a person can read of it; matrices are for the program and ``--json``."""
    for name in ("channels", "images"):
        if name in domain:
            yield f"  {name}: {domain[name]}"
    for name, (low, high) in domain.get("ranges", {}).items():
        yield f"  {name}: {low:.3g} to {high:.3g}"


def _tensor_lines(tensor: dict[str, Any]) -> Iterator[str]:
    if "axes" not in tensor:
        yield f"  {tensor['name']}"
        return
    sizes = ", ".join(f"{name}: {size}" for name, size in tensor["sizes"].items())
    yield f"  {tensor['name']}: {tensor['axes']} {tensor['dtype']} ({sizes})"
    for step in tensor["operations"]:
        for name, settings in step.items():
            written = ", ".join(f"{k}={v}" for k, v in settings.items())
            yield f"    {name}({written})"


def _weight_lines(facts: dict[str, Any]) -> Iterator[str]:
    yield ""
    yield "Weights"
    for weights in facts["weights"]:
        words = f"{weights['kind']} {weights['precision']}, {_size(weights['bytes'])}"
        yield f"  {weights['file']}: {words}"
        yield f"    sha256 {weights['sha256']}"
        if not weights.get("as_described", True):
            yield "    NOT the file that the package describes"
        if not weights.get("runnable", True):
            yield "    cannot be run here: an architecture smartscope does not know"
