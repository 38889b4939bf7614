"""`check` and `report`."""

from __future__ import annotations

import json
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from smartscope.config import find_experiment
from smartscope.core import ConfigError, SmartscopeError

if TYPE_CHECKING:
    from smartscope.runs import CheckReport

__all__ = ["check_path", "report_run"]


def check_path(typed: str, *, rig: Path | None, as_json: bool) -> int:
    """Check an experiment or a run; 0 when all is well, 2 when it is not."""
    from smartscope.runs import check

    try:
        report = check(_find(typed), rig=rig)
    except SmartscopeError as error:
        if not as_json:
            raise
        typer.echo(json.dumps({"ok": False, "problems": [str(error)]}, indent=2))
        return error.exit_code
    if as_json:
        typer.echo(json.dumps(_check_facts(report), indent=2))
    else:
        for line in report.lines:
            typer.echo(line)
        many = len(report.problems)
        typer.echo("In order." if report.ok else f"Not in order: {many} found.")
    return 0 if report.ok else ConfigError.exit_code


def _find(typed: str) -> Path:
    folder = Path(typed)
    return folder if folder.is_dir() else find_experiment(typed)


def _check_facts(report: CheckReport) -> dict[str, Any]:
    return {
        "ok": report.ok,
        "kind": report.kind,
        "problems": list(report.problems),
        "forecast": dict(report.forecast),
    }


def report_run(folder: Path, *, open_it: bool) -> int:
    """Write the report of a run and say where it is."""
    from smartscope.record import RunFolder, write_report

    report = write_report(RunFolder(folder))
    typer.echo(str(report))
    if open_it:
        webbrowser.open(report.resolve().as_uri())
    return 0
