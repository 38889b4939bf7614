"""The package of the denoiser: its card, record, test image and command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.training._data import read_pairs, read_stack
from smartscope.training._denoise import (
    BEYOND,
    LEVELS,
    DenoiseConfig,
    Gain,
    TrainedDenoiser,
    compare,
    static_scenes,
    train_denoiser,
    under_camera,
)
from smartscope.training._denoise_scenes import CameraModel, clean_image, clean_pool
from smartscope.training._export import Release, Tensors, to_onnx, write_release
from smartscope.training._nuclei import committed
from smartscope.training._recipe import (
    CITE_DSB2018,
    add_package_arguments,
    add_training_arguments,
    card,
    record,
    say,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from smartscope.inference import Card
    from smartscope.training._data import Pair

_TEST_PX = 64
_DOMAIN_IMAGES = 120
_HALO = 24


def export_denoiser(
    trained: TrainedDenoiser, folder: Path, gains: Sequence[Gain] = ()
) -> Path:
    """Write the package; raises `ModelError` where the folder cannot be written."""
    return write_release(
        folder,
        Release(
            name="Denoiser for fluorescence",
            onnx=to_onnx(trained.net),
            tensors=Tensors(
                outputs=("restored",), multiple_of=trained.net.stride, halo=_HALO
            ),
            card=_card(trained, gains),
            test=_test_image(trained),
            files={"training.json": _record(trained)},
        ),
    )


def judge(
    folder: Path,
    pairs: Sequence[Pair],
    static: Sequence[Path] = (),
    *,
    runtime: str = "auto",
) -> list[Gain]:
    """Hold a package against the best classical filters, on images it never saw.

    Parameters
    ----------
    folder : Path
        The package.
    pairs : sequence of Pair
        Real images, put under the stated camera at the levels `LEVELS` and `BEYOND`.
    static : sequence of Path
        TIFF stacks ``(t, y, x)`` of scenes that stand still.
    runtime : str

    Raises
    ------
    ConfigError
        A file is no such stack.
    """
    from smartscope.inference import load_model

    model = load_model(folder, runtime=runtime, threads=2)

    def restore(image: NDArray[Any]) -> NDArray[np.float32]:
        return np.array(model.run(image)[0][0])

    found = [
        compare(f"{photons:g} photons", under_camera(pairs, photons), restore)
        for photons in (*LEVELS, *BEYOND)
    ]
    for path in static:
        scenes = static_scenes(read_stack(path))
        found.append(compare(path.parent.name, scenes, restore))
    model.close()
    return found


def _test_image(trained: TrainedDenoiser) -> NDArray[Any]:
    random = np.random.default_rng(7)
    image = clean_image(clean_pool(trained.train[:20]), _TEST_PX, random)
    # Little light on a high offset is where a runtime with few digits goes wrong first.
    camera = CameraModel(10.0, gain=0.5, offset=500.0)
    taken: NDArray[Any] = camera.take(image, random)
    return taken[np.newaxis]


def _domain(trained: TrainedDenoiser) -> dict[str, Any]:
    """Statistics of images as they were in the training."""
    from smartscope.inference import Domain

    random = np.random.default_rng(11)
    pool = clean_pool(trained.train)
    images = [
        CameraModel.random(random)
        .take(clean_image(pool, 256, random), random)
        .astype(np.uint16)
        for _ in range(_DOMAIN_IMAGES)
    ]
    return dict(Domain.fit(images).to_card())


def _record(trained: TrainedDenoiser) -> bytes:
    config = trained.config
    return record(
        "denoise",
        trained.losses,
        seed=config.seed,
        steps=config.steps,
        rate=config.rate,
        network={"widths": config.widths, "head": config.head},
        images=[pair.name for pair in trained.train],
    )


def _card(trained: TrainedDenoiser, gains: Sequence[Gain]) -> Card:
    from smartscope.inference import Decoder

    config = trained.config
    return card(
        config,
        {
            "data": f"{len(trained.train)} images of {config.data.name}, synthetic "
            "spots and fibres, under a Poisson-Gaussian camera",
            "metrics": {
                gain.what: {
                    "noisy_db": round(gain.noisy, 2),
                    "classical_db": round(gain.classical, 2),
                    "restored_db": round(gain.restored, 2),
                }
                for gain in gains
            },
        },
        tolerance=0.08,
        domain=_domain(trained),
        decoder=Decoder(kind="restored"),
        cite=(
            "Weigert et al. 2018, Content-aware image restoration, "
            "doi 10.1038/s41592-018-0216-7",
            CITE_DSB2018,
        ),
        tags=("denoising", "fluorescence", "restoration", "2d"),
        description="Takes shot and read noise off fluorescence frames, live.",
        documentation=_TEXT.format(
            table=table(gains), steps=config.steps, seed=config.seed
        ),
    )


def table(gains: Sequence[Gain]) -> str:
    """Markdown of what `judge` found."""
    if not gains:
        return "Not measured.\n"
    rows = [
        "| images | frames | noisy | best classical (which) | restored | "
        "after the best gain and offset | gain |",
        "|---|---|---|---|---|---|---|",
    ]
    rows += [
        f"| {g.what} | {g.images} | {g.noisy:.1f} | {g.classical:.1f} ({g.best}) | "
        f"{g.restored:.1f} | {g.restored_fitted:.1f} | {g.gain_db:+.1f} |"
        for g in gains
    ]
    return "\n".join(rows) + "\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``denoise``."""
    default = DenoiseConfig(Path())
    parser.add_argument("--data", type=Path, required=True, help="folder of images")
    add_training_arguments(parser, default)
    _add_static(parser)


