"""Engines built without a card; refusals in one sentence, before TensorRT is asked."""

from __future__ import annotations

import json
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from runtime_nets import sum_and_product, weights
from tiny_onnx import UNET, network
from trt_networks import as_weights, convolutional, single

from smartscope.core import ModelError
from smartscope.inference._engines import ALL_CAPABILITIES, EngineTensor, Recipe
from smartscope.inference._trt import first_words, load_tensorrt
from smartscope.inference._trt_build import build_engine
from smartscope.inference._trt_report import build

rtx = pytest.importorskip("tensorrt_rtx")

THREE = ((1, 1, 16, 16), (1, 1, 64, 64), (1, 1, 128, 128))
FIXED = ((1, 1, 64, 64),) * 3


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("sm", [(86,), ALL_CAPABILITIES])
def test_a_dynamic_network_builds_with_a_profile(sm, precision):
    recipe = Recipe(sm=sm, precision=precision, profiles=(THREE,))
    engine = build_engine(as_weights(convolutional()), recipe)
    assert engine.card.tensors == (
        EngineTensor("image", "input", "float32", (1, 1, None, None)),
        EngineTensor("map", "output", "float32", (1, 1, None, None)),
    )
    assert engine.card.runtime == f"tensorrt-rtx {rtx.__version__}"
    assert len(engine.content) > 10_000


def test_one_size_makes_everything_fixed():
    recipe = Recipe(sm=(86,), profiles=(FIXED,))
    engine = build_engine(as_weights(convolutional(heads=3)), recipe)
    assert [t.shape for t in engine.card.tensors] == [(1, 1, 64, 64), (1, 3, 64, 64)]


def test_a_fixed_network_needs_no_profile():
    engine = build_engine(as_weights(convolutional((1, 1, 32, 32))), Recipe(sm=(89,)))
    assert engine.card.tensors[0].shape == (1, 1, 32, 32)
    assert engine.card.target == "compute capability 8.9"


def test_networks_with_several_inputs_and_outputs_build():
    recipe = Recipe(sm=(86,), profiles=(THREE, THREE))
    engine = build_engine(sum_and_product(), recipe)
    assert [t.name for t in engine.card.tensors] == ["in0", "in1", "total", "product"]


def test_weights_that_are_quantised_already_are_taken_as_they_are():
    from smartscope.inference._quantise import quantise

    given = [[np.random.default_rng(0).normal(size=(1, 1, 32, 32)).astype(np.float32)]]
    content = quantise(
        convolutional((1, 1, 32, 32)).SerializeToString(), given, unsigned=False
    )
    engine = build_engine(
        weights(content, precision="int8"), Recipe(sm=(86,), precision="int8")
    )
    assert "measure it against fp16" in engine.card.notes[0]
    with pytest.raises(ModelError, match="are int8 already, fp16 is wanted"):
        build_engine(
            weights(content, precision="int8"), Recipe(sm=(86,), precision="fp16")
        )


def quantised_bias():
    bias = numpy_helper.from_array(np.zeros(4, np.int32), "bias")
    scale = numpy_helper.from_array(np.ones((), np.float32), "scale")
    node = onnx.helper.make_node("DequantizeLinear", ["bias", "scale"], ["b"])
    ports = [
        onnx.helper.make_tensor_value_info(n, TensorProto.FLOAT, (4,)) for n in "xy"
    ]
    add = onnx.helper.make_node("Add", ["x", "b"], ["y"])
    graph = onnx.helper.make_graph(
        [node, add], "g", ports[:1], ports[1:], [bias, scale]
    )
    return as_weights(
        onnx.helper.make_model(
            graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8
        )
    )


def other_domain():
    model = onnx.load_model_from_string(single("Relu").content)
    model.graph.node[0].domain = "com.microsoft"
    model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    return as_weights(model)


