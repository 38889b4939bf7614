"""From what a network gives to images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.inference._document import refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from smartscope.inference._axes import Layout
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
        return self.layout.axis("y") is not None

    @property
    def scale(self) -> tuple[float, float]:
        """Output pixels for one input pixel along y and x."""
        y, x = self.layout.axis("y"), self.layout.axis("x")
        return (y.scale if y else 1.0, x.scale if x else 1.0)

    @property
    def halo(self) -> int:
        """Input pixels at each end of a tile that spoil or lack output."""
        axes = [axis for n in "yx" if (axis := self.layout.axis(n))]
        lost = [max(a.halo, -(a.offset // 2)) / a.scale for a in axes]
        return int(np.ceil(max(lost, default=0.0)))

    def image(self, tensor: NDArray[Any], given: Mapping[str, int]) -> NDArray[Any]:
        """View of a tensor as an image that lies on its input.

        Parameters
        ----------
        tensor : ndarray
            From the network.
        given : mapping
            Sizes ``y`` and ``x`` of the input tensor.

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
        if not self.spatial:
            return image
        for at, name in ((-2, "y"), (-1, "x")):
            axis = self.layout.axis(name)
            if axis is None:
                continue
            if image.shape[at] != axis.size_for(given[name]):
                raise refusal(
                    f"output '{self.name}' has {image.shape[at]} pixels along {name}; "
                    f"for {given[name]} of the input the package promises "
                    f"{axis.size_for(given[name])}",
                    file=self.file,
                    fix="correct the size of this axis in the package",
                )
            image = _recentred(image, at, axis.offset)
        return image

    def cropped(
        self, image: NDArray[Any], corner: tuple[int, int], shape: tuple[int, ...]
    ) -> NDArray[Any]:
        """What lies on the image, without the margin around it.

        Parameters
        ----------
        image : ndarray (c, [z,] y, x)
            As `image` gives it.
        corner : (int, int)
            First pixel of the tile in the image, 0 or below.
        shape : tuple of int
            Of the image, ``(c, [z,] y, x)``.
        """
        if not self.spatial:
            return image
        part: list[slice] = [slice(None)] * (image.ndim - 2)
        for first, size, scale in zip(corner, shape[-2:], self.scale, strict=True):
            start = round(-first * scale)
            part.append(slice(start, start + int(np.ceil(size * scale))))
        if image.ndim == 4 and len(shape) == 4:
            start = (image.shape[1] - shape[1]) // 2
            part[1] = slice(start, start + shape[1])
        return image[tuple(part)]

    def finish(
        self, image: NDArray[Any], context: Context, done: int = 0
    ) -> NDArray[np.float32]:
        """Post-processing.

        Parameters
        ----------
        image : ndarray (c, [z,] y, x)
        context : Context
            What operations may know of the inputs.
        done : int
            Operations that the network itself has done.

        Raises
        ------
        ModelError
            Values that are not finite.
        """
        image = image.astype(np.float32, copy=False)
        for operation in self.operations[done:]:
            image = operation(image, context)
        # The sum is the cheap look: it is finite if every value is (and not huge).
        if not np.isfinite(np.add.reduce(image, axis=None)) and not (
            np.isfinite(image).all()
        ):
            raise refusal(
                f"output '{self.name}' holds values that are not finite",
                file=self.file,
                fix="check the weights and the range of the image",
            )
        return image


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
