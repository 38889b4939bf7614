"""From what a network gives to images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.inference._document import refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from smartscope.inference._axes import Axis, Layout
    from smartscope.inference._operations import Context, Operation


@dataclass(frozen=True, slots=True, eq=False)
class Output:
    """One output of a network.

    Attributes
    ----------
    name : str
        As the package calls it.
    layout : Layout
        Axes, and how their sizes follow from the input.
    operations : tuple of Operation
        Post-processing, in order.
    file : str
        The model, for messages.
    """

    name: str
    layout: Layout
    operations: tuple[Operation, ...]
    file: str

    @property
    def spatial(self) -> bool:
        """It is an image; otherwise a vector for the whole input."""
        return all(self._follows(name) is not None for name in "yx")

    @property
    def scale(self) -> tuple[float, float]:
        """Output pixels for one input pixel along y and x."""
        y, x = self._follows("y"), self._follows("x")
        return (y.scale if y else 1.0, x.scale if x else 1.0)

    def halo(self, name: str) -> int:
        """Input pixels at each end of an axis that spoil or lack output."""
        axis = self._follows(name)
        if axis is None:
            return 0
        return math.ceil(max(axis.halo, -(axis.offset // 2)) / axis.scale)

    def _follows(self, name: str) -> Axis | None:
        """Return the axis of this name, if its size is that of the input."""
        axis = self.layout.axis(name)
        return axis if axis is not None and axis.scale else None

    def image(self, tensor: NDArray[Any], given: Mapping[str, int]) -> NDArray[Any]:
        """View of a tensor as an image that lies on its input.

        Parameters
        ----------
        tensor : ndarray
            From the network.
        given : mapping
            Sizes ``y`` and ``x`` of the input tensor, and ``z`` where it has planes.

        Returns
        -------
        ndarray (c, [z,] y, x)
            ``round(scale * given)`` pixels, unless it is a vector.

        Raises
        ------
        ModelError
            The tensor is not what the package describes.
        """
        try:
            image = self.layout.as_image(tensor)
        except ValueError as error:
            raise refusal(
                f"output '{self.name}' of the network has {error}",
                file=self.file,
                fix="correct the axes of the package",
            ) from error
        for at, name in ((-3, "z"), (-2, "y"), (-1, "x")):
            axis = self.layout.axis(name)
            if axis is None or name not in given:
                continue
            if image.shape[at] != axis.size_for(given[name]):
                raise refusal(
                    f"output '{self.name}' has {image.shape[at]} pixels along {name}; "
                    f"for {given[name]} of the input the package promises "
                    f"{axis.size_for(given[name])}",
                    file=self.file,
                    fix="correct the size of this axis in the package",
                )
            if axis.scale:
                image = _recentred(image, at, axis.offset)
        return image

    def cropped(
        self, image: NDArray[Any], corner: Mapping[str, int], sizes: Mapping[str, int]
    ) -> NDArray[Any]:
        """What lies on the image, without the margin around it.

        Parameters
        ----------
        image : ndarray (c, [z,] y, x)
            As `image` gives it.
        corner : mapping
            First pixel of the tile in the image, 0 or below, along the axes to crop.
        sizes : mapping
            Of the image along each axis.
        """
        part: list[slice] = [slice(None)] * image.ndim
        for at, name in enumerate(reversed(self.layout.image_order[1:]), start=1):
            axis = self._follows(name)
            if axis is None or name not in corner or name not in sizes:
                continue
            start = round(-corner[name] * axis.scale)
            stop = start + math.ceil(sizes[name] * axis.scale)
            part[-at] = slice(start, stop)
        return image[tuple(part)]

    def finish(
        self,
        image: NDArray[Any],
        context: Context,
        done: int = 0,
        read: slice = slice(None),
    ) -> NDArray[np.float32]:
        """Post-processing.

        Parameters
        ----------
        image : ndarray (c, [z,] y, x)
        context : Context
            What operations may know of the inputs.
        done : int
            Operations that the network itself has done.
        read : slice
            Channels of which every value will be read. Looking through those of which
            a decoder takes a few would cost more than all else here.

        Raises
        ------
        ModelError
            Values of these channels that are not finite.
        """
        image = image.astype(np.float32, copy=False)
        for operation in self.operations[done:]:
            image = operation(image, context)
        if not _finite(image[read]):
            raise refusal(
                f"output '{self.name}' holds values that are not finite",
                file=self.file,
                fix="check the weights and the range of the image",
            )
        return image


def _finite(image: NDArray[np.float32]) -> bool:
    if image.flags.c_contiguous:
        # One quick pass; a sum that overflows is no proof, and is looked at below.
        if np.isfinite(np.einsum("i->", image.reshape(-1))):
            return True
    # Both pass NaN on, and each shows one infinity; no array is made for it.
    return bool(np.isfinite(image.min()) and np.isfinite(image.max()))


def _recentred(image: NDArray[Any], at: int, offset: int) -> NDArray[Any]:
    """Cut or fill both ends of an axis, so that it lies on the input again."""
    if offset == 0:
        return image
    first = abs(offset) // 2
    if offset > 0:
        keep = [slice(None)] * image.ndim
        keep[at] = slice(first, first + image.shape[at] - offset)
        return image[tuple(keep)]
    widths = [(0, 0)] * image.ndim
    widths[at] = (first, -offset - first)
    return np.pad(image, widths, mode="edge")
