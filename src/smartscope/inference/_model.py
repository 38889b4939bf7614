"""A model: one image in, its outputs as images out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.inference._document import refusal
from smartscope.inference._folded import FoldedInput, folding_of
from smartscope.inference._intake import Scaled, write_padded
from smartscope.inference._opening import (
    agreement,
    network_inputs,
    open_for,
    reopen,
)
from smartscope.inference._operations import Context
from smartscope.inference._registry import kind_of
from smartscope.inference._tiles import Blend, Span, Tiling

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from smartscope.inference._card import Card, Decoder
    from smartscope.inference._fold import Folding
    from smartscope.inference._intake import Intake
    from smartscope.inference._opening import Agreement
    from smartscope.inference._outcome import Output
    from smartscope.inference._protocol import Runtime, Weights
    from smartscope.inference._verdicts import Verdict

TILE_PX = 2048
"""Longest side given to a network at once, unless it takes one larger size only."""


@dataclass(frozen=True, slots=True)
class Tests:
    """Test tensors of a package, in the layouts of the network.

    Attributes
    ----------
    inputs : tuple of ndarray
        Before pre-processing.
    outputs : tuple of ndarray
        After post-processing.
    """

    inputs: tuple[NDArray[Any], ...]
    outputs: tuple[NDArray[Any], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What one size of image needs, worked out once.

    Attributes
    ----------
    shape : tuple of int
        Image size ``([z,] y, x)`` of the first input.
    tiling : Tiling
        Over rows and columns.
    arrays : tuple of ndarray
        The runtime's input arrays, as images ``(c, [z,] y, x)``.
    blends : tuple of Blend
        One for each output; empty with a single tile.
    folded : FoldedInput or None
        Where the runtime does the processing.
    dtype : dtype or None
        Of the frames, where the runtime takes them as they are.
    """

    shape: tuple[int, ...]
    tiling: Tiling
    arrays: tuple[NDArray[Any], ...]
    blends: tuple[Blend, ...]
    folded: FoldedInput | None = None
    dtype: Any = None

    def fits(self, image: NDArray[Any]) -> bool:
        """Whether it was made for images like this one."""
        return self.shape == image.shape and self.dtype in (None, image.dtype)


