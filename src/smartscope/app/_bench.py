"""`bench`: measure this machine, print tables, write JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from smartscope.core import ConfigError

if TYPE_CHECKING:
    from smartscope.bench import Bench

__all__ = ["run_bench"]

STDOUT = "-"


def run_bench(
    work: str,
    *,
    repetitions: int,
    json_to: str | None,
    markdown: bool,
    scratch: Path | None,
    full: bool,
    strict: bool,
) -> int:
    """Measure and print; 0 when everything ran, 1 when a run failed.

    A bar that is not met is a result, not a failure, unless `strict`.
    """
    from smartscope.bench import bench, to_json, to_markdown, to_text

    _check_json(json_to, markdown)
    whole = bench(
        work,
        repetitions=repetitions,
        scratch=scratch,
        full=full,
        progress=lambda line: typer.echo(line, err=True),
    )
    if json_to is not None:
        text = json.dumps(to_json(whole), indent=2)
        if json_to == STDOUT:
            typer.echo(text)
        else:
            Path(json_to).write_text(text + "\n", encoding="utf-8")
    if json_to != STDOUT:
        typer.echo(to_markdown(whole) if markdown else to_text(whole), nl=False)
    missed = strict and any(
        bar["met"] is not True for table in whole.tables for bar in table.bars()
    )
    return 1 if missed or _failed(whole) else 0


def _check_json(json_to: str | None, markdown: bool) -> None:
    # Before, not after minutes of measuring.
    if json_to == STDOUT and markdown:
        raise ConfigError(
            "--markdown and '--json -' both print",
            field="--json",
            fix="give --json a file",
        )
    if json_to not in (None, STDOUT) and not Path(str(json_to)).parent.is_dir():
        raise ConfigError(
            f"{Path(str(json_to)).parent} is no folder",
            field="--json",
            fix="name a file in a folder that exists, or '-'",
        )


def _failed(whole: Bench) -> bool:
    return any(
        run.got is None
        for table in whole.tables
        for runs in table.runs.values()
        for run in runs
    )
