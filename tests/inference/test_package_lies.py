"""Packages that lie: one sentence each that names file and field; nothing is run."""

from __future__ import annotations

import hashlib
import io
import os
import re
import struct
import zipfile

import numpy as np
import pytest
import yaml
from tiny_onnx import (
    files,
    folder,
    network,
    npy,
    package_04,
    package_05,
    zipped,
)

from smartscope.core import ModelError
from smartscope.inference._write import read_content

ANY = {"y": {"min": 8, "step": 4}, "x": {"min": 8, "step": 4}}


def edited(edit=lambda rdf: None, *, old=False, net=None, **changes):
    """A sound package whose description went through `edit`."""
    name = "rdf.yaml" if old else "bioimageio.yaml"
    content = package_04(**changes) if old else package_05(ANY, "bcyx", **changes)
    rdf = yaml.safe_load(content[name])
    edit(rdf)
    weights = content["net.onnx"] if net is None else net
    entry = rdf["weights"].get("onnx") if isinstance(rdf["weights"], dict) else None
    if net is not None and entry is not None:
        entry["sha256"] = hashlib.sha256(net).hexdigest()
    return content | files(rdf, weights, name)


def own(**settings):
    return edited(config={"smartscope": settings})


def decoder(**settings):
    return own(decoder=settings)


def axis(number=2, of="inputs", **change):
    return edited(lambda rdf: rdf[of][0]["axes"][number].update(change))


def after(step):
    return edited(lambda rdf: rdf["outputs"][0].update(postprocessing=[step]))


def probed(array, **change):
    """A package whose input has this test tensor."""
    content = array if isinstance(array, bytes) else npy(array)

    def edit(rdf):
        rdf["inputs"][0]["test_tensor"] = {"source": "t.npy", **change}
        rdf["outputs"][0]["test_tensor"] = "t.npy"

    return edited(edit) | {"t.npy": content}


def described(text):
    return edited() | {"bioimageio.yaml": text}


def bomb():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    return "\n".join(lines).encode()


def header(shape, dtype="<f4"):
    """An .npy header with nothing behind it."""
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def pickled():
    stream = io.BytesIO()
    np.save(stream, np.array([{}], dtype=object), allow_pickle=True)
    return stream.getvalue()


def weighty(values, *, name="w", dims=None, external=False):
    """ONNX bytes of an Add of the input and a tensor of weights."""
    from tiny_onnx import _int, _part, _tensor

    values = np.asarray(values, dtype="<f4")
    tensor = b"".join(_int(1, size) for size in dims or values.shape)
    tensor += _int(2, 1) + _part(8, name)
    if external:
        where = _part(1, "location") + _part(2, "../../secret.bin")
        tensor += _part(13, where) + _int(14, 1)
    else:
        tensor += _part(9, values.tobytes())
    node = _part(1, "in0") + _part(1, name) + _part(2, "out") + _part(4, "Add")
    shape = ["b", 1, "y", "x"]
    graph = _part(1, node) + _part(2, "tiny") + _part(5, tensor)
    graph += _part(11, _tensor("in0", shape, 1)) + _part(12, _tensor("out", shape, 1))
    return _int(1, 8) + _part(7, graph) + _part(8, _int(2, 17))


