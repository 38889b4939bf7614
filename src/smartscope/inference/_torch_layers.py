"""Convolutions, pooling, normalisation and margins of ONNX in PyTorch.

Facts: github.com/onnx/onnx, Operators.md. Margins that differ at the two ends of an
axis, which PyTorch does not have, are added before, or cut off after.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from smartscope.inference._torch_graph import Trace, Value

_EDGES = {"reflect": "reflect", "edge": "replicate", "wrap": "circular"}


class _Window:
    """What a kernel covers: attributes that convolutions and pooling have in common."""

    def __init__(self, trace: Trace, image: Value, kernel: Sequence[int]) -> None:
        self.kernel = list(kernel)
        count = len(self.kernel)
        if image.rank != count + 2 or not 1 <= count <= 3:
            trace.refuse(f"of {count} axes on a tensor of {image.rank}")
        self.sizes = image.shape[2:]
        self.strides = list(trace.attribute("strides", [1] * count))
        self.dilations = list(trace.attribute("dilations", [1] * count))
        self.spans = [
            (size - 1) * step + 1
            for size, step in zip(self.kernel, self.dilations, strict=True)
        ]
        self.automatic = trace.attribute("auto_pad", "NOTSET")
        pads = list(trace.attribute("pads", [0] * 2 * count))
        self.pads = list(zip(pads[:count], pads[count:], strict=True))
        if any(min(pair) < 0 for pair in self.pads):
            trace.refuse("with negative margins")
        if self.automatic not in ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"):
            trace.refuse(f"with 'auto_pad' {self.automatic}")

    def fit(self) -> None:
        """Replace margins that follow from the size by numbers."""
        if self.automatic == "VALID":
            self.pads = [(0, 0)] * len(self.kernel)
        elif self.automatic != "NOTSET":
            self.pads = [
                self.shared(max(0, (-(-size // step) - 1) * step + span - size))
                for size, step, span in zip(
                    self.sizes, self.strides, self.spans, strict=True
                )
            ]

    def shared(self, total: int) -> tuple[int, int]:
        """Margins at both ends; which gets the odd pixel is what the names say."""
        half = total // 2
        if self.automatic == "SAME_LOWER":
            return total - half, half
        return half, total - half

    @property
    def even(self) -> bool:
        """Margins are the same at both ends."""
        return all(before == after for before, after in self.pads)

    @property
    def margins(self) -> list[int]:
        """As PyTorch takes them: from the last axis to the first."""
        return [size for pair in reversed(self.pads) for size in pair]

    @property
    def before(self) -> list[int]:
        """Margins at the first end."""
        return [before for before, _ in self.pads]


def _conv(
    trace: Trace, image: Value, weight: Value, bias: Value | None = None
) -> Value:
    trace.attribute("kernel_shape")
    window = _Window(trace, image, weight.shape[2:])
    window.fit()
    pads = window.before
    if not window.even:
        image = trace("F.pad", image, window.margins)
        pads = [0] * len(pads)
    return trace(
        f"F.conv{len(pads)}d",
        image,
        weight,
        bias,
        window.strides,
        pads,
        window.dilations,
        trace.attribute("group", 1),
    )


def _conv_transpose(
    trace: Trace, image: Value, weight: Value, bias: Value | None = None
) -> Value:
    trace.attribute("kernel_shape")
    window = _Window(trace, image, weight.shape[2:])
    count = len(window.kernel)
    more = list(trace.attribute("output_padding", [0] * count))
    wanted = trace.attribute("output_shape")
    full = [
        (size - 1) * step + extra + span
        for size, step, extra, span in zip(
            window.sizes, window.strides, more, window.spans, strict=True
        )
    ]
    if window.automatic == "VALID" and wanted is None:
        window.pads = [(0, 0)] * count
    elif wanted is not None or window.automatic != "NOTSET":
        if wanted is None:
            wanted = [
                size * step
                for size, step in zip(window.sizes, window.strides, strict=True)
            ]
        totals = [size - want for size, want in zip(full, wanted[-count:], strict=True)]
        if min(totals) < 0:
            trace.refuse("whose output is larger than what it computes")
        window.pads = [_cut(window, total) for total in totals]
    even = window.even
    made = trace(
        f"F.conv_transpose{count}d",
        image,
        weight,
        bias,
        window.strides,
        window.before if even else [0] * count,
        more,
        trace.attribute("group", 1),
        window.dilations,
    )
    if even:
        return made
    cuts = [
        slice(before, size - after)
        for size, (before, after) in zip(full, window.pads, strict=True)
    ]
    return trace("getitem", made, (slice(None), slice(None), *cuts))


def _cut(window: _Window, total: int) -> tuple[int, int]:
    """What is cut off at both ends where the size of the output is given."""
    half = total // 2
    if window.automatic == "SAME_UPPER":
        return half, total - half
    return total - half, half


def _pool_window(trace: Trace, image: Value) -> tuple[_Window, bool]:
    """The window, and whether a last one that is not full counts as well."""
    window = _Window(trace, image, trace.attribute("kernel_shape"))
    window.fit()
    ceil = bool(trace.attribute("ceil_mode", 0)) and window.automatic == "NOTSET"
    spaces = [
        size + sum(pads) - span
        for size, pads, span in zip(
            window.sizes, window.pads, window.spans, strict=True
        )
    ]
    rest = [space % step for space, step in zip(spaces, window.strides, strict=True)]
    return window, ceil and any(rest)


def _max_pool(trace: Trace, image: Value) -> Value:
    trace.only("storage_order", 0)
    window, ceil = _pool_window(trace, image)
    pads = window.before
    small = all(2 * pad <= size for pad, size in zip(pads, window.kernel, strict=True))
    if not window.even or not small:
        if ceil or not image.tensor.is_floating_point():
            trace.refuse("with these margins")
        image = trace("F.pad", image, window.margins, value=float("-inf"))
        pads = [0] * len(pads)
    return trace(
        f"F.max_pool{len(pads)}d",
        image,
        window.kernel,
        window.strides,
        pads,
        window.dilations,
        ceil,
    )


def _average_pool(trace: Trace, image: Value) -> Value:
    whole = bool(trace.attribute("count_include_pad", 0))
    window, ceil = _pool_window(trace, image)
    pads = window.before
    count = len(pads)
    if ceil:
        trace.refuse("with 'ceil_mode'")
    if window.dilations != [1] * count:
        trace.refuse("with 'dilations'")
    function, more = f"F.avg_pool{count}d", (window.kernel, window.strides)
    small = all(2 * pad <= size for pad, size in zip(pads, window.kernel, strict=True))
    if window.even and small:
        return trace(function, image, *more, pads, False, whole)
    made = trace(function, trace("F.pad", image, window.margins), *more)
    if whole:
        return made
    # The share of each window that lies on the image.
    ones = trace.constant(trace.torch.ones(1, 1, *window.sizes))
    share = trace(function, trace("F.pad", ones, window.margins), *more)
    return trace("div", made, trace("Tensor.to", share, image.tensor.dtype))


def _global_pool(function: str) -> Callable[..., Value]:
    return lambda trace, image: trace(
        function, image, dim=list(range(2, image.rank)), keepdim=True
    )


# -- normalisation --------------------------------------------------------------------


def _batch_norm(
    trace: Trace, image: Value, scale: Value, bias: Value, mean: Value, var: Value
) -> Value:
    trace.attribute("momentum")
    trace.only("training_mode", 0)
    trace.only("spatial", 1)
    epsilon = trace.attribute("epsilon", 1e-5)
    return trace("F.batch_norm", image, mean, var, scale, bias, False, 0.0, epsilon)


def _instance_norm(trace: Trace, image: Value, scale: Value, bias: Value) -> Value:
    epsilon = trace.attribute("epsilon", 1e-5)
    return trace("F.instance_norm", image, None, None, scale, bias, True, 0.0, epsilon)


def _layer_norm(
    trace: Trace, image: Value, scale: Value, bias: Value | None = None
) -> Value:
    trace.only("stash_type", 1)
    axis = trace.axis(trace.attribute("axis", -1), image.rank)
    epsilon = trace.attribute("epsilon", 1e-5)
    sizes = list(image.shape[axis:])
    if scale.shape != tuple(sizes):
        trace.refuse("with a scale of another shape")
    return trace("F.layer_norm", image, sizes, scale, bias, epsilon)


def _group_norm(trace: Trace, image: Value, scale: Value, bias: Value) -> Value:
    trace.only("stash_type", 1)
    if trace.opset < 21:
        trace.refuse("before version 21 of the operators")
    groups, epsilon = trace.attribute("num_groups"), trace.attribute("epsilon", 1e-5)
    return trace("F.group_norm", image, groups, scale, bias, epsilon)


# -- margins --------------------------------------------------------------------------


def _pad(
    trace: Trace,
    image: Value,
    given: Value | None = None,
    value: Value | None = None,
    axes: Value | None = None,
) -> Value:
    number: Any = 0.0
    if trace.opset < 11:
        pads = list(trace.attribute("pads"))
        number = trace.attribute("value", 0.0)
    else:
        if given is None:
            trace.refuse("without 'pads'")
        pads = trace.numbers(given, "margins")
        if value is not None:
            (number,) = trace.numbers(value, "values")
    mode = trace.attribute("mode", "constant")
    along = list(range(image.rank)) if axes is None else trace.numbers(axes, "axes")
    pairs = [(0, 0)] * image.rank
    for place, axis in enumerate(along):
        pairs[trace.axis(axis, image.rank)] = pads[place], pads[place + len(along)]
    if mode == "constant":
        margins = [size for pair in reversed(pairs) for size in pair]
        return trace("F.pad", image, margins, value=number)
    if mode not in _EDGES:
        trace.refuse(f"with 'mode' {mode}")
    if min(min(pair) for pair in pairs) < 0:
        trace.refuse("with negative margins")
    return _continue(trace, image, pairs, mode)


def _continue(
    trace: Trace, image: Value, pairs: list[tuple[int, int]], mode: Any
) -> Value:
    """Margins that continue the image."""
    space = pairs[2:]
    near = all(
        max(pair) < size for pair, size in zip(space, image.shape[2:], strict=True)
    )
    if (
        image.rank in (3, 4)
        and pairs[:2] == [(0, 0)] * 2
        and near
        and image.tensor.is_floating_point()
    ):
        margins = [size for pair in reversed(space) for size in pair]
        return trace("F.pad", image, margins, mode=_EDGES[mode])
    for axis, pair in enumerate(pairs):
        if pair == (0, 0):
            continue
        places = np.pad(np.arange(image.shape[axis]), pair, mode=mode)
        image = trace("index_select", image, axis, trace.constant(places))
    return image


LAYERS: dict[str, Callable[..., Any]] = {
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "GlobalAveragePool": _global_pool("mean"),
    "GlobalMaxPool": _global_pool("amax"),
    "GroupNormalization": _group_norm,
    "InstanceNormalization": _instance_norm,
    "LayerNormalization": _layer_norm,
    "MaxPool": _max_pool,
    "Pad": _pad,
}
