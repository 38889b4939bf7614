"""Sections of the page on time and on losses: how long, who got what, what was lost."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from smartscope.record._report_delivery import UNTOLD
from smartscope.record._report_html import notices, row, section, soft, table, when
from smartscope.record._report_timing import EDGES_MS
from smartscope.record._report_words import plural

if TYPE_CHECKING:
    from collections.abc import Iterable

    from smartscope.record._report_facts import DeliveryFact, Facts, LossFact, StepFact

_STRIP_W, _STRIP_H = 220.0, 26.0
_LOST_BY = {
    "camera": "in the camera",
    "buffer": "in the image buffer of Micro-Manager",
    "estimate": "somewhere, judged by when frames arrived",
    UNTOLD: "not told",
}
_THEN = {
    "go_on": "the run went on",
    "repeat": "the frame was taken again",
    "stop": "the run stopped",
}


def timing(facts: Facts) -> str:
    """How long every step took, and how often that was too long."""
    parts = [_steps(facts.steps), _clock_note(facts), _overruns(facts)]
    if facts.wall:
        rows = (
            row(name, *(ms(r[q]) for q in ("p50", "p95", "p99", "max")),
                f"{int(r.get('count', 0)):,}", numbers=range(1, 6))
            for name, r in facts.wall.items()
        )  # fmt: skip
        head = ("in real time", ">p50 ms", ">p95 ms", ">p99 ms", ">max ms", ">times")
        parts.append(table(head, rows))
    return section("How long things took", "".join(parts))


def ms(value: float) -> str:
    """Milliseconds with three digits that count: ``0.0131``, ``1.25``, ``7,912``."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return np.format_float_positional(value, 3, fractional=False, trim="-")


def _steps(steps: tuple[StepFact, ...]) -> str:
    if not steps:
        return ""
    low, high = _decades(steps)
    rows = []
    for step in steps:
        whole = ' class="whole"' if step.name.startswith("received to ") and (
            "whole" in step.what
        ) else ""  # fmt: skip
        numbers = "".join(
            f'<td class="n">{ms(v)}</td>'
            for v in (step.p50, step.p95, step.p99, step.max)
        )
        rows.append(
            f"<tr{whole}><td>{escape(step.name)}<br>"
            f'<span class="soft">{escape(step.what)}</span></td>{numbers}'
            f'<td class="n">{step.count:,}</td><td>{_strip(step, low, high)}</td></tr>'
        )
    head = "".join(
        f'<th class="n">{h}</th>'
        for h in ("p50 ms", "p95 ms", "p99 ms", "max ms", "times")
    )
    return (
        f"<table><thead><tr><th>from, to</th>{head}<th>{_axis(low, high)}</th></tr>"
        f"</thead><tbody>{''.join(rows)}</tbody></table>"
        '<p class="soft">Grey: how often it took how long, on a scale where each '
        'line is ten times the one before. <span class="p50">Green</span>: half were '
        'faster. <span class="p99">Amber</span>: 99 of 100 were faster.</p>'
    )


def _decades(steps: tuple[StepFact, ...]) -> tuple[int, int]:
    """Powers of ten, as indices of `EDGES_MS` by ten, that hold all of `steps`."""
    used = np.flatnonzero(np.sum([step.bins for step in steps], axis=0))
    return int(used[0]) // 10, int(used[-1]) // 10 + 1


def _axis(low: int, high: int) -> str:
    parts = []
    step = 1 if high - low <= 4 else 2
    for k in range(low, high + 1, step):
        x = _STRIP_W * (k - low) / (high - low)
        place = "start" if k == low else "end" if k == high else "middle"
        words = _ticks_word(float(EDGES_MS[10 * k]))
        parts.append(
            f'<text x="{x:.1f}" y="12" style="text-anchor:{place}">{words}</text>'
        )
    return (
        f'<svg viewBox="0 0 {_STRIP_W:g} 16" class="strip" role="img" '
        f'aria-label="Scale">{"".join(parts)}</svg>'
    )


def _ticks_word(value_ms: float) -> str:
    if value_ms < 0.999:
        return f"{value_ms * 1000:.0f} us"
    return f"{value_ms:.0f} ms" if value_ms < 999 else f"{value_ms / 1000:.0f} s"


