"""What a runtime is, what it runs, and what is known of a model besides its weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

Precision = Literal["fp32", "bf16", "fp16", "int8", "fp8"]


@dataclass(frozen=True, slots=True)
class Port:
    """One input or output of a network.

    Attributes
    ----------
    name : str
        As the network calls it.
    shape : tuple of (int or None)
        Size of each axis; None where several are taken. Empty where it is not stated.
    dtype : str
        NumPy name, such as ``float32``.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str = "float32"


@dataclass(frozen=True, slots=True)
class Weights:
    """A network as a file.

    Attributes
    ----------
    kind : str
        ``onnx``, ``torchscript`` or ``pytorch_state_dict``.
    content : bytes
        The file.
    file : str
        Its name, for messages.
    sha256 : str
        SHA-256 of `content`, hexadecimal.
    precision : str
        Type the network computes in: ``fp32``, or ``int8`` for a quantised ONNX.
    architecture : mapping
        For ``pytorch_state_dict``: ``{"callable": name, "kwargs": {...}}``.
    """

    kind: Literal["onnx", "torchscript", "pytorch_state_dict"]
    content: bytes
    file: str
    sha256: str
    precision: Precision = "fp32"
    architecture: Mapping[str, Any] = field(default_factory=dict)


class Runtime(Protocol):
    """Runs one network for one image at a time; not thread-safe.

    A size is prepared once; after that a frame costs filling the arrays that
    `prepare` gave, and `run`. Nothing is allocated for a frame where the runtime's
    own interface allows it.

    Attributes
    ----------
    name : str
        Runtime, version, device and precision, for people and the journal:
        ``openvino 2026.4.1 cpu bf16``.
    precision : str
        Type it computes in.
    inputs, outputs : tuple of Port
        In the network's order.
    """

    @property
    def name(self) -> str: ...

    @property
    def precision(self) -> Precision: ...

    @property
    def inputs(self) -> tuple[Port, ...]: ...

    @property
    def outputs(self) -> tuple[Port, ...]: ...

    def prepare(self, shapes: Sequence[tuple[int, ...]]) -> tuple[NDArray[Any], ...]:
        """Get ready for tensors of these shapes, one for each input.

        Compiles, allocates, and runs once, so that the first frame is not the slow
        one. Asked again for the same shapes it does nothing.

        Returns
        -------
        tuple of ndarray
            The arrays `run` reads, C-contiguous, of the dtype of each input; the
            caller fills them before every `run`.

        Raises
        ------
        ModelError
            The runtime refuses this shape.
        """
        ...

    def run(self) -> tuple[NDArray[Any], ...]:
        """Run the network on what the prepared arrays hold.

        Returns
        -------
        tuple of ndarray
            One for each output. They belong to the runtime: the next `run` or
            `prepare` overwrites them.

        Raises
        ------
        ModelError
            The runtime failed; the sentence names the model's file.
        """
        ...

    def close(self) -> None:
        """Give back memory and devices; the runtime is not used after that."""
        ...
