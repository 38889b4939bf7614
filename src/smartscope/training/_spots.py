"""The recipe of the spot detector: a heat map learned from synthetic images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree

from smartscope.training._export import require_torch
from smartscope.training._metrics import Counts
from smartscope.training._nuclei import not_held_out
from smartscope.training._recipe import Report, Trained, standardised
from smartscope.training._spots_scenes import (
    Scene,
    Scenery,
    draw_scene,
    random_scenery,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from smartscope.training._spots_net import SpotNet

Finder = Callable[["NDArray[Any]"], "NDArray[np.float64]"]
Kinds = Mapping[str, Sequence[Scene]]
"""Images with their spots, by kind."""

HEAT_SIGMA_PX = 1.0
"""Of the Gaussian that stands for a spot in the heat map."""
MATCH_PX = 2.0
"""A found spot matches a true one no farther away."""
MIN_DISTANCE_PX = 1.5
_HELD_OUT = 5_000_000
_VALIDATION = 6_000_000


@dataclass(frozen=True, slots=True)
class SpotsConfig:
    """What is trained, on what, and for how long.

    Attributes
    ----------
    photographs : Path or None
        Folder of ``NAME_img.tif`` with real images whose blurred structure stands
        behind some of the spots; the committed held-out names are left out.
    steps, seed, threads : int
        Batches; of weights and images; processor threads of torch.
    scenes : int
        Synthetic images that are drawn.
    validation : int
        Images the threshold is chosen on; 0: it stays 0.5.
    size_px : int
        Their sides.
    batch : int
    widths : tuple of int
        Channels of the levels of the network, the first at half resolution.
    head : int
        Channels before the last convolution.
    rate : float
        Highest learning rate.
    """

    photographs: Path | None = None
    steps: int = 6000
    seed: int = 0
    threads: int = 2
    scenes: int = 4000
    validation: int = 48
    size_px: int = 160
    batch: int = 8
    widths: tuple[int, ...] = (24, 40, 64)
    head: int = 24
    rate: float = 2e-3


@dataclass(frozen=True, slots=True)
class SpotScores(Counts):
    """Counts over some images, spots matched one to one.

    Attributes
    ----------
    images, true_positive, false_positive, false_negative : int
    error_px : float
        Root mean square distance of the matched pairs; nan without any.
    """

    images: int
    true_positive: int
    false_positive: int
    false_negative: int
    error_px: float

    def to_card(self) -> dict[str, Any]:
        """Plain numbers for the package."""
        return {
            "images": self.images,
            "f1": round(self.f1, 4),
            "precision": round(self.precision, 4),
            "recall": round(self.recall, 4),
            "error_px": round(self.error_px, 3),
        }


def match_spots(
    truth: NDArray[np.float64],
    found: NDArray[np.float64],
    *,
    within_px: float = MATCH_PX,
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows of `truth` and `found` ``(n, 2)`` that belong together.

    One to one: as many pairs as can be, then those of the smallest sum of squared
    distances.
    """
    none = np.empty(0, np.intp)
    if len(truth) == 0 or len(found) == 0:
        return none, none
    near = cKDTree(truth).sparse_distance_matrix(
        cKDTree(found), within_px, output_type="coo_matrix"
    )
    rows, columns = np.unique(near.row), np.unique(near.col)
    if not len(rows):
        return none, none
    apart = np.hypot(*(truth[rows][:, None] - found[columns][None]).transpose(2, 0, 1))
    # A pair too far apart costs more than all near ones together.
    far = within_px**2 * (min(apart.shape) + 1)
    cost = np.where(apart <= within_px, apart**2, far)
    i, j = linear_sum_assignment(cost)
    good = apart[i, j] <= within_px
    return rows[i[good]], columns[j[good]]


def score_spots(
    truths: Sequence[NDArray[np.float64]],
    found: Sequence[NDArray[np.float64]],
    *,
    within_px: float = MATCH_PX,
) -> SpotScores:
    """Compare points ``(n, 2)`` of each image with the truth, pooled."""
    hits = missed = false = 0
    squares: list[NDArray[np.float64]] = []
    for truth, points in zip(truths, found, strict=True):
        i, j = match_spots(truth, points, within_px=within_px)
        hits += len(i)
        missed += len(truth) - len(i)
        false += len(points) - len(j)
        squares.append(((truth[i] - points[j]) ** 2).sum(axis=1))
    every = np.concatenate(squares) if squares else np.empty(0)
    error = float(np.sqrt(every.mean())) if len(every) else float("nan")
    return SpotScores(len(truths), hits, false, missed, error)


