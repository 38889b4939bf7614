"""Objects from an image: threshold, split, size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator
from scipy import ndimage

from smartscope.vision._images import Sample, smooth
from smartscope.vision._labels import Pixels, detections_of, fill_holes, numbered
from smartscope.vision._learned import LearnedConfig
from smartscope.vision._learned_checks import check_threshold
from smartscope.vision._learned_objects import objects_of
from smartscope.vision._learned_run import Learned, LearnedStage, LearnedView
from smartscope.vision._split import split_touching

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from smartscope.vision._stage import StageConfig, StageContext, Workspace


# Method `local`, tuned on the fluorescence nuclei of the 2018 Data Science Bowl: a
# generous first threshold finds dim objects, a share of each group's own mean
# brightness then separates bright ones, half of its own mean sets each outline.
_GENEROUS = 0.4
_GROUP_SHARE = 0.65
_OUTLINE_SHARE = 0.5
KINDS = ("mask", "stardist", "flows")


class SegmentConfig(LearnedConfig):
    """Settings of `segment`.

    Attributes
    ----------
    method : str
        ``local`` outlines each object at half of its own brightness, for dim objects
        beside bright ones; ``otsu`` one threshold for the field (Otsu 1979); ``li``
        the same by cross entropy (Li and Tam 1998); ``threshold`` a fixed `level`.
    model : ModelUse or None
        A learned model in place of `method`, `level`, `smooth_um` and `min_contrast`:
        probability of being object (decoder ``mask``), ``stardist`` or ``flows``.
    threshold : float or None
        Least probability (of ``flows``: logit) of an object, for `model` only; None is
        what its package says, or 0.5.
    level : float or None
        Camera counts above the background, for ``threshold`` only.
    smooth_um : float
        Gaussian blur before the threshold (sigma), um; 0 is none.
    min_area_um2, max_area_um2 : float, float or None
        Smaller and larger objects are dropped, um^2; None is no upper limit.
    min_contrast : float
        Nothing fainter than this many sigmas of background noise is an object: an
        empty field stays empty.
    split : str
        ``watershed`` cuts touching objects at their necks, ``none`` does not; models
        that part objects themselves are not cut again.
    neck : float
        0..1: cut where the width falls below this share of the smaller object's.
    fill_holes : bool
        Fill holes in objects.
    """

    classical: ClassVar[tuple[str, ...]] = (
        "method",
        "level",
        "smooth_um",
        "min_contrast",
    )

    method: Literal["local", "otsu", "li", "threshold"] = "local"
    threshold: float | None = Field(None, gt=-100, lt=100)
    level: PositiveFloat | None = None
    smooth_um: NonNegativeFloat = 0.5
    min_area_um2: NonNegativeFloat = 15.0
    max_area_um2: PositiveFloat | None = None
    min_contrast: PositiveFloat = 5.0
    split: Literal["watershed", "none"] = "watershed"
    neck: float = Field(0.93, ge=0, le=1)
    fill_holes: bool = True

    @model_validator(mode="after")
    def _fits(self) -> SegmentConfig:
        if self.model is None and self.threshold is not None:
            raise ValueError("'threshold' belongs to 'model'; the classical is 'level'")
        if (self.method == "threshold") != (self.level is not None):
            raise ValueError("'level' belongs to method 'threshold', which needs it")
        if self.max_area_um2 is not None and self.max_area_um2 <= self.min_area_um2:
            raise ValueError("max_area_um2 must be larger than min_area_um2")
        return self


class Segment(LearnedStage[SegmentConfig]):
    """Finds objects brighter than their surroundings, or as a model has learned.

    Score is contrast, mean brightness over the background in background noise; with a
    model it is the mean probability, with ``stardist`` that at the middle.
    """

    Config: ClassVar[type[StageConfig]] = SegmentConfig
    gives = ("objects",)

    def __init__(self, config: SegmentConfig, context: StageContext) -> None:
        super().__init__(config, context)
        if config.model is not None:
            self.learned = Learned(
                config, context, stage="segment", kinds=KINDS, inputs=self.inputs()
            )
            check_threshold(config.threshold, self.learned.kind)

    def features(self) -> frozenset[str]:
        """None beyond area and score."""
        return frozenset()

    def process(self, work: Workspace, state: Any) -> None:
        """Fill labels, regions and detections."""
        if self.learned is not None:
            self._by_model(work, self.learned, state)
        else:
            self._by_brightness(work)

    def _by_model(self, work: Workspace, learned: Learned, state: LearnedView) -> None:
        self._cleared(work)
        answer = learned.see(work, state)
        if answer is None:
            return
        with work.timed(f"{learned.stage}.decode"):
            found = objects_of(
                learned,
                answer,
                work.shape,
                threshold=learned.threshold(self.config.threshold),
                areas_px=self._areas_px(work),
                split=lambda mask: self._objects(work, mask),
                fill_holes=self.config.fill_holes,
            )
        if found.note:
            work.notes.append(f"{learned.stage}: {found.note}")
        work.labels, work.regions = found.labels, found.regions
        work.detections = detections_of(work, found.regions, found.score)

    def _by_brightness(self, work: Workspace) -> None:
        image = smooth(work.image(self.input), work.px(self.config.smooth_um))
        sample = Sample.of(image)
        level, sigma = sample.background()
        mask = self._mask(image, sample, level, sigma)
        pixels = self._objects(work, mask)
        if self.config.method == "local":
            own = pixels.above_own(image, level, _OUTLINE_SHARE)
            # A filled hole is dark, yet belongs to its object.
            pixels = pixels.only(own | ~mask.ravel()[pixels.where])
        work.labels, work.regions, _ = numbered(pixels, *self._areas_px(work))
        work.processed = image
        contrast = (work.regions.mean(image) - level) / sigma
        work.detections = detections_of(work, work.regions, contrast)

    def _areas_px(self, work: Workspace) -> tuple[float, float]:
        """Least and largest area of an object."""
        least_px = self.config.min_area_um2 / work.pixel_area_um2
        return least_px, (self.config.max_area_um2 or np.inf) / work.pixel_area_um2

    def _objects(self, work: Workspace, mask: NDArray[np.bool_]) -> Pixels:
        """Pixels of a mask, holes filled and touching objects split."""
        filled = fill_holes(mask) if self.config.fill_holes else mask
        least_px, _ = self._areas_px(work)
        pixels = Pixels.of(*ndimage.label(filled))
        labels, regions, _ = numbered(pixels, least_px, np.inf)
        count = regions.count
        if self.config.split == "watershed" and count:
            radius_px = 0.5 * float(np.sqrt(least_px / np.pi))
            labels, count = split_touching(
                labels, regions, min_radius_px=radius_px, neck=self.config.neck
            )
        return Pixels.of(labels, count)

    def _mask(
        self, image: NDArray[np.float32], sample: Sample, level: float, sigma: float
    ) -> NDArray[np.bool_]:
        """Pixels that belong to objects, touching ones not yet split."""
        method = self.config.method
        if method == "threshold":
            threshold = level + (self.config.level or 0.0)
        elif method == "li":
            threshold = sample.li()
        else:
            threshold = sample.otsu()
        if method == "local":
            threshold = level + _GENEROUS * (threshold - level)
        floor = level + self.config.min_contrast * sigma
        mask = image > np.float32(max(threshold, floor))
        if method == "local":
            groups = Pixels.of(*ndimage.label(mask))
            mask = np.zeros(image.shape, dtype=bool)
            own = groups.above_own(image, level, _GROUP_SHARE)
            mask.ravel()[groups.where[own]] = True
        return np.asarray(mask)
