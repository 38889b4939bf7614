"""The page itself: facts in, one self-contained HTML document out.

Everything that comes from a run is escaped; numbers carry their unit; long lists are
cut with a word on what was left out, so that the size of the page is bounded.
"""

from __future__ import annotations

from html import escape
from itertools import groupby
from typing import TYPE_CHECKING

from smartscope.record._report_png import data_uri
from smartscope.record._report_style import CSS
from smartscope.record._report_svg import clock, dose_curve, sample_map, timeline
from smartscope.record._report_words import (
    duration,
    outcome_words,
    plural,
    sentence,
    summary,
    without_numbers,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from smartscope.record._report_facts import DecisionFact, EventFact, Facts, Thumb

MAX_DECISIONS = 200
SHOWN_ALIKE = 3
MAX_QUIET = 20
MAX_FAULTS = 50
MAX_POSITIONS = 50


def page(facts: Facts) -> str:
    """Return the whole document."""
    sections = (
        _head(facts),
        _timeline(facts),
        _events(facts),
        _decisions(facts),
        _quiet(facts),
        _sample(facts),
        _light(facts),
        _latency(facts),
        _trouble(facts),
        _versions(facts),
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(facts.name)}: report</title><style>{CSS}</style></head>"
        f"<body><main>{''.join(sections)}</main></body></html>\n"
    )


def _head(facts: Facts) -> str:
    kind = {"completed": "", "stopped": "some", "cancelled": "some"}.get(
        facts.outcome, "bad"
    )
    meta = [escape(part) for part in (facts.started, facts.setting) if part]
    sentences = " ".join(escape(sentence) for sentence in summary(facts))
    said = (
        f'<p class="soft">{escape(sentence(facts.message))}</p>'
        if facts.message
        else ""
    )
    about = (
        f'<p class="soft">{escape(facts.description)}</p>' if facts.description else ""
    )
    return (
        f"<header><h1>{escape(facts.name)}</h1>"
        f'<p class="meta"><span class="badge {kind}">{escape(outcome_words(facts))}'
        f"</span>{' &middot; '.join(meta)}</p>"
        f'<p class="lead">{sentences}</p>{said}{about}{_tiles(facts)}</header>'
    )


def _tiles(facts: Facts) -> str:
    tiles = [
        (duration(facts.duration_s), "filmed"),
        (f"{facts.counts.taken:,}", "frames"),
        (f"{facts.counts.reactions:,}", "of them reactions"),
        (f"{len(facts.events):,}", "events seen"),
        (f"{sum(d.done for d in facts.decisions):,}", "decisions carried out"),
    ]
    if facts.dose:
        most = max(facts.dose, key=lambda d: float(d.dose[-1]) if len(d.dose) else 0.0)
        if len(most.dose):
            tiles.append((f"{most.dose[-1]:.3g}", f"{most.unit}, most lit position"))
    cells = "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
        for value, name in tiles
    )
    return f'<div class="tiles">{cells}</div>'


def _section(title: str, body: str, *, card: bool = True) -> str:
    inner = f'<div class="card">{body}</div>' if card else body
    return f"<section><h2>{escape(title)}</h2>{inner}</section>" if body else ""


def _timeline(facts: Facts) -> str:
    if not facts.frames:
        return ""
    key = [("base", "planned frame"), ("react", "frame taken because of what was seen")]
    if facts.events:
        key.append(("event", "event"))
    if facts.decisions:
        key.append(("done", "decision carried out (hollow: not)"))
    legend = "".join(
        f'<li><i style="background:var(--{colour})"></i>{escape(words)}</li>'
        for colour, words in key
    )
    return _section(
        "What happened when", f'{timeline(facts)}<ul class="key">{legend}</ul>'
    )


def _events(facts: Facts) -> str:
    shown = [event for event in facts.events if event.strip]
    if not facts.events:
        return ""
    strips = "".join(_strip(event) for event in shown)
    left = len(facts.events) - len(shown)
    note = ""
    if any(thumb.reaction for event in shown for thumb in event.strip):
        note = '<p class="soft">Framed: the onset. Amber: taken as a reaction.</p>'
    if left:
        what = "further event" if shown else "event"
        note += f'<p class="soft">{plural(left, what)} without pictures here.</p>'
    return _section("Events", f'<div class="strips">{strips}</div>{note}', card=False)


