"""Runtimes: what turns a tensor into tensors."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from smartscope.core import ModelError
from smartscope.inference._document import refusal

if TYPE_CHECKING:
    from numpy.typing import NDArray


def default_threads() -> int:
    """Threads of one model: half of the cores, at least 1.

    The other half is for camera, disk and the loop itself.
    """
    return max(1, (os.cpu_count() or 1) // 2)


class Runtime(Protocol):
    """Runs one network with one input tensor, for one image at a time.

    Not thread-safe: the vision thread alone calls it.
    """

    @property
    def name(self) -> str:
        """Runtime, version and device, for the journal."""
        ...

    def run(self, inputs: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
        """Run the network.

        Parameters
        ----------
        inputs : ndarray float32
            C-contiguous, batch of one, in the network's own axis order.

        Returns
        -------
        tuple of ndarray
            One for each output, in the network's order; new arrays each time.

        Raises
        ------
        ModelError
            The runtime failed or refused this shape.
        """
        ...

    def warm_up(self, shape: tuple[int, ...]) -> None:
        """Run once on zeros, so that the first real image is not the slow one."""
        ...


class OnnxRuntime:
    """ONNX Runtime on the CPU, float32: the reference all others are held against.

    Parameters
    ----------
    weights : bytes
        The ONNX file.
    file : str
        Its name, for messages.
    threads : int or None
        Threads for one run; None is `default_threads`. They sleep between runs.

    Attributes
    ----------
    input_shape : tuple of (int or None)
        Size of each axis of the input; None where the network takes several.
    output_ranks : tuple of int
        Number of axes of each output.

    Raises
    ------
    ModelError
        ONNX Runtime is not installed, or the file is not for it.
    """

    def __init__(
        self, weights: bytes, *, file: str = "", threads: int | None = None
    ) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise ModelError(
                f"ONNX Runtime cannot be imported ({error}); "
                "install it with: pip install onnxruntime"
            ) from error
        self._file = file
        self._errors = _errors(onnxruntime)
        self.name = f"onnxruntime {onnxruntime.__version__} cpu"
        self.threads = default_threads() if threads is None else max(1, threads)
        try:
            self._session = onnxruntime.InferenceSession(
                weights,
                sess_options=_options(onnxruntime, self.threads),
                providers=["CPUExecutionProvider"],
            )
        except self._errors as error:
            raise refusal(
                f"ONNX Runtime {onnxruntime.__version__} cannot load it "
                f"({_short(error)})",
                file=file,
                fix="fetch the model again, or export it anew",
            ) from error
        (self._input,) = self._one_input()
        self.input_shape = tuple(
            size if isinstance(size, int) else None for size in self._input.shape
        )
        self.output_ranks = tuple(len(o.shape) for o in self._session.get_outputs())

    def _one_input(self) -> list[Any]:
        inputs: list[Any] = self._session.get_inputs()
        if len(inputs) != 1:
            names = ", ".join(i.name for i in inputs) or "none"
            raise refusal(
                f"the network has {len(inputs)} inputs ({names})",
                file=self._file,
                fix="use a model with one input image",
            )
        if inputs[0].type != "tensor(float)":
            raise refusal(
                f"the network wants {inputs[0].type} as input",
                file=self._file,
                fix="export it with float32 input",
            )
        return inputs

    def run(self, inputs: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
        """Run the network; see `Runtime.run`."""
        try:
            return tuple(self._session.run(None, {self._input.name: inputs}))
        except self._errors as error:
            raise refusal(
                f"the network failed on a tensor of {inputs.shape} ({_short(error)})",
                file=self._file,
                fix="if it is the size, give 'multiple_of' or use another ROI",
            ) from error

    def warm_up(self, shape: tuple[int, ...]) -> None:
        """Run once on zeros."""
        self.run(np.zeros(shape, dtype=np.float32))


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


def _errors(onnxruntime: Any) -> tuple[type[Exception], ...]:
    """All exceptions the runtime defines; they share no base class of their own."""
    state = onnxruntime.capi.onnxruntime_pybind11_state
    own = [v for v in vars(state).values() if isinstance(v, type)]
    raised = tuple(v for v in own if issubclass(v, Exception))
    return (*raised, RuntimeError, ValueError)


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 160 else f"{text[:160]}..."
