"""How an image is given to a network: sizes it takes, margins, tiles."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from smartscope.inference._document import refusal
from smartscope.inference._tiles import Span, Tiling

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from smartscope.inference._intake import Intake
    from smartscope.inference._outcome import Output

_COARSEST = 1024
TILE_PX = 2048
"""Longest side given to a network at once, unless it takes one larger size only."""


@dataclass(frozen=True, slots=True)
class Cut:
    """What one size of image needs.

    Attributes
    ----------
    tiling : Tiling
        Over rows and columns of the first input.
    depth : int
        First plane of the network's stack in the image; 0 or below.
    shapes : tuple of tuple of int
        Tensor of each input.
    along : tuple of bool
        Inputs that are cut like the first; others are given whole in every tile.
    """

    tiling: Tiling
    depth: int
    shapes: tuple[tuple[int, ...], ...]
    along: tuple[bool, ...]

    def corner(self, row: int, column: int) -> dict[str, int]:
        """First pixel of a tile along ``z``, ``y`` and ``x``."""
        y, x = self.tiling.corner(row, column)
        return {"z": self.depth, "y": y, "x": x}


def cut(
    inputs: Sequence[Intake],
    outputs: Sequence[Output],
    planes: Sequence[NDArray[Any]],
    file: str,
) -> Cut:
    """Find the sizes in which images are given to a network.

    Parameters
    ----------
    inputs : sequence of Intake
    outputs : sequence of Output
    planes : sequence of ndarray (c, [z,] y, x)
        One for each input; only their shapes count.
    file : str
        The model, for messages.

    Raises
    ------
    ModelError
        The network takes nothing of this size.
    """
    return _Cutter(inputs, outputs, planes, file).cut()


class _Cutter:
    def __init__(
        self,
        inputs: Sequence[Intake],
        outputs: Sequence[Output],
        planes: Sequence[NDArray[Any]],
        file: str,
    ) -> None:
        self._inputs, self._outputs, self._file = inputs, outputs, file
        self._sizes = [
            dict(zip(intake.layout.image_order, plane.shape, strict=True))
            for intake, plane in zip(inputs, planes, strict=True)
        ]
        self._whole = all(output.spatial for output in outputs)

    def cut(self) -> Cut:
        """All of it; see `cut`."""
        lengths = self._lengths()
        rows, columns = self._span("y", lengths), self._span("x", lengths)
        tiling = Tiling(rows, columns)
        sizes = self._sizes[0]
        if not tiling.single and not self._whole:
            raise self._too_large(
                "what it gives cannot be put together from tiles",
                "use a smaller ROI or more binning, or a model of another size",
            )
        depth = 0
        if "z" in sizes:
            depth = self._span("z", lengths).starts[0]
            if lengths["z"] < sizes["z"]:
                raise self._too_many(self._inputs[0].name, sizes["z"], "z")
        tensors = {self._inputs[0].name: {**sizes, **lengths}}
        rest = range(1, len(self._inputs))
        along = [self._add(number, lengths, tiling, tensors) for number in rest]
        shapes = tuple(i.layout.shape(tensors[i.name]) for i in self._inputs)
        return Cut(tiling, depth, shapes, (True, *along))

    # -- the first input --------------------------------------------------------------

    def _lengths(self) -> dict[str, int]:
        """Pixels of the network's tensor along each axis of space."""
        sizes, intake = self._sizes[0], self._inputs[0]
        space = [axis for axis in "zyx" if axis in sizes]
        wanted = {axis: self._wanted(axis, sizes[axis]) for axis in space}
        found = {axis: self._legal(axis, size) for axis, size in wanted.items()}
        for axis, follow in intake.follows.items():
            if follow.tensor != intake.name or not {axis, follow.axis} <= set(wanted):
                continue
            least = math.ceil((wanted[axis] - follow.offset) / follow.scale)
            lead = self._legal(follow.axis, max(wanted[follow.axis], least))
            found[follow.axis], found[axis] = lead, follow.size(lead)
        return found

    def _wanted(self, axis: str, size: int) -> int:
        # A network without padding loses its border: the image lies inside of it.
        lost = any(a.offset < 0 for a in self._following(axis))
        least = size + 2 * (self._halo(axis) + self._grid(axis)) * lost
        found = self._inputs[0].layout.axis(axis)
        free = found is None or found.fixed is None
        if axis != "z" and self._whole and free:
            return min(least, TILE_PX)
        return least

    def _legal(self, axis: str, size: int) -> int:
        """Size that is taken, if there is one a multiple of the output's grid."""
        intake, grid = self._inputs[0], self._grid(axis)
        first = intake.legal(axis, size)
        if first is None:
            found = intake.layout.axis(axis)
            return found.fixed or size if found is not None else size
        larger: int | None = first
        for _ in range(grid):
            if larger is None or larger % grid == 0:
                break
            larger = intake.legal(axis, larger + 1)
        return larger if larger is not None and larger % grid == 0 else first

    def _span(self, axis: str, lengths: Mapping[str, int]) -> Span:
        size, length = self._sizes[0][axis], lengths[axis]
        halo, grid = self._halo(axis), self._grid(axis)
        # What is no whole pixel of the output is of no use at the end of a tile.
        tile = length - length % grid if self._whole else length
        if size > tile > 0 and 2 * math.ceil(halo / grid) * grid + grid > tile:
            raise self._too_large(
                f"of {length} pixels along {axis} the package leaves {2 * halo} out",
                "correct 'halo' in the package, or use a smaller image",
            )
        return Span.over(size, tile or length, halo=halo, grid=grid)

    def _following(self, axis: str) -> list[Any]:
        found = [o.layout.axis(axis) for o in self._outputs]
        return [a for a in found if a is not None and a.scale > 0]

    def _grid(self, axis: str) -> int:
        """Input pixels for a whole number of pixels of every output."""
        scales = [Fraction(a.scale) for a in self._following(axis)]
        return math.lcm(*(s.limit_denominator(_COARSEST).denominator for s in scales))

    def _halo(self, axis: str) -> int:
        return max((output.halo(axis) for output in self._outputs), default=0)

    # -- the others -------------------------------------------------------------------

    def _add(
        self,
        number: int,
        lengths: Mapping[str, int],
        tiling: Tiling,
        tensors: dict[str, dict[str, int]],
    ) -> bool:
        """Find the tensor of one more input; whether it is cut like the first."""
        intake, sizes = self._inputs[number], self._sizes[number]
        space = [axis for axis in "zyx" if axis in sizes]
        found = dict(sizes)
        alike = all(sizes[axis] == self._sizes[0].get(axis) for axis in space)
        for axis in space:
            follow = intake.follows.get(axis)
            if follow is not None and follow.axis in tensors.get(follow.tensor, {}):
                found[axis] = follow.size(tensors[follow.tensor][follow.axis])
                continue
            legal = intake.legal(axis, lengths[axis] if alike else sizes[axis])
            if legal is None:
                raise self._too_many(intake.name, sizes[axis], axis)
            found[axis] = legal
        tensors[intake.name] = found
        if alike and all(found[axis] == lengths[axis] for axis in space):
            return True
        for axis in space:
            if found[axis] < sizes[axis]:
                raise self._too_many(intake.name, sizes[axis], axis)
        if alike and not tiling.single:
            raise self._too_large(
                f"the input '{intake.name}' cannot be cut into the same tiles",
                "use a smaller ROI or more binning, or a model of another size",
            )
        return False

    def _too_large(self, reason: str, fix: str) -> Exception:
        sizes = self._sizes[0]
        return refusal(
            f"the image is {sizes['y']} x {sizes['x']} pixels (y, x), more than the "
            f"model takes, and {reason}",
            file=self._file,
            fix=fix,
        )

    def _too_many(self, name: str, size: int, axis: str) -> Exception:
        return refusal(
            f"input '{name}' has {size} pixels along {axis}, more than the model takes",
            file=self._file,
            fix="give it fewer planes or a smaller image",
        )
