"""Whole numbers of 8 bits in place of floats, where convolutions spend their time.

Static, per channel for weights. TensorRT takes symmetric signed activations only;
OpenVINO 2026.4 computes something else with those behind a Concat (a fifth off, where
ONNX Runtime is 1 % off), and is right and quicker with unsigned ones. So a file is for
one of the two. The first convolution and the heads stay float, because an image and a
result lose most by it; biases stay float, because TensorRT takes no others. Scales of
activations minimise the squared error over the calibration images (the criterion of
Nagel et al., "A white paper on neural network quantization", 2021, section 2.2).
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from smartscope.inference._document import refusal
from smartscope.inference._ort import errors_of
from smartscope.inference._runtime import not_loaded, short

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_BINS = 2048
_LEVELS = {"int8": 127.0, "fp8": 448.0}
_OPSET = {"int8": 13, "fp8": 19}
_LEAST_IMAGES = 1


def quantise(
    content: bytes,
    images: Sequence[Sequence[NDArray[Any]]],
    *,
    file: str = "",
    kind: Literal["int8", "fp8"] = "int8",
    unsigned: bool = True,
) -> bytes:
    """Quantise the inner convolutions of an ONNX network.

    Parameters
    ----------
    content : bytes
        The ONNX file, float32.
    images : sequence of sequence of ndarray
        Calibration: for each image the tensors of all inputs, as the network takes them
        (after pre-processing). Eight to thirty that look like the experiment.
    file : str
        Its name, for messages.
    kind : ``int8`` or ``fp8``
        ``fp8`` is e4m3, for cards from Ada on.
    unsigned : bool
        For ``int8``: activations as unsigned bytes, for OpenVINO and ONNX Runtime on a
        CPU; where they are never negative they get twice the steps. TensorRT wants
        False.

    Returns
    -------
    bytes
        An ONNX file with QuantizeLinear and DequantizeLinear around those
        convolutions; every runtime that reads ONNX gives about the same numbers.

    Raises
    ------
    ModelError
        No images, no convolution inside, or the network fails on an image.
    """
    import onnx

    if len(images) < _LEAST_IMAGES:
        raise refusal(
            f"{kind} needs calibration images",
            file=file,
            fix="give a few that look like the experiment",
        )
    model = _raised(_simplified(content, file), _OPSET[kind], file)
    convolutions = inner_convolutions(model)
    if not convolutions:
        raise refusal(
            "there is no convolution between the first and the heads to quantise",
            file=file,
            fix="use fp16",
        )
    names = list(dict.fromkeys(node.input[0] for node in convolutions))
    ranges = _calibrated(model, names, images, file)
    grids = {name: found.grid(kind, unsigned) for name, found in ranges.items()}
    _insert(model, convolutions, grids, kind)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def to_half(content: bytes, *, file: str = "") -> bytes:
    """Convert an ONNX network to half precision; its inputs and outputs stay float32.

    Normalisations and sums over an image stay float32 as well: half precision ends at
    65504.

    Raises
    ------
    ModelError
        The converter does not know what to do with the network.
    """
    import warnings

    import onnx
    from onnxruntime.transformers import float16

    keep = [
        *(*float16.DEFAULT_OP_BLOCK_LIST, "InstanceNormalization", "GlobalAveragePool"),
        *("GroupNormalization", "LayerNormalization", "ReduceMean", "ReduceSum"),
        *("ReduceSumSquare", "ReduceL2", "Pow", "QuantizeLinear", "DequantizeLinear"),
    ]
    try:
        with warnings.catch_warnings():
            # One for each weight below the smallest half; they become 0, as they may.
            warnings.simplefilter("ignore")
            model = float16.convert_float_to_float16(
                onnx.load_model_from_string(content),
                keep_io_types=True,
                op_block_list=keep,
            )
    except (ValueError, RuntimeError, KeyError, AttributeError) as error:
        raise refusal(
            f"it cannot be converted to half precision ({error})",
            file=file,
            fix="use fp32",
        ) from error
    return bytes(model.SerializeToString())


def inner_convolutions(model: Any) -> list[Any]:
    """Convolutions with one before and one after them, in order.

    Parameters
    ----------
    model : onnx.ModelProto
        Nodes in topological order, as ONNX demands.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    kinds = ("Conv", "ConvTranspose")
    after: set[str] = set()
    before: set[str] = set()
    later: set[int] = set()
    for number, node in enumerate(model.graph.node):
        reached = any(name in after for name in node.input)
        if reached:
            later.add(number)
        if reached or node.op_type in kinds:
            after.update(node.output)
    inner = []
    for number in reversed(range(len(model.graph.node))):
        node = model.graph.node[number]
        leads = any(name in before for name in node.output)
        known = node.op_type == "Conv" and node.input[1] in constants
        if known and leads and number in later:
            inner.append(node)
        if leads or node.op_type in kinds:
            before.update(node.input)
    return inner[::-1]


