"""Models in the report: which, on what and why, how strange the images, the cost."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_report import read

from smartscope.inference import Domain
from smartscope.record import RunFolder, write_report
from smartscope.record._report import facts_of
from smartscope.record._report_facts import Facts
from smartscope.record._report_models import Models
from smartscope.record._report_page import page

sys.path.append(str(Path(__file__).parents[1] / "vision"))

from film_runs import on_film
from learned_nets import conv, package
from vision_fields import field

FRAMES = 6
GLARE = 4
TRIALS = [
    {"name": "b", "status": "slower", "reason": "2 times slower", "median_ms": 8.0},
    {"name": "c", "status": "disagrees", "reason": "off by 0.5 <far>", "error": 0.5},
    {"name": "d", "status": "absent", "reason": "pip install d"},
    {
        "name": "a",
        "status": "chosen",
        "reason": "fastest",
        "runtime": "a 1.0 cpu bf16",
        "median_ms": 4.0,
        "error": 0.0035,
    },
]
TOLD = {
    "kind": "model",
    "stage": "segment",
    "name": "nuclei <b>",
    "version": "1.2",
    "file": "models/nuclei",
    "sha256": {"models/nuclei/weights.onnx": "0123456789abcdef" * 4},
    "runtime": "a 1.0 cpu bf16",
    "precision": "bf16",
    "threads": 1,
    "tolerance": 0.02,
    "error": 0.0035,
    "from_cache": True,
    "reference": "onnxruntime in float32",
    "candidates": TRIALS,
    "reports": ["c is not used: off by 0.5 <far>"],
}


def sight(
    ratio: float = 0.5, *, outside: int = 0, costs: object = None, notes: object = ()
) -> dict[str, object]:
    column = "unfamiliar_segment"
    measured = {column: ratio, f"{column}_count": float(outside)}
    return {
        "kind": "observation",
        "observation": {"measurements": measured, "notes": list(notes)},  # type: ignore[call-overload]
        "costs": costs or {},
    }


def gathered(*entries: dict[str, object]) -> Models:
    models = Models()
    for entry in entries:
        getattr(models, str(entry["kind"]))(entry)
    return models


def test_familiarity_failures_and_costs_are_counted_by_stage() -> None:
    costs = [
        {"segment.model": float(ms), "segment.decode": 1.0} for ms in range(1, 102)
    ]
    (fact,) = gathered(
        TOLD,
        *(sight(costs=cost) for cost in costs),
        sight(1.7, outside=2, notes=["segment: unfamiliar (noise too high)"]),
        sight(0.9, notes=["segment: the values are not finite"]),
        sight(0.9, notes=["denoise: failed too, which is not this one"]),
    ).facts()
    assert (fact.looked, fact.unfamiliar, fact.strangest) == (104, 1, 1.7)
    assert fact.failures == 1
    model, decoder = fact.costs
    assert (model.part, model.count, model.p50, model.max) == ("model", 101, 51, 101)
    assert (model.p95, model.p99) == (96, 100)
    assert (decoder.part, decoder.count, decoder.max) == ("decoder", 101, 1.0)
    assert fact.hashes == {"models/nuclei/weights.onnx": "0123456789ab"}
    assert [c.status for c in fact.candidates] == [t["status"] for t in TRIALS]


def test_a_model_told_of_twice_counts_as_told_last() -> None:
    other = {**TOLD, "runtime": "b 2.0"}
    second = {**TOLD, "stage": "denoise"}
    facts = gathered(TOLD, second, other).facts()
    assert [(f.stage, f.runtime) for f in facts] == [
        ("segment", "b 2.0"),
        ("denoise", "a 1.0 cpu bf16"),
    ]


def test_a_server_has_no_candidates_and_a_run_may_end_before_anything_is_seen() -> None:
    bare = {"kind": "model", "stage": "denoise", "name": "x", "runtime": "grpc://a:1"}
    (fact,) = gathered(bare).facts()
    html = page(Facts(name="short", models=(fact,)))
    assert "Run by grpc://a:1." in html
    assert "none was judged" in html
    assert "looked at" not in html


def test_the_section_says_why_and_escapes() -> None:
    facts = gathered(TOLD, sight(costs={"segment.model": 3.25})).facts()
    html = page(Facts(name="m", models=facts))
    assert "segment: nuclei &lt;b&gt; 1.2" in html
    assert "<far>" not in html and "&lt;far&gt;" in html
    words = (
        "Run by a 1.0 cpu bf16, 1 thread: the fastest of 2 that agree within 0.02 with "
        "onnxruntime in float32 (it is off by 0.0035); chosen in an earlier run."
    )
    assert words in html
    assert "models/nuclei, weights.onnx sha256 0123456789ab" in html
    assert "0123456789abc" not in html
    assert "0 of 1 frame (0.0%) unlike its training" in html
    assert "4 runtimes looked at" in html
    order = [html.index(f"<tr><td>{name}</td>") for name in "abcd"]
    assert order == sorted(order), "chosen first, absent last"
    assert "C is not used: off by 0.5" in html


def test_a_run_without_models_has_no_such_section() -> None:
    assert "<h2>Models</h2>" not in page(Facts(name="none"))
    assert gathered(sight()).facts() == ()


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run on a film whose fifth image is nothing but glare, which the model fails."""
    tmp = tmp_path_factory.mktemp("learned")
    points = [(30, 40), (70, 90), (50, 130), (100, 60)]
    images = [field(points, shape=(120, 160), seed=seed) for seed in range(30)]
    card = Domain.fit(iter(images)).to_card()
    film = [*images[:FRAMES]]
    film[GLARE] = np.full((120, 160), 2000, dtype=np.uint16)
    # Foreground above 250 counts; not finite above 1000.
    net = conv([[[[-1.0]]]], [1000.0], then=["Log"])
    model = package(tmp / "net", net, {"kind": "mask"}, domain=card, version="0.3")
    clean = package(tmp / "same", conv([[[[1.0]]]]), {"kind": "restored"})
    more = {"on_failure": "skip", "threads": 1, "min_area_um2": 20}
    vision = [
        {"denoise": {"model": clean, "runtime": "onnxruntime", "threads": 1}},
        {"segment": {"model": model, **more}},
        "measure",
    ]
    result = on_film(tmp, film, vision)
    assert result.outcome == "completed", result.message
    return RunFolder(result.path)


