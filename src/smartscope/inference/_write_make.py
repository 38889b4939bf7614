"""From a network to the content of a package: its tensors and their test arrays."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.inference._axes import Axis, Layout
from smartscope.inference._card import Card
from smartscope.inference._document import Node, refusal
from smartscope.inference._operations import Context
from smartscope.inference._package import read_bytes
from smartscope.inference._protocol import Weights
from smartscope.inference._rdf_tensor import (
    TensorSpec,
    as_output,
    check_order,
    read_operations,
)
from smartscope.inference._weights_onnx import check_onnx
from smartscope.inference._write import Content

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from smartscope.inference._protocol import Port, Runtime

_SHORTEST = 64


def describe_tensor(
    name: str,
    axes: str,
    sizes: Mapping[str, int | tuple[int, int]],
    *,
    operations: Sequence[Any] = (),
    of: TensorSpec | None = None,
    grid: int = 1,
    halo: int = 0,
    dtype: str = "float32",
    channels: Sequence[str] = (),
    pixel_um: float | None = None,
) -> TensorSpec:
    """Describe an input or output in a few words.

    Parameters
    ----------
    name : str
    axes : str
        Letters in the network's order, such as ``bcyx``.
    sizes : mapping
        Of an axis: a number, or (least, step). Without, any size is taken (input) or
        it follows the input (output).
    operations : sequence
        Pre- or post-processing as packages write it: ``{"id": "sigmoid"}``.
    of : TensorSpec or None
        For an output: the input it follows.
    grid : int
        For an output: input pixels for one of its own.
    halo : int
        For an output: pixels at each border to be left out of tiles.
    dtype : str
    channels : sequence of str
        Names of the channels.
    pixel_um : float or None

    Raises
    ------
    ModelError
        Axes or operations that packages do not know.
    """
    node = Node(axes, name, "axes")
    check_order(node, axes, vector=of is not None)
    layout = Layout(
        tuple(_axis(letter, sizes.get(letter), of, grid, halo) for letter in axes)
    )
    key = "preprocessing" if of is None else "postprocessing"
    inputs = (name,) if of is None else (of.name,)
    steps, _ = read_operations(Node(list(operations), name, key), layout, inputs)
    return TensorSpec(
        layout=layout,
        operations=steps,
        test=Node(None, name, "test_tensor"),
        name=name,
        dtype=dtype,
        channels=tuple(channels),
        pixel_um=pixel_um,
        reference="" if of is None else of.name,
    )


def _axis(
    letter: str,
    size: int | tuple[int, int] | None,
    of: TensorSpec | None,
    grid: int,
    halo: int,
) -> Axis:
    if letter == "b":
        return Axis("b")
    if isinstance(size, tuple):
        return Axis(letter, *size)
    spatial = of is not None and letter in "yx"
    if size is not None:
        plain = Axis(letter, size, halo=halo if spatial else 0)
        return as_output(plain, of.layout) if of is not None else plain
    return Axis(letter, None, 0, 1 / grid, 0, halo) if spatial else Axis(letter)


def describe_onnx(
    path: str | Path,
    *,
    axes: str = "bcyx",
    preprocessing: Sequence[Any] = (),
    postprocessing: Sequence[Any] = (),
    multiple_of: int = 1,
    grid: int = 1,
    channels: int | None = None,
    card: Card | None = None,
) -> Content:
    """Turn an ONNX file and a few answers into the content of a package.

    Parameters
    ----------
    path : str or path
    axes : str
        Order of its axes, of input and outputs alike.
    preprocessing, postprocessing : sequence
        Operations as packages write them; `postprocessing` goes to every output.
    multiple_of : int
        Images are padded to multiples of this many pixels, where any size is taken.
    grid : int
        Input pixels for one of the outputs, where the file does not say.
    channels : int or None
        Of the input, where the file does not say; None is 1.
    card : Card or None

    Raises
    ------
    ModelError
        The file is none, or contradicts the answers.
    """
    path = Path(path)
    content = read_bytes(path)
    facts = check_onnx(content, str(path))
    if len(facts.inputs) != 1:
        raise refusal(
            f"the network has {len(facts.inputs)} inputs",
            file=str(path),
            fix="only networks with one input are imported",
        )
    port = facts.inputs[0]
    if port.shape and len(port.shape) != len(axes):
        raise refusal(
            f"the network takes {len(port.shape)} axes, not '{axes}'",
            file=str(path),
            field="axes",
            fix="name them in its order, for example bcyx",
        )
    given = describe_tensor(
        port.name,
        axes,
        _sizes(port, axes, multiple_of, channels or 1),
        operations=preprocessing,
        dtype=port.dtype or "float32",
    )
    outputs = tuple(
        describe_tensor(
            out.name,
            _output_axes(out, axes, str(path)),
            _known(out, _output_axes(out, axes, str(path))),
            operations=postprocessing,
            of=given,
            grid=grid,
            dtype=out.dtype or "float32",
        )
        for out in facts.outputs
    )
    digest = hashlib.sha256(content).hexdigest()
    return Content(
        name=path.stem,
        inputs=(given,),
        outputs=outputs,
        weights=(Weights("onnx", content, str(path), digest),),
        card=card or Card(),
    )


def _known(port: Port, axes: str) -> dict[str, int | tuple[int, int]]:
    return {
        letter: size
        for letter, size in zip(axes, port.shape, strict=False)
        if size is not None
    }


def _sizes(
    port: Port, axes: str, multiple_of: int, channels: int
) -> dict[str, int | tuple[int, int]]:
    found = _known(port, axes)
    for letter in axes:
        if letter in "yxz":
            found.setdefault(letter, (multiple_of, multiple_of))
        elif letter in "ct":
            found.setdefault(letter, channels)
    return found


def _output_axes(port: Port, axes: str, file: str) -> str:
    """The axes of the input, or a vector of scores."""
    if not port.shape or len(port.shape) == len(axes):
        return axes
    if len(port.shape) == 2:
        return "bc"
    raise refusal(
        f"output '{port.name}' has {len(port.shape)} axes, the input '{axes}'",
        file=file,
        fix="use a network whose outputs have the axes of its input",
    )


def with_tests(content: Content, runtime: Runtime, *, seed: int = 0) -> Content:
    """Add test tensors: a made-up image, and what a runtime makes of it.

    Channels whose number no file states are filled in from what the network gives.

    Parameters
    ----------
    content : Content
        With one input.
    runtime : Runtime
        The reference.
    seed : int
        Of the image: smooth blobs and noise in camera counts.

    Raises
    ------
    ModelError
        The network fails, or gives what the description does not say.
    """
    spec = content.inputs[0]
    sizes = [_test_size(axis) for axis in spec.layout.axes]
    image = _made_up(tuple(sizes), np.random.default_rng(seed))
    view = spec.layout.as_image(image)
    ready = view
    for operation in spec.operations:
        ready = operation(ready)
    (tensor,) = runtime.prepare([tuple(sizes)])
    spec.layout.as_image(tensor)[...] = ready
    context = Context({spec.name: view})
    outputs, results = [], []
    for out, found in zip(content.outputs, runtime.run(), strict=True):
        array = np.array(found, dtype=np.float32)
        if array.ndim != len(out.layout.axes):
            raise refusal(
                f"output '{out.name}' has {array.ndim} axes, not '{out.layout.order}'",
                file=content.name,
                fix="correct the axes",
            )
        outputs.append(replace(out, layout=_measured(out.layout, array, spec, sizes)))
        if "y" in out.layout.order:
            shown = out.layout.as_image(array)
            for operation in out.operations:
                shown = operation(shown, context)
            out.layout.as_image(array)[...] = shown
        results.append(array)
    return replace(
        content,
        outputs=tuple(outputs),
        test_inputs=(image,),
        test_outputs=tuple(results),
    )


def _test_size(axis: Axis) -> int:
    if axis.name == "b":
        return 1
    if axis.name in "ct":
        return axis.least or 1
    return axis.fixed or axis.legal(_SHORTEST) or _SHORTEST


def _made_up(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """An image of counts with structures of several sizes."""
    waves = [
        np.sin(np.arange(size) * rng.uniform(0.1, 0.5) + rng.uniform(0, 6))
        for size in shape
    ]
    smooth = np.ones(shape)
    for at, wave in enumerate(waves):
        along = [1] * len(shape)
        along[at] = -1
        smooth = smooth * (1.2 + wave.reshape(along))
    return rng.poisson(100 + 50 * smooth).astype(np.float32)


def _measured(
    layout: Layout, array: NDArray[np.float32], given: TensorSpec, sizes: list[int]
) -> Layout:
    """Layout with the sizes a network really gave."""
    axes = []
    for axis, size in zip(layout.axes, array.shape, strict=True):
        if axis.name in "ct":
            axes.append(replace(axis, least=size))
            continue
        own = given.layout.axis(axis.name)
        if axis.name == "b" or own is None:
            axes.append(axis)
            continue
        before = sizes[given.layout.axes.index(own)]
        found = as_output(Axis(axis.name, size), Layout((Axis(axis.name, before),)))
        axes.append(replace(axis, least=None, scale=found.scale, offset=found.offset))
    return Layout(tuple(axes))