SIXTEEN = {"dtype": TensorProto.UINT16, "to": TensorProto.FLOAT}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            lambda: single("Cast", **SIXTEEN),
            "tensor 'in0' is uint16, which TensorRT does not take; fold the camera in",
        ),
        (
            lambda: single("Cast", **{**SIXTEEN, "dtype": TensorProto.INT16}),
            "tensor 'in0' is int16",
        ),
        (
            lambda: single("DFT"),
            r"TensorRT has nothing for node 'only' \(DFT\); export the Fourier "
            "transform as two matrix products",
        ),
        (
            lambda: single("Det"),
            r"nothing for node 'only' \(Det\); export that part with plain operators",
        ),
        (quantised_bias, "'bias' is a bias quantised to 32 bits.*QuantizeBias=False"),
        (other_domain, "is of 'com.microsoft', which TensorRT does not know"),
        (lambda: single("Relu", opset=6), "operator set 6 is older than TensorRT"),
        (lambda: weights(b"nothing"), "not a sound ONNX file"),
        (
            lambda: weights(convolutional().SerializeToString()[:-200]),
            "not a sound ONNX file",
        ),
        (
            lambda: weights(b"", kind="torchscript"),
            "TensorRT takes ONNX weights, these are torchscript",
        ),
    ],
)
def test_known_refusals_are_explained(given, sentence):
    with pytest.raises(ModelError, match=sentence) as told:
        build_engine(given(), Recipe(sm=(86,)))
    assert str(told.value).startswith("net.onnx: ")
    assert "\n" not in str(told.value)


def test_errors_of_the_parser_name_the_node_once():
    # TensorRT tells this one twice.
    given = single("MaxPool", kernel_shape=[2, 2], strides=[1, 1], dilations=[2, 2])
    with pytest.raises(ModelError) as told:
        build_engine(given, Recipe(sm=(86,)))
    text = str(told.value)
    assert text.startswith("net.onnx: tensorrt-rtx ")
    assert text.count("node 'only' (MaxPool): ") == 1
    assert "does not support dilations other than 1" in text
    assert text.endswith("; export that part with plain operators at opset 17")
    assert "\n" not in text


@pytest.mark.parametrize(
    ("shape", "profiles", "sentence"),
    [
        (
            ("b", 1, "y", "x"),
            (),
            "input 'image' takes several sizes, and none is named",
        ),
        (("b", 1, "y", "x"), (THREE, THREE), "1 inputs, 2 shapes are given"),
        (("b", 1, "y", "x"), (THREE[::-1],), "profile of 'image' does not rise"),
        ((1, 1, 32, 32), (FIXED,), r"takes \(1, 1, 32, 32\), the profile says"),
        (("b", 1, "y", "x"), (((1, 64, 64),) * 3,), r"takes \(any, 1, any, any\)"),
        (("b", 1, "y", "x"), (((1, 1, 0, 64),) * 3,), r"says \(1, 1, 0, 64\)"),
    ],
)
def test_profiles_are_held_against_the_network(shape, profiles, sentence):
    with pytest.raises(ModelError, match=sentence):
        build_engine(
            as_weights(convolutional(shape)), Recipe(sm=(86,), profiles=profiles)
        )


@pytest.mark.parametrize(
    ("recipe", "sentence"),
    [
        (Recipe(sm=(90,)), "does not build for compute capability 90; use some of 75"),
        (Recipe(sm=()), "no compute capability is named"),
        (Recipe(sm=(86,), precision="fp8"), "need compute capability 89, 86 is named"),
        (Recipe(sm=(86,), precision="bf16"), "engines are not built in bf16"),
        (Recipe(sm=(86,), precision="int8"), "int8 needs calibration images"),
    ],
)
def test_recipes_are_held_against_tensorrt(recipe, sentence):
    with pytest.raises(ModelError, match=sentence):
        build_engine(as_weights(convolutional((1, 1, 32, 32))), recipe)


def test_a_workspace_can_be_limited():
    recipe = Recipe(sm=(86,), workspace_mb=64)
    engine = build_engine(as_weights(convolutional((1, 1, 32, 32))), recipe)
    assert engine.content != b""


