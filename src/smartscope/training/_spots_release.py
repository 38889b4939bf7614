"""The package of the spot detector: its card, its record, its test image."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from smartscope.training._export import Release, Tensors, to_onnx, write_release
from smartscope.training._recipe import (
    CITE_DSB2018,
    Trained,
    card,
    record_of,
    standardise,
)
from smartscope.training._spots import (
    HEAT_SIGMA_PX,
    MATCH_PX,
    MIN_DISTANCE_PX,
    Kinds,
    SpotBatches,
    SpotsConfig,
    SpotScores,
    evaluate_spots,
    held_out,
    read_photographs,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from smartscope.inference import Card
    from smartscope.training._spots_net import SpotNet

    TrainedSpots = Trained[SpotsConfig, SpotNet]

Table = dict[str, dict[str, SpotScores]]
"""Scores by method and kind of image."""

_TEST_PX = 64
_DOMAIN_IMAGES = 200
# Overlap of tiles: what a spot needs to see around it.
_HALO = 16


def export_spots(
    trained: TrainedSpots,
    folder: Path,
    *,
    kinds: Kinds | None = None,
    rivals: Mapping[str, dict[str, SpotScores]] | None = None,
    timestamp: str | None = None,
) -> Table:
    """Write the package and judge it as it runs.

    Parameters
    ----------
    trained : Trained
    folder : Path
        Of the package; files of the same names are replaced.
    kinds : mapping, optional
        What it is judged on, from `suite` and `recorded_scenes`; nothing without.
    rivals : mapping, optional
        Scores of other methods on the same images, for the card.
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
    table: Table = {}
    if kinds:
        table["this model"] = evaluate_spots(folder, kinds, runtime="onnxruntime")
        table.update(rivals or {})
        judged = replace(release, card=_card(trained, table))
        write_release(folder, judged, timestamp=timestamp)
    return table


def _release(trained: TrainedSpots) -> Release:
    tensors = Tensors(
        outputs=("spot",),
        multiple_of=trained.net.stride,
        preprocessing=(standardise(),),
        halo=_HALO,
        least_px=32,
    )
    scene = held_out("cells, like in-situ sequencing", 900, size_px=_TEST_PX)
    return Release(
        name="Spots in fluorescence",
        onnx=to_onnx(trained.net),
        tensors=tensors,
        card=_card(trained, {}),
        test=scene.image[np.newaxis],
        files={
            "training.json": record_of("spots", trained, heat_sigma_px=HEAT_SIGMA_PX)
        },
    )


def _card(trained: TrainedSpots, table: Table) -> Card:
    from smartscope.inference import Decoder, Domain

    config = trained.config
    few = replace(config, scenes=min(config.scenes, _DOMAIN_IMAGES))
    seen = [
        scene.image
        for scene in SpotBatches(few, read_photographs(config.photographs)).scenes
    ]
    training = {
        "data": f"{config.scenes} synthetic images of {config.size_px} pixels",
        "licence": "synthetic; blurred backgrounds of BBBC038 (CC0)",
        "metrics": {
            method: {name: score.to_card() for name, score in scores.items()}
            for method, scores in table.items()
        },
    }
    return card(
        config,
        training,
        object_px=3.3,
        tolerance=0.05,
        domain=Domain.fit(seen).to_card() if len(seen) >= 10 else {},
        decoder=Decoder(
            kind="spots",
            threshold=trained.threshold,
            options={"grid": 1, "min_distance_px": MIN_DISTANCE_PX},
        ),
        cite=_CITED,
        tags=("spots", "smFISH", "in-situ-sequencing", "fluorescence", "2d"),
        description="Diffraction-limited spots in fluorescence images, live.",
        documentation=_documentation(config, table, trained.threshold),
    )


_CITED = (
    "Immerkaer 1996, Fast noise variance estimation, doi 10.1006/cviu.1996.0060",
    CITE_DSB2018,
)


def _markdown(table: Table) -> str:
    if not table:
        return "Not measured.\n"
    head = "| images | number | " + " | ".join(f"{name}: F1" for name in table)
    head += " | precision | recall | error, px |\n"
    own = next(iter(table.values()))
    rows = []
    for name, score in own.items():
        each = " | ".join(f"{scores[name].f1:.3f}" for scores in table.values())
        rest = f"{score.precision:.3f} | {score.recall:.3f} | {score.error_px:.2f}"
        rows.append(f"| {name} | {score.images} | {each} | {rest} |\n")
    return head + "|---" * (len(table) + 5) + "|\n" + "".join(rows)


def _documentation(config: SpotsConfig, table: Table, threshold: float) -> str:
    return _TEXT.format(
        threshold=threshold,
        distance=MIN_DISTANCE_PX,
        within=MATCH_PX,
        table=_markdown(table),
        scenes=config.scenes,
        size=config.size_px,
        steps=config.steps,
        seed=config.seed,
    )


_TEXT = """# Spots in fluorescence

Finds small bright spots, as in-situ sequencing, smFISH and single-molecule images show
them: a heat map with a peak at each spot, from which the decoder takes positions to a
fraction of a pixel.

## Use it for

- Spots whose point spread function has a standard deviation of 0.8 to 2.6 pixels (2 to
  6 pixels across), single or crowded: up to some 1500 in 512 x 512 pixels.
- Any intensity and background: each image is scaled to zero mean and unit variance, and
  the network measures noise and local background itself. Cells, uneven light, debris
  and hot pixels stood in the training images, as did images after a top-hat filter,
  maximum projections, 8 bit and JPEG.

Spots: peaks above {threshold}, at least {distance} pixels apart.

## Not for

- Spots of more than 7 pixels; bin the images.
- Spots nearer to each other than about two standard deviations of the point spread
  function: they become one.
- Counting molecules by brightness, or positions better than a tenth of a pixel.
- Spots dimmer than about three times the noise: many are missed.
- Filtered images (top-hat, difference of Gaussians) of strongly textured tissue, and
  smooth samples without spots: tens to hundreds of false spots in 512 x 512 pixels.
  Raise the threshold, or give the unfiltered image.

## Data

{scenes} synthetic images of {size} x {size} pixels, drawn by `smartscope.training`:
spots, cells, fibres, debris, hot pixels, shot and read noise. In a fifth of them the
background is a strongly blurred real image of the 2018 Data Science Bowl (BBBC038;
Caicedo et al. 2019; CC0 as its publisher states). No real spot was in the training.

## How well

F1 within {within:g} pixels; all spots with a peak of at least twice the local noise
count. Rivals had the best size and threshold for each kind, chosen with the truth at
hand; this model ran as it is. Precision, recall and error (root mean square) are of
this model. Recordings are named so: single frames of a scene that stands still, and the
truth is what the mean of the 20 frames around shows. All others are synthetic, 512 x
512, of the same kind as those of the training, with seeds used for nothing else.

{table}
On real images expect less than on synthetic ones, and look at the result before an
experiment depends on it.

Again: `python -m smartscope.training evaluate-spots --model models/spots --rivals`
(`--ufish FILE` for U-FISH, `--recording STACK` for recordings).

## Make it again

`python -m smartscope.training spots --output models/spots --photographs FOLDER
--steps {steps} --seed {seed}`, FOLDER with the images of the nuclei recipe; everything
that was set is in `training.json`.

Licence of the weights: BSD-3-Clause.
"""
