"""The two TensorRTs behind one door: which is installed, and what it can do."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from smartscope.core import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable

Flavour = Literal["tensorrt-rtx", "tensorrt"]

_MODULES: dict[str, str] = {"tensorrt-rtx": "tensorrt_rtx", "tensorrt": "tensorrt"}
_INSTALL: dict[str, str] = {
    "tensorrt-rtx": "install it with: pip install smartscope[tensorrt-rtx]",
    "tensorrt": "install it with: pip install smartscope[tensorrt], on the machine "
    "with the card",
}
_SHOWN = 3
"""Messages of TensorRT that fit into one sentence."""


@dataclass(frozen=True, slots=True)
class TensorRt:
    """One installed TensorRT, asked by what it has and not by its version.

    Attributes
    ----------
    flavour : str
        ``tensorrt-rtx`` or ``tensorrt``.
    api : module
        Its Python bindings.
    """

    flavour: Flavour
    api: Any

    @property
    def version(self) -> str:
        """Version of the bindings, such as ``1.7.1.116``."""
        return str(self.api.__version__)

    @property
    def label(self) -> str:
        """Name and version, for people, the journal and cache keys."""
        return f"{self.flavour} {self.version}"

    @property
    def ahead_of_time(self) -> bool:
        """Whether it builds without a card, for capabilities that are named."""
        return hasattr(self.api, "ComputeCapability")

    def capabilities(self) -> tuple[int, ...]:
        """Compute capabilities it builds for, such as 86; none: it asks the card."""
        if not self.ahead_of_time:
            return ()
        names = self.api.ComputeCapability.__members__
        return tuple(int(n[2:]) for n in names if n.startswith("SM"))

    def network_flags(self) -> int:
        """Creation flags of a strongly typed network, in every version.

        TensorRT 10 types weakly unless asked; 11 and RTX know nothing else. So the
        precision is always what the ONNX file says, and no FP16 flag is ever needed.
        """
        flags = self.api.NetworkDefinitionCreationFlag.__members__
        strong = flags.get("STRONGLY_TYPED")
        return 0 if strong is None else 1 << int(strong)

    def logger(self) -> tuple[Any, list[str]]:
        """Return a new logger, and the list it puts errors into, oldest first."""
        errors: list[str] = []
        return _logger_class(self.api)(errors.append), errors


def load_tensorrt(flavour: Flavour) -> TensorRt:
    """Import a TensorRT.

    Raises
    ------
    ModelError
        It is not installed, or its libraries do not load; the sentence says what to
        install.
    """
    if flavour not in _MODULES:
        known = ", ".join(_MODULES)
        raise ModelError(f"there is no TensorRT called '{flavour}'; known: {known}")
    try:
        api = importlib.import_module(_MODULES[flavour])
    # Windows bindings raise FileNotFoundError for a missing DLL, ctypes an OSError.
    except (ImportError, OSError) as error:
        raise ModelError(
            f"{flavour} cannot be imported ({' '.join(str(error).split())}); "
            f"{_INSTALL[flavour]}"
        ) from error
    return TensorRt(flavour, api)


def first_words(messages: list[str]) -> str:
    """The first messages of TensorRT as one line; its file names and codes left out."""
    told = [" ".join(message.split()).rstrip(".") for message in messages]
    kept = list(dict.fromkeys(t if len(t) <= 300 else f"{t[:300]}..." for t in told))
    more = f" and {len(kept) - _SHOWN} more" if len(kept) > _SHOWN else ""
    return "; ".join(kept[:_SHOWN]) + more if kept else "it gives no reason"


def _logger_class(api: Any) -> type[Any]:
    class Listener(api.ILogger):  # type: ignore[misc]
        """Keeps errors; what is merely told would fill the terminal."""

        def __init__(self, keep: Callable[[str], None]) -> None:
            # The bindings demand the call by name; super() leaves the object unusable.
            api.ILogger.__init__(self)
            self._keep = keep

        def log(self, severity: Any, message: str) -> None:
            if severity in (api.ILogger.INTERNAL_ERROR, api.ILogger.ERROR):
                self._keep(message)

    return Listener
