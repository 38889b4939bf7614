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
from smartscope.training._recipe import (
    add_package_arguments,
    add_training_arguments,
    say,
)

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``nuclei``."""
    default = NucleiConfig(Path())
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of image pairs"
    )
    add_training_arguments(parser, default)


def run(options: argparse.Namespace) -> None:
    """Train, evaluate, export."""
    from smartscope.training._nuclei_release import export_nuclei

    config = NucleiConfig(
        options.data, steps=options.steps, seed=options.seed, threads=options.threads
    )
    trained = train_nuclei(config, checkpoint=options.checkpoint, report=say)
    for runtime, scores in export_nuclei(trained, options.output).items():
        say(f"{runtime}: {in_words(scores)}")
    say(f"written: {options.output}")


def add_evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``evaluate``."""
    add_package_arguments(parser)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of image pairs"
    )
    parser.add_argument(
        "--all", action="store_true", help="all pairs, not the held-out list"
    )


def run_evaluate(options: argparse.Namespace) -> None:
    """Score a package on the committed held-out images, or on all of a folder."""
    names = None if options.all else committed("dsb2018_test")
    pairs = read_pairs(options.data, names=names)
    say(in_words(evaluate_package(options.model, pairs, runtime=options.runtime)))


def in_words(scores: Scores) -> str:
    """One line with F1 at each overlap."""
    parts = [f"{m.f1:.4f} at {m.iou}" for m in scores.pooled]
    return f"F1 of {scores.images} images: " + ", ".join(parts)
