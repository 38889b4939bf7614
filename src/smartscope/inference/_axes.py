"""How a tensor is laid out, and which sizes a network takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

KNOWN = "bcyx"
"""Batch, channel, row, column: the axes an image of one plane can have."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a tensor.

    Attributes
    ----------
    name : str
        ``b``, ``c``, ``y`` or ``x``.
    least, step : int or None
        Sizes ``least + n * step`` are taken; step 0 is the one size `least`. None is
        any size, or one that follows from the input.
    """

    name: str
    least: int | None = None
    step: int = 0

    @property
    def fixed(self) -> int | None:
        """The one size taken, or None."""
        return self.least if self.step == 0 else None

    def legal(self, size: int) -> int | None:
        """Smallest size taken that is at least `size`; None if there is none."""
        if self.least is None:
            return size
        if size <= self.least:
            return self.least
        if self.step == 0:
            return None
        return self.least + self.step * math.ceil((size - self.least) / self.step)


@dataclass(frozen=True, slots=True)
class Layout:
    """Axes of a tensor in the order the network wants them.

    Everywhere else an image is ``(c, y, x)``.
    """

    axes: tuple[Axis, ...]

    @property
    def order(self) -> str:
        """Letters in order, such as ``bcyx``."""
        return "".join(axis.name for axis in self.axes)

    def axis(self, name: str) -> Axis | None:
        """Return the axis of this name."""
        return next((axis for axis in self.axes if axis.name == name), None)

    def shape(self, channels: int, height: int, width: int) -> tuple[int, ...]:
        """Tensor shape of one image."""
        sizes = {"b": 1, "c": channels, "y": height, "x": width}
        return tuple(sizes[name] for name in self.order)

    def as_image(self, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        """View of a tensor of one image as ``(c, y, x)``; ValueError if it is not one.

        Writing into the view writes into the tensor.
        """
        if tensor.ndim != len(self.axes):
            raise ValueError(f"{tensor.ndim} axes instead of '{self.order}'")
        order = self.order
        if "b" in order:
            at = order.index("b")
            if tensor.shape[at] != 1:
                raise ValueError(f"a batch of {tensor.shape[at]} instead of one")
            tensor, order = (
                tensor.take(0, at) if False else _drop(tensor, at),
                (order[:at] + order[at + 1 :]),
            )
        if "c" not in order:
            tensor, order = tensor[np.newaxis], f"c{order}"
        return tensor.transpose([order.index(name) for name in "cyx"])


def _drop(tensor: NDArray[np.float32], at: int) -> NDArray[np.float32]:
    # Indexing gives a view, `take` would copy.
    view: NDArray[np.float32] = tensor[(slice(None),) * at + (0,)]
    return view