@pytest.mark.parametrize("flavour", ["tensorrt-rtx", "tensorrt"])
def test_a_tensorrt_that_is_not_there_says_what_to_install(flavour, monkeypatch):
    monkeypatch.setitem(sys.modules, flavour.replace("-", "_"), None)
    wanted = rf"{flavour} cannot be imported .*pip install smartscope\[{flavour}\]"
    with pytest.raises(ModelError, match=wanted):
        load_tensorrt(flavour)


def test_an_unknown_tensorrt_is_refused():
    with pytest.raises(ModelError, match="no TensorRT called 'lean'; known: tens"):
        load_tensorrt("lean")


def test_what_is_installed_is_asked_and_not_its_version():
    trt = load_tensorrt("tensorrt-rtx")
    assert trt.ahead_of_time
    assert set(ALL_CAPABILITIES) <= set(trt.capabilities())
    strong = rtx.NetworkDefinitionCreationFlag.STRONGLY_TYPED
    assert trt.network_flags() == 1 << int(strong)


def test_many_messages_become_one_line():
    told = first_words(["one.", "two\n  lines", "one.", "three", "four"])
    assert told == "one; two lines; three and 1 more"
    assert first_words([]) == "it gives no reason"
    assert len(first_words(["x" * 999])) < 310


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SMARTSCOPE_CACHE", str(tmp_path))
    return tmp_path / "engines"


def test_a_model_is_built_once(cache):
    first = build(UNET, sm=(86,), precision="fp32")
    again = build(UNET, sm=(86,), precision="fp32")
    assert (first.kept, again.kept) == (False, True)
    assert first.path == again.path
    assert first.path.parent == cache
    assert first.size_mb == pytest.approx(first.path.stat().st_size / 1e6)
    assert sorted(p.suffix for p in cache.iterdir()) == [".engine", ".json"]
    card = json.loads(first.path.with_suffix(".json").read_text())
    assert card["runtime"] == first.runtime
    assert card["target"] == "compute capability 8.6"
    assert [t["name"] for t in card["tensors"]] == [t.name for t in first.tensors]


def test_processing_of_a_package_goes_into_the_engine(cache):
    report = build(UNET, sm=(86,), camera="uint16")
    assert report.precision == "fp16"
    assert [(t.name, t.dtype) for t in report.tensors[:3]] == [
        ("frame", "uint8"),
        ("gain", "float32"),
        ("offset", "float32"),
    ]
    assert report.tensors[0].shape == (1, 1, 512, 512, 2)
    assert report.path != build(UNET, sm=(86,)).path


def test_calibration_images_are_raw(cache):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 4000, (512, 512)).astype(np.uint16)]
    report = build(UNET, sm=(86,), precision="int8", calibration=images)
    assert report.precision == "int8"
    other = [images[0][::-1]]
    assert (
        build(UNET, sm=(86,), precision="int8", calibration=other).path != report.path
    )


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"sizes": ((64, 64), (128, 128))}, "2 sizes are given"),
        ({"sizes": ((1024, 1024),)}, "does not take 1024 x 1024 pixels"),
        ({"camera": "uint32"}, "frames of type 'uint32' cannot be folded in"),
    ],
)
def test_what_a_model_does_not_take_is_refused(settings, sentence, cache):
    with pytest.raises(ModelError, match=sentence):
        build(UNET, **settings)


def test_a_file_is_written_where_it_is_wanted(tmp_path):
    file = tmp_path / "net.onnx"
    file.write_bytes(network("Relu", ["b", 1, "y", "x"]))
    wanted = tmp_path / "out/net.engine"
    report = build(file, sm=(86,), sizes=((32, 48),), output=wanted)
    assert report.path == wanted
    assert report.tensors[0].shape == (1, 1, 32, 48)
    assert sorted(p.name for p in wanted.parent.iterdir()) == ["net.engine", "net.json"]
