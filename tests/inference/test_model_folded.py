"""Frames given to the runtime as bytes: the same numbers as by way of floats."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import helper
from test_model_images import image, layout, model, network  # noqa: F401

from smartscope.core import ModelError
from smartscope.inference import Axis, Weights
from smartscope.inference import _registry as registry
from smartscope.inference._document import Node
from smartscope.inference._fold import fold
from smartscope.inference._operations import operation_of
from smartscope.inference._ort import OrtRuntime

STEPS = [
    {"scale_range": {"min_percentile": 1, "max_percentile": 99}},
    {"clip": {"min": 0.0, "max": 1.0}},
]
opened = []


@pytest.fixture
def folding_runtime(monkeypatch):
    """ONNX Runtime, as if it ran on a card."""

    def folded(weights, threads, folding):
        opened.append(folding.camera)
        made = fold(onnx.load_from_string(weights.content), folding, weights.file)
        content = made.SerializeToString()
        return OrtRuntime(Weights("onnx", content, "net", "1" * 64), threads=threads)

    opened.clear()
    kinds = dict(registry.RUNTIMES)
    kinds["onnxruntime"] = replace(kinds["onnxruntime"], folded=folded)
    monkeypatch.setattr(registry, "RUNTIMES", kinds)
    monkeypatch.setattr("smartscope.inference._choose.RUNTIMES", kinds)


def refuse(monkeypatch, folded):
    """Let the folded runtime be what `folded` gives."""
    kinds = dict(registry.RUNTIMES)
    kinds["onnxruntime"] = replace(kinds["onnxruntime"], folded=folded)
    monkeypatch.setattr(registry, "RUNTIMES", kinds)


def net(order="bcyx", **axes):
    sizes = {"b": 1, "c": 1, **{name: name for name in "yx"}}
    shape = tuple(axes[n].fixed if n in axes else sizes[n] for n in order)
    weights = network(
        [
            helper.make_node("Abs", ["x"], ["a"]),
            helper.make_node("Neg", ["a"], ["y"]),
        ],
        {"x": shape},
        {"y": shape},
    )
    given = layout(order, **axes)
    made = model(weights, [given], [layout(order)], operations=STEPS)
    sigmoid = operation_of(Node("sigmoid", ""))
    made.outputs = tuple(replace(o, operations=(sigmoid,)) for o in made.outputs)
    return made


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("order", ["bcyx", "byxc", "yx"])
def test_bytes_give_what_floats_give(image, folding_runtime, dtype, order):  # noqa: F811
    frame = (image // (16 if dtype == np.uint8 else 1)).astype(dtype)
    floats = net(order).run(frame.astype(np.float32))[0].copy()
    assert opened == []
    counts = net(order)
    np.testing.assert_allclose(counts.run(frame)[0], floats, atol=1e-5)
    np.testing.assert_allclose(counts.run(frame // 2)[0], floats, atol=0.1)
    assert opened == [np.dtype(dtype).name]


def test_tiles_and_margins_of_bytes(image, folding_runtime):  # noqa: F811
    frame = image.astype(np.uint16)
    fixed = {"y": Axis("y", 64), "x": Axis("x", 160)}
    floats = net(**fixed).run(frame.astype(np.float32))[0].copy()
    np.testing.assert_allclose(net(**fixed).run(frame)[0], floats, atol=1e-5)
    assert opened == ["uint16"]


def test_frames_of_another_type_get_a_runtime_of_their_own(image, folding_runtime):  # noqa: F811
    made = net()
    first = made.run(image.astype(np.uint16))[0].copy()
    second = made.run(image.astype(np.float32))[0].copy()
    third = made.run(image.astype(np.uint16))[0]
    np.testing.assert_allclose(first, second, atol=1e-5)
    np.testing.assert_array_equal(first, third)
    # Both stay open: nothing is built again when the type changes back.
    assert opened == ["uint16"]


def test_what_cannot_be_folded_stays_outside_and_is_said(
    image,  # noqa: F811
    folding_runtime,
    monkeypatch,
):
    frame = image.astype(np.uint16)
    expected = net().run(frame)[0].copy()

    def folded(weights, threads, folding):
        opened.append(folding.camera)
        raise ModelError("net: this processing needs operator set 13")

    refuse(monkeypatch, folded)
    opened.clear()
    made = net()
    np.testing.assert_allclose(made.run(frame)[0], expected, atol=1e-5)
    np.testing.assert_allclose(made.run(frame[:40])[0].shape, (1, 40, 150))
    assert opened == ["uint16"]
    assert made.facts()["reports"] == [
        "pre- and post-processing stay on the host: net: this processing needs "
        "operator set 13"
    ]


def test_a_folded_network_that_differs_is_not_used(
    image,  # noqa: F811
    folding_runtime,
    monkeypatch,
):
    frame = image.astype(np.uint16)
    expected = net().run(frame)[0].copy()
    right = registry.RUNTIMES["onnxruntime"].folded

    def folded(weights, threads, folding):
        return right(weights, threads, replace(folding, postprocessing=((),)))

    refuse(monkeypatch, folded)
    made = net()
    np.testing.assert_allclose(made.run(frame)[0], expected, atol=1e-5)
    (report,) = made.facts()["reports"]
    assert "differs with the processing inside (by " in report


def test_prepared_for_frames_of_8_bits(image, folding_runtime):  # noqa: F811
    made = net()
    made.prepare(image.shape, dtype=np.uint8)
    assert opened == ["uint8"]
    made.run((image // 16).astype(np.uint8))
    assert opened == ["uint8"]
