"""From a camera frame to what a network reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.core import ModelError
from smartscope.inference._document import refusal
from smartscope.inference._operations import is_wide

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from smartscope.inference._axes import Layout
    from smartscope.inference._operations import Operation
    from smartscope.inference._rdf_tensor import Follow

_SPATIAL = "zyx"


@dataclass(frozen=True, slots=True, eq=False)
class Scaled:
    """An image on its way into the network.

    Attributes
    ----------
    planes : ndarray (c, [z,] y, x)
        As acquired, of the camera's type, or float32 after all operations.
    gain, offset : ndarray (c, 1, ...) float32 or None
        Still to be applied while the image is copied into the network's array.
    """

    planes: NDArray[Any]
    gain: NDArray[np.float32] | None = None
    offset: NDArray[np.float32] | None = None

    def write(self, region: tuple[slice, ...], into: NDArray[Any]) -> None:
        """Write a region of the image (slices of its space axes) into an array."""
        part = self.planes[(slice(None), *region)]
        direct = into.dtype.kind == "f" or np.can_cast(part.dtype, into.dtype)
        if self.gain is None and direct:
            into[...] = part
        elif self.gain is None or into.dtype.kind != "f":
            self._write_whole(part, into)
        elif self.offset is not None and into.dtype == np.float32:
            # Plane by plane, so that the next pass finds it in the cache: half the time
            # of one that casts and multiplies at once.
            for plane, found, gain, offset in zip(
                part, into, self.gain, self.offset, strict=True
            ):
                found[...] = plane
                found *= gain
                found += offset
        else:
            np.multiply(part, self.gain, out=into, casting="unsafe")
            into += self.offset

    def _write_whole(self, part: NDArray[Any], into: NDArray[Any]) -> None:
        """Write for a network that reads whole numbers, within their limits."""
        exact = part
        if self.gain is not None and self.offset is not None:
            exact = part * self.gain + self.offset
        if exact.dtype.kind == "f" and not np.isfinite(exact).all():
            raise ModelError(
                "the image holds values that are not finite, and the network reads "
                "whole numbers; correct the step that made the image"
            )
        if into.dtype.kind in "iu":
            limits = np.iinfo(into.dtype)
            exact = np.clip(exact, limits.min, limits.max)
        np.copyto(into, exact, casting="unsafe")


@dataclass(frozen=True, slots=True, eq=False)
class Intake:
    """One input of a network.

    Attributes
    ----------
    name : str
        As the package calls it.
    layout : Layout
        Axes and sizes.
    operations : tuple of Operation
        Pre-processing, in order.
    file : str
        The model, for messages.
    follows : mapping of str to Follow
        Axes whose size is tied to another axis of an input.
    """

    name: str
    layout: Layout
    operations: tuple[Operation, ...]
    file: str
    follows: Mapping[str, Follow] = field(default_factory=dict)

    @property
    def channels(self) -> int | None:
        """Channels of the image it wants; None if it takes any number."""
        axis = self.layout.channel_axis
        return 1 if axis is None else axis.fixed

    def planes(self, image: NDArray[Any]) -> NDArray[Any]:
        """View of an image as ``(c, [z,] y, x)``; ModelError if it is not one."""
        image = np.asarray(image)
        if image.dtype.kind not in "buif":
            raise refusal(
                f"the image holds {image.dtype}, not plain numbers", file=self.file
            )
        order = self.layout.image_order
        if image.ndim == len(order) - 1:
            image = image[np.newaxis]
        wanted = self.channels
        if image.ndim != len(order) or wanted not in (None, image.shape[0]):
            shown = " x ".join(map(str, image.shape))
            many = "any number of" if wanted is None else str(wanted)
            raise refusal(
                f"the model wants {many} channel(s) in the order "
                f"({', '.join(order)}), the image is {shown}",
                file=self.file,
                fix="give the stage as many channels with 'on', or use another model",
            )
        if not image.size:
            shown = " x ".join(map(str, image.shape))
            raise refusal(f"the image is empty ({shown})", file=self.file)
        return image

    def legal(self, axis: str, size: int) -> int | None:
        """Smallest size taken along an axis; None if none is as large."""
        found = self.layout.axis(axis)
        return size if found is None else found.legal(size)

    def scaled(self, planes: NDArray[Any]) -> Scaled:
        """Work out the pre-processing of an image.

        What is one multiplication and one addition for each channel is left to the
        copy into the network's array; anything else is done here.
        """
        if is_wide(planes.dtype):
            # One number for gain and one for offset would cost digits: step by step.
            gain, offset, rest = None, None, self._steps
        else:
            gain, offset, rest = self._affine(planes)
        if not rest:
            return Scaled(planes, gain, offset)
        image = planes
        if gain is not None:
            image = np.asarray(np.multiply(planes, gain, dtype=np.float32))
            image += offset
        for operation in rest:
            image = operation(image)
        return Scaled(image)

    @property
    def _steps(self) -> tuple[Operation, ...]:
        return tuple(step for step in self.operations if not step.identity)

    def _affine(self, planes: NDArray[Any]) -> tuple[Any, Any, tuple[Operation, ...]]:
        """Gain and offset of the first operations together, and those left."""
        gain: Any = None
        offset: Any = None
        steps = self._steps
        for number, operation in enumerate(steps):
            found = operation.affine
            if found is None or (gain is not None and not operation.constant):
                return gain, offset, steps[number:]
            g, o = (_per_channel(part, planes.ndim) for part in found(planes))
            gain, offset = (g, o) if gain is None else (gain * g, offset * g + o)
        return gain, offset, ()


def _per_channel(values: NDArray[np.float32], ndim: int) -> NDArray[np.float32]:
    return np.asarray(values, dtype=np.float32).reshape((-1,) + (1,) * (ndim - 1))


def write_padded(scaled: Scaled, corner: Mapping[str, int], into: NDArray[Any]) -> None:
    """Write the part of an image that a tile sees, mirrored where the image ends.

    Parameters
    ----------
    scaled : Scaled
        The image.
    corner : mapping
        First pixel of the tile along ``z``, ``y``, ``x``; below 0 in a margin.
    into : ndarray (c, [z,] y, x)
        The network's array.
    """
    axes = _SPATIAL[-(into.ndim - 1) :]
    inner, region, mirrored = [], [], []
    for at, axis in enumerate(axes, start=1):
        size, room, start = scaled.planes.shape[at], into.shape[at], corner[axis]
        first, last = max(start, 0), min(start + room, size)
        region.append(slice(first, last))
        inner.append(slice(first - start, last - start))
        if first != start or last != start + room:
            mirrored.append((at, first - start, last - start))
    scaled.write(tuple(region), into[(slice(None), *inner)])
    # One axis after the other: the corners come with the second.
    for at, first, last in mirrored:
        _mirror(np.moveaxis(into, at, 0), first, last)


def _mirror(rows: NDArray[Any], first: int, last: int) -> None:
    """Fill rows outside of ``first:last`` with the mirror image of those inside."""
    size = last - first
    # What the period of a mirrored row is; a single row repeats itself.
    period = max(1, 2 * (size - 1))
    for row in (*range(first), *range(last, len(rows))):
        at = (row - first) % period
        rows[row] = rows[first + min(at, period - at if size > 1 else 0)]
