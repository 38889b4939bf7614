"""A scoreboard as text, Markdown and JSON, and back from JSON."""

from __future__ import annotations

from dataclasses import asdict
from math import isfinite, isnan
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from smartscope.config import MEASURES, load_experiment
from smartscope.core import ConfigError
from smartscope.score._film import Course, Film
from smartscope.score._score import Scenario, Scoreboard, verdicts
from smartscope.score._stats import DRAWS
from smartscope.score._words import ARMS, INTRODUCTION, METHOD, WORDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from smartscope.config import ScoreBar
    from smartscope.score._score import Verdict
    from smartscope.score._stats import Estimate, How

    Draw = Callable[[Sequence[str], Sequence[Sequence[str]]], str]

FORMAT = 1
_PAGE_WIDTH = 140
_VERDICT = {True: "met", False: "not met", None: "nothing to compare"}
_COMPARED: tuple[tuple[str, How], ...] = (
    ("dose", "saving"),
    ("recall", "ratio"),
    ("precision", "difference"),
    ("coverage", "ratio"),
    ("time_on_target", "difference"),
    ("identity_kept", "difference"),
    ("in_focus", "difference"),
    ("snr_held", "difference"),
    ("level_held", "difference"),
)


def to_text(board: Scoreboard) -> str:
    """For a terminal."""
    return "\n".join(_section(s, _text_table, "") for s in board.scenarios)


def to_markdown(board: Scoreboard, images: str = "") -> str:
    """The sections of ``docs/scoreboard.md``.

    Parameters
    ----------
    board : Scoreboard
    images : str
        Folder of the pictures as the page names it; empty leaves them out.
    """
    return "\n".join(_section(s, _markdown_table, images) for s in board.scenarios)


def page(board: Scoreboard, images: str) -> str:
    """The whole of ``docs/scoreboard.md``."""
    meanings = [f"* **{w.title}**: {w.meaning}" for w in WORDS.values()]
    parts = [
        "# Scoreboard",
        *(_filled(text) for text in INTRODUCTION),
        "## What is measured",
        "\n".join(_filled(meaning, "  ") for meaning in meanings),
        _filled(METHOD.format(draws=DRAWS)),
        to_markdown(board, images),
    ]
    return "\n\n".join(parts).rstrip() + "\n"