SOUND = network("Abs", ["b", 1, "y", "x"])
FOLLOW = {"tensor_id": "raw", "axis_id": "y"}
STARDIST = {
    "id": "stardist_postprocessing",
    "kwargs": {
        **{"prob_threshold": 0.5, "nms_threshold": 0.4, "n_rays": 32},
        **{"grid": [2, 2], "b": 2},
    },
}
LIES = {
    # The network.
    "missing weights": (
        {k: v for k, v in edited().items() if k != "net.onnx"},
        r"weights.onnx.source: there is no 'net.onnx' in the package; fetch",
    ),
    "other weights": (
        edited() | {"net.onnx": SOUND + b" "},
        r"'net.onnx' is not the file described here \(its SHA-256 differs\)",
    ),
    "cut off": (
        edited(net=SOUND[:-30]),
        r"net.onnx: cannot be read as ONNX: .* cut off \(\d+ bytes are missing\)",
    ),
    "cut off inside a length": (edited(net=b"\x3a"), "cannot be read as ONNX"),
    "a text": (edited(net=b"hello, this is no network"), "cannot be read as ONNX"),
    "empty": (edited(net=b""), "there is no network in it"),
    "not a number": (
        edited(net=weighty([1, np.nan, 2])),
        "net.onnx: the weights 'w' hold values that are not numbers; train",
    ),
    "too few weights": (
        edited(net=weighty([1, 2, 3], dims=(1000, 1000))),
        r"'w' has 12 bytes for \[1000, 1000\] values",
    ),
    "weights elsewhere": (
        edited(net=weighty([1], external=True)),
        "the weights 'w' are in a file outside of it; save the network as one file",
    ),
    "external data": (
        edited(lambda r: r["weights"]["onnx"].update(external_data={"source": "d"})),
        "weights.onnx.external_data: weights outside of the ONNX file",
    ),
    "another size": (
        edited(net=network("Abs", [1, 1, 64, 64])),
        "the input 'in0' of the network is 1 x 1 x 64 x 64, the description says",
    ),
    "another number of axes": (
        edited(net=network("Abs", [1, 1, 8, "y", "x"])),
        "the input 'in0' of the network is 1 x 1 x 8 x any x any, the description",
    ),
    "another output": (
        edited(net=network("Abs", ["b", 1, "y", "x"], out=["b", 7, "y", "x"])),
        "the output 'out' of the network is any x 7 x any x any",
    ),
    "a batch of four": (
        edited(net=network("Abs", [4, 1, "y", "x"])),
        "the input 'in0' of the network is 4 x 1",
    ),
    "two inputs": (
        edited(net=network("Add", ["b", 1, "y", "x"], inputs=2)),
        r"the network has 2 inputs \(in0, in1\), the description 1",
    ),
    "texts as input": (
        edited(net=network("Abs", ["b", 1, "y", "x"], kind=8)),
        "the input 'in0' of the network is no tensor of numbers",
    ),
    "leads out": (
        edited(weights={"onnx": {"source": "../secret.onnx"}}),
        "'../secret.onnx' leads outside of the package; do not use",
    ),
    "on the network": (
        edited(weights={"onnx": {"source": "https://example.com/net.onnx"}}),
        "is on the network; use a package that brings its files",
    ),
    "no name of a file": (
        edited(weights={"onnx": {"source": "a\0b"}}),
        "weights.onnx.source: .* is no name of a file",
    ),
    "name without end": (
        edited(weights={"onnx": {"source": "a" * 5000}}),
        "is no name of a file",
    ),
    "half a hash": (
        edited(weights={"onnx": {"source": "net.onnx", "sha256": "abc"}}),
        "weights.onnx.sha256: expected 64 hexadecimal digits",
    ),
    "TensorFlow": (
        edited(weights={"keras_hdf5": {"source": "k.h5"}}),
        r"weights: the package has no weights .* \(it has Keras HDF5\); export the",
    ),
    "a program": (
        edited(
            weights={
                "pytorch_state_dict": {
                    "source": "net.onnx",
                    "architecture": {"source": "evil.py", "callable": "Evil"},
                }
            }
        ),
        "a PyTorch state dict of 'Evil', an architecture that smartscope does not",
    ),
    "a program, 0.4": (
        edited(
            lambda rdf: rdf.update(
                weights={
                    "pytorch_state_dict": {
                        "source": "net.onnx",
                        "architecture": "os:system",
                        "kwargs": {"command": "true"},
                    }
                }
            ),
            old=True,
        ),
        "a PyTorch state dict of 'system'",
    ),
    "unknown precision": (
        own(weights=[{"source": "net.onnx", "precision": "int1"}]),
        r"config.smartscope.weights\[0\].precision: expected one of fp32",
    ),
    # Format and text.
    "newer": (edited(format_version="0.6.0"), "format 0.6.0 is newer .* update"),
    "older": (edited(format_version="0.3.6"), "format 0.3.6 is older"),
    "no version": (edited(format_version="new"), "format_version: expected a format"),
    "a dataset": (edited(type="dataset"), "type: this describes a dataset"),
    "aliases": (described(bomb()), "far more values than a description has"),
    "aliases in a list": (described(b"- &a [1]\n- *a"), "expected a mapping"),
    "contains itself": (described(b"a: &a [*a]"), "far more values than a descr"),
    "field twice": (
        described(edited()["bioimageio.yaml"] + b"\nname: other\n"),
        "the field 'name' is written twice",
    ),
    "Python": (
        described(b"a: !!python/object/apply:os.getcwd []"),
        "not readable as YAML",
    ),
    "not text": (described(b"\xff\xfe\x00\xd8"), "not readable as YAML"),
    "no end of brackets": (described(b"a: " + b"[" * 5000), "not readable as YAML"),
    "date of no calendar": (described(b"a: 2024-13-45"), "not readable as YAML"),
    "three megabytes": (described(b"#" * 3_000_000), "far too large"),
    # Tensors.
    "no inputs": (edited(inputs=[]), "inputs: the model has no input"),
    "inputs are text": (edited(inputs="raw"), "inputs: expected a list"),
    "same names": (
        edited(lambda rdf: rdf["outputs"][0].update(id="raw")),
        "two tensors are called 'raw'",
    ),
    "same names, 0.4": (
        edited(lambda rdf: rdf["inputs"].append(rdf["inputs"][0]), old=True),
        "inputs: two tensors have the same name",
    ),
    "absurd size": (axis(size=10**12), r"axes\[2\].size: 1000000000000 is larger than"),
    "absurd step": (axis(size={"min": 8, "step": 10**9}), "size.step: 1000000000 is"),
    "negative size": (axis(size=-8), "size: expected a whole number above 0"),
    "size of truth": (axis(size=True), "size: expected a whole number above 0"),
    "absurd scale": (axis(scale=0), r"axes\[2\].scale: expected a number above 0"),
    "absurd halo": (axis(of="outputs", halo=10**6), "halo: 1000000 is more than makes"),
    "channels without end": (
        axis(1, channel_names=["c"] * 5000),
        "channel_names: 5000 channels are absurd",
    ),
    "follows nothing": (
        axis(of="outputs", size={"tensor_id": "blue", "axis_id": "y"}),
        "there is no axis 'y' of a tensor 'blue' to follow",
    ),
    "follows another axis": (
        axis(of="outputs", size={"tensor_id": "raw", "axis_id": "x"}),
        "the axis 'y' follows the axis 'x' of the input",
    ),
    "follows itself": (
        axis(of="outputs", size={"tensor_id": "out", "axis_id": "y"}),
        "follow",
    ),
    "other unit": (
        axis(of="outputs", unit="second"),
        "its unit is 'second', that of the axis it follows ''",
    ),
    "a list of objects": (
        axis(of="outputs", type="index", size={"min": 1}),
        "an axis of type 'index' counts objects in a list",
    ),
    "unknown axis": (axis(id="q"), r"the axis 'q' \(space\) is not supported"),
    "axis twice": (axis(id="x"), "the axes 'bcxx' are not supported"),
    "data-dependent": (
        axis(of="outputs", size={"min": 1, "max": 10}),
        "a size that depends on the data is not supported",
    ),
    "dtype": (
        edited(lambda rdf: rdf["inputs"][0].update(data={"type": "complex64"})),
        r"inputs\[0\].data.type: expected one of float32",
    ),
    "0.4 sizes for other axes": (
        edited(lambda r: r["inputs"][0].update(shape=[1, 1, 8]), old=True),
        r"inputs\[0\].shape: expected one number for each of the axes 'bcyx'",
    ),
    "0.4 reference": (
        edited(
            lambda r: r["outputs"][0]["shape"].update(reference_tensor="blue"), old=True
        ),
        "reference_tensor: there is no input 'blue'",
    ),
    "0.4 absurd scale": (
        edited(
            lambda r: r["outputs"][0]["shape"].update(scale=[1, 1, 1e9, 1]), old=True
        ),
        r"outputs\[0\].shape: a scale of 1e\+09",
    ),
    # Operations and decoder.
    "unknown operation": (
        after({"id": "blur"}),
        "the operation 'blur' is not supported",
    ),
    "custom operation": (
        after({"id": "custom", "source": "evil.py", "callable": "run"}),
        r"postprocessing\[0\]: the operation 'custom' is a program .* never executed",
    ),
    "statistics of nothing": (
        after({"id": "scale_range", "kwargs": {"reference_tensor": "blue"}}),
        "reference_tensor: there is no input 'blue'; inputs: raw",
    ),
    "objects of one channel": (
        after(STARDIST),
        r"the output needs 33 channels \(probability and 32 rays\), it has 1",
    ),
    "objects first": (
        edited(lambda rdf: rdf["inputs"][0].update(preprocessing=[STARDIST])),
        "is a step after the network, not before it",
    ),
    "unknown decoder": (decoder(kind="rays"), "decoder.kind: expected one of restored"),
    "unknown option": (
        decoder(kind="spots", nms=0.3),
        "decoder.nms: the decoder 'spots' has no option 'nms'; it has: min_distance_px",
    ),
    "option out of range": (decoder(kind="stardist", nms=3), "nms: expected a number"),
    "no such output": (decoder(kind="mask", output=1), "there is no output 1; the"),
    "no such channel": (
        decoder(kind="mask", border_channel=1),
        "decoder.border_channel: there is no channel 1; the output has 1",
    ),
    "unknown setting": (own(pixels=3), "there is no setting 'pixels'; known: version"),
    "pixel size": (own(pixel_um=0), "pixel_um: expected a number above 0"),
    "window": (own(window=0), "window: expected a whole number above 0"),
    "domain": (own(domain=[1, 2]), "domain: expected a mapping"),
    # Test tensors.
    "pickled": (probed(pickled()), "is no NumPy array of plain numbers"),
    "no array": (
        probed(b"hello"),
        r"inputs\[0\].test_tensor.source: is no NumPy array",
    ),
    "cut off array": (probed(npy(np.ones((1, 1, 8, 8)))[:-9]), "is cut off or lies"),
    "absurd array": (probed(header((2**40, 2**40))), "is cut off or lies about its s"),
    "array of nothing": (probed(np.ones((1, 1, 0, 8))), "is cut off or lies"),
    "texts": (probed(np.array(["a"])), "is no NumPy array of plain numbers"),
    "long header": (probed(header("(1," + " " * 9000 + ")")), "is no NumPy array"),
    "other axes": (probed(np.ones((8, 8))), "has 2 axes instead of 'bcyx'"),
    "other channels": (probed(np.ones((1, 5, 8, 8))), "has 5 channels, the tensor"),
    "not finite": (probed(np.full((1, 1, 8, 8), np.nan)), "values that are not finite"),
    "other array": (
        probed(np.ones((1, 1, 8, 8)), sha256="0" * 64),
        "'t.npy' is not the file described here",
    ),
}