def run(options: argparse.Namespace) -> None:
    """Train, export, judge, and export with what was found."""
    config = DenoiseConfig(
        options.data, steps=options.steps, seed=options.seed, threads=options.threads
    )
    trained = train_denoiser(config, checkpoint=options.checkpoint, report=say)
    export_denoiser(trained, options.output)
    gains = judge(options.output, trained.test, options.static, runtime="onnxruntime")
    export_denoiser(trained, options.output, gains)
    print(table(gains))


def add_judge_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``evaluate-denoise``."""
    add_package_arguments(parser)
    parser.add_argument("--data", type=Path, required=True, help="folder of images")
    _add_static(parser)


def _add_static(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--static", type=Path, nargs="*", default=[], help="stacks that stand still"
    )


def run_judge(options: argparse.Namespace) -> None:
    """Print PSNR beside the best classical filter of each image."""
    pairs = read_pairs(options.data, names=committed("dsb2018_test"))
    gains = judge(options.model, pairs, options.static, runtime=options.runtime)
    print(table(gains))


_TEXT = """# Denoiser for fluorescence

Takes shot noise and read noise off single fluorescence frames. Camera counts come in,
camera counts come out; gain and offset may be any, the noise level is estimated inside
the network.

## Use it for

- Cells, nuclei, spots and fibres in one channel, from about 1 to 100 photons at the
  brightest places, read noise up to 4 electrons.
- Detection and tracking at weak light. Intensities stay those of the image on average
  (see the table: gain and offset bring little more).

## Not for

- Quantities read from single pixels: what is restored is smoother than the sample.
- Bright field and phase contrast. Cameras whose noise has patterns (lines, EM gain of
  single photons): it was not trained for them.
- Bright frames. Where a frame's spread is more than ten times its noise, it comes out
  as it went in; from six times on, less and less is taken away. Frames with few bright
  things on much empty ground are not known by this: from some 200 photons on they may
  come out worse than they went in. The alarm for unfamiliar images sees nearly all of
  these.
- Dense fields of smooth nuclei at 100 photons and more: there a slight Gaussian blur
  was better on one recording (MCF10A, SiR-DNA; 29.2 against 28.1 dB, noisy 26.2).
- Structure as faint as the noise: it may vanish, or shapes of the noise may stay.

## Data

Images of the 2018 Data Science Bowl, stage 1 training (BBBC038; CC0 as its publisher
states) without the 27 held out, blurred by 0.8 pixels, at many sizes, with synthetic
spots, fibres and uneven ground; then a camera: Poisson noise of 1 to 316 photons,
Gaussian noise of 0.2 to 4 electrons, gain 0.5 to 4, offset 0 to 500 counts, whole
numbers. In a third of the images neighbouring pixels share noise: that the noise of
real cameras does so was learned from the recording of telomeres below, whose frames are
in no other way part of the training.

## How well

Peak signal to noise ratio in dB, mean over frames it never saw. The rows in photons are
the held-out images under a camera of that many photons at brightness 1, 1 electron of
ground, read noise 1.6 electrons, gain 1.5, offset 100; the truth is the expected count.
From 300 photons on they only show that it does no harm there.
Other rows are real recordings of scenes that stand still; the truth is the mean of the
19 frames around, which still holds a twentieth of the noise. The best classical filter
is picked for each image with the truth in hand, which nobody has at the microscope: of
Gaussian, median, bilateral, non-local means and total variation, each in several
strengths.

{table}
`python -m smartscope.training evaluate-denoise --model denoise --data FOLDER
--static STACK.tif` prints it again.

## Make it again

`python -m smartscope.training denoise --data FOLDER --output models/denoise
--steps {steps} --seed {seed}`; see `training.json`.

Licence of the weights: BSD-3-Clause.
"""
