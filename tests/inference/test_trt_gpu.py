"""Engines that run, on a machine with an NVIDIA card: ``pytest -m gpu``.

Everything else about TensorRT is tested without a card.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from runtime_nets import sum_and_product
from tiny_onnx import UNET
from trt_networks import as_weights, convolutional, frame_bytes, operations, ran

from smartscope.core import ModelError
from smartscope.inference import load_model
from smartscope.inference._engines import Recipe, write_engine
from smartscope.inference._fold import Folding, Peaks, fold, frame_scale
from smartscope.inference._trt import load_tensorrt
from smartscope.inference._trt_build import build_engine
from smartscope.inference._trt_memory import CudaDevice, array_at
from smartscope.inference._trt_runtime import TensorRtRuntime

SHIPPED = Path(__file__).parents[2] / "models"
FLAVOURS = ("tensorrt-rtx", "tensorrt")
SIZE = (1, 1, 128, 128)


def missing(flavour):
    """Reason why this machine cannot run it; empty where it can."""
    try:
        trt = load_tensorrt(flavour)
        card = CudaDevice("probe")
    except ModelError as error:
        return str(error)
    offered = trt.capabilities()
    if offered and card.capability() not in offered:
        return f"{trt.label} does not run on compute capability {card.capability()}"
    return ""


REASONS = {flavour: missing(flavour) for flavour in FLAVOURS}

pytestmark = pytest.mark.gpu


@pytest.fixture(params=FLAVOURS)
def flavour(request):
    """Each TensorRT; skipped by name where it cannot run."""
    if REASONS[request.param]:
        pytest.skip(f"{request.param}: {REASONS[request.param]}")
    return request.param


@pytest.fixture
def opened(flavour, tmp_path):
    """Open runtimes and close them, with a cache of their own."""
    runtimes = []

    def start(weights, **more):
        runtime = TensorRtRuntime(
            weights, flavour=flavour, cache=tmp_path / "engines", **more
        )
        runtimes.append(runtime)
        return runtime

    yield start
    for runtime in runtimes:
        runtime.close()


def deviation(got, wanted):
    """Relative RMS deviation."""
    spread = np.sqrt((wanted.astype(np.float64) ** 2).mean())
    return float(np.sqrt(((got - wanted).astype(np.float64) ** 2).mean()) / spread)


def image(shape=SIZE, seed=0):
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


TOLERANCE = {"fp32": 1e-4, "fp16": 1e-2}


@pytest.mark.parametrize("precision", TOLERANCE)
def test_the_numbers_are_those_of_onnx_runtime(opened, precision):
    model = convolutional(heads=3)
    runtime = opened(as_weights(model), precision=precision)
    (given,) = runtime.prepare([SIZE])
    for seed in range(3):
        given[...] = image(seed=seed)
        (found,) = runtime.run()
        (wanted,) = ran(model, given)
        assert found.shape == wanted.shape
        assert deviation(found, wanted) < TOLERANCE[precision]


@pytest.mark.parametrize("precision", TOLERANCE)
def test_folded_networks_agree(opened, precision):
    folding = Folding(
        "uint16",
        preprocessing=operations({"scale_range": {"max_percentile": 99.8}}),
        postprocessing=(operations({"sigmoid": {}}),),
    )
    model = convolutional()
    frame = np.random.default_rng(1).gamma(2, 900, (1, 128, 128)).astype(np.uint16)
    runtime = opened(as_weights(model), precision=precision, folding=folding)
    arrays = runtime.prepare([(*SIZE, 2), (1,), (1,)])
    tensors = [frame_bytes(frame[np.newaxis]), *frame_scale(folding, frame)]
    for array, tensor in zip(arrays, tensors, strict=True):
        array[...] = tensor
    (wanted,) = ran(fold(model, folding, "net.onnx"), *tensors)
    assert deviation(runtime.run()[0], wanted) < TOLERANCE[precision]


def test_peaks_come_back_instead_of_maps(opened):
    folding = Folding(peaks=Peaks(most=64, threshold=0.0))
    model = convolutional((1, 1, 128, 128))
    runtime = opened(as_weights(model), precision="fp32", folding=folding)
    (given,) = runtime.prepare([SIZE])
    given[...] = image()
    score, index = runtime.run()
    wanted = ran(fold(model, folding, "net.onnx"), given)
    assert index.dtype == np.int32
    # The order of nearly equal scores is the card's own.
    assert len(set(index.tolist()) & set(wanted[1].tolist())) >= 60
    np.testing.assert_allclose(score, wanted[0], rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(
    "path", [UNET, *sorted(p for p in SHIPPED.glob("*") if p.is_dir())], ids=str
)
@pytest.mark.parametrize("precision", TOLERANCE)
def test_models_agree_within_what_their_card_allows(opened, path, precision):
    model = load_model(path)
    weights = next(w for w in model.weights if w.precision == "fp32")
    intake = model.inputs[0]
    sizes = {n: intake.legal(n, 512) for n in "yx"}
    shape = intake.layout.shape({"c": intake.channels or 1, "z": 1, **sizes})
    runtime = opened(weights, precision=precision)
    (given,) = runtime.prepare([shape])
    given[...] = np.abs(image(shape))
    found = [array.copy() for array in runtime.run()]
    for got, wanted in zip(found, ran(weights.content, given), strict=True):
        assert deviation(got, wanted) < 5 * TOLERANCE[precision]
    model.close()


def test_a_hundred_runs_allocate_nothing_and_are_timed(opened, capsys):
    runtime = opened(as_weights(convolutional(width=16)), precision="fp16")
    (given,) = runtime.prepare([(1, 1, 512, 512)])
    given[...] = image((1, 1, 512, 512))
    first = runtime.run()[0]
    wanted = first.copy()
    from cuda.bindings import runtime as cuda

    _, before, _ = cuda.cudaMemGetInfo()
    times = []
    for _ in range(100):
        start = time.perf_counter_ns()
        assert runtime.run()[0] is first
        times.append((time.perf_counter_ns() - start) / 1e6)
    _, after, _ = cuda.cudaMemGetInfo()
    assert after == before
    np.testing.assert_array_equal(first, wanted)
    p50, p99 = np.percentile(times, [50, 99])
    with capsys.disabled():
        print(f"\n{runtime.name}: 512x512 p50 {p50:.3f} ms, p99 {p99:.3f} ms")


def test_a_frame_is_one_graph(opened):
    runtime = opened(as_weights(convolutional()), precision="fp16")
    runtime.prepare([SIZE])
    assert runtime._session.recorded


def test_sizes_may_change_and_come_back(opened):
    model = convolutional()
    runtime = opened(as_weights(model), precision="fp32")
    for size in (128, 64, 128):
        (given,) = runtime.prepare([(1, 1, size, size)])
        given[...] = image(given.shape)
        assert deviation(runtime.run()[0], ran(model, given)[0]) < 1e-4


def test_several_inputs_and_outputs(opened):
    weights = sum_and_product()
    runtime = opened(weights, precision="fp32")
    one, two = runtime.prepare([SIZE, SIZE])
    one[...], two[...] = image(seed=1), image(seed=2)
    total, product = runtime.run()
    np.testing.assert_allclose(total, one + two, rtol=1e-6)
    np.testing.assert_allclose(product, one * two, rtol=1e-6)


def test_one_engine_for_many_sizes(opened, flavour, tmp_path):
    model = convolutional()
    sizes = ((1, 1, 32, 32), SIZE, (1, 1, 256, 256))
    sm = (CudaDevice("net.onnx").capability(),)
    recipe = Recipe(flavour=flavour, sm=sm, profiles=(sizes,))
    path = tmp_path / "many.engine"
    write_engine(path, build_engine(as_weights(model), recipe))
    runtime = opened(as_weights(model), engine=path)
    for size in (32, 200, 256):
        (given,) = runtime.prepare([(1, 1, size, size)])
        given[...] = image(given.shape)
        assert deviation(runtime.run()[0], ran(model, given)[0]) < 1e-4
    with pytest.raises(ModelError, match=r"refuses the shape \(1, 1, 512, 512\)"):
        runtime.prepare([(1, 1, 512, 512)])


def test_a_wrong_shape_is_a_sentence(opened):
    runtime = opened(as_weights(convolutional((1, 1, 32, 32))), precision="fp32")
    with pytest.raises(ModelError, match="it was offered"):
        runtime.prepare([SIZE])


def test_the_card_keeps_memory_and_gives_it_back():
    if REASONS["tensorrt-rtx"] and REASONS["tensorrt"]:
        pytest.skip(REASONS["tensorrt-rtx"])
    card = CudaDevice("net.onnx")
    stream = card.open_stream()
    pinned, there, back = (
        card.allocate_pinned(4096),
        card.allocate(4096),
        card.allocate_pinned(4096),
    )
    sent = array_at(pinned, (1024,), np.dtype("float32"))
    got = array_at(back, (1024,), np.dtype("float32"))
    card.record(stream)
    card.upload(there, pinned, 4096, stream)
    card.download(back, there, 4096, stream)
    graph = card.recorded(stream)
    for value in range(3):
        sent[...] = value
        card.launch(graph, stream)
        card.wait(stream)
        assert (got == value).all()
    card.free_graph(graph)
    card.free(there)
    card.free_pinned(pinned)
    card.free_pinned(back)
    card.close_stream(stream)
    with pytest.raises(ModelError, match="the card failed in cudaMalloc"):
        card.allocate(2**62)