@pytest.mark.parametrize("name", LIES)
@pytest.mark.parametrize("form", ["folder", "zip"])
def test_one_sentence_each(name, form, tmp_path):
    content, expected = LIES[name]
    if form == "folder":
        path = folder(tmp_path / "net", content)
    else:
        path = zipped(tmp_path / "net.zip", content)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ModelError, match=expected) as caught:
        read_content(path)
    text = str(caught.value)
    assert text.startswith(str(path)) and "\n" not in text and len(text) < 600
    assert not re.search(r"Traceback|<class|None", text)
    assert sorted(tmp_path.rglob("*")) == before


def test_there_are_enough_lies():
    assert len(LIES) >= 40


@pytest.mark.parametrize("old", [False, True])
def test_the_sound_package_under_all_lies_is_read(tmp_path, old):
    content = read_content(folder(tmp_path / "net", edited(old=old)))
    assert [weights.kind for weights in content.weights] == ["onnx"]
    assert read_content(folder(tmp_path / "t", probed(np.ones((1, 1, 8, 8)))))


EVIL = ("../evil", "a/../../evil", "/etc/evil", "C:/evil", "..\\evil")


@pytest.mark.parametrize("name", EVIL)
def test_a_zip_that_leads_out_is_refused_whole(name, tmp_path):
    path = zipped(tmp_path / "net.zip", edited() | {name: b"x"})
    with pytest.raises(ModelError, match=r"evil', which leads outside of it; do not"):
        read_content(path)


