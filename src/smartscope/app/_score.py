"""`score`: compare policies on specimens; print tables, write JSON, pictures, docs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from smartscope.config import find_experiment, near, shipped
from smartscope.core import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartscope.score import Scoreboard

__all__ = ["Wanted", "run_score"]

STDOUT = "-"
SCENARIOS = "scenarios"
IMAGES = "images"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What was asked for on the command line."""

    experiments: tuple[str, ...]
    seeds: int | None = None
    full: bool = False
    tuning: bool = False
    jobs: int | None = None
    output: Path | None = None
    read: tuple[Path, ...] = ()
    markdown: bool = False
    json_to: str | None = None
    pictures: Path | None = None
    docs: Path | None = None
    strict: bool = False


def run_score(wanted: Wanted) -> int:
    """Run, measure and print; 1 when a run failed, or with `strict` a bar too."""
    from smartscope.score import to_json, to_markdown, to_text, verdicts

    _check(wanted)
    board = _board(wanted)
    if wanted.docs is not None:
        _write_docs(board, wanted.docs)
    if wanted.pictures is not None:
        _write_pictures(board, wanted.pictures)
    if wanted.json_to is not None:
        written = json.dumps(to_json(board), indent=1)
        if wanted.json_to == STDOUT:
            typer.echo(written)
        else:
            Path(wanted.json_to).write_text(written + "\n", encoding="utf-8")
    if wanted.json_to != STDOUT:
        typer.echo(to_markdown(board) if wanted.markdown else to_text(board), nl=False)
    failed = any(scenario.failed() for scenario in board.scenarios)
    missed = wanted.strict and any(
        verdict.met is not True
        for scenario in board.scenarios
        for verdict in verdicts(scenario)
    )
    return 1 if failed or missed else 0


def scenario_files(names: tuple[str, ...]) -> list[Path]:
    """Files of the experiments: paths, shipped scenarios, shipped experiments.

    Raises
    ------
    ConfigError
        If there is none of such a name.
    """
    offers = {path.stem: path for path in shipped_scenarios()}
    return [_find(name, offers) for name in names] or list(offers.values())


def _find(name: str, offers: dict[str, Path]) -> Path:
    if Path(name).exists():
        return Path(name)
    if name in offers:
        return offers[name]
    try:
        return find_experiment(name)
    except ConfigError:
        guess = near(name, offers)
        raise ConfigError(
            f"there is no scenario '{name}'",
            fix=f"did you mean '{guess}'?"
            if guess
            else f"give an experiment, or one of: {', '.join(offers)}",
        ) from None


def shipped_scenarios() -> list[Path]:
    """Experiments of ``demo_configs/scenarios`` that have a `score` section."""
    folder = shipped("demo_configs") / SCENARIOS
    return sorted(
        path
        for path in folder.glob("*.yaml")
        if "\nscore:" in path.read_text(encoding="utf-8")
    )


def _check(wanted: Wanted) -> None:
    # Before, not after an hour of runs.
    if wanted.json_to == STDOUT and wanted.markdown:
        raise ConfigError(
            "--markdown and '--json -' both print",
            field="--json",
            fix="give --json a file",
        )
    if wanted.full and wanted.seeds is not None:
        raise ConfigError(
            "--full takes as many specimens as the scenario publishes",
            field="--seeds",
            fix="give one of --full and --seeds",
        )
    if wanted.full and wanted.tuning:
        raise ConfigError(
            "--tuning takes specimens that are never published",
            field="--tuning",
            fix="give --seeds instead of --full",
        )
    files = [wanted.docs, wanted.json_to if wanted.json_to != STDOUT else None]
    for file in files:
        if file is not None and not Path(file).parent.is_dir():
            raise ConfigError(
                f"{Path(file).parent} is no folder", fix="name one that exists"
            )


def _board(wanted: Wanted) -> Scoreboard:
    from smartscope.score import Scoreboard, from_json, score

    boards = [_read(file, from_json) for file in wanted.read]
    if wanted.experiments or not boards:
        board = score(
            scenario_files(wanted.experiments),
            count=wanted.seeds,
            full=wanted.full,
            tuning=wanted.tuning,
            jobs=wanted.jobs,
            output=wanted.output,
            progress=lambda line: typer.echo(line, err=True),
        )
        boards.append(board)
    return Scoreboard(
        tuple(scenario for board in boards for scenario in board.scenarios),
        boards[-1].started,
        sum(board.took_s for board in boards),
    )


def _read(file: Path, from_json: Callable[[Any], Scoreboard]) -> Scoreboard:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{file} cannot be read ({error})",
            field="--read",
            fix="name a file that --json wrote",
        ) from error
    return from_json(data if isinstance(data, dict) else {})


def _write_docs(board: Scoreboard, file: Path) -> None:
    from smartscope.score import page

    file.write_text(page(board, IMAGES), encoding="utf-8")
    _write_pictures(board, file.parent / IMAGES)


def _write_pictures(board: Scoreboard, folder: Path) -> None:
    from smartscope.score import picture, picture_name

    folder.mkdir(parents=True, exist_ok=True)
    for scenario in board.scenarios:
        text = picture(scenario)
        (folder / picture_name(scenario)).write_text(text, encoding="utf-8")
