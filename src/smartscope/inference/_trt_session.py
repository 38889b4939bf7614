"""One engine at one size: its memory, its order of calls, its recorded graph."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.core import ModelError
from smartscope.inference._document import refusal
from smartscope.inference._trt import first_words
from smartscope.inference._trt_memory import array_at

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from smartscope.inference._engines import EngineTensor
    from smartscope.inference._trt_memory import Address, Device

_WARM_UPS = 2
"""Runs before the graph is recorded: the first ones compile and allocate."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One tensor: on the card, in pinned memory, and as an array over the latter."""

    name: str
    size: int
    device: Address
    pinned: Address
    array: NDArray[Any]


class Session:
    """Runs an execution context at one size.

    Everything is allocated here, once; addresses are told to TensorRT once; copy in,
    network and copy out are recorded as one CUDA graph, where the context can be
    recorded, and a run is one launch.

    Parameters
    ----------
    context : tensorrt.IExecutionContext
        Of the engine.
    tensors : sequence of EngineTensor
        Inputs and outputs of the engine.
    shapes : sequence of tuple of int
        One for each input.
    device : Device
        The card.
    file : str
        Name of the model, for messages.
    errors : list of str
        What TensorRT's logger has told; read when a call fails.

    Attributes
    ----------
    recorded : bool
        Whether a run is one launch of a graph.

    Raises
    ------
    ModelError
        The engine refuses the shapes, or the card has no memory; everything allocated
        so far is given back.
    """

    def __init__(
        self,
        context: Any,
        tensors: Sequence[EngineTensor],
        shapes: Sequence[tuple[int, ...]],
        *,
        device: Device,
        file: str,
        errors: list[str],
    ) -> None:
        self._context, self._device = context, device
        self._file, self._errors = file, errors
        self._undo: list[Callable[[], None]] = []
        self._graph: Any = None
        self._failed = False
        try:
            self._open(tensors, shapes)
        except ModelError:
            self._failed = True
            self.close()
            raise

    @property
    def recorded(self) -> bool:
        """Whether a run is one launch of a graph."""
        return self._graph is not None

    @property
    def inputs(self) -> tuple[NDArray[Any], ...]:
        """Arrays that a run reads."""
        return tuple(slot.array for slot in self._inputs)

    def _open(
        self, tensors: Sequence[EngineTensor], shapes: Sequence[tuple[int, ...]]
    ) -> None:
        inputs = [t for t in tensors if t.mode == "input"]
        for tensor, shape in zip(inputs, shapes, strict=True):
            self._must(
                self._context.set_input_shape(tensor.name, shape),
                f"refuses the shape {shape} of input '{tensor.name}'",
            )
        missing = self._context.infer_shapes()
        self._must(not missing, f"has no size for {', '.join(missing)}")
        self._stream = self._device.open_stream()
        self._undo.append(lambda: self._device.close_stream(self._stream))
        self._inputs = [
            self._slot(t, tuple(shape)) for t, shape in zip(inputs, shapes, strict=True)
        ]
        self._outputs = [
            self._slot(t, tuple(self._context.get_tensor_shape(t.name)))
            for t in tensors
            if t.mode == "output"
        ]
        self._results = tuple(slot.array for slot in self._outputs)
        for _ in range(_WARM_UPS):
            self._queue()
            self._device.wait(self._stream)
        self._record()

    def _slot(self, tensor: EngineTensor, shape: tuple[int, ...]) -> Slot:
        self._must(
            min(shape, default=1) >= 1,
            f"gives no size for '{tensor.name}' before it has run",
        )
        dtype = np.dtype(tensor.dtype)
        size = math.prod(shape) * dtype.itemsize
        on_card = self._device.allocate(size)
        self._undo.append(lambda: self._device.free(on_card))
        pinned = self._device.allocate_pinned(size)
        self._undo.append(lambda: self._device.free_pinned(pinned))
        self._must(
            self._context.set_tensor_address(tensor.name, on_card),
            f"refuses the memory of '{tensor.name}'",
        )
        array = array_at(pinned, shape, dtype)
        # What was in this memory before may be a NaN, and a warm-up would trip on it.
        array[...] = 0
        return Slot(tensor.name, size, on_card, pinned, array)

    def _queue(self) -> None:
        """Queue one run: copies in, network, copies out."""
        for slot in self._inputs:
            self._device.upload(slot.device, slot.pinned, slot.size, self._stream)
        started = self._context.execute_async_v3(self._stream)
        self._must(started, "failed to run")
        for slot in self._outputs:
            self._device.download(slot.pinned, slot.device, slot.size, self._stream)

    def _record(self) -> None:
        # TensorRT for RTX says so when it would compile kernels while it runs.
        asks = getattr(self._context, "is_stream_capturable", None)
        if asks is not None and not asks(self._stream):
            return
        self._device.record(self._stream)
        try:
            self._queue()
        except ModelError:
            # The card stays in recording until told otherwise; the first error counts.
            self._quietly(lambda: self._device.recorded(self._stream))
            raise
        self._graph = self._device.recorded(self._stream)
        self._undo.append(lambda: self._device.free_graph(self._graph))

    def run(self) -> tuple[NDArray[Any], ...]:
        """Run on what the input arrays hold; the arrays of the outputs.

        Raises
        ------
        ModelError
            The card or the engine failed.
        """
        try:
            if self._graph is not None:
                self._device.launch(self._graph, self._stream)
            else:
                self._queue()
            self._device.wait(self._stream)
        except ModelError:
            self._failed = True
            raise
        return self._results

    def close(self) -> None:
        """Give everything back, last things first; the arrays are void after that.

        Raises
        ------
        ModelError
            The card refused, and had not failed before; everything else is given back.
        """
        # A context that holds addresses must not outlive them.
        self._context = None
        problems: list[ModelError] = []
        while self._undo:
            try:
                self._undo.pop()()
            except ModelError as error:
                problems.append(error)
        self._graph = None
        if problems and not self._failed:
            raise problems[0]

    def _quietly(self, work: Callable[[], Any]) -> None:
        try:
            work()
        except ModelError:
            self._failed = True

    def _must(self, fine: bool, what: str) -> None:
        if fine:
            return
        told = f" ({first_words(self._errors)})" if self._errors else ""
        raise refusal(
            f"TensorRT {what}{told}",
            file=self._file,
            fix="build the engine for this size, or choose another runtime",
        )
