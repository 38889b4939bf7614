"""Packages that lie or lack something: one sentence each, nothing run."""

from __future__ import annotations

import os
import re
import stat
import zipfile

import numpy as np
import pytest
import yaml
from tiny_onnx import UNET, files, folder, network, package_04, package_05, zipped

from smartscope.core import ModelError
from smartscope.inference import OnnxRuntime, load_model

ANY = {"y": {"min": 8, "step": 4}, "x": {"min": 8, "step": 4}}


def changed(**changes):
    """A package with top-level fields of its description replaced."""
    return package_05(ANY, "bcyx", **changes)


def edited(edit):
    """A package whose description went through `edit`."""
    content = changed()
    rdf = yaml.safe_load(content["bioimageio.yaml"])
    edit(rdf)
    return content | files(rdf, content["net.onnx"])


def operation(step):
    return edited(lambda rdf: rdf["inputs"][0].update(preprocessing=[step]))


def axis(**change):
    return edited(lambda rdf: rdf["inputs"][0]["axes"][2].update(change))


def without(name):
    content = changed()
    del content[name]
    return content


WRONG = {
    "missing weights": (
        without("net.onnx"),
        "bioimageio.yaml: weights.onnx.source: there is no 'net.onnx' in the package; "
        "fetch",
    ),
    "no description": (without("bioimageio.yaml"), "no bioimageio.yaml or rdf.yaml"),
    "damaged weights": (
        changed() | {"net.onnx": b"\x08\x08 cut off"},
        "weights.onnx.source: 'net.onnx' is not the file described here",
    ),
    "cut off, no hash": (
        package_04() | {"net.onnx": network("Abs", ["b", 1, "y", "x"])[:40]},
        "net.onnx: ONNX Runtime .* cannot load it",
    ),
    "weights elsewhere": (
        changed(weights={"onnx": {"source": "../secret.onnx"}}),
        "weights.onnx.source: '../secret.onnx' leads outside of the package",
    ),
    "weights on the network": (
        changed(weights={"onnx": {"source": "https://example.com/net.onnx"}}),
        "is on the network; use a package that brings its files",
    ),
    "other weights": (
        changed(weights={"torchscript": {"source": "a.pt"}}),
        "weights: the package has no ONNX weights .it has torchscript.; export",
    ),
    "newer format": (
        changed(format_version="0.7.0"),
        "format_version: format 0.7.0 is newer .* update smartscope",
    ),
    "older format": (changed(format_version="0.3.2"), "0.3.2 is older"),
    "no format": (changed(format_version=None), "format_version: is missing"),
    "dataset": (changed(type="dataset"), "type: this describes a dataset"),
    "two inputs": (
        edited(lambda rdf: rdf["inputs"].append(rdf["inputs"][0])),
        "inputs: the model has 2 inputs",
    ),
    "no output": (changed(outputs=[]), "outputs: the model has no output"),
    "operation": (
        operation({"id": "scale_mean_variance", "kwargs": {}}),
        r"inputs\[0\].preprocessing\[0\]: the operation 'scale_mean_variance' is not "
        "supported; use a model that needs only: zero_mean",
    ),
    "argument": (
        operation({"id": "scale_range", "kwargs": {"reference_tensor": "x"}}),
        "'scale_range' with 'reference_tensor' is not supported",
    ),
    "mode": (
        operation({"id": "scale_range", "kwargs": {"mode": "per_dataset"}}),
        "mode 'per_dataset' is not supported",
    ),
    "percentiles": (
        operation({"id": "scale_range", "kwargs": {"min_percentile": 101}}),
        "percentiles must rise from 0 to 100",
    ),
    "dtype": (
        operation({"id": "ensure_dtype", "kwargs": {"dtype": "complex64"}}),
        "dtype: expected one of float32.*found 'complex64'",
    ),
    "third dimension": (axis(id="z"), r"axes\[2\]: the axis 'z' .space. is not supp"),
    "time": (axis(type="time"), "not supported; use a model for single planes"),
    "absurd size": (axis(size=10**9), r"axes\[2\].size: 1000000000 is larger than any"),
    "size of 0": (axis(size=0), "size: expected a whole number above 0, found '0'"),
    "size like another": (
        axis(size={"tensor_id": "raw", "axis_id": "x"}),
        "size that follows another axis is not supported",
    ),
    "axis twice": (axis(id="x"), "the axes 'bcxx' are not supported"),
    "not the network's sizes": (
        edited(lambda rdf: rdf["weights"]["onnx"].pop("sha256"))
        | {"net.onnx": network("Abs", [1, 1, 64, 64])},
        "the network takes 1 x 1 x 64 x 64, the description says otherwise",
    ),
    "network with two inputs": (
        edited(lambda rdf: rdf["weights"]["onnx"].pop("sha256"))
        | {"net.onnx": network("Add", [1, 1, "y", "x"], inputs=2)},
        "the network has 2 inputs .in0, in1.",
    ),
    "half floats": (
        edited(lambda rdf: rdf["weights"]["onnx"].pop("sha256"))
        | {"net.onnx": network("Abs", [1, 1, "y", "x"], kind=10)},
        r"wants tensor\(float16\) as input; export it with float32",
    ),
    "decoder": (
        changed(config={"smartscope": {"decoder": {"kind": "rays"}}}),
        "config.smartscope.decoder.kind: expected one of mask, restored, spots",
    ),
    "decoder's output": (
        changed(config={"smartscope": {"decoder": {"kind": "mask", "output": 1}}}),
        "decoder.output: there is no output 1; the model has 1",
    ),
    "not YAML": (changed() | {"bioimageio.yaml": b"a: [1"}, "not readable as YAML"),
    "not a mapping": (changed() | {"bioimageio.yaml": b"- 1"}, "expected a mapping"),
    "Python in YAML": (
        changed() | {"bioimageio.yaml": b"a: !!python/object/apply:os.getcwd []"},
        "not readable as YAML",
    ),
    "nested without end": (
        changed() | {"bioimageio.yaml": b"a: " + b"[" * 5000},
        "not readable as YAML",
    ),
    "list as mapping": (changed(weights=[1, 2]), "weights: expected a mapping"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("form", ["folder", "zip"])
def test_one_sentence_each(name, form, tmp_path):
    content, expected = WRONG[name]
    if form == "folder":
        path = folder(tmp_path / "net", content)
    else:
        path = zipped(tmp_path / "net.zip", content)
    with pytest.raises(ModelError, match=expected) as caught:
        load_model(path)
    text = str(caught.value)
    assert text.startswith(str(path)) and "\n" not in text
    assert not re.search(r"Traceback|<class|None", text)


EVIL = ("../evil", "a/../../evil", "/etc/evil", "C:/evil", "..\\evil")


@pytest.mark.parametrize("name", EVIL)
def test_a_zip_that_leads_out_is_refused_whole(name, tmp_path):
    path = zipped(tmp_path / "net.zip", package_04() | {name: b"x"})
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ModelError, match=r"evil', which leads outside of it; do not"):
        load_model(path)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_link_in_a_zip_is_refused(tmp_path):
    path = zipped(tmp_path / "net.zip", package_04())
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("data")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(ModelError, match="'data', which leads outside"):
        load_model(path)


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
def test_a_link_out_of_a_folder_is_refused(tmp_path):
    content = package_04()
    (tmp_path / "away.onnx").write_bytes(content.pop("net.onnx"))
    path = folder(tmp_path / "net", content)
    (path / "net.onnx").symlink_to(tmp_path / "away.onnx")
    with pytest.raises(ModelError, match=r"'net\.onnx' leads outside of the package"):
        load_model(path)


PATHS = {
    "nothing there": ("none.zip", None, "there is no such model; check the path"),
    "no network there": ("none.onnx", None, "cannot be read .No such file"),
    "not a zip": ("net.zip", b"hello", "neither a package nor an .onnx file"),
    "empty network": ("net.onnx", b"", "cannot load it"),
    "no network": ("net.onnx", b"hello", "cannot load it"),
}


@pytest.mark.parametrize("name", PATHS)
def test_wrong_paths(name, tmp_path):
    file, content, expected = PATHS[name]
    if content is not None:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(ModelError, match=expected):
        load_model(tmp_path / file)


def test_axes_of_a_bare_network(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(network("Abs", [1, 1, "y", "x"]))
    for axes, expected in (
        ("yx", "takes 4 axes, not 'yx'"),
        ("bzyx", "the axes 'bzyx' are not supported"),
    ):
        with pytest.raises(ModelError, match=expected):
            load_model(path, axes=axes)
    with pytest.raises(ModelError, match=r"preprocessing\[0\]: the operation 'blur'"):
        load_model(path, preprocessing=["blur"])
    with pytest.raises(ModelError, match="a package states its own axes"):
        load_model(UNET, axes="bcyx")


def test_a_network_that_fails_is_named():
    runtime = OnnxRuntime(network("Abs", [1, 1, 4, 4]), file="net.onnx")
    runtime.warm_up((1, 1, 4, 4))
    with pytest.raises(
        ModelError, match=r"net\.onnx: .* failed on a tensor of \(1, 1, 5"
    ):
        runtime.warm_up((1, 1, 5, 4))


def test_without_test_tensors_there_is_no_check(tmp_path):
    with pytest.raises(ModelError, match="there are no test tensors"):
        load_model(folder(tmp_path / "net", changed())).check()


def test_test_tensors_that_are_none(tmp_path):
    content = package_04() | {"in.npy": b"hello"}
    with pytest.raises(ModelError, match=r"test_inputs\[0\]: is no NumPy array"):
        load_model(folder(tmp_path / "net", content)).check()


def test_pickled_test_tensors_are_not_opened(tmp_path):
    np.save(tmp_path / "in.npy", np.array([{}], dtype=object), allow_pickle=True)
    content = package_04() | {"in.npy": (tmp_path / "in.npy").read_bytes()}
    with pytest.raises(ModelError, match="is no NumPy array"):
        load_model(folder(tmp_path / "net", content)).check()
