"""Measures smartscope beside a hand-written script and beside plain pymmcore-plus.

`bench` runs one work (`WORKS` names them) some times, each peer in a fresh process and
the peers interleaved, and returns medians, percentiles, losses, CPU per frame, the
ratio to the hand-written floor, and whether the bars are met. ``python -m
smartscope.bench`` is one such process: it takes a job as JSON and prints what it
measured as JSON.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smartscope.bench._catalogue import WORKS, Task
    from smartscope.bench._harness import Bench, Loop, bench, check_scratch
    from smartscope.bench._models import ModelBench, Subject, bench_models
    from smartscope.bench._models_tables import models_to_markdown, models_to_text
    from smartscope.bench._quarter import (
        FIRST_SEED,
        FULL_SEEDS,
        SEEDS,
        QuarterLight,
        quarter_light,
    )
    from smartscope.bench._quarter_tables import (
        quarter_to_json,
        quarter_to_markdown,
        quarter_to_text,
    )
    from smartscope.bench._specimen import SpecimenBench, bench_specimen
    from smartscope.bench._specimen_tables import (
        specimen_to_json,
        specimen_to_markdown,
        specimen_to_text,
    )
    from smartscope.bench._tables import to_json, to_markdown, to_text

__all__ = [
    "FIRST_SEED",
    "FULL_SEEDS",
    "SEEDS",
    "WORKS",
    "Bench",
    "Loop",
    "ModelBench",
    "QuarterLight",
    "SpecimenBench",
    "Subject",
    "Task",
    "bench",
    "bench_models",
    "bench_specimen",
    "check_scratch",
    "models_to_markdown",
    "models_to_text",
    "quarter_light",
    "quarter_to_json",
    "quarter_to_markdown",
    "quarter_to_text",
    "specimen_to_json",
    "specimen_to_markdown",
    "specimen_to_text",
    "to_json",
    "to_markdown",
    "to_text",
]

_HOMES = {
    "FIRST_SEED": "_quarter",
    "FULL_SEEDS": "_quarter",
    "SEEDS": "_quarter",
    "WORKS": "_catalogue",
    "Task": "_catalogue",
    "Bench": "_harness",
    "Loop": "_harness",
    "ModelBench": "_models",
    "Subject": "_models",
    "bench": "_harness",
    "bench_models": "_models",
    "check_scratch": "_harness",
    "models_to_markdown": "_models_tables",
    "models_to_text": "_models_tables",
    "QuarterLight": "_quarter",
    "quarter_light": "_quarter",
    "quarter_to_json": "_quarter_tables",
    "quarter_to_markdown": "_quarter_tables",
    "quarter_to_text": "_quarter_tables",
    "SpecimenBench": "_specimen",
    "bench_specimen": "_specimen",
    "specimen_to_json": "_specimen_tables",
    "specimen_to_markdown": "_specimen_tables",
    "specimen_to_text": "_specimen_tables",
    "to_json": "_tables",
    "to_markdown": "_tables",
    "to_text": "_tables",
}


def __getattr__(name: str) -> Any:
    # The start-up of a peer is measured through this package: it must cost nothing.
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module 'smartscope.bench' has no attribute {name!r}")
    return getattr(import_module(f"smartscope.bench.{_HOMES[name]}"), name)
