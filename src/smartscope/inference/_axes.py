"""How a tensor is laid out, and which sizes a network takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

KNOWN = "btczyx"
"""Batch, time, channel, plane, row, column: the axes a tensor of an image can have."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a tensor.

    Attributes
    ----------
    name : str
        One of `KNOWN`.
    least, step : int or None
        Of an input: sizes ``least + n * step`` are taken; step 0 is the one size
        `least`. None is any size. Of an output: `least` is its one size, or None
        where it follows from the input.
    scale : float
        Of an output: pixels of it for one pixel of the input; 0.5 is a grid of 2.
        0 where the size is `offset`, whatever the input has.
    offset : int
        Of an output: pixels by which it is longer (shorter, if negative) than
        ``scale * input``, half of them at each end.
    halo : int
        Of an output: pixels at each end that the border of the input has spoilt.
    """

    name: str
    least: int | None = None
    step: int = 0
    scale: float = 1.0
    offset: int = 0
    halo: int = 0

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

    def size_for(self, given: int) -> int:
        """Size of an output axis for `given` pixels; fractions are cut off."""
        # 3 * (1 / 3) must not become 0.
        return int(self.scale * given + 1e-9) + self.offset


@dataclass(frozen=True, slots=True)
class Layout:
    """Axes of a tensor in the order the network wants them.

    Everywhere else an image is ``(c, y, x)``, or ``(c, z, y, x)`` where the network
    knows planes. A time axis takes the place of a missing channel axis: the frames of
    a window are the channels of one image.
    """

    axes: tuple[Axis, ...]

    @property
    def order(self) -> str:
        """Letters in order, such as ``bcyx``."""
        return "".join(axis.name for axis in self.axes)

    @property
    def channel_axis(self) -> Axis | None:
        """The axis that holds channels, or the frames of a window."""
        return self.axis("c") or self.axis("t")

    @property
    def image_order(self) -> str:
        """Axes of an image for this network: ``cyx`` or ``czyx``."""
        return "czyx" if self.axis("z") else "cyx"

    def axis(self, name: str) -> Axis | None:
        """Return the axis of this name."""
        return next((axis for axis in self.axes if axis.name == name), None)

    def shape(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """Tensor shape of one image with these sizes of ``c``, ``z``, ``y``, ``x``."""
        channels = self.channel_axis
        known = {**sizes, "b": 1, "t": 1}
        if channels is not None:
            known[channels.name] = sizes["c"]
        return tuple(known[name] for name in self.order)

    def as_image(self, tensor: NDArray[Any]) -> NDArray[Any]:
        """View of a tensor of one image in `image_order`; ValueError if it is not one.

        Writing into the view writes into the tensor.
        """
        if tensor.ndim != len(self.axes):
            raise ValueError(f"{tensor.ndim} axes instead of '{self.order}'")
        channels = self.channel_axis
        order = ""
        for axis in self.axes:
            at = len(order)
            if axis.name in "bt" and axis is not channels:
                if tensor.shape[at] != 1:
                    what = "batch" if axis.name == "b" else "time axis"
                    raise ValueError(f"a {what} of {tensor.shape[at]} instead of one")
                # Indexing gives a view, `take` would copy.
                tensor = tensor[(slice(None),) * at + (0,)]
            else:
                order += "c" if axis is channels else axis.name
        # What the network does not have is one plane, row or channel of it.
        for name in self.image_order:
            if name not in order:
                tensor, order = tensor[..., None], order + name
        return tensor.transpose([order.index(name) for name in self.image_order])
