"""The table of `smartscope models bench`, as text or Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartscope.bench._tables import markdown_table, number, text_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smartscope.bench._models import ModelBench, Row

HEAD = (
    *("model", "runtime", "type", "size", "threads"),
    *("p50 ms", "p95", "p99", "max"),
    *("bare p50", "bare p95", "bare p99", "own ms", "own %", "decoder p50", "error"),
)
NOTES = (
    "p50 to max: the model, from camera counts to outputs (pre-processing, copies, "
    "network, post-processing), without its decoder",
    "bare: the call of the runtime's own library on the same tensors, in turns with it",
    "own: median of what the model took more than the bare call beside it",
    "error: RMS deviation of the outputs from ONNX Runtime in float32, over their "
    "contrast",
)


def models_to_text(bench: ModelBench) -> str:
    """For a terminal."""
    return _render(bench, text_table(HEAD, _cells(bench)))


def models_to_markdown(bench: ModelBench) -> str:
    """For ``docs/benchmarks.md``."""
    return _render(bench, markdown_table(HEAD, _cells(bench)))


def _render(bench: ModelBench, table: str) -> str:
    found = bench.machine
    packages = ", ".join(f"{k} {v}" for k, v in bench.versions.items() if k != "python")
    facts = (
        f"* Measured {bench.started}, {bench.count} turns of each",
        f"* Machine: {found['cpu'] or 'unknown processor'}, {found['cores']} cores, "
        f"{found['os']}",
        f"* Python {bench.versions['python']}; {packages}",
        f"* Commit: {bench.commit or 'unknown'}",
        f"* Load average: {number(bench.load_start, 2)} at the start, "
        f"{number(bench.load_end, 2)} at the end",
    )
    problems = [
        f"* {row.model} on {row.runtime}: {row.problem}"
        for row in bench.rows
        if row.problem
    ]
    notes = [f"* {note}" for note in NOTES]
    parts = ["\n".join(facts)]
    if any(row.whole_ms for row in bench.rows):
        parts += [table, "\n".join(notes)]
    if problems:
        parts.append("\n".join(["Not measured:", *problems]))
    return "\n\n".join(parts) + "\n"


def _cells(bench: ModelBench) -> list[list[str]]:
    return [_row(row) for row in bench.rows if row.whole_ms]


def _row(row: Row) -> list[str]:
    size = " x ".join(map(str, row.shape))
    tiles = f" ({row.tiles} tiles)" if row.tiles > 1 else ""
    whole, bare = row.whole_ms, row.bare_ms
    return [
        row.model,
        row.runtime,
        row.precision,
        size + tiles,
        str(row.threads),
        *_stats(whole, "median", "p95", "p99", "max"),
        *_stats(bare, "median", "p95", "p99"),
        number(row.own_ms, 2),
        number(row.own_percent, 1),
        number(row.decode_ms.get("median"), 2),
        "-" if row.error is None else f"{row.error:.1e}",
    ]


def _stats(found: Mapping[str, float], *keys: str) -> list[str]:
    return [number(found.get(key), 2) for key in keys]
