"""What is written and read by hand is what protobuf itself writes and reads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

pytest.importorskip("grpc", reason="needs grpcio: pip install smartscope[remote]")

from remote_server import M

from smartscope.inference import Port
from smartscope.inference._remote_wire import (
    infer_request,
    model_request,
    read_answer,
    read_metadata,
    read_ready,
)

text = some.text(max_size=12)
sizes = some.lists(some.integers(-1, 2**40), max_size=5)
head = some.builds(
    lambda name, kind, shape: M["Head"](name=name, datatype=kind, shape=shape),
    text,
    some.sampled_from(["FP32", "INT64", "BOOL"]),
    sizes,
)


@given(text, text)
def test_which_model(name, version):
    found = M["Which"].FromString(model_request(name, version))
    assert (found.name, found.version) == (name, version)


@given(text, text, some.lists(some.tuples(text, sizes), min_size=1, max_size=3))
def test_a_request(name, version, tensors):
    sent = [
        (Port(key, (), "float32"), tuple(map(abs, shape)), 8) for key, shape in tensors
    ]
    heads = infer_request(name, version, sent, [Port("a", ()), Port("b", ())])
    numbers = [np.full(2, k, np.float32).tobytes() for k in range(len(sent))]
    message = b"".join(
        part for pair in zip(heads, numbers, strict=True) for part in pair
    )
    found = M["Request"].FromString(message)
    assert (found.model_name, found.model_version) == (name, version)
    assert [(t.name, tuple(t.shape)) for t in found.inputs] == [
        (port.name, shape) for port, shape, _ in sent
    ]
    assert {t.datatype for t in found.inputs} == {"FP32"}
    assert [t.name for t in found.outputs] == ["a", "b"]
    assert list(found.raw_input_contents) == numbers


@given(text, some.lists(text, max_size=3), some.lists(head, max_size=3))
def test_metadata(name, versions, heads):
    message = M["Metadata"](
        name=name, versions=versions, platform="p", inputs=heads, outputs=heads[:1]
    )
    found = read_metadata(message.SerializeToString())
    assert (found.name, found.versions, found.platform) == (name, tuple(versions), "p")
    wanted = [(h.name, h.datatype, tuple(h.shape)) for h in heads]
    assert [(h.name, h.datatype, h.shape) for h in found.inputs] == wanted
    assert len(found.outputs) == len(heads[:1])


@given(text, some.lists(some.tuples(head, some.binary(max_size=9)), max_size=3))
def test_an_answer(version, tensors):
    message = M["Answer"](
        model_version=version,
        id="7",
        outputs=[h for h, _ in tensors],
        raw_output_contents=[raw for _, raw in tensors],
    )
    found = read_answer(message.SerializeToString())
    assert found.version == version
    assert [bytes(part) for part in found.contents] == [raw for _, raw in tensors]
    assert [h.shape for h in found.outputs] == [tuple(h.shape) for h, _ in tensors]


def test_ready():
    assert read_ready(M["Ready"](ready=True).SerializeToString())
    assert not read_ready(M["Ready"](ready=False).SerializeToString())


@given(some.binary(max_size=60))
def test_any_bytes_are_read_or_refused(noise):
    for read in (read_ready, read_metadata, read_answer):
        try:
            read(noise)
        except ValueError:
            continue


@given(some.integers(1, 30))
def test_a_message_that_is_cut_off_is_refused_or_says_less(cut):
    whole = M["Answer"](
        model_version="1",
        outputs=[M["Head"](name="out", datatype="FP32", shape=[1, 2])],
        raw_output_contents=[bytes(8)],
    ).SerializeToString()
    try:
        found = read_answer(whole[:-cut] if cut < len(whole) else b"")
    except ValueError:
        return
    assert found != read_answer(whole)
