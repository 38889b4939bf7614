"""What `bench specimen` prints: text, Markdown and JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from smartscope.bench._tables import markdown_table, text_table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from smartscope.bench._specimen import Drawn, SpecimenBench

FORMAT = 1
_HEAD = (
    *("scene", "objects", "threads", "frames/s", "bar", "met"),
    *("p50 ms", "p95", "p99", "max", "CPU ms"),
)
_NOTES = (
    "A frame is one exposure of 20 ms, 20 of them per second of specimen time; the "
    "steps of the sample's life in between are part of it.",
    "Frames/s: from the median. CPU: of all threads, per frame.",
    "Numpy alone makes random numbers and no picture.",
)


def specimen_to_json(made: SpecimenBench) -> dict[str, Any]:
    """Everything, as plain values."""
    whole = asdict(made)
    whole["rows"] = [
        {**asdict(row), "fps": row.fps, "met": row.met} for row in made.rows
    ]
    return {"format": FORMAT, "work": "specimen", **whole}


def specimen_to_markdown(made: SpecimenBench) -> str:
    """For the documentation."""
    return _render(made, markdown_table)


def specimen_to_text(made: SpecimenBench) -> str:
    """For a terminal."""
    return _render(made, text_table)


def _render(
    made: SpecimenBench,
    table: Callable[[Sequence[str], Sequence[Sequence[str]]], str],
) -> str:
    busy = "" if made.load is None else f", load {made.load:.1f}"
    facts = (
        f"{made.machine['cpu']}, {made.machine['cores']} cores{busy}; "
        f"numpy {made.versions.get('numpy')}; {made.started}, {made.took_s:.0f} s; "
        f"commit {made.commit}"
    )
    rows = [_cells(row) for row in made.rows]
    return "\n\n".join([facts, table(_HEAD, rows), "\n".join(_NOTES)]) + "\n"


def _cells(row: Drawn) -> list[str]:
    ms = row.frame_ms
    met = {None: "", True: "yes", False: "no"}[row.met]
    return [
        row.name,
        str(row.objects),
        str(row.threads),
        f"{row.fps:.0f}" if row.fps >= 20 else f"{row.fps:.1f}",
        "" if row.bar_fps is None else f"{row.bar_fps:.0f}",
        met,
        *(f"{ms[key]:.1f}" for key in ("median", "p95", "p99", "max")),
        f"{row.cpu_ms:.1f}",
    ]
