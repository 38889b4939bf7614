"""A look into an ONNX file without running it: is it whole, and what does it take.

The file is a protocol buffer; its field numbers are those of ``onnx.proto``
(github.com/onnx/onnx, IR version 3 to 13). Walking it takes no package and executes
nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from smartscope.inference._document import refusal
from smartscope.inference._protobuf import block, fields, packed
from smartscope.inference._protocol import Port

if TYPE_CHECKING:
    from smartscope.core import ModelError

DTYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    16: "bfloat16",
}
"""NumPy's names of the types of ONNX tensors."""
_ITEM_BYTES = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 16: 2}
_DEEPEST = 32
_FIX = "fetch or export the file again"


@dataclass(frozen=True, slots=True)
class OnnxFacts:
    """What an ONNX file says about itself.

    Attributes
    ----------
    inputs, outputs : tuple of Port
        Without the weights, which old files list among the inputs.
    opset : int
        Version of the standard operators.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    opset: int


def check_onnx(content: bytes, file: str) -> OnnxFacts:
    """Look through an ONNX file.

    Raises
    ------
    ModelError
        It is no ONNX file, cut off, names files outside of itself, or a weight is not
        a number.
    """
    try:
        return _model(memoryview(content), file)
    except (ValueError, RecursionError) as error:
        raise refusal(
            f"cannot be read as ONNX: it is damaged or cut off ({error})",
            file=file,
            fix=_FIX,
        ) from error


def _number(value: int | memoryview) -> int:
    if not isinstance(value, int):
        raise ValueError("a message where a number belongs")
    return value


def _text(value: int | memoryview) -> str:
    return bytes(block(value)).decode("utf-8", errors="replace")


def _model(data: memoryview, file: str) -> OnnxFacts:
    graph: memoryview | None = None
    opset = 0
    for number, value in fields(data):
        if number == 7:
            graph = block(value)
        elif number == 8:
            opset = max(opset, _opset(block(value)))
    if graph is None:
        raise ValueError("there is no network in it")
    inputs: list[Port] = []
    outputs: list[Port] = []
    weights = set()
    for number, value in fields(graph):
        if number == 5:
            weights.add(_tensor(block(value), file))
        elif number in (11, 12):
            (inputs if number == 11 else outputs).append(_port(block(value)))
    _nodes(graph, file, 0)
    real = tuple(port for port in inputs if port.name not in weights)
    if not real or not outputs:
        raise ValueError("the network has no input or no output")
    return OnnxFacts(real, tuple(outputs), opset)


def _opset(data: memoryview) -> int:
    domain, version = "", 0
    for number, value in fields(data):
        if number == 1:
            domain = _text(value)
        elif number == 2:
            version = _number(value)
    return version if domain in ("", "ai.onnx") else 0


def _nodes(graph: memoryview, file: str, depth: int) -> None:
    """Look at the tensors inside nodes, also those of graphs inside nodes."""
    if depth > _DEEPEST:
        raise ValueError("graphs inside graphs without end")
    for number, value in fields(graph):
        if number == 5 and depth:
            _tensor(block(value), file)
        if number != 1:
            continue
        for part, node in fields(block(value)):
            if part != 5:
                continue
            for place, attribute in fields(block(node)):
                if place in (5, 10):
                    _tensor(block(attribute), file)
                elif place in (6, 11):
                    _nodes(block(attribute), file, depth + 1)


def _port(data: memoryview) -> Port:
    """Name, shape and type of an input or output."""
    name, dtype = "", ""
    shape: tuple[int | None, ...] = ()
    for number, value in fields(data):
        if number == 1:
            name = _text(value)
        elif number == 2:
            for kind, tensor in fields(block(value)):
                if kind == 1:
                    dtype, shape = _type(block(tensor))
    return Port(name, shape, dtype)


def _type(data: memoryview) -> tuple[str, tuple[int | None, ...]]:
    dtype = ""
    shape: list[int | None] = []
    for number, value in fields(data):
        if number == 1:
            dtype = DTYPES.get(_number(value), "")
        elif number == 2:
            for _, dimension in fields(block(value)):
                sizes = [_number(v) for n, v in fields(block(dimension)) if n == 1]
                # Some exporters write -1 or 0 for "any".
                known = bool(sizes) and 0 < sizes[0] < 2**62
                shape.append(sizes[0] if known else None)
    return dtype, tuple(shape)


def _tensor(data: memoryview, file: str) -> str:
    """Name of a tensor of weights, looked through; raises `ModelError`."""
    dims: list[int] = []
    name, kind = "", 0
    raw: memoryview | None = None
    for number, value in fields(data):
        if number == 1:
            dims += [value] if isinstance(value, int) else packed(value)
        elif number == 2:
            kind = _number(value)
        elif number == 8:
            name = _text(value)
        elif number in (4, 10):
            # A single float may stand alone; several are packed.
            wide = 4 if number == 4 else 8
            _finite(name, np.frombuffer(block(value), f"<f{wide}"), file)
        elif number == 9:
            raw = block(value)
        elif number == 13 or (number == 14 and value == 1):
            raise refusal(
                f"the weights '{name}' are in a file outside of it",
                file=file,
                fix="save the network as one file",
            )
    if raw is not None and kind in _ITEM_BYTES:
        if math.prod(dims) * _ITEM_BYTES[kind] != len(raw):
            raise ValueError(f"'{name}' has {len(raw)} bytes for {dims} values")
        _finite(name, _floats(raw, kind), file)
    return name


def _floats(raw: memoryview, kind: int) -> np.ndarray[tuple[int, ...], np.dtype]:
    if kind in (1, 10, 11):
        return np.frombuffer(raw, {1: "<f4", 10: "<f2", 11: "<f8"}[kind])
    if kind == 16:
        # The upper half of a float32.
        return (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4")
    return np.zeros(0)


def _finite(
    name: str, values: np.ndarray[tuple[int, ...], np.dtype], file: str
) -> None:
    # Infinity is a limit or a mask in sound networks; what is no number never is.
    if np.isnan(values).any():
        raise _not_numbers(name, file)


def _not_numbers(name: str, file: str) -> ModelError:
    return refusal(
        f"the weights '{name}' hold values that are not numbers",
        file=file,
        fix="train or fetch the model again",
    )
