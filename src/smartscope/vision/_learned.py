"""A learned model inside a stage: ``- segment: {model: nuclei.zip}``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    NonNegativeInt,
    PositiveInt,
    model_validator,
)

from smartscope.core import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from smartscope.vision._stage import StageContext


class ModelUse(BaseModel):
    """Which model, written as its path alone or with more: ``{path: net.onnx, ...}``.

    Attributes
    ----------
    path : str
        bioimage.io package with ONNX weights (folder or zip), or an ``.onnx`` file,
        relative to the experiment.
    axes : str or None
        For an ``.onnx`` file: order of its axes; None is ``bcyx``.
    preprocessing, postprocessing : list
        For an ``.onnx`` file: operations of the bioimage.io specification, such as
        ``[{scale_range: {max_percentile: 99.8}}, {scale_linear: {gain: 255}}]``.
    multiple_of : int
        For an ``.onnx`` file: images are padded to multiples of this many pixels.
    output, channel : int or None
        Which output, and which channel of it (0-based); None is what the package
        says, or the first.
    threads : int or None
        Threads the model may use; None is half of the cores.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    axes: str | None = None
    preprocessing: tuple[Any, ...] = ()
    postprocessing: tuple[Any, ...] = ()
    multiple_of: PositiveInt = 1
    output: NonNegativeInt | None = None
    channel: NonNegativeInt | None = None
    threads: PositiveInt | None = None

    @model_validator(mode="before")
    @classmethod
    def _path_alone(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value


class Learned:
    """A loaded model that gives one image for one image.

    Parameters
    ----------
    use : ModelUse
        As written in the experiment.
    context : StageContext
        Knows the folder of the experiment.
    kind : str
        Decoder of the stage: ``mask``, ``restored`` or ``spots``.

    Raises
    ------
    ModelError
        The model cannot be loaded, or was made for another stage.
    """

    def __init__(self, use: ModelUse, context: StageContext, kind: str) -> None:
        # Only here: a run without models must not pay for a runtime.
        from smartscope.inference import load_model

        self._model = load_model(
            context.base_dir / use.path,
            axes=use.axes,
            preprocessing=use.preprocessing,
            postprocessing=use.postprocessing,
            multiple_of=use.multiple_of,
            threads=use.threads,
        )
        decoder = self._model.decoder
        if decoder.kind not in (None, kind):
            raise ModelError(
                f"{self._model.file}: the model gives '{decoder.kind}', this stage "
                f"needs '{kind}'; use it in '{_STAGES[str(decoder.kind)]}'"
            )
        self._output = decoder.output if use.output is None else use.output
        self._channel = decoder.channel if use.channel is None else use.channel
        if self._output >= len(self._model.outputs):
            raise ModelError(
                f"{self._model.file}: there is no output {self._output}; the model "
                f"has {len(self._model.outputs)}, counted from 0"
            )

    def threshold(self, wanted: float | None) -> float:
        """Where to cut: as the experiment says, else the package, else one half."""
        stated = self._model.decoder.threshold
        return next(t for t in (wanted, stated, 0.5) if t is not None)

    def run(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Image ``(y, x)`` float32 of the same size; raises `ModelError`."""
        found = self._model.run(image)[self._output]
        if self._channel >= len(found):
            raise ModelError(
                f"{self._model.file}: output {self._output} has {len(found)} channels, "
                f"not channel {self._channel}; they are counted from 0"
            )
        return np.asarray(found[self._channel])


_STAGES = {"mask": "segment", "restored": "denoise", "spots": "spots"}


def refuse_beside_model(given: Iterable[str], classical: Iterable[str]) -> None:
    """Refuse settings of the classical method beside a model; raises ValueError."""
    if both := sorted(set(given) & set(classical)):
        raise ValueError(f"'{both[0]}' does not go with 'model'; leave one of them out")
