"""From an image to the network and back: padding, tiles, grids, planes, vectors."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from scipy import ndimage

from smartscope.core import ModelError
from smartscope.inference import Axis, Card, Layout, Model, Weights
from smartscope.inference._document import Node
from smartscope.inference._intake import Intake
from smartscope.inference._operations import operation_of
from smartscope.inference._outcome import Output

KERNEL = np.array([[1, 2, 1], [2, -3, 5], [0, 1, -1]], dtype=np.float32)


def network(nodes, given, gives, constants=()):
    """Weights of a network; `given` and `gives` map names to shapes."""
    inputs, outputs = (
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))
            for name, shape in ports.items()
        ]
        for ports in (given, gives)
    )
    graph = helper.make_graph(
        nodes,
        "net",
        inputs,
        outputs,
        [onnx.numpy_helper.from_array(value, name) for name, value in constants],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 9
    content = made.SerializeToString()
    return Weights(kind="onnx", content=content, file="net.onnx", sha256="0" * 64)


def convolution(shape, out, **attributes):
    node = helper.make_node("Conv", ["x", "k"], ["y"], **attributes)
    return network(
        [node], {"x": shape}, {"y": out}, [("k", KERNEL[np.newaxis, np.newaxis])]
    )


def layout(order="bcyx", **axes):
    made = {"b": Axis("b", 1), "c": Axis("c", 1)}
    return Layout(
        tuple(axes.get(name) or made.get(name) or Axis(name) for name in order)
    )


def model(weights, given, gives, *, operations=(), card=None):
    """A model of one network with inputs and outputs of these layouts."""
    steps = tuple(operation_of(item) for item in Node(list(operations), "").items())
    return Model(
        name="net",
        file="net",
        weights=(weights,),
        card=card or Card(),
        inputs=tuple(
            Intake(f"in{number}", each, steps, "net")
            for number, each in enumerate(given)
        ),
        outputs=tuple(
            Output(f"out{number}", each, (), "net") for number, each in enumerate(gives)
        ),
        runtime="onnxruntime",
        threads=1,
    )


def expected(image):
    return ndimage.correlate(image.astype(np.float32), KERNEL, mode="mirror")


@pytest.fixture
def image():
    return np.random.default_rng(3).integers(0, 4000, (83, 150)).astype(np.uint16)


@pytest.mark.parametrize("tile", [32, 48, 64])
def test_tiles_put_together_are_the_whole(image, tile):
    # The padding of the network spoils one pixel at each border of a tile.
    fixed = layout(y=Axis("y", tile), x=Axis("x", tile))
    gives = layout(y=Axis("y", halo=1), x=Axis("x", halo=1))
    weights = convolution((1, 1, tile, tile), (1, 1, tile, tile), pads=[1] * 4)
    (out,) = model(weights, [fixed], [gives]).run(image)
    assert out.shape == (1, 83, 150)
    inner = slice(1, -1), slice(1, -1)
    np.testing.assert_allclose(out[0][inner], expected(image)[inner], rtol=1e-4)


def test_a_second_image_does_not_remember_the_first(image):
    fixed = layout(y=Axis("y", 32), x=Axis("x", 32))
    weights = convolution((1, 1, 32, 32), (1, 1, 32, 32), pads=[1] * 4)
    net = model(weights, [fixed], [layout()])
    first = net.run(image)[0].copy()
    net.run(image // 2)
    np.testing.assert_array_equal(net.run(image)[0], first)


def test_a_network_without_padding_still_covers_the_image(image):
    given = layout(y=Axis("y", 16, 4), x=Axis("x", 16, 4))
    gives = layout(y=Axis("y", offset=-2), x=Axis("x", offset=-2))
    weights = convolution((1, 1, "h", "w"), (1, 1, "oh", "ow"))
    (out,) = model(weights, [given], [gives]).run(image)
    assert out.shape == (1, 83, 150)
    np.testing.assert_allclose(out[0], expected(image), rtol=1e-4)


def test_a_network_without_padding_in_tiles(image):
    given = layout(y=Axis("y", 40), x=Axis("x", 40))
    gives = layout(y=Axis("y", 38, offset=-2), x=Axis("x", 38, offset=-2))
    weights = convolution((1, 1, 40, 40), (1, 1, 38, 38))
    (out,) = model(weights, [given], [gives]).run(image)
    inner = slice(1, -1), slice(1, -1)
    np.testing.assert_allclose(out[0][inner], expected(image)[inner], rtol=1e-4)


@pytest.mark.parametrize("axis", [Axis("y", 16, 16), Axis("y", 32)])
def test_a_coarse_output_lies_on_the_image(image, axis):
    # Every second pixel: what is given for (i, j) is pixel (2 i, 2 j).
    size = axis.fixed or "h"
    weights = network(
        [
            helper.make_node(
                "MaxPool", ["x"], ["y"], kernel_shape=[1, 1], strides=[2, 2]
            )
        ],
        {"x": (1, 1, size, size and (axis.fixed or "w"))},
        {"y": (1, 1, "oh", "ow")},
    )
    given = layout(y=axis, x=Axis("x", axis.least, axis.step))
    gives = layout(y=Axis("y", scale=0.5), x=Axis("x", scale=0.5))
    (out,) = model(weights, [given], [gives]).run(image)
    assert out.shape == (1, 42, 75)
    np.testing.assert_allclose(out[0], image[::2, ::2], rtol=1e-6)


def test_planes_reach_the_network():
    stack = np.random.default_rng(0).integers(0, 99, (1, 5, 20, 24)).astype(np.uint16)
    weights = network(
        [helper.make_node("Abs", ["x"], ["y"])],
        {"x": (1, 1, "z", "h", "w")},
        {"y": (1, 1, "z", "h", "w")},
    )
    given = layout("bczyx", z=Axis("z", 4, 4), y=Axis("y", 8, 8), x=Axis("x", 8, 8))
    net = model(weights, [given], [layout("bczyx")])
    (out,) = net.run(stack)
    np.testing.assert_array_equal(out, stack)
    with pytest.raises(ModelError, match=r"1 channel\(s\) in the order \(c, z, y, x\)"):
        net.run(stack[0, 0])


def test_frames_of_a_window_are_the_time_axis():
    frames = np.random.default_rng(0).random((3, 16, 16)).astype(np.float32)
    weights = network(
        [helper.make_node("Abs", ["x"], ["y"])],
        {"x": (1, 3, "h", "w")},
        {"y": (1, 3, "h", "w")},
    )
    order = Layout((Axis("b", 1), Axis("t", 3), Axis("y"), Axis("x")))
    (out,) = model(weights, [order], [order]).run(frames)
    np.testing.assert_array_equal(out, frames)


def test_a_vector_is_a_channel_each_and_cannot_be_tiled(image):
    weights = network(
        [
            helper.make_node("GlobalAveragePool", ["x"], ["p"]),
            helper.make_node("Flatten", ["p"], ["y"]),
        ],
        {"x": (1, 1, 32, 32)},
        {"y": (1, 1)},
    )
    fixed = layout(y=Axis("y", 32), x=Axis("x", 32))
    net = model(weights, [fixed], [Layout((Axis("b", 1), Axis("c", 1)))])
    (out,) = net.run(image[:32, :32])
    assert out.shape == (1, 1, 1)
    assert out[0, 0, 0] == pytest.approx(image[:32, :32].mean(), rel=1e-5)
    with pytest.raises(ModelError, match="cannot be put together from tiles"):
        net.run(image)


def test_several_inputs_and_outputs(image):
    weights = network(
        [
            helper.make_node("Add", ["a", "b"], ["s"]),
            helper.make_node("Sub", ["a", "b"], ["d"]),
        ],
        {"a": (1, 1, "h", "w"), "b": (1, 1, "h", "w")},
        {"s": (1, 1, "h", "w"), "d": (1, 1, "h", "w")},
    )
    net = model(weights, [layout(), layout()], [layout(), layout()])
    total, difference = net.run(image, image // 2)
    np.testing.assert_array_equal(total[0], image + image // 2)
    np.testing.assert_array_equal(difference[0], image - image // 2)
    with pytest.raises(ModelError, match=r"2 inputs \(in0, in1\), 1 given"):
        net.run(image)


def test_counts_become_floats_as_the_package_says(image):
    weights = network(
        [helper.make_node("Abs", ["x"], ["y"])],
        {"x": (1, 1, "h", "w")},
        {"y": (1, 1, "h", "w")},
    )
    steps = [
        {"scale_linear": {"gain": 2.0, "offset": 1.0}},
        {"clip": {"max": 3000}},
        {"scale_linear": {"gain": 0.5}},
    ]
    (out,) = model(weights, [layout()], [layout()], operations=steps).run(image)
    want = np.minimum(image * 2.0 + 1.0, 3000) * 0.5
    np.testing.assert_allclose(out[0], want, rtol=1e-6)


def test_the_image_is_not_written_to(image):
    before = image.copy()
    image.flags.writeable = False
    weights = convolution((1, 1, "h", "w"), (1, 1, "h", "w"), pads=[1] * 4)
    net = model(weights, [layout()], [layout()], operations=["sigmoid"])
    net.run(image)
    np.testing.assert_array_equal(image, before)


def test_every_size_is_prepared_once(image, monkeypatch):
    weights = convolution((1, 1, "h", "w"), (1, 1, "h", "w"), pads=[1] * 4)
    net = model(weights, [layout()], [layout()])
    net.prepare((83, 150))
    prepared = []
    original = net.runtime.prepare
    monkeypatch.setattr(
        type(net.runtime), "prepare", lambda self, s: prepared.append(s) or original(s)
    )
    net.run(image)
    net.run(image)
    assert prepared == []
    net.run(image[:40])
    assert prepared == [[(1, 1, 40, 150)]]


def test_a_size_no_network_takes_says_so():
    given = layout("bczyx", z=Axis("z", 4), y=Axis("y", 8, 8), x=Axis("x", 8, 8))
    weights = network(
        [helper.make_node("Abs", ["x"], ["y"])],
        {"x": (1, 1, 4, "h", "w")},
        {"y": (1, 1, 4, "h", "w")},
    )
    net = model(weights, [given], [layout("bczyx")])
    with pytest.raises(ModelError, match="5 pixels along z, more than the model takes"):
        net.run(np.zeros((1, 5, 8, 8), dtype=np.uint16))
