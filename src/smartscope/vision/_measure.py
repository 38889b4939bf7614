"""Brightness and shape of every object, and of the whole frame."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import PositiveFloat  # noqa: TC002 - pydantic reads it at run time

from smartscope.vision._stage import Input, Stage, StageConfig, StageContext, Workspace

if TYPE_CHECKING:
    from numpy.typing import NDArray


class MeasureConfig(StageConfig):
    """Settings of `measure`.

    Attributes
    ----------
    on : On
        ``channel`` may be a list; every channel is measured by itself.
    image : str
        ``raw`` camera counts, or ``processed`` by the stages before.
    saturation : float or None
        Counts at which a pixel is saturated; None takes the highest value of the
        image type, so say 4095 for a 12-bit camera.
    """

    image: Literal["raw", "processed"] = "raw"
    saturation: PositiveFloat | None = None


class Measure(Stage[MeasureConfig, None]):
    """Measures each object and the frame, channel by channel.

    Per object: ``mean_CHANNEL`` counts above the frame's background of that channel,
    ``integrated_CHANNEL`` the same summed over the object, ``signal_to_noise_CHANNEL``
    the mean in sigmas of the background, ``eccentricity`` (0 round, 1 a line) and
    ``compactness`` (1 an ellipse, less when bent or ragged).

    Per frame: ``background_CHANNEL``, ``noise_CHANNEL`` (sigma between background
    pixels), ``signal_to_noise_CHANNEL`` (mean over objects),
    ``saturated_fraction_CHANNEL`` and ``count``. Names without a channel are those
    of the first channel.

    A channel that was not taken in a group leaves its names out.
    """

    Config: ClassVar[type[StageConfig]] = MeasureConfig

    def __init__(self, config: MeasureConfig, context: StageContext) -> None:
        super().__init__(config, context)
        self._inputs = context.resolve(config.on)

    def inputs(self) -> tuple[Input, ...]:
        """None is a must: a channel may be taken less often than others."""
        return ()

    def optional_inputs(self) -> tuple[Input, ...]:
        """Every channel named."""
        return self._inputs

    def features(self) -> frozenset[str]:
        """Shape, and brightness per channel."""
        names = {"eccentricity", "compactness"}
        for wanted in self._inputs:
            for kind in ("mean", "integrated", "signal_to_noise"):
                names.add(f"{kind}_{wanted.channel}")
        return frozenset(names)

    def process(self, work: Workspace, state: Any) -> None:
        """Add features to the detections, and measurements of the frame."""
        features = dict(work.detections.features)
        if work.regions is not None:
            eccentricity, compactness = work.regions.shapes()
            features["eccentricity"] = eccentricity
            features["compactness"] = compactness
        work.measurements["count"] = float(len(work.detections))
        for wanted in self._inputs:
            if wanted in work.raw:
                first = wanted is self._inputs[0]
                self._channel(work, wanted, features, first=first)
        work.detections = replace(work.detections, features=features)

    def _channel(
        self,
        work: Workspace,
        wanted: Input,
        features: dict[str, NDArray[np.float64]],
        *,
        first: bool,
    ) -> None:
        raw, name = work.raw[wanted], wanted.channel
        image = raw if self.config.image == "raw" else work.image(wanted)
        if work.regions is not None and image.shape != work.regions.shape:
            raise ValueError(
                f"{name} is {image.shape} pixels, the segmented image "
                f"{work.regions.shape}; take both channels with one ROI and binning"
            )
        background, noise = _background(image, work)
        frame = {"background": background, "noise": noise, "signal_to_noise": 0.0}
        if work.regions is not None and work.regions.count:
            mean = work.regions.mean(image) - background
            features[f"mean_{name}"] = mean
            features[f"integrated_{name}"] = mean * work.regions.area_px
            features[f"signal_to_noise_{name}"] = mean / noise
            frame["signal_to_noise"] = float(mean.mean() / noise)
        elif work.regions is not None:
            for kind in ("mean", "integrated", "signal_to_noise"):
                features[f"{kind}_{name}"] = np.empty(0)
        full = self.config.saturation or _highest(raw)
        frame["saturated_fraction"] = float(np.count_nonzero(raw >= full) / raw.size)
        for key, value in frame.items():
            work.measurements[f"{key}_{name}"] = value
            if first:
                work.measurements.setdefault(key, value)


def _highest(raw: NDArray[Any]) -> float:
    # A mean projection is float32: it came from 16 bits at most.
    return float(np.iinfo(raw.dtype).max) if raw.dtype.kind == "u" else 65535.0


def _background(image: NDArray[Any], work: Workspace) -> tuple[float, float]:
    """Level and sigma of pixels outside all objects, thinned to about 65 000."""
    step = max(1, int(np.sqrt(image.size / 65536)))
    sample = image[::step, ::step].ravel()
    if work.regions is not None and work.regions.count:
        inside = np.zeros(image.shape, dtype=bool)
        inside.ravel()[work.regions.where] = True
        outside = sample[~inside[::step, ::step].ravel()]
        sample = outside if len(outside) else sample
    ordered = np.sort(sample)
    middle = len(ordered) // 2
    level = float(ordered[middle])
    # The lower half only: missed objects and blur lie above the level.
    below = ordered[: middle + 1].astype(np.float64) - level
    sigma = float(np.sqrt(np.mean(below * below)))
    # Half a count: below that, the steps of the camera's converter are the noise.
    return level, max(sigma, 0.29)
