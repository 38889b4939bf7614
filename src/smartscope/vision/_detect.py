"""Objects as points with an area: what tracking needs, without a label image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator
from scipy import ndimage

from smartscope.vision._labels import Pixels, detections_of
from smartscope.vision._learned import LearnedConfig
from smartscope.vision._learned_checks import check_threshold
from smartscope.vision._learned_objects import objects_of
from smartscope.vision._learned_run import Learned, LearnedStage, LearnedView
from smartscope.vision._spots import place_peaks

if TYPE_CHECKING:
    from smartscope.vision._stage import StageConfig, StageContext, Workspace

_RADIUS_PX = 3.0


class DetectConfig(LearnedConfig):
    """Settings of `detect`.

    Attributes
    ----------
    model : ModelUse
        A model that gives ``stardist``, ``spots`` or ``mask``.
    threshold : float or None
        Least probability, or height of a peak; None is what the model's package says,
        or 0.5.
    min_area_um2, max_area_um2 : float, float or None
        Smaller and larger objects are dropped, um^2; not for ``spots``.
    radius_um : float or None
        For ``spots``: radius of an object, um; no two lie closer, and brightness is
        measured inside of it. None is half of what the model was trained on.
    """

    threshold: PositiveFloat | None = None
    min_area_um2: NonNegativeFloat = 0.0
    max_area_um2: PositiveFloat | None = Field(None)
    radius_um: PositiveFloat | None = None

    @model_validator(mode="after")
    def _areas(self) -> DetectConfig:
        if self.max_area_um2 is not None and self.max_area_um2 <= self.min_area_um2:
            raise ValueError("max_area_um2 must be larger than min_area_um2")
        return self


class Detect(LearnedStage[DetectConfig]):
    """Finds objects with a model, quicker than `segment` and without a label image.

    Objects of a ``mask`` that touch count as one; `segment` parts them.
    """

    Config: ClassVar[type[StageConfig]] = DetectConfig
    gives = ("objects",)

    def __init__(self, config: DetectConfig, context: StageContext) -> None:
        super().__init__(config, context)
        self.learned: Learned = Learned(
            config,
            context,
            stage="detect",
            kinds=("stardist", "spots", "mask"),
            inputs=self.inputs(),
        )
        check_threshold(config.threshold, self.learned.kind)

    def features(self) -> frozenset[str]:
        """None beyond area and score."""
        return frozenset()

    def process(self, work: Workspace, state: LearnedView) -> None:
        """Fill regions and detections."""
        self._cleared(work)
        answer = self.learned.see(work, state)
        if answer is None:
            return
        with work.timed(f"{self.learned.stage}.decode"):
            if self.learned.kind == "spots":
                radius_px = self._radius_px(work, answer.zoom[0])
                place_peaks(work, self.learned, answer, self.config, radius_px)
                return
            areas = self.config.min_area_um2, self.config.max_area_um2 or np.inf
            least_px, most_px = (area / work.pixel_area_um2 for area in areas)
            objects = objects_of(
                self.learned,
                answer,
                work.shape,
                threshold=self.learned.threshold(self.config.threshold),
                areas_px=(least_px, most_px),
                split=_whole,
            )
        if objects.note:
            work.notes.append(f"{self.learned.stage}: {objects.note}")
        work.regions = objects.regions
        work.detections = detections_of(work, objects.regions, objects.score)

    def _radius_px(self, work: Workspace, zoom: float) -> float:
        if self.config.radius_um is not None:
            return work.px(self.config.radius_um)
        trained = self.learned.model.card.object_px
        return _RADIUS_PX if trained is None else trained / 2 / zoom


def _whole(mask: Any) -> Pixels:
    """Objects of a mask as they lie."""
    return Pixels.of(*ndimage.label(mask))
