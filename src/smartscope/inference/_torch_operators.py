"""Arithmetic and sums of ONNX (github.com/onnx/onnx, Operators.md) in PyTorch.

Each function gets the `Trace` and the inputs of its operator, None for those that are
left out, and gives the output.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartscope.inference._torch_graph import Trace, Value

_PLAIN = {
    "Abs": "abs",
    "Acos": "acos",
    "And": "logical_and",
    "Asin": "asin",
    "Atan": "atan",
    "Add": "add",
    "Ceil": "ceil",
    "Cos": "cos",
    "Cosh": "cosh",
    "Equal": "eq",
    "Erf": "erf",
    "Exp": "exp",
    "Floor": "floor",
    "Greater": "gt",
    "GreaterOrEqual": "ge",
    "IsNaN": "isnan",
    "Less": "lt",
    "LessOrEqual": "le",
    "Log": "log",
    "Mish": "F.mish",
    "Mul": "mul",
    "Neg": "neg",
    "Not": "logical_not",
    "Or": "logical_or",
    "Reciprocal": "reciprocal",
    "Relu": "relu",
    "Round": "round",
    "Sigmoid": "sigmoid",
    "Sign": "sign",
    "Sin": "sin",
    "Sinh": "sinh",
    "Softplus": "F.softplus",
    "Softsign": "F.softsign",
    "Sqrt": "sqrt",
    "Sub": "sub",
    "Tan": "tan",
    "Tanh": "tanh",
    "Where": "where",
    "Xor": "logical_xor",
    "MatMul": "matmul",
}
_SEVERAL = {"Max": "maximum", "Min": "minimum", "Sum": "add"}
_REDUCE = {
    "ReduceMax": "amax",
    "ReduceMean": "mean",
    "ReduceMin": "amin",
    "ReduceSum": "sum",
    "ReduceLogSumExp": "logsumexp",
}
# Since these versions the axes are an input.
_AXES_INPUT = {"ReduceSum": 13}


def _plain(function: str) -> Callable[..., Value]:
    return lambda trace, *values: trace(function, *values)


def _several(function: str) -> Callable[..., Value]:
    def handler(trace: Trace, *values: Value) -> Value:
        return reduce(lambda one, other: trace(function, one, other), values)

    return handler


def _mean(trace: Trace, *values: Value) -> Value:
    return trace("div", _several("add")(trace, *values), len(values))


def _floats(trace: Trace, value: Value) -> bool:
    return bool(value.tensor.is_floating_point())


# -- arithmetic -----------------------------------------------------------------------


def _div(trace: Trace, one: Value, other: Value) -> Value:
    # Whole numbers are cut towards zero.
    rounding = None if _floats(trace, one) else "trunc"
    return trace("div", one, other, rounding_mode=rounding)


def _mod(trace: Trace, one: Value, other: Value) -> Value:
    cut = trace.attribute("fmod", 0)
    return trace("fmod" if cut else "remainder", one, other)


def _pow(trace: Trace, base: Value, exponent: Value) -> Value:
    power: Any = exponent
    if exponent.known and exponent.tensor.numel() == 1 and exponent.rank <= base.rank:
        (power,) = trace.numbers(exponent, "exponents")
    made = trace("pow", base, power)
    same = made.tensor.dtype == base.tensor.dtype
    return made if same else trace("Tensor.to", made, base.tensor.dtype)


def _clip(
    trace: Trace, image: Value, low: Value | None = None, high: Value | None = None
) -> Value:
    limits: list[Any] = [low, high]
    if trace.opset < 11:
        limits = [trace.attribute("min"), trace.attribute("max")]
    for name, function, limit in zip(
        ("min", "max"), ("maximum", "minimum"), limits, strict=True
    ):
        if limit is None:
            continue
        if isinstance(limit, float):
            image = trace("clamp", image, **{name: limit})
        elif limit.known:
            (number,) = trace.numbers(limit, "limits")
            image = trace("clamp", image, **{name: number})
        else:
            image = trace(function, image, limit)
    return image


def _leaky_relu(trace: Trace, image: Value) -> Value:
    return trace("F.leaky_relu", image, trace.attribute("alpha", 0.01))


def _prelu(trace: Trace, image: Value, slope: Value) -> Value:
    return trace("where", trace("lt", image, 0), trace("mul", image, slope), image)


def _elu(trace: Trace, image: Value) -> Value:
    return trace("F.elu", image, trace.attribute("alpha", 1.0))


def _selu(trace: Trace, image: Value) -> Value:
    alpha = trace.attribute("alpha", 1.6732632)
    gamma = trace.attribute("gamma", 1.0507010)
    return trace("mul", trace("F.elu", image, alpha), gamma)


def _celu(trace: Trace, image: Value) -> Value:
    return trace("F.celu", image, trace.attribute("alpha", 1.0))


def _gelu(trace: Trace, image: Value) -> Value:
    how = trace.attribute("approximate", "none")
    return trace("F.gelu", image, approximate=how)


def _hard_sigmoid(trace: Trace, image: Value) -> Value:
    alpha, beta = trace.attribute("alpha", 0.2), trace.attribute("beta", 0.5)
    line = trace("add", trace("mul", image, alpha), beta)
    return trace("clamp", line, min=0.0, max=1.0)


def _hard_swish(trace: Trace, image: Value) -> Value:
    return trace("F.hardswish", image)


def _thresholded_relu(trace: Trace, image: Value) -> Value:
    return trace("F.threshold", image, trace.attribute("alpha", 1.0), 0.0)


def _softmax(function: str) -> Callable[..., Value]:
    def handler(trace: Trace, image: Value) -> Value:
        flat = trace.opset < 13
        axis = trace.attribute("axis", 1 if flat else -1)
        axis = trace.axis(axis, image.rank)
        if not flat or axis == image.rank - 1:
            return trace(function, image, dim=axis)
        # Formerly all axes from this one on were one.
        made = trace(function, trace("flatten", image, axis), dim=axis)
        return trace("reshape", made, image.shape)

    return handler


def _gemm(trace: Trace, one: Value, other: Value, added: Value | None = None) -> Value:
    if trace.attribute("transA", 0):
        one = trace("t", one)
    if trace.attribute("transB", 0):
        other = trace("t", other)
    alpha, beta = trace.attribute("alpha", 1.0), trace.attribute("beta", 1.0)
    made = trace("matmul", one, other)
    if alpha != 1:
        made = trace("mul", made, alpha)
    if added is None or beta == 0:
        return made
    return trace("add", made, added if beta == 1 else trace("mul", added, beta))


# -- sums -----------------------------------------------------------------------------


def _axes(
    trace: Trace, image: Value, given: Value | None, since: int
) -> list[int] | None:
    """Axes of a sum, from the first; None where nothing is to be done."""
    nothing = trace.attribute("noop_with_empty_axes", 0)
    if trace.opset >= since:
        axes = [] if given is None else trace.numbers(given, "axes")
    else:
        axes = list(trace.attribute("axes", ()))
    if not axes:
        return None if nothing else list(range(image.rank))
    return sorted(trace.axis(axis, image.rank) for axis in axes)


def _reduce(name: str, function: str) -> Callable[..., Value]:
    def handler(trace: Trace, image: Value, given: Value | None = None) -> Value:
        axes = _axes(trace, image, given, _AXES_INPUT.get(name, 18))
        keep = bool(trace.attribute("keepdims", 1))
        if axes is None:
            return image
        more: dict[str, Any] = {}
        if function == "sum":
            more["dtype"] = image.tensor.dtype
        elif function == "mean" and not _floats(trace, image):
            trace.refuse("of whole numbers")
        return trace(function, image, dim=axes, keepdim=keep, **more)

    return handler


def _reduced(name: str, before: str, after: str = "") -> Callable[..., Value]:
    """A sum of something else, such as of squares."""
    inner = _reduce("Reduce", "sum")

    def handler(trace: Trace, image: Value, given: Value | None = None) -> Value:
        changed = trace(before, image)
        if trace.attribute("noop_with_empty_axes", 0):
            trace.refuse("with 'noop_with_empty_axes'")
        made = inner(trace, changed, given)
        return trace(after, made) if after else made

    return handler


def _reduce_product(trace: Trace, image: Value, given: Value | None = None) -> Value:
    axes = _axes(trace, image, given, 18) or []
    keep = bool(trace.attribute("keepdims", 1))
    for axis in reversed(axes):
        image = trace("prod", image, axis, keepdim=keep, dtype=image.tensor.dtype)
    return image


def _arg(function: str) -> Callable[..., Value]:
    def handler(trace: Trace, image: Value) -> Value:
        trace.only("select_last_index", 0)
        axis = trace.axis(trace.attribute("axis", 0), image.rank)
        keep = bool(trace.attribute("keepdims", 1))
        return trace(function, image, dim=axis, keepdim=keep)

    return handler


OPERATORS: dict[str, Callable[..., Any]] = {
    **{name: _plain(function) for name, function in _PLAIN.items()},
    **{name: _several(function) for name, function in _SEVERAL.items()},
    **{name: _reduce(name, function) for name, function in _REDUCE.items()},
    "ArgMax": _arg("argmax"),
    "ArgMin": _arg("argmin"),
    "Celu": _celu,
    "Clip": _clip,
    "Div": _div,
    "Elu": _elu,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "LeakyRelu": _leaky_relu,
    "LogSoftmax": _softmax("log_softmax"),
    "Mean": _mean,
    "Mod": _mod,
    "PRelu": _prelu,
    "Pow": _pow,
    "ReduceL1": _reduced("ReduceL1", "abs"),
    "ReduceL2": _reduced("ReduceL2", "square", "sqrt"),
    "ReduceProd": _reduce_product,
    "ReduceSumSquare": _reduced("ReduceSumSquare", "square"),
    "Selu": _selu,
    "Softmax": _softmax("softmax"),
    "ThresholdedRelu": _thresholded_relu,
}
