"""Memory of an NVIDIA card, behind the few calls that a runtime needs of it."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from smartscope.inference._document import refusal

if TYPE_CHECKING:
    from numpy.typing import NDArray

Address = int


class Device(Protocol):
    """A card: memory on it, pinned memory beside it, one queue of work.

    Every call raises `ModelError` with the name of the model where the card refuses.
    Sizes are in bytes. Nothing waits except `wait`.
    """

    def about(self) -> str:
        """Name of the card and version of its driver."""
        ...

    def capability(self) -> int:
        """Its compute capability, such as 86."""
        ...

    def allocate(self, size: int) -> Address:
        """Memory on the card."""
        ...

    def free(self, address: Address) -> None:
        """Give memory on the card back."""
        ...

    def allocate_pinned(self, size: int) -> Address:
        """Memory of the host that the card reads and writes by itself."""
        ...

    def free_pinned(self, address: Address) -> None:
        """Give pinned memory back."""
        ...

    def open_stream(self) -> int:
        """Queue of work that goes before that of other programs."""
        ...

    def close_stream(self, stream: int) -> None:
        """Close a queue."""
        ...

    def upload(self, to: Address, source: Address, size: int, stream: int) -> None:
        """Queue a copy from pinned memory to the card."""
        ...

    def download(self, to: Address, source: Address, size: int, stream: int) -> None:
        """Queue a copy from the card to pinned memory."""
        ...

    def record(self, stream: int) -> None:
        """Note down what is queued from now on, instead of doing it."""
        ...

    def recorded(self, stream: int) -> Any:
        """End of `record`: a graph that `launch` does at once."""
        ...

    def launch(self, graph: Any, stream: int) -> None:
        """Queue a whole graph."""
        ...

    def free_graph(self, graph: Any) -> None:
        """Give a graph back."""
        ...

    def wait(self, stream: int) -> None:
        """Return when all that was queued is done."""
        ...


def array_at(
    address: Address, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Array over memory that somebody else owns and must keep."""
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    memory = memoryview((ctypes.c_ubyte * size).from_address(address))
    found: NDArray[Any] = np.frombuffer(memory, dtype=dtype)
    return found.reshape(shape)


class CudaDevice:
    """The first NVIDIA card of this machine, through ``cuda-bindings``.

    Parameters
    ----------
    file : str
        Name of the model, for messages.

    Raises
    ------
    ModelError
        ``cuda-bindings`` is not installed, or there is no card with a driver.
    """

    def __init__(self, file: str) -> None:
        try:
            from cuda.bindings import runtime
        except ImportError as error:
            raise refusal(
                f"cuda-bindings cannot be imported ({error})",
                file=file,
                fix="install it with: pip install smartscope[tensorrt-rtx]",
            ) from error
        self._api, self._file = runtime, file
        code, count = runtime.cudaGetDeviceCount()
        if int(code) != 0 or count < 1:
            raise refusal(
                f"no NVIDIA card can be used ({self._text(code)})",
                file=file,
                fix="install the driver of the card, or choose another runtime",
            )
        self._do("cudaSetDevice", 0)

    def about(self) -> str:
        properties = self._do("cudaGetDeviceProperties", 0)
        name = properties.name
        driver = self._do("cudaDriverGetVersion")
        text = name.decode() if isinstance(name, bytes) else str(name)
        return f"{text.strip(chr(0))}, driver for CUDA {driver}"

    def capability(self) -> int:
        properties = self._do("cudaGetDeviceProperties", 0)
        return int(properties.major) * 10 + int(properties.minor)

    def allocate(self, size: int) -> Address:
        return int(self._do("cudaMalloc", size))

    def free(self, address: Address) -> None:
        self._do("cudaFree", address)

    def allocate_pinned(self, size: int) -> Address:
        return int(self._do("cudaMallocHost", size))

    def free_pinned(self, address: Address) -> None:
        self._do("cudaFreeHost", address)

    def open_stream(self) -> int:
        _, highest = self._do("cudaDeviceGetStreamPriorityRange")
        flag = self._api.cudaStreamNonBlocking
        return int(self._do("cudaStreamCreateWithPriority", flag, highest))

    def close_stream(self, stream: int) -> None:
        self._do("cudaStreamDestroy", stream)

    def upload(self, to: Address, source: Address, size: int, stream: int) -> None:
        kind = self._api.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._do("cudaMemcpyAsync", to, source, size, kind, stream)

    def download(self, to: Address, source: Address, size: int, stream: int) -> None:
        kind = self._api.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._do("cudaMemcpyAsync", to, source, size, kind, stream)

    def record(self, stream: int) -> None:
        mode = self._api.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._do("cudaStreamBeginCapture", stream, mode)

    def recorded(self, stream: int) -> Any:
        graph = self._do("cudaStreamEndCapture", stream)
        try:
            return self._do("cudaGraphInstantiate", graph, 0)
        finally:
            self._do("cudaGraphDestroy", graph)

    def launch(self, graph: Any, stream: int) -> None:
        self._do("cudaGraphLaunch", graph, stream)

    def free_graph(self, graph: Any) -> None:
        self._do("cudaGraphExecDestroy", graph)

    def wait(self, stream: int) -> None:
        self._do("cudaStreamSynchronize", stream)

    def _do(self, call: str, *arguments: Any) -> Any:
        """Call CUDA; what it returns behind its error code."""
        code, *rest = getattr(self._api, call)(*arguments)
        if int(code) != 0:
            raise refusal(
                f"the card failed in {call} ({self._text(code)})",
                file=self._file,
                fix="close other programs that use the card, or restart",
            )
        return rest[0] if len(rest) == 1 else tuple(rest)

    def _text(self, code: Any) -> str:
        _, text = self._api.cudaGetErrorString(code)
        return text.decode() if isinstance(text, bytes) else str(text)
