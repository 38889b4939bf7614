"""Images unlike those of the training: columns, notes, alarms, and what a run does."""

from __future__ import annotations

import json

import numpy as np
import pytest
from film_runs import on_film
from learned_nets import conv, package
from vision_fields import field, frame, pipeline

from smartscope.core import ConfigError, View
from smartscope.inference import Domain

FAST = {"runtime": "onnxruntime", "threads": 1}
POINTS = [(30, 40), (70, 90), (50, 130), (100, 60)]


def usual(seed):
    return field(POINTS, shape=(120, 160), seed=seed)


def strange(seed):
    return field(POINTS, shape=(120, 160), seed=seed, noise=120)


@pytest.fixture(scope="module")
def card():
    return Domain.fit(usual(seed) for seed in range(40)).to_card()


def masks(tmp_path, card, **more):
    net = conv([[[[0.01]]]], [-2.0])
    decoder = {"kind": "mask"}
    model = package(tmp_path / "net", net, decoder, domain=card, **more)
    return {"model": model, "min_area_um2": 20} | FAST


def test_every_frame_has_a_column(tmp_path, card):
    pipe = pipeline({"segment": masks(tmp_path, card)})
    images = [usual(100), strange(101), usual(102)]
    told = [pipe.see(frame(im, n), float(n)) for n, im in enumerate(images)]
    ratios = [seen.measurements["unfamiliar_segment"] for seen in told]
    assert ratios[0] < 1 and ratios[2] < 1
    counts = [seen.measurements["unfamiliar_segment_count"] for seen in told]
    assert counts[0] == counts[2] == 0 and counts[1] >= 1
    assert [len(seen.notes) for seen in told] == [0, 1, 0]
    assert told[1].notes[0].startswith("segment: unfamiliar (")
    assert "noise too high" in told[1].notes[0]
    # One image is no alarm.
    assert pipe.alarms == () and pipe.reports() == []


def test_the_alarm_counts_images_in_a_row_of_one_view(tmp_path, card):
    wanted = {"after_frames": 2, "action": "pause"}
    pipe = pipeline({"segment": masks(tmp_path, card) | {"unfamiliar": wanted}})
    held, said = [], []
    film = [(0, 1), (1, 1), (0, 0), (0, 1), (0, 1), (1, 0), (0, 1), (0, 0), (0, 1)]
    for number, (view, odd) in enumerate(film):
        image = strange(number) if odd else usual(100 + number)
        pipe.see(frame(image, number, view=View(view)), float(number))
        held.append([alarm.action for alarm in pipe.alarms])
        said.append(len(pipe.reports()))
    assert held == [*([[]] * 4), ["pause"], ["pause"], ["pause"], [], []]
    assert said == [0, 0, 0, 0, 1, 0, 0, 0, 0]


def test_a_blurred_frame_of_a_moving_stage_is_no_alarm(tmp_path, card):
    wanted = {"after_frames": 1, "action": "stop"}
    pipe = pipeline({"segment": masks(tmp_path, card) | {"unfamiliar": wanted}})
    seen = pipe.see(frame(strange(0), 0, moving=True), 0.0)
    assert pipe.alarms == () and seen.notes == ()
    assert seen.measurements["unfamiliar_segment_count"] >= 1
    pipe.see(frame(strange(1), 1), 1.0)
    (alarm,) = pipe.alarms
    assert (alarm.stage, alarm.action) == ("segment", "stop")
    assert "1 images in a row are unlike those that net was made for" in alarm.reason
    pipe.forget(View())
    assert pipe.alarms == ()


def test_a_window_looks_at_the_newest_frame_only(tmp_path, card):
    net = conv(np.reshape([0, 0, 0.01], (1, 3, 1, 1)))
    decoder = {"kind": "mask"}
    model = package(tmp_path / "w", net, decoder, channels=3, window=3, domain=card)
    pipe = pipeline({"segment": {"model": model} | FAST})
    images = [strange(0), usual(100), usual(101)]
    told = [pipe.see(frame(im, n), float(n)) for n, im in enumerate(images)]
    assert [len(seen.notes) for seen in told] == [1, 0, 0]


def test_a_warm_up_leaves_no_alarm(tmp_path, card):
    wanted = {"after_frames": 1, "action": "stop"}
    pipe = pipeline({"segment": masks(tmp_path, card) | {"unfamiliar": wanted}})
    pipe.warm_up((120, 160))
    assert pipe.alarms == () and pipe.reports() == []


def test_a_domain_that_lies_is_refused_before_the_run(tmp_path, card):
    use = masks(tmp_path, card | {"limit": -1})
    with pytest.raises(ConfigError, match=r"segment.model: .*limit: must be above 0"):
        pipeline({"segment": use})


# -------------------------------------------------------------------------- whole runs


def journal(result):
    text = (result.path / "journal.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("action", ["note", "pause", "stop"])
def test_a_run_says_it_and_ends_where_it_is_told_to(action, tmp_path, card):
    images = [usual(100), *(strange(n) for n in range(3)), usual(101), usual(102)]
    wanted = {"after_frames": 2, "action": action}
    use = masks(tmp_path, card) | {"unfamiliar": wanted}
    result = on_film(tmp_path, images, [{"segment": use}])
    lines = journal(result)
    seen = [line["observation"] for line in lines if line["kind"] == "observation"]
    locks = [line for line in lines if line["kind"] == "interlock"]
    faults = [line["message"] for line in lines if line["kind"] == "fault"]
    assert len(faults) == 1 and "2 images in a row" in faults[0]
    assert all("unfamiliar_segment" in one["measurements"] for one in seen)
    if action == "note":
        assert result.outcome == "completed" and len(seen) == 6 and locks == []
        return
    # A recording cannot wait for anybody, so a pause ends it too.
    assert result.outcome == "stopped" and "2 images in a row" in result.message
    assert len(seen) == 3 and seen[-1]["interlocks"] == ["unfamiliar"]
    assert [lock["name"] for lock in locks] == ["unfamiliar"]
