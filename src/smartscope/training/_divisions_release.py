"""The package of the division detector: its card, its record, its test frames."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.training._divisions import (
    TRAIN_SEED,
    WINDOW,
    DivisionsConfig,
    evaluate_divisions,
    film_of,
    held_out_films,
    window_at,
)
from smartscope.training._divisions_rivals import evaluate_classical, read_recording
from smartscope.training._divisions_score import GRID, MIN_DISTANCE_PX, RELEASE
from smartscope.training._export import Release, Tensors, to_onnx, write_release
from smartscope.training._recipe import (
    CITE_DSB2018,
    Trained,
    card,
    record_of,
    standardise,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from smartscope.inference import Card
    from smartscope.training._divisions_films import Film
    from smartscope.training._divisions_net import DivisionNet
    from smartscope.training._divisions_score import EventScores

    TrainedDivisions = Trained[DivisionsConfig, DivisionNet]

Table = dict[str, tuple["EventScores", "EventScores"]]
"""By kind of film: this model, the classical stages."""

KINDS = {
    "varied": "varied optics, light and pace",
    "demo": "as in the demo, 20 photons",
    "quarter": "as in the demo, 5 photons",
}
_TEST_PX = 64
_HALO = 16
_DOMAIN_FILMS = 20
_TEST_SEED = 7_000_000


def films_to_judge(
    count: int,
    recordings: Mapping[str, Path] | None = None,
    diameter_px: float | None = None,
) -> dict[str, list[Film]]:
    """Held-out films by what they show, then recordings by name.

    Parameters
    ----------
    count : int
        Varied films; a third as many of those like the demo.
    recordings : mapping of str to Path, optional
        Folders for `read_recording`.
    diameter_px : float or None
        Of a nucleus in the recordings; None is that of their labels.
    """
    films = {
        words: held_out_films(kind, count if kind == "varied" else -(-count // 3))
        for kind, words in KINDS.items()
    }
    for name, folder in (recordings or {}).items():
        films[name] = [read_recording(folder, diameter_px)]
    return films


def judge(
    folder: Path, films: Mapping[str, list[Film]], *, runtime: str = "auto"
) -> Table:
    """Score a package and the classical stages on films."""
    return {
        words: (
            evaluate_divisions(folder, some, runtime=runtime),
            evaluate_classical(some),
        )
        for words, some in films.items()
    }


def export_divisions(
    trained: TrainedDivisions,
    folder: Path,
    *,
    films: Mapping[str, list[Film]] | None = None,
    timestamp: str | None = None,
) -> Table:
    """Write the package and judge it as it runs.

    Parameters
    ----------
    trained : Trained
    folder : Path
        Of the package; files of the same names are replaced.
    films : mapping, optional
        What it is judged on, from `films_to_judge`; nothing without.
    timestamp : str or None
        When the model was made, ISO 8601; None is now.

    Raises
    ------
    ModelError
        The folder cannot be written, or what was written does not run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    release = _release(trained)
    write_release(folder, release, timestamp=timestamp)
    if not films:
        return {}
    table = judge(folder, films, runtime="onnxruntime")
    judged = replace(release, card=_card(trained, table))
    write_release(folder, judged, timestamp=timestamp)
    return table


def _numbers(table: Table) -> dict[str, Any]:
    return {
        words: {"this model": own.to_card(), "classical stages": other.to_card()}
        for words, (own, other) in table.items()
    }


def _release(trained: TrainedDivisions) -> Release:
    tensors = Tensors(
        outputs=("division",),
        multiple_of=trained.net.stride,
        inputs=tuple(f"frame_{k}" for k in range(1 - WINDOW, 1)),
        preprocessing=(standardise(),),
        grid=GRID,
        halo=_HALO,
        least_px=64,
    )
    return Release(
        name="Cell divisions in fluorescence",
        onnx=to_onnx(trained.net, channels=WINDOW),
        tensors=tensors,
        card=_card(trained, {}),
        test=_test_window(),
        files={"training.json": record_of("divisions", trained, window=WINDOW)},
    )


def _test_window() -> NDArray[Any]:
    """Frames around a division of a film made for nothing else, ``(t, y, x)``."""
    films = (
        film_of(seed, size_px=2 * _TEST_PX) for seed in itertools.count(_TEST_SEED)
    )
    film = next(film for film in films if film.events)
    event = film.events[0]
    newest = int(np.searchsorted(film.t_s, (event.first_s + event.last_s) / 2))
    y, x = (
        int(np.clip(at - _TEST_PX / 2, 0, _TEST_PX)) for at in (event.y_px, event.x_px)
    )
    return window_at(film.frames, newest)[:, y : y + _TEST_PX, x : x + _TEST_PX]


