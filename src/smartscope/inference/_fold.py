"""Put pre- and post-processing into the network, so that they run where it runs.

A camera gives bytes, a network wants scaled floats. Folded, the bytes of the frame are
the input: they cross to the card at half or a quarter of the size, and no array is made
of them on the way. Statistics of a frame (percentiles, mean) stay with the host, which
has a histogram sooner than a card; they enter as one gain and one offset per channel,
and may come from the frame before.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from smartscope.core import ModelError
from smartscope.inference._document import refusal
from smartscope.inference._fold_graph import (
    GraphWriter,
    Place,
    dims_of,
    write_operation,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from smartscope.inference._operations import Operation

FRAME, GAIN, OFFSET = "frame", "gain", "offset"
"""Names of the inputs of a folded network."""
SCORE, INDEX = "peak_score", "peak_index"
"""Names of the outputs that peaks come as."""

_MOST_PEAKS = 3840
"""TensorRT's TopK gives no more."""


@dataclass(frozen=True, slots=True)
class Peaks:
    """Local maxima in place of a heat map: kilobytes come back, not the map.

    Attributes
    ----------
    output, channel : int
        Where the map is.
    distance_px : int
        A peak is the largest within this distance along both axes.
    threshold : float
        Lower ones are left out.
    most : int
        Number of places given back, best first; those that hold no peak score 0.
    """

    output: int = 0
    channel: int = 0
    distance_px: int = 1
    threshold: float = 0.5
    most: int = 512


@dataclass(frozen=True, slots=True)
class Folding:
    """What goes into the network, and what its tensors then are.

    Attributes
    ----------
    camera : ``uint8``, ``uint16`` or None
        Pixels of the raw frame, which become the input `FRAME`: the axes of the
        network's own input with one more at the end for the bytes, low one first. None
        leaves the input as it is.
    order : str
        Axes of the network's input, such as ``bcyx``.
    preprocessing : tuple of Operation
        From raw frame to network; only with `camera`. What of it is a multiplication
        and an addition per channel comes in by the inputs `GAIN` and `OFFSET`.
    postprocessing : tuple of tuple of Operation
        For each output, from network to result. All of them run before `keep`.
    orders : tuple of str
        Axes of each output; missing ones are as `order`.
    keep : mapping of int to (tuple of int or None)
        Outputs given back, in this order, and channels of each, None for all. Empty
        keeps everything.
    peaks : Peaks or None
        Local maxima of a map, in place of that output; the first channel axis of
        `keep` does not touch them.
    """

    camera: Literal["uint8", "uint16"] | None = None
    order: str = "bcyx"
    preprocessing: tuple[Operation, ...] = ()
    postprocessing: tuple[tuple[Operation, ...], ...] = ()
    orders: tuple[str, ...] = ()
    keep: Mapping[int, tuple[int, ...] | None] = field(default_factory=dict)
    peaks: Peaks | None = None

    def text(self) -> str:
        """All of it as one line of JSON, for cache keys and for people."""
        after = [[_told(op) for op in ops] for ops in self.postprocessing]
        told = {
            "camera": self.camera,
            "order": self.order,
            "preprocessing": [_told(op) for op in self.preprocessing],
            "postprocessing": after,
            "orders": list(self.orders),
            "keep": [[k, v] for k, v in self.keep.items()],
            "peaks": None
            if self.peaks is None
            else [getattr(self.peaks, name) for name in Peaks.__slots__],
        }
        return json.dumps(told, sort_keys=True, default=str)


def _told(operation: Operation) -> list[Any]:
    return [operation.name, dict(operation.settings)]


def scaling(operations: Sequence[Operation]) -> int:
    """How many of the first operations are one multiplication and one addition.

    They become the inputs `GAIN` and `OFFSET`. Only the first may look at the image:
    a later one would look at what the others made of it.
    """
    before = False
    for count, operation in enumerate(operations):
        if operation.affine is None or (before and not operation.constant):
            return count
        before = before or not operation.identity
    return len(operations)


def foldable(
    preprocessing: Sequence[Operation], postprocessing: Sequence[Operation]
) -> tuple[bool, int]:
    """How much of the processing a graph can take.

    Returns
    -------
    tuple of bool and int
        Whether all of `preprocessing` can be folded (a part of it is of no use: the
        frame would have to come back to the host), and how many of `postprocessing`
        can, from its beginning.
    """
    before = all(_writable(op) for op in preprocessing[scaling(preprocessing) :])
    after = 0
    for operation in postprocessing:
        if not _writable(operation):
            break
        after += 1
    return before, after


