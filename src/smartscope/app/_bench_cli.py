"""`smartscope bench`: arguments in, exit code out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smartscope.app._guard import guarded
from smartscope.app._logging import quiet_pymmcore
from smartscope.app._options import JsonTo, Strict

__all__ = ["bench_command"]


@guarded
def bench_command(
    work: Annotated[
        str,
        typer.Argument(
            help="react, burst, overload, record, startup, light, or all of these: "
            "all; soak, decoders, denoise-detect, quarter-light, specimen.",
            metavar="WORK",
        ),
    ],
    repetitions: Annotated[
        int | None,
        typer.Option(
            "--repetitions",
            "-n",
            help="Runs of each peer, 5 if not given; specimens of quarter-light; "
            "frames of specimen.",
            metavar="N",
            show_default=False,
        ),
    ] = None,
    json_to: JsonTo = None,
    markdown: Annotated[
        bool,
        typer.Option("--markdown", help="Print the tables of docs/benchmarks.md."),
    ] = False,
    scratch: Annotated[
        Path | None,
        typer.Option(
            "--scratch",
            help="Where runs are written for a moment; a RAM disk leaves the disk out.",
            metavar="DIR",
        ),
    ] = None,
    full: Annotated[
        bool,
        typer.Option(
            "--full",
            help="Soak for an hour and a quarter of an hour; denoise-detect for a "
            "minute at each rate; quarter-light with 60 specimens.",
        ),
    ] = False,
    rate: Annotated[
        list[float] | None,
        typer.Option(
            "--rate",
            help="Frames per second of denoise-detect, instead of 10, 20 and 30; may "
            "be repeated.",
            metavar="FPS",
        ),
    ] = None,
    denoiser: Annotated[
        str | None,
        typer.Option("--denoiser", help="Model of denoise-detect.", metavar="MODEL"),
    ] = None,
    detector: Annotated[
        str | None,
        typer.Option("--detector", help="Model of denoise-detect.", metavar="MODEL"),
    ] = None,
    strict: Strict = False,
) -> None:
    """Measure this machine beside a hand-written script and plain pymmcore-plus.

    Drives Micro-Manager's demo devices only. Keep the machine idle meanwhile.
    """
    quiet_pymmcore()
    from smartscope.app._bench import Wanted, run_bench

    wanted = Wanted(
        work=work,
        repetitions=repetitions,
        json_to=json_to,
        markdown=markdown,
        scratch=scratch,
        full=full,
        strict=strict,
        rates=tuple(rate or ()),
        denoiser=denoiser,
        detector=detector,
    )
    code = run_bench(wanted)
    raise typer.Exit(code)
