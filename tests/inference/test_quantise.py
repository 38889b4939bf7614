"""Quantised networks: which convolutions, how exact, and who takes them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from runtime_nets import weights
from trt_networks import as_weights, convolutional, onnx_nodes, ran, single

from smartscope.core import ModelError
from smartscope.inference._engines import Recipe
from smartscope.inference._quantise import inner_convolutions, quantise, to_half
from smartscope.inference._trt_build import build_engine

RNG = np.random.default_rng(4)


def images(count=6, size=32):
    return [
        [RNG.normal(0, 1, (1, 1, size, size)).astype(np.float32)] for _ in range(count)
    ]


def deviation(model, other, given):
    """Relative RMS deviation of the second network from the first."""
    (a,), (b,) = ran(model, *given), ran(other, *given)
    return float(np.sqrt(((a - b) ** 2).mean() / (a**2).mean()))


def test_the_first_convolution_and_the_heads_stay_float():
    model = convolutional()
    names = [node.name for node in inner_convolutions(model)]
    assert names == ["node_c2", "node_c3", "node_c4"]


def test_int8_is_symmetric_and_leaves_biases_alone():
    content = quantise(convolutional().SerializeToString(), images(), unsigned=False)
    model = onnx.load_model_from_string(content)
    tensors = {t.name: t for t in model.graph.initializer}
    linear = [n for n in model.graph.node if n.op_type.endswith("quantizeLinear")]
    linear += [n for n in model.graph.node if n.op_type == "QuantizeLinear"]
    # Three activations and three kernels; each activation has both operators.
    assert len(onnx_nodes(content, "QuantizeLinear")) == 3
    assert len(onnx_nodes(content, "DequantizeLinear")) == 6
    for node in linear:
        zero = tensors[node.input[2]]
        assert zero.data_type == TensorProto.INT8
        assert not numpy_helper.to_array(zero).any()
    kernels = [
        numpy_helper.to_array(tensors[n.input[0]])
        for n in onnx_nodes(content, "DequantizeLinear")
        if n.input[0] in tensors
    ]
    assert len(kernels) == 3
    for kernel in kernels:
        # Each output channel uses its whole range.
        assert (np.abs(kernel).reshape(len(kernel), -1).max(1) == 127).all()
    for node in onnx_nodes(content, "Conv"):
        assert tensors[node.input[2]].data_type == TensorProto.FLOAT


@pytest.mark.parametrize(("kind", "least", "most"), [("int8", 1e-4, 0.03)])
def test_quantised_networks_stay_close(kind, least, most):
    model = convolutional()
    content = quantise(model.SerializeToString(), images(), kind=kind)
    for given in images(3):
        assert least < deviation(model, content, given) < most


def test_any_size_of_image_still_runs():
    content = quantise(convolutional().SerializeToString(), images())
    (out,) = ran(content, np.zeros((1, 1, 48, 16), np.float32))
    assert out.shape == (1, 1, 48, 16)


def test_an_outlier_does_not_take_the_range_of_all_others():
    model = convolutional()
    calm = images(1, 64)
    wild = [[calm[0][0].copy()]]
    wild[0][0][0, 0, 5, 5] = 300.0
    scales = []
    for given in (calm, wild):
        content = quantise(model.SerializeToString(), given)
        tensors = onnx.load_model_from_string(content).graph.initializer
        found = [t for t in tensors if t.name == "quantise/activation_0/scale"]
        scales.append(float(numpy_helper.to_array(found[0])))
    largest = 300 / calm[0][0].max()
    assert scales[1] < 0.6 * largest * scales[0]


def test_batch_normalisation_goes_into_the_kernel_first():
    model = convolutional()
    old = next(n for n in model.graph.node if n.name == "node_c2")
    follow = next(n for n in model.graph.node if "c2" in n.input)
    old.output[0] = "c2.raw"
    size = 16
    for name, values in (
        ("s", RNG.uniform(0.5, 2, size)),
        ("o", RNG.normal(0, 1, size)),
        ("m", RNG.normal(0, 1, size)),
        ("v", RNG.uniform(0.5, 2, size)),
    ):
        tensor = numpy_helper.from_array(values.astype(np.float32), name)
        model.graph.initializer.append(tensor)
    norm = onnx.helper.make_node(
        "BatchNormalization", ["c2.raw", "s", "o", "m", "v"], ["c2"]
    )
    model.graph.node.insert(list(model.graph.node).index(follow), norm)
    onnx.checker.check_model(model)
    content = quantise(model.SerializeToString(), images())
    assert onnx_nodes(content, "BatchNormalization") == []
    assert deviation(model, content, images(1)[0]) < 0.03


@pytest.mark.parametrize(
    ("model", "given", "sentence"),
    [
        (convolutional(), [], "int8 needs calibration images"),
        (convolutional(), [[np.zeros((1, 3, 8, 8), np.float32)]], "image fails"),
        (
            onnx.load_model_from_string(single("Relu").content),
            [[np.zeros((1, 1, 8, 8), np.float32)]],
            "no convolution between the first and the heads",
        ),
    ],
)
def test_what_cannot_be_quantised_is_refused(model, given, sentence):
    with pytest.raises(ModelError, match=sentence):
        quantise(model.SerializeToString(), given, file="net.onnx")


def test_a_file_that_is_not_onnx_is_refused():
    with pytest.raises(ModelError, match="ONNX Runtime cannot load it"):
        quantise(b"nothing", images(1), file="net.onnx")


def test_half_precision_keeps_the_ends_and_the_numbers():
    model = convolutional()
    content = to_half(model.SerializeToString())
    half = onnx.load_model_from_string(content)
    kinds = {
        p.type.tensor_type.elem_type for p in (*half.graph.input, *half.graph.output)
    }
    assert kinds == {TensorProto.FLOAT}
    kernels = {t.data_type for t in half.graph.initializer if t.name.endswith(".w")}
    assert kernels == {TensorProto.FLOAT16}
    assert 0 < deviation(model, content, images(1)[0]) < 3e-3


@pytest.mark.parametrize(("kind", "sm"), [("int8", (75, 86)), ("fp8", (89, 120))])
def test_tensorrt_builds_quantised_networks(kind, sm):
    pytest.importorskip("tensorrt_rtx")
    pytest.importorskip("ml_dtypes")
    shape = (1, 1, 32, 32)
    recipe = Recipe(sm=sm, precision=kind, profiles=((shape,) * 3,))
    engine = build_engine(as_weights(convolutional()), recipe, calibration=images(2))
    assert engine.card.precision == kind
    assert [t.dtype for t in engine.card.tensors] == ["float32", "float32"]


def test_openvino_takes_unsigned_ones():
    openvino = pytest.importorskip("openvino")
    model = convolutional((1, 1, 32, 32))
    content = quantise(model.SerializeToString(), images(), unsigned=True)
    core = openvino.Core()
    network = core.read_model(model=content)
    compiled = core.compile_model(network, "CPU", {"INFERENCE_NUM_THREADS": 1})
    given = images(1)[0]
    got = compiled(given)[0]
    (wanted,) = ran(model, *given)
    error = np.sqrt(((got - wanted) ** 2).mean() / (wanted**2).mean())
    assert 1e-4 < error < 0.04


def test_unsigned_activations_have_twice_the_steps():
    model = convolutional()
    # The input of the last convolution goes below 0 without this one's ReLU.
    relu = next(n for n in model.graph.node if "c3" in n.input)
    relu.op_type = "Identity"
    content = quantise(model.SerializeToString(), images(), unsigned=True)
    signed = quantise(model.SerializeToString(), images(), unsigned=False)
    zeros, steps = {}, []
    for bytes_ in (content, signed):
        tensors = onnx.load_model_from_string(bytes_).graph.initializer
        found = {t.name: numpy_helper.to_array(t) for t in tensors}
        steps.append([float(found[f"quantise/activation_{i}/scale"]) for i in range(3)])
        zeros[bytes_] = [found[f"quantise/activation_{i}/zero"] for i in range(3)]
    assert [z.dtype for z in zeros[content]] == [np.uint8] * 3
    assert [int(z) for z in zeros[content]] == [0, 0, 128]
    assert [z.dtype for z in zeros[signed]] == [np.int8] * 3
    assert steps[0][0] < 0.6 * steps[1][0]
    assert deviation(model, content, images(1)[0]) < 0.03


def test_unsigned_networks_are_not_for_tensorrt():
    pytest.importorskip("tensorrt_rtx")
    model = convolutional((1, 1, 32, 32))
    content = quantise(model.SerializeToString(), images(), unsigned=True)
    given = weights(content, precision="int8")
    with pytest.raises(ModelError, match="unsigned bytes, TensorRT takes symmetric"):
        build_engine(given, Recipe(sm=(86,), precision="int8"))