def _strip(step: StepFact, low: int, high: int) -> str:
    """How often the step took how long, with its median and 99th percentile."""
    span = 10 * (high - low)
    wide = _STRIP_W / span
    shown = step.bins[10 * low : 10 * high]
    most = int(shown.max())
    bars = "".join(
        f"M{k * wide:.1f} {_STRIP_H:g}v{-max(1.5, (_STRIP_H - 4) * n / most):.1f}"
        f"h{wide - 0.4:.1f}V{_STRIP_H:g}z"
        for k, n in enumerate(shown.tolist())
        if n
    )
    grid = "".join(
        f"M{10 * k * wide:.1f} 0V{_STRIP_H:g}" for k in range(high - low + 1)
    )
    lines = "".join(
        f'<path d="M{_place(value, low, high):.1f} 0V{_STRIP_H:g}" class="{kind}"/>'
        for value, kind in ((step.p99, "p99"), (step.p50, "p50"))
    )
    return (
        f'<svg viewBox="0 0 {_STRIP_W:g} {_STRIP_H:g}" class="strip" role="img" '
        f'aria-label="Durations of {escape(step.name)}"><path d="{grid}" class="grid"/>'
        f'<path d="{bars}" class="bars"/>{lines}</svg>'
    )


def _place(value_ms: float, low: int, high: int) -> float:
    inside = min(max(value_ms, float(EDGES_MS[10 * low])), float(EDGES_MS[10 * high]))
    share = (np.log10(inside / EDGES_MS[10 * low])) / (high - low)
    return float(_STRIP_W * share)


def _clock_note(facts: Facts) -> str:
    if facts.clock_kind == "scaled" and facts.steps:
        return soft(
            f"In real time; the run went {facts.speed:g} times as fast, so an exposure "
            "shows shorter than it was for the sample."
        )
    if facts.clock_kind == "virtual" and facts.steps:
        return soft("In time of the run, where computing takes none.")
    return ""


def _overruns(facts: Facts) -> str:
    words = []
    over = facts.overruns
    if over is not None:
        share = f" ({over.late / over.observations:.1%})" if over.late else ""
        words.append(
            f"Overruns: {over.late:,} of {plural(over.observations, 'observation')}"
            f"{share} decided later than one frame interval "
            f"({ms(over.interval_ms)} ms) after the frame was received."
        )
    delivery = facts.delivery
    if delivery.pacing and not facts.counts.stream:
        words.append(delivery.pacing)
    words += [
        f"The deadline passed {plural(n, 'time')}: {_THEN.get(then, then)}."
        for then, n in delivery.deadlines.items()
    ]
    return f"<p>{escape(' '.join(words))}</p>" if words else ""


def delivery(facts: Facts) -> str:
    """Who got the frames, what was lost, what stopped the camera, who interfered."""
    d = facts.delivery
    who = _subscribers(d)
    return (
        section("Who got the frames", who)
        + section("Lost frames", _losses(d.losses))
        + section("Stops of the camera", _restarts(d))
        + section("Changed by somebody else", notices(d.external, "change"))
        + section("Kept from before an event", _kept(d))
    )


def _subscribers(d: DeliveryFact) -> str:
    if not d.subscribers:
        return ""
    rows = (
        row(
            s.name,
            s.appetite,
            *(f"{n:,}" for n in (s.delivered, s.skipped, s.dropped)),
            numbers=(2, 3, 4),
        )
        for s in d.subscribers
    )
    head = ("who", "wants", ">got", ">skipped for newer ones", ">dropped")
    pool = ""
    if d.misses:
        pool = (
            f"{plural(d.misses, 'frame')} found all {d.buffers:,} buffers in use and "
            "had memory allocated; somebody holds frames for long."
        )
    return table(head, rows) + soft(pool)


def _losses(losses: Iterable[LossFact]) -> str:
    rows = [
        row(
            "certain" if loss.certain else "possible",
            f"{loss.frames:,}",
            _LOST_BY.get(loss.by, loss.by),
            f"{loss.times:,}" if loss.times else "",
            when(loss.first_s, loss.last_s) if loss.times else "",
            numbers=(1, 3, 4),
        )
        for loss in sorted(losses, key=lambda x: (not x.certain, x.by))
    ]
    return table(("", ">frames", "where", ">times", ">when"), rows) if rows else ""


def _restarts(d: DeliveryFact) -> str:
    parts = []
    if d.restarts:
        rows = (
            row(r.what, f"{r.times:,}", ms(r.dead_ms), ms(r.p50_ms), ms(r.max_ms),
                when(r.first_s, r.last_s), numbers=range(1, 6))
            for r in d.restarts
        )  # fmt: skip
        head = ("to set", ">times", ">blind ms in all", ">p50 ms", ">max ms", ">when")
        parts.append(table(head, rows))
    if d.pauses:
        parts.append(
            soft(f"Paused {plural(d.pauses, 'time')}, {d.paused_s:.1f} s in all.")
        )
    return "".join(parts)


def _kept(d: DeliveryFact) -> str:
    if not d.kept:
        return ""
    rows = (
        row(
            k.reason,
            f"{k.frames:,}",
            when(k.from_s, k.to_s),
            f"{k.missing_s:.2f}" if k.missing_s else "",
            numbers=(1, 2, 3),
        )
        for k in d.kept
    )
    more = soft(f"and {d.kept_more:,} more") if d.kept_more else ""
    return table(("because", ">frames", ">from, to", ">missing s"), rows) + more
