"""A model: one image in, its outputs as images out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.core import ModelError
from smartscope.inference._document import refusal
from smartscope.inference._folded import FoldedInput, check_folded, folding_of
from smartscope.inference._intake import Scaled, write_padded
from smartscope.inference._opening import (
    agreement,
    network_inputs,
    open_for,
    reopen,
    tolerance_of,
)
from smartscope.inference._operations import Context
from smartscope.inference._plan import Cut, cut
from smartscope.inference._registry import kind_of
from smartscope.inference._tiles import Blend

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
    shapes : tuple of tuple of int
        Of the images, ``(c, [z,] y, x)``.
    cut : Cut
        Margins and tiles.
    arrays : tuple of ndarray
        The runtime's input arrays, as images ``(c, [z,] y, x)``.
    blends : tuple of Blend
        One for each output; empty with a single tile.
    folded : FoldedInput or None
        Where the runtime does the processing.
    dtype : dtype or None
        Of the frames, where the runtime takes them as they are.
    """

    shapes: tuple[tuple[int, ...], ...]
    cut: Cut
    arrays: tuple[NDArray[Any], ...]
    blends: tuple[Blend, ...]
    folded: FoldedInput | None = None
    dtype: Any = None

    def fits(self, images: Sequence[NDArray[Any]]) -> bool:
        """Whether it was made for images like these."""
        same = self.shapes == tuple(image.shape for image in images)
        return same and self.dtype in (None, images[0].dtype)

    @property
    def sizes(self) -> dict[str, int]:
        """Size of the first image along each axis of space."""
        return dict(zip("xyz", self.shapes[0][:0:-1], strict=False))


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
        # By the type of their frames, None without processing inside.
        self._spare: dict[str | None, Runtime] = {}
        self._unfit: set[str | None] = set()
        self._said: list[str] = []

    @property
    def decoder(self) -> Decoder:
        """What its outputs mean."""
        return self.card.decoder

    @property
    def channels(self) -> int | None:
        """Channels of the image it wants; None if it takes any number."""
        return self.inputs[0].channels

    def prepare(self, *shapes: tuple[int, ...], dtype: Any = np.uint16) -> None:
        """Get ready for images of this size: choose the runtime, compile, warm up.

        Parameters
        ----------
        *shapes : tuple of int
            ``(y, x)``, ``(c, y, x)`` or ``(c, z, y, x)``, one for each input.
        dtype : dtype
            Of the images. On a card, camera counts of 8 and 16 bits each get an
            engine of their own.

        Raises
        ------
        ModelError
            No runtime here runs it, or it takes no image of this size.
        """
        images = [np.zeros([max(0, n) for n in shape], dtype) for shape in shapes]
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
            not finite (but for rays of a ``stardist`` model, which are looked at where
            objects are made of them) or of another size.
        """
        planes = self._planes(images)
        plan = self._plan
        if plan is None or not plan.fits(planes):
            plan = self._prepare(planes)
        # What becomes infinite on the way is seen at the end, and said there.
        with np.errstate(all="ignore"):
            return self._outputs(plan, planes)

    def _outputs(
        self, plan: Plan, planes: Sequence[NDArray[Any]]
    ) -> tuple[NDArray[np.float32], ...]:
        scaled = self._scaled(plan, planes)
        names = [intake.name for intake in self.inputs]
        context = Context(dict(zip(names, planes, strict=True)))
        run = self._single if plan.cut.tiling.single else self._tiled
        found = run(plan, scaled)
        done = (0,) * len(found) if plan.folded is None else plan.folded.done
        return tuple(
            output.finish(image, context, after, self.decoder.read(number))
            for number, (output, image, after) in enumerate(
                zip(self.outputs, found, done, strict=True)
            )
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
        return agreement(self, self._unfolded(), self._tests())

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
            "reports": self._reports(),
        }
        if verdict is not None:
            known["threads"] = verdict.threads
            known["tolerance"] = verdict.tolerance
            known["error"] = verdict.trial.error
            known["from_cache"] = verdict.from_cache
            known["reference"] = verdict.reference
            known["candidates"] = [asdict(trial) for trial in verdict.trials]
        return known

    def _reports(self) -> list[str]:
        """Sentences on what did not go as it should, the choice of runtime first."""
        told = [] if self.verdict is None else self.verdict.reports()
        for runtime in (self.runtime, *self._spare.values()):
            # Engines that were found stale, and the like.
            told += getattr(runtime, "notes", ())
        return list(dict.fromkeys([*told, *self._said]))

    def close(self) -> None:
        """Give back what the runtime holds."""
        open_ones = [*self._spare.values(), self.runtime]
        self._spare.clear()
        self.runtime = self._plan = self._folding = None
        for runtime in open_ones:
            if runtime is not None:
                runtime.close()

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
        found = cut(self.inputs, self.outputs, planes, self.file)
        # Until it is ready for the new size, the old plan's arrays are not its own.
        self._plan = None
        if self.runtime is None:
            self.runtime, self.verdict = open_for(self, list(found.shapes))
        dtype = planes[0].dtype if self._may_fold() else None
        folded = None if dtype is None else self._fold(planes[0], found.shapes[0])
        if folded is not None:
            arrays: tuple[NDArray[Any], ...] = (folded.frame,)
        else:
            arrays = self._unfolded().prepare(list(found.shapes))
        views = tuple(
            intake.layout.as_image(array)
            for intake, array in zip(self.inputs, arrays, strict=True)
        )
        blends: tuple[Blend, ...] = ()
        if not found.tiling.single:
            blends = tuple(Blend(found.tiling, output.scale) for output in self.outputs)
        shapes = tuple(plane.shape for plane in planes)
        self._plan = Plan(shapes, found, views, blends, folded, dtype)
        return self._plan

    def _may_fold(self) -> bool:
        return (
            self.verdict is not None
            and len(self.inputs) == 1
            and kind_of(self.verdict.chosen).folded is not None
        )

    def _fold(self, planes: NDArray[Any], shape: tuple[int, ...]) -> FoldedInput | None:
        """Give the processing to the runtime, where it takes frames like these.

        Where it does not, or gives something else then, processing stays here: slower
        and said, but right.
        """
        folding = folding_of(self.inputs[0], self.outputs, planes.dtype)
        if folding is None or folding.camera in self._unfit:
            return None
        channels = planes.shape[0]
        if self._folding == folding and self.runtime is not None:
            return FoldedInput.prepare(self.runtime, folding, shape, channels)
        runtime, new = self._spare.pop(folding.camera, None), False
        try:
            if runtime is None:
                runtime, new = reopen(self, folding), True
            folded = FoldedInput.prepare(runtime, folding, shape, channels)
            if new:
                plain, allowed = self._unfolded(), tolerance_of(self)
                check_folded(self, folded, runtime, plain, shape, allowed)
        except ModelError as error:
            if runtime is not None:
                runtime.close()
            self._unfit.add(folding.camera)
            self._said.append(f"pre- and post-processing stay on the host: {error}")
            return None
        self._use(runtime, folding)
        return folded

    def _unfolded(self) -> Runtime:
        """The runtime without the processing inside, which becomes the one in use."""
        if self.runtime is None or self._folding is not None:
            spare = self._spare.pop(None, None)
            self._use(reopen(self, None) if spare is None else spare, None)
        if self.runtime is None:
            raise refusal("the model was closed", file=self.file)
        return self.runtime

    def _use(self, runtime: Runtime, folding: Folding | None) -> None:
        """Put a runtime to use; the one before is kept for frames of its type."""
        if self.runtime is not None:
            camera = None if self._folding is None else self._folding.camera
            self._spare[camera] = self.runtime
        self.runtime, self._folding = runtime, folding

    def _scaled(self, plan: Plan, planes: Sequence[NDArray[Any]]) -> list[Scaled]:
        if plan.folded is not None:
            plan.folded.scale(planes[0])
            return [Scaled(planes[0])]
        return [
            intake.scaled(plane)
            for intake, plane in zip(self.inputs, planes, strict=True)
        ]

    def _network(
        self, plan: Plan, scaled: Sequence[Scaled], row: int, column: int
    ) -> list[NDArray[Any]]:
        """Fill the arrays for one tile and run the network."""
        runtime = self.runtime
        if runtime is None:
            raise refusal("the model was closed", file=self.file)
        corner = plan.cut.corner(row, column)
        for image, array, along in zip(
            scaled, plan.arrays, plan.cut.along, strict=True
        ):
            at = corner if along else _centred(image.planes, array)
            write_padded(image, at, array)
        found = runtime.run()
        if len(found) < len(self.outputs):
            raise refusal(
                f"the network gave {len(found)} outputs, the package describes "
                f"{len(self.outputs)}",
                file=self.file,
                fix="fetch the package again",
            )
        order = self.inputs[0].layout.image_order
        given = dict(zip(order, plan.arrays[0].shape, strict=True))
        return [
            output.image(tensor, given)
            for output, tensor in zip(self.outputs, found, strict=False)
        ]

    def _single(self, plan: Plan, scaled: Sequence[Scaled]) -> list[NDArray[Any]]:
        corner = plan.cut.corner(0, 0)
        return [
            output.cropped(image, corner, plan.sizes)
            for output, image in zip(
                self.outputs, self._network(plan, scaled, 0, 0), strict=True
            )
        ]

    def _tiled(self, plan: Plan, scaled: Sequence[Scaled]) -> list[NDArray[Any]]:
        planes = {"z": plan.cut.depth}
        for row, column in plan.cut.tiling:
            images = self._network(plan, scaled, row, column)
            for output, blend, image in zip(
                self.outputs, plan.blends, images, strict=True
            ):
                blend.add(row, column, output.cropped(image, planes, plan.sizes))
        return [blend.image() for blend in plan.blends]


def _centred(planes: NDArray[Any], array: NDArray[Any]) -> dict[str, int]:
    """Corner of an array in whose middle an image lies."""
    return {
        name: -((array.shape[at] - planes.shape[at]) // 2)
        for at, name in zip(range(-1, -array.ndim, -1), "xyz", strict=False)
    }
