"""Every runtime keeps the same promises."""

from __future__ import annotations

import importlib.util
import io
import subprocess
import sys
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from runtime_nets import (
    found_pixels,
    one,
    sum_and_product,
    torch_sum_and_product,
    torchscript,
    weights,
)
from tiny_onnx import UFISH

from smartscope.core import ModelError
from smartscope.inference._openvino import OpenVinoRuntime
from smartscope.inference._ort import OrtRuntime
from smartscope.inference._registry import RUNTIMES, available, open_runtime
from smartscope.inference._runtime import default_threads, short
from smartscope.inference._torch import TorchRuntime
from smartscope.inference._verdicts import nvidia_cards
from smartscope.inference._weights import register_layout

HAS_TORCH = importlib.util.find_spec("torch") is not None
HAS_OPENVINO = importlib.util.find_spec("openvino") is not None
needs_torch = pytest.mark.skipif(not HAS_TORCH, reason="torch is not installed")
needs_openvino = pytest.mark.skipif(
    not HAS_OPENVINO, reason="openvino is not installed"
)
CPU = ["onnxruntime", "openvino", "openvino-bf16", "torch", "torch-bf16"]
CARD = ["onnxruntime-cuda", "torch-cuda", "torch-cuda-fp16"]
NAMES = [*CPU, *(pytest.param(name, marks=pytest.mark.gpu) for name in CARD)]
ONNX = ["onnxruntime", "openvino"]


def started(name, net, torch_net=None):
    """Runtime on one thread; the test is skipped where it cannot be had."""
    if name.startswith("torch"):
        if not HAS_TORCH or torch_net is None:
            pytest.skip("needs torch")
        net = torch_net()
    reason = dict(available([net]))[name]
    if reason is not None:
        pytest.skip(reason)
    return open_runtime(name, [net], threads=1)


def fill(arrays, *values):
    for array, value in zip(arrays, values, strict=True):
        array[...] = value


@pytest.mark.parametrize("name", NAMES)
def test_a_size_is_prepared_once_and_then_only_filled_and_run(name):
    runtime = started(name, sum_and_product(), torch_sum_and_product)
    assert name.partition("-")[0] in runtime.name
    assert runtime.name.endswith(runtime.precision)
    assert [port.name for port in runtime.inputs] == ["in0", "in1"]
    assert len(runtime.outputs) == 2
    shape = (1, 2, 3, 4)
    arrays = runtime.prepare([shape, shape])
    for array in arrays:
        assert array.shape == shape and array.dtype == np.float32
        assert array.flags.c_contiguous and array.flags.writeable
        assert not array.any()
    ramp = np.arange(24, dtype=np.float32).reshape(shape)
    fill(arrays, ramp, 2)
    total, product = runtime.run()
    np.testing.assert_array_equal(total, ramp + 2)
    np.testing.assert_array_equal(product, ramp * 2)
    assert total.dtype == product.dtype == np.float32
    fill(arrays, 0.5, ramp)
    again = runtime.run()
    assert again[0] is total and again[1] is product
    np.testing.assert_array_equal(product, ramp / 2)
    same = runtime.prepare([shape, shape])
    assert all(one is other for one, other in zip(arrays, same, strict=True))
    runtime.close()


@pytest.mark.parametrize("name", NAMES)
def test_sizes_change_back_and_forth(name):
    runtime = started(name, sum_and_product(), torch_sum_and_product)
    for size in ((1, 1, 5, 7), (1, 3, 2, 2), (1, 1, 5, 7)):
        arrays = runtime.prepare([size, size])
        assert [array.shape for array in arrays] == [size, size]
        fill(arrays, 3, 4)
        total, product = runtime.run()
        assert total.shape == product.shape == size
        assert (total == 7).all() and (product == 12).all()
    runtime.close()


