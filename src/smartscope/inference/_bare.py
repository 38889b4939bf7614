"""A network that says nothing about itself but its ports: what it takes and gives."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from smartscope.inference._axes import Axis, Layout
from smartscope.inference._document import Node, refusal
from smartscope.inference._operations import operation_of
from smartscope.inference._ort import OrtRuntime
from smartscope.inference._package import read_bytes
from smartscope.inference._protocol import Weights
from smartscope.inference._rdf_tensor import as_output, check_order
from smartscope.inference._torch import TorchRuntime
from smartscope.inference._weights_onnx import check_onnx

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Any

    from smartscope.core import ModelError
    from smartscope.inference._operations import Operation
    from smartscope.inference._protocol import Port, Runtime

BARE = (".onnx", ".pt", ".pth")
"""Endings of files that hold a network alone."""
_SMALL_PX, _LARGE_PX = 64, 128
_SMALL_PLANES, _LARGE_PLANES = 8, 16
_WHOLE = "import it as a bioimage.io package that describes each"


def read_network(path: Path) -> Weights:
    """Read an ONNX file, or TorchScript (``.pt``, ``.pth``); raises `ModelError`."""
    content, file = read_bytes(path), str(path)
    digest = hashlib.sha256(content).hexdigest()
    if path.suffix.lower() != ".onnx":
        return Weights("torchscript", content, file, digest)
    check_onnx(content, file)
    return Weights("onnx", content, file, digest)


def read_steps(
    written: Sequence[Any], order: str, file: str, field: str
) -> tuple[Operation, ...]:
    """Operations that the user gives for a network with axes in this order."""
    image = "czyx" if "z" in order else "cyx"
    return tuple(
        operation_of(item, image, None)
        for item in Node(list(written), file, field).items()
    )


def learn(
    weights: Weights,
    order: str,
    *,
    channels: int | None = None,
    multiple_of: int = 1,
    every_size: bool = False,
) -> tuple[Layout, tuple[tuple[str, Layout], ...]]:
    """Find out what a network takes and gives, by running it on two small sizes.

    Parameters
    ----------
    weights : Weights
    order : str
        Of the axes of its input, such as ``bcyx``.
    channels : int or None
        Of its input, where it takes any number; None leaves that open.
    multiple_of : int
        Pixels that sides of images are multiples of, where it takes any size.
    every_size : bool
        Refuse a network that does not take every multiple.

    Returns
    -------
    Layout
        Of the input.
    tuple of (str, Layout)
        Name and layout of each output: how its sizes follow from the input's.

    Raises
    ------
    ModelError
        It does not run, has several inputs, or gives sizes that follow no rule.
    """
    check_order(Node(order, weights.file, "axes"), order)
    torch = weights.kind == "torchscript"
    runtime: Runtime = (TorchRuntime if torch else OrtRuntime)(weights, threads=1)
    try:
        return _learn(runtime, weights.file, order, channels, multiple_of, every_size)
    finally:
        runtime.close()


def _learn(
    runtime: Runtime,
    file: str,
    order: str,
    channels: int | None,
    multiple_of: int,
    every_size: bool,
) -> tuple[Layout, tuple[tuple[str, Layout], ...]]:
    if len(runtime.inputs) != 1:
        raise refusal(
            f"the network has {len(runtime.inputs)} inputs", file=file, fix=_WHOLE
        )
    given = _input(runtime.inputs[0], file, order, channels, multiple_of)
    small = tried(given, _SMALL_PX, _SMALL_PLANES)
    large = tried(given, _LARGE_PX, _LARGE_PLANES)
    first, second = _gives(runtime, given, small), _gives(runtime, given, large)
    outputs = tuple(
        (port.name or f"output{number}", _output(given, file, small, large, one, two))
        for number, (port, one, two) in enumerate(
            zip(runtime.outputs, first, second, strict=True)
        )
    )
    if every_size:
        odd = tried(given, _LARGE_PX + 1, _SMALL_PLANES + 1)
        for (_, layout), sizes in zip(
            outputs, _gives(runtime, given, odd), strict=True
        ):
            _check(layout, sizes, odd, file)
    return given, outputs


def _input(
    port: Port, file: str, order: str, channels: int | None, multiple_of: int
) -> Layout:
    shape = port.shape or (None,) * len(order)
    if len(shape) != len(order):
        raise refusal(
            f"the network takes {len(shape)} axes, not '{order}'",
            file=file,
            field="axes",
            fix="name them in its order, for example bcyx",
        )
    axes = []
    for name, size in zip(order, shape, strict=True):
        if name == "b" and size not in (None, 1):
            raise refusal(
                f"the network takes {size} images at once",
                file=file,
                fix="export it for one image, or for any number",
            )
        if name == "b":
            axes.append(Axis(name, 1))
        elif size is not None:
            axes.append(Axis(name, size))
        elif name in "yx":
            axes.append(Axis(name, multiple_of, multiple_of))
        else:
            axes.append(Axis(name, channels if name in "ct" else None))
    return Layout(tuple(axes))


def tried(layout: Layout, least_px: int, least_planes: int) -> dict[str, int]:
    """Sizes of an image of at least `least_px`, unless an axis has another one."""
    sizes = {"c": 1, "y": 1, "x": 1}
    for axis in layout.axes:
        wanted = {"y": least_px, "x": least_px, "z": least_planes}.get(axis.name, 1)
        sizes[axis.name] = axis.fixed or axis.legal(wanted) or wanted
    channels = layout.channel_axis
    sizes["c"] = 1 if channels is None else sizes[channels.name]
    return sizes


def _gives(
    runtime: Runtime, given: Layout, sizes: dict[str, int]
) -> list[tuple[int, ...]]:
    runtime.prepare([given.shape(sizes)])
    return [tensor.shape for tensor in runtime.run()]


def _output(
    given: Layout,
    file: str,
    small: dict[str, int],
    large: dict[str, int],
    first: tuple[int, ...],
    second: tuple[int, ...],
) -> Layout:
    """Layout of an output, from what two sizes of the input gave."""
    order = given.order
    if len(first) == len(order) - 1 and "c" in order:
        order = order.replace("c", "")
    elif len(first) == 2 != len(order):
        order = "bc"
    if len(first) != len(order) or len(second) != len(order):
        raise refusal(
            f"an output has {len(first)} axes, which do not follow from '{order}'",
            file=file,
            fix=_WHOLE,
        )
    axes = []
    for name, one, two in zip(order, first, second, strict=True):
        own = given.axis(name)
        grown = large.get(name, 0) - small.get(name, 0)
        if name == "b":
            axes.append(Axis(name))
        elif name in "ct":
            open_end = own is not None and own.least is None
            axes.append(Axis(name, None if open_end else one))
        elif not grown:
            axes.append(as_output(Axis(name, one), given))
        else:
            scale = (two - one) / grown
            offset = one - scale * small[name]
            if abs(offset - round(offset)) > 1e-6 or scale < 0:
                raise _no_rule(name, one, small[name], file)
            axes.append(Axis(name, scale=scale, offset=round(offset)))
    return Layout(tuple(axes))


def _check(
    layout: Layout, found: tuple[int, ...], sizes: dict[str, int], file: str
) -> None:
    for axis, size in zip(layout.axes, found, strict=True):
        if axis.name not in "zyx" or axis.name not in sizes:
            continue
        # A part of a pixel is cut off by one program and rounded up by another.
        exact = axis.scale * sizes[axis.name] + axis.offset
        if abs(size - exact) > 1e-6:
            raise _no_rule(axis.name, size, sizes[axis.name], file)


def _no_rule(axis: str, found: int, given: int, file: str) -> ModelError:
    return refusal(
        f"an output of {found} pixels along {axis} does not follow from {given} of the "
        "input",
        file=file,
        fix="give 'multiple_of', the pixels the network works in steps of",
    )
