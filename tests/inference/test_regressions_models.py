"""Defects that were there once: what models do at the edges."""

import warnings
from copy import deepcopy
from dataclasses import replace

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper
from test_model_images import image, layout, model, network  # noqa: F401
from tiny_onnx import files, folder, package_04, package_05
from tiny_onnx import network as tiny

from smartscope.core import ModelError
from smartscope.inference import (
    Answers,
    Axis,
    Layout,
    Weights,
    export_package,
    import_model,
    load_model,
    open_description,
    open_package,
    write_package,
)
from smartscope.inference._rdf import Follow
from smartscope.inference._tiles import Blend, Span, Tiling

FREE = {"x": (1, 1, "h", "w")}, {"y": (1, 1, "oh", "ow")}
RANGE = {"scale_range": {"min_percentile": 1, "max_percentile": 99}}
SCORES = Layout((Axis("b", 1), Axis("c", 1)))


def node(kind, *inputs, **attributes):
    return helper.make_node(kind, list(inputs) or ["x"], ["y"], **attributes)


def saved(path, weights):
    path.write_bytes(weights.content)
    return path


def counts(*shape, dtype=np.uint16, low=0, high=60000):
    return np.random.default_rng(0).integers(low, high, shape).astype(dtype)


def identity(given=None, gives=None, **more):
    weights = network([node("Identity")], *FREE)
    return model(weights, [given or layout()], [gives or layout()], **more)


def whole_numbers(kind, *steps):
    """A network that reads whole numbers and gives them back as floats."""
    weights = network([node("Cast", to=TensorProto.FLOAT)], *FREE)
    made = onnx.load_from_string(weights.content)
    made.graph.input[0].type.tensor_type.elem_type = kind
    content = made.SerializeToString()
    weights = Weights("onnx", content, "net.onnx", "1" * 64)
    return model(weights, [layout()], [layout()], operations=steps)


# -- images ----------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(0, 10), (0, 0), (1, 5, 0)])
def test_an_empty_image_is_refused(shape):
    for steps in ([], [RANGE]):
        with pytest.raises(ModelError, match=r"net: the image is empty \(1 x "):
            identity(operations=steps).run(np.zeros(shape, np.uint16))


@pytest.mark.parametrize("dtype", [complex, object, "U1", "datetime64[s]"])
def test_what_is_not_a_number_is_refused(dtype):
    with pytest.raises(ModelError, match=r"the image holds .*, not plain numbers"):
        identity().run(np.zeros((4, 4)).astype(dtype))


@pytest.mark.parametrize("value", [1e300, 3e38, np.inf, np.nan])
@pytest.mark.parametrize("step", [RANGE, "zero_mean_unit_variance", None])
def test_values_without_end_are_refused_without_a_word_of_numpy(value, step):
    picture = np.full((5, 6), value)
    picture[0] = -picture[0]
    net = identity(operations=[] if step is None else [step])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            (out,) = net.run(picture)
        except ModelError as error:
            assert "not finite" in str(error)
        else:
            assert np.isfinite(out).all()


@pytest.mark.parametrize("dtype", [np.uint32, np.int64, np.float64])
@pytest.mark.parametrize("name", ["range", "sample", "fixed", "linear"])
def test_small_contrast_on_large_values_keeps_its_digits(dtype, name):
    picture = counts(40, 50, low=10**9, high=10**9 + 1000, dtype=dtype)
    exact = picture.astype(np.float64)
    low, high = np.percentile(exact, (1, 99))
    fixed = {"mean": 1e9, "std": 100.0}
    step, wanted = {
        "range": (RANGE, (exact - low) / (high - low)),
        "sample": ("zero_mean_unit_variance", (exact - exact.mean()) / exact.std()),
        "fixed": ({"fixed_zero_mean_unit_variance": fixed}, (exact - 1e9) / 100),
        "linear": ({"scale_linear": {"gain": 0.01, "offset": -1e7}}, exact / 100 - 1e7),
    }[name]
    (out,) = identity(operations=[step]).run(picture)
    np.testing.assert_allclose(out[0], wanted, atol=1e-5)


