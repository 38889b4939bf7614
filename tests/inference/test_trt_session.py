"""Memory, order of calls and graphs of a session, and what happens when a call fails.

The card is played by the host, the execution context by ONNX Runtime: what a card
would compute is computed, at the addresses that the session told.
"""

from __future__ import annotations

import numpy as np
import pytest
from trt_networks import (
    HostCard,
    ScriptedContext,
    as_weights,
    convolutional,
    ran,
)

from smartscope.core import ModelError
from smartscope.inference._engines import EngineTensor, engines_folder
from smartscope.inference._trt_memory import CudaDevice
from smartscope.inference._trt_runtime import TensorRtRuntime
from smartscope.inference._trt_session import Session

SHAPE = (1, 1, 16, 24)
BYTES = 16 * 24 * 4
MODEL = convolutional(heads=2)
TENSORS = (
    EngineTensor("image", "input", "float32", (1, 1, None, None)),
    EngineTensor("map", "output", "float32", (1, 2, None, None)),
)


def session(card, errors=(), **more):
    context = ScriptedContext(MODEL, card, **more)
    return Session(
        context,
        TENSORS,
        [SHAPE],
        device=card,
        file="net.onnx",
        errors=list(errors),
    )


RUN = ["upload", "execute_async_v3", "download"]


def test_everything_happens_once_and_in_order():
    card = HostCard()
    opened = session(card)
    assert card.names == [
        "set_input_shape",
        "open_stream",
        *("allocate", "allocate_pinned", "set_tensor_address") * 2,
        *(*RUN, "wait") * 2,
        "record",
        *RUN,
        "recorded",
    ]
    sizes = [call[1] for call in card.calls if call[0].startswith("allocate")]
    assert sizes == [BYTES, BYTES, 2 * BYTES, 2 * BYTES]
    assert opened.recorded
    opened.close()
    assert card.held == 0


def test_a_frame_is_one_launch_and_gives_the_numbers_of_the_network():
    card = HostCard()
    opened = session(card)
    rng = np.random.default_rng(0)
    (given,) = opened.inputs
    assert given.shape == SHAPE
    assert given.flags.c_contiguous
    assert not given.any()
    for _ in range(3):
        given[...] = rng.normal(0, 1, SHAPE)
        before = len(card.calls)
        (found,) = opened.run()
        assert card.names[before:] == ["launch", "wait"]
        np.testing.assert_array_equal(found, ran(MODEL, given)[0])
    opened.close()


def test_a_hundred_frames_allocate_nothing():
    card = HostCard()
    opened = session(card)
    before = card.names.count("allocate"), card.held
    first = opened.run()[0]
    for _ in range(100):
        assert opened.run()[0] is first
    assert (card.names.count("allocate"), card.held) == before
    assert card.names.count("launch") == 101
    opened.close()


def test_a_context_that_cannot_be_recorded_queues_each_frame():
    card = HostCard()
    opened = session(card, capturable=False)
    assert not opened.recorded
    opened.inputs[0][...] = 1.0
    before = len(card.calls)
    (found,) = opened.run()
    assert card.names[before:] == [*RUN, "wait"]
    np.testing.assert_array_equal(found, ran(MODEL, opened.inputs[0])[0])
    opened.close()
    assert card.held == 0


ONCE = ["open_stream", "record", "recorded"]
SEVERAL = ["allocate", "allocate_pinned", "upload", "download", "wait"]
FAILURES = [(name, 1) for name in (*ONCE, *SEVERAL)]
FAILURES += [(name, 2) for name in SEVERAL]
# The third time is while the graph is recorded.
FAILURES += [("upload", 3), ("download", 3)]


@pytest.mark.parametrize(("call", "at"), FAILURES)
def test_a_card_that_fails_while_opening_leaves_nothing_behind(call, at):
    card = HostCard(fail=call, at=at)
    with pytest.raises(ModelError, match=rf"net.onnx: the card failed in {call}"):
        session(card)
    # A recording that was broken off is ended, and its graph is not kept.
    card.graphs.clear()
    assert card.held == 0


@pytest.mark.parametrize("call", ["launch", "wait"])
def test_a_card_that_fails_in_a_frame_is_closed_without_another_error(call):
    card = HostCard(fail=call, at=1 if call == "launch" else 3)
    opened = session(card)
    with pytest.raises(ModelError, match=f"failed in {call}"):
        opened.run()
    opened.close()
    assert card.held == 0


@pytest.mark.parametrize("call", ["free_graph", "free_pinned", "free", "close_stream"])
def test_a_card_that_fails_while_closing_gets_everything_back(call):
    card = HostCard(fail=call)
    opened = session(card)
    with pytest.raises(ModelError, match=f"failed in {call}"):
        opened.close()
    assert card.held == 0
    opened.close()


@pytest.mark.parametrize(
    ("refuses", "sentence"),
    [
        ("set_input_shape", r"refuses the shape \(1, 1, 16, 24\) of input 'image'"),
        ("infer_shapes", "has no size for image"),
        ("get_tensor_shape", "gives no size for 'map' before it has run"),
        ("set_tensor_address", "refuses the memory of 'image'"),
        ("execute_async_v3", "failed to run"),
    ],
)
def test_an_engine_that_refuses_is_a_sentence_with_its_own_words(refuses, sentence):
    card = HostCard()
    wanted = rf"net.onnx: TensorRT {sentence} \(the reason\); build the engine"
    with pytest.raises(ModelError, match=wanted):
        session(card, errors=["the reason."], refuses=refuses)
    assert card.held == 0


