"""Every operation of the specification, against what its formula says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartscope.core import ModelError
from smartscope.inference._document import Node
from smartscope.inference._operations import Context, operation_of
from smartscope.inference._operations_stats import mean_and_deviation, percentiles

RNG = np.random.default_rng(5)
IMAGE = RNG.normal(100, 9, (3, 6, 5)).astype(np.float32)
STACK = RNG.normal(100, 30, (2, 4, 6, 5)).astype(np.float32)
COUNTS = RNG.poisson(300, (3, 40, 30)).astype(np.uint16)


def op(name, order="cyx", channels=None, **kwargs):
    return operation_of(
        Node({"id": name, "kwargs": kwargs}, "net", "p"), order, channels
    )


def near(found, wanted):
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-5)


def zero_mean(image, axes, eps=1e-6):
    image = image.astype(np.float64)
    mean, std = image.mean(axes, keepdims=True), image.std(axes, keepdims=True)
    return (image - mean) / (std + eps)


def scale_range(image, axes, low, high, of=None, eps=1e-6):
    of = image if of is None else of
    low, high = np.percentile(of.astype(np.float64), [low, high], axes, keepdims=True)
    return (image - low) / (high - low + eps)


GIVEN = np.array([1.0, 2.0, 3.0])[:, None, None]
FORMULAS = {
    "zero mean": (op("zero_mean_unit_variance"), zero_mean(IMAGE, (0, 1, 2))),
    "zero mean, planes": (
        op("zero_mean_unit_variance", axes=["batch", "y", "x"], eps=0.01),
        zero_mean(IMAGE, (1, 2), 0.01),
    ),
    "zero mean, letters": (
        op("zero_mean_unit_variance", axes="yx", mode="per_sample"),
        zero_mean(IMAGE, (1, 2)),
    ),
    "zero mean, a row": (
        op("zero_mean_unit_variance", axes="x"),
        zero_mean(IMAGE, (2,)),
    ),
    "zero mean, columns of all channels": (
        op("zero_mean_unit_variance", axes="cy"),
        zero_mean(IMAGE, (0, 1)),
    ),
    "fixed, 0.4": (
        op("zero_mean_unit_variance", mode="fixed", mean=100, std=20, axes="cyx"),
        (IMAGE - 100) / (20 + 1e-6),
    ),
    "fixed by channel, 0.4": (
        op("zero_mean_unit_variance", mean=[1, 2, 3], std=[4, 4, 8], axes="yx"),
        (IMAGE - GIVEN) / np.array([4, 4, 8])[:, None, None],
    ),
    "fixed": (
        op("fixed_zero_mean_unit_variance", mean=100, std=20),
        (IMAGE - 100) / 20,
    ),
    "fixed by channel": (
        op(
            "fixed_zero_mean_unit_variance",
            mean=[1, 2, 3],
            std=[1, 2, 3],
            axis="channel",
        ),
        (IMAGE - GIVEN) / GIVEN,
    ),
    "fixed by row": (
        op(
            "fixed_zero_mean_unit_variance",
            mean=[1] * 6,
            std=[1, 2, 3, 4, 5, 6],
            axis="y",
        ),
        (IMAGE - 1) / np.arange(1, 7)[:, None],
    ),
    "range": (op("scale_range"), scale_range(IMAGE, None, 0, 100)),
    "range, planes": (
        op("scale_range", axes=["y", "x"], min_percentile=1, max_percentile=99.8),
        scale_range(IMAGE, (1, 2), 1, 99.8),
    ),
    "linear": (op("scale_linear", gain=2, offset=-5), IMAGE * 2 - 5),
    "linear by channel": (
        op("scale_linear", gain=[1, 2, 3], offset=1, axis="channel"),
        IMAGE * GIVEN + 1,
    ),
    "linear by channel, 0.4": (
        op("scale_linear", gain=[1, 2, 3], offset=[1, 2, 3], axes="xy"),
        IMAGE * GIVEN + GIVEN,
    ),
    "linear by column": (
        op("scale_linear", offset=[1, 2, 3, 4, 5], axis="x"),
        IMAGE + np.arange(1, 6),
    ),
    "clip": (op("clip", min=80, max=120), np.clip(IMAGE, 80, 120)),
    "clip below": (op("clip", min=80), np.maximum(IMAGE, 80)),
    "clip to percentiles": (
        op("clip", min_percentile=10, max_percentile=80, axes=["y", "x"]),
        np.clip(IMAGE, *np.percentile(IMAGE, [10, 80], (1, 2), keepdims=True)),
    ),
    "clip above a percentile": (
        op("clip", max_percentile=80, min=90),
        np.clip(IMAGE, 90, np.percentile(IMAGE, 80)),
    ),
    "sigmoid": (op("sigmoid"), 1 / (1 + np.exp(-IMAGE.astype(np.float64)))),
    "softmax": (
        op("softmax"),
        np.exp(IMAGE - IMAGE.max(0)) / np.exp(IMAGE - IMAGE.max(0)).sum(0),
    ),
    "softmax along x": (
        op("softmax", axis="x"),
        np.exp(IMAGE - IMAGE.max())
        / np.exp(IMAGE.astype(np.float64) - IMAGE.max()).sum(2, keepdims=True),
    ),
    "binarize": (op("binarize", threshold=100), IMAGE > 100),
    "binarize by channel": (
        op("binarize", threshold=[80, 100, 120], axis="channel"),
        IMAGE > np.array([80, 100, 120])[:, None, None],
    ),
    "dtype": (op("ensure_dtype", dtype="uint8"), np.trunc(np.clip(IMAGE, 0, 255))),
    "bool": (op("ensure_dtype", dtype="bool"), IMAGE != 0),
    "float": (op("ensure_dtype", dtype="float64"), IMAGE),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_formulas(name):
    operation, wanted = FORMULAS[name]
    before = IMAGE.copy()
    near(operation(IMAGE), wanted)
    assert (before == IMAGE).all()


def test_the_table_names_every_operation():
    from smartscope.inference._operations import _MAKERS

    tested = {operation.name for operation, _ in FORMULAS.values()}
    assert tested | {"scale_mean_variance"} == set(_MAKERS)


def test_planes_of_a_stack():
    per_plane = op("zero_mean_unit_variance", "czyx", axes="yx")
    assert per_plane.affine is None
    near(per_plane(STACK), zero_mean(STACK, (2, 3)))
    whole = op("zero_mean_unit_variance", "czyx", axes="zyx")
    assert whole.affine is not None
    near(whole(STACK), zero_mean(STACK, (1, 2, 3)))
    near(op("scale_range", "czyx")(STACK), scale_range(STACK, None, 0, 100))


AFFINE = [
    ("scale_range", {"min_percentile": 1, "max_percentile": 99.8}),
    ("scale_range", {"axes": ["y", "x"], "min_percentile": 3, "max_percentile": 90}),
    ("zero_mean_unit_variance", {}),
    ("zero_mean_unit_variance", {"axes": ["y", "x"]}),
    (
        "fixed_zero_mean_unit_variance",
        {"mean": [1, 2, 3], "std": [4, 5, 6], "axis": "c"},
    ),
    ("fixed_zero_mean_unit_variance", {"mean": 3, "std": 4}),
    ("scale_linear", {"gain": [1, 2, 3], "axis": "channel"}),
    ("scale_linear", {"gain": 3, "offset": 2}),
    ("ensure_dtype", {"dtype": "float32"}),
]


@pytest.mark.parametrize(("name", "kwargs"), AFFINE)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_gain_and_offset_of_camera_frames(name, kwargs, dtype):
    frame = (COUNTS // 4).astype(dtype)
    operation = op(name, **kwargs)
    gain, offset = operation.affine(frame)
    assert gain.shape == offset.shape == (3,)
    assert gain.dtype == offset.dtype == np.float32
    by_hand = frame * gain[:, None, None] + offset[:, None, None]
    near(by_hand.astype(np.float32), operation(frame))
    near(operation(frame), operation(frame.astype(np.float32)))


def test_constant_steps_look_at_no_image():
    for name, kwargs in AFFINE:
        operation = op(name, **kwargs)
        same = all(
            np.array_equal(a, b)
            for a, b in zip(
                operation.affine(COUNTS), operation.affine(COUNTS * 2), strict=True
            )
        )
        assert operation.constant == same, name


def test_what_is_not_affine_says_so():
    for name, kwargs in (
        ("sigmoid", {}),
        ("clip", {"min": 0}),
        ("softmax", {}),
        ("scale_range", {"reference_tensor": "raw"}),
        ("zero_mean_unit_variance", {"axes": "x"}),
    ):
        assert op(name, **kwargs).affine is None


@pytest.mark.parametrize("level", [0, 7, 65535])
@pytest.mark.parametrize("name", ["scale_range", "zero_mean_unit_variance"])
def test_an_image_of_one_value_becomes_zero(name, level):
    flat = np.full((1, 9, 9), level, dtype=np.uint16)
    assert (op(name)(flat) == 0).all()


def test_statistics_of_another_tensor():
    raw = COUNTS
    context = Context({"raw": raw})
    kwargs = {"reference_tensor": "raw", "axes": ["y", "x"]}
    near(
        op("scale_range", min_percentile=2, max_percentile=98, **kwargs)(
            IMAGE, context
        ),
        scale_range(IMAGE, (1, 2), 2, 98, raw),
    )
    found = op("scale_mean_variance", eps=0.01, **kwargs)(IMAGE, context)
    mean = raw.mean((1, 2), keepdims=True)
    std = raw.std((1, 2), keepdims=True)
    near(found, zero_mean(IMAGE, (1, 2), 0.01) * (std + 0.01) + mean)
    with pytest.raises(ModelError, match="the image of the input 'raw' is not known"):
        op("scale_range", **kwargs)(IMAGE)


def test_frames_of_a_window_are_channels():
    near(
        op("zero_mean_unit_variance", axes=["time", "y", "x"])(IMAGE),
        zero_mean(IMAGE, (0, 1, 2)),
    )


def test_large_numbers_do_not_overflow():
    image = np.array([[[-1e4, 0, 1e4]]], dtype=np.float32)
    assert op("sigmoid")(image).ravel().tolist() == [0, 0.5, 1]
    assert op("softmax", axis="x")(image).ravel().tolist() == [0, 0, 1]


def test_settings_are_written_as_in_the_newer_format():
    assert op("zero_mean_unit_variance", axes="yxc", mode="per_sample").settings == {
        "axes": ["y", "x", "channel"]
    }
    old = op("zero_mean_unit_variance", mode="fixed", mean=[1], std=[2.0], axes="yx")
    assert old.name == "fixed_zero_mean_unit_variance"
    assert old.settings == {"mean": [1], "std": [2.000001], "axis": "channel"}
    assert op("scale_linear", gain=[1, 2, 3], axes="yx").settings == {
        "gain": [1, 2, 3],
        "axis": "channel",
    }


REFUSED = {
    "unknown": ("blur", {}, "the operation 'blur' is not supported"),
    "program": ("custom", {"x": 1}, "a program inside the package, which is never"),
    "argument": ("sigmoid", {"slope": 2}, "'sigmoid' with 'slope' is not supported"),
    "dataset": (
        "zero_mean_unit_variance",
        {"mode": "per_dataset"},
        "mode: mode 'per_dataset' is not supported, because the package does not",
    ),
    "no mode": ("scale_range", {"mode": "often"}, "expected one of per_sample"),
    "mean of a sample": (
        "zero_mean_unit_variance",
        {"mode": "per_sample", "mean": 3},
        "goes with mode 'fixed' only",
    ),
    "no deviation": (
        "fixed_zero_mean_unit_variance",
        {"mean": 0, "std": 0},
        "std: expected numbers above 0",
    ),
    "percentiles": ("scale_range", {"max_percentile": 0}, "percentiles must rise"),
    "eps": ("scale_range", {"eps": 0}, "eps: expected a number above 0"),
    "axes": ("scale_range", {"axes": "q"}, "axes: expected axes out of batch"),
    "batch alone": ("scale_range", {"axes": ["batch"]}, "over the batch alone"),
    "no axis": ("softmax", {"axis": "z"}, "there is no axis 'z' to work along"),
    "too many": ("scale_linear", {"gain": [1, 2]}, "has 2 values for 3 along"),
    "two axes": ("scale_linear", {"gain": [1, 2], "axes": "x"}, "exactly one axis"),
    "empty": ("scale_linear", {"gain": []}, "a number, or one for each channel"),
    "infinite": ("scale_linear", {"gain": float("inf")}, "a finite number"),
    "no number": ("binarize", {"threshold": "high"}, "threshold: expected a number"),
    "no threshold": ("binarize", {}, "threshold: is missing"),
    "both": ("clip", {"min": 0, "min_percentile": 1}, "give min or min_percentile"),
    "neither": ("clip", {}, "'clip' needs min or max"),
    "upside down": ("clip", {"min": 3, "max": 2}, "min is above max"),
    "no reference": ("scale_mean_variance", {}, "reference_tensor: is missing"),
    "dtype": ("ensure_dtype", {"dtype": "float8"}, "dtype: expected one of float32"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    operation, kwargs, expected = REFUSED[name]
    with pytest.raises(ModelError, match=expected) as caught:
        op(operation, channels=3, **kwargs)
    assert str(caught.value).startswith("net: p") and "\n" not in str(caught.value)


def test_values_for_other_channels_are_refused_when_they_meet_them():
    with pytest.raises(ModelError, match="has 2 values for 3 along its axis"):
        op("scale_linear", gain=[1, 2])(IMAGE)


pixels = st.integers(1, 400).flatmap(
    lambda count: st.tuples(
        st.just(count), st.integers(0, 2**32 - 1), st.sampled_from([3, 200, 60000])
    )
)
percents = st.lists(st.floats(0, 100), min_size=1, max_size=4)


@settings(max_examples=300, deadline=None)
@given(pixels, percents, st.sampled_from(["uint8", "uint16", "float32"]))
def test_statistics_are_those_of_numpy(kind, wanted, dtype):
    count, seed, most = kind
    values = np.random.default_rng(seed).integers(0, most, count)
    values = (values if dtype != "uint8" else values % 256).astype(dtype)
    if dtype == "float32":
        values = values * np.float32(0.37) - 50
    exact = values.astype(np.float64)
    found = percentiles(values, wanted)
    np.testing.assert_allclose(
        found, np.percentile(exact, wanted), rtol=1e-9, atol=1e-9
    )
    mean, deviation = mean_and_deviation(values)
    np.testing.assert_allclose(mean, exact.mean(), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(deviation, exact.std(), rtol=1e-6, atol=1e-6)


def test_statistics_of_a_whole_frame():
    frame = np.random.default_rng(1).poisson(900, (512, 512)).astype(np.uint16)
    assert percentiles(frame, [1, 99.8]).tolist() == (
        np.percentile(frame, [1, 99.8]).tolist()
    )
    mean, deviation = mean_and_deviation(frame)
    assert mean == frame.mean(dtype=np.float64)
    assert deviation == pytest.approx(frame.std(dtype=np.float64), rel=1e-12)
    # A part of a frame is no contiguous array.
    part = frame[3:400:2, 5:]
    assert mean_and_deviation(part)[0] == part.mean(dtype=np.float64)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(1,), (3, 5), (2, 300, 301), (1, 700, 400)])
def test_mean_and_deviation_of_counts_are_exact(dtype, shape):
    counts = np.random.default_rng(1).integers(0, np.iinfo(dtype).max + 1, shape)
    top = np.full(shape, np.iinfo(dtype).max)
    for values in (counts.astype(dtype), top.astype(dtype)):
        whole = [int(value) for value in values.ravel()]
        total, squares, n = sum(whole), sum(v * v for v in whole), len(whole)
        wanted = (total / n, math.sqrt(squares * n - total * total) / n)
        assert mean_and_deviation(values) == wanted
        assert mean_and_deviation(np.repeat(values, 2, axis=0)[::2]) == wanted
