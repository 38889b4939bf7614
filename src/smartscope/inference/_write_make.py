"""From a network to the content of a package: its tensors and their test arrays."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.inference._axes import Axis, Layout
from smartscope.inference._bare import tried
from smartscope.inference._document import Node, refusal
from smartscope.inference._intake import Intake
from smartscope.inference._operations import Context
from smartscope.inference._outcome import Output
from smartscope.inference._rdf_tensor import (
    TensorSpec,
    as_output,
    check_order,
    read_operations,
)
from smartscope.inference._synthetic import synthetic_image

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from smartscope.inference._protocol import Runtime
    from smartscope.inference._write import Content

_TESTED_PX, _TESTED_PLANES = 128, 8


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


def with_tests(content: Content, runtime: Runtime, *, seed: int = 0) -> Content:
    """Add test tensors: a made-up image, and what a runtime makes of it.

    Numbers of channels that are not stated are filled in from what the network gives.

    Parameters
    ----------
    content : Content
        With one input.
    runtime : Runtime
        The reference.
    seed : int
        Of the image, see `synthetic_image`.

    Raises
    ------
    ModelError
        The network fails, or gives what the description does not say.
    """
    spec = content.inputs[0]
    sizes = tried(spec.layout, _TESTED_PX, _TESTED_PLANES)
    shape = spec.layout.shape(sizes)
    given = np.zeros(shape, np.float32)
    view = spec.layout.as_image(given)
    view[...] = synthetic_image(view.shape, seed)
    (tensor,) = runtime.prepare([shape])
    scaled = Intake(spec.name, spec.layout, spec.operations, content.name).scaled(view)
    everything = (slice(None),) * (view.ndim - 1)
    scaled.write(everything, spec.layout.as_image(tensor))
    context = Context({spec.name: view})
    outputs, results = [], []
    for out, found in zip(content.outputs, runtime.run(), strict=True):
        array = np.array(found, dtype=np.float32)
        outputs.append(replace(out, layout=_counted(out, array, sizes, content.name)))
        last = Output(out.name, out.layout, out.operations, content.name)
        shown = out.layout.as_image(array)
        shown[...] = last.finish(shown, context)
        results.append(array)
    return replace(
        content,
        outputs=tuple(outputs),
        test_inputs=(given,),
        test_outputs=tuple(results),
    )


def _counted(
    out: TensorSpec,
    array: NDArray[np.float32],
    given: Mapping[str, int],
    file: str,
) -> Layout:
    """Layout with its channels counted; refuses an array of other sizes."""
    if array.ndim != len(out.layout.axes):
        raise refusal(
            f"output '{out.name}' has {array.ndim} axes, not '{out.layout.order}'",
            file=file,
            fix="correct the axes",
        )
    axes = []
    for axis, size in zip(out.layout.axes, array.shape, strict=True):
        if axis.name in "ct" and axis.least is None:
            axes.append(replace(axis, least=size))
            continue
        follows = axis.name in "zyx" and axis.name in given
        promised = axis.size_for(given[axis.name]) if follows else axis.fixed
        if promised not in (None, size) and axis.name != "b":
            raise refusal(
                f"output '{out.name}' has {size} along {axis.name}, described are "
                f"{promised}",
                file=file,
                fix="correct the sizes",
            )
        axes.append(axis)
    return Layout(tuple(axes))
