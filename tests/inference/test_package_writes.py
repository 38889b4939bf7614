"""What is written is read back the same, and valid for the reference implementation."""

from __future__ import annotations

import os
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import yaml
from tiny_onnx import UFISH, UNET, folder, network, package_04

from smartscope.core import ModelError
from smartscope.inference import Answers, import_model, load_model
from smartscope.inference._card import Card, Decoder
from smartscope.inference._write import (
    Content,
    export_package,
    read_content,
    write_package,
)
from smartscope.inference._write_make import describe_tensor

if TYPE_CHECKING:
    from smartscope.inference._rdf import TensorSpec

WHEN = "2026-01-02T03:04:05+00:00"
CARD = Card(
    version="1.2.0",
    pixel_um=0.1,
    object_px=3.5,
    window=3,
    tolerance=0.01,
    domain={"mean": [1.0, 2.0]},
    training={"data": "made up", "seed": 3},
    decoder=Decoder(
        "events", threshold=0.5, options={"kind": "mitosis", "min_distance_px": 2.0}
    ),
    licence="MIT",
    authors=("A. Author",),
    cite=("A work, 10.1000/182",),
    tags=("spots",),
    description="Spots.",
    documentation="# Spots\n\n## Validation\n\nNone.\n",
)


def spots(**answers):
    """The real spot network with answers and test tensors."""
    given = Answers(
        preprocessing=["scale_range", {"scale_linear": {"gain": 255}}],
        postprocessing=[{"clip": {"min": 0}}],
        multiple_of=16,
        **answers,
    )
    return replace(import_model(UFISH, given), card=CARD)


def tiny(order="bcyx", op="Abs", out=None, **more):
    """A network of one operator, and a description of it."""
    shape = [name if name in "byx" else 1 for name in order]
    weights = network(op, shape, out=out)
    given = describe_tensor(
        "In.Image", order, {"y": (8, 4), "x": (8, 4), "c": 1}, **more
    )
    result = describe_tensor("Result", order, {"c": 1}, of=given)
    import hashlib

    from smartscope.inference import Weights

    digest = hashlib.sha256(weights).hexdigest()
    return Content(
        "tiny", (given,), (result,), (Weights("onnx", weights, "net.onnx", digest),)
    )


def same(spec: TensorSpec, other: TensorSpec) -> bool:
    return (spec.layout, spec.dtype, spec.pixel_um) == (
        *(other.layout, other.dtype),
        other.pixel_um,
    ) and [(o.name, dict(o.settings)) for o in spec.operations] == [
        (o.name, dict(o.settings)) for o in other.operations
    ]


def test_everything_comes_back(tmp_path):
    content = spots()
    small = replace(content.weights[0], precision="int8")
    content = replace(
        content, weights=(*content.weights, small), files={"notes.txt": b"hello"}
    )
    for path in (tmp_path / "spots", tmp_path / "spots.zip"):
        found = read_content(write_package(path, content, timestamp=WHEN))
        assert found.card == CARD
        assert all(map(same, found.inputs, content.inputs))
        assert all(map(same, found.outputs, content.outputs))
        assert [(w.kind, w.precision, w.content) for w in found.weights] == [
            (w.kind, w.precision, w.content) for w in content.weights
        ]
        assert (found.test_inputs[0] == content.test_inputs[0]).all()
        assert (found.test_outputs[0] == content.test_outputs[0]).all()
    assert (tmp_path / "spots/notes.txt").read_bytes() == b"hello"


def test_the_model_reproduces_the_tests_that_were_written(tmp_path):
    path = write_package(tmp_path / "spots", replace(spots(), card=Card()))
    assert load_model(path, runtime="onnxruntime", threads=1).check().absolute < 1e-4


def test_the_same_content_gives_the_same_bytes(tmp_path):
    content = tiny()
    one = write_package(tmp_path / "a.zip", content, timestamp=WHEN)
    other = write_package(tmp_path / "b.zip", content, timestamp=WHEN)
    assert one.read_bytes() == other.read_bytes()


def test_every_file_is_named_with_its_hash(tmp_path):
    import hashlib

    path = write_package(tmp_path / "spots", replace(spots(), files={"n.txt": b"n"}))
    rdf = yaml.safe_load((path / "bioimageio.yaml").read_text())
    named = {}

    def walk(value):
        if isinstance(value, dict):
            if "source" in value:
                named[value["source"]] = value["sha256"]
            for part in value.values():
                walk(part)
        elif isinstance(value, list):
            for part in value:
                walk(part)

    walk(rdf)
    there = {p.name: p.read_bytes() for p in path.iterdir()}
    del there["bioimageio.yaml"]
    assert named == {n: hashlib.sha256(data).hexdigest() for n, data in there.items()}


def test_an_old_package_becomes_a_new_one(tmp_path):
    old = folder(tmp_path / "old", package_04())
    new = export_package(old, tmp_path / "new.zip")
    with zipfile.ZipFile(new) as archive:
        rdf = yaml.safe_load(archive.read("bioimageio.yaml"))
    assert rdf["format_version"] == "0.5.14"
    found = read_content(new)
    (given,), (want,) = found.inputs, read_content(old).inputs
    assert given.layout.axis("y") == want.layout.axis("y")
    assert load_model(new, runtime="onnxruntime", threads=1).check().absolute == 0


