"""How several policies shared a run, as sections of the page."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from smartscope.record._report_html import section, soft, table
from smartscope.record._report_svg import clock

if TYPE_CHECKING:
    from smartscope.record._report_together import TogetherFact


def together(fact: TogetherFact) -> str:
    """Return the sections; nothing for what a run did not have."""
    return _arms(fact) + _phases(fact) + _rulings(fact) + _reloads(fact)


def _arms(fact: TogetherFact) -> str:
    if not fact.arms:
        return ""
    rows = [
        f"<tr><td>{escape(arm.name)}</td><td>{escape(', '.join(arm.policies))}</td>"
        f"<td>{', '.join(map(str, arm.positions))}</td>"
        f'<td class="n">{arm.frames:,}</td><td class="n">{arm.reactions:,}</td>'
        f'<td class="n">{arm.events:,}</td><td class="n">{escape(arm.dose)}</td></tr>'
        for arm in fact.arms
    ]
    head = ("arm", "policies", "positions", ">frames", ">reactions", ">events",
            ">dose, all positions")  # fmt: skip
    note = "Positions were drawn by the seed; nothing but the policies differs."
    return section("Arms", table(head, rows) + soft(note))


def _phases(fact: TogetherFact) -> str:
    rows = [
        f"<tr><td>{escape(phase.ended)}</td>"
        f'<td class="n">{clock(phase.from_s)} to {clock(phase.to_s)}</td>'
        f"<td>{escape(phase.reason)}</td></tr>"
        for phase in fact.phases
    ]
    head = ("phase", ">from, to", "ended by")
    return section("Phases", table(head, rows)) if rows else ""


def _rulings(fact: TogetherFact) -> str:
    if not fact.rulings:
        return ""
    rows = [
        f"<tr><td>{escape(r.claim)}</td><td>{escape(r.winner)}</td>"
        f"<td>{escape(r.loser)}</td><td>{escape(r.why)}</td>"
        f'<td class="n">{r.times:,}</td>'
        f'<td class="n">{clock(r.first_s)} to {clock(r.last_s)}</td></tr>'
        for r in fact.rulings
    ]
    head = ("resource", "winner", "loser", "because (last)", ">times", ">between")
    more = fact.rulings_more
    left = soft(f"and {more:,} more in journal.jsonl") if more else ""
    return section("Who won", table(head, rows) + left)


def _reloads(fact: TogetherFact) -> str:
    if not fact.reloads:
        return ""
    rows = [
        f'<tr><td class="n">{clock(r.t_s)}</td><td>{escape(r.policy)}</td>'
        f'<td class="status {"done" if r.done else "not"}">{escape(r.words)}</td></tr>'
        for r in fact.reloads
    ]
    more = fact.reloads_more
    left = soft(f"and {more:,} more in journal.jsonl") if more else ""
    head = (">time", "policy", "what")
    return section("Edited while it ran", table(head, rows) + left)