def heat_map(
    shape: tuple[int, int], points: NDArray[np.float64]
) -> NDArray[np.float32]:
    """A Gaussian of height 1 at each point; where two meet, the higher one."""
    heat = np.zeros(shape, np.float32)
    reach = int(np.ceil(3.5 * HEAT_SIGMA_PX))
    for y, x in points:
        top, left = max(round(y) - reach, 0), max(round(x) - reach, 0)
        piece = heat[top : round(y) + reach + 1, left : round(x) + reach + 1]
        along_y = np.arange(top, top + piece.shape[0]) - y
        along_x = np.arange(left, left + piece.shape[1]) - x
        square = along_y[:, None] ** 2 + along_x[None] ** 2
        bell = np.exp(square / (-2 * HEAT_SIGMA_PX**2)).astype(np.float32)
        np.maximum(piece, bell, out=piece)
    return heat


class SpotBatches:
    """Batches of synthetic images, turned and flipped; a step gives the same batch.

    Parameters
    ----------
    config : SpotsConfig
    photographs : sequence of ndarray (y, x) float32
        Backgrounds, 0..1.
    """

    def __init__(
        self, config: SpotsConfig, photographs: Sequence[NDArray[np.float32]]
    ) -> None:
        self.config = config
        self.scenes = [
            _scene(config.seed * 1_000_003 + number, config.size_px, photographs)
            for number in range(config.scenes)
        ]

    def __call__(self, step: int) -> Mapping[str, NDArray[np.float32]]:
        """Images and heat maps ``(b, 1, y, x)`` of a step."""
        config = self.config
        random = np.random.default_rng([config.seed, step])
        images, heats = [], []
        for number in random.integers(len(self.scenes), size=config.batch):
            scene = self.scenes[number]
            pair = np.stack(
                [
                    standardised(scene.image),
                    heat_map((config.size_px, config.size_px), scene.points),
                ]
            )
            pair = np.rot90(pair, int(random.integers(4)), axes=(1, 2))
            pair = pair[:, ::-1] if random.random() < 0.5 else pair
            images.append(pair[0])
            heats.append(pair[1])
        return {
            "image": np.ascontiguousarray(np.stack(images)[:, None]),
            "heat": np.ascontiguousarray(np.stack(heats)[:, None]),
        }


def _scene(
    seed: int, size_px: int, photographs: Sequence[NDArray[np.float32]]
) -> Scene:
    random = np.random.default_rng(seed)
    scenery = random_scenery(random, size_px, photographs=bool(photographs))
    return draw_scene(scenery, random, photographs)


def read_photographs(folder: Path | None) -> list[NDArray[np.float32]]:
    """Images of a folder of pairs scaled to 0..1, without the committed test names."""
    if folder is None:
        return []
    images = []
    for pair in not_held_out(folder):
        image = pair.image.astype(np.float32)
        low, high = np.percentile(image, [1, 99.9])
        images.append(np.clip((image - low) / max(high - low, 1.0), 0, 1))
    return [np.asarray(image, np.float32) for image in images]


def train_spots(
    config: SpotsConfig,
    *,
    checkpoint: Path | None = None,
    report: Report | None = None,
) -> Trained[SpotsConfig, SpotNet]:
    """Train the network and choose its threshold.

    Raises
    ------
    ConfigError
        The photographs cannot be read.
    ModelError
        torch is not installed.
    """
    require_torch()
    import torch

    from smartscope.training._loop import Schedule, fit
    from smartscope.training._spots_net import SpotNet, spot_loss

    torch.manual_seed(config.seed)
    batches = SpotBatches(config, read_photographs(config.photographs))
    net = SpotNet(config.widths, config.head)
    schedule = Schedule(steps=config.steps, rate=config.rate, threads=config.threads)
    fitted = fit(
        net, batches, spot_loss, schedule, checkpoint=checkpoint, report=report
    )
    trained = Trained(config, fitted.net, fitted.losses)
    if config.validation:
        trained.threshold = choose_threshold(trained.net, images=config.validation)
    return trained


def predict_spots(net: SpotNet, image: NDArray[Any]) -> NDArray[np.float32]:
    """Heat map ``(y, x)`` of one raw image, in float32."""
    import torch

    height, width = image.shape
    more = [(0, -side % net.stride) for side in image.shape]
    padded = np.pad(standardised(image), more, mode="reflect")
    with torch.inference_mode():
        found = net(torch.from_numpy(padded)[None, None])[0, 0]
    return np.ascontiguousarray(found.numpy()[:height, :width])


