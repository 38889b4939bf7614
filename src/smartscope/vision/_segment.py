"""Objects from an image: threshold, split, size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator
from scipy import ndimage

from smartscope.core import Detections
from smartscope.vision._images import Sample, smooth
from smartscope.vision._learned import Learned, ModelUse, refuse_beside_model
from smartscope.vision._regions import Regions
from smartscope.vision._split import split_touching
from smartscope.vision._stage import Stage, StageConfig, StageContext, Workspace

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Method `local`, tuned on the fluorescence nuclei of the 2018 Data Science Bowl: a
# generous first threshold finds dim objects, a share of each group's own mean
# brightness then separates bright ones, half of its own mean sets each outline.
_GENEROUS = 0.4
_GROUP_SHARE = 0.65
_OUTLINE_SHARE = 0.5
_CLASSICAL = ("method", "level", "smooth_um", "min_contrast")


class SegmentConfig(StageConfig):
    """Settings of `segment`.

    Attributes
    ----------
    method : str
        ``local`` outlines each object at half of its own brightness, for dim objects
        beside bright ones; ``otsu`` one threshold for the field (Otsu 1979); ``li``
        the same by cross entropy (Li and Tam 1998); ``threshold`` a fixed `level`.
    model : ModelUse or None
        A learned model that gives the probability of being object, in place of
        `method`, `level`, `smooth_um` and `min_contrast`.
    threshold : float or None
        0..1, least probability of an object, for `model` only; None is what its
        package says, or 0.5.
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
        ``watershed`` cuts touching objects at their necks, ``none`` does not.
    neck : float
        0..1: cut where the width falls below this share of the smaller object's.
    fill_holes : bool
        Fill holes in objects.
    """

    method: Literal["local", "otsu", "li", "threshold"] = "local"
    model: ModelUse | None = None
    threshold: float | None = Field(None, gt=0, lt=1)
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
        if self.model is not None:
            refuse_beside_model(self.model_fields_set, _CLASSICAL)
        elif self.threshold is not None:
            raise ValueError("'threshold' belongs to 'model'; the classical is 'level'")
        if (self.method == "threshold") != (self.level is not None):
            raise ValueError("'level' belongs to method 'threshold', which needs it")
        if self.max_area_um2 is not None and self.max_area_um2 <= self.min_area_um2:
            raise ValueError("max_area_um2 must be larger than min_area_um2")
        return self


class Segment(Stage[SegmentConfig, None]):
    """Finds objects brighter than their surroundings, or as a model has learned.

    Score is contrast, mean brightness over the background in background noise; with a
    model it is the mean probability.
    """

    Config: ClassVar[type[StageConfig]] = SegmentConfig
    gives = ("objects",)

    def __init__(self, config: SegmentConfig, context: StageContext) -> None:
        super().__init__(config, context)
        self._learned = None
        if config.model is not None:
            self._learned = Learned(config.model, context, "mask")

    def features(self) -> frozenset[str]:
        """None beyond area and score."""
        return frozenset()

    def process(self, work: Workspace, state: Any) -> None:
        """Fill labels, regions and detections."""
        if self._learned is not None:
            self._by_model(work, self._learned)
        else:
            self._by_brightness(work)

    def _by_model(self, work: Workspace, learned: Learned) -> None:
        work.processed = image = work.image(self.input)
        probability = learned.run(image)
        mask = probability > np.float32(learned.threshold(self.config.threshold))
        pixels = self._objects(work, mask)
        work.labels, work.regions = _numbered(pixels, *self._areas_px(work))
        score = work.regions.mean(probability)
        work.detections = detections_of(work, work.regions, score)

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
        work.labels, work.regions = _numbered(pixels, *self._areas_px(work))
        work.processed = image
        contrast = (work.regions.mean(image) - level) / sigma
        work.detections = detections_of(work, work.regions, contrast)

    def _areas_px(self, work: Workspace) -> tuple[float, float]:
        """Least and largest area of an object."""
        least_px = self.config.min_area_um2 / work.pixel_area_um2
        return least_px, (self.config.max_area_um2 or np.inf) / work.pixel_area_um2

    def _objects(self, work: Workspace, mask: NDArray[np.bool_]) -> Pixels:
        """Pixels of a mask, holes filled and touching objects split."""
        filled = _fill(mask) if self.config.fill_holes else mask
        least_px, _ = self._areas_px(work)
        labels, regions = _numbered(Pixels.of(*ndimage.label(filled)), least_px, np.inf)
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


@dataclass(slots=True, eq=False)
class Pixels:
    """Labelled pixels as flat lists: objects cover a small part of an image.

    Attributes
    ----------
    where, label : ndarray (pixels,) int
        Flat index and label (1..count) of each.
    """

    where: NDArray[Any]
    label: NDArray[Any]
    count: int
    shape: tuple[int, int]

    @classmethod
    def of(cls, labels: NDArray[Any], count: int) -> Pixels:
        """Pixels of a label image with labels 1..count."""
        where = np.flatnonzero(labels)
        shape = (labels.shape[0], labels.shape[1])
        return cls(where, labels.ravel()[where], count, shape)

    def above_own(
        self, image: NDArray[np.float32], level: float, share: float
    ) -> NDArray[np.bool_]:
        """Which exceed `share` of their object's mean brightness over `level`."""
        values = image.ravel()[self.where]
        area = np.maximum(np.bincount(self.label, minlength=self.count + 1), 1)
        mean = np.bincount(self.label, values, self.count + 1) / area
        threshold = (level + share * (mean - level)).astype(np.float32)
        return np.asarray(values > threshold[self.label])

    def only(self, keep: NDArray[np.bool_]) -> Pixels:
        """Those where `keep` is true."""
        return Pixels(self.where[keep], self.label[keep], self.count, self.shape)


