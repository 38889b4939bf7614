"""The `smartscope` command: arguments in, exit code out; the work is done elsewhere.

Every body imports what it needs when it is called, so that ``--help`` and shell
completion answer at once.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from smartscope.app._bench_cli import bench_command
from smartscope.app._guard import EXIT_CODES, guarded
from smartscope.app._logging import quiet_pymmcore, start_logging
from smartscope.app._models_cli import models_app
from smartscope.app._options import Json
from smartscope.app._policies_cli import policies_app
from smartscope.app._score_cli import score_command

__all__ = ["app", "main"]


class ClockKind(StrEnum):
    """Clocks a run may be driven by."""

    real = "real"
    scaled = "scaled"
    virtual = "virtual"


Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print nothing but errors and --json.")
]
Parent = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", help="Folder in which the run folder is made.", metavar="DIR"
    ),
]

app = typer.Typer(
    name="smartscope",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Event-driven control for any Micro-Manager microscope: "
    "see, decide, act, and explain why.\n\n"
    "New here? Try [bold]smartscope run quickstart[/bold].",
    epilog="Exit codes: "
    + ", ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES.items())
    + ".",
)
app.add_typer(policies_app, name="policies")
app.add_typer(models_app, name="models")


def _version(value: bool) -> None:
    if value:
        from smartscope import __version__

        typer.echo(f"smartscope {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_version),
    ] = False,
    verbose: Annotated[
        int, typer.Option("--verbose", "-v", count=True, help="Log more; -vv for all.")
    ] = 0,
) -> None:
    start_logging(verbose)


@app.command()
@guarded
def run(
    experiment: Annotated[
        str, typer.Argument(help="An experiment file, or the name of a demo.")
    ],
    rig: Annotated[
        Path | None,
        typer.Option("--rig", help="Use this rig file instead.", metavar="RIG"),
    ] = None,
    output: Parent = None,
    shadow: Annotated[
        bool,
        typer.Option("--shadow", help="Decide and journal, but act on nothing."),
    ] = False,
    clock: Annotated[
        ClockKind | None,
        typer.Option("--clock", help="Drive a simulated rig by this clock."),
    ] = None,
    no_reload: Annotated[
        bool,
        typer.Option("--no-reload", help="Ignore edits of policies while it runs."),
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run an experiment and write its report.

    Ctrl-C once ends the run in an orderly way with the light off; twice ends it now.
    """
    quiet_pymmcore()
    from smartscope.app._run import run_experiment

    code = run_experiment(
        experiment,
        rig=rig,
        output=output,
        shadow=shadow,
        reload=not no_reload,
        clock=clock.value if clock else None,
        as_json=as_json,
        quiet=quiet,
    )
    raise typer.Exit(code)


