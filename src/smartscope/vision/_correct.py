"""Image corrections: background, uneven illumination, noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import (
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
)
from scipy import ndimage

from smartscope.core import ConfigError, View
from smartscope.vision._images import grow, shrink, smooth
from smartscope.vision._learned import LearnedConfig
from smartscope.vision._learned_images import resized
from smartscope.vision._learned_run import Learned, LearnedStage, LearnedView
from smartscope.vision._stage import Stage, StageConfig, StageContext, Workspace

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

# Block means of this many blocks per radius: fine enough for a surface that is
# smooth over one radius, and quick.
_BLOCKS = 6


class BackgroundConfig(StageConfig):
    """Settings of `background`.

    Attributes
    ----------
    method : str
        ``opening`` morphological opening: the surface under everything narrower than
        the radius (Sternberg 1983); ``minimum`` rolling minimum, for crowded fields;
        ``gaussian`` a wide blur, for sparse small spots.
    radius_um : float
        Larger than the largest object's radius, um.
    """

    method: Literal["opening", "minimum", "gaussian"] = "opening"
    radius_um: PositiveFloat = 25.0


class Background(Stage[BackgroundConfig, None]):
    """Subtracts a smooth background; the result may be negative.

    Works on block means, so the cost hardly grows with the radius.
    """

    Config: ClassVar[type[StageConfig]] = BackgroundConfig

    def features(self) -> frozenset[str]:
        """None."""
        return frozenset()

    def process(self, work: Workspace, state: Any) -> None:
        """Replace the input by itself minus its background."""
        image = work.image(self.input)
        radius_px = work.px(self.config.radius_um)
        factor = max(1, int(radius_px / _BLOCKS))
        surface = self._surface(shrink(image, factor), max(1.0, radius_px / factor))
        shape = (image.shape[0], image.shape[1])
        work.images[self.input] = image - grow(surface, factor, shape)

    def _surface(self, small: NDArray[np.float32], reach: float) -> NDArray[np.float32]:
        """Background of a shrunk image, `reach` in its pixels."""
        margin, side = round(reach), 2 * round(reach) + 1
        if self.config.method == "minimum":
            low = ndimage.minimum_filter(small, side, mode="nearest")
            return smooth(low, reach / 2)
        if self.config.method == "gaussian":
            return _beyond(small, margin, lambda wide: smooth(wide, reach))

        def opened(wide: NDArray[np.float32]) -> NDArray[np.float32]:
            low = ndimage.minimum_filter(wide, side, mode="nearest")
            return np.asarray(ndimage.maximum_filter(low, side, mode="nearest"))

        # Objects mirrored at the border are dark outside: cut them off before the blur.
        surface = _beyond(small, margin, opened)
        return _beyond(surface, margin, lambda wide: smooth(wide, reach / 2))


def _beyond(
    image: NDArray[np.float32],
    margin: int,
    work: Callable[[NDArray[np.float32]], NDArray[np.float32]],
) -> NDArray[np.float32]:
    """Filter an image with its slopes going on beyond the border, and cut it back.

    Without that a slope ends at the border, and the border itself looks bright.
    """
    wide = work(np.pad(image, margin, mode="reflect", reflect_type="odd"))
    return wide[margin:-margin, margin:-margin]


class IlluminationConfig(StageConfig):
    """Settings of `illumination`.

    Attributes
    ----------
    file : str or None
        Flat-field image ``(y, x)`` of the camera's size as a NumPy ``.npy`` file,
        relative to the experiment; any scale. None estimates it while running, from
        the blurred mean of all frames of the view.
    offset : float
        Camera counts without light; subtracted first, since only light is uneven.
    radius_um : float
        For the running estimate: blur (sigma), um; several object diameters.
    frames : int
        For the running estimate: frames it averages over.
    """

    file: str | None = None
    offset: NonNegativeFloat = 0.0
    radius_um: PositiveFloat = 60.0
    frames: PositiveInt = 50


@dataclass(slots=True)
class _Flat:
    mean: NDArray[np.float32] | None = None
    count: int = 0


class Illumination(Stage[IlluminationConfig, _Flat]):
    """Divides by the illumination profile, scaled to mean 1, and removes the offset."""

    Config: ClassVar[type[StageConfig]] = IlluminationConfig

    def __init__(self, config: IlluminationConfig, context: StageContext) -> None:
        super().__init__(config, context)
        self._flat = None
        if config.file is not None:
            self._flat = _read_flat(context.base_dir / config.file)

    def features(self) -> frozenset[str]:
        """None."""
        return frozenset()

    def start(self, view: View) -> _Flat:
        """Start an empty running estimate."""
        return _Flat()

    def process(self, work: Workspace, state: _Flat) -> None:
        """Replace the input by its flat-field corrected self."""
        light = work.image(self.input) - np.float32(self.config.offset)
        flat = self._flat
        if flat is None:
            flat = self._running(light, work, state)
        if flat.shape != light.shape:
            raise ValueError(
                f"the flat-field image is {flat.shape}, the frame {light.shape} pixels"
            )
        work.images[self.input] = light / flat

    def _running(
        self, light: NDArray[np.float32], work: Workspace, state: _Flat
    ) -> NDArray[np.float32]:
        radius_px = work.px(self.config.radius_um)
        factor = max(1, int(radius_px / _BLOCKS))
        small = smooth(shrink(light, factor), radius_px / factor)
        if state.mean is None or state.mean.shape != small.shape:
            state.mean, state.count = small, 1
        else:
            state.count = min(state.count + 1, self.config.frames)
            state.mean = state.mean + (small - state.mean) / np.float32(state.count)
        return grow(_unit(state.mean), factor, (light.shape[0], light.shape[1]))


def _unit(flat: NDArray[Any]) -> NDArray[np.float32]:
    """Scale to mean 1; dark corners are bounded so that noise is not blown up."""
    mean = float(flat.mean())
    if not mean > 0:
        return np.ones(flat.shape, dtype=np.float32)
    return np.maximum(flat / mean, 0.1).astype(np.float32)


def _read_flat(path: Path) -> NDArray[np.float32]:
    try:
        flat = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the flat-field file {path} cannot be read ({error})",
            fix="save the image with numpy.save as a .npy file",
        ) from error
    if not isinstance(flat, np.ndarray) or flat.ndim != 2:
        raise ConfigError(
            f"the flat-field file {path} holds no single (y, x) image",
            fix="save one image, averaged over many",
        )
    return _unit(flat.astype(np.float64))


class DenoiseConfig(LearnedConfig):
    """Settings of `denoise`.

    Attributes
    ----------
    method : str
        ``gaussian`` blur, or ``median`` of a square (keeps edges, removes hot pixels).
    sigma_um : float
        Blur, um; the median's square is ``2 sigma`` to each side.
    model : ModelUse or None
        A learned model that gives the restored image, in place of both.
    """

    classical: ClassVar[tuple[str, ...]] = ("method", "sigma_um")

    method: Literal["gaussian", "median"] = "gaussian"
    sigma_um: float = Field(0.5, gt=0)


class Denoise(LearnedStage[DenoiseConfig]):
    """Reduces pixel noise with a classical filter or a learned model.

    A model of several channels restores the first one that ``on`` names; one that
    fails leaves the image as it was.
    """

    Config: ClassVar[type[StageConfig]] = DenoiseConfig

    def __init__(self, config: DenoiseConfig, context: StageContext) -> None:
        super().__init__(config, context)
        if config.model is not None:
            self.learned = Learned(
                config,
                context,
                stage="denoise",
                kinds=("restored",),
                inputs=self.inputs(),
                stack=True,
            )

    def features(self) -> frozenset[str]:
        """None."""
        return frozenset()

    def process(self, work: Workspace, state: Any) -> None:
        """Replace the input by its smoothed self."""
        if self.learned is not None:
            self._by_model(work, self.learned, state)
            return
        image, sigma_px = work.image(self.input), work.px(self.config.sigma_um)
        if self.config.method == "gaussian":
            work.images[self.input] = smooth(image, sigma_px)
        else:
            side = 2 * max(1, round(sigma_px)) + 1
            work.images[self.input] = ndimage.median_filter(image, side, mode="mirror")

    def _by_model(self, work: Workspace, learned: Learned, state: LearnedView) -> None:
        answer = learned.see(work, state)
        if answer is not None:
            restored = answer.outputs[learned.output][learned.channel]
            shape = (work.shape[0], work.shape[1])
            same = restored.shape == shape
            # The model writes its next image over this one.
            image = restored.copy() if same else resized(restored, shape)
            work.images[self.input] = image
