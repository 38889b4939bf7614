"""What all runtimes share: preparing, running, and what they say is wrong."""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from smartscope.core import ModelError
from smartscope.inference._document import refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from smartscope.inference._protocol import Port, Precision, Weights

# OpenVINO begins with the lines of its own sources.
_WHERE = re.compile(r"Exception from \S+:\d+:\s*")


class PreparedRuntime(ABC):
    """A runtime on this machine, with arrays of its own for one size at a time.

    Whoever derives from it sets the attributes, `_file` and `_errors`, what its
    library raises; `_ready` fills `_in` and `_out`.

    Parameters
    ----------
    threads : int or None
        Threads for one run; None is `default_threads`.

    Attributes
    ----------
    name, precision, inputs, outputs
        As in `Runtime`.
    threads : int
        Threads for one run.
    """

    name: str
    precision: Precision
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    _file: str
    _errors: tuple[type[Exception], ...]
    _shapes: tuple[tuple[int, ...], ...] | None
    _in: tuple[NDArray[Any], ...]
    _out: tuple[NDArray[Any], ...]

    def __init__(self, threads: int | None) -> None:
        self.threads = default_threads() if threads is None else max(1, threads)
        self._forget()

    def prepare(self, shapes: Sequence[tuple[int, ...]]) -> tuple[NDArray[Any], ...]:
        """Get ready for these shapes and run once; see `Runtime.prepare`."""
        wanted = check_shapes(shapes, self.inputs, self._file)
        if wanted == self._shapes:
            return self._in
        self._forget()
        try:
            self._ready(wanted)
        except self._errors as error:
            self._forget()
            raise _not_run(self.name, self._file, wanted, error) from error
        self._shapes = wanted
        return self._in

    def run(self) -> tuple[NDArray[Any], ...]:
        """Run on what the prepared arrays hold; see `Runtime.run`."""
        if self._shapes is None:
            raise not_prepared(self.name, self._file)
        try:
            self._step()
        except self._errors as error:
            raise _not_run(self.name, self._file, self._shapes, error) from error
        return self._out

    def _forget(self) -> None:
        self._shapes, self._in, self._out = None, (), ()

    @abstractmethod
    def _ready(self, shapes: tuple[tuple[int, ...], ...]) -> None:
        """Allocate and compile for these shapes, and run."""

    @abstractmethod
    def _step(self) -> None:
        """Run from the arrays of `_in` into those of `_out`."""


def default_threads() -> int:
    """Threads of one model: half of the cores, at least 1.

    The other half is for camera, disk and the loop itself.
    """
    return max(1, (os.cpu_count() or 1) // 2)


def short(error: Exception) -> str:
    """Message of an error in one line of at most 160 characters."""
    text = _WHERE.sub("", str(error)).strip()
    if "Traceback" in text:
        # TorchScript tells where first and what last.
        text = text.splitlines()[-1]
    text = " ".join(text.split()) or type(error).__name__
    return text if len(text) <= 160 else f"{text[:160]}..."


def not_installed(title: str, install: str, error: ImportError) -> ModelError:
    """Error for a runtime that cannot be imported."""
    return ModelError(
        f"{title} cannot be imported ({error}); install it with: pip install {install}"
    )


def not_loaded(title: str, file: str, error: Exception) -> ModelError:
    """Error for a file the runtime does not take."""
    return refusal(
        f"{title} cannot load it ({short(error)})",
        file=file,
        fix="fetch the model again, or export it anew",
    )


def _not_run(
    title: str, file: str, shapes: Sequence[tuple[int, ...]], error: Exception
) -> ModelError:
    """Error for a network that failed on tensors of these shapes."""
    sizes = " and ".join(str(shape) for shape in shapes)
    return refusal(
        f"the network failed in {title} on a tensor of {sizes} ({short(error)})",
        file=file,
        fix="if it is the size, give 'multiple_of' or use another ROI",
    )


def not_prepared(title: str, file: str) -> ModelError:
    """Error for a runtime that was told to run before it knew the shapes."""
    return refusal(
        f"{title} was asked to run before a size was prepared",
        file=file,
        fix="call prepare first",
    )


def check_weights(weights: Weights, kinds: Sequence[str], title: str) -> None:
    """Refuse a kind of file the runtime cannot read.

    Raises
    ------
    ModelError
        `weights` is of another kind.
    """
    if weights.kind not in kinds:
        raise refusal(
            f"{title} reads {' and '.join(kinds)}, this is {weights.kind}",
            file=weights.file,
            fix="export the model for it, or choose another runtime",
        )


def check_shapes(
    shapes: Sequence[tuple[int, ...]], ports: Sequence[Port], file: str
) -> tuple[tuple[int, ...], ...]:
    """Refuse shapes the inputs of a network cannot have.

    Returns
    -------
    tuple of tuple of int
        `shapes`, as plain tuples.

    Raises
    ------
    ModelError
        Their number, their axes or a fixed size differ.
    """
    given = tuple(tuple(int(size) for size in shape) for shape in shapes)
    if len(given) != len(ports):
        names = ", ".join(port.name for port in ports)
        raise refusal(
            f"the network has {len(ports)} inputs ({names}), {len(given)} were given",
            file=file,
            fix="give one tensor for each input",
        )
    for shape, port in zip(given, ports, strict=True):
        fits = not port.shape or (
            len(shape) == len(port.shape)
            and all(
                want in (None, size)
                for want, size in zip(port.shape, shape, strict=True)
            )
        )
        if not fits or min(shape, default=1) < 1:
            wants = ", ".join("any" if n is None else str(n) for n in port.shape)
            raise refusal(
                f"input '{port.name}' takes ({wants}), it was offered {shape}",
                file=file,
                fix="use images of that size, or another model",
            )
    return given
