"""Command line of the nuclei recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from smartscope.training._data import read_pairs
from smartscope.training._nuclei import (
    NucleiConfig,
    Scores,
    committed,
    evaluate_package,
    train_nuclei,
)

if TYPE_CHECKING:
    import argparse

HELP = "train the nuclei segmenter on NAME_img.tif and NAME_lab.tif pairs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``nuclei``."""
    default = NucleiConfig(Path())
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of image pairs"
    )
    parser.add_argument(
        "--output", type=Path, required=True, help="folder of the package"
    )
    parser.add_argument("--steps", type=int, default=default.steps)
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--threads", type=int, default=default.threads)
    parser.add_argument(
        "--checkpoint", type=Path, help="keep the state here, and go on from it"
    )


def run(options: argparse.Namespace) -> None:
    """Train, evaluate, export."""
    from smartscope.training._nuclei_release import export_nuclei

    config = NucleiConfig(
        options.data, steps=options.steps, seed=options.seed, threads=options.threads
    )
    trained = train_nuclei(config, checkpoint=options.checkpoint, report=_say)
    for runtime, scores in export_nuclei(trained, options.output).items():
        _say(f"{runtime}: {in_words(scores)}")
    _say(f"written: {options.output}")


def add_evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``evaluate``."""
    parser.add_argument(
        "--model", type=Path, required=True, help="folder of the package"
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of image pairs"
    )
    parser.add_argument("--runtime", default="auto")
    parser.add_argument(
        "--all", action="store_true", help="all pairs, not the held-out list"
    )


def run_evaluate(options: argparse.Namespace) -> None:
    """Score a package on the committed held-out images, or on all of a folder."""
    names = None if options.all else committed("dsb2018_test")
    pairs = read_pairs(options.data, names=names)
    _say(in_words(evaluate_package(options.model, pairs, runtime=options.runtime)))


def in_words(scores: Scores) -> str:
    """One line with F1 at each overlap."""
    parts = [f"{m.f1:.4f} at {m.iou}" for m in scores.pooled]
    return f"F1 of {scores.images} images: " + ", ".join(parts)


def _say(line: str) -> None:
    print(line, flush=True)