def _simplified(content: bytes, file: str) -> Any:
    """Fold constants and batch normalisations, in plain ONNX operators."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_BASIC
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "simple.onnx"
        options.optimized_model_filepath = str(path)
        _session(content, options, file)
        model = onnx.load_model_from_string(path.read_bytes())
    used = {node.domain for node in model.graph.node}
    kept = [o for o in model.opset_import if o.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    return model


def _session(content: bytes, options: Any, file: str) -> Any:
    import onnxruntime

    try:
        return onnxruntime.InferenceSession(
            content, sess_options=options, providers=["CPUExecutionProvider"]
        )
    except errors_of(onnxruntime) as error:
        raise not_loaded("ONNX Runtime", file, error) from error


def _raised(model: Any, opset: int, file: str) -> Any:
    """Raise the operator set to what the quantising operators need."""
    from onnx import version_converter

    now = next((o.version for o in model.opset_import if o.domain == ""), 0)
    if now >= opset:
        return model
    try:
        return version_converter.convert_version(model, opset)
    except RuntimeError as error:
        raise refusal(
            f"it is of operator set {now} and cannot be raised to {opset}",
            file=file,
            fix=f"export it anew with opset {max(opset, 17)}",
        ) from error


@dataclass(slots=True)
class _Range:
    """Absolute values of one tensor over all images."""

    largest: float
    counts: NDArray[np.int64]
    negative: bool = False

    def grid(self, kind: str, unsigned: bool) -> tuple[float, NDArray[Any]]:
        """Step, and what stands for 0."""
        if kind == "fp8":
            # Floats have fine steps near 0: only the largest value matters.
            return (self.largest or 1.0) / _LEVELS[kind], _eight_bits(
                np.zeros(()), kind
            )
        if not unsigned:
            return self._step(_LEVELS[kind]), np.zeros((), np.int8)
        if self.negative:
            return self._step(_LEVELS[kind]), np.full((), 128, np.uint8)
        return self._step(255.0), np.zeros((), np.uint8)

    def _step(self, levels: float) -> float:
        """Step of a grid around 0 with the least squared error over all values."""
        if self.largest == 0:
            return 1.0
        centres = (np.arange(_BINS) + 0.5) * self.largest / _BINS
        steps = self.largest * np.linspace(0.3, 1.0, 71) / levels
        grid = np.minimum(np.round(centres / steps[:, None]), levels) * steps[:, None]
        errors = ((centres - grid) ** 2 * self.counts).sum(axis=1)
        return float(steps[int(errors.argmin())])


def _calibrated(
    model: Any,
    names: list[str],
    images: Sequence[Sequence[NDArray[Any]]],
    file: str,
) -> dict[str, _Range]:
    """Values of each tensor; two passes, of which the first finds the largest."""
    import onnx
    import onnxruntime

    open_model = onnx.ModelProto()
    open_model.CopyFrom(model)
    there = {port.name for port in open_model.graph.output}
    open_model.graph.output.extend(
        onnx.ValueInfoProto(name=name) for name in names if name not in there
    )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = _session(open_model.SerializeToString(), options, file)
    ports = [port.name for port in session.get_inputs()]
    ranges = {name: _Range(0.0, np.zeros(_BINS, dtype=np.int64)) for name in names}
    for histogram in (False, True):
        for tensors in images:
            feed = dict(zip(ports, tensors, strict=False))
            _count(_ran(session, names, feed, file), ranges, names, histogram)
    return ranges


def _ran(session: Any, names: list[str], feed: Any, file: str) -> list[Any]:
    import onnxruntime

    try:
        return list(session.run(names, feed))
    except errors_of(onnxruntime) as error:
        raise refusal(
            f"a calibration image fails ({short(error)})",
            file=file,
            fix="give tensors of the size and number of channels of the network",
        ) from error


def _count(
    tensors: list[Any], ranges: dict[str, _Range], names: list[str], histogram: bool
) -> None:
    for name, tensor in zip(names, tensors, strict=True):
        found = ranges[name]
        size = np.abs(tensor)
        if not histogram:
            found.largest = max(found.largest, float(size.max()))
            found.negative = found.negative or float(tensor.min()) < 0
        elif found.largest > 0:
            # An exact 0, as ReLU gives, has no error at any step.
            inside = (0.0, found.largest)
            found.counts += np.histogram(size[size > 0], bins=_BINS, range=inside)[0]


def _insert(
    model: Any,
    convolutions: list[Any],
    grids: dict[str, tuple[float, NDArray[Any]]],
    kind: str,
) -> None:
    """Put the pair of operators before the activation and weights of each."""
    from onnx import helper, numpy_helper

    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    pairs: dict[str, tuple[str, list[Any]]] = {}
    ready: dict[str, list[Any]] = {}
    for number, node in enumerate(convolutions):
        value = node.input[0]
        nodes: list[Any] = []
        if value not in pairs:
            at = f"quantise/activation_{len(pairs)}"
            step, zero = grids[value]
            ends = [f"{at}/scale", f"{at}/zero"]
            for name, array in zip(ends, (np.float32(step), zero), strict=True):
                constant = numpy_helper.from_array(np.asarray(array), name)
                graph.initializer.append(constant)
            nodes += [
                helper.make_node("QuantizeLinear", [value, *ends], [at], name=at),
                helper.make_node(
                    "DequantizeLinear", [at, *ends], [f"{at}/float"], name=f"{at}/back"
                ),
            ]
            pairs[value] = f"{at}/float", nodes
        nodes.append(_weights(graph, weights[node.input[1]], number, kind))
        ready[node.output[0]] = nodes
        node.input[0] = pairs[value][0]
        node.input[1] = nodes[-1].output[0]
    kept = [
        part for node in graph.node for part in (*ready.get(node.output[0], ()), node)
    ]
    used = {name for node in kept for name in node.input}
    remaining = [tensor for tensor in graph.initializer if tensor.name in used]
    _replace(graph.node, kept)
    _replace(graph.initializer, remaining)


def _replace(field: Any, values: list[Any]) -> None:
    copies = []
    for value in values:
        copy = type(value)()
        copy.CopyFrom(value)
        copies.append(copy)
    del field[:]
    field.extend(copies)


def _weights(graph: Any, tensor: Any, number: int, kind: str) -> Any:
    """Quantise weights per output channel; the node that makes them float again."""
    from onnx import helper, numpy_helper

    values = numpy_helper.to_array(tensor).astype(np.float32)
    largest = np.abs(values).reshape(len(values), -1).max(axis=1)
    scale = np.where(largest > 0, largest, 1.0).astype(np.float32) / _LEVELS[kind]
    scaled = values / scale.reshape(-1, *[1] * (values.ndim - 1))
    at = f"quantise/weights_{number}"
    zeros = _eight_bits(np.zeros(len(values)), kind)
    graph.initializer.extend(
        [
            numpy_helper.from_array(_eight_bits(scaled, kind), at),
            numpy_helper.from_array(scale.astype(np.float32), f"{at}/scale"),
            numpy_helper.from_array(zeros, f"{at}/zero"),
        ]
    )
    names = [at, f"{at}/scale", f"{at}/zero"]
    return helper.make_node(
        "DequantizeLinear", names, [f"{at}/float"], name=f"{at}/back", axis=0
    )


def _eight_bits(values: NDArray[Any], kind: str) -> NDArray[Any]:
    if kind == "int8":
        return np.clip(np.round(values), -127, 127).astype(np.int8)
    import ml_dtypes

    found: NDArray[Any] = np.clip(values, -448, 448).astype(ml_dtypes.float8_e4m3fn)
    return found
