"""What else finds spots, given every advantage: settings tuned on the very truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from smartscope.training._spots import (
    Kinds,
    SpotScores,
    peaks,
    score_spots,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from smartscope.training._spots_scenes import Scene

_SIGMAS_PX = (0.8, 1.1, 1.5, 2.0, 2.6)
_HEIGHTS = tuple(np.geomspace(2.5, 40, 16).round(2).tolist())
_MAP_HEIGHTS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
# Median absolute deviation of a normal distribution, in standard deviations.
_MAD = 0.6745


def laplace_map(image: NDArray[Any], sigma_px: float) -> NDArray[np.float32]:
    """Answer to the Laplacian of a Gaussian in robust sigmas (Lindeberg 1998)."""
    answer = -ndimage.gaussian_laplace(image.astype(np.float32), sigma_px)
    noise = float(np.median(np.abs(answer - np.median(answer)))) / _MAD
    # In images of few levels most answers are equal.
    return np.asarray(answer / max(noise, 0.05 * float(answer.std()), 1e-6))


def classical(kinds: Kinds) -> dict[str, SpotScores]:
    """Laplacian of Gaussian; size and threshold are the best for each kind."""
    return {name: best_laplace(scenes) for name, scenes in kinds.items()}


def best_laplace(scenes: Sequence[Scene]) -> SpotScores:
    """Score of the best size and threshold on these images."""
    return max(
        (
            best_height([laplace_map(s.image, sigma) for s in scenes], scenes, _HEIGHTS)
            for sigma in _SIGMAS_PX
        ),
        key=lambda score: score.f1,
    )


def best_height(
    maps: Sequence[NDArray[np.float32]],
    scenes: Sequence[Scene],
    heights: Iterable[float],
) -> SpotScores:
    """Score at the best threshold of maps with peaks at spots."""
    truths = [scene.points for scene in scenes]
    return max(
        (score_spots(truths, [peaks(m, h) for m in maps]) for h in heights),
        key=lambda score: score.f1,
    )


def ufish(path: Path, kinds: Kinds, *, threads: int = 2) -> dict[str, SpotScores]:
    """U-FISH (MIT), its ONNX file; the threshold is the best for each kind.

    Raises
    ------
    ModelError
        The file cannot be run.
    """
    from smartscope.inference import load_model

    model = load_model(
        path,
        runtime="onnxruntime",
        threads=threads,
        multiple_of=16,
    )

    scores = {}
    for name, scenes in kinds.items():
        maps = [np.array(model.run(to_bytes(s.image))[0][0]) for s in scenes]
        scores[name] = best_height(maps, scenes, _MAP_HEIGHTS)
    model.close()
    return scores


def to_bytes(image: NDArray[Any]) -> NDArray[np.float32]:
    """Scale to 0..255 as U-FISH does: a few hot pixels do not set the upper end."""
    low, high = float(image.min()), float(image.max())
    usual = float(np.quantile(image, 0.9999))
    high = usual if high > 2 * usual else high
    scaled = (image.astype(np.float32) - low) * (255 / max(high - low, 1e-6))
    return np.asarray(np.clip(scaled, 0, 255))
