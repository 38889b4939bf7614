"""Build the engine of a model: what ``smartscope models build`` does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.inference._document import refusal
from smartscope.inference._engines import (
    ALL_CAPABILITIES,
    EngineTensor,
    Profile,
    Recipe,
    digest_of,
    engine_key,
    engine_path,
    engines_folder,
    find_engine,
    with_notes,
    write_engine,
)
from smartscope.inference._fold import Folding, foldable
from smartscope.inference._intake import write_padded
from smartscope.inference._load import load_model
from smartscope.inference._trt import load_tensorrt
from smartscope.inference._trt_build import build_engine, target_text
from smartscope.inference._trt_memory import CudaDevice

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from smartscope.inference._intake import Intake
    from smartscope.inference._model import Model
    from smartscope.inference._protocol import Precision, Weights
    from smartscope.inference._trt import Flavour

SizeYX = tuple[int, int]


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What was built.

    Attributes
    ----------
    path : path
        The engine; the file that says what it is lies beside it.
    size_mb : float
        Size of the engine, in 10^6 bytes.
    seconds : float
        What compiling took, now or when it was compiled.
    tensors : tuple of EngineTensor
        Inputs, then outputs.
    runtime, target, precision : str
        What made it, cards it is for, type it computes in.
    kept : bool
        It was in the cache already.
    notes : tuple of str
        One sentence each.
    """

    path: Path
    size_mb: float
    seconds: float
    tensors: tuple[EngineTensor, ...]
    runtime: str
    target: str
    precision: str
    kept: bool
    notes: tuple[str, ...]


def build(
    path: str | Path,
    *,
    runtime: Flavour = "tensorrt-rtx",
    sm: Sequence[int] = ALL_CAPABILITIES,
    precision: Precision = "fp16",
    sizes: Sequence[SizeYX] = ((512, 512),),
    camera: str | None = None,
    calibration: Sequence[NDArray[Any]] = (),
    output: Path | None = None,
    workspace_mb: int | None = None,
) -> BuildReport:
    """Compile the network of a model with TensorRT.

    Parameters
    ----------
    path : str or path
        Model, as for `load_model`.
    runtime : ``tensorrt-rtx`` or ``tensorrt``
        The first needs no card.
    sm : sequence of int
        Compute capabilities, for ``tensorrt-rtx``.
    precision : str
        ``fp32``, ``fp16``, ``int8`` or ``fp8``.
    sizes : sequence of (y, x)
        Size of the images: one, or the smallest, most frequent and largest. Rounded up
        to what the model takes.
    camera : ``uint8``, ``uint16`` or None
        Fold the processing into the engine, for frames of this type.
    calibration : sequence of ndarray (y, x) or (c, y, x)
        Raw images for ``int8`` and ``fp8``; not needed where the package has weights
        that are quantised already.
    output : path or None
        File to write; None is the cache, where runtimes find it.
    workspace_mb : int or None
        Most scratch memory on the card.

    Returns
    -------
    BuildReport

    Raises
    ------
    ModelError
        The model, the sizes or TensorRT refuse; one sentence.
    """
    model = load_model(path)
    try:
        folding, notes = _folding(model, camera)
        weights = _weights(model, precision, given=bool(calibration))
        recipe = Recipe(
            flavour=runtime,
            sm=tuple(sorted(set(sm))),
            precision=precision,
            profiles=_profiles(model, sizes),
            folding=folding,
            workspace_mb=workspace_mb,
        )
        tensors = [_tensors(model, image) for image in calibration]
        return _built(weights, recipe, tensors, output, notes)
    finally:
        model.close()


def _built(
    weights: Weights,
    recipe: Recipe,
    calibration: list[list[NDArray[Any]]],
    output: Path | None,
    notes: list[str],
) -> BuildReport:
    trt = load_tensorrt(recipe.flavour)
    target = ""
    if not trt.ahead_of_time:
        target = CudaDevice(weights.file).about()
    aim = target_text(trt, recipe, target)
    key = engine_key(weights, recipe, trt.label, aim, digest_of(calibration))
    engine, reason = None, ""
    file = engine_path(engines_folder(), key, weights.file)
    if output is None:
        engine, reason = find_engine(file.parent, key, weights.file)
    else:
        file = output
    kept = engine is not None
    if engine is None:
        engine = build_engine(weights, recipe, calibration=calibration, target=target)
        engine = with_notes(engine, reason, *notes)
        write_engine(file, engine)
    card = engine.card
    return BuildReport(
        path=file,
        size_mb=len(engine.content) / 1e6,
        seconds=card.seconds,
        tensors=card.tensors,
        runtime=card.runtime,
        target=card.target,
        precision=card.precision,
        kept=kept,
        notes=card.notes,
    )


