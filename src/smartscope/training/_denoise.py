"""The recipe of the denoiser: synthetic pairs in, a network for any light out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.training._data import Pair, read_pairs
from smartscope.training._denoise_scenes import (
    CameraModel,
    DenoiseBatches,
    clean_pool,
)
from smartscope.training._export import require_torch
from smartscope.training._nuclei import committed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from smartscope.training._denoise_net import Denoiser

    Restore = Callable[[NDArray[Any]], NDArray[np.float32]]

LEVELS = (3.0, 10.0, 30.0, 100.0)
"""Photons at brightness 1 that it is made for."""
BEYOND = (300.0, 1000.0, 3000.0)
"""Where it must do no harm."""
# A charbonnier term beside the squares: it does not let dim structure go.
_SHARP = 1e-3
_SQUARES = 2.0


@dataclass(frozen=True, slots=True)
class DenoiseConfig:
    """How the denoiser is trained.

    Attributes
    ----------
    data : Path
        Folder of ``NAME_img.tif`` pairs; only the images are used.
    steps, seed, threads : int
    rate : float
        Highest learning rate.
    widths : tuple of int
    head : int
        See `Denoiser`.
    """

    data: Path
    steps: int = 6500
    seed: int = 0
    threads: int = 2
    rate: float = 2e-3
    widths: tuple[int, ...] = (20, 32, 64)
    head: int = 20


@dataclass(frozen=True, slots=True, eq=False)
class TrainedDenoiser:
    """A trained network, with what made it.

    Attributes
    ----------
    config : DenoiseConfig
    net : Denoiser
    losses : tuple of float
        Of each hundred steps.
    train, test : tuple of Pair
        Images of the training, and those kept away from it.
    """

    config: DenoiseConfig
    net: Denoiser
    losses: tuple[float, ...]
    train: tuple[Pair, ...]
    test: tuple[Pair, ...]


def train_denoiser(
    config: DenoiseConfig,
    *,
    checkpoint: Path | None = None,
    report: Callable[[str], None] | None = None,
) -> TrainedDenoiser:
    """Train on all images but the committed held-out ones.

    Raises
    ------
    ConfigError
        The folder holds no pairs.
    ModelError
        PyTorch is missing.
    """
    require_torch()
    import torch

    from smartscope.training._denoise_net import Denoiser
    from smartscope.training._loop import Schedule, fit

    pairs = read_pairs(config.data)
    away = set(committed("dsb2018_test"))
    train = tuple(pair for pair in pairs if pair.name not in away)
    torch.manual_seed(config.seed)
    net = Denoiser(config.widths, config.head)

    def loss(
        net: Any, batch: Mapping[str, torch.Tensor]
    ) -> tuple[torch.Tensor, Mapping[str, float]]:
        error = (net(batch["noisy"]) - batch["clean"]) / batch["sigma"]
        squares = (error * error).mean()
        sharp = torch.sqrt(error * error + _SHARP).mean()
        return sharp + _SQUARES * squares, {"squares": float(squares.detach())}

    batches = DenoiseBatches(clean_pool(train), config.seed)
    schedule = Schedule(steps=config.steps, rate=config.rate, threads=config.threads)
    fitted = fit(net, batches, loss, schedule, checkpoint=checkpoint, report=report)
    test = tuple(pair for pair in pairs if pair.name in away)
    return TrainedDenoiser(config, fitted.net, tuple(fitted.losses), train, test)


@dataclass(frozen=True, slots=True)
class Gain:
    """Peak signal to noise ratios of the same images, dB, mean over images.

    Attributes
    ----------
    what : str
    images : int
    noisy, classical, restored : float
        As taken; after the best classical filter of each image; after the model.
    restored_fitted : float
        After the best gain and offset for each image as well.
    best : str
        Classical filter that was best most often.
    """

    what: str
    images: int
    noisy: float
    classical: float
    restored: float
    restored_fitted: float
    best: str

    @property
    def gain_db(self) -> float:
        """What the model won."""
        return self.restored - self.noisy


def psnr(image: NDArray[Any], truth: NDArray[Any]) -> float:
    """Peak signal to noise ratio, dB; the peak is the range of the truth."""
    error = float(np.mean(np.square(image.astype(np.float64) - truth)))
    peak = float(truth.max() - truth.min())
    return 10 * float(np.log10(peak**2 / max(error, 1e-12)))


def fitted_psnr(image: NDArray[Any], truth: NDArray[Any]) -> float:
    """`psnr` after the gain and offset that bring the image nearest to the truth."""
    slope, offset = np.polyfit(image.ravel().astype(float), truth.ravel(), 1)
    return psnr(image * slope + offset, truth)


def classical(image: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """What well-known filters make of an image, each over a range of strengths.

    Gaussian, median, bilateral (Tomasi and Manduchi 1998), non-local means (Buades
    2005) and total variation (Chambolle 2004), with the sigma of the noise after
    Immerkaer 1996.
    """
    import cv2
    from scipy import ndimage

    counts = image.astype(np.float32)
    found: dict[str, NDArray[Any]] = {
        f"gaussian {sigma}": cv2.GaussianBlur(counts, (0, 0), sigma)
        for sigma in (0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6)
    }
    for size in (3, 5, 7, 9):
        found[f"median {size}"] = ndimage.median_filter(counts, size)
    mask = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]]) / 6
    sigma = 1.2533 * float(np.abs(ndimage.convolve(counts, mask)).mean())
    for times in (2.0, 4.0, 8.0, 16.0, 32.0):
        found[f"bilateral {times}"] = cv2.bilateralFilter(counts, 9, times * sigma, 2.0)
    low, high = float(counts.min()), float(counts.max())
    wide = np.rint((counts - low) / max(high - low, 1) * 65535).astype(np.uint16)
    for times in (0.7, 1.0, 1.4, 2.0, 2.8, 4.0):
        strength = times * sigma / max(high - low, 1) * 65535
        smooth = cv2.fastNlMeansDenoising(wide, [strength], None, 5, 15, cv2.NORM_L1)
        found[f"non-local means {times}"] = smooth / 65535 * (high - low) + low
    for weight in (0.5, 1.0, 2.0, 4.0):
        found[f"total variation {weight}"] = total_variation(counts, weight * sigma)
    return found


def total_variation(
    image: NDArray[np.float32], weight: float, steps: int = 60
) -> NDArray[np.float32]:
    """Image of small total variation near `image` (Chambolle 2004).

    Parameters
    ----------
    image : ndarray (y, x)
    weight : float
        Strength, in the unit of the image.
    steps : int
        Of the fixed-point iteration.
    """
    field = np.zeros((2, *image.shape), np.float32)
    if weight <= 0:
        return image
    for _ in range(steps):
        slope = _divergence(field) - image / weight
        gradient = np.zeros_like(field)
        gradient[0, :-1] = slope[1:] - slope[:-1]
        gradient[1, :, :-1] = slope[:, 1:] - slope[:, :-1]
        length = np.sqrt((gradient**2).sum(axis=0))
        field = (field + 0.25 * gradient) / (1 + 0.25 * length)
    return np.asarray(image - weight * _divergence(field), dtype=np.float32)


def _divergence(field: NDArray[np.float32]) -> NDArray[np.float32]:
    found = np.zeros(field.shape[1:], np.float32)
    found[:-1] += field[0, :-1]
    found[1:] -= field[0, :-1]
    found[:, :-1] += field[1, :, :-1]
    found[:, 1:] -= field[1, :, :-1]
    return found


def compare(
    what: str, pairs: Sequence[tuple[NDArray[Any], NDArray[Any]]], restore: Restore
) -> Gain:
    """Hold a model against noise and filters tuned on the truth itself.

    Parameters
    ----------
    what : str
    pairs : sequence of (noisy, truth)
    restore : callable
        The model: counts to counts.
    """
    rows, names = [], []
    for noisy, truth in pairs:
        values = {name: psnr(made, truth) for name, made in classical(noisy).items()}
        best = max(values, key=lambda name: values[name])
        restored = restore(noisy)
        names.append(best)
        rows.append(
            (
                psnr(noisy, truth),
                values[best],
                psnr(restored, truth),
                fitted_psnr(restored, truth),
            )
        )
    noisy_db, classical_db, restored_db, fitted_db = map(float, np.mean(rows, axis=0))
    return Gain(
        what=what,
        images=len(rows),
        noisy=noisy_db,
        classical=classical_db,
        restored=restored_db,
        restored_fitted=fitted_db,
        best=max(sorted(set(names)), key=names.count),
    )


def under_camera(
    pairs: Sequence[Pair], photons: float, *, seed: int = 1
) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Real images under the stated camera: noisy counts and the counts expected."""
    camera = CameraModel(photons)
    made = []
    for number, pair in enumerate(pairs):
        low, high = np.percentile(pair.image, [0.5, 99.9])
        clean = np.clip((pair.image.astype(np.float32) - low) / (high - low), 0, 1.5)
        random = np.random.default_rng([seed, number])
        made.append((camera.take(clean, random), camera.expected(clean)))
    return made


def static_scenes(
    stack: NDArray[Any], *, length: int = 20, step: int = 5
) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Frames of a scene that stands still, and the mean of the others around them.

    Parameters
    ----------
    stack : ndarray (t, y, x)
    length : int
        Frames of a stretch over which nothing moves.
    step : int
        One frame in so many is judged.
    """
    made = []
    for start in range(0, len(stack) - length + 1, length):
        part = stack[start : start + length].astype(np.float64)
        total = part.sum(axis=0)
        for number in range(0, length, step):
            others = (total - part[number]) / (length - 1)
            made.append((part[number].astype(np.float32), others))
    return made
