"""Engines on the disk: found by what they are made of, whole, or not used."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json

import numpy as np
import pytest
from trt_networks import as_weights, convolutional, operations

from smartscope.core import ModelError
from smartscope.inference._engines import (
    Engine,
    EngineCard,
    EngineTensor,
    Recipe,
    card_path,
    check_engine,
    digest_of,
    engine_key,
    engine_path,
    find_engine,
    read_engine,
    with_notes,
    write_engine,
)
from smartscope.inference._fold import Folding

NET = as_weights(convolutional())
SIZE = ((1, 1, 64, 64),) * 3
CONTENT = bytes(range(256)) * 40


def engine(key="k", runtime="tensorrt-rtx 1.7"):
    card = EngineCard(
        key=key,
        model="net.onnx",
        onnx_sha256=NET.sha256,
        runtime=runtime,
        target="compute capability 8.6",
        precision="fp16",
        folding="",
        profiles=(SIZE,),
        tensors=(EngineTensor("image", "input", "float32", (1, 1, None, None)),),
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        seconds=0.2,
        notes=("one",),
    )
    return Engine(CONTENT, card)


def test_everything_an_engine_depends_on_is_in_its_key():
    base = Recipe(profiles=(SIZE,))
    other = as_weights(convolutional(seed=2))
    bigger = ((1, 1, 128, 128),) * 3
    folded = Folding("uint16", preprocessing=operations({"clip": {"min": 0}}))

    def key(net=NET, recipe=base, runtime="rtx 1", target="8.6", calibration=""):
        return engine_key(net, recipe, runtime, target, calibration)

    change = dataclasses.replace
    keys = [
        key(),
        key(net=other),
        key(runtime="rtx 2"),
        key(target="8.9"),
        key(calibration="a"),
        key(recipe=change(base, precision="fp16")),
        key(recipe=change(base, profiles=(bigger,))),
        key(recipe=change(base, folding=folded)),
        key(recipe=change(base, workspace_mb=64)),
    ]
    assert len(set(keys)) == len(keys)
    assert key() == key(net=as_weights(convolutional()))


def test_calibration_images_are_told_apart():
    image = np.zeros((1, 1, 2, 3), np.float32)
    sets = ([], [[image]], [[image], [image]], [[image + 1]], [[image.reshape(1, 6)]])
    assert len({digest_of(given) for given in sets}) == len(sets)
    assert digest_of([]) == ""


def test_an_engine_comes_back_as_it_was(tmp_path):
    path = engine_path(tmp_path / "new", "k" * 64, "models/my net!.onnx")
    assert path.name == f"my_net_-{'k' * 16}.engine"
    write_engine(path, engine())
    assert read_engine(path) == engine()
    assert sorted(p.suffix for p in path.parent.iterdir()) == [".engine", ".json"]


def test_a_kept_engine_is_found_by_its_key_alone(tmp_path):
    path = engine_path(tmp_path, "k", "net.onnx")
    write_engine(path, engine())
    assert find_engine(tmp_path, "k", "net.onnx") == (engine(), "")
    assert find_engine(tmp_path, "other", "net.onnx") == (None, "")


def test_an_engine_of_another_key_under_this_name_is_not_used(tmp_path):
    write_engine(engine_path(tmp_path, "k", "net.onnx"), engine("not k"))
    found, reason = find_engine(tmp_path, "k", "net.onnx")
    assert found is None
    assert "made of something else; it was built anew" in reason


def damaged(path):
    content = bytearray(path.read_bytes())
    content[500] ^= 1
    path.write_bytes(content)


def edited(**fields):
    def edit(path):
        told = json.loads(card_path(path).read_text())
        card_path(path).write_text(json.dumps(told | fields))

    return edit


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (damaged, "the engine is damaged"),
        (lambda path: path.write_bytes(CONTENT[:-1]), "the engine is damaged"),
        (lambda path: card_path(path).unlink(), "the .json file beside it, cannot"),
        (lambda path: card_path(path).write_text("{"), "cannot be read; build"),
        (lambda path: card_path(path).write_text("[]"), "description of this engine"),
        (lambda path: card_path(path).write_bytes(b"\xff\xfe"), "cannot be read"),
        (edited(format=2), "description of this engine"),
        (edited(tensors=[{"name": "image"}]), "description of this engine"),
        (edited(surprise=1), "description of this engine"),
    ],
)
def test_a_harmed_engine_is_refused_and_not_found(harm, sentence, tmp_path):
    path = engine_path(tmp_path, "k", "net.onnx")
    write_engine(path, engine())
    harm(path)
    with pytest.raises(ModelError, match=sentence):
        read_engine(path)
    found, reason = find_engine(tmp_path, "k", "net.onnx")
    assert found is None
    assert reason.endswith("it was built anew")


def test_a_folder_that_cannot_be_written_to_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match=r"cannot be written .*SMARTSCOPE_CACHE"):
        write_engine(tmp_path / "file" / "x.engine", engine())


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    path = engine_path(tmp_path, "k", "net.onnx")
    write_engine(path, engine())
    calls = itertools.count()

    def full(source, target):
        raise OSError(28, f"No space left on device {next(calls)}")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(ModelError, match="No space left on device 0"):
        write_engine(path, with_notes(engine(), "two"))
    monkeypatch.undo()
    assert read_engine(path) == engine()
    assert len(list(tmp_path.iterdir())) == 2


def test_engines_of_others_are_refused():
    check_engine(engine(), "tensorrt-rtx 1.7", NET)
    with pytest.raises(ModelError, match=r"built by tensorrt-rtx 1.7, here is .* 1.8"):
        check_engine(engine(), "tensorrt-rtx 1.8", NET)
    with pytest.raises(ModelError, match=r"built of another version of 'net.onnx'"):
        check_engine(engine(), "tensorrt-rtx 1.7", as_weights(convolutional(seed=2)))


def test_notes_are_added_and_empty_ones_are_not():
    assert with_notes(engine(), "", "two").card.notes == ("one", "two")