def _numbered(
    pixels: Pixels, least_px: float, most_px: float
) -> tuple[NDArray[np.int32], Regions]:
    """Label image and regions of objects within these areas, numbered 1..n."""
    area = np.bincount(pixels.label, minlength=pixels.count + 1)
    keep = (area >= least_px) & (area <= most_px)
    keep[0] = False
    numbers = np.where(keep, np.cumsum(keep), 0).astype(np.int32)
    label = numbers[pixels.label]
    where, label = pixels.where[label > 0], label[label > 0]
    out = np.zeros(pixels.shape, dtype=np.int32)
    out.ravel()[where] = label
    return out, Regions.build(
        where, label.astype(np.int64) - 1, int(keep.sum()), pixels.shape
    )


def _fill(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill background that does not reach the border of the image."""
    holes, count = ndimage.label(~mask)
    if count <= 1:
        return mask
    edge = np.concatenate([holes[0], holes[-1], holes[:, 0], holes[:, -1]])
    outside = np.zeros(count + 1, dtype=bool)
    outside[edge] = True
    outside[0] = False
    return np.asarray(~outside[holes])


def detections_of(
    work: Workspace,
    regions: Regions,
    score: NDArray[np.float64],
    points_yx: NDArray[np.float64] | None = None,
) -> Detections:
    """Detections of regions, in pixels and in sample coordinates."""
    y_px, x_px = regions.centroids() if points_yx is None else points_yx.T
    sample = work.pixel_map.to_sample(np.column_stack([y_px, x_px]), *work.stage_um)
    return Detections(
        label=np.arange(1, regions.count + 1, dtype=np.int64),
        y_px=np.asarray(y_px, dtype=np.float64),
        x_px=np.asarray(x_px, dtype=np.float64),
        x_um=sample[:, 0].copy(),
        y_um=sample[:, 1].copy(),
        area_um2=regions.area_px * work.pixel_area_um2,
        score=score,
    )
