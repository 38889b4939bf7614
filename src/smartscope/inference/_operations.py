"""Pre- and post-processing as bioimage.io packages describe it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.inference._axes import KNOWN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from smartscope.inference._document import Node

Work = Callable[["NDArray[np.float32]"], "NDArray[np.float32]"]

_LONG = {"batch": "b", "channel": "c"}
_DTYPES = (
    *("float32", "float64", "bool"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
)


@dataclass(frozen=True, slots=True)
class Operation:
    """One step on an image ``(c, y, x)`` float32.

    Attributes
    ----------
    name : str
        As the specification calls it.
    settings : mapping
        Its arguments, for a person to read.
    work : callable
        Gives a new image.
    """

    name: str
    settings: Mapping[str, Any]
    work: Work

    def __call__(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the image after this step."""
        return self.work(image)


def operation_of(node: Node) -> Operation:
    """Read one operation.

    Written ``{id: clip, kwargs: {min: 0}}`` (format 0.5; ``name`` in 0.4), and in an
    experiment also ``{clip: {min: 0}}`` or plain ``sigmoid``.

    Raises
    ------
    ModelError
        Unknown operation, argument or value; the sentence names the operation.
    """
    name, arguments = _parts(node)
    if name not in _MAKERS:
        raise node.refuse(
            f"the operation '{name}' is not supported",
            f"use a model that needs only: {', '.join(_MAKERS)}",
        )
    maker, known = _MAKERS[name]
    for key in arguments.value or {}:
        if key not in known:
            what = f"'{name}' with '{key}' is not supported"
            raise node.refuse(what, f"known: {', '.join(known)}" if known else "")
    return Operation(name, dict(arguments.value or {}), maker(arguments))


def _parts(node: Node) -> tuple[str, Node]:
    value = node.value
    if isinstance(value, str):
        return value, type(node)(None, node.file, node.field)
    if isinstance(value, dict):
        for key in ("id", "name"):
            if key in value:
                return node.get(key).text(), _mapping(node.get("kwargs"))
        if len(value) == 1:
            key = str(next(iter(value)))
            return key, _mapping(node.get(key))
    raise node.wrong("an operation with its 'id'")


def _mapping(node: Node) -> Node:
    if node and not isinstance(node.value, dict):
        raise node.wrong("a mapping")
    return node


def _number(arguments: Node, key: str, default: float | None = None) -> float:
    node = arguments.get(key)
    return default if default is not None and not node else node.number()


def _over(arguments: Node) -> tuple[int, ...]:
    """Axes of ``(c, y, x)`` that statistics run over; all where nothing is said."""
    node = arguments.get("axes")
    if not node:
        return (0, 1, 2)
    value = node.value
    names = list(value) if isinstance(value, str | list) else [None]
    letters = [_LONG.get(str(name), str(name)) for name in names]
    if not letters or any(letter not in KNOWN for letter in letters):
        raise node.wrong("axes out of batch, channel, y, x")
    return tuple(i for i, name in enumerate("cyx") if name in letters)


def _per_sample(arguments: Node) -> None:
    mode = arguments.get("mode")
    if mode and mode.value != "per_sample":
        raise mode.refuse(
            f"mode '{mode.value}' is not supported", "only 'per_sample' is"
        )


def _values(arguments: Node, key: str, default: float) -> Any:
    """One number, or one for each channel as ``(c, 1, 1)``."""
    node = arguments.get(key)
    if not isinstance(node.value, list):
        return np.float32(node.number() if node else default)
    axis = arguments.get("axis")
    if axis and axis.value not in ("channel", "c"):
        raise axis.refuse("several values go with axis 'channel' only")
    several = [item.number() for item in node.items()]
    if not several:
        raise node.wrong("a number, or one for each channel")
    return np.asarray(several, dtype=np.float32)[:, None, None]


def _zero_mean(arguments: Node) -> Work:
    _per_sample(arguments)
    axes, eps = _over(arguments), _number(arguments, "eps", 1e-6)

    def work(image: NDArray[np.float32]) -> NDArray[np.float32]:
        # Sums over a large image need more than float32.
        mean = image.mean(axes, dtype=np.float64, keepdims=True)
        spread = image.std(axes, dtype=np.float64, keepdims=True) + eps
        scaled = (image - mean.astype(np.float32)) / spread.astype(np.float32)
        return np.asarray(scaled, dtype=np.float32)

    return work


def _scale_range(arguments: Node) -> Work:
    _per_sample(arguments)
    axes, eps = _over(arguments), _number(arguments, "eps", 1e-6)
    low = _number(arguments, "min_percentile", 0.0)
    high = _number(arguments, "max_percentile", 100.0)
    if not 0 <= low < high <= 100:
        raise arguments.refuse("percentiles must rise from 0 to 100")

    def work(image: NDArray[np.float32]) -> NDArray[np.float32]:
        bottom, top = np.percentile(image, [low, high], axis=axes, keepdims=True)
        scale = (top - bottom + eps).astype(np.float32)
        return np.asarray((image - bottom.astype(np.float32)) / scale)

    return work


def _scale_linear(arguments: Node) -> Work:
    gain, offset = _values(arguments, "gain", 1.0), _values(arguments, "offset", 0.0)
    return lambda image: np.asarray(image * gain + offset, dtype=np.float32)


def _clip(arguments: Node) -> Work:
    low, high = (
        _number(arguments, key) if arguments.get(key) else None
        for key in ("min", "max")
    )
    if low is None and high is None:
        raise arguments.refuse("'clip' needs min or max")
    if low is not None and high is not None and low > high:
        raise arguments.refuse("min is above max")
    return lambda image: np.asarray(np.clip(image, low, high), dtype=np.float32)


def _sigmoid(arguments: Node) -> Work:
    def work(image: NDArray[np.float32]) -> NDArray[np.float32]:
        # By tanh, which does not overflow where exp does.
        half = np.float32(0.5)
        return np.asarray(half + half * np.tanh(half * image))

    return work


def _binarize(arguments: Node) -> Work:
    if not arguments.get("threshold"):
        raise arguments.get("threshold").wrong("a number")
    threshold = _values(arguments, "threshold", 0.0)
    return lambda image: (image > threshold).astype(np.float32)


def _ensure_dtype(arguments: Node) -> Work:
    node = arguments.get("dtype")
    name = node.text()
    if name not in _DTYPES:
        raise node.wrong(f"one of {', '.join(_DTYPES)}")
    if name in ("float32", "float64"):
        return lambda image: image
    if name == "bool":
        return lambda image: (image != 0).astype(np.float32)
    limits = np.iinfo(name)

    def work(image: NDArray[np.float32]) -> NDArray[np.float32]:
        # What a whole number cannot hold is undefined in C; here it is its limit.
        return np.trunc(np.clip(image, limits.min, limits.max)).astype(np.float32)

    return work


_MAKERS: dict[str, tuple[Callable[[Node], Work], tuple[str, ...]]] = {
    "zero_mean_unit_variance": (_zero_mean, ("axes", "eps", "mode")),
    "scale_range": (
        _scale_range,
        ("axes", "eps", "mode", "min_percentile", "max_percentile"),
    ),
    "scale_linear": (_scale_linear, ("gain", "offset", "axis", "axes")),
    "clip": (_clip, ("min", "max")),
    "sigmoid": (_sigmoid, ()),
    "binarize": (_binarize, ("threshold", "axis")),
    "ensure_dtype": (_ensure_dtype, ("dtype",)),
}