def test_the_journal_has_costs_with_every_sight_and_never_in_it(learned) -> None:
    entries = list(learned.entries("observation"))
    assert len(entries) == FRAMES
    both = {"denoise.model", "segment.model", "segment.decode"}
    for k, entry in enumerate(entries):
        assert entry["costs"].keys() == (both if k != GLARE else {"denoise.model"})
        assert all(ms > 0 for ms in entry["costs"].values())
        assert "costs" not in entry["observation"]


def test_the_report_of_a_real_run_tells_of_its_models(learned) -> None:
    facts = {fact.stage: fact for fact in facts_of(learned).models}
    assert list(facts) == ["denoise", "segment"]
    clean, found = facts["denoise"], facts["segment"]
    told = {entry["stage"]: entry for entry in learned.entries("model")}
    assert found.hashes == {
        file: digest[:12] for file, digest in told["segment"]["sha256"].items()
    }
    assert (found.name, found.version, found.threads) == ("net", "0.3", 1)
    assert (found.looked, found.unfamiliar, found.failures) == (FRAMES, 1, 1)
    assert (clean.looked, clean.failures) == (0, 0)
    assert [c.count for c in clean.costs] == [FRAMES]
    assert [(c.part, c.count) for c in found.costs] == [
        ("model", FRAMES - 1),
        ("decoder", FRAMES - 1),
    ]
    assert [c.name for c in clean.candidates] == ["onnxruntime"]
    assert sum(c.status == "chosen" for c in found.candidates) == 1
    parsed, text = read(write_report(learned))
    assert {"details", "table"} <= parsed.tags
    assert "segment: net 0.3" in text
    assert f"1 of {FRAMES} frames (16.7%) unlike its training" in text
    assert "It failed on 1 frame, and the run went on without it." in text


def test_numbers_of_a_cost_are_right_to_the_digit(learned) -> None:
    (clean, _) = facts_of(learned).models
    taken = [e["costs"]["denoise.model"] for e in learned.entries("observation")]
    (cost,) = clean.costs
    assert cost.p50 == pytest.approx(np.median(taken))
    assert cost.max == max(taken)
    assert replace(clean, costs=()) != clean
