"""The recipe of the division detector: a score map of a causal window of frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.training._divisions_films import (
    Film,
    Filming,
    Mark,
    make_film,
    random_filming,
)
from smartscope.training._divisions_paste import cut_nuclei, draw_window
from smartscope.training._divisions_score import (
    GRID,
    EventScores,
    score_events,
    sightings,
)
from smartscope.training._export import require_torch
from smartscope.training._nuclei import not_held_out
from smartscope.training._recipe import Report, Trained, standardised

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from smartscope.training._divisions_net import DivisionNet

Score = Callable[["NDArray[Any]"], "NDArray[np.float32]"]

WINDOW = 4
"""Frames the network looks at."""
TRAIN_SEED = 1_000_000
"""Of the first film of the training; those of other films lie far from it."""
_VALIDATION, _HELD_OUT = 8_000_000, 9_700_000
# Share of the windows in which the field jumps between frames, as it does where frames
# are rare: the newest frame must be enough.
_UNSTEADY, _JUMP_PX = 0.25, 12.0
_ANIMATED = (1, 3, 5, 6, 7)  # which of eight windows show animated real nuclei
_LEAST_SIGMA_PX = 3.0
_SIGMA = 0.2  # of a division in the score map, in diameters


@dataclass(frozen=True, slots=True)
class DivisionsConfig:
    """What is trained, on what, and for how long.

    Attributes
    ----------
    nuclei : Path or None
        Folder of labelled images (``NAME_img.tif``, ``NAME_lab.tif``) whose nuclei are
        animated; the committed held-out names are left out. None: only films of the
        synthetic specimen.
    steps, seed, threads : int
        Batches; of weights and images; processor threads of torch.
    films, windows : int
        Films of the specimen, windows of animated nuclei.
    validation : int
        Films the threshold is chosen on; 0: it stays 0.5.
    film_px : int
        Side of the films.
    size_px, batch : int
        Side and number of the windows in a batch.
    widths : tuple of int
        Channels of the levels of the network, the first at half resolution.
    head : int
        Channels before the last convolution.
    rate : float
        Highest learning rate.
    """

    nuclei: Path | None = None
    steps: int = 14000
    seed: int = 0
    threads: int = 2
    films: int = 240
    windows: int = 8000
    validation: int = 72
    film_px: int = 192
    size_px: int = 128
    batch: int = 8
    widths: tuple[int, ...] = (24, 40, 56, 64)
    head: int = 24
    rate: float = 3e-3


def window_at(
    frames: NDArray[Any], newest: int, length: int = WINDOW, *, history: int = WINDOW
) -> NDArray[Any]:
    """Frames up to `newest`, ``(length, y, x)``; the oldest is repeated.

    Parameters
    ----------
    history : int
        Frames that are taken at most.
    """
    first = max(newest - min(length, history) + 1, 0)
    picked = [max(newest - length + 1 + k, first) for k in range(length)]
    return np.asarray(frames[picked])


def score_map(
    shape: tuple[int, int], marks: Sequence[Mark]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What the network shall say, and where it counts, both ``(y/2, x/2)``.

    A Gaussian of height 1 at each division; around those that are not sure nothing
    counts, unless a sure one is there.
    """
    rows = np.arange(0, shape[0], GRID)[:, None]
    columns = np.arange(0, shape[1], GRID)[None]
    heat = np.zeros((rows.size, columns.size), np.float32)
    counts = np.ones_like(heat)
    for mark in marks:
        square = (rows - mark.y_px) ** 2 + (columns - mark.x_px) ** 2
        if mark.sure:
            sigma = max(_SIGMA * mark.diameter_px, _LEAST_SIGMA_PX)
            np.maximum(heat, np.exp(square / (-2 * sigma**2)), out=heat)
        else:
            counts[square < (0.7 * mark.diameter_px) ** 2] = 0.0
    counts[heat > 0.05] = 1.0
    return heat, counts


def shaken(frames: NDArray[Any], random: np.random.Generator) -> NDArray[Any]:
    """All but the newest frame shifted, more the older they are; sides wrap around."""
    moved = frames.copy()
    way = np.zeros(2)
    for number in range(len(frames) - 2, -1, -1):
        way += random.normal(0, _JUMP_PX, 2)
        moved[number] = np.roll(frames[number], np.rint(way).astype(int), axis=(0, 1))
    return moved


