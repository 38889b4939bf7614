"""Test tensors of a package, read without trust."""

from __future__ import annotations

import hashlib
import io
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.inference._weights import check_sha256

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from smartscope.inference._document import Node
    from smartscope.inference._package import Package
    from smartscope.inference._rdf_tensor import TensorSpec

_HEADER_BYTES = 4096


def read_test(package: Package, spec: TensorSpec) -> NDArray[Any]:
    """Test tensor of an input or output, in the layout of the network.

    Raises
    ------
    ModelError
        There is none, it is no plain ``.npy`` array of numbers, or it has other axes
        than the tensor it tests.
    """
    node = spec.test
    content = package.read(node.text(), node.field)
    check_sha256(node, spec.test_sha256, hashlib.sha256(content).hexdigest())
    array = _array(content, node)
    axes = spec.layout.axes
    if array.ndim != len(axes):
        raise node.refuse(
            f"has {array.ndim} axes instead of '{spec.layout.order}'",
            "fetch the package again",
        )
    for axis, size in zip(axes, array.shape, strict=True):
        if axis.name in "ct" and axis.fixed not in (None, size):
            raise node.refuse(
                f"has {size} channels, the tensor '{spec.name}' has {axis.fixed}",
                "fetch the package again",
            )
    if array.dtype.kind == "f":
        if np.dtype(spec.dtype).kind in "ui" and not np.array_equal(
            array, array.astype(spec.dtype)
        ):
            raise node.refuse(f"holds values that {spec.dtype} does not have")
        if not np.isfinite(array).all():
            raise node.refuse("holds values that are not finite")
    return array


def _array(content: bytes, node: Node) -> NDArray[Any]:
    """Array of an ``.npy`` file; nothing in it is executed."""
    stream = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(stream)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = read(stream, max_header_size=_HEADER_BYTES)
    except (ValueError, KeyError, EOFError, SyntaxError) as error:
        first = str(error).split("\n", maxsplit=1)[0]
        raise node.refuse(
            f"is no NumPy array ({first})", "fetch the package again"
        ) from error
    if dtype.kind not in "buif":
        raise node.refuse(
            f"is no NumPy array of plain numbers ({dtype})", "fetch the package again"
        )
    rest = len(content) - stream.tell()
    # Compared as Python integers: a header of absurd sizes must not overflow.
    wanted = math.prod(int(size) for size in shape) * dtype.itemsize
    if wanted != rest or not wanted:
        raise node.refuse(
            f"is cut off or lies about its size ({rest} bytes for {wanted})",
            "fetch the package again",
        )
    flat = np.frombuffer(content, dtype, offset=stream.tell())
    return flat.reshape(shape, order="F" if fortran else "C")
