"""Constants, types and shapes of ONNX (github.com/onnx/onnx, Operators.md) in PyTorch.

What follows from sizes alone becomes numbers here, once for each size of image.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from smartscope.inference._onnx_nodes import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartscope.inference._torch_graph import Trace, Value

# -- constants and types --------------------------------------------------------------


def _constant(trace: Trace) -> Value:
    found = {
        name: trace.attribute(name)
        for name in (
            "value",
            "value_float",
            "value_floats",
            "value_int",
            "value_ints",
        )
    }
    name, value = next((n, v) for n, v in found.items() if v is not None)
    if isinstance(value, Tensor):
        return trace.constant(value)
    kind = trace.torch.float32 if "float" in name else trace.torch.int64
    return trace.constant(trace.torch.tensor(value, dtype=kind))


def _constant_of_shape(trace: Trace, shape: Value) -> Value:
    sizes = trace.numbers(shape, "sizes")
    value = trace.attribute("value")
    if value is None:
        return trace.constant(trace.torch.zeros(sizes))
    number = trace.constant(value).tensor.reshape(())
    return trace.constant(number.expand(sizes).contiguous())


def _range(trace: Trace, start: Value, stop: Value, step: Value) -> Value:
    ends = [trace.numbers(each, "ends")[0] for each in (start, stop, step)]
    return trace.constant(trace.torch.arange(*ends, dtype=start.tensor.dtype))


def _cast(trace: Trace, image: Value) -> Value:
    trace.attribute("saturate")
    return trace("Tensor.to", image, trace.dtype(trace.attribute("to")))


def _identity(trace: Trace, image: Value) -> Value:
    return image


def _dropout(
    trace: Trace,
    image: Value,
    ratio: Value | None = None,
    training: Value | None = None,
) -> Value:
    for name in ("ratio", "seed", "is_test"):
        trace.attribute(name)
    if training is not None and any(trace.numbers(training, "modes")):
        trace.refuse("while training")
    return image


# -- shapes ---------------------------------------------------------------------------


def _shape(trace: Trace, image: Value) -> Value:
    start, end = trace.attribute("start", 0), trace.attribute("end", image.rank)
    sizes = list(image.shape)[slice(start, end)]
    return trace.constant(trace.torch.tensor(sizes, dtype=trace.torch.int64))


def _size(trace: Trace, image: Value) -> Value:
    return trace.constant(image.tensor.numel())


def _reshape(trace: Trace, image: Value, shape: Value) -> Value:
    sizes = trace.numbers(shape, "sizes")
    if not trace.attribute("allowzero", 0):
        sizes = [image.shape[at] if n == 0 else n for at, n in enumerate(sizes)]
    return trace("reshape", image, sizes)


def _flatten(trace: Trace, image: Value) -> Value:
    axis = trace.attribute("axis", 1)
    axis = axis + image.rank if axis < 0 else axis
    rows = math.prod(image.shape[:axis])
    return trace("reshape", image, [rows, math.prod(image.shape[axis:])])


def _listed(trace: Trace, given: Value | None) -> list[int] | None:
    if trace.opset >= 13:
        return None if given is None else trace.numbers(given, "axes")
    axes = trace.attribute("axes")
    return None if axes is None else list(axes)


def _squeeze(trace: Trace, image: Value, given: Value | None = None) -> Value:
    axes = _listed(trace, given)
    if axes is None:
        gone = {at for at, size in enumerate(image.shape) if size == 1}
    else:
        gone = {trace.axis(axis, image.rank) for axis in axes}
    if any(image.shape[at] != 1 for at in gone):
        raise ValueError("an axis that is removed is longer than 1")
    sizes = [size for at, size in enumerate(image.shape) if at not in gone]
    return trace("reshape", image, sizes)


def _unsqueeze(trace: Trace, image: Value, given: Value | None = None) -> Value:
    axes = _listed(trace, given) or []
    rank = image.rank + len(axes)
    new = {trace.axis(axis, rank) for axis in axes}
    left = iter(image.shape)
    sizes = [1 if at in new else next(left) for at in range(rank)]
    return trace("reshape", image, sizes)


def _transpose(trace: Trace, image: Value) -> Value:
    order = trace.attribute("perm", tuple(reversed(range(image.rank))))
    return trace("permute", image, order)


def _concat(trace: Trace, *values: Value) -> Value:
    axis = trace.axis(trace.attribute("axis", 1), values[0].rank)
    return trace("cat", list(values), dim=axis)


def _split(trace: Trace, image: Value, given: Value | None = None) -> tuple[Value, ...]:
    axis = trace.axis(trace.attribute("axis", 0), image.rank)
    size = image.shape[axis]
    sizes = list(trace.attribute("split", ()))
    if given is not None:
        sizes = trace.numbers(given, "sizes")
    if not sizes:
        parts = trace.attribute("num_outputs", trace.outputs)
        step = -(-size // parts)
        sizes = [min(step, size - at * step) for at in range(parts)]
    if sum(sizes) != size or min(sizes) < 0:
        raise ValueError(f"{size} cannot be split into {sizes}")
    begins = [sum(sizes[:at]) for at in range(len(sizes))]
    return tuple(
        trace("narrow", image, axis, begin, length)
        for begin, length in zip(begins, sizes, strict=True)
    )


def _slice(
    trace: Trace,
    image: Value,
    starts: Value | None = None,
    ends: Value | None = None,
    axes: Value | None = None,
    steps: Value | None = None,
) -> Value:
    if trace.opset < 10:
        begin, end = list(trace.attribute("starts")), list(trace.attribute("ends"))
        along = list(trace.attribute("axes", range(len(begin))))
        step = [1] * len(begin)
    else:
        if starts is None or ends is None:
            trace.refuse("without 'starts' and 'ends'")
        begin = trace.numbers(starts, "starts")
        end = trace.numbers(ends, "ends")
        along = list(range(len(begin))) if axes is None else trace.numbers(axes, "axes")
        step = [1] * len(begin) if steps is None else trace.numbers(steps, "steps")
    cuts = [slice(None)] * image.rank
    for axis, *cut in zip(along, begin, end, step, strict=True):
        place = trace.axis(axis, image.rank)
        found = range(image.shape[place])[slice(*cut)]
        if found.step < 0:
            image = trace("index_select", image, place, trace.constant(list(found)))
        else:
            cuts[place] = slice(found.start, max(found.start, found.stop), found.step)
    if all(cut == slice(None) for cut in cuts):
        return image
    return trace("getitem", image, tuple(cuts))


def _gather(trace: Trace, image: Value, indices: Value) -> Value:
    axis = trace.axis(trace.attribute("axis", 0), image.rank)
    size = image.shape[axis]
    places = trace.numbers(indices, "indices")
    if not all(-size <= place < size for place in places):
        raise IndexError(f"an index is outside of an axis of {size}")
    flat = trace.constant(
        trace.torch.tensor([p % size for p in places], dtype=trace.torch.int64)
    )
    made = trace("index_select", image, axis, flat)
    if indices.rank == 1:
        return made
    sizes = (*image.shape[:axis], *indices.shape, *image.shape[axis + 1 :])
    return trace("reshape", made, sizes)


def _expand(trace: Trace, image: Value, shape: Value) -> Value:
    sizes = trace.numbers(shape, "sizes")
    full = trace.torch.broadcast_shapes(image.shape, tuple(sizes))
    return trace("broadcast_to", image, tuple(full))


def _tile(trace: Trace, image: Value, repeats: Value) -> Value:
    return trace("tile", image, trace.numbers(repeats, "repeats"))


def _depth_to_space(trace: Trace, image: Value) -> Value:
    step = trace.attribute("blocksize")
    mode = trace.attribute("mode", "DCR")
    if mode == "CRD":
        return trace("F.pixel_shuffle", image, step)
    batch, channels, y, x = image.shape
    left = channels // step**2
    split = trace("reshape", image, [batch, step, step, left, y, x])
    moved = trace("permute", split, (0, 3, 4, 1, 5, 2))
    return trace("reshape", moved, [batch, left, y * step, x * step])


def _space_to_depth(trace: Trace, image: Value) -> Value:
    step = trace.attribute("blocksize")
    batch, channels, y, x = image.shape
    split = trace("reshape", image, [batch, channels, y // step, step, x // step, step])
    moved = trace("permute", split, (0, 3, 5, 1, 2, 4))
    return trace("reshape", moved, [batch, channels * step**2, y // step, x // step])


SHAPES: dict[str, Callable[..., Any]] = {
    "Cast": _cast,
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "DepthToSpace": _depth_to_space,
    "Dropout": _dropout,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Identity": _identity,
    "Range": _range,
    "Reshape": _reshape,
    "Shape": _shape,
    "Size": _size,
    "Slice": _slice,
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
