"""ZEISS .czann models: one made by czmodel itself, and what we write.

``tiny_czann/tiny.czann`` was written by czmodel 6.2.0 (`DefaultOnnxConverter`) around a
softmax over two channels of 8 x 12 pixels, with these classes, overlap and pixel size.
"""

from __future__ import annotations

import json
import os
import subprocess
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from tiny_onnx import MODELS, UNET, network, zipped

from smartscope.core import ModelError
from smartscope.inference import load_model
from smartscope.inference._card import Card, Decoder
from smartscope.inference._czann import read_czann, write_czann
from smartscope.inference._ort import OrtRuntime
from smartscope.inference._write import read_content, write_package
from smartscope.inference._write_make import with_tests

TINY = MODELS / "tiny_czann/tiny.czann"
SPEC = {
    "FormatVersion": "2.1.0",
    "Id": "b511d295-91ff-46ca-bb60-b2e26c393809",
    "Type": "SingleClassSemanticSegmentation",
    "InputShape": [8, 12, 2],
    "OutputShape": [8, 12, 2],
    "MinOverlap": [4, 4],
    "Classes": ["ground", "cell"],
    "ModelName": "tiny softmax",
    "Scaling": [1.3e-7, 1.3e-7],
}
NET = network("Softmax", ["b", 8, 12, 2])


def test_a_model_of_czmodel():
    content = read_czann(TINY)
    (given,), (out,) = content.inputs, content.outputs
    assert content.name == "tiny softmax"
    assert given.layout.order == out.layout.order == "byxc"
    assert [axis.fixed for axis in given.layout.axes] == [1, 8, 12, 2]
    assert [axis.halo for axis in out.layout.axes] == [0, 2, 2, 0]
    assert out.channels == ("ground", "cell")
    assert content.card.pixel_um == pytest.approx(0.13)
    assert content.card.decoder == Decoder("mask", channel=1, threshold=0.5)
    assert [op.name for op in given.operations] == ["scale_range"]
    assert content.weights[0].content == NET


def test_it_becomes_a_package_that_runs(tmp_path):
    content = read_czann(TINY, full_scale=4095)
    content = with_tests(content, OrtRuntime(content.weights[0], threads=1))
    model = load_model(
        write_package(tmp_path / "tiny", content), runtime="onnxruntime", threads=1
    )
    assert model.check().absolute < 1e-5
    image = np.random.default_rng(0).integers(0, 4096, (2, 8, 12)).astype(np.uint16)
    (found,) = model.run(image)
    scaled = np.exp(image / 4095)
    np.testing.assert_allclose(found, scaled / scaled.sum(0), atol=1e-5)


def test_what_we_write_is_what_czmodel_writes(tmp_path):
    path = write_czann(tmp_path / "again.czann", read_czann(TINY))
    with zipfile.ZipFile(path) as ours, zipfile.ZipFile(TINY) as theirs:
        assert sorted(ours.namelist()) == sorted(theirs.namelist())
        assert ours.read("model.model") == theirs.read("model.model")
        found = json.loads(ours.read("model.json"))
        wanted = json.loads(theirs.read("model.json"))
    assert found.pop("Scaling") == pytest.approx(wanted.pop("Scaling"))
    assert found == wanted
    again = read_czann(path)
    assert again.card == read_czann(TINY).card


def test_a_restored_image(tmp_path):
    spec = SPEC | {"Type": "Regression", "OutputShape": [16, 24, 2]}
    net = network("Abs", ["b", 8, 12, 2], out=["b", "h", "w", 2])
    files = {"model.json": json.dumps(spec).encode(), "model.model": net}
    del spec["Classes"]
    files["model.json"] = json.dumps(spec).encode()
    content = read_czann(zipped(tmp_path / "n.czann", files))
    assert content.card.decoder.kind == "restored"
    axis = content.outputs[0].layout.axis("x")
    assert axis.scale == 2
    again = read_czann(write_czann(tmp_path / "m.czann", content))
    assert again.outputs[0].layout == content.outputs[0].layout