def _card(trained: TrainedDivisions, table: Table) -> Card:
    from smartscope.inference import Decoder, Domain

    config = trained.config
    count = min(config.films, _DOMAIN_FILMS)
    # Seeds of the training: what the network has seen is what it knows. Frames one by
    # one, as a run holds them against it; the window is made of such frames.
    seen = [
        film.frames[newest]
        for film in _training_films(config, count)
        for newest in (8, 24)
    ]
    training: dict[str, Any] = {
        "data": f"{config.films} films of synthetic cells, {config.windows} windows of "
        "animated real nuclei",
        "licence": "synthetic; nuclei of BBBC038 (CC0)",
    }
    if table:
        training["metrics"] = _numbers(table)
    return card(
        config,
        training,
        object_px=20.0,
        window=WINDOW,
        tolerance=0.05,
        domain=Domain.fit(seen).to_card() if len(seen) >= 10 else {},
        decoder=Decoder(
            kind="events",
            threshold=trained.threshold,
            options={
                "kind": "mitosis",
                "grid": GRID,
                "release": RELEASE,
                "min_distance_px": MIN_DISTANCE_PX,
            },
        ),
        cite=(CITE_DSB2018,),
        tags=("mitosis", "cell-division", "event-detection", "fluorescence", "2d"),
        description="Dividing nuclei in films of fluorescent chromatin, live.",
        documentation=_documentation(trained, table),
    )


def _training_films(config: DivisionsConfig, count: int) -> Iterator[Film]:
    first = TRAIN_SEED + 10_000 * config.seed
    for number in range(count):
        yield film_of(first + number, size_px=config.film_px)


def _markdown(table: Table) -> str:
    if not table:
        return "Not measured.\n"
    rows = [
        "| films | divisions | recall | precision | classical: recall | precision |\n"
        "|---|---|---|---|---|---|\n"
    ]
    for words, (own, other) in table.items():
        there = own.true_positive + own.false_negative
        rows.append(
            f"| {words} ({own.films}) | {there} | {own.recall:.2f} | "
            f"{own.precision:.2f} | {other.recall:.2f} | {other.precision:.2f} |\n"
        )
    return "".join(rows)


def _documentation(trained: TrainedDivisions, table: Table) -> str:
    config = trained.config
    return _TEXT.format(
        window=WINDOW,
        threshold=trained.threshold,
        release=RELEASE,
        distance=MIN_DISTANCE_PX,
        table=_markdown(table),
        films=config.films,
        windows=config.windows,
        steps=config.steps,
        seed=config.seed,
    )


_TEXT = """# Cell divisions in fluorescence

Looks at the last {window} frames of a field and says where a nucleus divides in the
newest: a score map at every second pixel, near 1 from the condensed plate (metaphase)
until the daughters have just parted (telophase). It never sees a later frame; where
there are fewer than {window}, the oldest is repeated.

## Use it for

- One channel with bright chromatin on a dark ground: histone fusions, SiR-DNA, Hoechst.
- Nuclei of 12 to 36 pixels in diameter.
- Any intensity: the window is scaled to zero mean and unit variance. From about 10
  photons in a pixel of a nucleus; at 5 every second event is false, unless the stage is
  given a `threshold` of 0.8.
- Frames so often that a division, from rounding to parted daughters, takes at least two
  of them. Cells may move up to a third of their diameter between frames.

Events begin above a score of {threshold} and end below {release}; peaks within
{distance:g} pixels are one event.

## Not for

- Transmitted light; cytoplasmic labels.
- Telling the stages of mitosis apart, or mitosis that goes wrong.
- Dying cells, debris and bright small nuclei are sometimes taken for divisions: let a
  policy ask for an event that lasts, or look at the images.

## Data

{films} films of synthetic dividing cells (`smartscope.specimen`; optics, light, noise,
density and pace drawn at random), and {windows} windows in which nuclei cut out of real
images of the 2018 Data Science Bowl (BBBC038; Caicedo et al. 2019; CC0 as its publisher
states) move, die and divide; the mitotic figures are drawn. No real division was in the
training.

## How well

A found event is right if it lies within one nuclear diameter of a division and overlaps
it in time, give or take one frame, where a division lasts from rounding to parted
daughters (in recordings: from the last frame of the mother to the first of the
daughters). A second event for the same division is false. Divisions cut off by the
border or by the ends of a film do not count. The films of specimens come from the
generator of the training, with other seeds; the number of weights and steps was settled
with an eye on films like them. Beside it the stages `background, segment, measure,
track, mitosis` with their defaults.

{table}
Again: `python -m smartscope.training evaluate-divisions --model models/divisions`
(`--recording FOLDER --diameter-px 22` for tracked recordings).

## Make it again

`python -m smartscope.training divisions --output models/divisions --nuclei FOLDER
--steps {steps} --seed {seed}`, FOLDER with the pairs of the nuclei recipe; everything
that was set is in `training.json`.

Licence of the weights: BSD-3-Clause.
"""
