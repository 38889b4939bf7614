"""ONNX files as networks of PyTorch give what ONNX Runtime gives."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from runtime_nets import one, sum_and_product, torch_sum_and_product, weights

from smartscope.core import ModelError
from smartscope.inference._choose import choose
from smartscope.inference._ort import OrtRuntime
from smartscope.inference._registry import available, kind_of, open_runtime
from smartscope.inference._verdicts import nvidia_cards

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None
    or importlib.util.find_spec("onnx") is None,
    reason="torch or onnx is not installed",
)
SHIPPED = Path(__file__).parents[2] / "models"
NAMES = ("denoise", "divisions", "nuclei", "spots")


def shipped(name):
    content = (SHIPPED / name / "weights.onnx").read_bytes()
    return weights(content, file=f"{name}.onnx")


def picture(shape, dtype=np.float32):
    y, x = np.ogrid[: shape[-2], : shape[-1]]
    image = np.random.default_rng(3).normal(0, 0.3, shape) + np.sin(y / 5) * np.cos(x)
    return (
        (image * 20 + 50).astype(dtype) if dtype != np.float32 else image.astype("f4")
    )


def outputs(runtime, *images):
    for array, image in zip(
        runtime.prepare([image.shape for image in images]), images, strict=True
    ):
        array[...] = image
    return [np.array(out) for out in runtime.run()]


def agree(net, *images, limit=1e-4):
    """Both runtimes on the same images; their largest difference is relative."""
    expected = outputs(OrtRuntime(net, threads=1), *images)
    runtime = open_runtime("torch", [net], threads=1)
    found = outputs(runtime, *images)
    assert [port.name for port in runtime.outputs] == [
        port.name for port in OrtRuntime(net, threads=1).outputs
    ]
    assert len(found) == len(expected)
    for one_, other in zip(found, expected, strict=True):
        assert one_.shape == other.shape and one_.dtype == other.dtype
        scale = np.abs(other.astype(np.float64)).max(initial=0) or 1.0
        off = np.abs(one_.astype(np.float64) - other.astype(np.float64))
        assert off.max(initial=0) <= limit * scale
    return expected


@pytest.mark.parametrize("name", NAMES)
def test_the_shipped_models_are_the_same_in_two_sizes(name):
    net = shipped(name)
    channels = 4 if name == "divisions" else 1
    runtime, reference = open_runtime("torch", [net], threads=1), OrtRuntime(net)
    for size in ((64, 96), (160, 128)):
        image = picture((1, channels, *size))
        (found,) = outputs(runtime, image)
        (expected,) = outputs(reference, image)
        assert expected.std() > 0 and found.shape == expected.shape
        assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
    assert [port.name for port in runtime.outputs] == ["output"]
    assert runtime.inputs[0].shape == (None, channels, None, None)


def test_a_network_for_one_size_takes_no_other():
    net = shipped("divisions")
    runtime = open_runtime("torch", [net], threads=1)
    with pytest.raises(ModelError, match=r"takes \(any, 4, any, any\)"):
        runtime.prepare([(1, 1, 64, 64)])
    # The pyramid needs multiples of 16; ONNX Runtime fails as well.
    with pytest.raises(ModelError, match="the network failed in torch"):
        runtime.prepare([(1, 4, 65, 64)])
    assert outputs(runtime, picture((1, 4, 64, 64)))[0].shape == (1, 1, 32, 32)


# -- operators, one by one ------------------------------------------------------------


def build(*nodes, opset=17, consts=None, inputs=None, outs=("out",), kind=1):
    """ONNX weights of nodes ``(operator, inputs, outputs, attributes)``."""
    import onnx
    from onnx import helper, numpy_helper

    made = [
        helper.make_node(op, list(ins), list(to), **attributes)
        for op, ins, to, attributes in nodes
    ]
    inits = [
        numpy_helper.from_array(np.asarray(value), name)
        for name, value in (consts or {}).items()
    ]
    given = inputs or {"in0": ["b", "c", "y", "x"]}
    graph = helper.make_graph(
        made,
        "small",
        [
            helper.make_tensor_value_info(name, kind, dims)
            for name, dims in given.items()
        ],
        [onnx.ValueInfoProto(name=name) for name in outs],
        inits,
    )
    for out in graph.output:
        out.type.tensor_type.elem_type = 0
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8
    )
    inferred = onnx.shape_inference.infer_shapes(model)
    return weights(inferred.SerializeToString())


def simple(op, *consts, opset=17, **attributes):
    names = [f"c{i}" for i in range(len(consts))]
    held = {n: c for n, c in zip(names, consts, strict=True) if c is not None}
    given = ["in0", *(n if n in held else "" for n in names)]
    return build((op, given, ["out"], attributes), opset=opset, consts=held)


def f4(*shape, seed=1):
    return np.random.default_rng(seed).normal(size=shape).astype("f4")


def i8(*values):
    return np.array(values, np.int64)


IMAGE = (1, 3, 11, 14)
CASES = {
    **{
        op: (op,)
        for op in (
            "Abs Acos Asin Atan Ceil Cos Cosh Erf Exp Floor Identity IsNaN Mish Neg "
            "Reciprocal Relu Round Sigmoid Sign Sin Sinh Softplus Softsign Tan Tanh "
            "Elu Celu Selu LeakyRelu HardSigmoid HardSwish ThresholdedRelu Softmax "
            "LogSoftmax GlobalAveragePool GlobalMaxPool Flatten ReduceMean ReduceMax "
            "ReduceMin ReduceL1 ReduceL2 ReduceSumSquare ReduceLogSumExp Dropout"
        ).split()
        if op not in ("Acos", "Asin", "Mish")
    },
    "leaky": ("LeakyRelu", {"alpha": 0.3}),
    "elu": ("Elu", {"alpha": 0.7}),
    "selu": ("Selu", {"alpha": 1.5, "gamma": 0.9}),
    "thresholded": ("ThresholdedRelu", {"alpha": 0.3}),
    "hard": ("HardSigmoid", {"alpha": 0.4, "beta": 0.1}),
    "softmax axis": ("Softmax", {"axis": 1}),
    "softmax old": ("Softmax", {"axis": 1, "opset": 9}),
    "softmax old last": ("LogSoftmax", {"axis": 3, "opset": 9}),
    "gelu": ("Gelu", {"opset": 20}),
    "gelu tanh": ("Gelu", {"opset": 20, "approximate": "tanh"}),
    "mish": ("Mish", {"opset": 18}),
    "prelu": ("PRelu", f4(3, 1, 1)),
    **{op: (op, f4(3, 1, 1)) for op in ("Add", "Sub", "Mul", "Div", "Max", "Min")},
    **{op: (op, f4(1, 3, 1, 1)) for op in ("Greater", "Less", "Equal", "Sum", "Mean")},
    "GreaterOrEqual": ("GreaterOrEqual", f4(1)),
    "LessOrEqual": ("LessOrEqual", f4(1)),
    "three": ("Max", f4(1), f4(3, 1, 1, seed=2)),
    "pow": ("Pow", np.float32(2)),
    "pow whole": ("Pow", i8(3)),
    "mod": ("Mod", np.float32([0.3]), {"fmod": 1}),
    "clip": ("Clip", np.float32(-0.2), np.float32(0.4)),
    "clip one": ("Clip", None, np.float32(0.4)),
    "clip old": ("Clip", {"min": -0.1, "max": 0.2, "opset": 7}),
    "cast": ("Cast", {"to": 7}),
    "matmul": ("MatMul", f4(14, 5)),
    "mean axes": ("ReduceMean", {"axes": [-1, 2], "keepdims": 0}),
    "mean since 18": ("ReduceMean", i8(1, -1), {"opset": 18}),
    "sum since 13": ("ReduceSum", i8(1), {"keepdims": 0}),
    "sum of nothing": ("ReduceSum", i8(), {"noop_with_empty_axes": 1}),
    "sum old": ("ReduceSum", {"axes": [3], "opset": 11}),
    "product": ("ReduceProd", {"axes": [1, 3], "keepdims": 0}),
    "norm": ("ReduceL2", {"axes": [1]}),
    "argmax": ("ArgMax", {"axis": 1}),
    "argmin": ("ArgMin", {"axis": -1, "keepdims": 0}),
    "size": ("Size",),
    "shape": ("Shape",),
    "shape part": ("Shape", {"start": 1, "end": -1}),
    "flatten": ("Flatten", {"axis": 2}),
    "transpose": ("Transpose", {"perm": [0, 2, 3, 1]}),
    "reversed": ("Transpose",),
    "reshape": ("Reshape", i8(0, -1, 14)),
    "expand": ("Expand", i8(2, 1, 1, 1)),
    "tile": ("Tile", i8(1, 2, 1, 3)),
    "unsqueeze": ("Unsqueeze", i8(0, -1)),
    "unsqueeze old": ("Unsqueeze", {"axes": [1], "opset": 11}),
    "gather": ("Gather", i8(2, -1, 0), {"axis": 1}),
    "gather one": ("Gather", np.int64(-2), {"axis": 2}),
    "gather square": ("Gather", i8(0, 1, 2, 2).reshape(2, 2), {"axis": 3}),
    "slice": ("Slice", i8(1, 2), i8(3, 2**62), i8(1, -1), i8(1, 3)),
    "slice back": ("Slice", i8(-1, 5), i8(-(2**62), -20), i8(2, 3), i8(-2, -1)),
    "slice plain": ("Slice", i8(0, 0, -4), i8(1, 2, -1)),
    "slice old": ("Slice", {"starts": [1], "ends": [-1], "axes": [2], "opset": 9}),
    "pad": ("Pad", i8(0, 0, 1, 2, 0, 0, 3, 0), np.float32(0.5)),
    "pad cut": ("Pad", i8(0, 0, -1, 2, 0, 0, 3, -2)),
    "pad channels": ("Pad", i8(0, 1, 0, 0, 0, 1, 0, 0), {"mode": "edge"}),
    "pad reflect": ("Pad", i8(0, 0, 2, 5, 0, 0, 1, 3), {"mode": "reflect"}),
    "pad edge": ("Pad", i8(0, 0, 12, 5, 0, 0, 1, 3), {"mode": "edge"}),
    "pad wrap": ("Pad", i8(0, 0, 2, 5, 0, 0, 1, 3), {"mode": "wrap", "opset": 19}),
    "pad old": ("Pad", {"pads": [0, 0, 1, 1, 0, 0, 2, 2], "value": 2.0, "opset": 10}),
    "pad axes": ("Pad", i8(1, 2), None, i8(3), {"opset": 18}),
    "max pool": ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]}),
    "max pool ceil": (
        "MaxPool",
        {"kernel_shape": [3, 3], "strides": [2, 3], "ceil_mode": 1},
    ),
    "max pool pads": (
        "MaxPool",
        {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1], "dilations": [1, 2]},
    ),
    "max pool same": (
        "MaxPool",
        {"kernel_shape": [3, 2], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
    ),
    "average": ("AveragePool", {"kernel_shape": [3, 3], "strides": [2, 2]}),
    "average pads": ("AveragePool", {"kernel_shape": [9, 1], "pads": [4, 0, 4, 0]}),
    "average uneven": ("AveragePool", {"kernel_shape": [3, 3], "pads": [0, 1, 2, 2]}),
    "average all": (
        "AveragePool",
        {"kernel_shape": [3, 3], "pads": [0, 1, 2, 2], "count_include_pad": 1},
    ),
    "average same": (
        "AveragePool",
        {"kernel_shape": [4, 3], "strides": [2, 2], "auto_pad": "SAME_LOWER"},
    ),
    "conv": ("Conv", f4(4, 3, 3, 3), f4(4), {"pads": [1, 1, 1, 1]}),
    "conv strides": ("Conv", f4(4, 3, 5, 3), {"strides": [2, 3]}),
    "conv uneven": ("Conv", f4(4, 3, 3, 3), {"pads": [0, 1, 2, 0]}),
    "conv upper": (
        "Conv",
        f4(2, 3, 4, 3),
        {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
    ),
    "conv lower": ("Conv", f4(2, 3, 4, 2), {"auto_pad": "SAME_LOWER"}),
    "conv valid": ("Conv", f4(2, 3, 3, 3), {"auto_pad": "VALID"}),
    "conv groups": ("Conv", f4(6, 1, 3, 3), {"group": 3, "dilations": [2, 2]}),
    "transposed": ("ConvTranspose", f4(3, 2, 2, 2), f4(2), {"strides": [2, 2]}),
    "transposed pads": (
        "ConvTranspose",
        f4(3, 2, 3, 4),
        {"strides": [2, 3], "pads": [1, 0, 1, 0], "output_padding": [1, 0]},
    ),
    "transposed uneven": (
        "ConvTranspose",
        f4(3, 2, 3, 3),
        {"strides": [2, 2], "pads": [0, 1, 1, 0]},
    ),
    "transposed groups": (
        "ConvTranspose",
        f4(3, 2, 3, 3),
        {"group": 3, "dilations": [2, 1]},
    ),
    "transposed shape": (
        "ConvTranspose",
        f4(3, 2, 3, 3),
        {"strides": [2, 2], "output_shape": [22, 28]},
    ),
    "transposed upper": (
        "ConvTranspose",
        f4(3, 2, 3, 3),
        {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
    ),
    "transposed lower": (
        "ConvTranspose",
        f4(3, 2, 3, 3),
        {"strides": [2, 2], "auto_pad": "SAME_LOWER"},
    ),
    "batch norm": (
        "BatchNormalization",
        f4(3),
        f4(3, seed=2),
        f4(3, seed=3),
        np.abs(f4(3, seed=4)),
        {"epsilon": 1e-3},
    ),
    "instance norm": ("InstanceNormalization", f4(3), f4(3, seed=2)),
    "layer norm": ("LayerNormalization", f4(11, 14), f4(11, 14), {"axis": 2}),
    "upsample": ("Upsample", np.float32([1, 1, 2, 3]), {"opset": 9}),
    "upsample linear": (
        "Upsample",
        np.float32([1, 1, 2, 2]),
        {"opset": 9, "mode": "linear"},
    ),
    "upsample attribute": ("Upsample", {"opset": 7, "scales": [1.0, 1.0, 2.0, 2.0]}),
    "resize of ten": ("Resize", np.float32([1, 1, 0.5, 2.5]), {"opset": 10}),
    "resize axes": (
        "Resize",
        None,
        None,
        i8(20, 9),
        {"axes": [2, 3], "opset": 18, "mode": "linear"},
    ),
    "cubic": ("Resize", None, None, i8(1, 3, 20, 9), {"mode": "cubic"}),
}


def case(op, *more):
    settings = more[-1] if more and isinstance(more[-1], dict) else {}
    consts = [value for value in more if not isinstance(value, dict)]
    return simple(op, *consts, **settings)


@pytest.mark.parametrize("name", CASES)
def test_an_operator_gives_what_onnx_runtime_gives(name):
    agree(case(*CASES[name]), picture(IMAGE), limit=1e-5)


@pytest.mark.parametrize(
    "rounding", ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"]
)
@pytest.mark.parametrize(
    "mode", ["asymmetric", "half_pixel", "pytorch_half_pixel", "align_corners"]
)
@pytest.mark.parametrize(
    "how",
    [
        {"scales": [1, 1, 2, 2]},
        {"scales": [1, 1, 0.5, 2.3]},
        {"sizes": [1, 3, 17, 29]},
        {"sizes": [1, 3, 1, 5]},
        {"sizes": [1, 2, 49, 14]},
    ],
)
def test_nearest_picks_the_same_pixels(how, mode, rounding):
    scales = np.float32(how["scales"]) if "scales" in how else None
    sizes = i8(*how["sizes"]) if "sizes" in how else None
    more = {"coordinate_transformation_mode": mode, "nearest_mode": rounding}
    agree(simple("Resize", None, scales, sizes, **more), picture(IMAGE), limit=0)


@pytest.mark.parametrize(
    "mode",
    [
        "asymmetric",
        "half_pixel",
        "pytorch_half_pixel",
        "align_corners",
        "half_pixel_symmetric",
    ],
)
@pytest.mark.parametrize(
    "how",
    [
        {"scales": [1, 1, 2, 2]},
        {"scales": [1, 1, 0.5, 2.3]},
        {"sizes": [1, 3, 17, 29]},
        {"sizes": [1, 3, 1, 5]},
    ],
)
def test_linear_mixes_the_same_pixels(how, mode):
    scales = np.float32(how["scales"]) if "scales" in how else None
    sizes = i8(*how["sizes"]) if "sizes" in how else None
    more = {"coordinate_transformation_mode": mode, "mode": "linear"}
    opset = 19 if mode == "half_pixel_symmetric" else 17
    agree(
        simple("Resize", None, scales, sizes, opset=opset, **more),
        picture(IMAGE),
        limit=1e-5,
    )


def test_sizes_that_follow_from_the_image_become_numbers():
    """A decoder that is resized to the size of its skip, as U-Nets are exported."""
    net = build(
        ("MaxPool", ["in0"], ["small"], {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("Conv", ["small", "w"], ["deep"], {"pads": [1, 1, 1, 1]}),
        ("Shape", ["in0"], ["whole"], {}),
        ("Slice", ["whole", "two", "four", "zero"], ["space"], {}),
        ("Shape", ["deep"], ["shape"], {}),
        ("Slice", ["shape", "zero", "two", "zero"], ["front"], {}),
        ("Concat", ["front", "space"], ["sizes"], {"axis": 0}),
        ("Resize", ["deep", "", "", "sizes"], ["up"], {"mode": "linear"}),
        ("Concat", ["up", "in0"], ["out"], {"axis": 1}),
        ("Gather", ["whole", "index"], ["rows"], {}),
        ("Unsqueeze", ["rows", "zero"], ["list"], {}),
        ("ConstantOfShape", ["list"], ["line"], {}),
        ("Cast", ["rows"], ["height"], {"to": 1}),
        ("Add", ["line", "height"], ["side"], {}),
        consts={
            "w": f4(4, 3, 3, 3),
            "zero": i8(0),
            "two": i8(2),
            "four": i8(4),
            "index": np.int64(2),
        },
        outs=("out", "side"),
    )
    for shape in (IMAGE, (2, 3, 7, 9)):
        _, side = agree(net, picture(shape), limit=1e-5)
        assert side.tolist() == [shape[2]] * shape[2]


def test_other_shapes_of_nets():
    agree(
        build(
            ("Split", ["in0"], ["a", "b", "d"], {"axis": 1}),
            ("Where", ["mask", "a", "b"], ["e"], {}),
            ("Not", ["mask"], ["f"], {}),
            ("And", ["f", "mask"], ["g"], {}),
            ("Or", ["f", "g"], ["h"], {}),
            ("Xor", ["h", "mask"], ["i"], {}),
            ("Cast", ["i"], ["j"], {"to": 1}),
            ("Mul", ["e", "j"], ["k"], {}),
            ("Sqrt", ["k2"], ["l"], {}),
            ("Log", ["k2"], ["m"], {}),
            ("Squeeze", ["d", "one"], ["n"], {}),
            consts={"mask": np.arange(14) % 2 == 0, "k2": np.float32(2), "one": i8(1)},
            outs=("k", "l", "m", "n"),
        ),
        picture(IMAGE),
    )
    agree(
        build(
            ("GlobalAveragePool", ["in0"], ["a"], {}),
            ("Flatten", ["a"], ["b"], {}),
            (
                "Gemm",
                ["b", "w", "v"],
                ["out"],
                {"transB": 1, "alpha": 0.5, "beta": 2.0},
            ),
            consts={"w": f4(5, 3), "v": f4(5)},
        ),
        picture(IMAGE),
    )
    for mode in ("DCR", "CRD"):
        agree(simple("DepthToSpace", blocksize=2, mode=mode), picture((1, 8, 3, 5)))
    agree(
        build(
            ("Cast", ["in0"], ["a"], {"to": 10}),
            ("Mul", ["a", "half"], ["b"], {}),
            ("Cast", ["b"], ["out"], {"to": 1}),
            consts={"half": np.float16(0.5)},
        ),
        picture(IMAGE),
        limit=1e-3,
    )
    agree(
        build(
            ("GroupNormalization", ["in0", "w", "v"], ["a"], {"num_groups": 2}),
            ("Cast", ["a"], ["out"], {"to": 1}),
            consts={"w": f4(4), "v": f4(4, seed=2)},
            opset=21,
        ),
        picture((2, 4, 5, 6)),
    )
    agree(simple("SpaceToDepth", blocksize=2), picture((2, 3, 6, 4)))
    agree(simple("Sqrt"), np.abs(picture(IMAGE)))
    for op in ("Asin", "Acos"):
        agree(simple(op), np.tanh(picture(IMAGE)))


@pytest.mark.parametrize("dims", [1, 3])
def test_lines_and_stacks(dims):
    axes, size = ["y", "z", "x"][:dims], (6, 9, 8)[:dims]
    net = build(
        ("Conv", ["in0", "w"], ["a"], {"pads": [1] * 2 * dims}),
        ("MaxPool", ["a"], ["b"], {"kernel_shape": [2] * dims, "strides": [2] * dims}),
        ("ConvTranspose", ["b", "v"], ["d"], {"strides": [2] * dims}),
        ("Resize", ["d", "", "s"], ["out"], {"mode": "nearest"}),
        consts={
            "w": f4(4, 2, *[3] * dims),
            "v": f4(4, 2, *[2] * dims),
            "s": np.float32([1, 1] + [2] * dims),
        },
        inputs={"in0": ["b", 2, *axes]},
    )
    image = f4(1, 2, *size)
    agree(net, image, limit=1e-5)


@pytest.mark.parametrize(
    ("kind", "dtype"), [(2, "u1"), (4, "u2"), (6, "i4"), (11, "f8")]
)
def test_counts_become_floats_where_the_network_says_so(kind, dtype):
    net = build(
        ("Cast", ["in0"], ["a"], {"to": 1}),
        ("Mul", ["a", "gain"], ["out"], {}),
        consts={"gain": np.float32(0.25)},
        kind=kind,
    )
    agree(net, picture((1, 1, 5, 6), dtype))


def test_whole_numbers_are_cut_towards_zero():
    net = build(
        ("Div", ["in0", "three"], ["out"], {}),
        consts={"three": np.int32(3)},
        kind=6,
    )
    counts = np.arange(-8, 8, dtype=np.int32).reshape(1, 1, 4, 4)
    (out,) = agree(net, counts)
    assert out.ravel()[:3].tolist() == [-2, -2, -2]


def test_two_inputs_and_two_outputs_keep_their_names():
    expected = agree(sum_and_product(), picture(IMAGE), picture(IMAGE) + 1)
    assert len(expected) == 2


# -- what is refused ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("net", "match"),
    [
        (("NonZero",), "operator 'NonZero' is not supported in PyTorch"),
        (("Det",), "operator 'Det' is not supported in PyTorch"),
        (
            (
                "Resize",
                None,
                np.float32([1, 1, 2, 2]),
                {"mode": "cubic", "exclude_outside": 1},
            ),
            "'Resize' with 'exclude_outside' 1 is not",
        ),
        (
            (
                "Resize",
                None,
                None,
                i8(1, 3, 4, 4),
                {"antialias": 1, "mode": "linear", "opset": 18},
            ),
            "'Resize' with 'antialias' 1",
        ),
        (
            (
                "AveragePool",
                {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1},
            ),
            "'AveragePool' with 'ceil_mode'",
        ),
    ],
)
def test_what_is_not_known_is_refused_by_name(net, match):
    with pytest.raises(ModelError, match=rf"^net\.onnx: the .*{match}") as caught:
        outputs(open_runtime("torch", [case(*net)], threads=1), picture(IMAGE))
    assert str(caught.value).endswith("use runtime 'onnxruntime'")


def test_operators_of_others_are_refused_with_their_domain():
    import onnx
    from onnx import helper

    model = onnx.load_model_from_string(one("Relu").content)
    model.graph.node[0].domain = "com.microsoft"
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    net = weights(model.SerializeToString())
    with pytest.raises(ModelError, match=r"operator 'com\.microsoft\.Relu' is not"):
        open_runtime("torch", [net])


def test_an_attribute_that_nobody_asked_for_is_refused():
    import onnx
    from onnx import helper

    model = onnx.load_model_from_string(one("Relu").content)
    model.graph.node[0].attribute.append(helper.make_attribute("turbo", 1))
    runtime = open_runtime("torch", [weights(model.SerializeToString())], threads=1)
    with pytest.raises(ModelError, match=r"'Relu' with 'turbo' is not supported"):
        runtime.prepare([(1, 1, 4, 4)])


def test_a_size_that_depends_on_the_content_is_refused():
    net = build(
        ("ReduceMax", ["in0"], ["a"], {"keepdims": 0}),
        ("Cast", ["a"], ["b"], {"to": 7}),
        ("Unsqueeze", ["b", "zero"], ["d"], {}),
        ("Expand", ["in0", "d"], ["out"], {}),
        consts={"zero": i8(0)},
    )
    runtime = open_runtime("torch", [net], threads=1)
    with pytest.raises(ModelError, match="'Expand' whose sizes depend on the image"):
        runtime.prepare([IMAGE])


def test_a_second_output_is_refused():
    net = build(
        ("MaxPool", ["in0"], ["out", "places"], {"kernel_shape": [2, 2]}),
        outs=("out", "places"),
    )
    runtime = open_runtime("torch", [net], threads=1)
    with pytest.raises(ModelError, match="'MaxPool' with more than one output"):
        runtime.prepare([IMAGE])


# -- its place among the runtimes -----------------------------------------------------


def test_torch_takes_onnx_when_asked_and_its_own_weights_before():
    net = one("Neg")
    reasons = dict(available([net]))
    assert reasons["torch"] is None and reasons["torch-compiled"] is None
    own = torch_sum_and_product()
    assert kind_of("torch").pick([net, own]) is own
    assert kind_of("torch").pick([net]) is net
    assert kind_of("torch-compiled").pick([net, own]) is net
    eight = one("Neg", precision="int8")
    assert "no fp32 or fp16 weights" in dict(available([eight]))["torch"]


def test_it_is_held_against_the_reference_like_all(tmp_path):
    net = shipped("spots")
    shape = (1, 1, 64, 64)
    runtime, verdict = choose(
        [net],
        [shape],
        tolerance=1e-4,
        threads=1,
        cache=tmp_path,
        candidates=["torch", "onnxruntime"],
        budget_s=0.1,
    )
    errors = {trial.name: trial.error for trial in verdict.trials}
    assert 0 < errors["torch"] < 1e-5 and errors["onnxruntime"] == 0
    runtime.close()
    wrong = [np.zeros((1, 1, 64, 64), np.float32) + picture(shape)]
    with pytest.raises(ModelError, match="torch: its output deviates by"):
        choose(
            [net],
            [shape],
            reference=([picture(shape)], wrong),
            tolerance=1e-4,
            threads=1,
            cache=tmp_path,
            candidates=["torch"],
            budget_s=0.1,
        )


def test_weights_are_shared_by_the_sizes_and_lie_in_buffers():
    import torch

    from smartscope.inference._torch_graph import OnnxGraph

    graph = OnnxGraph(shipped("nuclei"))
    small = graph.at([torch.zeros(1, 1, 64, 64)])
    large = graph.at([torch.zeros(1, 1, 96, 64)])
    assert isinstance(small, torch.nn.Module)
    one_, other = (dict(each.named_buffers()) for each in (small, large))
    assert len(one_) == len(other) >= 40
    assert all(one_[name] is other[name] for name in one_)
    kernels = [buffer for buffer in one_.values() if buffer.ndim == 4]
    assert all(k.is_contiguous(memory_format=torch.channels_last) for k in kernels)
    (out,) = small(torch.ones(1, 1, 64, 64))
    assert out.shape == (1, 33, 32, 32)


def test_what_writes_over_its_input_never_harms_another_reader():
    """A rectifier may reuse memory only where nobody else reads it."""
    net = build(
        ("Conv", ["in0", "w"], ["a"], {}),
        ("Relu", ["a"], ["b"], {}),
        ("Add", ["a", "b"], ["d"], {}),
        ("Relu", ["d"], ["e"], {}),
        ("Relu", ["in0"], ["f"], {}),
        consts={"w": f4(3, 3, 1, 1)},
        outs=("a", "e", "f"),
    )
    image = picture(IMAGE)
    runtime = open_runtime("torch", [net], threads=1)
    first = outputs(runtime, image)
    again = [np.array(out) for out in runtime.run()]
    expected = outputs(OrtRuntime(net, threads=1), image)
    for one_, two, other in zip(first, again, expected, strict=True):
        np.testing.assert_allclose(one_, other, atol=1e-5)
        np.testing.assert_array_equal(one_, two)


@pytest.mark.gpu
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("runtime", ["torch-cuda", "torch-cuda-fp16"])
def test_the_shipped_models_are_recorded_on_a_card(name, runtime):
    net = shipped(name)
    reason = dict(available([net]))[runtime]
    if reason is not None:
        pytest.skip(reason)
    card, reference = open_runtime(runtime, [net]), OrtRuntime(net)
    channels = 4 if name == "divisions" else 1
    for size in ((64, 96), (256, 192)):
        for seed in range(2):
            image = picture((1, channels, *size)) + np.float32(seed)
            (found,), (expected,) = outputs(card, image), outputs(reference, image)
            off = np.sqrt(np.mean((found - expected) ** 2)) / expected.std()
            assert off < (1e-4 if runtime == "torch-cuda" else 0.05)
    assert card._graph is not None
    card.close()


@pytest.mark.skipif(bool(nvidia_cards()), reason="there is an NVIDIA card")
def test_a_card_that_is_not_there_is_named_without_looking_for_torch():
    assert dict(available([one("Neg")]))["torch-cuda"] == "no NVIDIA card found"
