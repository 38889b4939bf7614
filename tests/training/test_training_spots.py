"""The spots recipe: synthetic images, scores, training, the package."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from smartscope.training.__main__ import main
from smartscope.training._recipe import standardised
from smartscope.training._spots import (
    NOTHING,
    SUITE,
    SpotBatches,
    SpotsConfig,
    evaluate_finder,
    heat_map,
    held_out,
    match_spots,
    peaks,
    score_spots,
    suite,
    train_spots,
)
from smartscope.training._spots_recorded import recorded_scenes
from smartscope.training._spots_release import export_spots
from smartscope.training._spots_rivals import best_laplace, to_bytes
from smartscope.training._spots_scenes import (
    LEAST_SNR,
    Scenery,
    draw_scene,
    random_scenery,
    splat,
)

SHIPPED = Path(__file__).parents[2] / "models" / "spots"
SMALL = SpotsConfig(
    steps=8, threads=1, scenes=8, size_px=64, batch=2, widths=(8, 8, 8), head=8
)
SMALL = replace(SMALL, validation=0)


def test_a_drawn_spot_has_its_place_and_its_light() -> None:
    image = splat(
        (40, 40), np.array([[12.3, 20.8]]), np.array([[1.5, 1.5]]), np.array([100.0])
    )
    y, x = np.indices(image.shape)
    total = image.sum()
    # Gaussians are cut off at 3.5 sigmas, where 0.2 % of the light is left.
    assert total == pytest.approx(100 * 2 * np.pi * 1.5**2, rel=0.01)
    assert (y * image).sum() / total == pytest.approx(12.3, abs=0.02)
    assert (x * image).sum() / total == pytest.approx(20.8, abs=0.02)


def test_spots_at_the_border_are_cut_not_wrapped() -> None:
    image = splat((20, 20), np.array([[0.0, 19.0]]), np.ones((1, 2)), np.ones(1))
    assert image[0, 19] == pytest.approx(1.0)
    assert image[:, :8].max() == 0
    assert image[12:].max() == 0


def test_light_and_noise_are_those_asked_for() -> None:
    scenery = Scenery(size_px=256, spots=0, level_e=400.0)
    image = draw_scene(scenery, np.random.default_rng(3)).image.astype(float)
    # The gain is drawn: the ratio of variance to signal tells it.
    offset = min((0, 100, 400), key=lambda o: abs(_level(image, o) - 400))
    assert _level(image, offset) == pytest.approx(400, rel=0.1)


def _level(image: np.ndarray, offset: float) -> float:
    """Electrons, from mean and variance, less the variance of the reading."""
    gain = image.var() / max(image.mean() - offset, 1e-9)
    return float((image.mean() - offset) / gain)


def test_the_truth_names_every_spot_that_stands_out() -> None:
    scenery = Scenery(size_px=256, spots=40, snr=40, spread=0.1, level_e=1000)
    scene = draw_scene(scenery, np.random.default_rng(5))
    assert len(scene.points) == 40
    assert (scene.snr >= LEAST_SNR).all()
    smooth = standardised(scene.image)
    inner = scene.points[((scene.points > 3) & (scene.points < 252)).all(axis=1)]
    y, x = np.rint(inner).astype(int).T
    assert smooth[y, x].min() > np.quantile(smooth, 0.98)


def test_dim_spots_are_left_out_of_the_truth() -> None:
    bright = draw_scene(Scenery(snr=20), np.random.default_rng(1))
    dim = draw_scene(Scenery(snr=2, spread=0.6), np.random.default_rng(1))
    assert len(dim.points) < 0.8 * len(bright.points)
    assert dim.snr.min() >= LEAST_SNR


def test_the_same_seed_draws_the_same_image() -> None:
    for seed in range(12):
        one, two = (
            draw_scene(random_scenery(r, 64, photographs=False), r)
            for r in (np.random.default_rng(seed), np.random.default_rng(seed))
        )
        assert np.array_equal(one.image, two.image)
        assert np.array_equal(one.points, two.points)
        assert one.image.dtype in (np.uint8, np.uint16)


def test_a_photograph_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="no photographs"):
        draw_scene(Scenery(background="photograph"), np.random.default_rng(0))


def test_matching_is_one_to_one_and_within_reach() -> None:
    truth = np.array([[10.0, 10], [10, 13], [40, 40]])
    found = np.array([[10.0, 11.6], [10, 14.5], [42.1, 40], [10, 10]])
    i, j = match_spots(truth, found)
    # The nearest of all would leave 14.5 alone; as many as can be are matched.
    assert sorted(zip(i.tolist(), j.tolist(), strict=True)) == [(0, 3), (1, 0)]
    score = score_spots([truth], [found])
    assert (score.true_positive, score.false_positive, score.false_negative) == (
        2,
        2,
        1,
    )
    assert score.f1 == pytest.approx(4 / 7)
    assert score.error_px == pytest.approx(np.sqrt((1.4**2 + 0) / 2))


def test_scores_of_empty_images() -> None:
    none = np.empty((0, 2))
    assert score_spots([none], [none]).f1 == 1
    assert score_spots([none], [np.ones((3, 2))]).precision == 0
    assert score_spots([np.ones((3, 2))], [none]).recall == 0


def test_the_decoder_gives_back_what_the_heat_map_says() -> None:
    points = np.array([[7.25, 30.0], [20.4, 12.7], [40.0, 0.2]])
    found = peaks(heat_map((48, 48), points), 0.5)
    assert np.abs(found - points)[:2].max() < 0.05
    assert np.abs(found - points).max() < 0.3  # no parabola at the edge


def test_batches_hold_spots_where_the_heat_is() -> None:
    config = replace(SMALL, scenes=4, batch=4)
    batches = SpotBatches(config, [])
    batch = batches(3)
    assert batch["image"].shape == batch["heat"].shape == (4, 1, 64, 64)
    assert np.array_equal(batch["image"], batches(3)["image"])
    assert abs(float(batch["image"][0].mean())) < 1e-4
    bright = batch["image"][batch["heat"] > 0.9].mean()
    assert bright > batch["image"][batch["heat"] < 0.01].mean() + 0.3


def test_training_lowers_the_loss_and_exports_a_package(tmp_path: Path) -> None:
    from smartscope.inference import load_model

    trained = train_spots(replace(SMALL, steps=201, rate=1e-2))
    assert trained.losses[-1] < 0.85 * trained.losses[0]
    export_spots(trained, tmp_path / "spots")
    model = load_model(tmp_path / "spots", runtime="onnxruntime", threads=1)
    assert model.decoder.kind == "spots"
    found = model.run(held_out("flat, sparse", size_px=72).image)[0]
    assert found.shape == (1, 72, 72)
    assert float(model.check().relative or 0) < 1e-3
    model.close()


def test_the_command_trains_and_scores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path / "made")
    made = ["--steps", "2", "--scenes", "4", "--images", "0", "--threads", "1"]
    assert main(["spots", "--output", folder, *made, "--validation", "1"]) == 0
    record = json.loads((tmp_path / "made" / "training.json").read_text("utf-8"))
    assert record["config"]["steps"] == 2
    scored = ["--model", folder, "--images", "1", "--runtime", "onnxruntime"]
    assert main(["evaluate-spots", *scored]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in SUITE)


def test_a_classical_filter_finds_clear_spots() -> None:
    scenes = [held_out("flat, sparse", k, size_px=192) for k in range(2)]
    assert best_laplace(scenes).f1 > 0.9


def test_the_shipped_package_is_whole_and_small() -> None:
    from smartscope.inference import load_model

    assert sum(p.stat().st_size for p in SHIPPED.iterdir()) < 2_000_000
    model = load_model(SHIPPED, runtime="onnxruntime", threads=1)
    check = model.check()
    assert check.relative is not None
    assert check.relative < 1e-3
    assert model.card.licence == "BSD-3-Clause"
    assert model.card.domain
    model.close()


def test_the_shipped_detector_is_as_good_as_its_card_says() -> None:
    from smartscope.inference import load_model

    model = load_model(SHIPPED, runtime="onnxruntime", threads=1)
    threshold = model.decoder.threshold or 0.5
    names = ("cells, like in-situ sequencing", "flat, 1500 spots")
    scores = evaluate_finder(
        lambda image: peaks(model.run(image)[0][0], threshold), suite(1, names)
    )
    card = model.card.training["metrics"]["this model"]
    for name in names:
        assert scores[name].f1 > 0.85
        assert scores[name].f1 == pytest.approx(card[name]["f1"], abs=0.05)
    model.close()


def test_images_of_nothing_hold_nothing_and_all_found_in_them_is_false() -> None:
    for name in NOTHING:
        assert len(held_out(name, size_px=128).points) == 0
    wrong = np.array([[5.0, 6.0], [70.0, 80.0]])
    scores = evaluate_finder(lambda _: wrong, suite(2, tuple(NOTHING)))
    assert {score.false_positive for score in scores.values()} == {4}


def test_a_match_lies_within_what_is_asked() -> None:
    truth, found = [np.array([[10.0, 10.0]])], [np.array([[10.0, 11.5]])]
    assert score_spots(truth, found).true_positive == 1
    assert score_spots(truth, found, within_px=1.0).true_positive == 0


def test_a_few_hot_pixels_do_not_dim_the_others() -> None:
    image = np.linspace(100, 200, 40_000).reshape(200, 200)
    plain = to_bytes(image)
    assert (plain.min(), plain.max()) == (0.0, 255.0)
    image[5, 5] = 9000
    assert abs(to_bytes(image) - plain).max() <= 255
    assert np.median(to_bytes(image)) == pytest.approx(np.median(plain), abs=1)


def test_the_mean_of_many_frames_tells_where_the_spots_of_one_are() -> None:
    random = np.random.default_rng(4)
    places = np.array([[12.0, 15.0], [30.0, 41.0], [50.0, 20.0]])
    height = np.array([90.0, 60.0, 2.0])  # the last is lost in the noise of a frame
    light = splat((64, 64), places, np.full((3, 2), 1.3), height) + 100
    stack = random.poisson(np.broadcast_to(light, (20, 64, 64))).astype(np.uint16)
    scenes = recorded_scenes(stack)
    assert len(scenes) == 4
    for scene in scenes:
        i, j = match_spots(places[:2], scene.points, within_px=0.5)
        assert len(i) == len(j) == len(scene.points) == 2
        assert any(np.array_equal(scene.image, frame) for frame in stack)
