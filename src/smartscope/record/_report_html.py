"""Pieces of HTML all sections of the report are made of."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from smartscope.record._report_svg import clock

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from smartscope.record._report_facts import NoticeFact

MAX_NOTICES = 50


def section(title: str, body: str, *, card: bool = True) -> str:
    """A titled part of the page; nothing where there is nothing to say."""
    inner = f'<div class="card">{body}</div>' if card else body
    return f"<section><h2>{escape(title)}</h2>{inner}</section>" if body else ""


def table(head: Sequence[str], rows: Iterable[str]) -> str:
    """A table; a heading that begins with ``>`` stands over numbers."""
    cells = "".join(
        f'<th class="n">{escape(h[1:])}</th>'
        if h.startswith(">")
        else f"<th>{escape(h)}</th>"
        for h in head
    )
    return (
        f"<table><thead><tr>{cells}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )


def row(*cells: str, numbers: Iterable[int] = ()) -> str:
    """A row of escaped words; those at `numbers` stand to the right."""
    right = frozenset(numbers)
    inner = "".join(
        f'<td class="n">{escape(cell)}</td>'
        if k in right
        else f"<td>{escape(cell)}</td>"
        for k, cell in enumerate(cells)
    )
    return f"<tr>{inner}</tr>"


def soft(words: str) -> str:
    """A note in small voice."""
    return f'<p class="soft">{escape(words)}</p>' if words else ""


def when(first_s: float, last_s: float) -> str:
    """One time, or the first and the last of several."""
    first, last = clock(first_s), clock(last_s)
    return first if first == last else f"{first} to {last}"


def notices(items: Sequence[NoticeFact], what: str = "what") -> str:
    """A table of what was told, how often and when."""
    if not items:
        return ""
    rows = (
        row(n.words, f"{n.times:,}", when(n.first_s, n.last_s), numbers=(1, 2))
        for n in items[:MAX_NOTICES]
    )
    left = len(items) - MAX_NOTICES
    more = soft(f"and {left:,} more in journal.jsonl") if left > 0 else ""
    return table((what, ">times", ">when"), rows) + more