def turned(
    frames: NDArray[Any], marks: Sequence[Mark], turns: int, *, flip: bool
) -> tuple[NDArray[Any], list[Mark]]:
    """Square frames and their marks, turned by right angles and turned upside down."""
    last = frames.shape[1] - 1
    frames = np.rot90(frames, turns, axes=(1, 2))
    moved = list(marks)
    for _ in range(turns % 4):
        moved = [replace(m, y_px=last - m.x_px, x_px=m.y_px) for m in moved]
    if flip:
        frames = frames[:, ::-1]
        moved = [replace(m, y_px=last - m.y_px) for m in moved]
    return frames, moved


class DivisionBatches:
    """Batches of windows of both sources; a step gives the same batch."""

    def __init__(
        self, config: DivisionsConfig, *, report: Report | None = None
    ) -> None:
        say = report or (lambda _: None)
        self.config = config
        first = TRAIN_SEED + 10_000 * config.seed
        self.films = [
            film_of(first + k, size_px=config.film_px) for k in range(config.films)
        ]
        say(f"{config.films} films made")
        styles = _styles(config.nuclei)
        random = np.random.default_rng([config.seed, 1])
        self.windows = [
            draw_window(styles, random, length=WINDOW, size_px=config.size_px)
            for _ in range(config.windows if styles else 0)
        ]
        say(f"{len(self.windows)} windows of {len(styles)} images drawn")

    def __call__(self, step: int) -> Mapping[str, NDArray[np.float32]]:
        """Windows ``(b, t, y, x)``, score maps and where they count."""
        config = self.config
        random = np.random.default_rng([config.seed, 2, step])
        found: dict[str, list[NDArray[np.float32]]] = {
            "image": [],
            "heat": [],
            "counts": [],
        }
        for number in range(config.batch):
            if self.windows and number % 8 in _ANIMATED:
                window = self.windows[int(random.integers(len(self.windows)))]
                frames, marks = window.frames, window.marks
            else:
                frames, marks = self._crop(random)
            history = WINDOW if random.random() < 0.75 else int(random.integers(1, 4))
            frames = window_at(frames, WINDOW - 1, history=history)
            if random.random() < _UNSTEADY:
                frames = shaken(frames, random)
            turns, flip = int(random.integers(4)), random.random() < 0.5
            frames, marks = turned(frames, marks, turns, flip=flip)
            heat, counts = score_map(frames.shape[1:], marks)
            found["image"].append(standardised(frames))
            found["heat"].append(heat[None])
            found["counts"].append(counts[None])
        return {
            name: np.ascontiguousarray(np.stack(parts)) for name, parts in found.items()
        }

    def _crop(
        self, random: np.random.Generator
    ) -> tuple[NDArray[np.uint16], list[Mark]]:
        """Part of a film, in most cases with something that divides."""
        film = self.films[int(random.integers(len(self.films)))]
        newest = int(random.integers(len(film.frames)))
        side, size = film.frames.shape[1], self.config.size_px
        y, x = random.integers(0, side - size + 1, 2)
        here = [mark for mark in film.marks[newest] if mark.sure]
        if here and random.random() < 0.6:
            mark = here[int(random.integers(len(here)))]
            middle = np.array([mark.y_px, mark.x_px]) + random.uniform(-0.4, 0.4, 2) * (
                size
            )
            y, x = np.clip(middle.astype(int) - size // 2, 0, side - size)
        frames = window_at(film.frames, newest)[:, y : y + size, x : x + size]
        marks = [
            replace(mark, y_px=mark.y_px - y, x_px=mark.x_px - x)
            for mark in film.marks[newest]
        ]
        return frames, marks


def film_of(seed: int, *, size_px: int = 256) -> Film:
    """Film of a random specimen; the same seed gives the same film."""
    filming = random_filming(np.random.default_rng(seed), size_px=size_px)
    return make_film(filming, seed)


def _styles(folder: Path | None) -> list[Any]:
    if folder is None:
        return []
    return cut_nuclei(not_held_out(folder))


def train_divisions(
    config: DivisionsConfig,
    *,
    checkpoint: Path | None = None,
    report: Report | None = None,
) -> Trained[DivisionsConfig, DivisionNet]:
    """Train the network and choose its threshold.

    Raises
    ------
    ConfigError
        The images of nuclei cannot be read.
    ModelError
        torch is not installed.
    """
    require_torch()
    import torch

    from smartscope.training._divisions_net import DivisionNet, division_loss
    from smartscope.training._loop import Schedule, fit

    torch.manual_seed(config.seed)
    batches = DivisionBatches(config, report=report)
    net = DivisionNet(WINDOW, config.widths, config.head)
    schedule = Schedule(steps=config.steps, rate=config.rate, threads=config.threads)
    fitted = fit(
        net, batches, division_loss, schedule, checkpoint=checkpoint, report=report
    )
    trained = Trained(config, fitted.net, fitted.losses)
    if config.validation:
        trained.threshold = choose_threshold(trained.net, films=config.validation)
    return trained


def predict_scores(net: DivisionNet, window: NDArray[Any]) -> NDArray[np.float32]:
    """Score map ``(y/2, x/2)`` of a window ``(t, y, x)`` of raw frames, in float32."""
    import torch

    height, width = window.shape[1:]
    more = [(0, 0), *((0, -side % net.stride) for side in (height, width))]
    padded = np.pad(standardised(window), more, mode="reflect")
    with torch.inference_mode():
        found = net(torch.from_numpy(padded)[None])[0, 0].numpy()
    return np.ascontiguousarray(found[: -(-height // GRID), : -(-width // GRID)])


def score_maps(score: Score, frames: NDArray[Any]) -> list[NDArray[np.float32]]:
    """Score map of each frame, from nothing later than it."""
    return [score(window_at(frames, k)).copy() for k in range(len(frames))]


def choose_threshold(net: DivisionNet, *, films: int) -> float:
    """Threshold of the best F1, of the worst kind, on films made only for this."""
    counts = {"varied": films, "demo": -(-films // 8)}
    made = [films_of(kind, count, _VALIDATION) for kind, count in counts.items()]
    maps = [
        [score_maps(lambda w: predict_scores(net, w), film.frames) for film in some]
        for some in made
    ]

    def worth(threshold: float) -> float:
        scores = []
        for some, theirs in zip(made, maps, strict=True):
            found = [
                sightings(m, film.t_s, threshold=threshold)
                for m, film in zip(theirs, some, strict=True)
            ]
            scores.append(score_events(some, found).f1)
        return min(scores)

    tried: list[float] = np.arange(0.3, 0.91, 0.05).round(2).tolist()
    return max(tried, key=worth)


DEMO = Filming(
    size_px=512,
    frames=40,
    interval_s=10.0,
    exposure_ms=50.0,
    pixel_um=1.0,
    cells={
        "area_um": (700, 700),
        "cells": 90,
        "cell_cycle_s": 2500,
        "mitosis_s": 80,
        "separation_um": 24,
        "photons_per_ms": 0.4,
        "background_photons_per_ms": 0.02,
    },
)
"""A field like that of the demo: 20 photons in a pixel of a nucleus, 16 pixels wide."""


def held_out_films(kind: str, count: int) -> list[Film]:
    """`films_of` seeds that are used for nothing else."""
    return films_of(kind, count, _HELD_OUT)


def films_of(kind: str, count: int, first_seed: int) -> list[Film]:
    """Films of one kind.

    Parameters
    ----------
    kind : str
        ``demo``; ``quarter``, the same with a quarter of the light; ``varied``.
    """
    if kind == "varied":
        return [film_of(first_seed + k) for k in range(count)]
    filming = DEMO
    if kind == "quarter":
        cells = dict(DEMO.cells or {})
        cells["photons_per_ms"] /= 4
        cells["background_photons_per_ms"] /= 4
        filming = replace(DEMO, cells=cells)
    return [make_film(filming, first_seed + 500 + k) for k in range(count)]


def evaluate_scores(
    score: Score, films: Sequence[Film], *, threshold: float
) -> EventScores:
    """Score any function from a window of raw frames to a score map."""
    found = [
        sightings(score_maps(score, film.frames), film.t_s, threshold=threshold)
        for film in films
    ]
    return score_events(films, found)


def evaluate_divisions(
    folder: Path, films: Sequence[Film], *, runtime: str = "auto", threads: int = 2
) -> EventScores:
    """Score a package as it runs in an experiment.

    Raises
    ------
    ModelError
        The package cannot be run.
    """
    from smartscope.inference import load_model

    model = load_model(folder, runtime=runtime, threads=threads)
    threshold = model.decoder.threshold or 0.5
    scores = evaluate_scores(lambda w: model.run(w)[0][0], films, threshold=threshold)
    model.close()
    return scores
