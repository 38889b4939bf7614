"""What `bench` prints: text, the Markdown of ``docs/benchmarks.md``, and JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from smartscope.bench._catalogue import NOTES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from smartscope.bench._harness import Bench, Run, Table

FORMAT = 1
_LATENCY = (("median", "median ms"), ("p95", "p95"), ("p99", "p99"), ("max", "max"))
_STEP_CELLS = ("median", "p95", "p99", "max")
_COUNTS = ("asked", "published", "seen", "skipped", "lost", "recorded")
_REST = (
    ("fps", "fps", 1),
    ("cpu_ms_per_frame", "CPU ms/frame", 2),
    ("cpu_ms_per_frame_closed", "CPU to close", 2),
    ("peak_rss_mib", "peak MiB", 0),
    ("written_mb_s", "written MB/s", 0),
    ("close_s", "closed after s", 2),
)
_MORE = (
    ("not_applied", "not applied", 0),
    ("journalled", "journalled", 0),
    ("unaccounted", "unaccounted", 0),
    ("rss_growth_mib", "growth MiB", 1),
    ("objects", "objects", 0),
)


def to_json(bench: Bench) -> dict[str, Any]:
    """Everything, as plain values."""
    return {
        "format": FORMAT,
        "work": bench.work,
        "not_for_publication": bool(bench.why_not),
        "why_not": bench.why_not,
        "started": bench.started,
        "repetitions": bench.repetitions,
        "machine": dict(bench.machine),
        "versions": dict(bench.versions),
        "commit": bench.commit,
        "load": {"start": bench.load_start, "end": bench.load_end},
        "disk": dict(bench.disk),
        "scratch": bench.scratch,
        "notes": list(NOTES),
        "tasks": [_task_json(table) for table in bench.tables],
    }


def _task_json(table: Table) -> dict[str, Any]:
    medians = table.medians
    return {
        "name": table.task.name,
        "title": table.task.title,
        "latency": table.task.latency,
        "reference": table.reference,
        "rows": [
            {
                "name": name,
                "runs": sum(run.got is not None for run in runs),
                "of": len(runs),
                "x_floor": table.x_floor(name),
                "medians": medians[name],
                "repetitions": [_run_json(run) for run in runs],
            }
            for name, runs in table.runs.items()
        ],
        "bars": table.bars(),
    }


def _run_json(run: Run) -> dict[str, Any]:
    load = {"start": run.load_start, "end": run.load_end}
    return {"measured": run.got, "problem": run.problem, "load": load}


def to_markdown(bench: Bench) -> str:
    """The text and tables that go into ``docs/benchmarks.md``."""
    return _render(bench, markdown_table, "### ")


def to_text(bench: Bench) -> str:
    """The same for a terminal."""
    return _render(bench, text_table, "")


def _render(
    bench: Bench,
    draw: Callable[[Sequence[str], Sequence[Sequence[str]]], str],
    heading: str,
) -> str:
    parts = [_facts(bench)]
    if bench.why_not:
        parts.append(f"NOT FOR PUBLICATION: {'; '.join(bench.why_not)}.")
    for table in bench.tables:
        parts.append(f"{heading}{table.task.title}")
        if table.task.latency:
            parts.append(f"Latency: {table.task.latency}.")
        parts.append(draw(*_cells(table)))
        for name, row in table.medians.items():
            if steps := _inner(row, "more", "steps_ms"):
                parts.append(f"Where the time goes in {name}, ms:")
                parts.append(draw(("step", *_STEP_CELLS), _step_cells(steps)))
        if models := _models(table):
            parts.append("\n".join(models))
    rows = [row for table in bench.tables for row in _bar_cells(table)]
    if rows:
        parts.append(f"{heading}Must reach")
        parts.append(draw(("work", "must reach", "measured", "met"), rows))
    parts.append("\n".join(f"* {note}" for note in NOTES))
    return "\n\n".join(parts) + "\n"


def _facts(bench: Bench) -> str:
    machine, found = bench.machine, bench.versions
    memory = number(machine["memory_gib"], 0)
    packages = ", ".join(f"{k} {v}" for k, v in found.items() if k != "python")
    disk = "not measured"
    if bench.disk:
        disk = (
            f"{bench.disk['cached_mb_s']:.0f} MB/s, "
            f"{bench.disk['synced_mb_s']:.0f} MB/s with fsync"
        )
    return "\n".join(
        (
            f"* Measured {bench.started}, {bench.repetitions} interleaved repetitions, "
            "medians over them of each run's statistic (max and lost: the worst)",
            f"* Machine: {machine['cpu'] or 'unknown processor'}, "
            f"{machine['cores']} cores, {memory} GiB, {machine['os']}",
            f"* Python {found['python']}; {packages}",
            f"* Commit: {bench.commit or 'unknown'}",
            f"* Load average: {_load(bench.load_start)} at the start, "
            f"{_load(bench.load_end)} at the end",
            f"* Scratch: {disk}",
        )
    )


def _load(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"


def _cells(table: Table) -> tuple[list[str], list[list[str]]]:
    """Head and rows of one task; columns that nobody filled are left out."""
    medians = table.medians
    columns: list[tuple[str, list[str]]] = []

    def add(head: str, of: Callable[[str], str]) -> None:
        cells = [of(name) for name in table.runs]
        if any(cell != "-" for cell in cells):
            columns.append((head, cells))

    def column(head: str, digits: int, *keys: str) -> None:
        add(head, lambda name: number(_inner(medians[name], *keys), digits))

    add("peer", lambda name: name)
    add("runs", lambda name: _runs(table.runs[name]))
    for key, head in _LATENCY:
        column(head, 3, "latency_ms", key)
    if len(table.runs) > 1:
        add("x floor", lambda name: number(table.x_floor(name), 2))
    for key in _COUNTS:
        column(key, 0, key)
    for key, head, digits in _REST:
        column(head, digits, key)
    for key, head, digits in _MORE:
        column(head, digits, "more", key)
    rows = [[cells[i] for _, cells in columns] for i in range(len(table.runs))]
    return [head for head, _ in columns], rows


def _models(table: Table) -> list[str]:
    """Which models ran where; a line for each that differs from the others."""
    lines: dict[str, None] = {}
    for name, runs in table.runs.items():
        for run in runs:
            found = _inner(run.got or {}, "more", "models") or {}
            for stage, words in found.items():
                lines[f"* {name}, {stage}: {words}"] = None
    return list(lines)


def _inner(row: Mapping[str, Any], *keys: str) -> Any:
    found: Any = row
    for key in keys:
        found = (found or {}).get(key)
    return found


def _runs(runs: Sequence[Run]) -> str:
    return f"{sum(run.got is not None for run in runs)}/{len(runs)}"


def _bar_cells(table: Table) -> list[list[str]]:
    words = {True: "met", False: "NOT met", None: "not measured"}
    rows = []
    for bar in table.bars():
        value = number(bar["value"], 3)
        rows.append(
            [
                table.task.name,
                bar["text"],
                f"{value} {bar['unit']}".strip(),
                words[bar["met"]],
            ]
        )
    return rows


def _step_cells(steps: Mapping[str, Mapping[str, float]]) -> list[list[str]]:
    return [
        [name, *(number(found[key], 3) for key in _STEP_CELLS)]
        for name, found in steps.items()
    ]


def number(value: float | None, digits: int) -> str:
    """Cell of a table; a dash where there is nothing."""
    if value is None:
        return "-"
    if float(value).is_integer() and digits == 0:
        return str(int(value))
    return f"{value:.{digits}f}"


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Table for ``docs/benchmarks.md``."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Table for a terminal: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = []
    for line in (head, *rows):
        first = line[0].ljust(widths[0])
        rest = [
            cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)
        ]
        lines.append("  ".join([first, *rest]).rstrip())
    return "\n".join(lines)