@app.command()
@guarded
def check(
    path: Annotated[str, typer.Argument(help="An experiment file or a run folder.")],
    rig: Annotated[
        Path | None,
        typer.Option("--rig", help="Check against this rig file.", metavar="RIG"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Validate an experiment against its rig, or verify a finished run.

    Touches no hardware and writes nothing. Forecasts time, disk and dose.
    """
    quiet_pymmcore()
    from smartscope.app._inspect import check_path

    raise typer.Exit(check_path(path, rig=rig, as_json=as_json))


@app.command()
@guarded
def calibrate(
    rig: Annotated[
        str, typer.Argument(help="A rig file, or the name of a shipped one.")
    ],
    channel: Annotated[
        str | None, typer.Option("--channel", help="Channel to look in.")
    ] = None,
    exposure_ms: Annotated[
        float, typer.Option("--exposure", help="Exposure, ms.", min=0.001)
    ] = 50.0,
    light: Annotated[
        list[str] | None,
        typer.Option("--light", help="Light to use.", metavar="LINE=PERCENT"),
    ] = None,
    step_um: Annotated[
        float | None,
        typer.Option("--step", help="Length of one move, um.", min=0.001),
    ] = None,
    slm: Annotated[
        bool, typer.Option("--slm", help="Measure where the SLM's pixels fall instead.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Measure how image pixels lie in the sample, by moving the stage and looking.

    Focus on something with structure first; with --slm, on an evenly fluorescent
    slide. On a real microscope only the light that you name is switched on, and off
    again at the end.
    """
    quiet_pymmcore()
    from smartscope.app._calibrate import calibrate_rig

    code = calibrate_rig(
        rig,
        channel=channel,
        exposure_ms=exposure_ms,
        light=light or (),
        step_um=step_um,
        slm=slm,
        as_json=as_json,
    )
    raise typer.Exit(code)


@app.command()
@guarded
def replay(
    path: Annotated[
        Path, typer.Argument(help="A run folder or a recording.", metavar="PATH")
    ],
    experiment: Annotated[
        str | None,
        typer.Option("--experiment", "-e", help="Decide by this experiment instead."),
    ] = None,
    output: Parent = None,
    vision: Annotated[
        bool, typer.Option("--vision", help="Recompute what was seen, too.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Decide again on a finished run, or run the whole loop on a recording."""
    quiet_pymmcore()
    from smartscope.app._run import replay_path

    code = replay_path(
        path,
        experiment=experiment,
        output=output,
        vision=vision,
        as_json=as_json,
        quiet=quiet,
    )
    raise typer.Exit(code)


@app.command()
@guarded
def report(
    run_folder: Annotated[Path, typer.Argument(help="A run folder.", metavar="RUN")],
    file: Annotated[
        Path | None,
        typer.Argument(
            help="With --trace: where to write it. Default: RUN/trace.json.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    open_it: Annotated[
        bool, typer.Option("--open", help="Show it in the web browser.")
    ] = False,
    trace: Annotated[
        bool,
        typer.Option(
            "--trace", help="Write a trace for ui.perfetto.dev or chrome://tracing."
        ),
    ] = False,
) -> None:
    """Write report.html for a run, or its trace; a crashed run has both, too."""
    from smartscope.app._report import report_run, trace_run

    if trace:
        code = trace_run(run_folder, target=file, open_it=open_it)
    else:
        code = report_run(run_folder, file=file, open_it=open_it)
    raise typer.Exit(code)


@app.command()
@guarded
def doctor(
    probe: Annotated[
        str | None,
        typer.Option(
            "--probe",
            help="Try out what this microscope's camera bears while it runs, "
            "with the light off.",
            metavar="RIG",
        ),
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Put what was found into the rig file.")
    ] = False,
    turn_objective: Annotated[
        bool, typer.Option("--turn-objective", help="Turn the objective too.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say what is installed, what works here, and what to do about each gap."""
    if probe is not None:
        quiet_pymmcore()
        from smartscope.app._probe import probe_rig

        code = probe_rig(
            probe, turn_objective=turn_objective, write=write, as_json=as_json
        )
        raise typer.Exit(code)
    if write or turn_objective:
        from smartscope.core import ConfigError

        raise ConfigError(
            "there is no rig to probe",
            field="--write" if write else "--turn-objective",
            fix="name one with --probe RIG",
        )
    from smartscope.app._doctor import doctor_here

    raise typer.Exit(doctor_here(as_json=as_json))


app.command("bench")(bench_command)
app.command("score")(score_command)


@app.command()
@guarded
def demos(
    copy: Annotated[
        Path | None,
        typer.Option("--copy", help="Copy them into this folder.", metavar="DIR"),
    ] = None,
) -> None:
    """List the demo experiments, or copy them to edit."""
    from smartscope.app._demos import copy_demos, list_demos

    raise typer.Exit(list_demos() if copy is None else copy_demos(copy))


def main() -> None:
    """Entry point of the `smartscope` script."""
    for stream in (sys.stdout, sys.stderr):
        # A pipe on Windows has a code page without all our characters: show a
        # question mark there rather than stop a run for a missing glyph.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    app(prog_name="smartscope")