def _strip(event: EventFact) -> str:
    truth = {
        None: "",
        True: '<span class="true">true: the sample did this</span>',
        False: '<span class="false">false: the sample did not do this</span>',
    }[event.true]
    track = "" if event.track_id is None else f", track {event.track_id}"
    onset = min(event.strip, key=lambda t: abs(t.after_s))
    film = "".join(_thumb(thumb, at=thumb is onset) for thumb in event.strip)
    return (
        f'<div class="card strip"><header><b>{escape(event.kind)} {event.number}</b>'
        f'<span class="soft">{clock(event.onset_s)}, score {event.score:.2f}, at '
        f"{event.x_um:.0f}, {event.y_um:.0f} um{track}</span>{truth}</header>"
        f'<div class="film">{film}</div></div>'
    )


def _thumb(thumb: Thumb, *, at: bool) -> str:
    kinds = [k for k, on in (("at", at), ("reaction", thumb.reaction)) if on]
    sign = "-" if thumb.after_s < 0 else "+"
    words = sign + clock(abs(thumb.after_s))
    words += "" if thumb.centred else " (outside)"
    return (
        f'<figure class="{" ".join(kinds)}"><img src="{data_uri(thumb.pixels)}" '
        f'alt="sample at {words}"><figcaption>{words}</figcaption></figure>'
    )