def test_a_real_package_again(tmp_path):
    again = export_package(UNET, tmp_path / "unet.zip")
    once, twice = read_content(UNET), read_content(again)
    assert once.card == twice.card and all(map(same, once.outputs, twice.outputs))
    assert export_package(again, tmp_path / "unet").is_dir()


def test_sizes_that_follow(tmp_path):
    content = tiny(pixel_um=0.5)
    (given,) = content.inputs
    out = describe_tensor("small", "bcyx", {"c": 1}, of=given, grid=2, halo=1)
    path = write_package(tmp_path / "net", replace(content, outputs=(out,)))
    (found,) = read_content(path).outputs
    axis = found.layout.axis("y")
    assert (axis.scale, axis.offset, axis.halo) == (0.5, 0, 1)
    assert read_content(path).inputs[0].pixel_um == 0.5


def test_answers_for_a_bare_network(tmp_path):
    content = import_model(UFISH, Answers(multiple_of=16))
    (given,), (out,) = content.inputs, content.outputs
    assert given.layout.axis("y").least == given.layout.axis("y").step == 16
    assert out.layout.axis("y").scale == 1
    with pytest.raises(ModelError, match="takes 4 axes, not 'cyx'; name them"):
        import_model(UFISH, Answers(axes="cyx"))
    path = tmp_path / "two.onnx"
    path.write_bytes(network("Add", [1, 1, 8, 8], inputs=2))
    with pytest.raises(ModelError, match="the network has 2 inputs; import it as"):
        import_model(path, Answers())


def test_sizes_are_measured_where_no_file_states_them(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(network("GlobalMaxPool", [1, 1, 32, 32], out=[1, 1, "h", "w"]))
    axis = import_model(path, Answers()).outputs[0].layout.axis("y")
    assert axis.size_for(32) == 1


REFUSED = {
    "no weights": (replace(tiny(), weights=()), "there are no weights"),
    "a work without address": (
        replace(tiny(), card=Card(cite=("A work",))),
        "cite: the citation 'A work' names no DOI and no address; add one",
    ),
    "too many tests": (
        replace(tiny(), test_inputs=(np.ones((1, 1, 8, 8)),) * 2),
        "2 test tensors for 1 inputs",
    ),
    "other channels": (
        replace(tiny(), test_inputs=(np.ones((1, 2, 8, 8)),)),
        "has 2 channels",
    ),
    "same names": (
        replace(tiny(), outputs=(tiny().inputs[0],)),
        "two tensors have the same name",
    ),
    "unknown channels": (
        replace(tiny(), inputs=(describe_tensor("i", "bcyx", {}),)),
        "the number of channels of 'i' is not known",
    ),
    "a contradiction": (
        replace(tiny(), inputs=(describe_tensor("i", "bcyx", {"c": 3}),)),
        "the description says otherwise",
    ),
    "no such output": (
        replace(tiny(), card=Card(decoder=Decoder("mask", output=3))),
        "there is no output 3",
    ),
    "two files": (
        replace(tiny(), files={"weights.onnx": b""}),
        "two files are called 'weights.onnx'",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_contradicts_itself_is_not_written(name, tmp_path):
    content, expected = REFUSED[name]
    with pytest.raises(ModelError, match=expected) as caught:
        write_package(tmp_path / "net", content)
    assert "\n" not in str(caught.value)


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="cannot be written"):
        write_package(tmp_path / "file", tiny())


PYTHON = os.environ.get("SMARTSCOPE_BIOIMAGEIO_PYTHON", "")


@pytest.mark.skipif(
    not PYTHON,
    reason="set SMARTSCOPE_BIOIMAGEIO_PYTHON to an interpreter with bioimageio.spec",
)
def test_the_reference_implementation_finds_no_fault(tmp_path):
    content = tiny(pixel_um=0.5, operations=["zero_mean_unit_variance"])
    (given,) = content.inputs
    halved = describe_tensor("small", "bcyx", {"c": 1}, of=given, grid=2, halo=1)
    steps = [
        {"id": "sigmoid"},
        {"id": "scale_mean_variance", "kwargs": {"reference_tensor": given.name}},
    ]
    stepped = describe_tensor("r", "bcyx", {"c": 1}, of=given, operations=steps)
    paths = [
        write_package(tmp_path / "spots", spots()),
        write_package(tmp_path / "spots.zip", replace(spots(), files={"n.txt": b"n"})),
        write_package(tmp_path / "small", replace(content, outputs=(halved,))),
        write_package(tmp_path / "steps", replace(content, outputs=(stepped,))),
        export_package(UNET, tmp_path / "unet.zip"),
        export_package(
            folder(tmp_path / "old", package_04()), tmp_path / "from_old.zip"
        ),
    ]
    script = Path(__file__).with_name("validate_with_bioimageio_spec.py")
    done = subprocess.run(
        [PYTHON, str(script), *map(str, paths)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" valid") == len(paths)
    # It looks at files and fields: a package that lies is found out.
    (paths[0] / "weights.onnx").write_bytes(b"other")
    broken = yaml.safe_load((paths[2] / "bioimageio.yaml").read_text())
    broken["inputs"][0]["axes"][2]["size"] = "large"
    (paths[2] / "bioimageio.yaml").write_text(yaml.safe_dump(broken))
    for path in (paths[0], paths[2]):
        done = subprocess.run(
            [PYTHON, str(script), str(path)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1, done.stdout
