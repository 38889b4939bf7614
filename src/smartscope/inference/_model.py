"""A model: one image in, its outputs as images out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from smartscope.inference._document import refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from smartscope.inference._axes import Layout
    from smartscope.inference._operations import Operation
    from smartscope.inference._runtime import Runtime

Kind = Literal["mask", "restored", "spots"]
KINDS: tuple[str, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class Decoder:
    """What the numbers that come out mean.

    Attributes
    ----------
    kind : str or None
        ``mask`` foreground probability, cut into objects; ``restored`` an image;
        ``spots`` a heat map with a peak at each spot. None: the package does not say.
    output, channel : int
        Which output, and which channel of it (0-based).
    threshold : float or None
        Where probability or heat map is cut; None leaves it to the stage.
    """

    kind: Kind | None = None
    output: int = 0
    channel: int = 0
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class Output:
    """Layout and post-processing of one output."""

    layout: Layout
    operations: tuple[Operation, ...] = ()


@dataclass(slots=True, kw_only=True, eq=False)
class Model:
    """A loaded model; `load_model` makes it.

    Not thread-safe: it keeps its input tensor from one image to the next.

    Attributes
    ----------
    name : str
        As the package calls it, or the name of the file.
    file : str
        Path as the user named it, for messages.
    sha256 : str
        SHA-256 of the weights, hexadecimal.
    runtime : Runtime
        What runs it.
    decoder : Decoder
        What its outputs mean.
    layout : Layout
        Axes and sizes of its input.
    preprocessing : tuple of Operation
        Done to an image before padding.
    outputs : tuple of Output
        In the network's order.
    tests : callable or None
        Gives test input and expected outputs, ``(input, outputs)`` in the layouts of
        the network; None without.
    """

    name: str
    file: str
    sha256: str
    runtime: Runtime
    decoder: Decoder
    layout: Layout
    preprocessing: tuple[Operation, ...]
    outputs: tuple[Output, ...]
    tests: Callable[[], tuple[NDArray[Any], list[NDArray[Any]]]] | None = None
    _tensor: NDArray[np.float32] = field(
        default_factory=lambda: np.zeros(0, dtype=np.float32)
    )

    @property
    def channels(self) -> int:
        """Channels of the image it wants."""
        axis = self.layout.axis("c")
        return 1 if axis is None or axis.least is None else axis.least

    def padded(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Size ``(y, x)`` an image of this size is padded to.

        Raises
        ------
        ModelError
            The network takes nothing as large.
        """
        sizes = []
        for name, size in zip("yx", shape, strict=True):
            axis = self.layout.axis(name)
            legal = size if axis is None else axis.legal(size)
            if legal is None:
                most = [a.fixed for n in "yx" if (a := self.layout.axis(n))]
                raise refusal(
                    f"the image is {shape[0]} x {shape[1]} pixels (y, x), the model "
                    f"takes at most {' x '.join(str(m or 'any') for m in most)}",
                    file=self.file,
                    fix="use a smaller ROI or more binning, or a model of another size",
                )
            sizes.append(legal)
        return sizes[0], sizes[1]

    def run(self, image: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        """Take one image through the model.

        Parameters
        ----------
        image : ndarray (y, x) or (c, y, x)
            Camera counts, or what an earlier step made of them. It is not written to.

        Returns
        -------
        tuple of ndarray (c, y, x) float32
            One for each output, of the size of the image.

        Raises
        ------
        ModelError
            Wrong size or number of channels, the runtime failed, or what it gave is
            not finite or of another size.
        """
        planes = np.asarray(image, dtype=np.float32)
        planes = planes[np.newaxis] if planes.ndim == 2 else planes
        if planes.ndim != 3 or planes.shape[0] != self.channels:
            raise refusal(
                f"the model wants {self.channels} channels, the image has "
                f"{planes.shape[0] if planes.ndim == 3 else 'none'}",
                file=self.file,
                fix="use a model for this number of channels",
            )
        height, width = planes.shape[1:]
        size = self.padded((height, width))
        for operation in self.preprocessing:
            planes = operation(planes)
        top, left = (size[0] - height) // 2, (size[1] - width) // 2
        found = self.runtime.run(self._filled(planes, size, top, left))
        if len(found) < len(self.outputs):
            raise refusal(
                f"the network gave {len(found)} outputs, the package describes "
                f"{len(self.outputs)}",
                file=self.file,
            )
        inner = slice(top, top + height), slice(left, left + width)
        return tuple(
            self._finished(number, tensor, size, inner)
            for number, tensor in enumerate(found[: len(self.outputs)])
        )

    def warm_up(self, shape: tuple[int, int]) -> None:
        """Run once on an image of zeros of this size ``(y, x)``.

        Raises `ModelError` as `run` does.
        """
        self.run(np.zeros((self.channels, *shape), dtype=np.float32))

    def check(self) -> float:
        """Run the test tensors of the package.

        Returns
        -------
        float
            Largest absolute deviation from the expected outputs; a sound float32
            runtime stays below 1e-4 of their range.

        Raises
        ------
        ModelError
            The package has no usable test tensors, or the model fails on them.
        """
        if self.tests is None:
            raise refusal(
                "there are no test tensors to check the model with",
                file=self.file,
                fix="use a package with test_tensor of input and outputs",
            )
        given, expected = self.tests()
        try:
            image = self.layout.as_image(given.astype(np.float32))
            wanted = [
                output.layout.as_image(tensor.astype(np.float32))
                for output, tensor in zip(self.outputs, expected, strict=True)
            ]
        except ValueError as error:
            raise refusal(f"a test tensor has {error}", file=self.file) from error
        worst = 0.0
        for want, got in zip(wanted, self.run(image), strict=True):
            if want.shape != got.shape:
                raise refusal(
                    f"the test output is {want.shape}, the model gives {got.shape}",
                    file=self.file,
                    fix="fetch the package again",
                )
            worst = max(worst, float(np.abs(want - got).max()))
        return worst

    def _filled(
        self, planes: NDArray[np.float32], size: tuple[int, int], top: int, left: int
    ) -> NDArray[np.float32]:
        """The input tensor with the image in its middle, mirrored around it."""
        count, height, width = planes.shape
        shape = self.layout.shape(count, *size)
        if self._tensor.shape != shape:
            self._tensor = np.zeros(shape, dtype=np.float32)
        if size != (height, width):
            rows = top, size[0] - height - top
            columns = left, size[1] - width - left
            planes = np.pad(planes, ((0, 0), rows, columns), mode="reflect")
        self.layout.as_image(self._tensor)[...] = planes
        return self._tensor

    def _finished(
        self,
        number: int,
        tensor: NDArray[Any],
        size: tuple[int, int],
        inner: tuple[slice, slice],
    ) -> NDArray[np.float32]:
        """One output as an image of the size that was given."""
        output = self.outputs[number]
        try:
            image = output.layout.as_image(tensor.astype(np.float32, copy=False))
        except ValueError as error:
            raise refusal(
                f"output {number} of the network has {error}",
                file=self.file,
                fix="correct the axes",
            ) from error
        if image.shape[1:] != size:
            raise refusal(
                f"output {number} is {image.shape[1:]} pixels, its input {size}",
                file=self.file,
                fix="use a model whose output has the size of its input",
            )
        image = image[:, *inner]
        for operation in output.operations:
            image = operation(image)
        if not np.isfinite(image).all():
            raise refusal(
                f"output {number} holds values that are not finite",
                file=self.file,
                fix="check the weights and the range of the image",
            )
        return np.ascontiguousarray(image)