def _table(head: Sequence[str], rows: Iterable[str]) -> str:
    cells = "".join(
        f'<th class="n">{escape(h[1:])}</th>'
        if h.startswith(">")
        else f"<th>{escape(h)}</th>"
        for h in head
    )
    return (
        f"<table><thead><tr>{cells}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )


def _decisions(facts: Facts) -> str:
    if not facts.decisions:
        return ""
    many = len(facts.frames) > 1
    rows: list[str] = []
    told = 0
    for alike in _alike(facts.decisions):
        if len(rows) >= MAX_DECISIONS:
            break
        told += len(alike)
        if len(alike) <= 2 * SHOWN_ALIKE:
            rows += [_decision(d, many=many) for d in alike]
            continue
        rows += [_decision(d, many=many) for d in alike[:SHOWN_ALIKE]]
        left = len(alike) - SHOWN_ALIKE - 1
        rows.append(
            '<tr class="more"><td></td>'
            f'<td colspan="4">and {left:,} more like this</td></tr>'
        )
        rows.append(_decision(alike[-1], many=many))
    body = _table((">time", "policy", "asked for", "because", "outcome"), rows)
    left = len(facts.decisions) - told
    if left > 0:
        body += f'<p class="soft">and {left:,} more in journal.jsonl</p>'
    return _section("What was decided, and why", body)


def _alike(decisions: Sequence[DecisionFact]) -> Iterator[list[DecisionFact]]:
    """Runs of decisions that differ in nothing but numbers."""

    def kind(d: DecisionFact) -> tuple[str, int, str, str, str]:
        words = without_numbers(d.reason)
        return d.policy, d.position, d.action, d.status, words

    for _, alike in groupby(decisions, key=kind):
        yield list(alike)


def _decision(d: DecisionFact, *, many: bool) -> str:
    place = f", position {d.position}" if many else ""
    said = f'<br><span class="soft">{escape(d.message)}</span>' if d.message else ""
    kind = "done" if d.done else "imagined" if d.imagined else "not"
    return (
        f'<tr><td class="n">{clock(d.t_s)}</td>'
        f"<td>{escape(d.policy)}{place}</td>"
        f"<td>{escape(d.action)} {escape(d.detail)}</td>"
        f"<td>{escape(d.reason)}{said}</td>"
        f'<td class="status {kind}">{escape(d.status)}</td></tr>'
    )


def _quiet(facts: Facts) -> str:
    if not facts.quiet:
        return ""
    rows = []
    for q in facts.quiet[:MAX_QUIET]:
        score = "" if q.best_score is None else f"{q.best_score:.3g}"
        needed = "" if q.threshold is None else f"{q.threshold:.3g}"
        rows.append(
            f'<tr><td>{escape(q.policy)}</td><td class="n">{q.times:,}</td>'
            f"<td>{escape(q.why)}</td>"
            f'<td class="n">{score}</td><td class="n">{needed}</td>'
            f'<td class="n">{clock(q.first_s)} to {clock(q.last_s)}</td></tr>'
        )
    head = ("policy", ">times", "because (last)", ">best score", ">needed", ">between")
    left = len(facts.quiet) - MAX_QUIET
    more = f'<p class="soft">and {left:,} rarer reasons</p>' if left > 0 else ""
    return _section("Why nothing happened", _table(head, rows) + more)


def _sample(facts: Facts) -> str:
    maps, frames = _maps(facts), _frames(facts)
    # One map leaves room beside it.
    return (
        f'<div class="pair">{maps}{frames}</div>'
        if len(facts.maps) < 2
        else maps + frames
    )


def _maps(facts: Facts) -> str:
    cards = []
    for fact in facts.maps:
        events = [e for e in facts.events if e.position == fact.position]
        words = plural(len(fact.tracks) + fact.left_out, "track")
        if fact.left_out:
            words += f", the {len(fact.tracks)} longest shown"
        if fact.backdrop is not None:
            words += f", over the sample at {clock(fact.backdrop.t_s)}"
        name = f"Position {fact.position}: {words}" if len(facts.maps) > 1 else words
        cards.append(
            f'<div class="card"><h3>{escape(name)}</h3>{sample_map(fact, events)}</div>'
        )
    body = f'<div class="two">{"".join(cards)}</div>' if cards else ""
    return _section("Where in the sample", body, card=False)


def _light(facts: Facts) -> str:
    if not facts.dose:
        return ""
    rows = [
        f"<tr><td>{escape(d.name)}</td>"
        f'<td class="n">{d.dose[-1]:.4g} {escape(d.unit)}</td>'
        f'<td class="n">{_share(float(d.dose[-1]), facts.budget)}</td></tr>'
        for d in facts.dose[:MAX_POSITIONS]
        if len(d.dose)
    ]
    table = _table(("light on", ">dose", ">of the budget"), rows)
    budget = ""
    if facts.budget is not None:
        budget = (
            f'<p class="soft">Budget {facts.budget:.4g} {escape(facts.budget_unit)} '
            "for each field of view.</p>"
        )
    return _section("Light", dose_curve(facts) + table + budget)


def _share(dose: float, budget: float | None) -> str:
    return "no budget" if not budget else f"{dose / budget:.0%}"


def _latency(facts: Facts) -> str:
    if not facts.latency_ms:
        return ""
    most = max(row["p99"] for row in facts.latency_ms.values()) or 1.0
    rows = []
    for stage, row in facts.latency_ms.items():
        numbers = "".join(
            f'<td class="n">{row[q]:,.2f}</td>' for q in ("p50", "p95", "p99", "max")
        )
        width = max(0.0, 120 * row["p99"] / most)
        rows.append(
            f"<tr><td>{escape(stage)}</td>{numbers}"
            f'<td class="n">{int(row.get("count", 0)):,}</td>'
            f'<td><span class="bar" style="width:{width:.0f}px"></span></td></tr>'
        )
    head = ("from, to", ">p50 ms", ">p95 ms", ">p99 ms", ">max ms", ">times", "p99")
    note = "" if facts.latency_wall else '<p class="soft">In time of the run.</p>'
    return _section("How long things took", _table(head, rows) + note)


def _frames(facts: Facts) -> str:
    c = facts.counts
    planned = "no fixed number" if c.planned is None else f"{c.planned:,}"
    rows = (
        ("planned", planned),
        ("taken", f"{c.taken:,}"),
        ("of these, asked for by reactions", f"{c.reactions:,}"),
        ("superseded by reactions, not taken", f"{c.superseded:,}"),
        ("failed", f"{c.failed:,}"),
        ("announced, never finished", f"{c.unfinished:,}"),
        ("taken, but left out by vision", f"{c.skipped:,}"),
    )
    body = "".join(
        f'<tr><td>{escape(k)}</td><td class="n">{v}</td></tr>' for k, v in rows
    )
    return _section("Frames", f"<table><tbody>{body}</tbody></table>")


def _trouble(facts: Facts) -> str:
    parts = []
    for title, items in (("Faults", facts.faults), ("Interlocks", facts.interlocks)):
        rows = [
            f'<tr><td class="n">{clock(t_s)}</td><td>{escape(words)}</td></tr>'
            for t_s, words in items[:MAX_FAULTS]
        ]
        left = len(items) - MAX_FAULTS
        more = f'<p class="soft">and {left:,} more</p>' if left > 0 else ""
        if rows:
            parts.append(_section(title, _table((">time", "what"), rows) + more))
    if not parts:
        words = "No fault and no interlock."
        return _section("Faults and interlocks", f'<p class="soft">{words}</p>')
    return "".join(parts)


def _versions(facts: Facts) -> str:
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>"
        for name, value in facts.versions.items()
    )
    table = f"<table><tbody>{rows}</tbody></table>"
    inner = f"<details><summary>Versions and host</summary>{table}</details>"
    return (
        f"<footer>{inner if rows else ''}"
        f"<p>{escape(facts.folder)}. Everything here is made from the run's journal "
        "and images; journal.jsonl has it all, line by line.</p></footer>"
    )
