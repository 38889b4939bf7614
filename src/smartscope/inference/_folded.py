"""Frames as the camera gives them, to runtimes that do the processing themselves.

On a card the frame crosses as bytes, at half or a quarter of the size of floats, and
pre- and post-processing run beside the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.inference._document import refusal
from smartscope.inference._fold import Folding, foldable, frame_scale, scaling
from smartscope.inference._operations import Context
from smartscope.inference._synthetic import synthetic_image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from smartscope.inference._intake import Intake
    from smartscope.inference._model import Model
    from smartscope.inference._outcome import Output
    from smartscope.inference._protocol import Runtime

_CAMERAS = ("uint8", "uint16")


def folding_of(intake: Intake, outputs: Sequence[Output], dtype: Any) -> Folding | None:
    """What of the processing can run inside the network.

    Parameters
    ----------
    intake : Intake
        The one input.
    outputs : sequence of Output
    dtype : dtype
        Of the frames.

    Returns
    -------
    Folding or None
        None where the frames are no camera counts, or a part of the pre-processing
        has to stay outside: the frame would have to come back for it.
    """
    camera = np.dtype(dtype).name
    if camera not in _CAMERAS or not foldable(intake.operations, ())[0]:
        return None
    if scaling(intake.operations) == 0:
        return None
    after = tuple(
        output.operations[: foldable((), output.operations)[1]] for output in outputs
    )
    return Folding(
        "uint8" if camera == "uint8" else "uint16",
        intake.layout.order,
        tuple(intake.operations),
        after,
        tuple(output.layout.order for output in outputs),
    )


@dataclass(frozen=True, slots=True, eq=False)
class FoldedInput:
    """Input arrays of a folded network.

    Attributes
    ----------
    frame : ndarray
        In the network's layout and the camera's type; writing into it writes bytes.
    gain, offset : ndarray (c,) float32
        How the frame is scaled.
    """

    folding: Folding
    frame: NDArray[Any]
    gain: NDArray[np.float32]
    offset: NDArray[np.float32]

    @classmethod
    def prepare(
        cls, runtime: Runtime, folding: Folding, shape: tuple[int, ...], channels: int
    ) -> FoldedInput:
        """Get a runtime ready for tensors of this shape; raises `ModelError`."""
        camera = np.dtype(folding.camera)
        size = camera.itemsize
        shapes = [(*shape, size), (channels,), (channels,)]
        pixels, gain, offset = runtime.prepare(shapes)
        # Low byte first on every machine that smartscope runs on.
        return cls(folding, pixels.view(camera)[..., 0], gain, offset)

    @property
    def done(self) -> tuple[int, ...]:
        """How many operations of each output the network has done."""
        return tuple(len(operations) for operations in self.folding.postprocessing)

    def scale(self, planes: NDArray[Any]) -> None:
        """Work out the scale of a frame ``(c, [z,] y, x)`` on the host."""
        gain, offset = frame_scale(self.folding, planes)
        self.gain[...] = gain
        self.offset[...] = offset


def check_folded(
    model: Model,
    folded: FoldedInput,
    runtime: Runtime,
    plain: Runtime,
    shape: tuple[int, ...],
    allowed: float,
) -> None:
    """Hold a network with its processing inside against the one without.

    Parameters
    ----------
    model : Model
        With one input.
    folded : FoldedInput
        Arrays of `runtime`.
    runtime, plain : Runtime
        With the processing, and without.
    shape : tuple of int
        Of the tensor.
    allowed : float
        Largest relative deviation.

    Raises
    ------
    ModelError
        They differ by more, or one of them fails.
    """
    from smartscope.inference._choose import deviation

    intake = model.inputs[0]
    view = intake.layout.as_image(folded.frame)
    most = np.iinfo(view.dtype).max
    image = np.minimum(synthetic_image(view.shape), most).astype(view.dtype)
    context = Context({intake.name: image})
    view[...] = image
    folded.scale(image)
    found = _finished(model, runtime.run(), context, folded.done)
    (array,) = plain.prepare([shape])
    everything = (slice(None),) * (image.ndim - 1)
    intake.scaled(image).write(everything, intake.layout.as_image(array))
    wanted = _finished(model, plain.run(), context, (0,) * len(model.outputs))
    error = deviation(found, wanted)
    if error is None or error > allowed:
        by = "in shape" if error is None else f"by {error:.3g}, {allowed:g} is allowed"
        raise refusal(
            f"{runtime.name} differs with the processing inside ({by})", file=model.file
        )


def _finished(
    model: Model,
    tensors: Sequence[NDArray[Any]],
    context: Context,
    done: Sequence[int],
) -> list[NDArray[np.float32]]:
    """Outputs after post-processing, as copies; raises `ModelError`."""
    found = []
    for output, tensor, after in zip(model.outputs, tensors, done, strict=False):
        try:
            image = output.layout.as_image(tensor)
        except ValueError as error:
            raise refusal(f"an output has {error}", file=model.file) from error
        found.append(np.array(output.finish(image, context, after)))
    return found
