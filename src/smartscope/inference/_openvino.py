"""OpenVINO: the fast runtime for CPUs, and for graphics and AI units of Intel."""

from __future__ import annotations

import functools
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
    from collections.abc import Sequence
    from pathlib import Path


# What a quantised network leaves unquantised is no faster in bf16.
_HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16", "int8": "f32"}
_CAPABILITIES = {"bf16": "BF16", "fp16": "FP16", "int8": "INT8"}


class OpenVinoRuntime(PreparedRuntime):
    """OpenVINO, compiled for one size at a time (0.1 to 0.3 s for a small network).

    Inputs and outputs are NumPy arrays that the compiled network uses in place.
    Threads are not tied to cores, so that the system can keep camera and disk going.

    Parameters
    ----------
    weights : Weights
        An ONNX file; for ``int8`` one that is quantised (QDQ).
    threads : int or None
        Threads for one run on the CPU; None is half of the cores.
    precision : {"fp32", "bf16", "fp16", "int8"}
        Type it computes in; refused where the device would only emulate or ignore it.
        With ``int8`` what is not quantised is computed in bf16 where the CPU has it,
        which takes half the time of fp32.
    device : str
        ``CPU``, ``GPU`` or ``NPU``.
    cache : path or None
        Folder for compiled networks, which makes the next start quicker.

    Raises
    ------
    ModelError
        OpenVINO or the device is not there, it lacks the precision, or the file is
        not for it.
    """

    # Plain RuntimeErrors as a rule; a wrong argument to its bindings is a TypeError.
    _errors = (RuntimeError, ValueError, TypeError, MemoryError)

    def __init__(
        self,
        weights: Weights,
        *,
        threads: int | None = None,
        precision: Literal["fp32", "bf16", "fp16", "int8"] = "fp32",
        device: str = "CPU",
        cache: Path | None = None,
    ) -> None:
        try:
            import openvino
        except ImportError as error:
            raise not_installed("OpenVINO", "smartscope[openvino]", error) from error
        version = openvino.__version__.partition("-")[0]
        super().__init__(threads)
        self.precision = precision
        self.name = f"openvino {version} {device.lower()} {precision}"
        check_weights(weights, ["onnx"], f"OpenVINO {version}")
        self._openvino = openvino
        self._file = weights.file
        self._device = device
        self._core = openvino.Core()
        self._settings = self._configure(weights, cache)
        try:
            self._network = self._core.read_model(weights.content, b"")
            self.inputs = tuple(_port(p, i) for i, p in enumerate(self._network.inputs))
            self.outputs = tuple(
                _port(p, i) for i, p in enumerate(self._network.outputs)
            )
        except self._errors as error:
            raise not_loaded(f"OpenVINO {version}", self._file, error) from error

    def _configure(self, weights: Weights, cache: Path | None) -> dict[str, Any]:
        able = self._capabilities()
        need = _CAPABILITIES.get(self.precision)
        if need is not None and need not in able:
            raise refusal(
                f"this {self._device} does not compute in {self.precision}, "
                "OpenVINO would imitate it slowly or ignore the wish",
                file=self._file,
                fix="use runtime 'openvino' (fp32)",
            )
        if (self.precision == "int8") != (weights.precision == "int8"):
            raise refusal(
                f"the weights are {weights.precision}, asked was {self.precision}",
                file=self._file,
                fix="give int8 a quantised file, and other types one that is not",
            )
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": self._rest(able),
        }
        if self._device == "CPU":
            settings |= {
                "NUM_STREAMS": 1,
                "INFERENCE_NUM_THREADS": self.threads,
                # Pinned to cores they would take those of the camera's thread.
                "ENABLE_CPU_PINNING": False,
            }
        if cache is not None:
            settings["CACHE_DIR"] = str(cache)
        return settings

    def _rest(self, able: Sequence[str]) -> str:
        """Type of what is not quantised: first layer and heads, at full size."""
        if self.precision == "int8" and _CAPABILITIES["bf16"] in able:
            return _HINTS["bf16"]
        return _HINTS[self.precision]

    def _capabilities(self) -> list[str]:
        found: list[str] = self._core.available_devices
        # Several graphics cards are GPU.0, GPU.1; GPU is the first of them.
        if self._device.partition(".")[0] not in {d.partition(".")[0] for d in found}:
            raise refusal(
                f"OpenVINO finds no {self._device} here, only {', '.join(found)}",
                file=self._file,
                fix="install the driver of the device, or use the CPU",
            )
        able: list[str] = self._core.get_property(
            self._device, "OPTIMIZATION_CAPABILITIES"
        )
        return able

    def _forget(self) -> None:
        super()._forget()
        self._open: list[int] = []
        self._request: Any = None

    def _ready(self, shapes: tuple[tuple[int, ...], ...]) -> None:
        # Sizes known beforehand compile to faster code than open ones.
        self._network.reshape(dict(enumerate(shapes)))
        compiled = self._core.compile_model(self._network, self._device, self._settings)
        self._request = compiled.create_infer_request()
        tensor = self._openvino.Tensor
        self._in = tuple(
            np.zeros(shape, port.dtype)
            for shape, port in zip(shapes, self.inputs, strict=True)
        )
        for index, array in enumerate(self._in):
            self._request.set_input_tensor(index, tensor(array, shared_memory=True))
        self._open = [
            index
            for index, port in enumerate(compiled.outputs)
            if port.partial_shape.is_dynamic
        ]
        if self._open:
            self._request.infer()
            sizes = [tuple(found.shape) for found in self._request.output_tensors]
        else:
            sizes = [tuple(port.shape) for port in compiled.outputs]
        self._out = tuple(
            np.zeros(size, port.dtype)
            for size, port in zip(sizes, self.outputs, strict=True)
        )
        for index, array in enumerate(self._out):
            if index not in self._open:
                shared = tensor(array, shared_memory=True)
                self._request.set_output_tensor(index, shared)
        self._request.infer()

    def _step(self) -> None:
        # Otherwise it would copy the outputs once more.
        self._request.infer(share_outputs=True)
        for index in self._open:
            self._fetch(index)

    def _fetch(self, index: int) -> None:
        """Copy an output whose size OpenVINO does not know beforehand."""
        found = self._request.get_output_tensor(index).data
        if found.shape != self._out[index].shape:
            raise ValueError(f"an output changed to {found.shape}")
        np.copyto(self._out[index], found)

    def close(self) -> None:
        """Give back the compiled network and its arrays."""
        self._forget()
        self._network = self._core = None


def _port(port: Any, index: int) -> Port:
    names = sorted(port.get_names())
    shape = port.partial_shape
    sizes: tuple[int | None, ...] = ()
    if shape.rank.is_static:
        sizes = tuple(size.get_length() if size.is_static else None for size in shape)
    dtype = np.dtype(port.element_type.to_dtype()).name
    return Port(names[0] if names else f"port{index}", sizes, dtype)


@functools.cache
def openvino_lacks(precision: Literal["bf16", "int8"]) -> str | None:
    """Why OpenVINO does not compute in this type on the CPU; None where it does."""
    import openvino

    able = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if _CAPABILITIES[precision] in able:
        return None
    return f"this CPU does not compute in {precision}"
