"""`models bench`: time models, print a table, write JSON."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from smartscope.app._bench import check_json, print_result
from smartscope.app._models import reading
from smartscope.core import ConfigError
from smartscope.inference import RUNTIMES, find_model, is_remote, load_model

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["bench_all", "parse_shape"]

_MOST_PX = 16384


def bench_all(
    models: Sequence[str],
    *,
    runtimes: Sequence[str],
    shapes: Sequence[str],
    threads: Sequence[int],
    count: int,
    json_to: str | None,
    markdown: bool,
) -> int:
    """Measure and print; 1 when something that was asked for could not be measured.

    Raises
    ------
    ConfigError
        A model cannot be read, or an argument is wrong.
    """
    from smartscope.bench import (
        Subject,
        bench_models,
        models_to_markdown,
        models_to_text,
    )

    _check(runtimes)
    check_json(json_to, markdown)
    subjects = [Subject(Path(name).stem, find_model(name)) for name in models]
    sizes = [parse_shape(shape) for shape in shapes] or [(512, 512)]
    with reading():
        for subject in subjects:
            load_model(subject.path)
    found = bench_models(
        subjects,
        runtimes=runtimes,
        shapes=sizes,
        threads=threads,
        count=count,
        progress=lambda line: typer.echo(line, err=True),
    )
    print_result(
        json_to,
        plain=found.to_json,
        text=lambda: (models_to_markdown if markdown else models_to_text)(found),
    )
    # Without names a runtime that does not fit is a finding, not a failure.
    failed = [row for row in found.rows if row.problem]
    return 1 if failed and (runtimes or len(failed) == len(found.rows)) else 0


def parse_shape(text: str) -> tuple[int, ...]:
    """Read ``512x512`` or ``16x512x512``: (y, x) or (z, y, x), pixels.

    Raises
    ------
    ConfigError
        It is neither.
    """
    parts = re.split(r"[xX,]", text)
    sizes = tuple(int(part) if part.strip().isdecimal() else 0 for part in parts)
    if len(sizes) not in (2, 3) or not all(1 <= size <= _MOST_PX for size in sizes):
        raise ConfigError(
            f"'{text}' is no size of an image",
            field="--shape",
            fix="write it as 512x512 (rows x columns)",
        )
    return sizes


def _check(runtimes: Sequence[str]) -> None:
    # Before, not after minutes of measuring.
    for name in runtimes:
        if name not in RUNTIMES and not is_remote(name):
            raise ConfigError(
                f"there is no runtime '{name}'",
                field="--runtime",
                fix=f"use one of {', '.join(RUNTIMES)}, or grpc://HOST:PORT/MODEL",
            )
