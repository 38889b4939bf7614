"""Section of the page on models: which, why on that runtime, how it went."""

from __future__ import annotations

from html import escape
from pathlib import PureWindowsPath
from typing import TYPE_CHECKING

from smartscope.record._report_flow import ms
from smartscope.record._report_html import row, section, soft, table
from smartscope.record._report_words import plural, sentence

if TYPE_CHECKING:
    from smartscope.record._report_facts import Facts
    from smartscope.record._report_models import ModelFact

_ORDER = {"chosen": 0, "slower": 1, "disagrees": 2, "failed": 3, "absent": 4}


def models(facts: Facts) -> str:
    """Everything on the models of a run; nothing where it had none."""
    cards = "".join(_card(model) for model in facts.models)
    body = f'<div class="strips">{cards}</div>' if cards else ""
    return section("Models", body, card=False)


def _card(model: ModelFact) -> str:
    version = f" {model.version}" if model.version else ""
    return (
        '<div class="card"><h3>'
        f"{escape(model.stage)}: {escape(model.name)}{escape(version)}</h3>"
        f"<p>{escape(_why(model))}</p>{_hashes(model)}"
        f"<p>{escape(_how_it_went(model))}</p>{_costs(model)}{_candidates(model)}"
        f"{_reports(model)}</div>"
    )


def _why(model: ModelFact) -> str:
    """What runs it, and why that."""
    where = model.runtime or "nothing"
    if model.threads:
        where += f", {plural(model.threads, 'thread')}"
    if not model.candidates:
        return f"Run by {where}."
    agreed = [c for c in model.candidates if c.status in ("chosen", "slower")]
    words = f"the fastest of {len(agreed)} that agree" if len(agreed) > 1 else "agrees"
    if model.tolerance is not None:
        words += f" within {model.tolerance:g}"
    words = f"Run by {where}: {words} with {model.reference or 'the reference'}"
    if model.error is not None:
        words += f" (it is off by {model.error:.2g})"
    words += "; chosen in an earlier run" if model.from_cache else ""
    return f"{words}."


def _hashes(model: ModelFact) -> str:
    files = [
        # Takes the separators of every system.
        f"{PureWindowsPath(file).name} sha256 {digest}"
        for file, digest in model.hashes.items()
    ]
    parts = [part for part in (model.file, *files) if part]
    return soft(", ".join(parts))


def _how_it_went(model: ModelFact) -> str:
    words = []
    if model.looked:
        share = model.unfamiliar / model.looked
        words.append(
            f"{model.unfamiliar:,} of {plural(model.looked, 'frame')} ({share:.1%}) "
            f"unlike its training; the strangest {model.strangest or 0.0:.2f} times "
            "the limit."
        )
    else:
        words.append("It does not say what images it knows, so none was judged.")
    if model.failures:
        words.append(
            f"It failed on {plural(model.failures, 'frame')}, and the run went on "
            "without it."
        )
    else:
        words.append("It failed on no frame.")
    return " ".join(words)


def _costs(model: ModelFact) -> str:
    if not model.costs:
        return ""
    rows = (
        row(c.part, *(ms(v) for v in (c.p50, c.p95, c.p99, c.max)), f"{c.count:,}",
            numbers=range(1, 6))
        for c in model.costs
    )  # fmt: skip
    head = ("in real time", ">p50 ms", ">p95 ms", ">p99 ms", ">max ms", ">times")
    return table(head, rows)


def _candidates(model: ModelFact) -> str:
    if not model.candidates:
        return ""
    rows = (
        row(
            c.name,
            c.status,
            "" if c.median_ms is None else ms(c.median_ms),
            "" if c.error is None else f"{c.error:.2g}",
            c.reason,
            numbers=(2, 3),
        )
        for c in sorted(model.candidates, key=lambda c: _ORDER.get(c.status, 9))
    )
    head = ("runtime", "", ">median ms", ">error", "why")
    tried = plural(len(model.candidates), "runtime")
    return f"<details><summary>{tried} looked at</summary>{table(head, rows)}</details>"


def _reports(model: ModelFact) -> str:
    return "".join(soft(sentence(text)) for text in model.reports)
