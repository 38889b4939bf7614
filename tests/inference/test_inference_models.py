"""Models run: reference outputs, axes, sizes, operations."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import yaml
from tiny_onnx import (
    UFISH,
    UNET,
    files,
    folder,
    network,
    package_04,
    package_05,
    zipped,
)

from smartscope.core import ModelError
from smartscope.inference import Decoder, default_threads, load_model
from smartscope.inference._operations import Context


def ramp(*shape):
    """Every pixel its own value, half of them negative."""
    count = int(np.prod(shape))
    return (np.arange(count, dtype=np.float32) - count / 2).reshape(shape)


def test_a_real_package_gives_its_reference_output():
    model = load_model(UNET, runtime="onnxruntime")
    assert model.name == "UNet 2D Nuclei Broad"
    weights = (UNET / "weights.onnx").read_bytes()
    assert model.weights[0].sha256 == hashlib.sha256(weights).hexdigest()
    agreement = model.check()
    assert agreement.relative < 1e-4 and agreement.absolute < 1e-4
    assert model.runtime.name.startswith("onnxruntime ")


def test_a_wrong_reference_output_is_seen(tmp_path):
    content = {p.name: p.read_bytes() for p in UNET.iterdir()}
    content["test_output.npy"] = content["test_input.npy"]
    del content["bioimageio.yaml"]
    rdf = (UNET / "bioimageio.yaml").read_text(encoding="utf-8")
    content["bioimageio.yaml"] = _without_hashes(rdf)
    model = load_model(folder(tmp_path / "unet", content), runtime="onnxruntime")
    assert model.check().absolute > 1000


def _without_hashes(rdf):
    lines = [line for line in rdf.splitlines() if "sha256" not in line]
    return "\n".join(lines).encode()


@pytest.mark.parametrize("inner", ["", "absolute/"])
def test_zip_and_folder_are_the_same_model(tmp_path, inner):
    content = package_04()
    one = load_model(folder(tmp_path / "abs", content), runtime="onnxruntime")
    inside = {inner + name: data for name, data in content.items()}
    other = load_model(zipped(tmp_path / "abs.zip", inside), runtime="onnxruntime")
    assert one.check().absolute == other.check().absolute == 0.0
    assert one.weights[0].sha256 == other.weights[0].sha256
    assert (one.run(ramp(8, 9))[0] == other.run(ramp(8, 9))[0]).all()


@pytest.mark.parametrize("order", ["bcyx", "byxc", "bxyc", "bcxy"])
def test_axes_in_any_order(tmp_path, order):
    model = load_model(folder(tmp_path / "abs", package_04(order)))
    assert model.check().absolute == 0.0
    image = ramp(9, 17)
    (out,) = model.run(image)
    assert out.shape == (1, 9, 17) and (out[0] == np.abs(image)).all()


@pytest.mark.parametrize("order", ["yx", "xy", "cyx", "byx"])
def test_axes_may_be_missing(tmp_path, order):
    path = tmp_path / "net.onnx"
    sizes = [n if n in "yx" else 1 for n in order]
    path.write_bytes(network("Abs", sizes))
    (out,) = load_model(path, axes=order).run(ramp(5, 6))
    assert (out == np.abs(ramp(1, 5, 6))).all()


SIZES = {
    "fixed": ({"y": 16, "x": 24}, (10, 24), (16, 24)),
    "steps": (
        {"y": {"min": 8, "step": 8}, "x": {"min": 10, "step": 3}},
        (9, 14),
        (16, 16),
    ),
    "below the least": (
        {"y": {"min": 8, "step": 8}, "x": {"min": 8, "step": 8}},
        (1, 2),
        (8, 8),
    ),
}


@pytest.mark.parametrize("name", SIZES)
def test_images_are_padded_and_cut_back(tmp_path, name):
    sizes, shape, padded = SIZES[name]
    model = load_model(folder(tmp_path / "abs", package_05(sizes, "bcyx")))
    image = ramp(*shape)
    image.setflags(write=False)
    (out,) = model.run(image)
    assert model.verdict.shapes == ((1, 1, *padded),)
    assert (out[0] == np.abs(image)).all()


def test_padding_is_by_reflection(tmp_path):
    """Of zeros around the image the largest value would notice nothing."""
    path = tmp_path / "net.onnx"
    path.write_bytes(network("Abs", [1, 1, 4, 8]))
    model = load_model(path)
    model.run(np.array([[1, 2, 3, 4], [5, 6, 7, 8]], dtype=np.float32))
    expected = np.pad([[1, 2, 3, 4], [5, 6, 7, 8]], ((1, 1), (2, 2)), "reflect")
    (array,) = model.runtime.prepare([(1, 1, 4, 8)])
    assert (array[0, 0] == expected).all()


def test_outputs_belong_to_the_model(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(network("Abs", [1, 1, "y", "x"]))
    model = load_model(path)
    (first,) = model.run(ramp(4, 4))
    assert (first[0] == np.abs(ramp(4, 4))).all()
    (second,) = model.run(ramp(4, 4) + 1)
    assert (second[0] == np.abs(ramp(4, 4) + 1)).all()
    assert model.run(ramp(3, 7))[0].shape == (1, 3, 7)


def test_wrong_number_of_channels_is_refused():
    with pytest.raises(ModelError, match=r"wants 1 channel\(s\) .* the image is 2 x"):
        load_model(UNET).run(np.zeros((2, 512, 512), dtype=np.float32))


def test_what_is_not_finite_is_refused(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(network("Log", [1, 1, "y", "x"]))
    with pytest.raises(ModelError, match=r"net\.onnx: .*not finite"):
        load_model(path).run(ramp(4, 4))


@pytest.mark.parametrize(
    ("decoder", "refused"),
    [
        (Decoder("stardist", channel=0), False),
        (Decoder("stardist", channel=1), True),
        (Decoder("stardist", output=1, options={"rays_output": 0}), False),
        (Decoder("mask", channel=0), True),
        (Decoder(), True),
    ],
)
def test_all_that_a_decoder_reads_must_be_finite(decoder, refused):
    image = np.zeros((3, 4, 4), np.float32)
    image[1, 2, 2] = np.nan
    output = load_model(UFISH).outputs[0]
    output = replace(output, operations=())
    if refused:
        with pytest.raises(ModelError, match="not finite"):
            output.finish(image, Context({}), read=decoder.read(0))
    else:
        assert output.finish(image, Context({}), read=decoder.read(0)) is image


def test_an_output_of_another_size_is_refused(tmp_path):
    free = {"min": 1, "step": 1}
    content = package_05({"y": free, "x": free}, "bcyx")
    rdf = yaml.safe_load(content["bioimageio.yaml"])
    del rdf["weights"]["onnx"]["sha256"]
    pooled = network("GlobalMaxPool", [1, 1, "y", "x"], out=[1, 1, "a", "b"])
    model = load_model(folder(tmp_path / "abs", files(rdf, pooled)))
    with pytest.raises(ModelError, match=r"has 1 pixels along y; for 4 of the input"):
        model.run(ramp(4, 4))


def test_the_same_image_gives_the_same_bits():
    image = np.random.default_rng(3).normal(500, 80, (64, 70)).astype(np.float32)
    one, other = (load_model(UFISH).run(image)[0].copy() for _ in range(2))
    assert one.shape == (1, 64, 70) and np.ptp(one) > 0
    assert one.tobytes() == other.tobytes()


IMAGE = np.array([[[0, 1, 2], [3, 4, 10]]], dtype=np.float32)
OPERATIONS = {
    "zero_mean_unit_variance": (
        {"zero_mean_unit_variance": {"axes": ["x", "y"]}},
        (IMAGE - IMAGE.mean()) / IMAGE.std(),
    ),
    "along one axis": (
        {"zero_mean_unit_variance": {"axes": "x"}},
        (IMAGE - IMAGE.mean(2, keepdims=True)) / IMAGE.std(2, keepdims=True),
    ),
    "scale_range": ("scale_range", IMAGE / 10),
    "percentiles": (
        {"id": "scale_range", "kwargs": {"min_percentile": 20, "max_percentile": 80}},
        (IMAGE - 1) / 3,
    ),
    "scale_linear": ({"scale_linear": {"gain": 2, "offset": -1}}, 2 * IMAGE - 1),
    "by channel": (
        {"scale_linear": {"gain": [3.0], "offset": [1.0], "axis": "channel"}},
        3 * IMAGE + 1,
    ),
    "clip": ({"clip": {"min": 1, "max": 3}}, np.clip(IMAGE, 1, 3)),
    "sigmoid": ({"name": "sigmoid"}, 1 / (1 + np.exp(-IMAGE))),
    "binarize": ({"binarize": {"threshold": 2}}, IMAGE > 2),
    "ensure_dtype": (
        [{"scale_linear": {"gain": -30.5}}, {"ensure_dtype": {"dtype": "int8"}}],
        [[[0, -30, -61], [-91, -122, -128]]],
    ),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations(tmp_path, name):
    steps, expected = OPERATIONS[name]
    path = tmp_path / "net.onnx"
    path.write_bytes(network("Identity", [1, 1, "y", "x"]))
    steps = steps if isinstance(steps, list) else [steps]
    for place in ("preprocessing", "postprocessing"):
        (out,) = load_model(path, **{place: steps}).run(IMAGE)
        assert out.dtype == np.float32
        np.testing.assert_allclose(out, np.asarray(expected, np.float32), atol=1e-5)


def test_threads_leave_cores_for_the_camera(monkeypatch):
    for cores, threads in ((None, 1), (1, 1), (2, 1), (3, 1), (16, 8)):
        monkeypatch.setattr("os.cpu_count", lambda cores=cores: cores)
        assert default_threads() == threads


def test_runtimes_cost_nothing_until_a_model_is_loaded():
    code = (
        "import sys, smartscope.inference\n"
        "from smartscope.vision import build_pipeline\n"
        "from pathlib import Path\n"
        "from smartscope.config import StageUse\n"
        "stages = [StageUse(use=name) for name in ('denoise', 'segment', 'spots')]\n"
        "build_pipeline(stages, seed=0, base_dir=Path(), channels=())\n"
        "assert 'onnxruntime' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_missing_runtime_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModelError, match="install it with: pip install onnxruntime"):
        load_model(UFISH)