@pytest.mark.parametrize("name", NAMES)
def test_what_does_not_fit_is_refused_and_changes_nothing(name):
    runtime = started(name, sum_and_product(), torch_sum_and_product)
    with pytest.raises(ModelError, match="to run before a size was prepared"):
        runtime.run()
    arrays = runtime.prepare([(1, 1, 2, 2)] * 2)
    fill(arrays, 1, 2)
    with pytest.raises(ModelError, match=r"2 inputs \(in0, in1\), 1 were given"):
        runtime.prepare([(1, 1, 2, 2)])
    with pytest.raises(ModelError, match=r"'in1' takes .* offered \(1, 1, 0, 2\)"):
        runtime.prepare([(1, 1, 2, 2), (1, 1, 0, 2)])
    assert (runtime.run()[0] == 3).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_network_that_fails_names_its_file_and_recovers(name):
    runtime = started(name, sum_and_product(), torch_sum_and_product)
    with pytest.raises(ModelError, match=r"^net\.\w+: the network failed in .*1, 3, 4"):
        runtime.prepare([(1, 1, 3, 4), (1, 1, 5, 6)])
    with pytest.raises(ModelError, match="before a size was prepared"):
        runtime.run()
    fill(runtime.prepare([(1, 1, 3, 4)] * 2), 1, 1)
    assert (runtime.run()[0] == 2).all()


@pytest.mark.parametrize("name", CPU)
def test_a_size_beyond_all_memory_is_refused(name):
    runtime = started(name, sum_and_product(), torch_sum_and_product)
    with pytest.raises(ModelError, match=r"^net\.\w+: the network failed in "):
        runtime.prepare([(1, 1, 2**30, 2**30)] * 2)
    fill(runtime.prepare([(1, 1, 2, 2)] * 2), 1, 2)
    assert (runtime.run()[0] == 3).all()


@pytest.mark.parametrize("name", ONNX)
def test_an_output_that_depends_on_the_image_is_never_wrong(name):
    runtime = started(name, weights(found_pixels()))
    (array,) = runtime.prepare([(1, 1, 2, 2)])
    (out,) = runtime.run()
    assert out.shape == (4, 0) and out.dtype == np.int64
    array[0, 0, 0, 0] = 1
    with pytest.raises(ModelError, match=r"net\.onnx: the network failed in "):
        runtime.run()


@pytest.mark.parametrize("name", ONNX)
def test_a_fixed_size_is_kept(name):
    runtime = started(name, one("Abs", [1, 1, 8, "x"]))
    assert runtime.inputs[0].shape == (1, 1, 8, None)
    with pytest.raises(ModelError, match=r"takes \(1, 1, 8, any\), .* \(1, 1, 9, 8\)"):
        runtime.prepare([(1, 1, 9, 8)])
    with pytest.raises(ModelError, match=r"it was offered \(1, 8, 8\)"):
        runtime.prepare([(1, 8, 8)])


@pytest.mark.parametrize("name", CPU)
@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.999])
def test_a_file_that_is_cut_off_is_refused(name, share):
    def cut(whole):
        end = int(len(whole.content) * share)
        return replace(whole, content=whole.content[:end])

    net = cut(weights(UFISH.read_bytes()))
    with pytest.raises(ModelError, match=r"^net\.\w+: .* cannot load it \("):
        started(name, net, lambda: cut(torch_sum_and_product()))


@pytest.mark.parametrize("name", ONNX)
@pytest.mark.parametrize(("kind", "dtype"), [(2, "uint8"), (4, "uint16"), (6, "int32")])
def test_counts_need_no_conversion_where_the_network_takes_them(name, kind, dtype):
    runtime = started(name, one("Identity", kind=kind))
    assert runtime.inputs[0].dtype == runtime.outputs[0].dtype == dtype
    (array,) = runtime.prepare([(1, 1, 2, 3)])
    counts = np.array([[0, 1, 2], [3, 200, np.iinfo(dtype).max]], dtype)
    array[0, 0] = counts
    (out,) = runtime.run()
    assert out.dtype == dtype
    np.testing.assert_array_equal(out[0, 0], counts)


@pytest.mark.parametrize("name", CPU)
def test_a_run_keeps_no_memory(name):
    runtime = started(name, sum_and_product(), torch_sum_and_product)
    shape = (1, 1, 128, 128)
    arrays = runtime.prepare([shape, shape])
    for _ in range(3):
        runtime.run()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for number in range(30):
        arrays[0][...] = number
        runtime.run()
    after, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # One image is 64 KiB; NumPy's memory is traced.
    assert after - before < 4000
    assert peak - before < 16000


