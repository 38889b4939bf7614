"""The nuclei recipe: truth from labels, crops, scores, training, the package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

from smartscope.core import ConfigError
from smartscope.training import (
    Crops,
    NucleiConfig,
    Pair,
    StarBatches,
    committed,
    diameter_px,
    evaluate_package,
    export_nuclei,
    match,
    parts_of,
    pooled,
    ray_table,
    read_pairs,
    scale_range,
    split,
    train_nuclei,
)
from smartscope.training.__main__ import main
from smartscope.vision.decode import rays_to_labels

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHIPPED = Path(__file__).parents[2] / "models" / "nuclei"
SMALL = Crops(size_px=64, batch=2, scale=(0.9, 1.2))


def disks(size: int, places: list[tuple[int, int, int]]) -> NDArray[np.int32]:
    """Label image of disks (y, x, radius), numbered from 1."""
    y, x = np.mgrid[:size, :size]
    labels = np.zeros((size, size), np.int32)
    for k, (cy, cx, radius) in enumerate(places, start=1):
        labels[(y - cy) ** 2 + (x - cx) ** 2 <= radius**2] = k
    return labels


def pair(seed: int, size: int = 80) -> Pair:
    """Noisy disks of random places and sizes on a dark ground."""
    random = np.random.default_rng(seed)
    grid = [(y, x) for y in (14, 40, 66) for x in (14, 40, 66)]
    places = [
        (y, x, int(random.integers(5, 11))) for y, x in grid if random.random() < 0.7
    ]
    labels = disks(size, places or [(40, 40, 8)])
    image = 20 + 100 * (labels > 0) + random.normal(0, 3, labels.shape)
    return Pair(f"cell{seed:02d}", image.astype(np.uint8), labels, f"{seed:064x}")


def write(folder: Path, pairs: list[Pair]) -> Path:
    folder.mkdir(exist_ok=True)
    for one in pairs:
        tifffile.imwrite(folder / f"{one.name}_img.tif", one.image)
        tifffile.imwrite(folder / f"{one.name}_lab.tif", one.labels.astype(np.uint16))
    return folder


def disagreement(model: Any) -> float:
    """How far the model is from its test tensors; infinite if not comparable."""
    relative = model.check().relative
    return float("inf") if relative is None else float(relative)


def decoded(labels: NDArray[np.int32], rays: int = 32) -> NDArray[np.int32]:
    """Objects from the truth itself, at grid 2."""
    table = ray_table(labels, rays)
    row = table.row[::2, ::2]
    prob = np.where(row >= 0, table.prob[row], 0).astype(np.float32)
    length = np.where(row[..., None] >= 0, table.rays[row], 0).astype(np.float32)
    return rays_to_labels(
        prob,
        np.ascontiguousarray(length.transpose(2, 0, 1)),
        shape=(labels.shape[0], labels.shape[1]),
        grid=2,
        threshold=0.3,
    ).labels


def test_rays_of_a_rectangle_end_half_a_pixel_behind_its_last_pixel() -> None:
    labels = np.zeros((20, 30), np.int32)
    labels[5:12, 8:23] = 7  # rows 5..11, columns 8..22
    table = ray_table(labels, 4)
    right, down, left, up = table.rays[table.row[8, 10]]
    assert (right, down, left, up) == (12.5, 3.5, 2.5, 3.5)
    assert (table.row >= 0).sum() == len(table.prob) == 7 * 15


def test_a_diagonal_ray_is_longer_by_the_root_of_two() -> None:
    labels = np.zeros((21, 21), np.int32)
    labels[5:16, 5:16] = 1
    table = ray_table(labels, 8)
    centre = table.rays[table.row[10, 10]].astype(float)
    assert centre[0::2] == pytest.approx(5.5)
    assert centre[1::2] == pytest.approx(5.5 * np.sqrt(2), rel=1e-3)


def test_probability_peaks_inside_and_the_edge_of_the_image_is_no_border() -> None:
    labels = np.zeros((21, 21), np.int32)
    labels[:11, 5:16] = 1  # cut by the upper edge
    table = ray_table(labels)
    prob = np.where(table.row >= 0, table.prob[table.row], 0)
    assert prob[0, 10] == 1.0
    assert prob[10, 10] == prob[0, 5] == pytest.approx(1 / 6)
    assert table.radius_px == pytest.approx(np.sqrt(121 / np.pi))


def test_touching_objects_have_rays_of_their_own() -> None:
    labels = np.zeros((20, 20), np.int32)
    labels[5:15, 2:10], labels[5:15, 10:18] = 1, 2
    table = ray_table(labels, 4)
    assert table.rays[table.row[10, 9]][0] == 0.5
    assert table.rays[table.row[10, 10]][0] == 7.5


def test_an_image_without_objects_has_an_empty_table() -> None:
    table = ray_table(np.zeros((8, 9), np.int32))
    assert len(table.prob) == 0
    assert table.row.shape == (8, 9)
    assert (table.row == -1).all()


def test_truth_drawn_again_is_the_truth() -> None:
    labels = disks(96, [(20, 20, 6), (20, 60, 12), (62, 30, 20), (70, 80, 4)])
    counts = match(labels, decoded(labels), (0.85,))[0]
    assert (counts.true_positive, counts.false_positive, counts.false_negative) == (
        4,
        0,
        0,
    )


def test_crops_keep_image_and_truth_together() -> None:
    # Disks of full brightness: where the truth says inside, the image must be bright,
    # whatever was flipped, turned and magnified.
    crops = Crops(size_px=64, batch=8, scale=(0.8, 1.6), noise=0.0, light=0.0)
    batches = StarBatches([pair(k) for k in range(3)], crops, seed=1)
    inside, overlap = [], []
    for step in range(4):
        batch = batches(step)
        for b in range(crops.batch):
            image = batch["image"][b, 0]
            bright = (image > 0.5 * image.max()).astype(np.int32)
            prob = np.ascontiguousarray(batch["prob"][b, 0])
            if prob.max() < 0.9:
                continue  # only slivers of objects at its edges
            found = rays_to_labels(
                prob,
                np.ascontiguousarray(batch["rays"][b]),
                shape=(64, 64),
                grid=2,
                threshold=0.2,
            ).labels
            inside.append(bright[::2, ::2][prob > 0.3].mean())
            both, either = (bright > 0) & (found > 0), (bright > 0) | (found > 0)
            overlap.append(both.sum() / either.sum())
    assert len(inside) > 20
    assert np.mean(inside) > 0.97
    assert np.median(overlap) > 0.85


def test_rays_of_a_crop_end_at_its_edge() -> None:
    batch = StarBatches([pair(k) for k in range(3)], SMALL, seed=0)(0)
    rays, side = batch["rays"], SMALL.size_px
    right = rays[:, 0] + np.arange(0, side, 2)
    down = rays[:, 8] + np.arange(0, side, 2)[:, None]
    held = batch["prob"][:, 0] > 0
    assert held.any()
    assert right[held].max() <= side - 0.5
    assert down[held].max() <= side - 0.5


def test_batches_depend_on_seed_and_step_only() -> None:
    pairs = [pair(k) for k in range(3)]
    one, same, other = (StarBatches(pairs, SMALL, seed) for seed in (0, 0, 1))
    assert all(np.allclose(one(5)[k], same(5)[k], atol=1e-6) for k in one(5))
    assert not np.array_equal(one(5)["image"], one(6)["image"])
    assert not np.array_equal(one(5)["image"], other(5)["image"])


def test_rare_styles_are_drawn_more_often_than_their_share() -> None:
    common = [pair(0)] * 8
    large = Pair(
        "rare",
        np.kron(pair(0).image, np.ones((3, 3), np.uint8)),
        np.kron(pair(0).labels, np.ones((3, 3), np.int32)),
        "",
    )
    chance = StarBatches([*common, large], SMALL, 0).chance
    assert chance.sum() == pytest.approx(1)
    assert chance[-1] > 1.5 / 9


def test_scaling_is_the_one_the_package_declares() -> None:
    image = np.arange(1001, dtype=np.uint16).reshape(7, 143)
    scaled = scale_range(image)
    assert scaled.dtype == np.float32
    assert scaled.ravel()[10] == pytest.approx(0, abs=1e-6)
    assert scaled.ravel()[998] == pytest.approx(1, abs=1e-6)


def test_objects_are_matched_one_to_one() -> None:
    truth = disks(60, [(15, 15, 8), (40, 40, 8)])
    found = np.zeros_like(truth)
    found[truth == 1] = 5
    found[10:14, 10:20] = 6  # takes a bite of the first
    found[45:60, :10] = 9  # nothing there
    at = match(truth, found, (0.5, 0.95))
    assert (at[0].true_positive, at[0].false_positive, at[0].false_negative) == (
        1,
        2,
        1,
    )
    assert at[0].f1 == pytest.approx(2 / 5)
    assert at[0].ap == pytest.approx(1 / 4)
    assert at[1].true_positive == 0


def test_overlap_counts_from_its_threshold_on() -> None:
    truth = np.zeros((4, 12), np.int32)
    truth[:, :8] = 1
    found = np.zeros_like(truth)
    found[:, :4] = 1
    half, more = match(truth, found, (0.5, 0.51))
    assert half.true_positive == 1
    assert more.true_positive == 0


def test_images_without_background_or_objects_are_scored() -> None:
    full, empty = np.ones((5, 5), np.int32), np.zeros((5, 5), np.int32)
    assert match(full, full, (0.5,))[0].true_positive == 1
    assert match(empty, empty, (0.5,))[0].f1 == 1.0
    assert match(empty, full, (0.5,))[0].false_positive == 1


def test_pooled_counts_are_sums() -> None:
    truth = disks(60, [(15, 15, 8), (40, 40, 8)])
    good, nothing = match(truth, truth), match(truth, np.zeros_like(truth))
    both = pooled([good, nothing])
    assert [m.iou for m in both] == [m.iou for m in good]
    assert (both[0].true_positive, both[0].false_negative) == (2, 2)
    assert both[0].f1 == pytest.approx(2 / 3)


def test_a_split_is_repeatable_and_spread_over_sizes() -> None:
    pairs = [pair(k, size) for k, size in enumerate([80] * 10 + [96] * 10)]
    held = split(pairs, parts=4, seed=3)
    assert held == split(pairs, parts=4, seed=3)
    assert len(set(held)) == 4
    small = {one.name for one in pairs[:10]}
    assert len(small.intersection(held)) == 2


def test_committed_lists_do_not_overlap() -> None:
    test, validation = committed("dsb2018_test"), committed("dsb2018_validation")
    assert len(set(test)) == len(test) == 27
    assert len(set(validation)) == len(validation) == 18
    assert not set(test) & set(validation)


def test_own_folders_are_split_without_the_committed_lists(tmp_path: Path) -> None:
    folder = write(tmp_path / "own", [pair(k) for k in range(8)])
    parts = parts_of(NucleiConfig(folder))
    names = [
        [one.name for one in part]
        for part in (parts.train, parts.validation, parts.test)
    ]
    assert [len(part) for part in names] == [6, 1, 1]
    assert sorted(name for part in names for name in part) == [
        f"cell{k:02d}" for k in range(8)
    ]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            lambda f: (f / "cell00_lab.tif").unlink(),
            "cell00_lab.tif: there is no such file",
        ),
        (
            lambda f: (f / "cell00_img.tif").write_bytes(b"no"),
            "cell00_img.tif: cannot be read as TIFF",
        ),
        (
            lambda f: tifffile.imwrite(f / "cell00_img.tif", np.zeros((2, 80, 80))),
            "save single images",
        ),
        (
            lambda f: tifffile.imwrite(
                f / "cell00_lab.tif", np.zeros((8, 8), np.uint8)
            ),
            "must be of one size",
        ),
        (
            lambda f: tifffile.imwrite(f / "cell00_lab.tif", np.zeros((80, 80))),
            "number the objects",
        ),
        (
            lambda f: tifffile.imwrite(f / "cell00_img.tif", np.full((80, 80), np.nan)),
            "without NaN",
        ),
        (lambda f: [p.unlink() for p in f.glob("*")], "holds no images"),
    ],
)
def test_wrong_input_is_one_sentence(tmp_path: Path, spoil: Any, said: str) -> None:
    folder = write(tmp_path / "own", [pair(0), pair(1)])
    spoil(folder)
    with pytest.raises(ConfigError) as caught:
        read_pairs(folder)
    assert said in str(caught.value)


def test_names_held_out_must_be_there(tmp_path: Path) -> None:
    folder = write(tmp_path / "own", [pair(0), pair(1)])
    with pytest.raises(ConfigError, match="'nobody' is to be held out"):
        parts_of(NucleiConfig(folder, test=("nobody",), validation=()))
    with pytest.raises(ConfigError, match="leave no labelled object"):
        parts_of(NucleiConfig(folder, test=("cell00", "cell01"), validation=()))


def test_the_command_says_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = str(tmp_path / "nowhere")
    status = main(["nuclei", "--data", missing, "--output", str(tmp_path / "out")])
    assert status == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "there is no such folder" in said


def test_a_short_training_learns_and_exports_a_package_that_runs(
    tmp_path: Path,
) -> None:
    pytest.importorskip("torch")
    from smartscope.inference import load_model

    folder = write(tmp_path / "own", [pair(k) for k in range(14)])
    config = NucleiConfig(
        folder,
        steps=30,
        test=("cell12", "cell13"),
        validation=("cell11",),
        widths=(8, 12),
        head=8,
        crops=SMALL,
        warm=0.3,
        threads=1,
    )
    checkpoint = tmp_path / "state.pt"
    trained = train_nuclei(config, checkpoint=checkpoint)
    assert np.isfinite(trained.losses).all()
    again = train_nuclei(config)
    assert again.losses == pytest.approx(trained.losses, rel=1e-3)

    scores = export_nuclei(trained, tmp_path / "out", timestamp="2026-01-01T00:00:00")
    assert scores["onnxruntime"].images == 2
    model = load_model(tmp_path / "out", runtime="onnxruntime", threads=1)
    assert model.decoder.kind == "stardist"
    assert model.decoder.options["grid"] == 2
    assert disagreement(model) < 1e-4
    found = model.run(pair(20, 77).image)[0]
    assert found.shape == (33, 39, 39)
    assert 0 <= found[0].min() <= found[0].max() <= 1
    assert found[1:].min() > 0
    model.close()
    record = json.loads(
        (tmp_path / "out" / "training.json").read_text(encoding="utf-8")
    )
    assert record["steps"] == 30
    assert record["data"]["test"]["names"] == ["cell12", "cell13"]


def test_more_steps_lower_the_loss() -> None:
    torch = pytest.importorskip("torch")
    from smartscope.training._loop import Schedule, fit
    from smartscope.training._losses import star_loss
    from smartscope.training._nets import StarNet

    torch.manual_seed(0)
    batches = StarBatches([pair(k) for k in range(4)], SMALL, seed=0)
    net = StarNet(widths=(8, 12), head=8)
    tensors = {name: torch.from_numpy(array) for name, array in batches(999).items()}
    before = float(star_loss(net, tensors)[0].detach())
    fitted = fit(
        net, batches, star_loss, Schedule(steps=60, rate=1e-2, warm=0.2, threads=1)
    )
    after = float(star_loss(fitted.net, tensors)[0].detach())
    assert after < 0.75 * before


def test_an_interrupted_training_goes_on_as_if_nothing_had_happened(
    tmp_path: Path,
) -> None:
    torch = pytest.importorskip("torch")
    from smartscope.training._loop import Schedule, fit
    from smartscope.training._losses import star_loss
    from smartscope.training._nets import StarNet

    batches = StarBatches([pair(k) for k in range(4)], SMALL, seed=0)
    schedule = Schedule(steps=6, threads=1)

    def trained(make: Any, checkpoint: Path | None) -> Any:
        torch.manual_seed(0)
        net = StarNet(widths=(8, 12), head=8)
        return fit(
            net, make, star_loss, schedule, checkpoint=checkpoint, checkpoint_every=2
        ).net

    def interrupted(step: int) -> Any:
        if step == 5:
            raise KeyboardInterrupt
        return batches(step)

    whole = trained(batches, None).state_dict()
    state = tmp_path / "state.pt"
    with pytest.raises(KeyboardInterrupt):
        trained(interrupted, state)
    resumed = trained(batches, state).state_dict()
    assert all(
        torch.allclose(whole[name], resumed[name], rtol=1e-3, atol=1e-5)
        for name in whole
    )


shipped = pytest.mark.skipif(
    not SHIPPED.is_dir(), reason="needs a checkout with models/"
)


@shipped
def test_the_shipped_package_is_small_and_says_what_it_is() -> None:
    from smartscope.inference import load_model

    size = sum(path.stat().st_size for path in SHIPPED.iterdir())
    assert size < 2_000_000
    model = load_model(SHIPPED, runtime="onnxruntime", threads=1)
    card = model.card
    model.close()
    assert card.decoder.kind == "stardist"
    assert card.licence == "BSD-3-Clause"
    assert card.training["metrics"]["onnxruntime"]["f1"]["0.5"] >= 0.88
    assert card.training["metrics"]["onnxruntime"]["f1"]["0.7"] >= 0.76
    assert "CC0" in card.documentation
    record = json.loads((SHIPPED / "training.json").read_text(encoding="utf-8"))
    assert tuple(record["data"]["test"]["names"]) == committed("dsb2018_test")
    held = {*committed("dsb2018_test"), *committed("dsb2018_validation")}
    assert held.isdisjoint(record["data"]["train"]["names"])


@shipped
@pytest.mark.parametrize(
    ("runtime", "error"),
    [
        ("onnxruntime", 1e-3),
        ("onnxruntime-int8", 0.05),
        ("openvino-bf16", 0.05),
        ("openvino-int8", 0.05),
    ],
)
def test_the_shipped_package_reproduces_its_test_tensors(
    runtime: str, error: float
) -> None:
    from smartscope.inference import available, load_model

    model = load_model(SHIPPED, runtime=runtime, threads=1)
    lack = dict(available(model.weights))[runtime]
    if lack is not None:
        pytest.skip(f"{runtime}: {lack}")
    assert disagreement(model) < error
    model.close()


@shipped
def test_the_shipped_package_finds_nuclei_it_never_saw(tmp_path: Path) -> None:
    pairs = [pair(k, 96) for k in range(40, 44)]
    scores = evaluate_package(SHIPPED, pairs, runtime="onnxruntime", threads=1)
    assert scores.f1(0.5) > 0.95
    assert diameter_px(pairs[0].labels) > 10
