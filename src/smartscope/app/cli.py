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

from smartscope.app._guard import EXIT_CODES, guarded
from smartscope.app._logging import start_logging
from smartscope.app._models_cli import Json, JsonTo, models_app

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
policies_app = typer.Typer(
    no_args_is_help=True, help="List the policies, show one, or begin your own."
)
app.add_typer(policies_app, name="policies")
app.add_typer(models_app, name="models")


def _version(value: bool) -> None:
    if value:
        from smartscope import __version__

        typer.echo(f"smartscope {__version__}")
        raise typer.Exit


def _quiet_pymmcore() -> None:
    # Whoever imports pymmcore-plus first decides whether it sets the root logger to
    # DEBUG and opens a log file of its own: the rig does it without.
    from smartscope.rig import import_quietly

    import_quietly()


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
    _quiet_pymmcore()
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
    _quiet_pymmcore()
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
    _quiet_pymmcore()
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
    _quiet_pymmcore()
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


@policies_app.command("list")
@guarded
def policies_list(as_json: Json = False) -> None:
    """List the shipped policies."""
    from smartscope.app._policies import list_policies

    raise typer.Exit(list_policies(as_json=as_json))


@policies_app.command("show")
@guarded
def policies_show(
    name: Annotated[
        str, typer.Argument(help="A shipped policy, or a path to your own.")
    ],
) -> None:
    """Say what a policy does and which parameters it has."""
    from smartscope.app._policies import show_policy

    raise typer.Exit(show_policy(name))


@policies_app.command("new")
@guarded
def policies_new(
    name: Annotated[str, typer.Argument(help="Its name, for example burst_on_flash.")],
    path: Annotated[
        Path,
        typer.Option("--path", help="Folder to write into.", metavar="DIR"),
    ] = Path(),
) -> None:
    """Write a policy that works, an experiment that uses it, and its test."""
    from smartscope.app._policies_new import new_policy

    raise typer.Exit(new_policy(name, path))


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
        _quiet_pymmcore()
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


@app.command("bench")
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
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Exit with 1 if something is not reached."),
    ] = False,
) -> None:
    """Measure this machine beside a hand-written script and plain pymmcore-plus.

    Drives Micro-Manager's demo devices only. Keep the machine idle meanwhile.
    """
    _quiet_pymmcore()
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


@app.command()
@guarded
def score(
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
    json_to: Annotated[
        str | None,
        typer.Option("--json", help="Write JSON; '-' prints it.", metavar="FILE"),
    ] = None,
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
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Exit with 1 if something is not reached."),
    ] = False,
) -> None:
    """Compare policies with fixed rates and random triggers on simulated specimens.

    Runs in virtual time, on specimens whose truth is known; nothing else differs.
    """
    _quiet_pymmcore()
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