@pytest.mark.parametrize("name", ["openvino", "openvino-bf16"])
def test_a_real_network_agrees_with_the_reference(name):
    net = weights(UFISH.read_bytes())
    runtime, reference = started(name, net), OrtRuntime(net, threads=1)
    image = np.random.default_rng(5).uniform(0, 200, (1, 1, 48, 64))
    outs = []
    for each in (runtime, reference):
        fill(each.prepare([image.shape]), image)
        outs.append(np.array(each.run()[0]))
    off = np.sqrt(np.mean((outs[0] - outs[1]) ** 2)) / outs[1].std()
    assert outs[1].std() > 0
    assert off < (0.05 if runtime.precision == "bf16" else 1e-4)


def test_the_reference_gives_the_same_bits_each_time():
    image = np.random.default_rng(6).uniform(0, 200, (1, 1, 40, 40))
    bits = set()
    for _ in range(2):
        runtime = OrtRuntime(weights(UFISH.read_bytes()), threads=2)
        fill(runtime.prepare([image.shape]), image)
        bits |= {runtime.run()[0].tobytes() for _ in range(3)}
    assert len(bits) == 1


def test_threads_leave_cores_for_the_camera(monkeypatch):
    for cores, threads in ((None, 1), (1, 1), (2, 1), (3, 1), (16, 8)):
        monkeypatch.setattr("os.cpu_count", lambda cores=cores: cores)
        assert default_threads() == threads
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    assert OrtRuntime(one("Abs")).threads == 2
    assert OrtRuntime(one("Abs"), threads=1).threads == 1
    assert OrtRuntime(one("Abs"), threads=0).threads == 1


@pytest.mark.parametrize(
    ("module", "kind", "install"),
    [
        ("onnxruntime", OrtRuntime, "onnxruntime"),
        ("openvino", OpenVinoRuntime, r"smartscope\[openvino\]"),
        ("torch", TorchRuntime, r"smartscope\[torch\]"),
    ],
)
def test_a_missing_runtime_says_what_to_install(monkeypatch, module, kind, install):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ModelError, match=f"install it with: pip install {install}$"):
        kind(one("Abs"))


def test_a_provider_that_is_not_there_is_never_replaced():
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    for provider in ("cuda", "tensorrt"):
        with pytest.raises(ModelError, match="pip install onnxruntime-gpu"):
            OrtRuntime(one("Abs"), provider=provider)


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_provider_that_does_not_start_is_never_replaced(monkeypatch):
    import onnxruntime

    if nvidia_cards():
        pytest.skip("CUDA may start here")
    # What a wheel with CUDA does on a machine without its libraries.
    known = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: known)
    with pytest.raises(ModelError, match="could not start CUDAExecutionProvider"):
        OrtRuntime(one("Abs"), provider="cuda")


def test_other_files_are_refused_by_kind():
    other = replace(one("Abs"), kind="torchscript", file="net.pt")
    for kind in (OrtRuntime, OpenVinoRuntime):
        if kind is OpenVinoRuntime and not HAS_OPENVINO:
            continue
        with pytest.raises(ModelError, match="reads onnx, this is torchscript"):
            kind(other)
    if HAS_TORCH:
        with pytest.raises(ModelError, match="this is keras"):
            TorchRuntime(replace(other, kind="keras"))


@needs_openvino
def test_openvino_leaves_threads_free_to_move_and_the_cores_of_others_alone():
    runtime = OpenVinoRuntime(one("Abs"), threads=1)
    runtime.prepare([(1, 1, 4, 4)])
    compiled = runtime._request.get_compiled_model()
    assert compiled.get_property("ENABLE_CPU_PINNING") is False
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 1
    assert compiled.get_property("NUM_STREAMS") == 1


@needs_openvino
def test_openvino_never_imitates_a_type_or_a_device(monkeypatch):
    with pytest.raises(ModelError, match="weights are fp32, asked was int8"):
        OpenVinoRuntime(one("Abs"), precision="int8")
    with pytest.raises(ModelError, match="weights are int8, asked was fp32"):
        OpenVinoRuntime(one("Abs", precision="int8"))
    with pytest.raises(ModelError, match="finds no NPU9 here"):
        OpenVinoRuntime(one("Abs"), device="NPU9")
    monkeypatch.setattr(OpenVinoRuntime, "_capabilities", lambda self: ["FP32"])
    with pytest.raises(ModelError, match="CPU does not compute in bf16"):
        OpenVinoRuntime(one("Abs"), precision="bf16")