def test_without_a_driver_the_real_library_refuses_its_engine(tmp_path):
    pytest.importorskip("tensorrt_rtx")
    if cuda_card():
        pytest.skip("there is a card, which takes the engine")
    card = HostCard()
    net = as_weights(convolutional())
    runtime = TensorRtRuntime(net, cache=tmp_path, precision="fp32", device=card)
    assert runtime.name.startswith("tensorrt-rtx ")
    assert runtime.name.endswith("Host, driver for CUDA 0 fp32")
    assert [p.name for p in runtime.inputs] == ["image"]
    for _ in range(2):
        with pytest.raises(ModelError, match=r"cannot load its engine .*CUDA driver"):
            runtime.prepare([(1, 1, 32, 32)])
    # Built once, for the capability of this card; the second time it was found.
    engines = [p for p in tmp_path.iterdir() if p.suffix == ".engine"]
    assert len(engines) == 1
    assert '"compute capability 8.6"' in engines[0].with_suffix(".json").read_text()
    assert card.calls == []
    with pytest.raises(ModelError, match="was asked to run before a size was prepared"):
        runtime.run()
    runtime.close()


def test_an_engine_for_more_sizes_and_cards_is_used(tmp_path):
    pytest.importorskip("tensorrt_rtx")
    from smartscope.inference._engines import Recipe, engine_path, write_engine
    from smartscope.inference._trt_build import build_engine

    if cuda_card():
        pytest.skip("there is a card, which takes the engine")
    net = as_weights(convolutional())
    sizes = ((1, 1, 16, 16), (1, 1, 64, 64), (1, 1, 128, 128))
    made = build_engine(net, Recipe(sm=(75, 86), precision="fp16", profiles=(sizes,)))
    write_engine(engine_path(tmp_path, made.card.key, "net.onnx"), made)

    def engines_after(size, **more):
        runtime = TensorRtRuntime(net, cache=tmp_path, device=HostCard(), **more)
        with pytest.raises(ModelError, match="cannot load its engine"):
            runtime.prepare([(1, 1, size, size)])
        return len(list(tmp_path.glob("*.engine")))

    assert engines_after(64) == 1
    assert engines_after(128) == 1
    assert engines_after(256) == 2
    assert engines_after(64, precision="fp32") == 3


def test_shapes_are_refused_before_anything_is_built(tmp_path):
    pytest.importorskip("tensorrt_rtx")
    net = as_weights(convolutional((1, 1, 32, 32)))
    runtime = TensorRtRuntime(net, cache=tmp_path, device=HostCard())
    with pytest.raises(ModelError, match=r"takes \(1, 1, 32, 32\), it was offered"):
        runtime.prepare([(1, 1, 64, 64)])
    assert list(tmp_path.iterdir()) == []


def test_an_engine_built_for_other_processing_is_refused(tmp_path):
    pytest.importorskip("tensorrt_rtx")
    from smartscope.inference._engines import Recipe, write_engine
    from smartscope.inference._fold import Folding
    from smartscope.inference._trt_build import build_engine

    net = as_weights(convolutional((1, 1, 32, 32)))
    folding = Folding("uint16")
    path = tmp_path / "net.engine"
    write_engine(path, build_engine(net, Recipe(sm=(86,), folding=folding)))
    card = HostCard()
    with pytest.raises(ModelError, match="built with other processing inside"):
        TensorRtRuntime(net, engine=path, device=card)
    other = as_weights(convolutional((1, 1, 32, 32), seed=9))
    with pytest.raises(ModelError, match="built of another version"):
        TensorRtRuntime(other, engine=path, device=card)
    runtime = TensorRtRuntime(net, engine=path, folding=folding, device=card)
    assert [(p.name, p.dtype) for p in runtime.inputs] == [
        ("frame", "uint8"),
        ("gain", "float32"),
        ("offset", "float32"),
    ]
    assert runtime.precision == "fp32"


def test_the_engines_folder_is_the_users(tmp_path, monkeypatch):
    monkeypatch.setenv("SMARTSCOPE_CACHE", str(tmp_path))
    assert engines_folder() == tmp_path / "engines"


def cuda_card():
    """Whether this machine has a card that CUDA can use."""
    try:
        CudaDevice("probe")
    except ModelError:
        return False
    return True


def test_a_machine_without_a_card_says_so():
    if cuda_card():
        pytest.skip("there is a card")
    with pytest.raises(ModelError, match=r"net.onnx: (cuda-bindings|no NVIDIA card)"):
        CudaDevice("net.onnx")


@pytest.mark.parametrize(
    "call",
    [
        lambda card, api: card.about(),
        lambda card, api: card.capability(),
        lambda card, api: card.allocate(64),
        lambda card, api: card.free(4096),
        lambda card, api: card.allocate_pinned(64),
        lambda card, api: card.free_pinned(4096),
        lambda card, api: card.open_stream(),
        lambda card, api: card.close_stream(7),
        lambda card, api: card.upload(4096, 8192, 8, 7),
        lambda card, api: card.download(4096, 8192, 8, 7),
        lambda card, api: card.record(7),
        lambda card, api: card.recorded(7),
        lambda card, api: card.launch(api.cudaGraphExec_t(5), 7),
        lambda card, api: card.free_graph(api.cudaGraphExec_t(5)),
        lambda card, api: card.wait(7),
    ],
)
def test_every_call_suits_the_real_bindings_and_its_error_names_the_model(call):
    api = pytest.importorskip("cuda.bindings.runtime")
    if cuda_card():
        pytest.skip("there is a card, which would take some of these")
    card = CudaDevice.__new__(CudaDevice)
    card._api, card._file = api, "net.onnx"
    with pytest.raises(
        ModelError, match=r"^net\.onnx: the card failed in cuda[A-Z]\w+"
    ):
        call(card, api)
