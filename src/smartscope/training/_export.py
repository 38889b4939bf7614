"""From a trained network to a model package."""

from __future__ import annotations

import hashlib
import tempfile
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.core import ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import nn

    from smartscope.inference import Card, Content, Precision, TensorSpec, Weights

INPUT, OUTPUT = "input", "output"
"""Names of the tensors of every exported network."""


def require_torch() -> None:
    """Say what to install where torch is missing.

    Raises
    ------
    ModelError
        It is.
    """
    try:
        import torch  # noqa: F401 - only to see that it is there
    except ImportError as error:
        raise ModelError(
            "training needs PyTorch, which is not installed; "
            "pip install smartscope[training]"
        ) from error


def to_onnx(
    net: nn.Module, *, channels: int = 1, size_px: int = 64, opset: int = 17
) -> bytes:
    """Return `net` as ONNX with free batch, y and x; batch normalisation is folded.

    One input ``input`` ``(b, channels, y, x)`` and one output ``output``, float32.

    Parameters
    ----------
    net : torch.nn.Module
        Put into evaluation mode.
    size_px : int
        Size the network is traced with: any it accepts.
    """
    import torch

    net = net.eval().float()
    # The exporter reads plain layouts best.
    net = net.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    image = torch.zeros(1, channels, size_px, size_px)
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        # torch announces the end of this exporter with every call; it is the one that
        # folds batch normalisation and keeps sizes free.
        warnings.simplefilter("ignore", DeprecationWarning)
        target = Path(place) / "network.onnx"
        torch.onnx.export(
            net,
            (image,),
            target,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes={
                INPUT: {0: "b", 2: "y", 3: "x"},
                OUTPUT: {0: "b", 2: "y_out", 3: "x_out"},
            },
            opset_version=opset,
            dynamo=False,
        )
        return target.read_bytes()


@dataclass(frozen=True, slots=True, eq=False)
class Tensors:
    """How the tensors of a network with one input and one output are described.

    Attributes
    ----------
    outputs : tuple of str
        Names of the output channels.
    multiple_of : int
        Image sizes the network takes are multiples of this.
    inputs : tuple of str
        Names of the input channels.
    preprocessing, postprocessing : tuple of mapping
        Operations as bioimage.io packages write them.
    grid : int
        Input pixels for one pixel of the output.
    halo : int
        Output pixels at each border of a tile that are left out.
    least_px : int
        Smallest image, a multiple of `multiple_of`; 0 is four times that.
    """

    outputs: tuple[str, ...]
    multiple_of: int
    inputs: tuple[str, ...] = ("intensity",)
    preprocessing: tuple[dict[str, Any], ...] = ()
    postprocessing: tuple[dict[str, Any], ...] = ()
    grid: int = 1
    halo: int = 0
    least_px: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Release:
    """All that is published of a trained network.

    Attributes
    ----------
    name : str
        Of the package, in words.
    onnx : bytes
        What `to_onnx` returned.
    tensors : Tensors
        Axes, names and operations.
    card : Card
        Decoder, licence, training record, documentation.
    test : ndarray (c, y, x)
        A raw image; it and the output for it go into the package.
    calibration : sequence of ndarray (1, c, y, x) float32
        Tensors after pre-processing for the int8 form; empty: none is made.
    files : mapping of str to bytes
        Further files.
    """

    name: str
    onnx: bytes
    tensors: Tensors
    card: Card
    test: NDArray[Any]
    calibration: Sequence[NDArray[np.float32]] = ()
    files: dict[str, bytes] = field(default_factory=dict)


def write_release(
    folder: Path, release: Release, *, timestamp: str | None = None
) -> Path:
    """Write the package of `release`, with the output for its test image, and read it.

    Raises
    ------
    ModelError
        The parts contradict each other, or the folder cannot be written.
    """
    from smartscope.inference import Content, quantise, write_package

    weights = [_weights(release.onnx, "weights.onnx", "fp32")]
    if release.calibration:
        small = quantise(release.onnx, [[image] for image in release.calibration])
        weights.append(_weights(small, "weights_int8.onnx", "int8"))
    given, found = _described(release.tensors)
    content = Content(
        name=release.name,
        inputs=(given,),
        outputs=(found,),
        weights=tuple(weights),
        card=release.card,
        files=release.files,
    )
    content = replace(
        content,
        test_inputs=(np.ascontiguousarray(release.test[np.newaxis], np.float32),),
        test_outputs=(_expected(content, release.test),),
    )
    return write_package(folder, content, timestamp=timestamp)


def _described(tensors: Tensors) -> tuple[TensorSpec, TensorSpec]:
    from smartscope.inference import describe_tensor

    least = tensors.least_px or 4 * tensors.multiple_of
    side = (least, tensors.multiple_of)
    given = describe_tensor(
        INPUT,
        "bcyx",
        {"c": len(tensors.inputs), "y": side, "x": side},
        operations=tensors.preprocessing,
        channels=tensors.inputs,
    )
    found = describe_tensor(
        OUTPUT,
        "bcyx",
        {"c": len(tensors.outputs)},
        operations=tensors.postprocessing,
        of=given,
        grid=tensors.grid,
        halo=tensors.halo,
        channels=tensors.outputs,
    )
    return given, found


def _weights(content: bytes, file: str, precision: Precision) -> Weights:
    from smartscope.inference import Weights

    digest = hashlib.sha256(content).hexdigest()
    return Weights("onnx", content, file, digest, precision)


def _expected(content: Content, image: NDArray[Any]) -> NDArray[np.float32]:
    """What the reference runtime gives for `image`, post-processing included."""
    from smartscope.inference import load_model, write_package

    with tempfile.TemporaryDirectory() as place:
        folder = write_package(Path(place) / "untested", content)
        model = load_model(folder, runtime="onnxruntime", threads=1)
        found = model.run(image)[0].copy()
        model.close()
    return found[np.newaxis]