class Model:
    """A loaded model; `load_model` makes it.

    Not thread-safe: it keeps its arrays from one image to the next.

    Attributes
    ----------
    name : str
        As the package calls it, or the name of the file.
    file : str
        Path as the user named it, for messages.
    weights : tuple of Weights
        Its networks; the first is the reference.
    card : Card
        What is known of it besides its tensors.
    inputs, outputs : tuple
        In the network's order.
    wanted : str or mapping
        Runtime that was asked for.
    threads : int or None
        Threads of the runtime; None is half of the cores.
    tests : callable or None
        Gives the test tensors of the package; None without.
    runtime : Runtime or None
        What runs it; None before `prepare`.
    verdict : Verdict or None
        Why that runtime, where it was chosen; None before `prepare` or where the
        user named it.
    """

    def __init__(
        self,
        *,
        name: str,
        file: str,
        weights: tuple[Weights, ...],
        card: Card,
        inputs: tuple[Intake, ...],
        outputs: tuple[Output, ...],
        runtime: str | Mapping[str, Any] = "auto",
        threads: int | None = None,
        tests: Callable[[], Tests] | None = None,
    ) -> None:
        self.name = name
        self.file = file
        self.weights = weights
        self.card = card
        self.inputs = inputs
        self.outputs = outputs
        self.tests = tests
        self.runtime: Runtime | None = None
        self.verdict: Verdict | None = None
        self.wanted = runtime
        self.threads = threads
        self._plan: Plan | None = None
        self._folding: Folding | None = None

    @property
    def decoder(self) -> Decoder:
        """What its outputs mean."""
        return self.card.decoder

    @property
    def channels(self) -> int | None:
        """Channels of the image it wants; None if it takes any number."""
        return self.inputs[0].channels

    def prepare(self, *shapes: tuple[int, ...]) -> None:
        """Get ready for images of this size: choose the runtime, compile, warm up.

        Parameters
        ----------
        *shapes : tuple of int
            ``(y, x)``, ``(c, y, x)`` or ``(c, z, y, x)``, one for each input.

        Raises
        ------
        ModelError
            No runtime here runs it, or it takes no image of this size.
        """
        images = [np.zeros(shape, dtype=np.uint16) for shape in shapes]
        self._prepare(self._planes(images))

    def run(self, *images: NDArray[Any]) -> tuple[NDArray[np.float32], ...]:
        """Take one image through the model.

        Parameters
        ----------
        *images : ndarray (y, x), (c, y, x) or (c, z, y, x)
            One for each input: camera counts, or what an earlier step made of them.
            They are not written to.

        Returns
        -------
        tuple of ndarray (c, [z,] y, x) float32
            One for each output, lying on the image; smaller by a whole factor where
            the network works on a coarser grid, ``(c, 1, 1)`` for a vector. They
            belong to the model: the next run overwrites them.

        Raises
        ------
        ModelError
            Wrong size or number of channels, the runtime failed, or what it gave is
            not finite or of another size.
        """
        planes = self._planes(images)
        plan = self._plan
        if plan is None or not plan.fits(planes[0]):
            plan = self._prepare(planes)
        scaled = self._scaled(plan, planes)
        context = Context(
            {
                intake.name: plane
                for intake, plane in zip(self.inputs, planes, strict=True)
            }
        )
        found = self._single(plan, scaled) if plan.tiling.single else None
        if found is None:
            found = self._tiled(plan, scaled)
        done = (0,) * len(found) if plan.folded is None else plan.folded.done
        return tuple(
            output.finish(image, context, after)
            for output, image, after in zip(self.outputs, found, done, strict=True)
        )

    def check(self) -> Agreement:
        """Run the test tensors of the package.

        Returns
        -------
        Agreement
            How far the outputs are from the expected ones.

        Raises
        ------
        ModelError
            The package has no usable test tensors, or the model fails on them.
        """
        if self.runtime is None:
            shapes = [a.shape for a in network_inputs(self, self._tests())]
            self.runtime, self.verdict = open_for(self, shapes)
        # The test gives what the network takes, and the size is its own.
        self._plan = None
        if self._folding is not None:
            self.runtime.close()
            self.runtime, self._folding = reopen(self, None), None
        return agreement(self, self.runtime, self._tests())

    def _tests(self) -> Tests:
        if self.tests is None:
            raise refusal(
                "there are no test tensors to check the model with",
                file=self.file,
                fix="use a package with test_tensor of input and outputs",
            )
        return self.tests()

    def facts(self) -> dict[str, Any]:
        """What the journal keeps: model, hashes, runtime and why it was chosen."""
        runtime, verdict = self.runtime, self.verdict
        known: dict[str, Any] = {
            "name": self.name,
            "version": self.card.version,
            "file": self.file,
            "sha256": {w.file: w.sha256 for w in self.weights},
            "runtime": None if runtime is None else runtime.name,
            "precision": None if runtime is None else runtime.precision,
        }
        if verdict is not None:
            known["threads"] = verdict.threads
            known["tolerance"] = verdict.tolerance
            known["error"] = verdict.trial.error
            known["from_cache"] = verdict.from_cache
            known["reference"] = verdict.reference
            known["candidates"] = [asdict(trial) for trial in verdict.trials]
            known["reports"] = verdict.reports()
        return known

    def close(self) -> None:
        """Give back what the runtime holds."""
        if self.runtime is not None:
            self.runtime.close()
        self.runtime = self._plan = self._folding = None

    def _planes(self, images: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        if len(images) != len(self.inputs):
            wanted = ", ".join(intake.name for intake in self.inputs)
            raise refusal(
                f"the model has {len(self.inputs)} inputs ({wanted}), "
                f"{len(images)} given",
                file=self.file,
                fix="use a model with one input image",
            )
        return [
            intake.planes(image)
            for intake, image in zip(self.inputs, images, strict=True)
        ]

    def _prepare(self, planes: Sequence[NDArray[Any]]) -> Plan:
        tiling = self._tiling(planes)
        shapes = [
            self._tensor_shape(intake, plane, tiling if number == 0 else None)
            for number, (intake, plane) in enumerate(
                zip(self.inputs, planes, strict=True)
            )
        ]
        # Until it is ready for the new size, the old plan's arrays are not its own.
        self._plan = None
        if self.runtime is None:
            self.runtime, self.verdict = open_for(self, shapes)
        folded = self._fold(planes, shapes) if self._may_fold() else None
        if folded is not None:
            arrays: tuple[NDArray[Any], ...] = (folded.frame,)
        else:
            arrays = self.runtime.prepare(shapes)
        views = tuple(
            intake.layout.as_image(array)
            for intake, array in zip(self.inputs, arrays, strict=True)
        )
        blends: tuple[Blend, ...] = ()
        if not tiling.single:
            blends = tuple(Blend(tiling, output.scale) for output in self.outputs)
        dtype = planes[0].dtype if self._may_fold() else None
        self._plan = Plan(planes[0].shape, tiling, views, blends, folded, dtype)
        return self._plan

    def _may_fold(self) -> bool:
        return (
            self.verdict is not None
            and len(self.inputs) == 1
            and kind_of(self.verdict.chosen).folded is not None
        )

    def _fold(
        self, planes: Sequence[NDArray[Any]], shapes: Sequence[tuple[int, ...]]
    ) -> FoldedInput | None:
        """Give the processing to the runtime, where it takes frames like these."""
        folding = folding_of(self.inputs[0], self.outputs, planes[0].dtype)
        if self.runtime is None or folding != self._folding:
            if self.runtime is not None:
                self.runtime.close()
            self.runtime = reopen(self, folding)
            self._folding = folding
        if folding is None:
            return None
        channels = planes[0].shape[0]
        return FoldedInput.prepare(self.runtime, folding, shapes[0], channels)

    def _scaled(self, plan: Plan, planes: Sequence[NDArray[Any]]) -> list[Scaled]:
        if plan.folded is not None:
            plan.folded.scale(planes[0])
            return [Scaled(planes[0])]
        return [
            intake.scaled(plane)
            for intake, plane in zip(self.inputs, planes, strict=True)
        ]

    def _tiling(self, planes: Sequence[NDArray[Any]]) -> Tiling:
        halo = max((output.halo for output in self.outputs), default=0)
        grid = max((max(1, round(1 / min(o.scale))) for o in self.outputs), default=1)
        height, width = planes[0].shape[-2:]
        spans = [
            Span.over(size, self._tile(axis, size, halo, grid), halo=halo, grid=grid)
            for axis, size in (("y", height), ("x", width))
        ]
        tiling = Tiling(*spans)
        if not tiling.single and not all(o.spatial for o in self.outputs):
            raise self._too_large(height, width)
        return tiling

    def _tile(self, axis: str, size: int, halo: int, grid: int) -> int:
        """Pixels given to the network along an axis."""
        intake, found = self.inputs[0], self.inputs[0].layout.axis(axis)
        # A network without padding loses its border: the image lies inside of it.
        lost = any(out.offset < 0 for o in self.outputs if (out := o.layout.axis(axis)))
        legal = intake.legal(axis, size + 2 * (halo + grid) * lost)
        fixed = None if found is None else found.fixed
        if legal is None:
            return fixed or size
        if legal > TILE_PX and fixed is None and len(self.inputs) == 1:
            return intake.legal(axis, TILE_PX) or TILE_PX
        return legal

    def _too_large(self, height: int, width: int) -> Exception:
        return refusal(
            f"the image is {height} x {width} pixels (y, x), more than the model "
            "takes, and what it gives cannot be put together from tiles",
            file=self.file,
            fix="use a smaller ROI or more binning, or a model of another size",
        )

    def _tensor_shape(
        self, intake: Intake, plane: NDArray[Any], tiling: Tiling | None
    ) -> tuple[int, ...]:
        sizes = dict(zip(intake.layout.image_order, plane.shape, strict=True))
        if tiling is not None:
            sizes["y"], sizes["x"] = tiling.rows.tile, tiling.columns.tile
        for axis in [a for a in "zyx" if a in sizes and (a == "z" or tiling is None)]:
            legal = intake.legal(axis, sizes[axis])
            if legal is None:
                raise refusal(
                    f"input '{intake.name}' has {sizes[axis]} pixels along {axis}, "
                    "more than the model takes",
                    file=self.file,
                    fix="give it fewer planes or a smaller image",
                )
            sizes[axis] = legal
        return intake.layout.shape(sizes)

    def _network(
        self, plan: Plan, scaled: Sequence[Scaled], row: int, column: int
    ) -> list[NDArray[Any]]:
        """Fill the arrays for one tile and run the network."""
        runtime = self.runtime
        if runtime is None:
            raise refusal("the model was closed", file=self.file)
        y, x = plan.tiling.corner(row, column)
        for number, (image, array) in enumerate(zip(scaled, plan.arrays, strict=True)):
            corner = {
                name: -((array.shape[at] - image.planes.shape[at]) // 2)
                for at, name in zip(range(-1, -array.ndim, -1), "xyz", strict=False)
            }
            write_padded(image, corner if number else {**corner, "y": y, "x": x}, array)
        found = runtime.run()
        if len(found) < len(self.outputs):
            raise refusal(
                f"the network gave {len(found)} outputs, the package describes "
                f"{len(self.outputs)}",
                file=self.file,
                fix="fetch the package again",
            )
        given = dict(zip("yx", plan.arrays[0].shape[-2:], strict=True))
        return [
            output.image(tensor, given)
            for output, tensor in zip(self.outputs, found, strict=False)
        ]

    def _single(self, plan: Plan, scaled: Sequence[Scaled]) -> list[NDArray[Any]]:
        corner = plan.tiling.corner(0, 0)
        return [
            output.cropped(image, corner, plan.shape)
            for output, image in zip(
                self.outputs, self._network(plan, scaled, 0, 0), strict=True
            )
        ]

    def _tiled(self, plan: Plan, scaled: Sequence[Scaled]) -> list[NDArray[Any]]:
        for row, column in plan.tiling:
            images = self._network(plan, scaled, row, column)
            for blend, image in zip(plan.blends, images, strict=True):
                blend.add(row, column, image)
        return [blend.image() for blend in plan.blends]