@needs_openvino
def test_openvino_keeps_compiled_networks(tmp_path):
    runtime = OpenVinoRuntime(one("Abs"), threads=1, cache=tmp_path)
    fill(runtime.prepare([(1, 1, 4, 4)]), -2)
    assert (runtime.run()[0] == 2).all()
    assert any(file.stat().st_size for file in tmp_path.iterdir())


@needs_torch
def test_torch_puts_its_threads_back():
    import torch

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        seen = []

        class Spy(torch.nn.Module):
            def forward(self, image):
                seen.append(torch.get_num_threads())
                return image

        runtime = TorchRuntime(Spy(), threads=1)
        runtime.prepare([(1, 1, 2, 2)])
        runtime.run()
        assert set(seen) == {1} and torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@needs_torch
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_torch_convolves_what_the_arrays_hold(channels, precision):
    import torch

    torch.manual_seed(0)
    net = torch.nn.Conv2d(channels, 4, 3, padding=1)
    image = np.random.default_rng(1).normal(size=(1, channels, 9, 11))
    with torch.inference_mode():
        expected = net(torch.from_numpy(image.astype(np.float32))).numpy()
    for source in (net, torchscript(net)):
        if dict(available([torchscript(net)]))["torch-bf16"] and precision == "bf16":
            pytest.skip("no bf16 here")
        runtime = TorchRuntime(source, threads=1, precision=precision)
        fill(runtime.prepare([image.shape]), image)
        (out,) = runtime.run()
        assert out.dtype == np.float32 and out.flags.c_contiguous
        limit = 1e-5 if precision == "fp32" else 0.05
        np.testing.assert_allclose(out, expected, atol=limit)
        assert runtime.outputs[0].shape == (1, 4, 9, 11)


