"""The loop with models at a camera rate, in small, by hand and by smartscope."""

from __future__ import annotations

import numpy as np
import pytest
from typer.testing import CliRunner

from smartscope.app.cli import app
from smartscope.bench import (
    Loop,
    bench,
    to_json,
    to_text,
)
from smartscope.bench import _harness as harness
from smartscope.bench._catalogue import WORKS
from smartscope.bench._cells import cell_frames, shown
from smartscope.bench._denoise_detect import STEPS
from smartscope.bench._harness import job_of
from smartscope.bench._measured import Measured

FRAMES = 10


# ---------------------------------------------------------------------------- cells


def test_the_camera_shows_cells_forwards_and_backwards() -> None:
    images = cell_frames(64, 3)
    assert [image.shape for image in images] == [(64, 64)] * 3
    assert {image.dtype for image in images} == {np.dtype(np.uint16)}
    again = cell_frames(64, 3)
    assert all((a == b).all() for a, b in zip(images, again, strict=True))
    order = [
        next(k for k in range(3) if shown(images, n) is images[k]) for n in range(7)
    ]
    assert order == [0, 1, 2, 1, 0, 1, 2]
    assert shown(images[:1], 5) is images[0]


# ----------------------------------------------------------------------------- loop


@pytest.mark.parametrize("peer", ["floor", "smartscope"])
def test_every_frame_and_every_step_is_accounted_for(
    peer, tmp_path, denoiser, detector
) -> None:
    loop = Loop(rates=(50.0,), denoiser=denoiser, detector=detector)
    (task,) = (task.shortened(FRAMES) for task in loop.tasks(full=False))
    entrant = next(e for e in task.entrants if e.peer == peer)
    got = Measured(**job_of(task, entrant, tmp_path).run())
    assert (got.asked, got.published, got.lost) == (FRAMES, FRAMES, 0)
    assert got.seen + got.skipped == FRAMES
    refused = got.more.get("not_applied", 0)
    assert refused <= 2
    assert got.latency_ms["n"] == got.seen - refused
    assert got.latency_ms["min"] > 0
    steps = got.more["steps_ms"]
    own = {"rest of vision", "decision"}
    names = [s for s in STEPS if peer == "smartscope" or s not in own]
    assert list(steps) == [*names, "whole"]
    for name in ("wait", "denoise", "segment", "decode"):
        assert steps[name]["n"] == got.seen
        assert steps[name]["min"] > 0
    assert steps["whole"] == pytest.approx(got.latency_ms)
    inner = sum(steps[name]["min"] for name in names)
    assert inner <= steps["whole"]["min"], "the steps lie in the whole"
    assert got.more["models"].keys() == {"denoise", "segment"}
    assert got.more["models"]["segment"].startswith("above 1.2.3 on ")
    assert got.cpu_ms_per_frame > 0
    if peer == "smartscope":
        assert 10 < got.more["objects"] < 60, "the models see the cells"


def test_skipped_frames_are_counted_when_the_models_are_slow(
    tmp_path, denoiser, detector
) -> None:
    # At 2 ms a frame no machine decodes every one.
    loop = Loop(rates=(500.0,), denoiser=denoiser, detector=detector)
    (task,) = (task.shortened(60) for task in loop.tasks(full=False))
    for entrant in task.entrants:
        got = Measured(**job_of(task, entrant, tmp_path).run())
        assert got.skipped > 0
        assert (got.seen + got.skipped, got.lost) == (60, 0)


def test_the_work_has_three_rates_and_others_on_request(denoiser, detector) -> None:
    assert [t.name for t in WORKS["denoise-detect"]] == [
        f"denoise-detect, {rate}/s" for rate in (10, 20, 30)
    ]
    loop = Loop(rates=(5.0, 40.0), denoiser=denoiser, detector=detector)
    short, full = loop.tasks(full=False), loop.tasks(full=True)
    assert [t.job.exposure_ms for t in short] == [200.0, 25.0]
    assert [t.job.frames for t in short] == [50, 400]
    assert [t.job.frames for t in full] == [300, 2400]
    assert {t.job.denoiser for t in short} == {denoiser}


def test_tables_tell_steps_of_both_and_which_runtime(
    tmp_path, denoiser, detector
) -> None:
    loop = Loop(rates=(50.0,), denoiser=denoiser, detector=detector)
    whole = bench(
        "denoise-detect", repetitions=1, scratch=tmp_path, frames=FRAMES, loop=loop
    )
    text = to_text(whole)
    assert "Where the time goes in floor, ms:" in text
    assert "Where the time goes in smartscope, ms:" in text
    assert "* smartscope, segment: above 1.2.3 on " in text
    (task,) = to_json(whole)["tasks"]
    assert [row["name"] for row in task["rows"]] == ["floor", "smartscope"]
    assert task["rows"][1]["x_floor"] > 0


def test_bars_of_the_loop_are_judged() -> None:
    task = WORKS["denoise-detect"][1]
    got = {"published": 200, "seen": 150, "skipped": 50, "lost": 0}
    table = harness.Table(task=task, runs={"smartscope": [harness.Run(got=got)]})
    assert [bar["met"] for bar in table.bars()] == [True, True]
    got["skipped"] = 49
    assert [bar["met"] for bar in table.bars()] == [True, False]


WRONG = [
    (["denoise-detect", "--rate", "0"], "0 frames per second cannot be measured"),
    (["denoise-detect", "--denoiser", "no/such/model"], "there is no such model"),
    (["react", "--rate", "20"], "'react' has no models"),
    (["quarter-light", "--rate", "20"], "takes its models from"),
    (["quarter-light", "-n", "0"], "no specimen to film"),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG, ids=str)
def test_bad_input_is_one_sentence_and_exit_code_2(arguments, words) -> None:
    done = CliRunner().invoke(app, ["bench", *arguments])
    assert done.exit_code == 2
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
