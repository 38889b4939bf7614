"""Learned models in the vision pipeline, and in whole runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from tiny_onnx import UFISH, UNET, folder, network, package_04, package_05

from smartscope import replay, run
from smartscope.config import Experiment, StageUse, load_experiment, load_rig
from smartscope.core import (
    ConfigError,
    Frame,
    HardwareState,
    ModelError,
    PixelMap,
    View,
)
from smartscope.vision import build_pipeline

DEMO = Path(__file__).parents[2] / "demo_configs"
FILM = DEMO / "recordings/sirdna_nuclei/images.tif"
SIZES = {"y": {"min": 8, "step": 4}, "x": {"min": 8, "step": 4}}
EIGHT_BIT = ["scale_range", {"scale_linear": {"gain": 255}}]


def pipeline(*stages, base_dir=Path()):
    uses = [StageUse.model_validate(stage) for stage in stages]
    return build_pipeline(uses, seed=0, base_dir=base_dir, channels=("SiR-DNA",))


def see(pipe, pixels, *, um=1.0):
    """Observation of one image."""
    pixels = np.ascontiguousarray(pixels)
    pixels.setflags(write=False)
    frame = Frame(
        frame_id=0,
        pixels=pixels,
        view=View(),
        state=HardwareState(channel="SiR-DNA"),
        pixel_map=PixelMap(((um, 0.0), (0.0, um)), (0.0, 0.0)),
    )
    return pipe.see(frame, 0.0)


def net(path, op="Identity"):
    """A bare network for any size."""
    path.write_bytes(network(op, [1, 1, "y", "x"]))
    return str(path)


def overlap_f1(found, reference):
    """F1 of objects that share more than half of their union."""
    hits = 0
    for label in range(1, found.max() + 1):
        mask = found == label
        count = np.bincount(reference[mask], minlength=2)
        other = int(count[1:].argmax()) + 1
        hits += count[other] > 0.5 * (mask | (reference == other)).sum()
    return 2 * hits / (found.max() + reference.max())


def test_real_nuclei_are_segmented():
    learned = pipeline({"segment": {"model": str(UNET)}})
    classical = pipeline("segment")
    images = tifffile.imread(FILM)
    for image in images[[0, 2, 4]]:
        seen = see(learned, image, um=0.634)
        # 39 to 50 are labelled in the source's own (generous) annotation.
        assert 33 <= len(seen.detections) <= 52
        labels = seen.pictures.labels
        assert labels.max() == len(seen.detections)
        assert labels.shape == image.shape
        assert ((seen.detections.score > 0.5) & (seen.detections.score <= 1)).all()
        # Two methods that have nothing in common see the same nuclei.
        reference = see(classical, image, um=0.634).pictures.labels
        assert overlap_f1(labels, reference) > 0.85


def test_a_threshold_of_the_experiment_the_package_or_one_half(tmp_path):
    image = np.zeros((40, 40), dtype=np.uint16)
    # An identity network: probabilities 0.3, 0.6 and 0.9 from counts.
    for n, count in enumerate((3, 6, 9)):
        image[5:15, 12 * n + 2 : 12 * n + 10] = count
    tenth = [{"id": "scale_linear", "kwargs": {"gain": 0.1}}]
    content = {}
    for threshold in (None, 0.2):
        decoder = {"kind": "mask"} | ({"threshold": threshold} if threshold else {})
        files = package_05(SIZES, "bcyx", config={"smartscope": {"decoder": decoder}})
        content[threshold] = folder(tmp_path / f"net{threshold}", files)

    def count(path, **more):
        use = {"path": str(path)}
        stage = {"segment": {"model": use, "min_area_um2": 4, **more}}
        # `Abs` of a picture of 0..1 is itself; the denoiser before it scales.
        scale = {"path": net(tmp_path / "one.onnx"), "preprocessing": tenth}
        return len(
            see(pipeline({"denoise": {"model": scale}}, stage), image).detections
        )

    assert count(content[None]) == 2
    assert count(content[0.2]) == 3
    assert count(content[0.2], threshold=0.8) == 1


def test_touching_objects_are_split_and_areas_hold(tmp_path):
    y, x = np.indices((60, 80))
    image = np.zeros((60, 80), dtype=np.uint16)
    for cy, cx, r in ((30, 20, 9), (30, 36, 9), (30, 60, 9), (10, 10, 2)):
        image[(y - cy) ** 2 + (x - cx) ** 2 < r * r] = 1
    stage = {"model": net(tmp_path / "net.onnx"), "min_area_um2": 30}
    assert len(see(pipeline({"segment": stage}), image).detections) == 3
    whole = stage | {"split": "none"}
    assert len(see(pipeline({"segment": whole}), image).detections) == 2
    small = stage | {"min_area_um2": 5}
    assert len(see(pipeline({"segment": small}), image).detections) == 4


def test_denoise_puts_the_restored_image_in_place(tmp_path):
    twice = {
        "path": net(tmp_path / "net.onnx", "Abs"),
        "postprocessing": [{"scale_linear": {"gain": 2}}],
    }
    image = np.random.default_rng(0).integers(100, 900, (30, 34)).astype(np.uint16)
    seen = see(pipeline({"denoise": {"model": twice}}, "spots"), image)
    assert (seen.pictures.processed == 2.0 * image).all()
    assert (seen.pictures.raw["SiR-DNA"] == image).all()


def spots_image(seed):
    """56 diffraction-limited spots on a noisy background, and where they are."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((150, 170))
    rows, columns = np.mgrid[12:150:20, 12:170:20]
    truth = np.column_stack([rows.ravel(), columns.ravel()])
    truth = truth + rng.uniform(-4, 4, truth.shape)
    image = np.full(y.shape, 100.0)
    for cy, cx in truth:
        blur = np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * 1.3**2))
        image += rng.uniform(80, 250) * blur
    return rng.poisson(image).astype(np.uint16), truth


