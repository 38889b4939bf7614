"""The drawings of the report: timeline, sample map, dose; plain inline SVG.

Colours are classes of the page's style sheet, so that they follow light and dark.
"""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from smartscope.record._report_png import data_uri

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from smartscope.record._report_facts import (
        DoseFact,
        EventFact,
        Facts,
        FrameTimes,
        MapFact,
        MarkFact,
    )

WIDTH, LEFT, RIGHT = 960, 118, 14
MAX_ROWS = 12
MAX_MARKS = 600
MAX_POINTS = 80


def clock(t_s: float) -> str:
    """Run time as ``12.3 s``, ``4:05`` or ``1:02:09``."""
    return f"{t_s:.1f} s" if t_s < 100 else clock_face(t_s)


def clock_face(t_s: float) -> str:
    """Run time as ``0:30``, ``4:05`` or ``1:02:09``."""
    minutes, seconds = divmod(round(t_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def nice_step(span: float, most: int) -> float:
    """A step of 1, 2, 5 or so that cuts `span` into at most `most` parts."""
    if span <= 0:
        return 1.0
    rough = span / most
    power = 10.0 ** math.floor(math.log10(rough))
    return next(k * power for k in (1, 2, 5, 10) if k * power >= rough * 0.999)


def _nice_time_step(span_s: float) -> float:
    if span_s < 100:
        return nice_step(span_s, 9)
    steps = (15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)
    return next((s for s in steps if span_s / s <= 9), nice_step(span_s, 9))


class _Sheet:
    """An SVG under construction, with the time axis all time drawings share."""

    def __init__(self, height: float, duration_s: float, label: str) -> None:
        self.height = height
        self.span_s = max(duration_s, 1e-3)
        self._label = label
        self._parts: list[str] = []

    def x(self, t_s: float) -> float:
        """Horizontal place of a time, clipped to the drawing."""
        share = min(max(t_s / self.span_s, 0.0), 1.0)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def add(self, part: str) -> None:
        """Append a piece of SVG."""
        self._parts.append(part)

    def text(self, x: float, y: float, words: str, kind: str = "") -> None:
        """Append escaped words."""
        self.add(f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}">{escape(words)}</text>')

    def time_axis(self, top: float, bottom: float) -> None:
        """Grid lines over the height, times below."""
        step = _nice_time_step(self.span_s)
        for k in range(int(self.span_s / step) + 1):
            x = self.x(k * step)
            self.add(f'<path d="M{x:.1f} {top:.1f}V{bottom:.1f}" class="grid"/>')
            words = f"{k * step:g} s" if self.span_s < 100 else clock_face(k * step)
            last = x > WIDTH - RIGHT - 20
            self.text(x, bottom + 15, words, "end" if last else "mid")

    def close(self) -> str:
        """Return the whole element."""
        label = escape(self._label, quote=True)
        return (
            f'<svg viewBox="0 0 {WIDTH} {self.height:.0f}" role="img" '
            f'aria-label="{label}">{"".join(self._parts)}</svg>'
        )


def timeline(facts: Facts) -> str:
    """Frames by role and position, events, and decisions by policy, over time."""
    rows = facts.frames[:MAX_ROWS]
    policies = sorted(facts.decided.marks)[:MAX_ROWS]
    height = 14 + 34 * len(rows) + 26 * len(policies) + 30
    sheet = _Sheet(height, facts.duration_s, "Timeline of frames, events and decisions")
    bottom = height - 24
    sheet.time_axis(6, bottom)
    y = 10.0
    for row in rows:
        _frame_row(sheet, row, y, named=len(facts.frames) > 1)
        _event_bars(sheet, [e for e in facts.events if e.position == row.position], y)
        y += 34
    for policy in policies:
        sheet.text(LEFT - 10, y + 16, _short(policy, 17), "label end")
        _marks(sheet, facts.decided.marks[policy], y + 12)
        y += 26
    return sheet.close()


def _frame_row(sheet: _Sheet, row: FrameTimes, y: float, *, named: bool) -> None:
    name = f"position {row.position}" if named else "frames"
    sheet.text(LEFT - 10, y + 17, name, "label end")
    sheet.add(_ticks(sheet, row.baseline_s, y + 13, y + 24, "base"))
    sheet.add(_ticks(sheet, row.reaction_s, y + 8, y + 24, "react"))


def _ticks(
    sheet: _Sheet, t_s: NDArray[np.float64], top: float, bottom: float, kind: str
) -> str:
    # Half a pixel is the finest that can be told apart, so the number of ticks is
    # bounded by the width of the drawing, not by the length of the run.
    share = np.clip(t_s / sheet.span_s, 0.0, 1.0)
    places = np.unique(np.round(2 * (LEFT + share * (WIDTH - LEFT - RIGHT)))) / 2
    if not len(places):
        return ""
    path = "".join(f"M{x:g} {top:g}V{bottom:g}" for x in places.tolist())
    return f'<path d="{path}" class="{kind}"/>'


def _event_bars(sheet: _Sheet, events: Sequence[EventFact], y: float) -> None:
    for event in events[:MAX_MARKS]:
        x0, x1 = sheet.x(event.onset_s), sheet.x(event.last_s)
        title = f"{event.kind} {event.number}, {clock(event.onset_s)}"
        sheet.add(
            f'<rect x="{x0:.1f}" y="{y:.1f}" width="{max(x1 - x0, 4):.1f}" height="5" '
            f'rx="2.5" class="event"><title>{escape(title)}</title></rect>'
        )


def _marks(sheet: _Sheet, marks: Sequence[MarkFact], y: float) -> None:
    for mark in marks:
        d = mark.decision
        x = sheet.x(d.t_s)
        title = f"{clock(d.t_s)}: {d.action} {d.detail}, {d.status}. {d.reason}"
        if mark.count > 1:
            title += f" (and {mark.count - 1:,} more close by)"
        kind = "done" if d.done else "imagined" if d.imagined else "undone"
        sheet.add(
            f'<path d="M{x:.1f} {y - 5:g}l5 5l-5 5l-5 -5z" class="{kind}">'
            f"<title>{escape(title)}</title></path>"
        )


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def dose_curve(facts: Facts) -> str:
    """Light over time, one line per position, with the budget where there is one."""
    # One drawing has one unit; what has another one is in the table below it.
    unit = facts.dose[0].unit if facts.dose else ""
    curves = [d for d in facts.dose if len(d.t_s) and d.unit == unit][:MAX_ROWS]
    if not curves:
        return ""
    budget = facts.budget
    top_value = max(max(float(c.dose.max()) for c in curves), 1e-12)
    shown_budget = budget is not None and budget <= 4 * top_value
    if budget is not None and shown_budget:
        top_value = max(top_value, budget)
    sheet = _Sheet(180, facts.duration_s, "Light dose over time")
    sheet.time_axis(8, 152)
    step = nice_step(top_value, 4)
    limit = step * math.ceil(top_value / step - 1e-9)

    def y(value: float) -> float:
        return 152 - 140 * value / limit

    for k in range(round(limit / step) + 1):
        line = f"M{LEFT} {y(k * step):.1f}H{WIDTH - RIGHT}"
        sheet.add(f'<path d="{line}" class="grid"/>')
        sheet.text(LEFT - 10, y(k * step) + 4, f"{k * step:.4g}", "end")
    sheet.text(LEFT - 64, 90, curves[0].unit, "label end")
    if budget is not None and shown_budget:
        line = f"M{LEFT} {y(budget):.1f}H{WIDTH - RIGHT}"
        sheet.add(f'<path d="{line}" class="budget"><title>budget</title></path>')
        sheet.text(LEFT + 8, y(budget) + 15, "budget", "")
    for k, curve in enumerate(curves):
        sheet.add(_curve(sheet, curve, y_of=y, kind=f"line c{k % 6}"))
    return sheet.close()


def _curve(
    sheet: _Sheet, curve: DoseFact, *, y_of: Callable[[float], float], kind: str
) -> str:
    keep = thinned(len(curve.t_s), 400)
    points = " ".join(
        f"{sheet.x(float(curve.t_s[i])):.1f},{y_of(float(curve.dose[i])):.1f}"
        for i in keep
    )
    name = escape(curve.name)
    return (
        f'<polyline points="{points}" class="{kind}"><title>{name}</title></polyline>'
    )


def thinned(count: int, most: int) -> Iterable[int]:
    """Indices of at most `most` of `count` items, first and last among them."""
    if count <= most:
        return range(count)
    return sorted({round(i) for i in np.linspace(0, count - 1, most)})


def sample_map(fact: MapFact, events: Sequence[EventFact], side: int = 460) -> str:
    """Draw tracks and events in the sample, over one frame where there is one."""
    x0, y0, x1, y1 = _bounds(fact, events)
    wide, tall = max(x1 - x0, 1e-6), max(y1 - y0, 1e-6)
    scale = side / max(wide, tall)
    unit = 1 / scale
    parts = [_backdrop(fact)]
    for k, track in enumerate(fact.tracks):
        keep = thinned(len(track.x_um), MAX_POINTS)
        points = " ".join(f"{track.x_um[i]:.2f},{track.y_um[i]:.2f}" for i in keep)
        family = f", from {track.parent}" if track.parent is not None else ""
        parts.append(
            f'<polyline points="{points}" class="track c{k % 6}">'
            f"<title>track {track.track_id}{family}</title></polyline>"
            f'<circle cx="{track.x_um[-1]:.2f}" cy="{track.y_um[-1]:.2f}" '
            f'r="{2.5 * unit:.3f}" class="track c{k % 6}"/>'
        )
    parts += [
        f'<circle cx="{event.x_um:.2f}" cy="{event.y_um:.2f}" r="{9 * unit:.3f}" '
        f'class="ring"><title>{escape(event.kind)} {event.number}</title></circle>'
        for event in events[:MAX_MARKS]
    ]
    parts.append(_scale_bar(x0, y1, wide, unit))
    return (
        f'<svg viewBox="{x0:.3f} {y0:.3f} {wide:.3f} {tall:.3f}" class="map" '
        f'width="{wide * scale:.0f}" role="img" aria-label="Tracks in the sample">'
        f"{''.join(parts)}</svg>"
    )


def _backdrop(fact: MapFact) -> str:
    if fact.backdrop is None:
        return ""
    height, width = fact.backdrop.pixels.shape
    matrix = " ".join(f"{value:.6g}" for value in fact.backdrop.matrix)
    return (
        f'<image width="{width}" height="{height}" transform="matrix({matrix})" '
        f'href="{data_uri(fact.backdrop.pixels)}"/>'
    )


def _bounds(
    fact: MapFact, events: Sequence[EventFact]
) -> tuple[float, float, float, float]:
    xs = [float(v) for t in fact.tracks for v in (t.x_um.min(), t.x_um.max())]
    ys = [float(v) for t in fact.tracks for v in (t.y_um.min(), t.y_um.max())]
    xs += [e.x_um for e in events]
    ys += [e.y_um for e in events]
    if fact.backdrop is not None:
        a, b, c, d, e, f = fact.backdrop.matrix
        height, width = fact.backdrop.pixels.shape
        for u, v in ((0, 0), (width, 0), (0, height), (width, height)):
            xs.append(a * u + c * v + e)
            ys.append(b * u + d * v + f)
    if not xs:
        return 0.0, 0.0, 1.0, 1.0
    pad = 0.02 * max(max(xs) - min(xs), max(ys) - min(ys), 1.0)
    return min(xs) - pad, min(ys) - pad, max(xs) + pad, max(ys) + pad


def _scale_bar(x0: float, y1: float, wide: float, unit: float) -> str:
    length = nice_step(wide, 5)
    x, y = x0 + 14 * unit, y1 - 14 * unit
    return (
        f'<path d="M{x:.3f} {y:.3f}h{length:g}" class="scalebar"/>'
        f'<text x="{x:.3f}" y="{y - 7 * unit:.3f}" class="scaletext" '
        f'style="font-size:{13 * unit:.3f}px">{length:g} um</text>'
    )
