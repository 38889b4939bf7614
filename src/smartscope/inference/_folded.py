"""Frames as the camera gives them, to runtimes that do the processing themselves.

On a card the frame crosses as bytes, at half or a quarter of the size of floats, and
pre- and post-processing run beside the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.inference._fold import Folding, foldable, frame_scale, scaling

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from smartscope.inference._intake import Intake
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
