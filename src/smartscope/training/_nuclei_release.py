"""The package of the nuclei segmenter: its card, its record, its test image."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.training._data import diameter_px, scale_range
from smartscope.training._export import Release, Tensors, to_onnx, write_release
from smartscope.training._nuclei import (
    Scores,
    TrainedNuclei,
    evaluate_package,
    preprocessing,
)
from smartscope.training._recipe import CITE_DSB2018, card, record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from smartscope.inference import Card
    from smartscope.training._data import Pair

_REFERENCE = "onnxruntime"
_INT8 = "openvino-int8"
# F1 that the int8 form may lose on the validation part, at 0.5 and at 0.7.
_INT8_LOSS = 0.005
_CALIBRATION_IMAGES = 40
_CALIBRATION_PX = 256
_TEST_PX = 64
_FEWEST = 10
# Overlap of tiles, output pixels: radius of the largest nuclei and some surroundings.
_HALO = 32


def export_nuclei(
    trained: TrainedNuclei, folder: Path, *, timestamp: str | None = None
) -> Mapping[str, Scores]:
    """Write the package and judge it as it runs.

    An int8 form goes with it where it costs less than half a point of F1 on the
    validation part.

    Parameters
    ----------
    trained : TrainedNuclei
    folder : Path
        Of the package; files of the same names are replaced.
    timestamp : str or None
        When the model was made, ISO 8601; None is now.

    Returns
    -------
    mapping of str to Scores
        On the test part, one for each runtime here.

    Raises
    ------
    ModelError
        The folder cannot be written, or what was written does not run.
    """
    parts = trained.parts
    folder.mkdir(parents=True, exist_ok=True)
    release = _release(trained)
    write_release(folder, release, timestamp=timestamp)
    if release.calibration and not _int8_is_good(
        folder, parts.validation or parts.train
    ):
        (folder / "weights_int8.onnx").unlink()
        release = replace(release, calibration=())
        write_release(folder, release, timestamp=timestamp)
    scores = _by_runtime(folder, parts.test)
    write_release(
        folder, replace(release, card=_card(trained, scores)), timestamp=timestamp
    )
    return scores


def _release(trained: TrainedNuclei) -> Release:
    rays = trained.config.crops.rays
    tensors = Tensors(
        outputs=("probability", *(f"ray_{k}" for k in range(rays))),
        multiple_of=trained.net.stride,
        preprocessing=(preprocessing(),),
        grid=2,
        halo=_HALO,
    )
    return Release(
        name="Nuclei in fluorescence",
        onnx=to_onnx(trained.net),
        tensors=tensors,
        card=_card(trained, {}),
        test=_test_image(trained.parts.train),
        calibration=_calibration(trained.parts.train, trained.net.stride),
        files={"training.json": _record(trained)},
    )


def _int8_is_good(folder: Path, pairs: Sequence[Pair]) -> bool:
    runtime = _INT8 if _INT8 in _here(folder) else "onnxruntime-int8"
    floats = evaluate_package(folder, pairs, runtime=_REFERENCE)
    small = evaluate_package(folder, pairs, runtime=runtime)
    return all(small.f1(iou) >= floats.f1(iou) - _INT8_LOSS for iou in (0.5, 0.7))


def _by_runtime(folder: Path, pairs: Sequence[Pair]) -> dict[str, Scores]:
    wanted = [_REFERENCE, "openvino-bf16", _INT8]
    here = _here(folder) if pairs else ()
    return {
        name: evaluate_package(folder, pairs, runtime=name)
        for name in wanted
        if name in here
    }


def _here(folder: Path) -> tuple[str, ...]:
    """Runtimes that can run the package on this machine."""
    from smartscope.inference import available, load_model

    model = load_model(folder, runtime=_REFERENCE, threads=1)
    found = available(model.weights)
    model.close()
    return tuple(name for name, lack in found if lack is None)


def _test_image(pairs: Sequence[Pair]) -> NDArray[Any]:
    """A corner of the training image with most objects in it, ``(1, y, x)``."""
    size = _TEST_PX
    fitting = [p for p in pairs if min(p.image.shape) >= size] or list(pairs)
    best = max(fitting, key=lambda p: len(np.unique(p.labels[:size, :size])))
    return best.image[np.newaxis, :size, :size]


def _calibration(pairs: Sequence[Pair], multiple: int) -> list[NDArray[np.float32]]:
    """Parts of evenly spread training images, scaled, ``(1, 1, y, x)``."""
    order = sorted(pairs, key=lambda p: (p.image.shape, diameter_px(p.labels), p.name))
    count = min(len(order), _CALIBRATION_IMAGES)
    chosen = [
        order[k] for k in np.linspace(0, len(order) - 1, count).round().astype(int)
    ]
    images = []
    for pair in chosen:
        y, x = (
            min(side, _CALIBRATION_PX) // multiple * multiple
            for side in pair.image.shape
        )
        images.append(scale_range(pair.image)[None, None, :y, :x])
    return [image for image in images if image.size]


def _digest(pairs: Sequence[Pair]) -> str:
    lines = "".join(f"{pair.name} {pair.sha256}\n" for pair in pairs)
    return hashlib.sha256(lines.encode()).hexdigest()


def _record(trained: TrainedNuclei) -> bytes:
    config, parts = trained.config, trained.parts
    crops = {name: getattr(config.crops, name) for name in config.crops.__slots__}
    return record(
        "nuclei",
        trained.losses,
        seed=config.seed,
        steps=config.steps,
        network={
            "widths": config.widths,
            "head": config.head,
            "rays": config.crops.rays,
        },
        crops=crops,
        rate=config.rate,
        weight_decay=config.weight_decay,
        warm=config.warm,
        data={
            part: {"sha256": _digest(pairs), "names": [pair.name for pair in pairs]}
            for part, pairs in (
                ("train", parts.train),
                ("validation", parts.validation),
                ("test", parts.test),
            )
        },
    )


def _card(trained: TrainedNuclei, scores: Mapping[str, Scores]) -> Card:
    from smartscope.inference import Decoder

    config, parts, cut = trained.config, trained.parts, trained.cut
    sizes = [d for p in parts.train if (d := diameter_px(p.labels)) > 0]
    training = {
        "data": f"{len(parts.train)} images of {config.data.name}, see training.json",
        "data_sha256": _digest(parts.train),
        "metrics": {name: one.to_card() for name, one in scores.items()},
    }
    return card(
        config,
        training,
        object_px=round(float(np.median(sizes)), 1),
        tolerance=0.05,
        domain=_domain(trained),
        decoder=Decoder(
            kind="stardist",
            threshold=cut.threshold,
            options={"grid": 2, "nms": cut.nms},
        ),
        cite=_CITED,
        tags=("nuclei", "instance-segmentation", "fluorescence", "stardist", "2d"),
        description="Nuclei in fluorescence images as star-convex objects, live.",
        documentation=_documentation(trained, scores, sizes),
    )


def _domain(trained: TrainedNuclei) -> dict[str, Any]:
    """Statistics of images as the training saw them: as they are, and noisier."""
    from smartscope.inference import Domain

    images: list[NDArray[Any]] = [pair.image for pair in trained.parts.train]
    if len(images) < _FEWEST:
        return {}
    random = np.random.default_rng(trained.config.seed)
    noisy = [
        noisier(image, random.uniform(0, trained.config.crops.noise), random)
        for image in images
    ]
    domain = dict(Domain.fit([*images, *noisy]).to_card())
    # The steps of 8 bits are noise too; a camera with less of it does no harm.
    highest = domain["ranges"]["noise"][1]
    return {**domain, "ranges": {**domain["ranges"], "noise": [0.0, highest]}}


def noisier(
    image: NDArray[Any], share: float, random: np.random.Generator
) -> NDArray[np.uint16]:
    """Image with normal noise of a share of its range (percentiles 1 to 99.8)."""
    low, high = np.percentile(image, [1, 99.8])
    # Two bits more, so that the steps of dark 8 bit images are no part of the noise.
    wide = 4 * image.astype(np.float64)
    wide = wide + random.normal(0, 4 * share * max(high - low, 1), image.shape)
    return np.clip(np.rint(wide + 64), 0, 65535).astype(np.uint16)


_CITED = (
    "Schmidt et al. 2018, Cell Detection with Star-Convex Polygons, "
    "doi 10.1007/978-3-030-00934-2_30",
    CITE_DSB2018,
)


def _table(scores: Mapping[str, Scores]) -> str:
    if not scores:
        return "Not measured: no image was held out.\n"
    overlaps = [m.iou for m in next(iter(scores.values())).pooled]
    head = "| runtime | " + " | ".join(f"F1 at {iou}" for iou in overlaps) + " |\n"
    rule = "|---" * (len(overlaps) + 1) + "|\n"
    rows = []
    for name, one in scores.items():
        pooled = [
            f"{m.f1:.3f} ({mean:.3f})"
            for m, mean in zip(one.pooled, one.mean_f1, strict=True)
        ]
        rows.append(f"| {name} | " + " | ".join(pooled) + " |\n")
    return head + rule + "".join(rows)


def _documentation(
    trained: TrainedNuclei, scores: Mapping[str, Scores], sizes: Sequence[float]
) -> str:
    config, parts, cut = trained.config, trained.parts, trained.cut
    low, high = np.percentile(sizes, [2, 98]).round().astype(int)
    return _TEXT.format(
        low=low,
        high=high,
        threshold=cut.threshold,
        nms=cut.nms,
        folder=config.data.name,
        train=len(parts.train),
        validation=len(parts.validation),
        test=len(parts.test),
        table=_table(scores),
        steps=config.steps,
        seed=config.seed,
    )


_TEXT = """# Nuclei in fluorescence

