"""Operations as nodes of an ONNX graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.core import ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from smartscope.inference._operations import Operation


@dataclass(frozen=True, slots=True)
class Place:
    """Where the channels, or the frames of a window, are in a tensor.

    Attributes
    ----------
    axis, behind : int
        Number of their axis, and of the axes after it.
    channels : int
        How many; 1 where the network leaves it open.
    """

    axis: int
    behind: int
    channels: int = 1

    @classmethod
    def of(cls, port: Any, order: str) -> Place:
        """Of a tensor with axes in this order."""
        axis = max(order.find("c"), order.find("t") if "c" not in order else -1, 0)
        size = dims_of(port)[axis]
        return cls(axis, len(order) - 1 - axis, size if isinstance(size, int) else 1)


def write_operation(
    operation: Operation, at: Place, writer: GraphWriter, value: str
) -> str:
    """Write one operation; the name of its result."""
    settings, name = operation.settings, operation.name
    if operation.affine is not None and operation.constant:
        return _affine(operation, at, writer, value)
    if name == "clip" and not {"min_percentile", "max_percentile"} & set(settings):
        for key, kind in (("min", "Max"), ("max", "Min")):
            if settings.get(key) is not None:
                value = writer.add(kind, [value, writer.number(settings[key])])
        return value
    if name == "sigmoid":
        return writer.add("Sigmoid", [value])
    if name == "softmax" and settings.get("axis", "channel") in ("channel", "c"):
        return writer.add("Softmax", [value], axis=at.axis)
    if name == "binarize" and settings.get("axis") in (None, "channel", "c"):
        threshold = writer.number(settings.get("threshold"), at.behind)
        return writer.add("Cast", [writer.add("Greater", [value, threshold])], to=1)
    if name == "ensure_dtype":
        return _rounded(str(settings.get("dtype")), writer, value)
    raise ModelError(f"the operation '{name}' cannot be folded into a network")


def _affine(operation: Operation, at: Place, writer: GraphWriter, value: str) -> str:
    """Write gain and offset that are known beforehand."""
    if operation.identity or operation.affine is None:
        return value
    gain, offset = operation.affine(np.zeros((at.channels, 1, 1), dtype=np.float32))
    if (gain != 1).any():
        value = writer.add("Mul", [value, writer.number(gain, at.behind)])
    if (offset != 0).any():
        value = writer.add("Add", [value, writer.number(offset, at.behind)])
    return value


def _rounded(dtype: str, writer: GraphWriter, value: str) -> str:
    """What a float32 is after it was a whole number, cut towards 0."""
    if dtype in ("float32", "float64"):
        return value
    if dtype == "bool":
        return writer.add("Cast", [writer.add("Cast", [value], to=9)], to=1)
    if dtype not in ("uint8", "int8", "uint16", "int16"):
        raise ModelError(f"'ensure_dtype' with {dtype} cannot be folded into a network")
    limits = np.iinfo(dtype)
    low = writer.add("Max", [value, writer.number(float(limits.min))])
    both = writer.add("Min", [low, writer.number(float(limits.max))])
    return writer.add("Cast", [writer.add("Cast", [both], to=6)], to=1)


class GraphWriter:
    """Nodes and constants that are being written, all names of their own."""

    def __init__(self, prefix: str = "before") -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._prefix = prefix

    def add(self, kind: str, inputs: list[str], output: str = "", **more: Any) -> str:
        """Write a node with one output; its name."""
        output = output or f"{self._prefix}/{kind.lower()}_{len(self.nodes)}"
        self.add_several(kind, inputs, [output], **more)
        return output

    def add_several(
        self, kind: str, inputs: list[str], outputs: list[str], **more: Any
    ) -> None:
        """Write a node."""
        from onnx import helper

        name = f"{self._prefix}/{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, outputs, name=name, **more))

    def number(self, value: Any, behind: int = 0) -> str:
        """Write one number, or one for each channel with `behind` axes after them."""
        array = np.asarray(value, dtype=np.float32)
        if array.ndim:
            array = array.reshape(-1, *[1] * behind)
        return self._constant(array)

    def shape(self, sizes: Sequence[int]) -> str:
        """Write a row of whole numbers."""
        return self._constant(np.asarray(sizes, dtype=np.int64))

    def index(self, value: int) -> str:
        """Write one whole number."""
        return self._constant(np.asarray(value, dtype=np.int64))

    def _constant(self, array: NDArray[Any]) -> str:
        from onnx import numpy_helper

        name = f"{self._prefix}/constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name


def dims_of(port: Any) -> list[int | str | None]:
    """Sizes of a tensor as it states them."""
    shape = port.type.tensor_type.shape.dim
    return [
        d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in shape
    ]