def lie(net=NET, **changes):
    spec = {key: value for key, value in (SPEC | changes).items() if value is not None}
    return {"model.json": json.dumps(spec).encode(), "model.model": net}


LIES = {
    "no network": ({"model.json": b"{}"}, "there is no 'model.model' in it"),
    "no description": ({"model.model": NET}, "there is no 'model.json' in it"),
    "no JSON": (
        lie() | {"model.json": b"{'a': 1}"},
        "model.json: not readable as JSON",
    ),
    "a list": (lie() | {"model.json": b"[1]"}, "model.json: expected a mapping"),
    "too long": (lie() | {"model.json": b" " * 2_000_000}, "far too large"),
    "of another type": (lie(Type="ObjectDetection"), "Type: expected one of Single"),
    "newer": (lie(FormatVersion="3.0.0"), "format 3.0.0 is newer"),
    "no version": (lie(FormatVersion=None), "FormatVersion: is missing"),
    "absurd size": (lie(InputShape=[10**9, 1, 1]), "1000000000 is larger than any"),
    "two sizes": (lie(InputShape=[8, 12]), "InputShape: expected 3 or 4 sizes"),
    "another size": (
        lie(InputShape=[8, 16, 2]),
        r"InputShape: the network takes any x 8 x 12 x 2, not \[8, 16, 2\]",
    ),
    "classes": (lie(Classes=["a"]), "1 names for 2 channels of the output"),
    "pixel size": (lie(Scaling=[0, 1]), "Scaling: expected two or three pixel sizes"),
    "cut off": (lie(NET[:-9]), "model.model: cannot be read as ONNX"),
    "PyTorch": (lie(b"PK\x03\x04"), "the network is a PyTorch or TensorFlow archive"),
    "leads out": (lie() | {"../evil": b""}, "evil', which leads outside of it"),
}


@pytest.mark.parametrize("name", LIES)
def test_lies(name, tmp_path):
    files, expected = LIES[name]
    path = zipped(tmp_path / "net.czann", files)
    with pytest.raises(ModelError, match=expected) as caught:
        read_czann(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_what_has_no_counterpart_is_not_written(tmp_path):
    content = read_czann(TINY)
    path = tmp_path / "net.czann"
    with pytest.raises(ModelError, match=r"'bcyx' are not those of a \.czann"):
        write_czann(
            path, replace(read_content(UNET), card=Card(decoder=Decoder("mask")))
        )
    with pytest.raises(ModelError, match="'spots' has no counterpart"):
        write_czann(path, replace(content, card=Card(decoder=Decoder("spots"))))
    with pytest.raises(ModelError, match="one ONNX network with one input"):
        write_czann(path, replace(content, weights=()))
    assert not path.exists()


PYTHON = os.environ.get("SMARTSCOPE_CZMODEL_PYTHON", "")
CZMODEL = """
import pathlib, sys
from czmodel.core.util._extract_model import extract_czann_model
from czmodel.core.util.common import validate_metadata
import onnx
meta, file = extract_czann_model(sys.argv[1], pathlib.Path(sys.argv[2]))
net = onnx.load(file)
onnx.checker.check_model(net)
shapes = [
    [d.dim_value for d in port[0].type.tensor_type.shape.dim][1:]
    for port in (net.graph.input, net.graph.output)
]
validate_metadata(meta, *shapes)
print(meta.model_type.value, meta.classes, meta.min_overlap)
"""


@pytest.mark.skipif(
    not PYTHON, reason="set SMARTSCOPE_CZMODEL_PYTHON to an interpreter with czmodel"
)
def test_czmodel_reads_what_we_write(tmp_path):
    path = write_czann(tmp_path / "ours.czann", read_czann(TINY))
    done = subprocess.run(
        [PYTHON, "-c", CZMODEL, str(path), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == (
        "SingleClassSemanticSegmentation ['ground', 'cell'] [4, 4]".split()
    )
