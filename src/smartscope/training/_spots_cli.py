"""Command line of the spots recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from smartscope.training._data import read_stack
from smartscope.training._recipe import (
    add_package_arguments,
    add_training_arguments,
    say,
)
from smartscope.training._spots import (
    MATCH_PX,
    NOTHING,
    Kinds,
    SpotsConfig,
    SpotScores,
    evaluate_spots,
    suite,
    train_spots,
)
from smartscope.training._spots_recorded import recorded_scenes

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from smartscope.training._spots_scenes import Scene


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``spots``."""
    default = SpotsConfig()
    add_training_arguments(parser, default)
    parser.add_argument(
        "--photographs", type=Path, help="NAME_img.tif images for backgrounds"
    )
    parser.add_argument("--scenes", type=int, default=default.scenes)
    parser.add_argument(
        "--validation",
        type=int,
        default=default.validation,
        help="images to choose the threshold on",
    )
    _add_judged(parser)


def run(options: argparse.Namespace) -> None:
    """Train, evaluate, export."""
    from smartscope.training._spots_release import export_spots

    config = SpotsConfig(
        options.photographs,
        steps=options.steps,
        seed=options.seed,
        threads=options.threads,
        scenes=options.scenes,
        validation=options.validation,
    )
    trained = train_spots(config, checkpoint=options.checkpoint, report=say)
    kinds = _kinds(options)
    rivals = _rivals(options, kinds)
    table = export_spots(trained, options.output, kinds=kinds, rivals=rivals)
    for method, scores in table.items():
        _show(method, scores)
    say(f"written: {options.output}")


def add_evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``evaluate-spots``."""
    add_package_arguments(parser)
    _add_judged(parser)
    parser.add_argument(
        "--within-px", type=float, default=MATCH_PX, help="how far a match may lie"
    )


def run_evaluate(options: argparse.Namespace) -> None:
    """Score a package, and rivals, on the synthetic images held out."""
    kinds = _kinds(options)
    scores = evaluate_spots(
        options.model,
        {**kinds, **suite(options.images, tuple(NOTHING))},
        within_px=options.within_px,
        runtime=options.runtime,
    )
    _show(str(options.model), scores)
    for method, rival in _rivals(options, kinds).items():
        _show(method, rival)


def _add_judged(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=int, default=4, help="of each kind, to score")
    parser.add_argument(
        "--recording",
        type=Path,
        action="append",
        default=[],
        help="TIFF stack (t, y, x) that stands still; scored, too",
    )
    parser.add_argument(
        "--rivals", action="store_true", help="score a Laplacian of Gaussian, too"
    )
    parser.add_argument("--ufish", type=Path, help="score this U-FISH ONNX file, too")


def _kinds(options: argparse.Namespace) -> dict[str, Sequence[Scene]]:
    kinds = dict(suite(options.images)) if options.images else {}
    for path in options.recording:
        kinds[f"recording {path.parent.name}"] = recorded_scenes(read_stack(path))
    return kinds


def _rivals(
    options: argparse.Namespace, kinds: Kinds
) -> dict[str, dict[str, SpotScores]]:
    from smartscope.training._spots_rivals import classical, ufish

    found = {}
    if options.rivals:
        found["best Laplacian of Gaussian"] = classical(kinds)
    if options.ufish is not None:
        found["U-FISH"] = ufish(options.ufish, kinds)
    return found


def _show(method: str, scores: dict[str, SpotScores]) -> None:
    for name, score in scores.items():
        if name in NOTHING:
            each = score.false_positive / score.images
            say(f"{method}, {name}: {each:g} false spots in an image")
            continue
        say(
            f"{method}, {name}: F1 {score.f1:.3f}, precision {score.precision:.3f}, "
            f"recall {score.recall:.3f}, error {score.error_px:.2f} px"
        )
