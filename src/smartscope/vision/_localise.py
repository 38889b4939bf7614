"""Single emitters and spots, to a fraction of a pixel, as a model has learned."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import PositiveFloat  # noqa: TC002 - pydantic reads it at run time

from smartscope.core import ModelError
from smartscope.vision._learned import LearnedConfig
from smartscope.vision._learned_run import Answer, Learned, LearnedStage, LearnedView
from smartscope.vision._spots import place_peaks, place_points

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from smartscope.vision._stage import StageConfig, StageContext, Workspace
    from smartscope.vision.decode import Emitters

_MAPS = 10
_PIXELS = {"sigma_x_um": "sigma_x_px", "sigma_y_um": "sigma_y_px"}
_PLAIN = ("photons", "sigma_photons", "z_um", "sigma_z_um", "background")


class LocaliseConfig(LearnedConfig):
    """Settings of `localise`.

    Attributes
    ----------
    model : ModelUse
        A model that gives ``spots`` (a heat map) or ``emitters`` (the maps of DECODE,
        or a density as Deep-STORM's).
    threshold : float or None
        Least probability, or height of a peak; None is what the model's package says,
        or 0.5.
    radius_um : float
        Radius of a spot, um: brightness is measured inside of it, and no two peaks of
        a heat map lie closer.
    """

    threshold: PositiveFloat | None = None
    radius_um: PositiveFloat = 0.25


class Localise(LearnedStage[LocaliseConfig]):
    """Finds spots and single emitters to a fraction of a pixel with a model.

    Of emitters the features are what the model gives of ``photons``, ``background``
    (per pixel), ``z_um``, and as their standard deviations ``sigma_photons``,
    ``sigma_x_um``, ``sigma_y_um`` (along the image's axes) and ``sigma_z_um``.
    """

    Config: ClassVar[type[StageConfig]] = LocaliseConfig
    gives = ("objects",)

    def __init__(self, config: LocaliseConfig, context: StageContext) -> None:
        super().__init__(config, context)
        self.learned: Learned = Learned(
            config,
            context,
            stage="localise",
            kinds=("spots", "emitters"),
            inputs=self.inputs(),
        )
        self._density = bool(self.learned.option("density", False))

    def features(self) -> frozenset[str]:
        """What the model says of each emitter."""
        if self.learned.kind == "spots":
            return frozenset()
        return frozenset({"photons"} if self._density else {*_PLAIN, *_PIXELS})

    def process(self, work: Workspace, state: LearnedView) -> None:
        """Fill detections and their regions."""
        radius_px = work.px(self.config.radius_um)
        self._cleared(work)
        answer = self.learned.see(work, state)
        if answer is None:
            return
        with work.timed(f"{self.learned.stage}.decode"):
            if self.learned.kind == "spots":
                place_peaks(work, self.learned, answer, self.config, radius_px)
                return
            threshold = self.learned.threshold(self.config.threshold)
            emitters = self._emitters(answer, threshold)
            points = answer.points(emitters.y_px, emitters.x_px)
            features = _features(emitters, work, answer.zoom)
            place_points(work, points, emitters.prob, radius_px, features)

    def _emitters(self, answer: Answer, threshold: float) -> Emitters:
        from smartscope.vision.decode import density_to_emitters, maps_to_emitters

        output = answer.outputs[self.learned.output]
        if self._density:
            painted = max(1, round(output.shape[-2] / answer.shape[0]))
            return density_to_emitters(
                output[self.learned.channel],
                upsampling=self.learned.option("upsampling", painted),
                threshold=threshold,
            )
        if len(output) != _MAPS:
            raise ModelError(
                f"{self.learned.model.file}: 'emitters' are {_MAPS} maps, the model "
                f"gives {len(output)}"
            )
        return maps_to_emitters(output, threshold=threshold)


def _features(
    found: Emitters, work: Workspace, zoom: tuple[float, float]
) -> dict[str, NDArray[np.float64]]:
    features = {
        name: values for name in _PLAIN if (values := getattr(found, name)) is not None
    }
    pixel_um = work.pixel_map.pixel_um
    for (name, source), scale in zip(_PIXELS.items(), reversed(zoom), strict=True):
        values = getattr(found, source)
        if values is not None:
            features[name] = values * pixel_um / scale
    return features
