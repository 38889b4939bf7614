"""Operators and weights of an ONNX file, read without any package.

The numbers of fields are those of ``onnx.proto`` (github.com/onnx/onnx, IR version 3 to
13). `check_onnx` has looked through such a file before; this takes it apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.inference._protobuf import block, fields, packed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

_FLOAT, _INT, _TEXT, _TENSOR, _FLOATS, _INTS, _TEXTS = 1, 2, 3, 4, 6, 7, 8
_DTYPES = {
    1: "<f4",
    2: "u1",
    3: "i1",
    4: "<u2",
    5: "<i2",
    6: "<i4",
    7: "<i8",
    9: "?",
    10: "<f2",
    11: "<f8",
    12: "<u4",
    13: "<u8",
    16: "<u2",
}
BFLOAT16 = 16


@dataclass(frozen=True, slots=True)
class Tensor:
    """Numbers of a file.

    Attributes
    ----------
    values : ndarray
        In their shape; bfloat16 as its 16 bits.
    kind : int
        Type as ONNX counts them.
    """

    values: NDArray[Any]
    kind: int


@dataclass(frozen=True, slots=True)
class Node:
    """One operator of a network.

    Attributes
    ----------
    operator : str
        Name, with its domain where it is not a standard one.
    inputs, outputs : tuple of str
        Names of tensors; empty where one is left out.
    attributes : mapping
        int, float, str, `Tensor`, or tuples of them; None for what else there is, such
        as networks inside of a node.
    name : str
        As the exporter called it.
    """

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""


@dataclass(frozen=True, slots=True)
class Network:
    """Nodes in the order in which they can be run, and the weights by name."""

    nodes: tuple[Node, ...]
    weights: Mapping[str, Tensor]


def read_network(content: bytes) -> Network:
    """Take an ONNX file apart.

    Raises
    ------
    ValueError, IndexError
        It is damaged, or holds a kind of number that is not known.
    """
    nodes: list[Node] = []
    weights: dict[str, Tensor] = {}
    for number, value in fields(content):
        if number != 7:
            continue
        for part, item in fields(block(value)):
            if part == 1:
                nodes.append(_node(block(item)))
            elif part == 5:
                name, tensor = _tensor(block(item))
                weights[name] = tensor
            elif part == 15:
                raise ValueError("sparse weights")
    return Network(tuple(nodes), weights)


def _text(value: int | memoryview) -> str:
    return bytes(block(value)).decode("utf-8", errors="replace")


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


def _whole(value: int | memoryview) -> list[int]:
    """One number, or several that are packed."""
    found = [value] if isinstance(value, int) else packed(value)
    return [_signed(number) for number in found]


def _node(data: memoryview) -> Node:
    inputs: list[str] = []
    outputs: list[str] = []
    attributes: dict[str, Any] = {}
    told = {3: "", 4: "", 7: ""}
    for number, value in fields(data):
        if number == 1:
            inputs.append(_text(value))
        elif number == 2:
            outputs.append(_text(value))
        elif number == 5:
            name, content = _attribute(block(value))
            attributes[name] = content
        elif number in told:
            told[number] = _text(value)
    domain = "" if told[7] in ("", "ai.onnx") else f"{told[7]}."
    return Node(
        domain + told[4], tuple(inputs), tuple(outputs), attributes, name=told[3]
    )


def _attribute(data: memoryview) -> tuple[str, Any]:
    name, kind = "", 0
    found: dict[int, Any] = {_FLOATS: [], _INTS: [], _TEXTS: []}
    for number, value in fields(data):
        if number == 1:
            name = _text(value)
        elif number == 2:
            found[_FLOAT] = float(np.frombuffer(block(value), "<f4")[0])
        elif number == 3:
            (found[_INT],) = _whole(value)
        elif number == 4:
            found[_TEXT] = _text(value)
        elif number == 5:
            found[_TENSOR] = _tensor(block(value))[1]
        elif number == 7:
            found[_FLOATS] += np.frombuffer(block(value), "<f4").tolist()
        elif number == 8:
            found[_INTS] += _whole(value)
        elif number == 9:
            found[_TEXTS].append(_text(value))
        elif number == 20:
            (kind,) = _whole(value)
    content = found.get(kind)
    return name, tuple(content) if isinstance(content, list) else content


def _tensor(data: memoryview) -> tuple[str, Tensor]:
    """Name and numbers of a tensor."""
    dims: list[int] = []
    name, kind = "", 0
    parts: list[NDArray[Any]] = []
    for number, value in fields(data):
        if number == 1:
            dims += _whole(value)
        elif number == 2:
            (kind,) = _whole(value)
        elif number == 4:
            parts.append(np.frombuffer(block(value), "<f4"))
        elif number in (5, 7):
            parts.append(np.array(_whole(value), np.int64))
        elif number == 8:
            name = _text(value)
        elif number == 9:
            parts.append(np.frombuffer(block(value), np.uint8))
        elif number == 10:
            parts.append(np.frombuffer(block(value), "<f8"))
        elif number == 11:
            whole = [value] if isinstance(value, int) else packed(value)
            parts.append(np.array(whole, np.uint64))
    if kind not in _DTYPES:
        raise ValueError(f"'{name}' holds numbers of kind {kind}")
    return name, Tensor(_shaped(parts, dims, kind), kind)


def _shaped(parts: list[NDArray[Any]], dims: list[int], kind: int) -> NDArray[Any]:
    dtype = np.dtype(_DTYPES[kind])
    flat = np.concatenate(parts) if parts else np.zeros(0, dtype)
    if flat.dtype == np.uint8 and flat.size == math.prod(dims) * dtype.itemsize:
        # As bytes, the way nearly all files are written.
        flat = flat.view(dtype)
    elif kind in (10, BFLOAT16):
        # Sixteen bits in a wider number.
        flat = flat.astype(np.uint16).view(dtype)
    # A copy of its own: torch wants memory that can be written to.
    return np.array(flat, dtype).reshape(dims)
