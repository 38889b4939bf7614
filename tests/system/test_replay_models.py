"""Seeing a run again where its model runs on something else."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from smartscope import replay
from smartscope.core import Detections, Event, Observation, View
from smartscope.runs._replay_models import ModelsThen

sys.path.append(str(Path(__file__).parents[1] / "vision"))

from film_runs import on_film
from learned_nets import conv, package
from vision_fields import field

POINTS = [(30, 40), (70, 90), (50, 130), (100, 60)]


@pytest.fixture
def finished(tmp_path) -> Path:
    images = [field(POINTS, shape=(120, 160), seed=seed) for seed in range(4)]
    net = conv([[[[0.01]]]], [-2.0], then=["Sigmoid"])
    model = package(tmp_path / "net", net, {"kind": "mask"}, tolerance=0.03)
    use = {"model": model, "min_area_um2": 20, "runtime": "onnxruntime", "threads": 1}
    vision = [{"segment": use}, "measure", {"track": {"min_frames": 1}}]
    result = on_film(tmp_path, images, vision)
    assert result.outcome == "completed", result.message
    assert [len(seen.tracks) for seen in result.folder.observations()] == [4] * 4
    return result.path


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def test_on_the_same_runtime_it_is_exact(finished) -> None:
    again = replay(finished, vision=True)
    assert again.identical and again.tolerance is None
    assert again.message.startswith("identical:")
    # The area of one object by one part in a thousand: less than any tolerance.
    journal = finished / "journal.jsonl"
    lines = journal.read_text().splitlines()
    for k, line in enumerate(lines):
        entry = json.loads(line)
        if entry["kind"] == "observation":
            value = entry["observation"]["measurements"]["background"]
            entry["observation"]["measurements"]["background"] = value * 1.001
            lines[k] = json.dumps(entry)
            break
    journal.write_text("\n".join(lines) + "\n")
    again = replay(finished, vision=True)
    assert not again.identical
    assert "measurements" in again.differences[0]


def test_another_runtime_is_named_and_held_against_the_tolerance(finished) -> None:
    pytest.importorskip("openvino")
    edit(finished / "experiment.yaml", "runtime: onnxruntime", "runtime: openvino")
    again = replay(finished, vision=True)
    assert again.identical, again.differences
    assert again.exit_code == 0
    assert again.tolerance == 0.03
    assert again.message.startswith("within tolerance: ")
    assert "; segment ran on onnxruntime" in again.message
    assert ", on openvino" in again.message


def test_other_threads_are_named_as_well(finished) -> None:
    edit(finished / "experiment.yaml", "threads: 1", "threads: 2")
    again = replay(finished, vision=True)
    assert again.identical, again.differences
    assert "segment ran with 1 threads, with 2 now" in again.message


def test_what_lies_beyond_the_tolerance_is_a_difference(finished) -> None:
    edit(finished / "experiment.yaml", "threads: 1", "threads: 2")
    edit(finished / "experiment.yaml", "min_area_um2: 20", "min_area_um2: 2000")
    again = replay(finished, vision=True)
    assert not again.identical
    assert again.exit_code == 9
    assert "4 objects were seen, 0 now" in again.differences[0]


def test_another_model_is_named_and_compared_exactly(finished, tmp_path) -> None:
    other = conv([[[[0.01]]]], [-2.001], then=["Sigmoid"])
    package(tmp_path / "net", other, {"kind": "mask"}, tolerance=0.03)
    again = replay(finished, vision=True)
    assert again.tolerance is None
    assert "the model of segment has changed since the run" in again.message


def seen(y_px=(), *, tracks=0, events=0, **measurements: float) -> Observation:
    rows = np.asarray(y_px, dtype=np.float64)
    zeros = np.zeros(len(rows))
    return Observation(
        number=0,
        view=View(0, "Camera"),
        frame_ids=(0,),
        t_ns=0,
        t_s=0.0,
        channel=None,
        shape=(64, 64),
        detections=Detections(
            label=np.arange(len(rows)) + 1,
            y_px=rows,
            x_px=zeros,
            x_um=zeros,
            y_um=zeros,
            area_um2=zeros,
            score=zeros,
        ),
        events=tuple(
            Event(
                kind="e",
                event_id=k,
                state="onset",
                onset_s=0.0,
                score=1.0,
                x_um=0.0,
                y_um=0.0,
            )
            for k in range(events)
        ),
        measurements=measurements,
    )


def models(tolerance: float = 0.05) -> ModelsThen:
    then = {"stage": "segment", "runtime": "a", "precision": "fp32", "threads": 1}
    now = {**then, "runtime": "b", "tolerance": tolerance}
    return ModelsThen([then], [("segment", now)])


MANY = [10.0 * k for k in range(40)]


@pytest.mark.parametrize(
    ("new", "words"),
    [
        (seen(MANY), ""),
        (seen(MANY[:38]), ""),
        (seen(MANY[:37]), "40 objects were seen, 37 now"),
        (seen([y + 2.0 for y in MANY]), ""),
        (seen([y + 2.1 * (k < 2) for k, y in enumerate(MANY)]), ""),
        (seen([y + 2.1 * (k < 3) for k, y in enumerate(MANY)]), "3 objects are more"),
    ],
)
def test_a_share_of_the_objects_may_differ(new, words) -> None:
    said = models().difference(seen(MANY), new)
    assert said.startswith(words) if words else said == ""


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        ({"mean": 100.0}, {"mean": 105.2}, ""),
        ({"mean": 100.0}, {"mean": 105.3}, "mean was 100, is now 105.3"),
        ({"mean": float("nan")}, {"mean": float("nan")}, ""),
        ({"mean": float("nan")}, {"mean": 1.5}, "mean was nan"),
        ({"count": 4.0}, {"count": 5.0}, ""),
        ({"count": 4.0}, {"count": 6.0}, "count was 4, is now 6"),
        ({"count": 4.0}, {}, "measured in one of them only: count"),
    ],
)
def test_measurements_may_differ_by_the_tolerance(before, now, words) -> None:
    said = models().difference(seen(**before), seen(**now))
    assert said.startswith(words) if words else said == ""


def test_events_are_compared_over_the_whole_run() -> None:
    one = models()
    assert one.difference(seen(events=2), seen(events=0)) == ""
    assert one.in_all() == "2 reports of events were seen, 0 now"
    one.difference(seen(events=0), seen(events=1))
    assert one.in_all() == "", "a frame later, and one of two is free"


def test_the_same_models_allow_nothing() -> None:
    told = {"stage": "segment", "runtime": "a", "precision": "fp32", "threads": 1}
    same = ModelsThen([told], [("segment", told)])
    assert (same.tolerance, same.notes) == (None, ())
    assert ModelsThen([], [("segment", told)]).tolerance is None
