"""`models check`: everything read, hashes verified, every runtime here held to it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import typer

from smartscope.app._models import reading, table
from smartscope.core import ConfigError, ModelError
from smartscope.inference import (
    agreement,
    available,
    deviation,
    find_model,
    load_model,
    open_description,
    open_package,
    open_runtime,
    synthetic_image,
    tolerance_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from smartscope.inference import Model, Runtime

__all__ = ["check_model"]

_REFERENCES = ("onnxruntime", "torch")
_SIDE_PX = 256
_SLOW = {
    "torch-compiled": "compiling takes half a minute; 'smartscope models bench MODEL "
    "--runtime torch-compiled' tries it"
}


@dataclass(frozen=True, slots=True)
class Found:
    """How one runtime did; `relative` is None where there is nothing to compare."""

    runtime: str
    verdict: Literal["agrees", "differs", "failed", "absent"]
    full_name: str = ""
    relative: float | None = None
    absolute: float | None = None
    reason: str = ""


def check_model(name: str, *, threads: int | None, as_json: bool) -> int:
    """Print what was found; 0 if the model is right on at least one runtime.

    Raises
    ------
    ConfigError
        The package lies: about its files, shapes, or what its test images give.
    ModelError
        No runtime here can run it.
    """
    path = find_model(name)
    with reading():
        _look_for_tests(path)
        model = load_model(path)
        tests = None if model.tests is None else model.tests()
    found = _all(path, model, tests, threads)
    allowed = tolerance_of(model)
    if as_json:
        _print_json(model, found, allowed, tests is not None)
    else:
        _print(model, found, allowed, tests is not None)
    _judge(model, found, allowed, tests is not None)
    return 0


def _look_for_tests(path: Path) -> None:
    """Refuse a package that names test tensors it does not hold."""
    if path.suffix.lower() in (".onnx", ".czann"):
        return
    package = open_package(path)
    description = open_description(package)
    for spec in (*description.inputs, *description.outputs):
        if spec.test:
            package.read(spec.test.text(), spec.test.field)


def _all(path: Path, model: Model, tests: Any, threads: int | None) -> list[Found]:
    """Every runtime, the reference first: without tests the others follow it."""
    both = [model]
    # Torch's own weights are read only where they are asked for.
    with_torch = load_model(path, runtime="torch")
    if with_torch.weights != model.weights:
        both.append(with_torch)
    found: dict[str, Found] = {}
    truth: list[Any] = []
    for each in both:
        for name, lack in available(each.weights):
            reason = lack or _SLOW.get(name)
            if reason is not None:
                found.setdefault(name, Found(name, "absent", reason=reason))
            elif name not in found or found[name].verdict == "absent":
                found[name] = _one(each, name, tests, threads, truth)
    return list(found.values())


def _one(
    model: Model, name: str, tests: Any, threads: int | None, truth: list[Any]
) -> Found:
    try:
        runtime = open_runtime(name, model.weights, threads=threads)
    except ModelError as error:
        return Found(name, "failed", reason=str(error))
    try:
        if tests is not None:
            result = agreement(model, runtime, tests)
            relative, absolute = result.relative, result.absolute
        else:
            relative, absolute = _untested(model, runtime, truth)
    except ModelError as error:
        return Found(name, "failed", runtime.name, reason=str(error))
    finally:
        runtime.close()
    if relative is None:
        why = "its output has another shape, or is not finite"
        return Found(name, "differs", runtime.name, reason=why)
    fits = relative <= tolerance_of(model)
    return Found(
        name, "agrees" if fits else "differs", runtime.name, relative, absolute
    )


def _untested(
    model: Model, runtime: Runtime, truth: list[Any]
) -> tuple[float | None, float]:
    """Deviation from the first runtime on a synthetic image."""
    shapes = []
    for intake in model.inputs:
        sizes = {"c": intake.channels or 1, "z": 1, "y": _SIDE_PX, "x": _SIDE_PX}
        for letter in "zyx":
            axis = intake.layout.axis(letter)
            if axis is not None:
                sizes[letter] = axis.fixed or axis.legal(sizes[letter]) or sizes[letter]
        shapes.append(intake.layout.shape(sizes))
    arrays = runtime.prepare(shapes)
    for intake, array in zip(model.inputs, arrays, strict=True):
        view = intake.layout.as_image(array)
        planes = intake.planes(synthetic_image(view.shape))
        whole = tuple(slice(0, size) for size in view.shape[1:])
        intake.scaled(planes).write(whole, view)
    found = [np.array(tensor) for tensor in runtime.run()]
    if not truth:
        truth.extend(found)
    relative = deviation(found, truth)
    if relative is None:
        return None, float("nan")
    pairs = zip(found, truth, strict=True)
    return relative, max(float(np.abs(a - b).max(initial=0)) for a, b in pairs)


def _print(model: Model, found: Sequence[Found], allowed: float, tested: bool) -> None:
    typer.echo(f"{model.name} ({model.file})")
    for weights in model.weights:
        typer.echo(f"  {weights.file}: sha256 {weights.sha256}")
    against = "the test output of the package" if tested else "the first runtime"
    typer.echo(f"\nDeviation from {against}; at most {allowed:g} is allowed\n")
    head = ("runtime", "verdict", "relative", "largest", "what ran, or why not")
    rows = [
        (
            each.runtime,
            each.verdict,
            "-" if each.relative is None else f"{each.relative:.2e}",
            "-" if each.absolute is None else f"{each.absolute:.3g}",
            each.reason or each.full_name,
        )
        for each in found
        if each.verdict != "absent"
    ]
    typer.echo(table(head, rows))
    absent: dict[str, list[str]] = {}
    for each in found:
        if each.verdict == "absent":
            absent.setdefault(each.reason, []).append(each.runtime)
    if absent:
        typer.echo("\nNot tried:")
    for reason, names in absent.items():
        typer.echo(f"  {', '.join(names)}: {reason}")
    if not tested:
        typer.echo("\nThe model has no test images: nothing says what is right.")


def _print_json(
    model: Model, found: Sequence[Found], allowed: float, tested: bool
) -> None:
    whole = {
        "name": model.name,
        "file": model.file,
        "sha256": {weights.file: weights.sha256 for weights in model.weights},
        "tolerance": allowed,
        "tested": tested,
        "runtimes": [asdict(each) for each in found],
    }
    typer.echo(json.dumps(whole, indent=2))


def _judge(model: Model, found: Sequence[Found], allowed: float, tested: bool) -> None:
    """Raise if the model is not right anywhere, or its own reference says otherwise."""
    ran = [each for each in found if each.verdict in ("agrees", "differs")]
    reference = next((each for each in found if each.runtime in _REFERENCES), None)
    first = next((r for r in (reference, *ran) if r is not None and r in ran), None)
    if first is None:
        why = [each for each in found if each.verdict == "failed"]
        if why:
            raise ConfigError(why[0].reason)
        raise ModelError(
            f"{model.file}: no runtime here can run it; see the table, or 'smartscope "
            "doctor'"
        )
    if tested and first.verdict == "differs":
        by = first.reason or f"it deviates by {first.relative:.3g}"
        raise ConfigError(
            f"the model does not give its own test output on {first.full_name} ({by}, "
            f"{allowed:g} is allowed)",
            file=model.file,
            fix="fetch the package again, or write its test tensors anew",
        )
