"""PyTorch: for TorchScript, weights of a known layout, and ONNX files on a card."""

from __future__ import annotations

import contextlib
import functools
import inspect
import io
import pickle
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from smartscope.inference._document import refusal
from smartscope.inference._protocol import Port, Weights
from smartscope.inference._runtime import (
    PreparedRuntime,
    check_weights,
    not_installed,
    not_loaded,
)
from smartscope.inference._torch_graph import OnnxGraph
from smartscope.inference._weights import build_layout

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

Mode = Literal["eager", "compiled", "cuda_graphs"]

# What torch and the networks written for it raise; CUDA errors are RuntimeErrors.
_ERRORS = (RuntimeError, ValueError, TypeError, IndexError, AssertionError)
_WARM_UPS = 2
"""Runs before the first that counts; TorchScript optimises in the second."""


class TorchRuntime(PreparedRuntime):
    """PyTorch, on the CPU or on an NVIDIA card.

    The input arrays are the memory of the tensors the network gets. On a card they are
    pinned; copy in, network and copy out are one queue of work with one wait at its
    end, with ``cuda_graphs`` recorded once and replayed as a whole.

    The number of threads is a setting of the whole process in torch: it is set for the
    time of a run and put back after it. Its threads wait for more work for some
    milliseconds before they sleep, so prefer ONNX Runtime or OpenVINO beside a camera.

    Parameters
    ----------
    source : Weights or torch.nn.Module
        TorchScript, a state dict of a known layout, ONNX (see `OnnxGraph`), or a
        network as it is.
    threads : int or None
        Threads for one run on the CPU; None is half of the cores.
    mode : {"eager", "compiled", "cuda_graphs"}
        ``compiled`` takes 10 to 30 s for each size and a C++ compiler.
    precision : {"fp32", "bf16", "fp16"}
        Type of the convolutions and products; fp16 only on a card.
    device : str
        ``cpu``, ``cuda`` or ``cuda:1``.

    Attributes
    ----------
    inputs, outputs : tuple of Port
        Sizes of inputs are stated in ONNX files only; there are no outputs until the
        first `prepare` where the file does not say how many.

    Raises
    ------
    ModelError
        Torch, the card or the precision is not there, or the file is not for it.
    """

    _errors = _ERRORS

    def __init__(
        self,
        source: Weights | torch.nn.Module,
        *,
        threads: int | None = None,
        mode: Mode = "eager",
        precision: Literal["fp32", "bf16", "fp16"] = "fp32",
        device: str = "cpu",
    ) -> None:
        try:
            import torch
        except ImportError as error:
            raise not_installed("PyTorch", "smartscope[torch]", error) from error
        super().__init__(threads)
        self.precision = precision
        version = torch.__version__.partition("+")[0]
        how = {"eager": "", "compiled": " compiled", "cuda_graphs": " graphs"}[mode]
        self.name = f"torch {version} {device}{how} {precision}"
        self._torch = torch
        self._mode = mode
        self._device = torch.device(device)
        self._file = source.file if isinstance(source, Weights) else "the network"
        self._check_machine()
        module = _module(torch, source) if isinstance(source, Weights) else source
        self.inputs, self.outputs = _ports(module)
        self._module: Any = self._place(module)

    def _check_machine(self) -> None:
        torch, device = self._torch, self._device
        if device.type == "cuda" and not torch.cuda.is_available():
            raise refusal(
                f"torch {torch.__version__} finds no NVIDIA card",
                file=self._file,
                fix="use a CPU runtime, or install torch for CUDA and the driver",
            )
        if self._mode == "cuda_graphs" and device.type != "cuda":
            raise refusal(
                f"CUDA graphs cannot be recorded on {device}",
                file=self._file,
                fix="use mode 'eager'",
            )
        if not _computes(torch, device, self.precision):
            raise refusal(
                f"{device} does not compute in {self.precision} with torch",
                file=self._file,
                fix="use fp32",
            )

    def _place(self, module: Any) -> Any:
        torch = self._torch
        if isinstance(module, OnnxGraph):
            return module
        try:
            module = module.eval().to(self._device, memory_format=torch.channels_last)
            if isinstance(module, torch.jit.ScriptModule):
                if self._mode == "compiled":
                    raise refusal(
                        "TorchScript cannot be compiled",
                        file=self._file,
                        fix="use runtime 'torch'",
                    )
                with _torchscript():
                    return torch.jit.freeze(module)
            return self._compiled(module)
        except _ERRORS as error:
            raise not_loaded(self.name, self._file, error) from error

    def _compiled(self, module: Any) -> Any:
        if self._mode != "compiled":
            return module
        with _torchscript():
            return self._torch.compile(module, dynamic=False)

    def _forget(self) -> None:
        super()._forget()
        self._network: Any = None
        self._host_in: list[torch.Tensor] = []
        self._fed: list[torch.Tensor] = []
        self._host_out: list[torch.Tensor] = []
        self._stream: Any = None
        self._graph: Any = None

    def _ready(self, shapes: tuple[tuple[int, ...], ...]) -> None:
        with self._working():
            self._allocate(shapes)
            for _ in range(_WARM_UPS):
                self._pass()
            if self._mode == "cuda_graphs":
                self._record()
        self._in = tuple(tensor.numpy() for tensor in self._host_in)
        self._out = tuple(tensor.numpy() for tensor in self._host_out)
        names = [port.name for port in self.outputs]
        if not names:
            names = [f"output{index}" for index in range(len(self._out))]
        self.outputs = tuple(
            Port(name, array.shape, array.dtype.name)
            for name, array in zip(names, self._out, strict=True)
        )

    def _allocate(self, shapes: tuple[tuple[int, ...], ...]) -> None:
        torch, card = self._torch, self._device.type == "cuda"
        if card:
            self._stream = torch.cuda.Stream(self._device, priority=-1)
        for shape, port in zip(shapes, self.inputs, strict=True):
            dtype = getattr(torch, port.dtype)
            host = torch.zeros(shape, dtype=dtype, pin_memory=card)
            fed = host.to(self._device)
            if fed.ndim == 4:
                fed = _channels_last(torch, fed)
            self._host_in.append(host)
            self._fed.append(fed)
        if card:
            # Network and tensors came by another stream than the one that runs.
            torch.cuda.synchronize(self._device)
        with self._queued():
            self._network = self._module
            if isinstance(self._module, OnnxGraph):
                self._network = self._compiled(self._module.at(self._fed))
            found = _flat(self._network(*self._fed))
        self._host_out = [
            torch.zeros(out.shape, dtype=_plain(torch, out), pin_memory=card)
            for out in found
        ]

    def _pass(self) -> None:
        """Copy in, run, copy out; on a card all of it is only queued."""
        with self._queued():
            for host, fed in zip(self._host_in, self._fed, strict=True):
                if fed.data_ptr() != host.data_ptr():
                    fed.copy_(host, non_blocking=True)
            found = _flat(self._network(*self._fed))
            for host, out in zip(self._host_out, found, strict=True):
                if host.shape != out.shape:
                    raise ValueError(f"an output changed to {tuple(out.shape)}")
                # Converted where it was made; on a card only the copy crosses over.
                ready = (
                    out.to(host.dtype).contiguous() if self._stream is not None else out
                )
                host.copy_(ready, non_blocking=True)

    @contextlib.contextmanager
    def _queued(self) -> Iterator[None]:
        """On a card: everything in here goes to the one stream, and has ended after."""
        if self._stream is None:
            yield
            return
        torch = self._torch
        capturing = torch.cuda.is_current_stream_capturing()
        with torch.cuda.stream(self._stream):
            yield
        if not capturing:
            self._stream.synchronize()

    def _record(self) -> None:
        torch = self._torch
        graph = torch.cuda.CUDAGraph()
        # Other threads may use the card meanwhile.
        with torch.cuda.graph(
            graph, stream=self._stream, capture_error_mode="thread_local"
        ):
            self._pass()
        self._graph = graph

    @contextlib.contextmanager
    def _working(self) -> Iterator[None]:
        """State of torch for the time of a run."""
        torch, device = self._torch, self._device
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            if device.type == "cuda":
                # TF32 rounds float32 to 10 bits, which nobody asked for.
                fast = torch.backends.cudnn.flags(
                    enabled=True, benchmark=True, allow_tf32=False
                )
                stack.enter_context(fast)
            else:
                stack.callback(torch.set_num_threads, torch.get_num_threads())
                torch.set_num_threads(self.threads)
            if self.precision != "fp32":
                kind = torch.bfloat16 if self.precision == "bf16" else torch.float16
                # Its cache of converted weights must not outlive a recording.
                cast = torch.autocast(
                    device.type, kind, cache_enabled=self._mode != "cuda_graphs"
                )
                stack.enter_context(cast)
            yield

    def _step(self) -> None:
        if self._graph is not None:
            with self._queued():
                self._graph.replay()
        else:
            with self._working():
                self._pass()

    def close(self) -> None:
        """Give back the network, its arrays and the memory of the card."""
        self._forget()
        self._module = None
        if self._device.type == "cuda":
            self._torch.cuda.empty_cache()


