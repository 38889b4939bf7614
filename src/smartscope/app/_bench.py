"""`bench`: measure this machine, print tables, write JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from smartscope.core import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartscope.bench import Bench, Loop

__all__ = ["Wanted", "check_json", "print_result", "run_bench"]

STDOUT = "-"
QUARTER = "quarter-light"
SPECIMEN = "specimen"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What was asked for on the command line."""

    work: str
    repetitions: int | None = None
    json_to: str | None = None
    markdown: bool = False
    scratch: Path | None = None
    full: bool = False
    strict: bool = False
    rates: tuple[float, ...] = ()
    denoiser: str | None = None
    detector: str | None = None

    def loop(self) -> Loop | None:
        """Rates and models, where any was named."""
        from smartscope.bench import Loop

        models = {"denoiser": self.denoiser, "detector": self.detector}
        named = {name: value for name, value in models.items() if value is not None}
        if not self.rates and not named:
            return None
        return Loop(rates=self.rates, **named)


def run_bench(wanted: Wanted) -> int:
    """Measure and print; 0 when everything ran, 1 when a run failed.

    A bar that is not met is a result, not a failure, unless `strict`.
    """
    check_json(wanted.json_to, wanted.markdown)
    if wanted.work == QUARTER:
        return _quarter(wanted)
    if wanted.work == SPECIMEN:
        return _specimen(wanted)
    from smartscope.bench import bench, to_json, to_markdown, to_text

    whole = bench(
        wanted.work,
        repetitions=5 if wanted.repetitions is None else wanted.repetitions,
        scratch=wanted.scratch,
        full=wanted.full,
        loop=wanted.loop(),
        progress=_say,
    )
    print_result(
        wanted.json_to,
        plain=lambda: to_json(whole),
        text=lambda: to_markdown(whole) if wanted.markdown else to_text(whole),
    )
    missed = wanted.strict and any(
        bar["met"] is not True for table in whole.tables for bar in table.bars()
    )
    return 1 if missed or _failed(whole) else 0


def _quarter(wanted: Wanted) -> int:
    from smartscope.bench import (
        FIRST_SEED,
        FULL_SEEDS,
        SEEDS,
        check_scratch,
        quarter_light,
        quarter_to_json,
        quarter_to_markdown,
        quarter_to_text,
    )

    if wanted.loop() is not None:
        raise ConfigError(
            f"'{QUARTER}' takes its models from demo_configs/quarter_light.yaml",
            field="--rate, --denoiser, --detector",
            fix="use them with denoise-detect",
        )
    count = wanted.repetitions
    if count is None:
        count = FULL_SEEDS if wanted.full else SEEDS
    made = quarter_light(
        range(FIRST_SEED, FIRST_SEED + count),
        scratch=check_scratch(wanted.scratch, 100.0),
        progress=_say,
    )
    print_result(
        wanted.json_to,
        plain=lambda: quarter_to_json(made),
        text=lambda: (quarter_to_markdown if wanted.markdown else quarter_to_text)(
            made
        ),
    )
    return 0


def _specimen(wanted: Wanted) -> int:
    from smartscope.bench import (
        bench_specimen,
        specimen_to_json,
        specimen_to_markdown,
        specimen_to_text,
    )

    if wanted.loop() is not None:
        raise ConfigError(
            f"'{SPECIMEN}' runs no models and at no rate",
            field="--rate, --denoiser, --detector",
            fix="use them with denoise-detect",
        )
    frames = wanted.repetitions
    if frames is not None and frames < 1:
        raise ConfigError("no frame to draw", field="-n", fix="give 1 or more")
    made = bench_specimen(frames=frames, full=wanted.full, progress=_say)
    print_result(
        wanted.json_to,
        plain=lambda: specimen_to_json(made),
        text=lambda: (specimen_to_markdown if wanted.markdown else specimen_to_text)(
            made
        ),
    )
    return 1 if wanted.strict and any(row.met is False for row in made.rows) else 0


def _say(line: str) -> None:
    typer.echo(line, err=True)


def print_result(
    json_to: str | None,
    *,
    plain: Callable[[], dict[str, Any]],
    text: Callable[[], str],
) -> None:
    """JSON where it was asked for, else or beside it the tables."""
    if json_to is not None:
        written = json.dumps(plain(), indent=2)
        if json_to == STDOUT:
            typer.echo(written)
        else:
            Path(json_to).write_text(written + "\n", encoding="utf-8")
    if json_to != STDOUT:
        typer.echo(text(), nl=False)


def check_json(json_to: str | None, markdown: bool) -> None:
    """Refuse, before minutes of measuring, a place that cannot be written to."""
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
