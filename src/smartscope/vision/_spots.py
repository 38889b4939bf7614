"""Small bright spots by the Laplacian of Gaussian, or as a model has learned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import PositiveFloat  # noqa: TC002 - pydantic reads it at run time
from scipy import ndimage

from smartscope.vision._labels import detections_of
from smartscope.vision._learned import LearnedConfig
from smartscope.vision._learned_objects import points_of
from smartscope.vision._learned_run import Learned, LearnedStage
from smartscope.vision._regions import Regions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from smartscope.vision._detect import DetectConfig
    from smartscope.vision._learned_run import Answer
    from smartscope.vision._localise import LocaliseConfig
    from smartscope.vision._stage import StageConfig, StageContext, Workspace

# Answer to the steps of the camera's converter, the least noise there can be.
_QUIET = 0.1
_SIGMAS = 6.0


class SpotsConfig(LearnedConfig):
    """Settings of `spots`.

    Attributes
    ----------
    radius_um : float
        Radius of a spot, um; the filter answers best to this size. With a model, no
        two spots lie closer.
    threshold : float or None
        Least answer of the filter, in robust sigmas of its noise over the field; None
        is 6. With a model, least height of a peak in its map; None is what the
        package says, or 0.5.
    model : ModelUse or None
        A learned model that gives a map with a peak at each spot.
    """

    radius_um: PositiveFloat = 0.5
    threshold: PositiveFloat | None = None


class Spots(LearnedStage[SpotsConfig]):
    """Finds spots of one size, to a fraction of a pixel.

    Local maxima of the scale-normalised Laplacian of Gaussian (Lindeberg 1998), with
    a parabola through each peak and its neighbours. Score is the answer in sigmas;
    area is that of a disk of `radius_um`. With a model its map takes the place of the
    filter, and score is the height of the peak.
    """

    Config: ClassVar[type[StageConfig]] = SpotsConfig
    gives = ("objects",)

    def __init__(self, config: SpotsConfig, context: StageContext) -> None:
        super().__init__(config, context)
        if config.model is not None:
            self.learned = Learned(
                config,
                context,
                stage="spots",
                kinds=("spots",),
                inputs=self.inputs(),
            )

    def features(self) -> frozenset[str]:
        """None beyond area and score."""
        return frozenset()

    def process(self, work: Workspace, state: Any) -> None:
        """Fill detections and their regions; there is no label image."""
        radius_px = work.px(self.config.radius_um)
        image = self._cleared(work)
        if self.learned is None:
            answer, unit = _filtered(image, radius_px)
            threshold = self.config.threshold or _SIGMAS
            points, height = _peaks(answer, threshold * unit, radius_px)
            place_points(work, points, height / unit, radius_px)
            return
        seen = self.learned.see(work, state)
        if seen is not None:
            with work.timed(f"{self.learned.stage}.decode"):
                place_peaks(work, self.learned, seen, self.config, radius_px)


def place_peaks(
    work: Workspace,
    learned: Learned,
    answer: Answer,
    config: SpotsConfig | DetectConfig | LocaliseConfig,
    radius_px: float,
) -> None:
    """Make detections of the peaks in a model's map, as `place_points` does."""
    found = points_of(
        learned,
        answer,
        threshold=learned.threshold(config.threshold),
        apart_px=radius_px,
        said="radius_um" in config.model_fields_set,
    )
    points = answer.points(found.y_px, found.x_px)
    place_points(work, points, found.score, radius_px)


def place_points(
    work: Workspace,
    points_yx: NDArray[np.float64],
    score: NDArray[np.float64],
    radius_px: float,
    features: Mapping[str, NDArray[np.float64]] | None = None,
) -> None:
    """Make detections of points, with disks of this radius as their regions."""
    regions = Regions.from_disks(
        points_yx[:, 0], points_yx[:, 1], radius_px, work.shape
    )
    work.regions = regions
    work.detections = detections_of(work, regions, score, points_yx, features)


def _filtered(
    image: NDArray[np.float32], radius_px: float
) -> tuple[NDArray[np.float32], float]:
    """Answer of the filter, and its noise."""
    # A disk of radius r answers most at sigma = r / sqrt 2.
    sigma_px = max(radius_px / np.sqrt(2), 0.7)
    answer = -(sigma_px**2) * ndimage.gaussian_laplace(
        image, sigma_px, mode="mirror", truncate=3.0
    )
    return answer, max(_robust_sigma(answer), _QUIET)


def _robust_sigma(image: NDArray[np.float32]) -> float:
    step = max(1, int(np.sqrt(image.size / 65536)))
    sample = image[::step, ::step]
    return float(1.4826 * np.median(np.abs(sample - np.median(sample))))


def _peaks(
    answer: NDArray[np.float32], threshold: float, radius_px: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Refined ``(n, 2)`` points and heights, in raster order."""
    y, x = np.nonzero(answer > threshold)
    side = 2 * max(1, round(radius_px)) + 1
    # Only around pixels over the threshold: the maximum filter is the dear part.
    highest = ndimage.maximum_filter(answer, side, mode="nearest") if len(y) else answer
    top = answer[y, x] == highest[y, x]
    y, x = y[top], x[top]
    inside = (y > 0) & (x > 0) & (y < answer.shape[0] - 1) & (x < answer.shape[1] - 1)
    y, x = y[inside], x[inside]
    dy = _vertex(answer[y - 1, x], answer[y, x], answer[y + 1, x])
    dx = _vertex(answer[y, x - 1], answer[y, x], answer[y, x + 1])
    return np.column_stack([y + dy, x + dx]), answer[y, x].astype(np.float64)


def _vertex(
    before: NDArray[Any], at: NDArray[Any], after: NDArray[Any]
) -> NDArray[np.float64]:
    """Offset of a parabola's top from its middle point, within half a pixel."""
    curve = (before - 2.0 * at + after).astype(np.float64)
    curve = np.where(curve < 0, curve, -1.0)
    return np.asarray(np.clip(0.5 * (before - after) / curve, -0.5, 0.5))
