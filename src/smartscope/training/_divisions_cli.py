"""Command line of the divisions recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from smartscope.training._divisions import DivisionsConfig, train_divisions
from smartscope.training._recipe import (
    add_package_arguments,
    add_training_arguments,
    say,
)

if TYPE_CHECKING:
    import argparse

    from smartscope.training._divisions_release import Table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``divisions``."""
    default = DivisionsConfig()
    add_training_arguments(parser, default)
    parser.add_argument(
        "--nuclei", type=Path, help="NAME_img.tif and NAME_lab.tif pairs to animate"
    )
    parser.add_argument("--windows", type=int, default=default.windows)
    parser.add_argument(
        "--validation",
        type=int,
        default=default.validation,
        help="films to choose the threshold on",
    )
    _add_films(parser, default.films)


def run(options: argparse.Namespace) -> None:
    """Train, evaluate, export."""
    from smartscope.training._divisions_release import export_divisions, films_to_judge

    config = DivisionsConfig(
        options.nuclei,
        steps=options.steps,
        seed=options.seed,
        threads=options.threads,
        films=options.train_films,
        film_px=options.film_px,
        windows=options.windows,
        validation=options.validation,
    )
    trained = train_divisions(config, checkpoint=options.checkpoint, report=say)
    films = (
        films_to_judge(options.films, _recordings(options), options.diameter_px)
        if options.films
        else {}
    )
    _show(export_divisions(trained, options.output, films=films))
    say(f"written: {options.output}")


def add_evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``evaluate-divisions``."""
    add_package_arguments(parser)
    _add_films(parser, None)


def run_evaluate(options: argparse.Namespace) -> None:
    """Score a package, and the classical stages, on films held out."""
    from smartscope.training._divisions_release import films_to_judge, judge

    films = films_to_judge(options.films, _recordings(options), options.diameter_px)
    _show(judge(options.model, films, runtime=options.runtime))


def _add_films(parser: argparse.ArgumentParser, training: int | None) -> None:
    if training is not None:
        parser.add_argument("--train-films", type=int, default=training)
        parser.add_argument("--film-px", type=int, default=192, help="side of films")
    parser.add_argument("--films", type=int, default=12, help="varied ones, to score")
    parser.add_argument(
        "--diameter-px", type=float, help="of a nucleus in the recordings"
    )
    parser.add_argument(
        "--recording",
        type=Path,
        action="append",
        default=[],
        help="folder with images.tif, tracks_labels.tif, man_track.txt; scored, too",
    )


def _recordings(options: argparse.Namespace) -> dict[str, Path]:
    return {f"recording {path.name}": path for path in options.recording}


def _show(table: Table) -> None:
    for words, (own, other) in table.items():
        say(
            f"{words}: recall {own.recall:.3f}, precision {own.precision:.3f}; "
            f"classical stages {other.recall:.3f}, {other.precision:.3f}"
        )