def test_spots_of_a_learned_map():
    image, truth = spots_image(1)
    model = {"path": str(UFISH), "preprocessing": EIGHT_BIT}
    pipe = pipeline({"spots": {"radius_um": 2, "model": model}})
    found = see(pipe, image).detections
    assert len(found) == len(truth) == 56
    apart = np.hypot(
        found.y_px[:, None] - truth[:, 0], found.x_px[:, None] - truth[:, 1]
    )
    assert (apart.min(axis=0) < 1).all() and (apart.min(axis=1) < 1).all()
    assert (found.score >= 0.5).all()
    empty = np.random.default_rng(2).poisson(np.full((80, 90), 100.0))
    assert len(see(pipe, empty.astype(np.uint16)).detections) == 0
    high = pipeline({"spots": {"radius_um": 2, "threshold": 1.0, "model": model}})
    assert 0 < len(see(high, image).detections) < 56


def test_output_and_channel_are_chosen(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(network("Abs", ["y", "x"]))
    use = {"path": str(path), "axes": "yx"}
    image = np.ones((20, 20), dtype=np.uint16)
    see(pipeline({"denoise": {"model": use | {"channel": 0}}}), image)
    pipe = pipeline({"denoise": {"model": use | {"channel": 1}}})
    with pytest.raises(ModelError, match="output 0 has 1 channels, not channel 1"):
        see(pipe, image)
    with pytest.raises(ConfigError, match="there is no output 1; the model has 1"):
        pipeline({"denoise": {"model": use | {"output": 1}}})


def test_a_camera_larger_than_the_network_is_tiled():
    pipe = pipeline({"segment": {"model": str(UNET), "runtime": "onnxruntime"}})
    pipe.warm_up((540, 520))
    # The same nuclei in each corner; none is lost or doubled at a seam.
    image = tifffile.imread(FILM)[0]
    alone = see(pipe, np.pad(image, ((0, 340), (0, 320)), mode="reflect"), um=0.634)
    assert alone.pictures.labels.shape == (540, 520)
    corner = pipeline({"segment": {"model": str(UNET)}})
    one = see(corner, image, um=0.634)
    _, cut = np.unique(alone.pictures.labels[:200, :200], return_inverse=True)
    assert overlap_f1(cut.reshape(200, 200), one.pictures.labels) > 0.9


WRONG = {
    "method": (
        {"segment": {"model": "net", "method": "otsu"}},
        "vision.0.segment: 'method' does not go with 'model'; leave one",
    ),
    "contrast": (
        {"segment": {"model": "net", "min_contrast": 3}},
        "'min_contrast' does not go with 'model'",
    ),
    "threshold alone": (
        {"segment": {"threshold": 0.4}},
        "'threshold' belongs to 'model'; the classical is 'level'",
    ),
    "threshold range": (
        {"segment": {"model": "map", "threshold": 2}},
        "vision.0.segment.*'threshold' is a probability, between 0 and 1 .found 2",
    ),
    "sigma": (
        {"denoise": {"model": "net", "sigma_um": 1}},
        "vision.0.denoise: 'sigma_um' does not go with 'model'",
    ),
    "key of model": (
        {"spots": {"model": {"path": "net", "axis": "yx"}}},
        "vision.0.spots.model.axis",
    ),
    "nothing there": (
        {"spots": {"model": "none.zip"}},
        "vision.0.spots.model: there is no model 'none.zip'; give a path",
    ),
    "weights": (
        {"denoise": {"model": "net"}},
        "vision.0.denoise.model: .*weights.onnx.source: there is no 'net.onnx' in",
    ),
    "other stage": (
        {"segment": {"model": "spots"}},
        "vision.0.segment.model: .*gives 'spots', this stage needs 'mask'.* or .*; "
        "use it in 'spots', 'detect' or 'localise'",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_one_sentence_each(name, tmp_path):
    stage, expected = WRONG[name]
    broken = package_04()
    del broken["net.onnx"]
    folder(tmp_path / "net", broken)
    heat = {"smartscope": {"decoder": "spots"}}
    folder(tmp_path / "spots", package_05(SIZES, "bcyx", config=heat))
    folder(tmp_path / "map", package_05(SIZES, "bcyx"))
    with pytest.raises(ConfigError, match=expected) as caught:
        pipeline(stage, base_dir=tmp_path)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


@pytest.fixture
def with_model(tmp_path) -> Experiment:
    """The shipped experiment on real pixels, with a model beside its file."""
    lab = tmp_path / "lab"
    shutil.copytree(UNET, lab / "models/nuclei")
    text = (DEMO / "replay.yaml").read_text(encoding="utf-8")
    first = text.index("  - background:")
    last = text.index("  - measure")
    stage = "  - segment: {model: models/nuclei, threshold: 0.6}\n"
    file = lab / "learned.yaml"
    file.write_text(text[:first] + stage + text[last:], encoding="utf-8")
    return load_experiment(file)


def test_a_run_with_a_model_is_seen_again_exactly(with_model, tmp_path, monkeypatch):
    rig = load_rig(DEMO / "recording_rig.yaml")
    result = run(with_model, rig=rig, output=tmp_path / "runs")
    assert result.outcome == "completed", result.message
    monkeypatch.chdir(tmp_path)
    again = replay(result.path, vision=True)
    assert again.identical, again.differences
    assert again.observations == 6


def test_a_wrong_model_is_named_with_its_line(with_model, tmp_path):
    (tmp_path / "lab/models/nuclei/weights.onnx").unlink()
    rig = load_rig(DEMO / "recording_rig.yaml")
    with pytest.raises(ConfigError) as caught:
        run(with_model, rig=rig, output=tmp_path / "runs")
    text = str(caught.value)
    assert "learned.yaml, line " in text and "there is no 'weights.onnx'" in text
    assert not (tmp_path / "runs").exists()
