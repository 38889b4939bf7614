"""Which model a name stands for, and what is learned from a bare network."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from smartscope.core import ConfigError, ModelError
from smartscope.inference import (
    Answers,
    find_model,
    import_model,
    list_models,
    user_folder,
)
from smartscope.inference import _library as library

sys.path.insert(0, str(Path(__file__).parents[1] / "inference"))

from tiny_onnx import folder, network, package_05


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Own and shipped models of the same and of other names."""
    own, shipped = tmp_path / "own", tmp_path / "shipped"
    content = package_05({"y": 16, "x": 16}, "bcyx")
    for place in (own / "nuclei", shipped / "nuclei", shipped / "spots"):
        folder(place, content)
    (own / "plain.onnx").write_bytes(network("Abs", [1, 1, 8, 8]))
    (own / ".hidden").mkdir()
    monkeypatch.setenv("SMARTSCOPE_MODELS", str(own))
    monkeypatch.setattr(library, "_shipped", lambda: shipped)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return tmp_path


def test_ones_own_go_before_the_shipped(places):
    assert [(e.name, e.origin) for e in list_models()] == [
        ("nuclei", "own"),
        ("plain", "own"),
        ("nuclei", "shipped"),
        ("spots", "shipped"),
    ]
    assert find_model("nuclei") == places / "own/nuclei"
    assert find_model("spots") == places / "shipped/spots"
    assert find_model("plain") == places / "own/plain.onnx"
    assert find_model("plain.onnx") == places / "own/plain.onnx"


def test_a_path_is_seen_from_the_file_that_names_it_and_then_from_here(places):
    beside = places / "experiment"
    content = package_05({"y": 16, "x": 16}, "bcyx")
    folder(beside / "models/net", content)
    folder(places / "here/models/net", content)
    assert find_model("models/net", beside) == beside / "models/net"
    assert find_model("models/net") == Path("models/net")
    assert find_model(beside / "models/net") == beside / "models/net"


def test_a_folder_that_is_no_model_does_not_hide_a_name(places):
    (places / "here/spots").mkdir()
    assert find_model("spots") == places / "shipped/spots"
    folder(places / "here/spots", package_05({"y": 16, "x": 16}, "bcyx"))
    assert find_model("spots") == Path("spots")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Nuklei", "did you mean 'nuclei'?"),
        ("zebra", "one of: nuclei, plain, spots"),
        ("models/none", "check the path"),
        ("bad\0name", "there is no model"),
    ],
)
def test_what_is_not_there(places, name, said):
    with pytest.raises(ConfigError) as error:
        find_model(name)
    assert said in str(error.value)
    assert error.value.exit_code == 2


def test_the_users_folder_is_where_the_system_keeps_data(monkeypatch, tmp_path):
    monkeypatch.delenv("SMARTSCOPE_MODELS", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    assert user_folder().parts[-2:] == ("smartscope", "models")
    monkeypatch.setenv("SMARTSCOPE_MODELS", str(tmp_path / "elsewhere"))
    assert user_folder() == tmp_path / "elsewhere"
    assert all(entry.origin == "shipped" for entry in list_models())


def pooled(path, kind, factor, pads=(0, 0, 0, 0)):
    """A network whose output is smaller: AveragePool with a stride, or a vector."""
    onnx = pytest.importorskip("onnx")
    make = onnx.helper
    if kind == "grid":
        node = make.make_node(
            "AveragePool",
            ["in"],
            ["out"],
            kernel_shape=[factor, factor],
            strides=[factor, factor],
        )
    elif kind == "valid":
        node = make.make_node(
            "AveragePool", ["in"], ["out"], kernel_shape=[factor, factor]
        )
    else:
        node = make.make_node("ReduceMean", ["in"], ["out"], axes=[2, 3], keepdims=0)
    rank = 2 if kind == "vector" else 4
    graph = make.make_graph(
        [node],
        "tiny",
        [make.make_tensor_value_info("in", 1, ["b", 1, "y", "x"])],
        [make.make_tensor_value_info("out", 1, [None] * rank)],
    )
    model = make.make_model(
        graph, opset_imports=[make.make_opsetid("", 13)], ir_version=8
    )
    path.write_bytes(model.SerializeToString())
    return path


def test_the_grid_of_an_output_is_found_by_running_it(tmp_path):
    content = import_model(
        pooled(tmp_path / "net.onnx", "grid", 4), Answers(multiple_of=4)
    )
    (output,) = content.outputs
    assert [
        (a.name, a.scale, a.offset) for a in output.layout.axes if a.name in "yx"
    ] == [
        ("y", 0.25, 0),
        ("x", 0.25, 0),
    ]
    (image,), (found,) = content.test_inputs, content.test_outputs
    wanted = image.reshape(1, 1, 32, 4, 32, 4).mean(axis=(3, 5))
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_a_network_that_loses_its_border_and_one_that_gives_a_vector(tmp_path):
    valid = import_model(pooled(tmp_path / "v.onnx", "valid", 5), Answers())
    assert [(a.scale, a.offset) for a in valid.outputs[0].layout.axes[2:]] == [
        (1.0, -4),
        (1.0, -4),
    ]
    vector = import_model(pooled(tmp_path / "m.onnx", "vector", 0), Answers())
    assert vector.outputs[0].layout.order == "bc"
    assert vector.test_outputs[0].shape == (1, 1)
    np.testing.assert_allclose(
        vector.test_outputs[0][0, 0], vector.test_inputs[0].mean(), rtol=1e-5
    )


def test_sizes_that_do_not_fit_together_are_refused(tmp_path):
    with pytest.raises(ModelError, match="multiple_of"):
        import_model(pooled(tmp_path / "net.onnx", "grid", 4), Answers())


def test_torchscript_becomes_a_package_too(tmp_path):
    torch = pytest.importorskip("torch")
    from smartscope.inference import load_model, write_package

    module = torch.nn.Conv2d(1, 2, 3, padding=1).eval()
    # Deprecated, but what people have.
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(module).save(str(tmp_path / "net.pt"))
    content = import_model(tmp_path / "net.pt", Answers(decoder="mask"))
    assert content.weights[0].kind == "torchscript"
    assert content.test_outputs[0].shape == (1, 2, 128, 128)
    model = load_model(write_package(tmp_path / "made", content), runtime="torch")
    assert model.check().relative < 1e-5
    model.close()