@pytest.mark.parametrize("dtype", [">u2", ">f4", ">f8", "?", "<i2", "<f2"])
def test_any_order_of_bytes_and_of_memory(dtype):
    whole = counts(80, 120, high=2).astype(dtype)
    for picture in (whole, whole.T, whole[::2, ::-3], whole[:, 5:90]):
        picture.setflags(write=False)
        (out,) = identity(operations=["zero_mean_unit_variance"]).run(picture)
        exact = picture.astype(np.float64)
        wanted = (exact - exact.mean()) / (exact.std() + 1e-6)
        np.testing.assert_allclose(out[0], wanted, atol=1e-5)


# -- networks that read whole numbers --------------------------------------------------


@pytest.mark.parametrize(
    "kind, most", [(TensorProto.UINT8, 255), (TensorProto.INT16, 32767)]
)
def test_counts_beyond_the_type_of_the_network_do_not_wrap(kind, most):
    picture = counts(20, 30)
    (out,) = whole_numbers(kind).run(picture)
    np.testing.assert_array_equal(out[0], np.minimum(picture, most))


@pytest.mark.parametrize("kind", [TensorProto.UINT8, TensorProto.INT32])
def test_scaled_counts_reach_a_network_of_whole_numbers(kind):
    step = {"scale_linear": {"gain": 0.5, "offset": 3}}
    picture = counts(20, 30, high=900)
    (out,) = whole_numbers(kind, step).run(picture)
    most = 255 if kind == TensorProto.UINT8 else 10**6
    np.testing.assert_array_equal(out[0], np.minimum(picture * 0.5 + 3, most) // 1)


def test_no_whole_number_is_made_of_what_is_none():
    with pytest.raises(ModelError, match="not finite, and the network reads whole"):
        whole_numbers(TensorProto.UINT8).run(np.full((4, 4), np.nan, np.float32))


# -- several inputs --------------------------------------------------------------------


def difference(sizes=("h", "w"), pool=1):
    nodes = [
        helper.make_node("Sub", ["a", "b"], ["d"]),
        node("AveragePool", "d", kernel_shape=[pool] * 2, strides=[pool] * 2),
    ]
    given = dict.fromkeys("ab", (1, 1, *sizes))
    return network(nodes, given, {"y": (1, 1, "oh", "ow")})


def test_two_inputs_lie_on_each_other_on_a_coarse_grid():
    steps = layout(y=Axis("y", 16, 16), x=Axis("x", 16, 16))
    coarse = layout(y=Axis("y", scale=0.25), x=Axis("x", scale=0.25))
    picture = counts(36, 44)
    (out,) = model(difference(pool=4), [steps, steps], [coarse]).run(picture, picture)
    assert out.shape == (1, 9, 11) and not out.any()


def test_two_inputs_are_cut_into_the_same_tiles():
    fixed = layout(y=Axis("y", 32), x=Axis("x", 32))
    picture = counts(70, 90)
    net = model(difference((32, 32)), [fixed, fixed], [layout()])
    (out,) = net.run(picture, picture // 2)
    np.testing.assert_allclose(out[0], picture - picture // 2, rtol=1e-5)
    with pytest.raises(ModelError, match="input 'in1' has 71 pixels along y"):
        net.run(picture, counts(71, 90))


def test_another_size_of_the_second_image_is_noticed():
    weights = network(
        [node("Sub", "a", "s"), helper.make_node("ReduceMax", ["b"], ["s"])],
        {"a": (1, 1, "h", "w"), "b": (1, 1, "i", "j")},
        {"y": (1, 1, "h", "w")},
    )
    made = onnx.load_from_string(weights.content)
    made.graph.node.insert(0, made.graph.node.pop())
    content = made.SerializeToString()
    weights = Weights("onnx", content, "net.onnx", "2" * 64)
    net = model(weights, [layout(), layout()], [layout()])
    picture, peak = counts(20, 30), np.zeros((8, 9), np.uint16)
    assert (net.run(picture, peak)[0] == picture).all()
    larger = np.zeros((80, 90), np.uint16)
    larger[-1, -1] = 7
    assert (net.run(picture, larger)[0] == picture - 7.0).all()


# -- planes, grids, halos --------------------------------------------------------------


def test_planes_that_were_added_are_taken_away_in_tiles_too():
    stack = counts(1, 5, 40, 50)
    shape = (1, 1, "z", 32, 32)
    weights = network([node("Identity")], {"x": shape}, {"y": shape})
    given = layout("bczyx", z=Axis("z", 4, 4), y=Axis("y", 32), x=Axis("x", 32))
    (out,) = model(weights, [given], [layout("bczyx")]).run(stack)
    assert out.shape == stack.shape
    np.testing.assert_allclose(out, stack, rtol=1e-5)


def planes(kernel, stride, gives, z=None):
    pool = node("MaxPool", kernel_shape=[kernel, 1, 1], strides=[stride, 1, 1])
    weights = network(
        [pool], {"x": (1, 1, "z", "h", "w")}, {"y": (1, 1, "oz", "h", "w")}
    )
    given = layout("bczyx", z=z or Axis("z"))
    return model(weights, [given], [layout("bczyx", z=gives)])


def test_every_second_plane():
    stack = counts(1, 9, 16, 16)
    net = planes(1, 2, Axis("z", scale=0.5), Axis("z", 4, 4))
    (out,) = net.run(stack)
    # Three planes were added for a network that takes fours: one in front would shift.
    np.testing.assert_array_equal(out[0, :-1], stack[0, :-1:2])
    assert out.shape == (1, 5, 16, 16)


def test_a_network_that_loses_planes_still_covers_the_stack():
    stack = counts(1, 8, 16, 16)
    (out,) = planes(3, 1, Axis("z", offset=-2)).run(stack)
    around = np.pad(stack, ((0, 0), (1, 1), (0, 0), (0, 0)), "reflect")
    wanted = np.max([around[:, k : k + 8] for k in range(3)], axis=0)
    np.testing.assert_array_equal(out, wanted)


@pytest.mark.parametrize("size", [30, 31, 64])
def test_tiles_need_not_be_a_multiple_of_the_grid(size):
    picture = counts(70, 90)
    pool = node("AveragePool", kernel_shape=[4, 4], strides=[4, 4])
    shape = (1, 1, size, size)
    weights = network([pool], {"x": shape}, {"y": (1, 1, "oh", "ow")})
    given = layout(y=Axis("y", size), x=Axis("x", size))
    coarse = layout(y=Axis("y", scale=0.25), x=Axis("x", scale=0.25))
    (out,) = model(weights, [given], [coarse]).run(picture)
    assert out.shape == (1, 18, 23)
    wanted = picture[:68, :88].reshape(17, 4, 22, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(out[0, :17, :22], wanted, rtol=1e-5)


def test_a_coarse_output_covers_the_last_pixels():
    pool = node("AveragePool", kernel_shape=[4, 4], strides=[4, 4])
    coarse = layout(y=Axis("y", scale=0.25), x=Axis("x", scale=0.25))
    (out,) = model(network([pool], *FREE), [layout()], [coarse]).run(counts(40, 49))
    assert out.shape == (1, 10, 13)


def test_outputs_on_grids_of_two_and_of_three():
    picture = counts(60, 75)
    nodes = [
        helper.make_node(
            "MaxPool", ["x"], [name], kernel_shape=[1, 1], strides=[step, step]
        )
        for name, step in (("a", 2), ("b", 3))
    ]
    gives = {"a": (1, 1, 18, 18), "b": (1, 1, 12, 12)}
    weights = network(nodes, {"x": (1, 1, 36, 36)}, gives)
    given = layout(y=Axis("y", 36), x=Axis("x", 36))
    grids = [layout(y=Axis("y", scale=1 / n), x=Axis("x", scale=1 / n)) for n in (2, 3)]
    twos, threes = model(weights, [given], grids).run(picture)
    np.testing.assert_allclose(twos[0], picture[::2, ::2], rtol=1e-5)
    np.testing.assert_allclose(threes[0], picture[::3, ::3], rtol=1e-5)


@pytest.mark.parametrize("grid", [1, 2, 3, 4, 8])
def test_no_pixel_of_a_halo_counts(grid):
    random = np.random.default_rng(grid)
    tried = 0
    while tried < 60:
        tile = grid * int(random.integers(2, 40))
        halo, size = int(random.integers(0, tile // 2)), int(random.integers(1, 500))
        spoilt = -(-halo // grid)
        if (2 * spoilt + 1) * grid > tile:
            continue
        tried += 1
        rows = Span.over(size, tile, halo=halo, grid=grid)
        blend = Blend(Tiling(rows, Span.over(grid, grid)), (1 / grid, 1 / grid))
        wanted = random.random((-(-size // grid), 1)).astype(np.float32)
        last = len(rows.starts) - 1
        for number, start in enumerate(rows.starts):
            seen = np.arange(tile // grid) + start // grid
            inside = (seen >= 0) & (seen < len(wanted))
            given = np.full((1, len(seen), 1), 1e6, np.float32)
            given[0, inside] = wanted[seen[inside]]
            given[0, : spoilt * (number > 0)] = 1e6
            given[0, len(seen) - spoilt * (number < last) :] = 1e6
            blend.add(number, 0, given)
        np.testing.assert_allclose(blend.image()[0], wanted, rtol=1e-5)


def test_a_halo_that_leaves_nothing_of_a_tile_is_refused():
    fixed = layout(y=Axis("y", 32), x=Axis("x", 32))
    all_of_it = layout(y=Axis("y", halo=16), x=Axis("x", halo=16))
    shape = (1, 1, 32, 32)
    weights = network([node("Identity")], {"x": shape}, {"y": shape})
    net = model(weights, [fixed], [all_of_it])
    assert net.run(counts(32, 32))[0].shape == (1, 32, 32)
    with pytest.raises(ModelError, match=r"of 32 pixels .* leaves 32 out; corr"):
        net.run(counts(200, 200))


# -- numbers for a whole image ---------------------------------------------------------


def pooled(flat=True):
    nodes = [helper.make_node("GlobalAveragePool", ["x"], ["p"])]
    nodes.append(node("Flatten", "p") if flat else node("Identity", "p"))
    return network(nodes, FREE[0], {"y": (1, 1) if flat else (1, 1, "a", "b")})


def test_scores_of_an_image_larger_than_a_tile():
    picture = counts(2100, 30, high=100)
    (out,) = model(pooled(), [layout()], [SCORES]).run(picture)
    assert out.ravel() == pytest.approx([picture.mean()], rel=1e-4)


@pytest.mark.parametrize("flat", [True, False])
def test_a_bare_classifier(tmp_path, flat):
    path = saved(tmp_path / "net.onnx", pooled(flat))
    net = load_model(path, runtime="onnxruntime", threads=1)
    for size in ((40, 50), (64, 64), (2100, 30)):
        picture = counts(*size, high=100)
        (out,) = net.run(picture)
        assert out.shape == (1, 1, 1)
        assert out.ravel() == pytest.approx([picture.mean()], rel=1e-4)


@pytest.mark.parametrize("flat", [True, False])
def test_an_imported_classifier_says_the_same_as_the_bare_one(tmp_path, flat):
    path = saved(tmp_path / "classes.onnx", pooled(flat))
    made = write_package(tmp_path / "package", import_model(path, Answers()))
    net = load_model(made, runtime="onnxruntime", threads=1)
    assert net.check().absolute < 1e-3
    picture = counts(45, 77, high=100)
    bare = load_model(path, runtime="onnxruntime", threads=1).run(picture)[0].copy()
    np.testing.assert_array_equal(net.run(picture)[0], bare)


# -- networks alone --------------------------------------------------------------------


def test_a_bare_network_on_a_coarse_grid(tmp_path):
    pool = node("MaxPool", kernel_shape=[1, 1], strides=[2, 2])
    path = saved(tmp_path / "net.onnx", network([pool], *FREE))
    net = load_model(path, runtime="onnxruntime", threads=1)
    picture = counts(83, 150)
    (out,) = net.run(picture)
    np.testing.assert_array_equal(out[0], picture[::2, ::2])


def test_a_package_is_not_written_for_sizes_that_give_parts_of_pixels(tmp_path):
    pool = node("AveragePool", kernel_shape=[4, 4], strides=[4, 4])
    path = saved(tmp_path / "net.onnx", network([pool], *FREE))
    with pytest.raises(ModelError, match=r"of 32 pixels along y .* give 'multiple_of'"):
        import_model(path, Answers())
    axis = import_model(path, Answers(multiple_of=4)).outputs[0].layout.axis("y")
    assert (axis.scale, axis.offset) == (0.25, 0)


def test_a_bare_network_without_padding(tmp_path):
    kernel = [("k", np.ones((1, 1, 3, 3), np.float32))]
    weights = network([node("Conv", "x", "k")], *FREE, kernel)
    path = saved(tmp_path / "net.onnx", weights)
    picture = counts(40, 50, high=99)
    around = np.pad(picture, 1, "reflect").astype(np.float32)
    wanted = sum(around[i : i + 40, j : j + 50] for i in range(3) for j in range(3))
    net = load_model(path, runtime="onnxruntime", threads=1)
    np.testing.assert_array_equal(net.run(picture)[0][0], wanted)
    # Its test tensors are smaller than their input, as the network gives them.
    made = write_package(tmp_path / "package", import_model(path, Answers()))
    assert load_model(made, runtime="onnxruntime", threads=1).check().absolute == 0


def test_a_bare_network_of_any_number_of_planes(tmp_path):
    shape = (1, 1, "z", "h", "w")
    weights = network([node("Identity")], {"x": shape}, {"y": shape})
    path = saved(tmp_path / "net.onnx", weights)
    stack = counts(1, 5, 20, 24)
    net = load_model(path, axes="bczyx", runtime="onnxruntime", threads=1)
    np.testing.assert_array_equal(net.run(stack)[0], stack)


def test_a_bare_network_for_several_images_at_once_is_refused(tmp_path):
    shape = (4, 1, "h", "w")
    weights = network([node("Identity")], {"x": shape}, {"y": shape})
    with pytest.raises(ModelError, match="takes 4 images at once; export it for one"):
        load_model(saved(tmp_path / "net.onnx", weights))


def test_torchscript_has_to_be_imported(tmp_path):
    path = tmp_path / "net.pt"
    path.write_bytes(b"PK")
    with pytest.raises(ModelError, match="a TorchScript model has to be imported"):
        load_model(path)


# -- sizes that are tied ---------------------------------------------------------------


def tied(tmp_path, scale=1.0, offset=0):
    """A package in which the width of the input follows its height."""
    content = import_model(
        saved(tmp_path / "net.onnx", network([node("Identity")], *FREE)),
        Answers(multiple_of=16),
    )
    follow = Follow("image", "y", scale, offset)
    given = replace(content.inputs[0], follows={"x": follow})
    content = replace(content, inputs=(given,), test_inputs=(), test_outputs=())
    made = write_package(tmp_path / "package", content)
    given = open_description(open_package(made)).input
    assert given.follows == {"x": follow}
    return load_model(made, runtime="onnxruntime", threads=1)


@pytest.mark.parametrize("shape", [(40, 100), (100, 40), (7, 7), (300, 50)])
def test_a_network_for_squares_gets_squares(tmp_path, monkeypatch, shape):
    monkeypatch.setattr("smartscope.inference._plan.TILE_PX", 128)
    net = tied(tmp_path)
    picture = counts(*shape)
    (out,) = net.run(picture)
    np.testing.assert_allclose(out[0], picture, rtol=1e-5)
    ((_, _, height, width),) = net.verdict.shapes
    assert height == width <= 128 and height % 16 == 0


def test_a_width_that_is_twice_the_height_and_a_bit(tmp_path):
    net = tied(tmp_path, scale=2.0, offset=4)
    picture = counts(40, 150)
    np.testing.assert_allclose(net.run(picture)[0][0], picture, rtol=1e-5)
    assert net.verdict.shapes == ((1, 1, 80, 164),)


# -- packages -------------------------------------------------------------------------


@pytest.mark.parametrize("written", ["1 x 1", "no scale", "0.5"])
def test_a_package_with_one_number_for_an_image_of_any_size(tmp_path, written):
    weights = tiny("GlobalMaxPool", [1, 1, "y", "x"], out=[1, 1, 1, 1])
    if written == "0.5":
        free = {"min": 1, "step": 1}
        content = package_05({"y": free, "x": free}, "bcyx")
        rdf = yaml.safe_load(content["bioimageio.yaml"])
        for axis in rdf["outputs"][0]["axes"][2:]:
            axis["size"] = 1
        del rdf["weights"]["onnx"]["sha256"]
        content = files(rdf, weights)
    else:
        rdf = yaml.safe_load(package_04()["rdf.yaml"])
        single = {
            "reference_tensor": "raw",
            "scale": [1, 1, 0, 0],
            "offset": [0, 0, 0.5, 0.5],
        }
        rdf["outputs"][0]["shape"] = [1] * 4 if written == "1 x 1" else single
        del rdf["test_inputs"], rdf["test_outputs"]
        content = files(rdf, weights, "rdf.yaml")
    first = folder(tmp_path / "first", content)
    picture = counts(30, 45)
    # Written again it is the same.
    for path in (first, export_package(first, tmp_path / "again.zip")):
        (out,) = load_model(path, runtime="onnxruntime", threads=1).run(picture)
        assert out.shape == (1, 1, 1) and out.max() == picture.max()


def test_an_optional_input_that_the_network_lacks_is_not_asked_for(tmp_path):
    free = {"min": 1, "step": 1}
    rdf = yaml.safe_load(package_05({"y": free, "x": free}, "bcyx")["bioimageio.yaml"])
    mask = {**deepcopy(rdf["inputs"][0]), "id": "mask", "optional": True}
    rdf["inputs"].append(mask)
    del rdf["weights"]["onnx"]["sha256"]
    path = folder(tmp_path / "net", files(rdf, tiny("Abs", [1, 1, "y", "x"])))
    net = load_model(path, runtime="onnxruntime", threads=1)
    assert [each.name for each in net.inputs] == ["raw"]
    assert (net.run(counts(9, 8))[0] == counts(9, 8)).all()
    both = folder(tmp_path / "two", files(rdf, tiny("Add", [1, 1, "y", "x"], inputs=2)))
    net = load_model(both, runtime="onnxruntime", threads=1)
    assert (net.run(counts(9, 8), counts(9, 8))[0] == 2.0 * counts(9, 8)).all()


def test_no_size_is_prepared_below_one_pixel():
    for shape in ((0, 4), (-3, 5)):
        with pytest.raises(ModelError, match=r"the image is empty \(1 x 0 x"):
            identity().prepare(shape)


# -- failures --------------------------------------------------------------------------


class Failing:
    """A runtime that fails once, in the middle."""

    def __init__(self, inner, after):
        self.inner, self.after = inner, after
        self.name, self.precision = inner.name, inner.precision
        self.inputs, self.outputs = inner.inputs, inner.outputs
        self.prepare, self.close = inner.prepare, inner.close

    def run(self):
        self.after -= 1
        if self.after == 0:
            raise ModelError("the card has left")
        return self.inner.run()


def test_after_a_failure_in_the_middle_the_next_image_is_right(image):  # noqa: F811
    fixed = layout(y=Axis("y", 32), x=Axis("x", 32))
    shape = (1, 1, 32, 32)
    weights = network([node("Identity")], {"x": shape}, {"y": shape})
    net = model(weights, [fixed], [layout()])
    net.prepare(image.shape)
    net.runtime = Failing(net.runtime, after=4)
    with pytest.raises(ModelError, match="the card has left"):
        net.run(image // 3)
    np.testing.assert_allclose(net.run(image)[0][0], image, rtol=1e-5)


def test_a_closed_model_opens_again_when_it_is_asked(image):  # noqa: F811
    net = identity()
    first = net.run(image)[0].copy()
    net.close()
    net.close()
    assert net.facts()["runtime"] is None
    np.testing.assert_array_equal(net.run(image)[0], first)


def test_what_a_runtime_notes_reaches_the_journal(image):  # noqa: F811
    net = identity()
    assert net.facts()["reports"] == []
    net.prepare(image.shape)
    wrapped = Failing(net.runtime, after=0)
    wrapped.notes = ("the engine was of another card and was built again",)
    net.runtime = wrapped
    assert net.facts()["reports"] == list(wrapped.notes)