def frame_scale(
    folding: Folding, frame: NDArray[Any]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Gain and offset of a raw frame, for the inputs `GAIN` and `OFFSET`.

    Parameters
    ----------
    folding : Folding
        With its pre-processing.
    frame : ndarray (c, [z,] y, x)
        As the camera gave it, of its own number type: 8- and 16-bit counts are counted,
        not sorted. The frame before, or every second pixel, often does as well.

    Returns
    -------
    tuple of ndarray (c,) float32
        Gain and offset.
    """
    gain = np.ones(frame.shape[0], dtype=np.float32)
    offset = np.zeros_like(gain)
    for operation in folding.preprocessing[: scaling(folding.preprocessing)]:
        if operation.affine is not None and not operation.identity:
            more, plus = operation.affine(frame)
            gain, offset = gain * more, offset * more + plus
    return gain, offset


def _writable(operation: Operation) -> bool:
    """Whether this operation with these settings has a counterpart in a graph."""
    try:
        write_operation(operation, Place(0, 2), GraphWriter("trial"), "value")
    except ModelError:
        return False
    return True


def fold(model: Any, folding: Folding, file: str) -> Any:
    """Return the network with its processing inside.

    Parameters
    ----------
    model : onnx.ModelProto
        One input; float32 tensors at both ends (a half precision or quantised network
        keeps them). It is not changed.
    folding : Folding
        What to put in.
    file : str
        Its name, for messages.

    Raises
    ------
    ModelError
        An operation has no counterpart in a graph, or the network has not the inputs
        and outputs that `folding` speaks of.
    """
    import onnx

    _check_opset(model, folding, file)
    folded = onnx.ModelProto()
    folded.CopyFrom(model)
    inputs = inputs_of(folded)
    if len(inputs) != 1:
        names = ", ".join(i.name for i in inputs) or "none"
        raise refusal(
            f"processing can be folded into networks with one input, not {names}",
            file=file,
            fix="use the model unfolded",
        )
    if folding.camera is not None:
        _before(folded.graph, inputs[0], folding, file)
    elif folding.preprocessing:
        raise refusal("'preprocessing' is folded with 'camera' only", file=file)
    _after(folded.graph, folding, file)
    return folded


def _check_opset(model: Any, folding: Folding, file: str) -> None:
    """Old operators of the same name do something else."""
    names = {op.name for ops in folding.postprocessing for op in ops}
    names |= {op.name for op in folding.preprocessing}
    needs = 13 if "softmax" in names else 11 if folding.peaks is not None else 9
    has = max((o.version for o in model.opset_import if o.domain == ""), default=0)
    if has < needs:
        raise refusal(
            f"this processing needs operator set {needs}, the network has {has}",
            file=file,
            fix="export the model anew with opset 17",
        )


def inputs_of(model: Any) -> list[Any]:
    """Inputs of an ONNX model that are not its weights."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return [port for port in model.graph.input if port.name not in constants]


# -- before the network ---------------------------------------------------------------


def _before(graph: Any, port: Any, folding: Folding, file: str) -> None:
    from onnx import TensorProto, helper

    if port.type.tensor_type.elem_type != TensorProto.FLOAT:
        raise refusal(
            f"the camera can be folded in before float32, '{port.name}' is not",
            file=file,
            fix="export the model with float32 input",
        )
    rank = len(port.type.tensor_type.shape.dim)
    if rank != len(folding.order):
        raise refusal(
            f"the input has {rank} axes, the package says '{folding.order}'",
            file=file,
            fix="correct the axes",
        )
    writer = GraphWriter()
    value = _number_of_bytes(writer, folding.camera or "uint16")
    place = Place.of(port, folding.order)
    value = _gain_and_offset(writer, value, rank, place.axis)
    for operation in folding.preprocessing[scaling(folding.preprocessing) :]:
        value = write_operation(operation, place, writer, value)
    writer.add("Identity", [value], port.name)
    frame = helper.make_tensor_value_info(
        FRAME,
        TensorProto.UINT8,
        [*dims_of(port), 1 if folding.camera == "uint8" else 2],
    )
    rows = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [place.channels])
        for name in (GAIN, OFFSET)
    ]
    kept = [p for p in graph.input if p.name != port.name]
    _no_clash(graph, {FRAME, GAIN, OFFSET}, file)
    del graph.input[:]
    graph.input.extend([frame, *rows, *kept])
    nodes = [*writer.nodes, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(writer.constants)


def _number_of_bytes(writer: GraphWriter, camera: str) -> str:
    """Little endian bytes to float32; exact, 65535 has 16 of the 24 bits."""
    value = writer.add("Cast", [FRAME], to=1)
    low = writer.add("Gather", [value, writer.index(0)], axis=-1)
    if camera == "uint8":
        return low
    high = writer.add("Gather", [value, writer.index(1)], axis=-1)
    scaled = writer.add("Mul", [high, writer.number(256.0)])
    return writer.add("Add", [scaled, low])


def _gain_and_offset(writer: GraphWriter, value: str, rank: int, place: int) -> str:
    shape = [1] * rank
    shape[place] = -1
    target = writer.shape(shape)
    gain = writer.add("Reshape", [GAIN, target])
    offset = writer.add("Reshape", [OFFSET, target])
    return writer.add("Add", [writer.add("Mul", [value, gain]), offset])


def _no_clash(graph: Any, names: set[str], file: str) -> None:
    used = {t.name for t in graph.initializer} | {o.name for o in graph.output}
    used |= {name for node in graph.node for name in node.output}
    taken = sorted(names & used)
    if taken:
        raise refusal(
            f"the network has a tensor called '{taken[0]}' already",
            file=file,
            fix="rename it in the export, or use the model unfolded",
        )


# -- after the network ----------------------------------------------------------------


def _after(graph: Any, folding: Folding, file: str) -> None:
    from onnx import TensorProto, helper

    ports = list(graph.output)
    keep = dict(folding.keep) or dict.fromkeys(range(len(ports)))
    wanted = {*keep, *range(len(folding.postprocessing))}
    if folding.peaks is not None:
        wanted.add(folding.peaks.output)
    for number in wanted:
        if number >= len(ports):
            raise refusal(f"there is no output {number}", file=file)
    writer, result = GraphWriter("after"), []
    for number, channels in keep.items():
        port = ports[number]
        value, at = _finished(writer, port, number, folding)
        if folding.peaks is not None and folding.peaks.output == number:
            _check_peaks(port, folding.peaks, file)
            _peaks(writer, value, at, folding.peaks)
            most = [folding.peaks.most]
            result += [
                helper.make_tensor_value_info(SCORE, TensorProto.FLOAT, most),
                helper.make_tensor_value_info(INDEX, TensorProto.INT32, most),
            ]
            continue
        dims = dims_of(port)
        if channels is not None:
            index = writer.shape(channels)
            value = writer.add("Gather", [value, index], axis=at.axis)
            dims[at.axis] = len(channels)
        kind = port.type.tensor_type.elem_type
        result.append(helper.make_tensor_value_info(value, kind, dims))
    del graph.output[:]
    graph.output.extend(result)
    graph.node.extend(writer.nodes)
    graph.initializer.extend(writer.constants)


def _finished(
    writer: GraphWriter, port: Any, number: int, folding: Folding
) -> tuple[str, Place]:
    """Post-process one output; its name afterwards, and where its channels are."""
    orders, steps = folding.orders, folding.postprocessing
    order = orders[number] if number < len(orders) else folding.order
    at, value = Place.of(port, order), port.name
    for operation in steps[number] if number < len(steps) else ():
        value = write_operation(operation, at, writer, value)
    return value, at


def _check_peaks(port: Any, peaks: Peaks, file: str) -> None:
    sizes = [d for d in dims_of(port)[-2:] if isinstance(d, int)]
    room = int(np.prod(sizes)) if len(sizes) == 2 else _MOST_PEAKS
    if not 1 <= peaks.most <= min(room, _MOST_PEAKS):
        raise refusal(
            f"{peaks.most} peaks cannot be given back",
            file=file,
            fix=f"ask for 1 to {min(room, _MOST_PEAKS)}",
        )


def _peaks(writer: GraphWriter, value: str, at: Place, peaks: Peaks) -> None:
    if (at.axis, at.behind) != (1, 2):
        raise ModelError("peaks are found in maps of axes bcyx only")
    chosen = writer.add("Gather", [value, writer.shape([peaks.channel])], axis=1)
    reach = 2 * peaks.distance_px + 1
    highest = writer.add(
        "MaxPool",
        [chosen],
        kernel_shape=[reach, reach],
        pads=[peaks.distance_px] * 4,
        strides=[1, 1],
    )
    lower = writer.add("Less", [chosen, highest])
    strong = writer.add("Greater", [chosen, writer.number(peaks.threshold)])
    is_peak = writer.add("And", [writer.add("Not", [lower]), strong])
    scores = writer.add("Where", [is_peak, chosen, writer.number(0.0)])
    flat = writer.add("Reshape", [scores, writer.shape([-1])])
    names = [SCORE, "after/index64"]
    writer.add_several("TopK", [flat, writer.shape([peaks.most])], names, axis=0)
    writer.add("Cast", [names[1]], INDEX, to=6)
