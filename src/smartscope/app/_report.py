"""`report`, and `report --trace`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from smartscope.app._inspect import report_run as write_and_show
from smartscope.core import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["report_run", "trace_run"]


def report_run(folder: Path, *, file: Path | None, open_it: bool) -> int:
    """Write the report of a run and say where it is."""
    if file is not None:
        raise ConfigError(
            f"a report lies in its run folder, not in {file}",
            fix="leave the file out, or say --trace if you want the trace",
        )
    return write_and_show(folder, open_it=open_it)


def trace_run(folder: Path, *, target: Path | None, open_it: bool) -> int:
    """Write the trace of a run and say where it is and what opens it."""
    from smartscope.record import RunFolder, write_trace

    if open_it:
        raise ConfigError(
            "a trace cannot be opened from here",
            fix="leave --open out, then load the file in https://ui.perfetto.dev",
        )
    typer.echo(str(write_trace(RunFolder(folder), target)))
    typer.echo("Open it in https://ui.perfetto.dev or chrome://tracing.", err=True)
    return 0