@pytest.mark.parametrize("name", ["net.onnx", "NET.onnx"])
def test_a_name_twice_in_a_zip_is_refused(name, tmp_path):
    path = zipped(tmp_path / "net.zip", edited())
    with zipfile.ZipFile(path, "a") as archive, pytest.warns() as warned:
        archive.writestr(name, b"other")
        # Python itself warns of the same name only.
        import warnings

        warnings.warn("done", stacklevel=1)
    assert warned
    with pytest.raises(ModelError, match=f"the zip holds '{name}' twice"):
        read_content(path)


def test_a_zip_that_swells_is_refused_unread(tmp_path):
    path = tmp_path / "net.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in edited().items():
            archive.writestr(name, data)
        archive.writestr("swell.bin", bytes(100_000_000))
    assert path.stat().st_size < 200_000
    with pytest.raises(ModelError, match=r"'swell.bin' unpacks to 100000000 bytes"):
        read_content(path)


def test_a_zip_of_too_many_files_is_refused(tmp_path):
    many = {f"f{number}": b"" for number in range(10_001)}
    path = zipped(tmp_path / "net.zip", many)
    with pytest.raises(ModelError, match="the zip holds 10001 files"):
        read_content(path)


@pytest.mark.parametrize("at", [30, 100, 200, 400])
def test_a_damaged_zip_is_a_sentence(tmp_path, at):
    whole = zipped(tmp_path / "net.zip", edited()).read_bytes()
    for start in range(at, len(whole), 397):
        path = tmp_path / "bad.zip"
        path.write_bytes(whole[:start] + b"\xff\x00\xff" + whole[start + 3 :])
        try:
            read_content(path)
        except ModelError as error:
            assert "\n" not in str(error)