def _weights(model: Model, precision: Precision, *, given: bool) -> Weights:
    """The float32 network; the quantised one where that is wanted as it is."""
    onnx = {w.precision: w for w in model.weights if w.kind == "onnx"}
    if precision in onnx and not given:
        return onnx[precision]
    if "fp32" not in onnx:
        raise refusal(
            "the model has no float32 ONNX weights, which TensorRT starts from",
            file=model.file,
            fix="export the network to ONNX and add it to the package",
        )
    return onnx["fp32"]


def _profiles(model: Model, sizes: Sequence[SizeYX]) -> tuple[Profile, ...]:
    if len(sizes) not in (1, 3):
        raise refusal(
            f"{len(sizes)} sizes are given",
            file=model.file,
            fix="give one, or the smallest, the most frequent and the largest",
        )
    three = (sizes[0], sizes[0], sizes[0]) if len(sizes) == 1 else sizes
    return tuple(
        (_shape(i, three[0]), _shape(i, three[1]), _shape(i, three[2]))
        for i in model.inputs
    )


def _shape(intake: Intake, size: SizeYX) -> tuple[int, ...]:
    """Tensor of one input for an image of this size."""
    wanted = {"z": 1, "y": size[0], "x": size[1]}
    found = {"c": intake.channels or 1}
    for axis, pixels in wanted.items():
        legal = intake.legal(axis, pixels)
        if legal is None:
            raise refusal(
                f"the model does not take {size[0]} x {size[1]} pixels",
                file=intake.file,
                fix="give a smaller size; larger images are run in tiles",
            )
        found[axis] = legal
    return intake.layout.shape(found)


def _tensors(model: Model, image: NDArray[Any]) -> list[NDArray[Any]]:
    """A calibration image as the network sees it."""
    if len(model.inputs) != 1:
        raise refusal(
            f"the model has {len(model.inputs)} inputs, calibration takes one",
            file=model.file,
            fix="use fp16",
        )
    intake = model.inputs[0]
    planes = intake.planes(image)
    height, width = planes.shape[-2:]
    tensor = np.zeros(_shape(intake, (height, width)), dtype=np.float32)
    start = dict.fromkeys("zyx", 0)
    write_padded(intake.scaled(planes), start, intake.layout.as_image(tensor))
    return [tensor]


def _folding(model: Model, camera: str | None) -> tuple[Folding | None, list[str]]:
    """All processing that fits into the graph, and what does not."""
    if camera is None:
        return None, []
    if camera not in ("uint8", "uint16"):
        raise refusal(
            f"frames of type '{camera}' cannot be folded in",
            file=model.file,
            fix="use uint8 or uint16",
        )
    if len(model.inputs) != 1:
        raise refusal(
            "processing can be folded into networks with one input only",
            file=model.file,
            fix="build without the camera",
        )
    return folding_of(model.inputs[0], model.outputs, camera)


def folding_of(
    intake: Intake, outputs: Sequence[Any], camera: Any
) -> tuple[Folding, list[str]]:
    """Fold what fits.

    Parameters
    ----------
    intake : Intake
        The input.
    outputs : sequence of Output
        The outputs.
    camera : ``uint8`` or ``uint16``
        Type of the frames.

    Returns
    -------
    tuple of (Folding, list of str)
        The folding, and a sentence for each output whose processing stays on the host
        from some operation on.

    Raises
    ------
    ModelError
        A part of the pre-processing does not fit.
    """
    fits, _ = foldable(intake.operations, ())
    if not fits:
        names = ", ".join(op.name for op in intake.operations)
        raise refusal(
            f"the pre-processing ({names}) cannot run inside the network",
            file=intake.file,
            fix="build without the camera",
        )
    notes, after = [], []
    for output in outputs:
        count = foldable((), output.operations)[1]
        after.append(output.operations[:count])
        if count < len(output.operations):
            name = output.operations[count].name
            notes.append(f"{output.name}: '{name}' and what follows stay on the host")
    plain = Folding(camera, intake.layout.order, tuple(intake.operations))
    orders = tuple(output.layout.order for output in outputs)
    return replace(plain, postprocessing=tuple(after), orders=orders), notes