@contextlib.contextmanager
def _torchscript() -> Iterator[None]:
    """Torch advises against the format; packages have it, and its own compiler."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def _module(torch: Any, weights: Weights) -> Any:
    check_weights(weights, ["torchscript", "pytorch_state_dict", "onnx"], "PyTorch")
    if weights.kind == "onnx":
        return OnnxGraph(weights)
    if weights.kind == "pytorch_state_dict":
        return _filled(torch, weights)
    try:
        with _torchscript():
            return torch.jit.load(io.BytesIO(weights.content), map_location="cpu")
    except _ERRORS as error:
        title = f"torch {torch.__version__}"
        raise not_loaded(title, weights.file, error) from error


def _filled(torch: Any, weights: Weights) -> Any:
    """Build the network of a state dict; nothing but tensors is read from the file."""
    module = build_layout(weights)
    try:
        state = torch.load(
            io.BytesIO(weights.content), map_location="cpu", weights_only=True
        )
        module.load_state_dict(state)
    except (*_ERRORS, pickle.UnpicklingError, EOFError, KeyError) as error:
        title = f"torch {torch.__version__}"
        raise not_loaded(title, weights.file, error) from error
    return module


def _ports(module: Any) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    if isinstance(module, OnnxGraph):
        return module.inputs, module.outputs
    schema = getattr(module.forward, "schema", None)
    if schema is None:
        parameters = inspect.signature(module.forward).parameters.values()
        names = [p.name for p in parameters if p.default is inspect.Parameter.empty]
        return tuple(Port(name, ()) for name in names), ()
    inputs = [Port(a.name, ()) for a in schema.arguments[1:] if str(a.type) == "Tensor"]
    (made,) = schema.returns
    kinds = [made.type]
    if made.type.kind() == "TupleType":
        kinds = list(made.type.elements())
    known = all(str(kind) == "Tensor" for kind in kinds)
    outputs = [Port(f"output{i}", ()) for i in range(len(kinds))] if known else []
    return tuple(inputs), tuple(outputs)


def _computes(torch: Any, device: Any, precision: str) -> bool:
    if precision == "fp32":
        return True
    if device.type == "cuda":
        return precision == "fp16" or bool(torch.cuda.is_bf16_supported(False))
    if precision == "fp16" or not torch.backends.mkldnn.is_available():
        return False
    # oneDNN takes bf16 also where it would convert it to float32 and back.
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(native()) if native else False


def _channels_last(torch: Any, tensor: Any) -> Any:
    """Order in which convolutions are fastest; one channel keeps its memory."""
    _, channels, _, width = tensor.shape
    if channels > 1:
        return tensor.contiguous(memory_format=torch.channels_last)
    # Strides of an axis of size 1 mean nothing, but torch decides by them.
    steps = (tensor.stride(0), 1, width, 1)
    return tensor.as_strided(tensor.shape, steps)


def _plain(torch: Any, out: Any) -> Any:
    """Type of a result for NumPy, which has no bf16; half precision is widened."""
    half = (torch.bfloat16, torch.float16)
    return torch.float32 if out.dtype in half else out.dtype


def _flat(found: Any) -> list[Any]:
    """Tensors of a result, in the order in which they were written."""
    if isinstance(found, Mapping):
        found = tuple(found.values())
    if isinstance(found, Sequence):
        return [tensor for part in found for tensor in _flat(part)]
    return [found]


@functools.cache
def torch_lacks(precision: Literal["fp32", "bf16", "fp16"], device: str) -> str | None:
    """Why torch does not compute in this type there; None where it does."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        return "this torch is not for CUDA (install the build for it)"
    if _computes(torch, torch.device(device), precision):
        return None
    return f"this {device} does not compute in {precision}"
