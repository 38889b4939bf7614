"""One picture of a scenario: the arms compared, and one specimen's course in each."""

from __future__ import annotations

from html import escape
from math import isnan
from typing import TYPE_CHECKING

from smartscope.score._words import ARMS, WORDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smartscope.score._film import Course
    from smartscope.score._score import Scenario
    from smartscope.score._stats import Estimate

_WIDTH, _LEFT, _RIGHT = 960, 150, 24
_PANEL, _ROW = 190, 26
_SHARES = ("recall", "precision", "coverage", "duty")
_OTHERS = (
    ("time_on_target", "identity_kept", "in_view", "in_focus"),
    ("level_held", "in_focus", "snr_held", "recall"),
)
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#666666")
_INK, _FAINT, _FOUND, _MISSED, _FAST = (
    "#222222",
    "#cccccc",
    "#009e73",
    "#d55e00",
    "#9ecae9",
)


def picture(scenario: Scenario) -> str:
    """Draw a scenario as SVG text.

    Above, measures between 0 and 1 with their 95 % intervals, and the light relative
    to the most that an arm got. Below, for the first specimen with an event in it, the
    true events, found or missed, and when each arm filmed at the target rate.
    """
    arms = scenario.score.arms
    sheet = _Sheet()
    sheet.text(_LEFT, 22, scenario.experiment.name, "bold")
    names = _panels(scenario)
    width = (_WIDTH - 40) / max(len(names) + 1, 1)
    for k, name in enumerate(names):
        values = [scenario.value(arm, name) for arm in arms]
        _panel(sheet, 40 + k * width, width, WORDS[name].title, arms, values)
    light = [scenario.value(arm, "dose") for arm in arms]
    most = max((v.value for v in light if not isnan(v.value)), default=0.0)
    if most:
        left = 40 + len(names) * width
        scaled = [_scaled(value, most) for value in light]
        _panel(sheet, left, width, "light, share of the most", arms, scaled)
    _legend(sheet, arms)
    bottom = _PANEL + 80.0
    if any(film.course.events or film.course.fast for film in scenario.films):
        bottom = _courses(sheet, scenario, bottom)
    return sheet.close(bottom)


def _panels(scenario: Scenario) -> list[str]:
    """The measures worth a panel: four at most that some arm has."""
    known = {name for film in scenario.films for name in film.parts}
    for names in (_SHARES, *_OTHERS):
        if names[0] in known:
            return [name for name in names if name in known]
    return [name for name in _OTHERS[-1] if name in known]


def _scaled(value: Estimate, most: float) -> Estimate:
    return type(value)(value.value / most, value.low / most, value.high / most)


def _panel(
    sheet: _Sheet,
    left: float,
    width: float,
    title: str,
    arms: Sequence[str],
    values: Sequence[Estimate],
) -> None:
    top, bottom = 56.0, float(_PANEL)

    def y_of(share: float) -> float:
        return bottom - min(max(share, 0.0), 1.0) * (bottom - top)

    sheet.text(left + 4, top - 10, title, "small")
    for share in (0.0, 0.5, 1.0):
        y = y_of(share)
        sheet.line(left, y, left + width - 16, y, _FAINT, 1)
        if left < 100:
            sheet.text(left - 6, y + 4, f"{share:g}", "small end")
    step = (width - 16) / (len(arms) + 1)
    for k, value in enumerate(values):
        if isnan(value.value):
            continue
        x, colour = left + (k + 1) * step, _COLOURS[k % len(_COLOURS)]
        if not isnan(value.low):
            sheet.line(x, y_of(value.low), x, y_of(value.high), colour, 3)
        sheet.add(
            f'<circle cx="{x:.1f}" cy="{y_of(value.value):.1f}" r="5" fill="{colour}">'
            f"<title>{escape(ARMS[arms[k]])}: {value.value:.3g}</title></circle>"
        )


def _legend(sheet: _Sheet, arms: Sequence[str]) -> None:
    x, y = 48.0, _PANEL + 28.0
    for k, arm in enumerate(arms):
        sheet.add(f'<circle cx="{x}" cy="{y - 4}" r="5" fill="{_COLOURS[k]}"/>')
        sheet.text(x + 10, y, ARMS[arm], "small")
        x += 24 + 7.5 * len(ARMS[arm])


def _courses(sheet: _Sheet, scenario: Scenario, top: float) -> float:
    """Rows of time, one for each arm, of one specimen; returns where they end."""
    with_events = (f.seed for f in scenario.of("policy") if f.course.events)
    seed = next(with_events, scenario.seeds[0])
    films = [film for film in scenario.films if film.seed == seed and not film.problem]
    sheet.text(_LEFT, top - 8, f"specimen {seed}: true events over time", "small")
    last_s = max((film.course.last_s for film in films), default=0.0) or 1.0
    y = top
    for film in films:
        sheet.text(_LEFT - 10, y + 16, ARMS[film.arm], "small end")
        _course(sheet, film.course, y, (_WIDTH - _LEFT - _RIGHT) / last_s)
        y += _ROW
    sheet.text(_LEFT, y + 16, "0", "small")
    sheet.text(_WIDTH - _RIGHT, y + 16, f"{last_s:.0f} s", "small end")
    x = _LEFT + 90.0
    for colour, words in (
        (_FOUND, "caught"),
        (_MISSED, "missed"),
        (_FAST, "filmed at the target rate"),
    ):
        sheet.box(x, y + 7, 12, 10, colour)
        sheet.text(x + 17, y + 16, words, "small")
        x += 40 + 7.0 * len(words)
    return y + 30


def _course(sheet: _Sheet, course: Course, y: float, scale: float) -> None:
    sheet.line(_LEFT, y + 20, _WIDTH - _RIGHT, y + 20, _FAINT, 1)
    for begin, end in course.fast:
        sheet.box(_LEFT + begin * scale, y + 4, (end - begin) * scale, 16, _FAST)
    for (onset, end), found in zip(course.events, course.found, strict=True):
        colour = _FOUND if found else _MISSED
        sheet.box(_LEFT + onset * scale, y + 8, (end - onset) * scale, 8, colour)


class _Sheet:
    """An SVG under construction, with colours of its own on white."""

    def __init__(self) -> None:
        self._parts: list[str] = []

    def add(self, part: str) -> None:
        """Append a piece of SVG."""
        self._parts.append(part)

    def text(self, x: float, y: float, words: str, kind: str) -> None:
        """Append escaped words."""
        self.add(f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}">{escape(words)}</text>')

    def line(
        self, x0: float, y0: float, x1: float, y1: float, colour: str, width: float
    ) -> None:
        """Append a straight line."""
        self.add(
            f'<path d="M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}" stroke="{colour}" '
            f'stroke-width="{width:g}"/>'
        )

    def box(self, x: float, y: float, w: float, h: float, colour: str) -> None:
        """Append a filled box, at least a pixel wide."""
        self.add(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(w, 1.0):.1f}" '
            f'height="{h:.1f}" fill="{colour}"/>'
        )

    def close(self, height: float) -> str:
        """Return the whole document."""
        style = (
            f"text{{font:15px sans-serif;fill:{_INK}}}.small{{font-size:12px}}"
            ".bold{font-weight:bold}.end{text-anchor:end}"
        )
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" '
            f'viewBox="0 0 {_WIDTH} {height:.0f}"><style>{style}</style>'
            f'<rect width="{_WIDTH}" height="{height:.0f}" fill="#ffffff"/>'
            f"{''.join(self._parts)}</svg>\n"
        )
