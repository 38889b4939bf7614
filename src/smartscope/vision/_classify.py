"""What kind of object each one is, or what kind of image, as a model has learned."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import PositiveFloat  # noqa: TC002 - pydantic reads it at run time

from smartscope.core import ConfigError, ModelError
from smartscope.vision._learned import LearnedConfig
from smartscope.vision._learned_images import as_channels, resized
from smartscope.vision._learned_run import Learned, LearnedStage, LearnedView

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from smartscope.vision._stage import StageConfig, StageContext, Workspace


class ClassifyConfig(LearnedConfig):
    """Settings of `classify`.

    Attributes
    ----------
    model : ModelUse
        A model that gives ``classes``.
    each : str
        ``object``: every object found before, from a crop around it, as its features
        ``class`` (number from 0), ``confidence`` and ``class_<name>``; ``image``: the
        whole image, as measurements of the same names.
    crop_um : float or None
        For objects: side of the square around each, um, resized to what the model
        takes; None is as many pixels as it takes, at the pixel size it was made for.
    """

    each: Literal["object", "image"] = "object"
    crop_um: PositiveFloat | None = None


class Classify(LearnedStage[ClassifyConfig]):
    """Tells what kind each object is, or the whole image, with a model.

    Beyond the border of the image a crop repeats it. A crop of several channels has
    them in the order of ``on``.
    """

    Config: ClassVar[type[StageConfig]] = ClassifyConfig

    def __init__(self, config: ClassifyConfig, context: StageContext) -> None:
        super().__init__(config, context)
        whole = config.each == "image"
        if not whole and config.scale != "none":
            raise ConfigError(
                "crops of objects are resized by 'crop_um', not by 'scale'",
                field="scale",
                fix="write crop_um, or each: image",
            )
        self.learned: Learned = Learned(
            config,
            context,
            stage="classify",
            kinds=("classes",),
            inputs=self.inputs(),
            frames=whole,
        )
        self.needs = () if whole else ("objects",)
        self._size = (0, 0) if whole else self._crop_size()
        names = self.learned.option("names", ())
        self._names = tuple(f"class_{name}" for name in names)

    def _crop_size(self) -> tuple[int, int]:
        """Size of a crop as the model takes it."""
        layout = self.learned.model.inputs[0].layout
        sizes = [axis.fixed for name in "yx" if (axis := layout.axis(name))]
        height, width = (*sizes, None, None)[:2]
        if self.learned.planes or height is None or width is None:
            raise ConfigError(
                f"{self.learned.model.file}: the model does not say which size of "
                "crop it takes",
                fix="use a model with a fixed image size, or write each: image",
            )
        return height, width

    def features(self) -> frozenset[str] | None:
        """Class, confidence, and the score of each class."""
        if self.config.each == "image":
            return frozenset()
        if not self._names:
            return None
        return frozenset({"class", "confidence", *self._names})

    def warm_up(
        self, shape: tuple[int, int], planes: int, pixel_um: float | None
    ) -> None:
        """Prepare the model for its crops, or for the whole image."""
        whole = self.config.each == "image"
        self.learned.warm_up(shape if whole else self._size, planes, pixel_um)

    def process(self, work: Workspace, state: LearnedView) -> None:
        """Add features to the detections, or measurements."""
        if self.config.each == "image":
            answer = self.learned.see(work, state)
            if answer is not None:
                found = self._columns([self._scores(answer.outputs)])
                work.measurements.update({k: float(v[0]) for k, v in found.items()})
        elif len(work.detections):
            with work.timed(f"{self.learned.stage}.model"):
                self._objects(work)

    def _objects(self, work: Workspace) -> None:
        try:
            image = as_channels(work, self.named())
            scores = [
                self._scores(self.learned.run(crop))
                for crop in self._crops(work, image)
            ]
        except ModelError as error:
            self.learned.failed(work, error)
            return
        self.learned.worked(work)
        features = {**work.detections.features, **self._columns(scores)}
        work.detections = replace(work.detections, features=features)

    def _crops(self, work: Workspace, image: NDArray[Any]) -> Any:
        """Squares around the objects, ``(c, y, x)`` of the model's size."""
        sides = [self._side_px(size, work) for size in self._size]
        found = work.detections
        half = [(side - 1) / 2 for side in sides]
        for y_px, x_px in zip(found.y_px.tolist(), found.x_px.tolist(), strict=True):
            rows = _around(y_px - half[0], sides[0], image.shape[-2])
            columns = _around(x_px - half[1], sides[1], image.shape[-1])
            yield resized(image[..., rows[:, None], columns], self._size)

    def _side_px(self, size: int, work: Workspace) -> int:
        """Side of a crop in image pixels."""
        if self.config.crop_um is not None:
            longest = max(self._size)
            return max(1, round(work.px(self.config.crop_um) * size / longest))
        made_for = self.learned.model.card.pixel_um
        if made_for is None:
            return size
        return max(1, round(work.px(size * made_for)))

    def _scores(self, outputs: tuple[NDArray[np.float32], ...]) -> NDArray[np.float64]:
        """Scores of the classes; of maps their mean over the image."""
        output = outputs[self.learned.output]
        flat = output.reshape(len(output), -1)
        scores = np.asarray(flat.mean(axis=1, dtype=np.float64))
        if self._names and len(scores) != len(self._names):
            raise ModelError(
                f"{self.learned.model.file}: its decoder names {len(self._names)} "
                f"classes, the model gives {len(scores)}"
            )
        return scores

    def _columns(
        self, scores: list[NDArray[np.float64]]
    ) -> dict[str, NDArray[np.float64]]:
        from smartscope.vision.decode import classes_of

        best = [classes_of(one) for one in scores]
        table = np.array(scores)
        names = self._names or tuple(f"class_{n}" for n in range(table.shape[1]))
        columns = {name: table[:, n].copy() for n, name in enumerate(names)}
        columns["class"] = np.array([float(index) for index, _ in best])
        columns["confidence"] = np.array([confidence for _, confidence in best])
        return columns


def _around(first: float, count: int, size: int) -> NDArray[np.int64]:
    """Pixels of a crop along one axis; the border is repeated outside."""
    pixels = np.floor(first + 0.5) + np.arange(count)
    return np.asarray(np.clip(pixels, 0, size - 1), dtype=np.int64)
