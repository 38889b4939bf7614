"""The divisions recipe: films, animated nuclei, events, training, the package."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from smartscope.core import ConfigError
from smartscope.training import Pair
from smartscope.training.__main__ import main
from smartscope.training._divisions import (
    WINDOW,
    DivisionBatches,
    DivisionsConfig,
    evaluate_divisions,
    film_of,
    score_map,
    train_divisions,
    turned,
    window_at,
)
from smartscope.training._divisions_films import (
    Film,
    Filming,
    Mark,
    TrueEvent,
    make_film,
)
from smartscope.training._divisions_paste import cut_nuclei, draw_window
from smartscope.training._divisions_release import export_divisions
from smartscope.training._divisions_rivals import (
    classical_sightings,
    lineage_events,
    read_recording,
)
from smartscope.training._divisions_score import (
    Sighting,
    match_events,
    score_events,
    sightings,
)

SHIPPED = Path(__file__).parents[2] / "models" / "divisions"
SMALL = DivisionsConfig(
    steps=8,
    threads=1,
    films=1,
    windows=0,
    validation=0,
    film_px=96,
    size_px=64,
    batch=2,
    widths=(8, 8, 8),
    head=8,
)
CALM = Filming(
    size_px=96,
    frames=24,
    interval_s=10.0,
    cells={
        "area_um": (70, 70),
        "cells": 2,
        "cell_cycle_s": 3000,
        "cell_cycle_spread": 0.0,
        "synchrony": 1.0,
        "mitosis_s": 60,
        "separation_um": 24,
        "speed_um_s": 0.0,
        "drift_um_s": (0, 0, 0),
        "photons_per_ms": 2.0,
        "z_spread_um": 0.0,
    },
)
"""Two cells that soon divide."""


@pytest.fixture(scope="module")
def calm() -> Film:
    return make_film(CALM, 4)


def blank(events: list[TrueEvent], maybe: list[TrueEvent] | None = None) -> Film:
    frames = np.zeros((10, 64, 64), np.uint16)
    times = np.arange(10) * 10.0
    return Film(frames, times, [[] for _ in frames], events, 16.0, maybe or [])


def test_marks_lie_on_cells_that_condense_and_part(calm: Film) -> None:
    assert calm.frames.shape == (24, 96, 96)
    assert len(calm.events) == 2
    for event in calm.events:
        middle = (event.first_s + event.last_s) / 2
        at = int(np.searchsorted(calm.t_s, middle)) - 1
        y, x = round(event.y_px), round(event.x_px)
        near = calm.frames[:, y - 2 : y + 3, x - 2 : x + 3].mean(axis=(1, 2))
        before = near[calm.t_s < event.first_s]
        # Just before the split the nucleus is condensed, after it the middle is dark.
        assert near[at] > 1.15 * before.mean()
        assert near[calm.t_s >= event.last_s].max() < 0.7 * near[at]
        here = [
            [m.sure for m in marks if np.hypot(m.y_px - y, m.x_px - x) < 4]
            for marks in calm.marks
        ]
        assert here[at] == [False]  # rounded: either answer is right
        seconds = calm.t_s[[any(sure) for sure in here]]
        assert 0 <= seconds.min() - middle < 10
        assert 26 <= seconds.max() - middle < 36


def test_a_seed_gives_the_same_film_and_light_is_poisson(calm: Film) -> None:
    again = make_film(replace(CALM, frames=2), 4)
    assert np.array_equal(again.frames, calm.frames[:2])
    # 50 electrons of background, half an electron a count, 100 counts of offset.
    first, second = calm.frames[:2].astype(float)
    ground = (first + second) / 2 < np.percentile((first + second) / 2, 60)
    assert first[ground].mean() == pytest.approx(193, abs=8)
    variance = (first - second)[ground].var() / 2
    assert variance == pytest.approx((47 + 1.6**2) / 0.5**2, rel=0.1)


def pair(seed: int) -> Pair:
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:120, :120]
    labels = np.zeros((120, 120), np.int32)
    for k, (cy, cx) in enumerate([(25, 25), (25, 90), (90, 25), (90, 90)], start=1):
        labels[(y - cy) ** 2 + (x - cx) ** 2 < random.integers(9, 13) ** 2] = k
    labels[:12, 55:70] = 9  # at the border: not used
    image = 15 + 60 * (labels > 0) + random.normal(0, 2, labels.shape)
    return Pair(f"cells{seed}", image.astype(np.uint8), labels, "")


def test_nuclei_are_cut_out_whole_and_scaled() -> None:
    styles = cut_nuclei([pair(0), pair(1)])
    assert [len(style.nuclei) for style in styles] == [4, 4]
    for patch in styles[0].nuclei:
        side = patch.shape[0]
        assert patch[side // 2, side // 2] == pytest.approx(1.0, abs=0.2)
        assert patch[0].max() < 0.05
        assert 0.6 < np.sqrt((patch > 0.5).sum() / np.pi) / (side / 4) < 1.4


def test_windows_are_drawn_with_divisions_in_the_newest_frame() -> None:
    styles = cut_nuclei([pair(0)])
    windows = [draw_window(styles, np.random.default_rng(k)) for k in range(16)]
    again = draw_window(styles, np.random.default_rng(0))
    assert np.array_equal(windows[0].frames, again.frames)
    assert {w.frames.shape for w in windows} == {(WINDOW, 128, 128)}
    assert any(mark.sure for w in windows for mark in w.marks)
    assert any(all(not m.sure for m in w.marks) for w in windows)


def test_a_window_never_sees_the_future_and_repeats_the_oldest() -> None:
    frames = np.arange(6)[:, None, None] * np.ones((1, 2, 2))
    assert window_at(frames, 5)[:, 0, 0].tolist() == [2, 3, 4, 5]
    assert window_at(frames, 1)[:, 0, 0].tolist() == [0, 0, 0, 1]
    assert window_at(frames, 5, history=2)[:, 0, 0].tolist() == [4, 4, 4, 5]


def test_score_maps_peak_at_marks_and_forgive_the_unsure() -> None:
    heat, counts = score_map(
        (64, 64), [Mark(20.0, 30.0, 16.0), Mark(50.0, 50.0, 16.0, sure=False)]
    )
    assert heat.shape == (32, 32)
    assert np.unravel_index(heat.argmax(), heat.shape) == (10, 15)
    assert heat[25, 25] < 1e-9
    assert counts[25, 25] == 0
    assert counts[10, 15] == 1
    assert counts[0, 0] == 1


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("flip", [False, True])
def test_marks_turn_with_their_frames(turns: int, flip: bool) -> None:
    frames = np.zeros((2, 16, 16))
    frames[:, 3, 11] = 1
    moved, marks = turned(frames, [Mark(3.0, 11.0, 4.0)], turns, flip=flip)
    assert moved[1, int(marks[0].y_px), int(marks[0].x_px)] == 1


def test_events_are_matched_in_space_and_time() -> None:
    truth = [TrueEvent(20, 20, 20, 40), TrueEvent(20, 40, 60, 80)]
    found = [
        Sighting(22, 20, 30, 50, 0.9),  # the first
        Sighting(20, 41, 20, 30, 0.9),  # the right place, too early
        Sighting(20, 20, 30, 30, 0.9),  # the first once more, and nearer
    ]
    assert match_events(found, truth, within_px=10, slack_s=10) == [(2, 0)]
    score = score_events([blank(truth)], [found])
    counts = (score.true_positive, score.false_positive, score.false_negative)
    assert counts == (1, 2, 1)
    assert score.precision == pytest.approx(1 / 3)
    assert score.recall == 0.5
    assert score.delay_s == 10


def test_divisions_cut_off_count_neither_way() -> None:
    edge = TrueEvent(2, 2, 20, 40)
    found = [Sighting(3, 3, 30, 40, 0.9)]
    score = score_events([blank([], [edge])], [found])
    assert (score.true_positive, score.false_positive) == (0, 0)
    assert score_events([blank([], [edge])], [[]]).recall == 1


def test_a_peak_that_lasts_is_one_sighting() -> None:
    heat, _ = score_map((64, 64), [Mark(20.0, 30.0, 16.0)])
    maps = [0 * heat, 0.6 * heat, 0.9 * heat, 0.3 * heat, 0 * heat]
    (seen,) = sightings(maps, [0, 10, 20, 30, 40], threshold=0.5)
    assert (seen.first_s, seen.last_s) == (10, 30)
    assert seen.score == pytest.approx(0.9, abs=0.01)
    assert (seen.y_px, seen.x_px) == pytest.approx((20, 30), abs=0.5)


def test_the_classical_stages_see_a_clear_division(calm: Film) -> None:
    score = score_events([calm], [classical_sightings(calm)])
    assert score.true_positive >= 1


def test_lineages_give_divisions(tmp_path: Path) -> None:
    labels = np.zeros((4, 40, 60), np.uint16)
    labels[:2, 18:23, 28:33] = 1
    labels[2:, 18:23, 20:25] = 2
    labels[2:, 18:23, 36:41] = 3
    table = np.array([[1, 0, 1, 0], [2, 2, 3, 1], [3, 2, 3, 1], [5, 1, 3, 4]])
    sure, maybe = lineage_events(labels, table)
    assert sure == [TrueEvent(20.0, 30.0, 1.0, 2.0)]
    assert maybe == []
    for name, array in (("images", labels * 100), ("tracks_labels", labels)):
        tifffile.imwrite(tmp_path / f"{name}.tif", array, photometric="minisblack")
    with pytest.raises(ConfigError, match=r"man_track\.txt"):
        read_recording(tmp_path)
    np.savetxt(tmp_path / "man_track.txt", table, fmt="%d")
    film = read_recording(tmp_path)
    assert film.events == sure
    assert film.diameter_px == pytest.approx(2 * np.sqrt(25 / np.pi))


def test_training_lowers_the_loss_and_exports_a_package(tmp_path: Path) -> None:
    import torch

    from smartscope.inference import load_model
    from smartscope.training._divisions_net import DivisionNet, division_loss

    folder = tmp_path / "nuclei"
    folder.mkdir()
    for one in (pair(0), pair(1)):
        tifffile.imwrite(folder / f"{one.name}_img.tif", one.image)
        tifffile.imwrite(folder / f"{one.name}_lab.tif", one.labels.astype(np.uint16))
    config = replace(SMALL, nuclei=folder, windows=12, batch=4)
    batch = {
        name: torch.from_numpy(part)
        for name, part in DivisionBatches(config)(0).items()
    }
    torch.manual_seed(0)
    fresh = DivisionNet(WINDOW, config.widths, config.head).eval()
    trained = train_divisions(replace(config, steps=150, rate=1e-2))
    before, after = (
        float(division_loss(net, batch)[0].detach()) for net in (fresh, trained.net)
    )
    assert (batch["heat"] > 0.9).any()
    assert after < 0.8 * before
    export_divisions(trained, tmp_path / "made")
    model = load_model(tmp_path / "made", runtime="onnxruntime", threads=1)
    assert model.decoder.kind == "events"
    assert model.decoder.options["kind"] == "mitosis"
    assert model.card.window == WINDOW
    found = model.run(np.zeros((WINDOW, 72, 90), np.uint16))[0]
    assert found.shape == (1, 36, 45)
    assert float(model.check().relative or 0) < 1e-3
    model.close()


def test_batches_are_the_same_again() -> None:
    batches = DivisionBatches(SMALL)
    first, again = batches(1), batches(1)
    assert first["image"].shape == (2, WINDOW, 64, 64)
    assert first["heat"].shape == first["counts"].shape == (2, 1, 32, 32)
    assert all(np.array_equal(first[name], again[name]) for name in first)


def test_the_command_trains_and_says_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = ["divisions", "--output", str(tmp_path / "made"), "--threads", "1"]
    short = ["--steps", "1", "--train-films", "1", "--films", "0", "--validation", "0"]
    short += ["--film-px", "160"]
    assert main([*made, *short]) == 0
    record = json.loads((tmp_path / "made" / "training.json").read_text("utf-8"))
    assert record["window"] == WINDOW
    assert main([*made, *short, "--nuclei", str(tmp_path / "nowhere")]) == 2
    assert "there is no such folder" in capsys.readouterr().err


def test_the_shipped_package_is_whole_and_small() -> None:
    from smartscope.inference import load_model

    assert sum(p.stat().st_size for p in SHIPPED.iterdir()) < 2_000_000
    model = load_model(SHIPPED, runtime="onnxruntime", threads=1)
    check = model.check()
    assert check.relative is not None
    assert check.relative < 1e-3
    assert model.card.window == WINDOW
    assert model.card.licence == "BSD-3-Clause"
    model.close()


def test_the_shipped_detector_finds_divisions_it_never_saw(calm: Film) -> None:
    films = [calm, film_of(9_000_110, size_px=128)]
    score = evaluate_divisions(SHIPPED, films, runtime="onnxruntime", threads=1)
    assert score.true_positive + score.false_negative >= 3
    assert score.recall >= 0.7
    assert score.precision >= 0.7
