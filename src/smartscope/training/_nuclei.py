"""The recipe of the nuclei segmenter: a small network of the StarDist kind."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.core import ConfigError
from smartscope.training._data import (
    HIGH,
    LOW,
    Crops,
    Pair,
    StarBatches,
    read_pairs,
    scale_range,
    split,
)
from smartscope.training._export import require_torch
from smartscope.training._metrics import THRESHOLDS, Matching, match, pooled

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from smartscope.training._nets import StarNet
    from smartscope.training._recipe import Report


@dataclass(frozen=True, slots=True)
class NucleiConfig:
    """What is trained, on what, and for how long.

    Attributes
    ----------
    data : Path
        Folder with ``NAME_img.tif`` and ``NAME_lab.tif`` pairs.
    steps : int
        Batches.
    seed : int
        Of the weights, of every crop, and of the parts held out where no list is given.
    test, validation : tuple of str, or None
        Names held out for `evaluate`, and for choosing thresholds. None: the committed
        lists where all of them are in `data`, else every twentieth and every
        twenty-fifth pair, drawn over sizes.
    widths : tuple of int
        Channels of the levels of the network.
    head : int
        Channels before the last convolution.
    crops : Crops
        How the images are cut and changed.
    rate, weight_decay, warm : float
        See `Schedule`.
    threads : int
        Processor threads of torch.
    """

    data: Path
    steps: int = 16000
    seed: int = 0
    test: tuple[str, ...] | None = None
    validation: tuple[str, ...] | None = None
    widths: tuple[int, ...] = (32, 48, 56, 64)
    head: int = 32
    crops: Crops = field(default_factory=Crops)
    rate: float = 3e-3
    weight_decay: float = 0.01
    warm: float = 2100.1 / 16001
    threads: int = 2


@dataclass(frozen=True, slots=True)
class Parts:
    """Pairs by what they are for."""

    train: list[Pair]
    validation: list[Pair]
    test: list[Pair]


@dataclass(frozen=True, slots=True)
class Cut:
    """How probability and rays become objects.

    Attributes
    ----------
    threshold : float
        Least probability of an object.
    nms : float
        Largest overlap of two objects.
    """

    threshold: float = 0.5
    nms: float = 0.4


@dataclass(frozen=True, slots=True)
class Scores:
    """How well a model does on images it never saw.

    Attributes
    ----------
    images : int
    pooled : tuple of Matching
        Counts over all images, one for each overlap.
    mean_f1 : tuple of float
        Mean over images of F1, at the same overlaps.
    """

    images: int
    pooled: tuple[Matching, ...]
    mean_f1: tuple[float, ...]

    def f1(self, iou: float) -> float:
        """Pooled F1 at one overlap."""
        return next(m.f1 for m in self.pooled if m.iou == iou)

    def to_card(self) -> dict[str, Any]:
        """Plain numbers for the package."""
        return {
            "images": self.images,
            "f1": {str(m.iou): round(m.f1, 4) for m in self.pooled},
            "mean_f1_of_images": {
                str(m.iou): round(f, 4)
                for m, f in zip(self.pooled, self.mean_f1, strict=True)
            },
        }


@dataclass(slots=True)
class TrainedNuclei:
    """A trained network with what is needed to judge and publish it.

    Attributes
    ----------
    config : NucleiConfig
    net : StarNet
        In evaluation mode.
    cut : Cut
        Chosen on the validation part.
    parts : Parts
    losses : list of float
        Mean of each hundred steps.
    """

    config: NucleiConfig
    net: StarNet
    parts: Parts
    losses: list[float]
    cut: Cut = field(default_factory=Cut)


def committed(name: str) -> tuple[str, ...]:
    """Names of a held-out list that comes with smartscope, such as ``dsb2018_test``."""
    text = resources.files("smartscope.training") / "splits" / f"{name}.txt"
    return tuple(text.read_text(encoding="utf-8").split())


def not_held_out(folder: Path) -> list[Pair]:
    """Pairs of a folder without those of the committed lists.

    Raises
    ------
    ConfigError
        See `read_pairs`.
    """
    held = {*committed("dsb2018_test"), *committed("dsb2018_validation")}
    return [pair for pair in read_pairs(folder) if pair.name not in held]


def parts_of(config: NucleiConfig) -> Parts:
    """Read the data and split it.

    Raises
    ------
    ConfigError
        See `read_pairs`; a name held out is not there; nothing is left to train on.
    """
    pairs = read_pairs(config.data)
    there = {pair.name for pair in pairs}
    test, validation = config.test, config.validation
    if test is None:
        test = committed("dsb2018_test")
        if not there.issuperset(test):
            test = tuple(split(pairs, parts=max(1, len(pairs) // 20), seed=config.seed))
    rest = [pair for pair in pairs if pair.name not in test]
    if validation is None:
        validation = committed("dsb2018_validation")
        if not there.issuperset(validation) and rest:
            count = max(1, len(rest) // 25)
            validation = tuple(split(rest, parts=count, seed=config.seed + 1))
    missing = sorted({*test, *validation} - there)
    if missing:
        raise ConfigError(
            f"'{missing[0]}' is to be held out but is not there",
            file=str(config.data),
            fix="correct the list of names",
        )
    held = {*test, *validation}
    train = [pair for pair in pairs if pair.name not in held]
    if not any(pair.labels.any() for pair in train):
        raise ConfigError(
            f"{len(pairs)} images leave no labelled object to train on",
            file=str(config.data),
            fix="add labelled images, or hold out fewer",
        )
    return Parts(
        train,
        [pair for pair in rest if pair.name in validation],
        [pair for pair in pairs if pair.name in test],
    )


def train_nuclei(
    config: NucleiConfig,
    *,
    checkpoint: Path | None = None,
    report: Report | None = None,
) -> TrainedNuclei:
    """Train the network and choose its thresholds.

    Parameters
    ----------
    config : NucleiConfig
    checkpoint : Path, optional
        File the state is kept in every thousand steps; training goes on from there.
    report : callable, optional
        Told one line now and then.

    Raises
    ------
    ConfigError
        The data cannot be used.
    ModelError
        torch is not installed.
    """
    require_torch()
    import torch

    from smartscope.training._loop import Schedule, fit
    from smartscope.training._losses import star_loss
    from smartscope.training._nets import StarNet

    parts = parts_of(config)
    torch.manual_seed(config.seed)
    batches = StarBatches(parts.train, config.crops, config.seed)
    net = StarNet(rays=config.crops.rays, widths=config.widths, head=config.head)
    schedule = Schedule(
        steps=config.steps,
        rate=config.rate,
        weight_decay=config.weight_decay,
        warm=config.warm,
        threads=config.threads,
    )
    fitted = fit(
        net, batches, star_loss, schedule, checkpoint=checkpoint, report=report
    )
    trained = TrainedNuclei(config, fitted.net, parts, fitted.losses)
    trained.cut = choose_cut(trained.net, parts.validation)
    return trained


def predict(net: StarNet, image: NDArray[Any]) -> NDArray[np.float32]:
    """Probability and rays ``(1 + rays, y/2, x/2)`` of one raw image, in float32.

    The image is extended by reflection to sizes the network takes.
    """
    import torch

    height, width = image.shape
    more = [(0, -side % net.stride) for side in (height, width)]
    padded = np.pad(scale_range(image), more, mode="reflect")
    with torch.inference_mode():
        found = net(torch.from_numpy(padded)[None, None])[0]
    return np.ascontiguousarray(found.numpy()[:, : -(-height // 2), : -(-width // 2)])


def cut_objects(
    maps: NDArray[np.float32], shape: tuple[int, ...], cut: Cut
) -> NDArray[np.int32]:
    """Label image of probability and rays."""
    from smartscope.vision.decode import rays_to_labels

    return rays_to_labels(
        maps[0],
        maps[1:],
        shape=(shape[0], shape[1]),
        grid=2,
        threshold=cut.threshold,
        nms=cut.nms,
    ).labels


def choose_cut(net: StarNet, pairs: Sequence[Pair]) -> Cut:
    """Thresholds of the best F1 at overlaps 0.5 plus 0.7; `Cut()` without pairs."""
    maps = [predict(net, pair.image) for pair in pairs]
    cuts = [
        Cut(round(threshold, 2), nms)
        for nms in (0.3, 0.4, 0.5)
        for threshold in np.arange(0.3, 0.71, 0.05).tolist()
    ]

    def worth(cut: Cut) -> float:
        scores = score(
            pairs,
            [
                cut_objects(m, p.image.shape, cut)
                for m, p in zip(maps, pairs, strict=True)
            ],
        )
        return scores.f1(0.5) + scores.f1(0.7)

    return max(cuts, key=worth) if pairs else Cut()


def score(pairs: Sequence[Pair], found: Sequence[NDArray[np.integer]]) -> Scores:
    """Compare label images with the truth."""
    each = [match(p.labels, f) for p, f in zip(pairs, found, strict=True)]
    mean = tuple(
        float(np.mean([one[k].f1 for one in each])) for k in range(len(THRESHOLDS))
    )
    return Scores(len(pairs), tuple(pooled(each)), mean)


def evaluate(net: StarNet, pairs: Sequence[Pair], cut: Cut) -> Scores:
    """Score a network on pairs, computed in float32 by torch."""
    return score(
        pairs, [cut_objects(predict(net, p.image), p.image.shape, cut) for p in pairs]
    )


def evaluate_package(
    folder: Path, pairs: Sequence[Pair], *, runtime: str = "auto", threads: int = 2
) -> Scores:
    """Score a package as it runs in an experiment: its runtime, its decoder settings.

    Raises
    ------
    ModelError
        The package cannot be run.
    """
    from smartscope.inference import load_model

    model = load_model(folder, runtime=runtime, threads=threads)
    decoder = model.decoder
    cut = Cut(decoder.threshold or 0.5, float(decoder.options.get("nms", 0.4)))
    found = [cut_objects(model.run(p.image)[0], p.image.shape, cut) for p in pairs]
    model.close()
    return score(pairs, found)


def preprocessing() -> dict[str, Any]:
    """The scaling of `scale_range` as a package writes it."""
    return {
        "id": "scale_range",
        "kwargs": {
            "axes": ["channel", "y", "x"],
            "min_percentile": LOW,
            "max_percentile": HIGH,
            "eps": 1e-6,
        },
    }