def _filled(text: str, indent: str = "") -> str:
    return fill(
        text,
        _PAGE_WIDTH,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def to_json(board: Scoreboard) -> dict[str, Any]:
    """Everything, as plain values; `from_json` reads it again."""
    return {
        "format": FORMAT,
        "started": board.started,
        "took_s": board.took_s,
        "scenarios": [_scenario_json(scenario) for scenario in board.scenarios],
    }


def from_json(data: Mapping[str, Any]) -> Scoreboard:
    """Read what `to_json` made.

    Raises
    ------
    ConfigError
        If it was not made by this version, or an experiment is gone.
    """
    if data.get("format") != FORMAT:
        raise ConfigError(
            "this is no scoreboard that can be read",
            fix="make it again with 'smartscope score ... --json FILE'",
        )
    scenarios = [
        Scenario(
            Path(one["file"]),
            load_experiment(one["file"]),
            tuple(one["seeds"]),
            tuple(_film(film) for film in one["films"]),
        )
        for one in data["scenarios"]
    ]
    return Scoreboard(tuple(scenarios), data["started"], data["took_s"])


def _film(data: Mapping[str, Any]) -> Film:
    course = data["course"]
    return Film(
        arm=data["arm"],
        seed=data["seed"],
        problem=data["problem"],
        parts={name: (part[0], part[1]) for name, part in data["parts"].items()},
        dose_unit=data["dose_unit"],
        course=Course(
            events=tuple((a, b) for a, b in course["events"]),
            found=tuple(course["found"]),
            fast=tuple((a, b) for a, b in course["fast"]),
            last_s=course["last_s"],
        ),
    )


def _scenario_json(scenario: Scenario) -> dict[str, Any]:
    return {
        "file": scenario.file.as_posix(),
        "name": scenario.experiment.name,
        "seeds": list(scenario.seeds),
        "arms": {
            arm: {m: _plain(scenario.value(arm, m)) for m in _measured(scenario)}
            for arm in scenario.score.arms
        },
        "bars": [_bar_json(verdict) for verdict in verdicts(scenario)],
        "films": [asdict(film) for film in scenario.films],
    }


def _bar_json(verdict: Verdict) -> dict[str, Any]:
    return {
        **verdict.bar.model_dump(exclude_none=True),
        "reached": _plain(verdict.reached),
        "met": verdict.met,
    }


def _plain(estimate: Estimate) -> dict[str, Any]:
    # JSON knows no nan and no infinity.
    ends = {n: getattr(estimate, n) for n in ("value", "low", "high")}
    known = {n: value if isfinite(value) else None for n, value in ends.items()}
    return {**known, "how": estimate.how}


def _measured(scenario: Scenario) -> list[str]:
    """Measures that any arm has, in the order of the definitions."""
    found = {name for film in scenario.films for name in film.parts}
    return [name for name in MEASURES if name in found]


def _section(scenario: Scenario, draw: Draw, images: str) -> str:
    measures = _measured(scenario)
    arms = scenario.score.arms
    parts = [f"## {scenario.experiment.name}", *_facts(scenario)]
    if images:
        name = scenario.experiment.name
        parts.append(f"![{name}]({images}/{picture_name(scenario)})")
    rows = [
        [_title(scenario, m), *(_cell(scenario.value(a, m), m) for a in arms)]
        for m in measures
    ]
    parts.append(draw(["mean, 95 %", *(ARMS[arm] for arm in arms)], rows))
    against = [
        [
            f"{WORDS[m].title}, {how}",
            *(_number(scenario.compare(m, "policy", a, how), ".3g") for a in arms[1:]),
        ]
        for m, how in _COMPARED
        if m in measures
    ]
    if against and len(arms) > 1:
        head = ["policy against", *(ARMS[arm] for arm in arms[1:])]
        parts.append(draw(head, against))
    bars = [_bar(verdict) for verdict in verdicts(scenario)]
    if bars:
        parts.append(draw(["to be reached", "reached", "95 %", ""], bars))
    failed = [
        f"* failed: {ARMS[film.arm]}, specimen {film.seed}: {film.problem}"
        for film in scenario.failed()
    ]
    return "\n\n".join([*parts, *(["\n".join(failed)] if failed else [])]) + "\n"


def picture_name(scenario: Scenario) -> str:
    """File name of the picture of a scenario."""
    return f"score-{scenario.file.stem.replace('_', '-')}.svg"


def _facts(scenario: Scenario) -> list[str]:
    first, last = scenario.seeds[0], scenario.seeds[-1]
    words = f"`{scenario.file.name}`, specimens {first} to {last}."
    description = scenario.experiment.description.strip()
    busy = scenario.value("policy", "busy").value
    lasting = scenario.value("policy", "lasting_s").value
    if not isnan(busy):
        words += f" Events go on in the field during {100 * busy:.1f} % of the time"
        slow = scenario.score.slow_interval_s
        if slow is not None and not isnan(lasting):
            words += f" and last {lasting / slow:.1f} slow intervals"
        words += "."
    return [part for part in (description, words) if part]


def _title(scenario: Scenario, measure: str) -> str:
    title = WORDS[measure].title
    if measure not in ("dose", "dose_per_event"):
        return title
    units = {film.dose_unit for film in scenario.films if film.dose_unit}
    return f"{title}, {' or '.join(sorted(units))}"


def _cell(estimate: Estimate, measure: str) -> str:
    return _number(estimate, WORDS[measure].style)


def _number(estimate: Estimate, style: str) -> str:
    if isnan(estimate.value):
        return "-"
    value = format(estimate.value, style)
    if isnan(estimate.low) or estimate.low == estimate.high:
        return value
    return f"{value} ({estimate.low:{style}} to {estimate.high:{style}})"


def _bar(verdict: Verdict) -> list[str]:
    reached = verdict.reached
    interval = "-"
    if not isnan(reached.low):
        interval = f"{reached.low:.3g} to {reached.high:.3g}"
    value = "-" if isnan(reached.value) else f"{reached.value:.3g}"
    return [bar_words(verdict.bar), value, interval, _VERDICT[verdict.met]]


def bar_words(bar: ScoreBar) -> str:
    """A bar as a sentence."""
    words = WORDS[bar.measure].title
    if bar.of != "policy":
        words += f" of {ARMS[bar.of]}"
    if bar.against is not None:
        words += f", {bar.how} against {ARMS[bar.against]}"
    low = bar.at_least is not None
    side = "at least" if low else "at most"
    words += f": {side} {bar.at_least if low else bar.at_most:g}"
    if bar.sure is not None:
        words += f", with 95 % confidence {side} {bar.sure:g}"
    return words


def _markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) for cell, width in zip(line, widths, strict=True)
        ).rstrip()
        for line in (head, *rows)
    )