@pytest.mark.gpu
@needs_torch
@pytest.mark.parametrize("mode", ["eager", "cuda_graphs"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_torch_convolves_on_a_card(mode, precision):
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no NVIDIA card found")
    torch.manual_seed(0)
    net = torch.nn.Conv2d(2, 4, 3, padding=1)
    reference = TorchRuntime(net, threads=1)
    runtime = TorchRuntime(
        torchscript(net), device="cuda", mode=mode, precision=precision
    )
    for size in ((1, 2, 9, 11), (1, 2, 32, 16)):
        arrays = [each.prepare([size])[0] for each in (reference, runtime)]
        for seed in range(3):
            image = np.random.default_rng(seed).normal(size=size)
            fill(arrays, image, image)
            limit = 1e-5 if precision == "fp32" else 0.05
            np.testing.assert_allclose(runtime.run()[0], reference.run()[0], atol=limit)
    runtime.close()


@needs_torch
def test_torch_builds_a_known_layout_and_fills_it():
    import torch

    register_layout("test-tiny", lambda width: torch.nn.Conv2d(1, width, 1, bias=False))
    stream = io.BytesIO()
    torch.save({"weight": torch.full((2, 1, 1, 1), 3.0)}, stream)
    layout = {"callable": "test-tiny", "kwargs": {"width": 2}}
    net = weights(
        stream.getvalue(), kind="pytorch_state_dict", architecture=layout, file="n.pt"
    )
    runtime = open_runtime("torch", [net], threads=1)
    fill(runtime.prepare([(1, 1, 2, 2)]), 5)
    (out,) = runtime.run()
    assert out.shape == (1, 2, 2, 2) and (out == 15).all()
    wide = replace(net, architecture={"callable": "test-tiny", "kwargs": {"width": 4}})
    with pytest.raises(ModelError, match=r"^n\.pt: torch .* cannot load it \(.*size"):
        open_runtime("torch", [wide])
    with pytest.raises(ModelError, match=r"^n\.pt: torch .* cannot load it"):
        open_runtime("torch", [replace(net, content=net.content[:200])])


@needs_torch
def test_torch_runs_no_program_from_a_state_dict(capsys):
    import torch

    class Evil:
        def __reduce__(self):
            return (print, ("run",))

    register_layout("test-one", lambda: torch.nn.Conv2d(1, 1, 1))
    stream = io.BytesIO()
    torch.save({"weight": Evil()}, stream)
    layout = {"callable": "test-one"}
    net = weights(stream.getvalue(), kind="pytorch_state_dict", architecture=layout)
    with pytest.raises(ModelError, match="cannot load it"):
        TorchRuntime(net)
    assert capsys.readouterr().out == ""


@needs_torch
def test_torch_flattens_results_and_refuses_what_it_cannot_do():
    import torch

    class Nested(torch.nn.Module):
        def forward(self, image):
            return {"a": image, "more": [image + 1, (image > 0,)]}

    runtime = TorchRuntime(Nested(), threads=1)
    assert runtime.outputs == ()
    fill(runtime.prepare([(1, 1, 2, 2)]), 1)
    one_, two, three = runtime.run()
    assert (one_ == 1).all() and (two == 2).all() and three.dtype == bool
    assert [port.dtype for port in runtime.outputs] == ["float32", "float32", "bool"]
    with pytest.raises(ModelError, match="CUDA graphs cannot be recorded on cpu"):
        TorchRuntime(Nested(), mode="cuda_graphs")
    with pytest.raises(ModelError, match="TorchScript cannot be compiled"):
        TorchRuntime(torch_sum_and_product(), mode="compiled")
    if not nvidia_cards():
        with pytest.raises(ModelError, match="finds no NVIDIA card"):
            TorchRuntime(Nested(), device="cuda")
        with pytest.raises(ModelError, match="cpu does not compute in fp16"):
            TorchRuntime(Nested(), precision="fp16")


@needs_torch
def test_torch_notices_an_output_that_changes_its_size():
    import torch

    class Found(torch.nn.Module):
        def forward(self, image):
            return image[image > 0]

    runtime = TorchRuntime(Found(), threads=1)
    (array,) = runtime.prepare([(1, 1, 2, 2)])
    array[0, 0, 0, 0] = 1
    with pytest.raises(ModelError, match=r"an output changed to \(1,\)"):
        runtime.run()


def test_messages_are_one_short_line():
    deep = RuntimeError("Exception from src/a.cpp:12:\nException from b.cpp:3:\nbad op")
    assert short(deep) == "bad op"
    script = RuntimeError("Traceback of TorchScript:\n  line\nRuntimeError: sizes")
    assert short(script) == "RuntimeError: sizes"
    assert short(ValueError()) == "ValueError"
    assert len(short(ValueError("x " * 500))) == 163


def test_every_runtime_says_why_it_is_not_there():
    reasons = dict(available([one("Abs")]))
    assert list(reasons) == list(RUNTIMES)
    assert reasons["onnxruntime"] is None
    assert "no int8 weights as onnx" in reasons["onnxruntime-int8"]
    if HAS_TORCH:
        assert reasons["torch"] is None
    if not nvidia_cards():
        for name in ("onnxruntime-cuda", "onnxruntime-tensorrt"):
            assert reasons[name] == "no NVIDIA card found"
    eight = dict(available([one("Abs"), one("Neg", precision="int8")]))
    assert eight["onnxruntime-int8"] is None and eight["onnxruntime"] is None


def test_a_runtime_is_opened_for_the_weights_it_takes():
    both = [one("Neg", precision="int8"), one("Abs")]
    for name, value in (("onnxruntime", 2), ("onnxruntime-int8", -2)):
        runtime = open_runtime(name, both, threads=1)
        fill(runtime.prepare([(1, 1, 2, 2)]), 2)
        assert (runtime.run()[0] == value).all()
        assert runtime.precision == ("int8" if value < 0 else "fp32")
    with pytest.raises(ModelError, match=r"no runtime 'fast'; use one of auto, onnx"):
        open_runtime("fast", both)
    with pytest.raises(ModelError, match="'torch' cannot run it: the model has no"):
        open_runtime("torch", both[:1])
    with pytest.raises(ModelError, match="does not say which model"):
        open_runtime("remote:gpu:8001", both)


def test_looking_for_runtimes_imports_none_of_them():
    code = (
        "import sys\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from runtime_nets import one\n"
        "from smartscope.inference._choose import choose\n"
        "from smartscope.inference._registry import why_not\n"
        "for name in ('onnxruntime', 'openvino', 'tensorrt-rtx', 'torch-cuda'):\n"
        "    why_not(name, [one('Abs')])\n"
        "heavy = {'onnxruntime', 'openvino', 'torch', 'tensorrt_rtx', 'grpc'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    folder = str(UFISH.parents[3] / "inference")
    subprocess.run([sys.executable, "-c", code, folder], check=True)