def test_every_cut_of_a_network_is_seen(tmp_path):
    whole = weighty([1.0, 2.0])
    path = folder(tmp_path / "net", edited(net=whole))
    assert read_content(path).weights[0].content == whole
    for length in range(0, len(whole) - 6, 5):
        folder(path, edited(net=whole[:length]))
        with pytest.raises(ModelError, match=r"net\.onnx: "):
            read_content(path)


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
def test_links_out_of_a_folder_are_refused(tmp_path):
    content = edited()
    (tmp_path / "away.onnx").write_bytes(content.pop("net.onnx"))
    path = folder(tmp_path / "net", content)
    (path / "net.onnx").symlink_to(tmp_path / "away.onnx")
    with pytest.raises(ModelError, match=r"'net\.onnx' leads outside of the package"):
        read_content(path)


def test_further_networks_may_stay_behind(tmp_path):
    def edit(rdf):
        rdf["weights"]["torchscript"] = {"source": "not_fetched.pt"}

    content = read_content(folder(tmp_path / "net", edited(edit)))
    assert [weights.kind for weights in content.weights] == ["onnx"]


JUNK = (None, True, -1, 0, 1e308, float("nan"), "", "x" * 300, "\0", [], {}, [[]])
MORE = (*JUNK, {"a": {}}, [1, "b", None], {1: 2}, 10**30, "../x", b"bytes")


def places(value, path=()):
    """Every place in a description."""
    yield path
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, part in items:
            yield from places(part, (*path, key))


@pytest.mark.parametrize("old", [False, True])
def test_junk_anywhere_is_a_sentence_or_ignored(old, tmp_path):
    def edit(rdf):
        rdf["config"] = {
            "smartscope": {"decoder": {"kind": "spots", "grid": 2}, "pixel_um": 1.0}
        }
        step = {"kwargs": {"axes": ["y"], "min_percentile": 1.0}}
        rdf["inputs"][0]["preprocessing"] = [{"id": "scale_range", **step}]
        rdf["outputs"][0]["halo"] = [0, 0, 1, 1]
        rdf["authors"], rdf["tags"] = [{"name": "A"}], ["b"]

    name = "rdf.yaml" if old else "bioimageio.yaml"
    sound = edited(edit, old=old)
    path = folder(tmp_path / "net", sound)
    refused = 0
    rdf = yaml.safe_load(sound[name])
    for number, place in enumerate(list(places(rdf))[1:]):
        changed = yaml.safe_load(sound[name])
        into = changed
        for key in place[:-1]:
            into = into[key]
        into[place[-1]] = MORE[(number * 7 + 3) % len(MORE)]
        (path / name).write_text(yaml.safe_dump(changed), encoding="utf-8")
        try:
            read_content(path)
        except ModelError as error:
            refused += 1
            assert "\n" not in str(error) and str(error).startswith(str(path))
    assert refused > 30
