"""Packages that lie or lack something: one sentence each, nothing run."""

from __future__ import annotations

import os
import stat
import zipfile

import numpy as np
import pytest
from tiny_onnx import UNET, folder, network, package_04, package_05, zipped

from smartscope.core import ModelError
from smartscope.inference import Weights, load_model
from smartscope.inference._ort import OrtRuntime

ANY = {"y": {"min": 8, "step": 4}, "x": {"min": 8, "step": 4}}


def changed(**changes):
    """A package with top-level fields of its description replaced."""
    return package_05(ANY, "bcyx", **changes)


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
    "cut off": ("net.zip", b"PK\x03\x04" + b"x" * 60, "cut off or damaged"),
    "empty network": ("net.onnx", b"", "damaged or cut off"),
    "no network": ("net.onnx", b"hello", "damaged or cut off"),
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
        ("bqyx", "the axes 'bqyx' are not supported"),
    ):
        with pytest.raises(ModelError, match=expected):
            load_model(path, axes=axes)
    with pytest.raises(ModelError, match=r"preprocessing\[0\]: the operation 'blur'"):
        load_model(path, preprocessing=["blur"])
    with pytest.raises(ModelError, match="a package states its own axes"):
        load_model(UNET, axes="bcyx")


def test_a_network_that_fails_is_named():
    weights = Weights("onnx", network("Abs", [1, 1, 4, 4]), "net.onnx", "0" * 64)
    runtime = OrtRuntime(weights)
    runtime.prepare([(1, 1, 4, 4)])
    with pytest.raises(ModelError, match=r"net\.onnx: .*\(1, 1, 5, 4\)"):
        runtime.prepare([(1, 1, 5, 4)])


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
