"""What `bench quarter-light` prints: text, Markdown and JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from smartscope.bench._quarter import BOTH, FILTER_UM, PLAIN_FULL
from smartscope.bench._tables import markdown_table, text_table
from smartscope.score import wilson

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from smartscope.bench._quarter import QuarterLight
    from smartscope.bench._quarter_score import Difference, Rule

FORMAT = 1
_HEAD = (
    *("way", "true", "found", "false", "recall", "95 %", "precision", "95 %"),
    *("J/cm2 per field", "of the light", "unfamiliar"),
)
_MORE = ("less plain at full light", "recall", "95 %", "precision", "95 %")
_NOTES = (
    "{films} films: {specimens} specimens (seeds {first} to {last}), each filmed in "
    "every way for {minutes:.0f} min in virtual time; the same seed is the same "
    "specimen in every way.",
    "True: divisions that begin and end at least {settle:g} s after the first and "
    "before the last frame, at least {margin:g} um inside the field.",
    "Found: has an event of its own within {within:g} um, first seen at most "
    "{slack:g} s before its onset and begun at most {slack:g} s after its end; events "
    "and divisions are matched one to one.",
    "False: every other event, also the second one of a division; events of divisions "
    "at the border or the ends of the film are set aside.",
    "Interval of a share: Wilson's score interval. Of a difference: {how}.",
    "Gaussian filter: the stage `denoise` with its classical filter of "
    f"{FILTER_UM:g} um in place of the model.",
    "Unfamiliar: frames that a model's alarm calls unlike those of its training.",
)


def quarter_to_json(made: QuarterLight) -> dict[str, Any]:
    """Everything, as plain values."""
    return {
        "format": FORMAT,
        "work": "quarter-light",
        "started": made.started,
        "took_s": made.took_s,
        "commit": made.commit,
        "seeds": list(made.seeds),
        "rule": _rule_json(made.rule),
        "ways": [_way_json(made, arm) for arm in made.arms],
        "differences": {
            arm: {name: found and asdict(found) for name, found in of.items()}
            for arm, of in _differences(made).items()
        },
        "films": [asdict(film) for film in made.films],
    }


def quarter_to_markdown(made: QuarterLight) -> str:
    """For ``docs/benchmarks.md``."""
    return _render(made, markdown_table)


def quarter_to_text(made: QuarterLight) -> str:
    """For a terminal."""
    return _render(made, text_table)


def _rule_json(rule: Rule) -> dict[str, Any]:
    field = {"half_um": rule.half_um, "last_s": rule.last_s}
    return field | rule.window.model_dump()


def _way_json(made: QuarterLight, arm: str) -> dict[str, Any]:
    total = made.total(arm)
    return {
        "way": arm,
        **asdict(total),
        "recall": total.recall,
        "recall_95": wilson(total.found, total.true),
        "precision": total.precision,
        "precision_95": wilson(total.found, total.found + total.false),
        "dose_j_cm2": made.dose_j_cm2(arm),
        "unfamiliar": _unfamiliar(made, arm),
    }


def _render(
    made: QuarterLight, draw: Callable[[Sequence[str], Sequence[Sequence[str]]], str]
) -> str:
    facts = (
        f"* Measured {made.started}, in {made.took_s / 60:.0f} min\n"
        f"* Commit: {made.commit or 'unknown'}"
    )
    differences = _differences(made)
    parts = [facts, draw(_HEAD, [_way(made, arm) for arm in made.arms])]
    parts.append(draw(_MORE, [_less(arm, of) for arm, of in differences.items()]))
    parts.append(_verdict(differences[BOTH]))
    lines = [*_models(made), *_notes(made, differences)]
    parts.append("\n".join(f"* {line}" for line in lines))
    return "\n\n".join(parts) + "\n"


def _differences(made: QuarterLight) -> dict[str, dict[str, Difference | None]]:
    return {arm: made.differences(arm) for arm in made.arms if arm != PLAIN_FULL}


def _way(made: QuarterLight, arm: str) -> list[str]:
    total, dose = made.total(arm), made.dose_j_cm2(arm)
    whole = made.dose_j_cm2(PLAIN_FULL)
    return [
        arm,
        *(str(n) for n in (total.true, total.found, total.false)),
        _share(total.recall),
        _between(wilson(total.found, total.true)),
        _share(total.precision),
        _between(wilson(total.found, total.found + total.false)),
        "-" if dose is None else f"{dose:.3g}",
        "-" if dose is None or not whole else f"{dose / whole:.2f}",
        _share(_unfamiliar(made, arm)),
    ]


def _less(arm: str, found: Mapping[str, Difference | None]) -> list[str]:
    cells = [arm]
    for name in ("recall", "precision"):
        one = found[name]
        cells.append("-" if one is None else f"{one.value:+.3f}")
        cells.append("-" if one is None else _between((one.low, one.high), "+"))
    return cells


def _verdict(found: Mapping[str, Difference | None]) -> str:
    """What the comparison says: with models at a quarter against plain at full."""
    if any(one is None for one in found.values()):
        return "Nothing to compare: no division, or no event at all."
    words = [
        f"{name} {one.value:+.3f}, with 95 % confidence no less than {one.low:+.3f}"
        for name, one in found.items()
        if one is not None
    ]
    return (
        "With models at a quarter of the light, against plain detection at full "
        f"light: {'; '.join(words)}."
    )


def _models(made: QuarterLight) -> list[str]:
    found = {
        f"{stage}: {words}."
        for film in made.films
        for stage, words in film.models.items()
    }
    return sorted(found)


def _notes(
    made: QuarterLight, differences: Mapping[str, Mapping[str, Difference | None]]
) -> list[str]:
    rule = made.rule
    ways = {one.how for of in differences.values() for one in of.values() if one}
    return [
        note.format(
            films=len(made.films),
            specimens=len(made.seeds),
            first=min(made.seeds),
            last=max(made.seeds),
            minutes=rule.last_s / 60,
            settle=rule.window.settle_s,
            margin=rule.window.margin_um,
            within=rule.window.within_um,
            slack=rule.window.slack_s,
            how=" or ".join(sorted(ways)) or "none",
        )
        for note in _NOTES
    ]


def _unfamiliar(made: QuarterLight, arm: str) -> float | None:
    films = made.of(arm)
    if not any(film.models for film in films):
        return None
    return sum(film.unfamiliar for film in films) / len(films)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _between(interval: tuple[float, float], sign: str = "") -> str:
    low, high = (format(end, f"{sign}.3f") for end in interval)
    return f"{low} to {high}"
