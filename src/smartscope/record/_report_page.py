"""The page itself: facts in, one self-contained HTML document out.

Everything that comes from a run is escaped; numbers carry their unit; long lists are
cut with a word on what was left out, so that the size of the page is bounded.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from smartscope.record._report_decisions import SHOWN_ALIKE
from smartscope.record._report_flow import delivery, timing
from smartscope.record._report_html import notices, row, section, soft, table
from smartscope.record._report_models_page import models
from smartscope.record._report_patterns import patterns
from smartscope.record._report_png import data_uri
from smartscope.record._report_style import CSS
from smartscope.record._report_svg import clock, dose_curve, sample_map, timeline
from smartscope.record._report_together_page import together
from smartscope.record._report_words import (
    duration,
    outcome_words,
    plural,
    sentence,
    summary,
)

if TYPE_CHECKING:
    from smartscope.record._report_facts import (
        DecisionFact,
        EventFact,
        Facts,
        Thumb,
    )

MAX_DECISIONS = 200
MAX_QUIET = 20
MAX_POSITIONS = 50


def page(facts: Facts) -> str:
    """Return the whole document."""
    sections = (
        _head(facts),
        _timeline(facts),
        _events(facts),
        _decisions(facts),
        patterns(facts.patterns),
        together(facts.together),
        _quiet(facts),
        _sample(facts),
        _light(facts),
        timing(facts),
        delivery(facts),
        models(facts),
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
    events = len(facts.events) + sum(facts.more_events.values())
    tiles = [
        (duration(facts.duration_s), "filmed"),
        (f"{facts.counts.taken:,}", "frames"),
        (f"{facts.counts.reactions:,}", "of them reactions"),
        (f"{events:,}", "events seen"),
        (f"{facts.decided.done:,}", "decisions carried out"),
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


def _timeline(facts: Facts) -> str:
    if not facts.frames:
        return ""
    key = [("base", "frame of the stream" if facts.counts.stream else "planned frame")]
    if facts.counts.reactions:
        key.append(("react", "frame taken because of what was seen"))
    if facts.events:
        key.append(("event", "event"))
    if facts.decided.total:
        key.append(("done", "decision carried out (hollow: not)"))
    legend = "".join(
        f'<li><i style="background:var(--{colour})"></i>{escape(words)}</li>'
        for colour, words in key
    )
    return section(
        "What happened when", f'{timeline(facts)}<ul class="key">{legend}</ul>'
    )


def _events(facts: Facts) -> str:
    shown = [event for event in facts.events if event.strip]
    if not facts.events:
        return ""
    strips = "".join(_strip(event, facts) for event in shown)
    left = len(facts.events) + sum(facts.more_events.values()) - len(shown)
    note = ""
    if any(thumb.reaction for event in shown for thumb in event.strip):
        note = '<p class="soft">Framed: the onset. Amber: taken as a reaction.</p>'
    if left:
        what = "further event" if shown else "event"
        note += f'<p class="soft">{plural(left, what)} without pictures here.</p>'
    return section("Events", f'<div class="strips">{strips}</div>{note}', card=False)


def _strip(event: EventFact, facts: Facts) -> str:
    truth = {
        None: "",
        True: '<span class="true">true: the sample did this</span>',
        False: '<span class="false">false: the sample did not do this</span>',
    }[event.true]
    track = "" if event.track_id is None else f", track {event.track_id}"
    arm = facts.together.arm_of(event.position)
    track += f", arm {escape(arm)}" if arm else ""
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


def _decisions(facts: Facts) -> str:
    rows: list[str] = []
    told = 0
    for alike in facts.decided.alike:
        if len(rows) >= MAX_DECISIONS:
            break
        told += alike.count
        if alike.count <= len(alike.first):
            rows += [_decision(d, facts) for d in alike.first]
            continue
        rows += [_decision(d, facts) for d in alike.first[:SHOWN_ALIKE]]
        left = alike.count - SHOWN_ALIKE - 1
        rows.append(
            '<tr class="more"><td></td>'
            f'<td colspan="4">and {left:,} more like this</td></tr>'
        )
        rows.append(_decision(alike.last, facts))
    if not rows:
        return ""
    body = table((">time", "policy", "asked for", "because", "outcome"), rows)
    left = facts.decided.total - told
    return section(
        "What was decided, and why",
        body + (soft(f"and {left:,} more in journal.jsonl") if left > 0 else ""),
    )


def _decision(d: DecisionFact, facts: Facts) -> str:
    arm = facts.together.arm_of(d.position)
    place = f", position {d.position}" if len(facts.frames) > 1 else ""
    place += f", arm {escape(arm)}" if arm else ""
    # A stream decides many times within a tenth of a second.
    fine = facts.counts.stream and d.t_s < 100
    time = f"{d.t_s:.3f} s" if fine else clock(d.t_s)
    said = f'<br><span class="soft">{escape(d.message)}</span>' if d.message else ""
    kind = "done" if d.done else "imagined" if d.imagined else "not"
    return (
        f'<tr><td class="n">{time}</td>'
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
    return section("Why nothing happened", table(head, rows) + more)


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
    return section("Where in the sample", body, card=False)


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
    doses = table(("light on", ">dose", ">of the budget"), rows)
    budget = ""
    if facts.budget is not None:
        budget = (
            f'<p class="soft">Budget {facts.budget:.4g} {escape(facts.budget_unit)} '
            "for each field of view.</p>"
        )
    return section("Light", dose_curve(facts) + doses + budget)


def _share(dose: float, budget: float | None) -> str:
    return "no budget" if not budget else f"{dose / budget:.0%}"


def _frames(facts: Facts) -> str:
    c = facts.counts
    planned = "no fixed number" if c.planned is None else f"{c.planned:,}"
    rows = [("planned", planned), ("taken", f"{c.taken:,}")]
    counts = [
        ("of these, asked for by reactions", c.reactions),
        ("superseded by reactions, not taken", c.superseded),
        ("failed", c.failed),
        ("announced, never finished", c.unfinished),
    ]
    if not facts.delivery.subscribers:  # else it stands in their table
        counts.append(("taken, but left out by vision", c.skipped))
    # A stream has no plan to supersede or to finish.
    rows += [(name, f"{n:,}") for name, n in counts if n or not c.stream]
    if c.stream and not c.lost_certain and not c.lost_possible:
        rows.append(("lost", "0"))
    body = "".join(row(k, v, numbers=(1,)) for k, v in rows)
    return section("Frames", f"<table><tbody>{body}</tbody></table>")


def _trouble(facts: Facts) -> str:
    parts = [
        section(title, notices(items))
        for title, items in (("Faults", facts.faults), ("Interlocks", facts.interlocks))
        if items
    ]
    if not parts:
        words = "No fault and no interlock."
        return section("Faults and interlocks", soft(words))
    return "".join(parts)


def _versions(facts: Facts) -> str:
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>"
        for name, value in facts.versions.items()
    )
    inner = (
        "<details><summary>Versions and host</summary>"
        f"<table><tbody>{rows}</tbody></table></details>"
    )
    return (
        f"<footer>{inner if rows else ''}"
        f"<p>{escape(facts.folder)}. Everything here is made from the run's journal "
        "and images; journal.jsonl has it all, line by line.</p></footer>"
    )
