"""Folded networks give the numbers of network and NumPy, and TensorRT builds them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from trt_networks import as_weights, convolutional, frame_bytes, operations, ran

from smartscope.core import ModelError
from smartscope.inference._engines import Recipe
from smartscope.inference._fold import (
    Folding,
    Peaks,
    fold,
    foldable,
    frame_scale,
    inputs_of,
    scaling,
)
from smartscope.inference._trt_build import build_engine

RANGE = {"scale_range": {"min_percentile": 1, "max_percentile": 99.8}}
MEAN = {"zero_mean_unit_variance": {"axes": "yx"}}
SIGMOID = {"sigmoid": {}}


def camera_frame(channels, dtype=np.uint16, size=(16, 24), seed=3):
    """A frame that uses all bits of the camera."""
    rng = np.random.default_rng(seed)
    top = np.iinfo(dtype).max
    frame = rng.gamma(2, top / 12, (channels, *size)).clip(0, top).astype(dtype)
    frame[0, 0, :2] = 0, top
    return frame


def written(op, size):
    """A network of one operation on a tensor of this size."""
    return onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]>'
        f"net (float[{size}] image) => (float[{size}] out) {{ out = {op}(image) }}"
    )


def through(ops, image):
    """An image after operations on the host."""
    for operation in ops:
        image = operation(image)
    return image


def folded_run(model, folding, frame):
    """Outputs of the folded network for a frame ``(c, y, x)``."""
    tensor = frame_bytes(frame[np.newaxis])
    return ran(fold(model, folding, "net.onnx"), tensor, *frame_scale(folding, frame))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize(
    "before",
    [
        (),
        (RANGE,),
        (MEAN,),
        ({"ensure_dtype": {"dtype": "float32"}}, MEAN),
        (RANGE, {"clip": {"min": 0, "max": 1}}),
        (RANGE, {"scale_linear": {"gain": 2.0, "offset": -1.0}}, {"clip": {"min": -1}}),
        ({"clip": {"min": 10, "max": 90}}, {"scale_linear": {"gain": 0.01}}),
        ({"binarize": {"threshold": 100}},),
        ({"scale_linear": {"gain": 0.004, "offset": 1}}, SIGMOID),
    ],
    ids=str,
)
def test_bytes_in_give_the_numbers_of_the_host(before, dtype):
    model = convolutional()
    frame = camera_frame(1, np.dtype(dtype).type)
    ops = operations(*before)
    wanted = ran(model, through(ops, frame)[np.newaxis].astype(np.float32))
    got = folded_run(model, Folding(dtype, preprocessing=ops), frame)
    np.testing.assert_allclose(got[0], wanted[0], rtol=2e-5, atol=2e-5)


def test_every_count_of_the_camera_arrives_exactly():
    model = written("Identity", "1,1,256,256")
    frame = np.arange(65536, dtype=np.uint16).reshape(1, 256, 256)
    (got,) = folded_run(model, Folding("uint16"), frame)
    np.testing.assert_array_equal(got[0], frame.astype(np.float32))


def test_each_channel_has_its_gain_and_offset():
    model = convolutional(("b", 2, "y", "x"))
    frame = camera_frame(2)
    frame[1] //= 7
    ops = operations(MEAN, channels=2)
    folding = Folding("uint16", preprocessing=ops)
    gain, offset = frame_scale(folding, frame)
    assert gain.shape == offset.shape == (2,)
    assert gain[1] > 5 * gain[0]
    wanted = ran(model, through(ops, frame)[np.newaxis])
    got = folded_run(model, folding, frame)
    np.testing.assert_allclose(got[0], wanted[0], rtol=1e-4, atol=1e-5)


def test_axes_behind_the_channels_count():
    model = written("Relu", "1,16,24,2")
    frame = camera_frame(2)
    steps = {"scale_linear": {"gain": [2.0, 3.0], "axis": "channel"}}
    folding = Folding(
        "uint16",
        "byxc",
        operations({"clip": {"max": 500}}),
        (operations(steps, channels=2),),
    )
    last = np.ascontiguousarray(np.moveaxis(frame, 0, -1))[np.newaxis]
    ones, zeros = frame_scale(folding, frame)
    (got,) = ran(fold(model, folding, "n"), frame_bytes(last), ones, zeros)
    wanted = np.minimum(last, 500) * np.array([2.0, 3.0], np.float32)
    np.testing.assert_allclose(got, wanted)


@pytest.mark.parametrize(
    "after",
    [
        (SIGMOID,),
        ({"scale_linear": {"gain": 3.0, "offset": 1.0}}, {"clip": {"min": 0}}),
        (SIGMOID, {"binarize": {"threshold": 0.5}}),
        (
            {"scale_linear": {"gain": 90}},
            {"ensure_dtype": {"dtype": "uint8"}},
        ),
        ({"ensure_dtype": {"dtype": "bool"}},),
        ({"softmax": {"axis": "channel"}},),
    ],
    ids=str,
)
def test_post_processing_gives_the_numbers_of_the_host(after):
    model = convolutional(heads=3)
    image = np.random.default_rng(0).normal(0, 1, (1, 1, 16, 24)).astype(np.float32)
    ops = operations(*after, channels=3)
    wanted = through(ops, ran(model, image)[0][0])
    (got,) = ran(fold(model, Folding(postprocessing=(ops,)), "n"), image)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got[0], wanted, rtol=1e-5, atol=1e-6)


def test_kept_channels_come_in_the_order_asked_for():
    model = convolutional(heads=3)
    image = np.random.default_rng(0).normal(0, 1, (1, 1, 16, 24)).astype(np.float32)
    (whole,) = ran(model, image)
    folded = fold(model, Folding(keep={0: (2, 0)}), "net.onnx")
    dims = folded.graph.output[0].type.tensor_type.shape.dim
    assert dims[1].dim_value == 2
    np.testing.assert_array_equal(ran(folded, image)[0], whole[:, [2, 0]])


def test_peaks_are_the_local_maxima_best_first():
    model = convolutional((1, 1, 32, 32), heads=2, seed=5)
    image = np.random.default_rng(1).normal(0, 1, (1, 1, 32, 32)).astype(np.float32)
    ops = operations(SIGMOID, channels=2)
    heat = through(ops, ran(model, image)[0][0])[1]
    peaks = Peaks(channel=1, distance_px=2, threshold=0.5, most=40)
    folding = Folding(postprocessing=(ops,), peaks=peaks)
    score, index = ran(fold(model, folding, "net.onnx"), image)
    assert index.dtype == np.int32
    found = {int(i): float(s) for s, i in zip(score, index, strict=True) if s > 0}
    wanted = {}
    for y in range(32):
        for x in range(32):
            near = heat[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3]
            if heat[y, x] > 0.5 and heat[y, x] == near.max():
                wanted[32 * y + x] = float(heat[y, x])
    assert 3 < len(wanted) < 40
    assert found.keys() == wanted.keys()
    np.testing.assert_allclose(
        [found[i] for i in wanted], list(wanted.values()), rtol=1e-5
    )
    assert (np.diff(score) <= 0).all()


def test_the_network_given_is_not_changed():
    model = convolutional()
    before = model.SerializeToString(deterministic=True)
    folding = Folding("uint16", postprocessing=(operations(SIGMOID),), keep={0: (0,)})
    fold(model, folding, "net.onnx")
    assert model.SerializeToString(deterministic=True) == before


def test_what_fits_into_a_graph_is_known_beforehand():
    by_percent = {"clip": {"min_percentile": 1}}
    assert foldable(operations(RANGE, {"clip": {"min": 0}}), ()) == (True, 0)
    assert foldable(operations(RANGE, MEAN), ()) == (False, 0)
    assert foldable(operations(by_percent), ()) == (False, 0)
    assert foldable((), operations(SIGMOID, by_percent, SIGMOID)) == (True, 1)
    assert scaling(operations(RANGE, {"scale_linear": {"gain": 2}}, SIGMOID)) == 2
    assert scaling(operations({"scale_linear": {"gain": 2}}, RANGE)) == 1


def test_processing_is_told_apart_by_its_text():
    plain = Folding("uint16", preprocessing=operations(RANGE))
    others = [
        Folding("uint8", preprocessing=operations(RANGE)),
        Folding("uint16", preprocessing=operations(MEAN)),
        Folding("uint16", "byxc", operations(RANGE)),
        Folding("uint16", preprocessing=operations(RANGE), keep={0: (0,)}),
        Folding("uint16", preprocessing=operations(RANGE), peaks=Peaks()),
        Folding("uint16", postprocessing=(operations(RANGE),)),
    ]
    texts = {f.text() for f in (plain, *others)}
    assert len(texts) == 7
    assert Folding("uint16", preprocessing=operations(RANGE)).text() in texts


def two_inputs():
    return onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]>'
        "net (float[1,1,8,8] one, float[1,1,8,8] two) => (float[1,1,8,8] out)"
        "{ out = Add(one, two) }"
    )


def named(name, kind=TensorProto.FLOAT):
    ports = [helper.make_tensor_value_info(n, kind, (1, 1, 8, 8)) for n in "ab"]
    nodes = [
        helper.make_node("Identity", ["a"], [name]),
        helper.make_node("Identity", [name], ["b"]),
    ]
    return helper.make_model(helper.make_graph(nodes, "g", ports[:1], ports[1:]))


@pytest.mark.parametrize(
    ("model", "folding", "sentence"),
    [
        (two_inputs(), Folding("uint16"), "networks with one input, not one, two"),
        (convolutional(), Folding("uint16", "cyx"), "4 axes, the package says 'cyx'"),
        (named("gain"), Folding("uint8"), "a tensor called 'gain' already"),
        (named("t", TensorProto.FLOAT16), Folding("uint8"), "'a' is not"),
        (
            convolutional(),
            Folding(preprocessing=operations(SIGMOID)),
            "folded with 'camera' only",
        ),
        (
            convolutional(),
            Folding(
                "uint16", preprocessing=operations({"clip": {"max_percentile": 9}})
            ),
            "'clip' cannot be folded",
        ),
        (convolutional(), Folding(keep={1: None}), "there is no output 1"),
        (
            convolutional((1, 1, 8, 8)),
            Folding(peaks=Peaks(most=65)),
            "65 peaks cannot be given back; ask for 1 to 64",
        ),
        (
            convolutional(),
            Folding(postprocessing=(operations({"ensure_dtype": {"dtype": "int64"}}),)),
            "with int64 cannot be folded",
        ),
        (
            convolutional(opset=12),
            Folding(postprocessing=(operations({"softmax": {}}),)),
            "needs operator set 13, the network has 12",
        ),
    ],
)
def test_what_does_not_fit_is_refused(model, folding, sentence):
    with pytest.raises(ModelError, match=sentence):
        fold(model, folding, "net.onnx")


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_tensorrt_builds_a_folded_network(precision):
    pytest.importorskip("tensorrt_rtx")
    folding = Folding(
        "uint16",
        preprocessing=operations(RANGE, {"clip": {"min": 0, "max": 1}}),
        postprocessing=(operations(SIGMOID),),
        peaks=Peaks(most=100),
    )
    sizes = ((1, 1, 32, 32), (1, 1, 64, 64), (1, 1, 128, 128))
    recipe = Recipe(sm=(86,), precision=precision, profiles=(sizes,), folding=folding)
    tensors = build_engine(as_weights(convolutional()), recipe).card.tensors
    assert [(t.name, t.dtype, t.shape) for t in tensors] == [
        ("frame", "uint8", (1, 1, None, None, 2)),
        ("gain", "float32", (1,)),
        ("offset", "float32", (1,)),
        ("peak_score", "float32", (100,)),
        ("peak_index", "int32", (100,)),
    ]


def test_inputs_are_not_weights():
    model = convolutional()
    weight = model.graph.initializer[0]
    model.graph.input.append(
        helper.make_tensor_value_info(weight.name, TensorProto.FLOAT, weight.dims)
    )
    assert [port.name for port in inputs_of(model)] == ["image"]
