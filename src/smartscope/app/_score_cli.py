"""`smartscope score`: arguments in, exit code out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smartscope.app._guard import guarded
from smartscope.app._logging import quiet_pymmcore
from smartscope.app._options import JsonTo, Strict

__all__ = ["score_command"]


@guarded
def score_command(
    experiments: Annotated[
        list[str] | None,
        typer.Argument(
            help="Experiments, or names of shipped scenarios; none: all of these.",
            metavar="EXPERIMENT...",
            show_default=False,
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            "--seeds",
            "-n",
            min=1,
            help="Specimens of each, 4 if not given.",
            metavar="N",
            show_default=False,
        ),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="As many specimens as are published.")
    ] = False,
    tuning: Annotated[
        bool,
        typer.Option("--tuning", help="Specimens for tuning, which no page shows."),
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            "-j",
            min=1,
            help="Processes, one for each core if not given.",
            metavar="N",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Keep the runs here.", metavar="DIR"),
    ] = None,
    read: Annotated[
        list[Path] | None,
        typer.Option(
            "--read",
            help="Take results that --json wrote, too; may be repeated.",
            metavar="FILE",
        ),
    ] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print Markdown.")
    ] = False,
    json_to: JsonTo = None,
    pictures: Annotated[
        Path | None,
        typer.Option("--pictures", help="Draw a picture of each here.", metavar="DIR"),
    ] = None,
    write_docs: Annotated[
        Path | None,
        typer.Option(
            "--write-docs",
            help="Write the page docs/scoreboard.md, and its pictures beside it.",
            metavar="FILE",
        ),
    ] = None,
    strict: Strict = False,
) -> None:
    """Compare policies with fixed rates and random triggers on simulated specimens.

    Runs in virtual time, on specimens whose truth is known; nothing else differs.
    """
    quiet_pymmcore()
    from smartscope.app._score import Wanted, run_score

    wanted = Wanted(
        experiments=tuple(experiments or ()),
        seeds=seeds,
        full=full,
        tuning=tuning,
        jobs=jobs,
        output=output,
        read=tuple(read or ()),
        markdown=markdown,
        json_to=json_to,
        pictures=pictures,
        docs=write_docs,
        strict=strict,
    )
    raise typer.Exit(run_score(wanted))
