"""Arguments of operations: which axes, which values, which other tensor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.inference._axes import KNOWN
from smartscope.inference._operations_stats import mean_and_deviation, percentiles

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from smartscope.inference._document import Node
    from smartscope.inference._operations import Context

_LONG = {"batch": "b", "channel": "c", "time": "t"}

Find = Callable[["NDArray[Any]"], tuple[float, float]]


def parts_of(node: Node) -> tuple[str, Node]:
    """Name and arguments of an operation, however it is written."""
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
    node.mapping()
    return node


def statistics_of(part: NDArray[Any]) -> tuple[float, float]:
    """Mean and standard deviation."""
    return mean_and_deviation(part)


def percentile_of(
    part: NDArray[Any], percents: tuple[float, float]
) -> tuple[float, float]:
    """Two percentiles."""
    low, high = percentiles(part, percents)
    return float(low), float(high)


@dataclass(frozen=True, slots=True)
class Over:
    """Axes of an image that a statistic runs over.

    Attributes
    ----------
    axes : tuple of int
        Axes of ``(c, [z,] y, x)``.
    ndim : int
        Axes such an image has.
    """

    axes: tuple[int, ...]
    ndim: int

    @property
    def whole_planes(self) -> bool:
        """The statistic is one number for each channel, or for all of them."""
        return set(range(1, self.ndim)) <= set(self.axes)

    def by_channel(
        self, image: NDArray[Any], find: Find
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What `find` gives, ``(c,)`` each; for `whole_planes`."""
        if 0 in self.axes:
            found = [find(image)] * image.shape[0]
        else:
            found = [find(plane) for plane in image]
        first, second = np.array(found, dtype=np.float64).T
        return first, second

    def apply(
        self, image: NDArray[Any], find: Find
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What `find` gives, shaped so that it meets the image."""
        kept = [at for at in range(image.ndim) if at not in self.axes]
        shape = [image.shape[at] if at in kept else 1 for at in range(image.ndim)]
        moved = image.transpose([*kept, *self.axes])
        rows = moved.reshape(int(np.prod([image.shape[at] for at in kept])), -1)
        found = np.array([find(row) for row in rows], dtype=np.float64)
        first, second = found.T
        return first.reshape(shape), second.reshape(shape)


@dataclass(frozen=True, slots=True)
class Values:
    """One number, or several along an axis.

    Attributes
    ----------
    numbers : ndarray (n,) float64
    axis : int
        Of the image.
    node : Node
        Where they are written.
    """

    numbers: NDArray[np.float64]
    axis: int
    node: Node

    @property
    def along_channels(self) -> bool:
        """One number, or one for each channel."""
        return self.axis == 0 or self.numbers.size == 1

    def spread(self, count: int) -> NDArray[np.float64]:
        """One for each of `count` channels; ModelError if there are others."""
        self.check(count)
        return np.broadcast_to(self.numbers, (count,))

    def shaped(self, image: NDArray[Any]) -> NDArray[np.float64]:
        """Shaped so that they meet the image; ModelError if they do not."""
        self.check(image.shape[self.axis])
        shape = [1] * image.ndim
        shape[self.axis] = self.numbers.size
        return self.numbers.reshape(shape)

    def check(self, count: int) -> None:
        """Refuse a number of values that does not fit."""
        if self.numbers.size not in (1, count):
            raise self.node.refuse(
                f"has {self.numbers.size} values for {count} along its axis",
                "give one number, or one for each",
            )


@dataclass(frozen=True, slots=True)
class Reference:
    """Another tensor whose statistics are used."""

    name: str
    node: Node

    def image(self, context: Context | None, own: NDArray[Any]) -> NDArray[Any]:
        """Return the image of that input; ModelError if it was not given."""
        if context is None or self.name not in context.inputs:
            raise self.node.refuse(f"the image of the input '{self.name}' is not known")
        found = context.inputs[self.name]
        if found.ndim != own.ndim:
            raise self.node.refuse(
                f"'{self.name}' has {found.ndim} axes, not {own.ndim}"
            )
        return found


@dataclass(frozen=True, slots=True)
class Arguments:
    """Arguments of one operation on images of one order of axes."""

    node: Node
    order: str
    channels: int | None

    def get(self, key: str) -> Node:
        """One argument."""
        return self.node.get(key)

    def number(self, key: str, default: float) -> float:
        """Return a number, or its default."""
        node = self.get(key)
        return node.number() if node else default

    def optional(self, key: str) -> float | None:
        """Return a number, or None."""
        node = self.get(key)
        return node.number() if node else None

    def eps(self) -> float:
        """Return the small number that keeps divisions finite."""
        eps = self.number("eps", 1e-6)
        if not 0 < eps <= 0.1:
            raise self.get("eps").wrong("a number above 0, up to 0.1")
        return eps

    def mode(self, known: Sequence[str]) -> str:
        """Return the mode; the first known one where none is stated."""
        node = self.get("mode")
        if not node:
            return known[0]
        if node.value == "per_dataset":
            raise node.refuse(
                "mode 'per_dataset' is not supported, because the package does not "
                "state the statistics of that dataset",
                "export the model with the values (mode 'fixed'), or with 'per_sample'",
            )
        if node.value not in known:
            raise node.wrong(f"one of {', '.join(known)}")
        return str(node.value)

    def over(self) -> Over:
        """Axes a statistic runs over; all where nothing is said."""
        node = self.get("axes")
        every = tuple(range(len(self.order)))
        if not node:
            return Over(every, len(self.order))
        letters = _letters(node)
        axes = {self._at(letter) for letter in letters} - {None}
        # A batch is one image: statistics over nothing else are over each value.
        if not axes:
            raise node.refuse("a statistic over the batch alone is not supported")
        return Over(tuple(at for at in every if at in axes), len(self.order))

    def axis(self, default: str) -> int:
        """Return the axis an operation runs along."""
        node = self.get("axis")
        letter = _letters(node)[0] if node else _LONG.get(default, default)
        at = self._at(letter)
        if at is None:
            raise node.refuse(f"there is no axis '{letter}' to work along")
        return at

    def values(self, key: str, default: float | None = None) -> Values:
        """Return one number, or several along ``axis`` (those left by ``axes``)."""
        node = self.get(key)
        if not node and default is not None:
            return Values(np.array([default]), 0, node)
        if not isinstance(node.value, list):
            return Values(np.array([node.number()]), 0, node)
        numbers = np.array([item.number() for item in node.items()])
        if not numbers.size:
            raise node.wrong("a number, or one for each channel")
        values = Values(numbers, self._along(), node)
        if values.axis == 0 and self.channels is not None:
            values.check(self.channels)
        return values

    def reference(self) -> Reference | None:
        """Return the tensor whose statistics are used, if it is another one."""
        node = self.get("reference_tensor")
        return Reference(node.text(), node) if node else None

    def _along(self) -> int:
        """Axis of several values: ``axis`` (0.5), or the one not in ``axes`` (0.4)."""
        if self.get("axis"):
            return self.axis("channel")
        node = self.get("axes")
        if not node:
            return 0
        joint = {self._at(letter) for letter in _letters(node)}
        left = [at for at in range(len(self.order)) if at not in joint]
        # Without channels in a package its images have one here.
        if len(left) > 1 and left[0] == 0 and self.channels == 1:
            left = left[1:]
        if len(left) != 1:
            raise node.refuse("several values need exactly one axis outside of 'axes'")
        return left[0]

    def _at(self, letter: str) -> int | None:
        """Axis of a letter; frames of a window are channels."""
        letter = "c" if letter == "t" else letter
        return self.order.index(letter) if letter in self.order else None


def settings_of(name: str, node: Node) -> dict[str, Any]:
    """Arguments as format 0.5 writes them, whatever format they came in."""
    found = {key: value for key, value in node.mapping().items() if key != "mode"}
    axes = found.pop("axes", None)
    if name in ("scale_linear", "fixed_zero_mean_unit_variance"):
        several = any(isinstance(value, list) for value in found.values())
        if several and "axis" not in found:
            joint = _letters(node.get("axes")) if axes is not None else list("zyx")
            left = [letter for letter in "czyx" if letter not in joint]
            found["axis"] = _id(left[0])
        # Format 0.5 knows no eps where the deviation is given.
        eps = found.pop("eps", 1e-6 if "mode" in node.mapping() else 0.0)
        if "std" in found and eps:
            std = found["std"]
            several = isinstance(std, list)
            found["std"] = [v + eps for v in std] if several else std + eps
    elif axes is not None:
        found["axes"] = [_id(letter) for letter in _letters(node.get("axes"))]
    return found


def _id(letter: str) -> str:
    return next((long for long, short in _LONG.items() if short == letter), letter)


def _letters(node: Node) -> list[str]:
    value = node.value
    if isinstance(value, str) and value not in _LONG:
        names: list[Any] = list(value)
    else:
        names = list(value) if isinstance(value, list) else [value]
    letters = [_LONG.get(str(name), str(name)) for name in names]
    if not letters or any(letter not in KNOWN for letter in letters):
        raise node.wrong("axes out of batch, channel, time, z, y, x")
    return letters
