"""ONNX Runtime, the reference for all others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from smartscope.inference._document import refusal
from smartscope.inference._protocol import Port, Weights
from smartscope.inference._runtime import (
    PreparedRuntime,
    check_weights,
    not_installed,
    not_loaded,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


Provider = Literal["cpu", "cuda", "tensorrt"]

_PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(bool)": "bool",
    **{
        f"tensor({sign}int{bits})": f"{sign}int{bits}"
        for sign in ("", "u")
        for bits in (8, 16, 32, 64)
    },
}
# A run with this graph number is neither captured nor replayed.
_NO_GRAPH = "-1"


class OrtRuntime(PreparedRuntime):
    """ONNX Runtime; on the CPU in float32 it is the reference for all others.

    Arrays are bound once for a size: the network reads the arrays that `prepare`
    returned and writes into the arrays that `run` returns. Threads sleep between two
    runs, and the same input gives the same bits on one machine.

    Parameters
    ----------
    weights : Weights
        An ONNX file.
    threads : int or None
        Threads for one run; None is `default_threads`. For the CPU only.
    provider : {"cpu", "cuda", "tensorrt"}
        Where it computes. Never another one in its place: that is an error.
    fp16 : bool
        Let TensorRT compute in half precision.
    cache : path or None
        Folder in which TensorRT keeps its engines; None builds them each time.
    cuda_graph : bool
        On a card: record the kernels once and replay them, which saves most of the
        launches. Every operator must then run on the card.

    Raises
    ------
    ModelError
        ONNX Runtime or the provider is not there, or the file is not for it.
    """

    def __init__(
        self,
        weights: Weights,
        *,
        threads: int | None = None,
        provider: Provider = "cpu",
        fp16: bool = False,
        cache: Path | None = None,
        cuda_graph: bool = True,
    ) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise not_installed("ONNX Runtime", "onnxruntime", error) from error
        super().__init__(threads)
        self.precision = "fp16" if fp16 else weights.precision
        version = onnxruntime.__version__
        self.name = f"onnxruntime {version} {provider} {self.precision}"
        check_weights(weights, ["onnx"], f"ONNX Runtime {version}")
        # Builds for Windows would tell their maker which networks run here.
        onnxruntime.disable_telemetry_events()
        self._ort = onnxruntime
        self._file = weights.file
        self._provider: Provider = provider
        self._graph = cuda_graph and provider != "cpu"
        self._errors = errors_of(onnxruntime)
        self._session = self._open(weights.content, _settings(provider, fp16, cache))
        self.inputs = self._ports(self._session.get_inputs(), "input")
        self.outputs = self._ports(self._session.get_outputs(), "output")

    def _open(self, content: bytes, settings: Mapping[str, str]) -> Any:
        wanted = _PROVIDERS[self._provider]
        self._check_provider(wanted)
        chain: list[Any] = [(wanted, dict(settings))]
        if self._provider == "tensorrt":
            # TensorRT takes the parts it knows; the rest stays on the card.
            chain.append((_PROVIDERS["cuda"], _settings("cuda", False, None)))
        if self._graph:
            chain[0][1][_GRAPH_SWITCH[self._provider]] = "1"
        options = _options(self._ort, self.threads)
        try:
            session = self._ort.InferenceSession(
                content, sess_options=options, providers=chain, enable_fallback=0
            )
        except self._errors as error:
            title = f"ONNX Runtime {self._ort.__version__}"
            raise not_loaded(title, self._file, error) from error
        # A provider whose libraries do not load is left out with a line in a log.
        found = session.get_providers()
        if wanted not in found:
            raise refusal(
                f"ONNX Runtime could not start {wanted} and would have used {found[0]}",
                file=self._file,
                fix="install the CUDA and cuDNN versions this ONNX Runtime wants",
            )
        return session

    def _check_provider(self, wanted: str) -> None:
        if self._provider == "cpu":
            return
        if wanted not in self._ort.get_available_providers():
            raise refusal(
                f"this ONNX Runtime {self._ort.__version__} has no {wanted}",
                file=self._file,
                fix="install it with: pip install onnxruntime-gpu "
                "(after: pip uninstall onnxruntime)",
            )
        # Finds CUDA and cuDNN that came as Python packages.
        if hasattr(self._ort, "preload_dlls"):
            self._ort.preload_dlls()

    def _ports(self, found: Sequence[Any], kind: str) -> tuple[Port, ...]:
        for port in found:
            if port.type not in _DTYPES:
                raise refusal(
                    f"{kind} '{port.name}' of the network is a {port.type}",
                    file=self._file,
                    fix="export it with tensors of numbers",
                )
        return tuple(
            Port(
                port.name,
                tuple(size if isinstance(size, int) else None for size in port.shape),
                _DTYPES[port.type],
            )
            for port in found
        )

    def _forget(self) -> None:
        super()._forget()
        self._device_in: list[Any] = []
        self._device_out: list[Any] = []
        self._binding: Any = None

    def _ready(self, shapes: tuple[tuple[int, ...], ...]) -> None:
        """Bind inputs, learn the shapes of the outputs by one run, bind those too."""
        self._in = tuple(
            np.zeros(shape, port.dtype)
            for shape, port in zip(shapes, self.inputs, strict=True)
        )
        value, ort = self._ort.OrtValue, self._ort
        device = "cpu" if self._provider == "cpu" else "cuda"
        # On the CPU the value is the array itself, on a card a copy of it.
        self._device_in = [value.ortvalue_from_numpy(a, device, 0) for a in self._in]
        self._binding = self._session.io_binding()
        for port, bound in zip(self.inputs, self._device_in, strict=True):
            self._binding.bind_ortvalue_input(port.name, bound)
        for port in self.outputs:
            self._binding.bind_output(port.name, device)
        once = ort.RunOptions()
        once.add_run_config_entry("gpu_graph_id", _NO_GRAPH)
        self._session.run_with_iobinding(self._binding, once)
        sizes = [tuple(found.shape()) for found in self._binding.get_outputs()]
        self._out = tuple(
            np.zeros(size, port.dtype)
            for size, port in zip(sizes, self.outputs, strict=True)
        )
        self._device_out = [value.ortvalue_from_numpy(a, device, 0) for a in self._out]
        self._binding.clear_binding_outputs()
        for port, bound in zip(self.outputs, self._device_out, strict=True):
            self._binding.bind_ortvalue_output(port.name, bound)
        self._session.run_with_iobinding(self._binding)

    def _step(self) -> None:
        if self._provider == "cpu":
            self._session.run_with_iobinding(self._binding)
            return
        for bound, array in zip(self._device_in, self._in, strict=True):
            bound.update_inplace(array)
        self._session.run_with_iobinding(self._binding)
        # The only way out of a card that its interface has makes a new array.
        for bound, array in zip(self._device_out, self._out, strict=True):
            np.copyto(array, bound.numpy())

    def close(self) -> None:
        """Give back the session and its arrays."""
        self._forget()
        self._session = None


_GRAPH_SWITCH = {"cuda": "enable_cuda_graph", "tensorrt": "trt_cuda_graph_enable"}


def _settings(provider: Provider, fp16: bool, cache: Path | None) -> dict[str, str]:
    if provider == "cpu":
        return {}
    if provider == "cuda":
        # TF32 rounds float32 to 10 bits, which nobody asked for.
        return {"device_id": "0", "use_tf32": "0"}
    settings = {"device_id": "0", "trt_fp16_enable": str(int(fp16))}
    if cache is not None:
        settings |= {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(cache),
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": str(cache),
        }
    return settings


def _options(onnxruntime: Any, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning threads would take the cores from the camera between two runs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.use_deterministic_compute = True
    # What goes wrong is raised; its log would only repeat it on the terminal.
    options.log_severity_level = 4
    return options


def errors_of(onnxruntime: Any) -> tuple[type[Exception], ...]:
    """All exceptions the runtime defines; they share no base class of their own."""
    state = onnxruntime.capi.onnxruntime_pybind11_state
    own = [v for v in vars(state).values() if isinstance(v, type)]
    raised = tuple(v for v in own if issubclass(v, Exception))
    return (*raised, RuntimeError, ValueError, MemoryError)