Finds nuclei in single fluorescence images and gives each an outline. A small network of
the StarDist kind (Schmidt et al. 2018): at every second pixel it says how likely this
is the inside of a nucleus, and how far the border is in 32 directions.

## Use it for

- One channel, bright nuclei on a dark ground: DAPI, Hoechst, SiR-DNA, histone fusions.
- Nuclei {low} to {high} pixels in diameter, as in the training images. Their pixel
  sizes are not known; bin or magnify the images until the nuclei fit.
- Any intensity: each image is scaled between its percentiles 1 and 99.8.

Objects: probability above {threshold}, overlaps above {nms} suppressed.

## Not for

- Bright field, phase contrast, stained sections.
- Nuclei that are far from star-convex (rings, crescents, lobes): their outline is cut
  short.
- Empty images: the scaling magnifies noise, and false objects may appear. Watch the
  alarm for unfamiliar images.
- Mitotic figures are often found as one or two objects; nothing says that they are
  mitotic.

## Data

{train} images trained it, {validation} more chose the thresholds, {test} were kept away
from both (`{folder}`; names and hash in `training.json`). The shipped weights were made
from the fluorescence images of the 2018 Data Science Bowl, stage 1 training (BBBC038;
Caicedo et al. 2019), CC0 as its publisher states, with corrected labels.

## How well

On the {test} images it never saw; all objects pooled, in brackets the mean over images:

{table}
The images are of the same experiments as those of the training. On another microscope
expect less, and look at the result before an experiment depends on it.

## Make it again

`python -m smartscope.training nuclei --data FOLDER --output models/nuclei
--steps {steps} --seed {seed}`; everything that was set is in `training.json`.

Licence of the weights: BSD-3-Clause.
"""