def peaks(heat: NDArray[np.float32], threshold: float) -> NDArray[np.float64]:
    """Points ``(n, 2)`` ``y, x`` of a heat map, as the decoder gives them."""
    from smartscope.vision.decode import heat_to_points

    found = heat_to_points(heat, threshold=threshold, min_distance_px=MIN_DISTANCE_PX)
    return np.stack([found.y_px, found.x_px], axis=1)


def choose_threshold(net: SpotNet, *, images: int) -> float:
    """Threshold of the best mean F1 on images drawn only for this.

    The mean over images, not the F1 of all spots together: that would ask only what is
    good for the most crowded images.
    """
    scenes = [_scene(_VALIDATION + k, 256, ()) for k in range(images)]
    heats = [predict_spots(net, scene.image) for scene in scenes]

    def worth(threshold: float) -> float:
        each = (
            score_spots([scene.points], [peaks(heat, threshold)]).f1
            for scene, heat in zip(scenes, heats, strict=True)
        )
        return float(np.mean(list(each)))

    tried: list[float] = np.arange(0.2, 0.91, 0.05).round(2).tolist()
    return max(tried, key=worth)


SUITE: dict[str, Scenery] = {
    "flat, sparse": Scenery(spots=60, snr=12),
    "flat, SNR 5": Scenery(spots=300, snr=5, spread=0.3),
    "flat, 1500 spots": Scenery(spots=1500, snr=15, sigma_px=1.2),
    "small spots, hot pixels": Scenery(spots=300, sigma_px=0.9, hot=60, snr=12),
    "large spots": Scenery(spots=250, sigma_px=2.4, snr=10),
    "cells, like in-situ sequencing": Scenery(
        spots=400,
        sigma_px=1.3,
        snr=12,
        spread=0.5,
        background="cells",
        contrast=3,
        debris=10,
        clustered=0.2,
    ),
    "cells, 8 bit": Scenery(
        spots=400, sigma_px=1.3, snr=15, background="cells", camera="8 bit"
    ),
    "texture, debris": Scenery(
        spots=300, snr=12, background="texture", contrast=2, debris=30
    ),
    "top-hat": Scenery(
        spots=300, snr=12, background="cells", contrast=3, treatment="tophat"
    ),
    "few photons": Scenery(spots=300, snr=8, level_e=4),
}
"""Kinds of images, 512 x 512, the detector is judged on."""
NOTHING: dict[str, Scenery] = {
    "nothing, flat": Scenery(spots=0),
    "nothing, cells": Scenery(spots=0, background="cells", contrast=3),
    "nothing, texture": Scenery(spots=0, background="texture", contrast=2),
}
"""Kinds of images without any spot: all that is found is false."""


def held_out(name: str, number: int = 0, *, size_px: int = 512) -> Scene:
    """Image `number` of a kind of `SUITE` or `NOTHING`; its seed serves nothing else.

    Smaller images hold as many fewer spots.
    """
    kinds = SUITE | NOTHING
    scenery = kinds[name]
    share = (size_px / scenery.size_px) ** 2
    scenery = replace(
        scenery,
        size_px=size_px,
        spots=round(scenery.spots * share),
        debris=round(scenery.debris * share),
        hot=round(scenery.hot * share),
    )
    row = list(kinds).index(name)
    random = np.random.default_rng(_HELD_OUT + 1000 * row + number)
    return draw_scene(scenery, random)


def suite(images: int = 4, names: Sequence[str] = tuple(SUITE)) -> Kinds:
    """Held-out images by kind."""
    return {name: [held_out(name, k) for k in range(images)] for name in names}


def evaluate_finder(
    find: Finder, kinds: Kinds, *, within_px: float = MATCH_PX
) -> dict[str, SpotScores]:
    """Score any function from image to points ``(n, 2)`` on each kind of image."""
    return {
        name: score_spots(
            [scene.points for scene in scenes],
            [find(scene.image) for scene in scenes],
            within_px=within_px,
        )
        for name, scenes in kinds.items()
    }


def evaluate_spots(
    folder: Path,
    kinds: Kinds,
    *,
    within_px: float = MATCH_PX,
    runtime: str = "auto",
    threads: int = 2,
) -> dict[str, SpotScores]:
    """Score a package as it runs in an experiment.

    Raises
    ------
    ModelError
        The package cannot be run.
    """
    from smartscope.inference import load_model

    model = load_model(folder, runtime=runtime, threads=threads)
    threshold = model.decoder.threshold or 0.5

    def find(image: NDArray[Any]) -> NDArray[np.float64]:
        return peaks(model.run(image)[0][0], threshold)

    scores = evaluate_finder(find, kinds, within_px=within_px)
    model.close()
    return scores
