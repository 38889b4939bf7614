"""Pre- and post-processing as bioimage.io packages describe it, formats 0.4 and 0.5."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.inference._operations_args import (
    Arguments,
    parts_of,
    percentile_of,
    settings_of,
    statistics_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from smartscope.inference._document import Node
    from smartscope.inference._operations_args import Over

    Image = NDArray[np.float32]
    Work = Callable[[Image, "Context | None"], Image]
    Affine = Callable[[NDArray[Any]], tuple[Image, Image]]

_DTYPES = (
    *("float32", "float64", "bool"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
)
DECODING = ("stardist_postprocessing", "cellpose_flow_dynamics")
"""Operations that turn numbers into objects: our decoders do that."""


@dataclass(frozen=True, slots=True)
class Context:
    """What operations may look at besides their own image.

    Attributes
    ----------
    inputs : mapping of str to ndarray (c, [z,] y, x)
        The images the model was given, by the name of the input, before any
        pre-processing and in any number type.
    """

    inputs: Mapping[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Operation:
    """One step on an image ``(c, [z,] y, x)``.

    Attributes
    ----------
    name : str
        As the specification (0.5) calls it.
    settings : mapping
        Its arguments as the specification (0.5) writes them: axes by their ids, no
        mode.
    work : callable
        ``work(image, context)`` gives a new float32 image.
    affine : callable or None
        For a step that is one multiplication and one addition for each channel:
        ``affine(image)`` gives gain and offset ``(c,)`` float32, so that
        ``work(image) == image * gain + offset``. The image may be a camera frame of
        any number type. None for other steps.
    constant : bool
        `affine` does not depend on the image (beyond its number of channels).
    """

    name: str
    settings: Mapping[str, Any]
    work: Work
    affine: Affine | None = None
    constant: bool = False

    def __call__(self, image: NDArray[Any], context: Context | None = None) -> Image:
        """Return the image after this step; raises `ModelError`."""
        return self.work(image, context)

    @property
    def identity(self) -> bool:
        """It only asks for float32, which images here are anyway."""
        return self.name == "ensure_dtype" and self.affine is not None


def operation_of(
    node: Node, order: str = "cyx", channels: int | None = None
) -> Operation:
    """Read one operation.

    Written ``{id: clip, kwargs: {min: 0}}`` (format 0.5; ``name`` in 0.4), and in an
    experiment also ``{clip: {min: 0}}`` or plain ``sigmoid``.

    Parameters
    ----------
    node : Node
        Where it is written.
    order : str
        Axes of the images it works on: ``cyx`` or ``czyx``.
    channels : int or None
        Channels of those images, where known.

    Raises
    ------
    ModelError
        Unknown operation, argument or value; the sentence names the operation.
    """
    name, arguments = parts_of(node)
    if name == "custom":
        raise node.refuse(
            "the operation 'custom' is a program inside the package, which is "
            "never executed",
            "export the model with this step inside its network",
        )
    if name not in _MAKERS:
        raise node.refuse(
            f"the operation '{name}' is not supported",
            f"use a model that needs only: {', '.join(_MAKERS)}",
        )
    maker, known = _MAKERS[name]
    for key in arguments.mapping():
        if key not in known:
            what = f"'{name}' with '{key}' is not supported"
            raise node.refuse(what, f"known: {', '.join(known)}" if known else "")
    made = maker(Arguments(arguments, order, channels))
    settings = settings_of(made.name or name, arguments)
    return Operation(made.name or name, settings, made.work, made.affine, made.constant)


def is_wide(dtype: np.dtype[Any]) -> bool:
    """Whether float32 cannot hold every value of a type: sums are then in float64."""
    return not np.can_cast(dtype, np.float32)


@dataclass(frozen=True, slots=True)
class _Made:
    work: Work
    affine: Affine | None = None
    constant: bool = False
    name: str = ""


def _by_affine(affine: Affine, exact: Work) -> Work:
    """The step that applies an affine map found on the image itself.

    A value far from zero, less its centre, keeps only the digits that its type has;
    for types with more than float32 has, `exact` does the step.
    """

    def work(image: NDArray[Any], context: Context | None) -> Image:
        if is_wide(image.dtype):
            return exact(image, context)
        gain, offset = affine(image)
        shape = (-1,) + (1,) * (image.ndim - 1)
        out = np.multiply(image, gain.reshape(shape), dtype=np.float32)
        out += offset.reshape(shape)
        return np.asarray(out)

    return work


def _pair(gain: NDArray[Any], offset: NDArray[Any]) -> tuple[Image, Image]:
    return gain.astype(np.float32), offset.astype(np.float32)


def _centred(
    centre: NDArray[np.float64], width: NDArray[np.float64]
) -> tuple[Image, Image]:
    """Gain and offset of ``(x - centre) / width``."""
    gain = (1.0 / width).astype(np.float32)
    # Rounded as the product will be: what equals the centre becomes exactly 0.
    return gain, -(centre.astype(np.float32) * gain)


def _statistical(
    over: Over, find: Callable[[NDArray[Any]], tuple[float, float]]
) -> _Made:
    """``(x - centre) / width`` with both found on the image by `find`."""

    def general(image: NDArray[Any], context: Context | None) -> Image:
        centre, width = over.apply(image, find)
        out = np.subtract(image, centre, dtype=np.float64) / width
        return np.asarray(out, dtype=np.float32)

    if not over.whole_planes:
        return _Made(general)

    def affine(image: NDArray[Any]) -> tuple[Image, Image]:
        return _centred(*over.by_channel(image, find))

    return _Made(_by_affine(affine, general), affine)


def _zero_mean(arguments: Arguments) -> _Made:
    eps = arguments.eps()
    mode = arguments.mode(("fixed", "per_sample"))
    given = arguments.get("mean") or arguments.get("std")
    if mode == "fixed" and (arguments.get("mode") or given):
        return _fixed(arguments, eps)
    if given:
        raise given.refuse("goes with mode 'fixed' only")

    def find(part: NDArray[Any]) -> tuple[float, float]:
        mean, deviation = statistics_of(part)
        return mean, deviation + eps

    return _statistical(arguments.over(), find)


def _fixed_zero_mean(arguments: Arguments) -> _Made:
    return _fixed(arguments, 0.0)


def _fixed(arguments: Arguments, eps: float) -> _Made:
    mean, std = arguments.values("mean"), arguments.values("std")
    if not (std.numbers > 0).all():
        raise arguments.get("std").wrong("numbers above 0")

    def gain(count: int) -> tuple[Image, Image]:
        return _centred(mean.spread(count), std.spread(count) + eps)

    name = "fixed_zero_mean_unit_variance"

    def work(image: NDArray[Any], context: Context | None) -> Image:
        apart = np.asarray(image, np.float64) - mean.shaped(image)
        return np.asarray(apart / (std.shaped(image) + eps), dtype=np.float32)

    if mean.along_channels and std.along_channels:
        return _linear(gain, work, name)
    return _Made(work, name=name)


def _linear(
    found: Callable[[int], tuple[Image, Image]], exact: Work, name: str = ""
) -> _Made:
    def affine(image: NDArray[Any]) -> tuple[Image, Image]:
        return found(image.shape[0])

    return _Made(_by_affine(affine, exact), affine, constant=True, name=name)


def _scale_linear(arguments: Arguments) -> _Made:
    gain, offset = arguments.values("gain", 1.0), arguments.values("offset", 0.0)

    def work(image: NDArray[Any], context: Context | None) -> Image:
        out = image * gain.shaped(image) + offset.shaped(image)
        return np.asarray(out, dtype=np.float32)

    def pair(count: int) -> tuple[Image, Image]:
        return _pair(gain.spread(count), offset.spread(count))

    if gain.along_channels and offset.along_channels:
        return _linear(pair, work)
    return _Made(work)


def _scale_range(arguments: Arguments) -> _Made:
    arguments.mode(("per_sample",))
    eps = arguments.eps()
    low = arguments.number("min_percentile", 0.0)
    high = arguments.number("max_percentile", 100.0)
    if not 0 <= low < high <= 100:
        raise arguments.node.refuse("percentiles must rise from 0 to 100")

    def find(part: NDArray[Any]) -> tuple[float, float]:
        bottom, top = percentile_of(part, (low, high))
        return bottom, top - bottom + eps

    over = arguments.over()
    reference = arguments.reference()
    if reference is None:
        return _statistical(over, find)

    def work(image: NDArray[Any], context: Context | None) -> Image:
        other = reference.image(context, image)
        centre, width = over.apply(other, find)
        return np.asarray((image - centre) / width, dtype=np.float32)

    return _Made(work)


def _scale_mean_variance(arguments: Arguments) -> _Made:
    arguments.mode(("per_sample",))
    eps, over = arguments.eps(), arguments.over()
    reference = arguments.reference()
    if reference is None:
        raise arguments.get("reference_tensor").wrong("the name of an input")

    def work(image: NDArray[Any], context: Context | None) -> Image:
        other = reference.image(context, image)
        mean, spread = over.apply(image, statistics_of)
        wanted, wide = over.apply(other, statistics_of)
        gain = (wide + eps) / (spread + eps)
        return np.asarray((image - mean) * gain + wanted, dtype=np.float32)

    return _Made(work)


def _clip(arguments: Arguments) -> _Made:
    low, high = arguments.optional("min"), arguments.optional("max")
    first = arguments.optional("min_percentile")
    last = arguments.optional("max_percentile")
    for one, other, name in ((low, first, "min"), (high, last, "max")):
        if one is not None and other is not None:
            raise arguments.node.refuse(f"give {name} or {name}_percentile, not both")
    if low is high is first is last is None:
        raise arguments.node.refuse("'clip' needs min or max")
    if low is not None and high is not None and low > high:
        raise arguments.node.refuse("min is above max")
    shares = (0.0 if first is None else first, 100.0 if last is None else last)
    if not 0 <= shares[0] < shares[1] <= 100:
        raise arguments.node.refuse("percentiles must rise from 0 to 100")
    over = arguments.over()

    def work(image: NDArray[Any], context: Context | None) -> Image:
        bottom: Any = low
        top: Any = high
        if first is not None or last is not None:
            found = over.apply(image, lambda part: percentile_of(part, shares))
            bottom = found[0] if first is not None else low
            top = found[1] if last is not None else high
        return np.asarray(np.clip(image, bottom, top), dtype=np.float32)

    return _Made(work)


def _sigmoid(arguments: Arguments) -> _Made:
    def work(image: NDArray[Any], context: Context | None) -> Image:
        # By tanh, which does not overflow where exp does.
        out = np.multiply(image, 0.5, dtype=np.float32)
        np.tanh(out, out=out)
        out *= np.float32(0.5)
        out += np.float32(0.5)
        return np.asarray(out)

    return _Made(work)


def _softmax(arguments: Arguments) -> _Made:
    axis = arguments.axis("channel")

    def work(image: NDArray[Any], context: Context | None) -> Image:
        # The largest becomes exp(0): nothing overflows.
        out = np.subtract(image, image.max(axis, keepdims=True), dtype=np.float32)
        np.exp(out, out=out)
        out /= out.sum(axis, keepdims=True)
        return np.asarray(out)

    return _Made(work)


def _binarize(arguments: Arguments) -> _Made:
    threshold = arguments.values("threshold")

    def work(image: NDArray[Any], context: Context | None) -> Image:
        # Half a digit of float64 must not lift a value that float32 calls equal.
        limit = threshold.shaped(image).astype(np.float32)
        return (image > limit).astype(np.float32)

    return _Made(work)


def _ensure_dtype(arguments: Arguments) -> _Made:
    node = arguments.get("dtype")
    name = node.text()
    if name not in _DTYPES:
        raise node.wrong(f"one of {', '.join(_DTYPES)}")
    if name in ("float32", "float64"):
        return _linear(
            lambda count: _pair(np.ones(count), np.zeros(count)),
            lambda image, context: image.astype(np.float32),
        )
    if name == "bool":
        return _Made(lambda image, context: (image != 0).astype(np.float32))
    limits = np.iinfo(name)

    def work(image: NDArray[Any], context: Context | None) -> Image:
        # What a whole number cannot hold is undefined in C; here it is its limit.
        held = np.clip(image.astype(np.float32, copy=False), limits.min, limits.max)
        return np.trunc(held).astype(np.float32, copy=False)

    return _Made(work)


_STATISTICS = ("axes", "eps", "mode")
_MAKERS: dict[str, tuple[Callable[[Arguments], _Made], tuple[str, ...]]] = {
    "zero_mean_unit_variance": (_zero_mean, (*_STATISTICS, "mean", "std")),
    "fixed_zero_mean_unit_variance": (_fixed_zero_mean, ("mean", "std", "axis")),
    "scale_range": (
        _scale_range,
        (*_STATISTICS, "min_percentile", "max_percentile", "reference_tensor"),
    ),
    "scale_mean_variance": (
        _scale_mean_variance,
        (*_STATISTICS, "reference_tensor"),
    ),
    "scale_linear": (_scale_linear, ("gain", "offset", "axis", "axes")),
    "clip": (_clip, ("min", "max", "min_percentile", "max_percentile", "axes")),
    "sigmoid": (_sigmoid, ()),
    "softmax": (_softmax, ("axis",)),
    "binarize": (_binarize, ("threshold", "axis")),
    "ensure_dtype": (_ensure_dtype, ("dtype",)),
}
