"""Which runtimes there are, which of them are here, and how each is opened."""

from __future__ import annotations

import functools
import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from smartscope.core import ModelError
from smartscope.inference._document import refusal
from smartscope.inference._openvino import OpenVinoRuntime, openvino_lacks
from smartscope.inference._ort import OrtRuntime
from smartscope.inference._protocol import Precision
from smartscope.inference._torch import TorchRuntime, torch_lacks
from smartscope.inference._verdicts import cache_folder, nvidia_cards

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from smartscope.inference._fold import Folding
    from smartscope.inference._protocol import Runtime, Weights
    from smartscope.inference._trt import Flavour

REMOTE = "remote:"
"""Begins the name of a runtime that is a model of a server."""

_ONNX = ("onnx",)
# Its own weights come first: they need no translation.
_TORCH = ("torchscript", "pytorch_state_dict", "onnx")
_FLOAT: tuple[Precision, ...] = ("fp32", "fp16")


@dataclass(frozen=True, slots=True)
class RuntimeKind:
    """One way to run a network.

    Attributes
    ----------
    start : callable
        ``start(weights, threads)`` gives the `Runtime`.
    module : str
        Python module it needs.
    install : str
        What pip installs it by.
    kinds, precisions : tuple of str
        Weights it takes.
    card : bool
        It needs an NVIDIA card.
    auto : bool
        It is tried when nothing is said.
    lacks : callable or None
        ``lacks()`` gives the reason why this machine cannot, or None where it can.
    folded : callable or None
        ``folded(weights, threads, folding)`` gives a `Runtime` that takes frames as
        the camera gives them; None where that is no gain.
    """

    start: Callable[[Weights, int | None], Runtime]
    module: str
    install: str
    kinds: tuple[str, ...] = _ONNX
    precisions: tuple[Precision, ...] = _FLOAT
    card: bool = False
    auto: bool = True
    lacks: Callable[[], str | None] | None = None
    folded: Callable[[Weights, int | None, Folding], Runtime] | None = None

    def takes(self, weights: Weights) -> bool:
        """Whether it reads such a file."""
        return weights.kind in self.kinds and weights.precision in self.precisions

    def pick(self, weights: Sequence[Weights]) -> Weights:
        """Of the networks of a model, the one it runs; one of them it has to take."""
        taken = [each for each in weights if self.takes(each)]
        return min(taken, key=lambda each: self.kinds.index(each.kind))

    def missing(self) -> str | None:
        """Why this machine does not have it; None where it has."""
        if importlib.util.find_spec(self.module) is None:
            return f"not installed (pip install {self.install})"
        if self.card and not nvidia_cards():
            return "no NVIDIA card found"
        return None if self.lacks is None else self.lacks()


def _ort(**settings: Any) -> Callable[[Weights, int | None], Runtime]:
    return lambda weights, threads: OrtRuntime(weights, threads=threads, **settings)


def _tensorrt_of_ort(weights: Weights, threads: int | None) -> Runtime:
    folder = cache_folder() / "onnxruntime-tensorrt"
    cache: Path | None = folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        # Without a place to keep its engines they are built at every start.
        cache = None
    return OrtRuntime(
        weights, threads=threads, provider="tensorrt", fp16=True, cache=cache
    )


def _openvino(precision: Any) -> Callable[[Weights, int | None], Runtime]:
    return lambda weights, threads: OpenVinoRuntime(
        weights, threads=threads, precision=precision
    )


def _torch(**settings: Any) -> Callable[[Weights, int | None], Runtime]:
    return lambda weights, threads: TorchRuntime(weights, threads=threads, **settings)


def _tensorrt(
    flavour: Flavour, precision: Precision = "fp16", **more: Any
) -> RuntimeKind:
    def start(weights: Weights, threads: int | None) -> Runtime:
        from smartscope.inference._trt_runtime import TensorRtRuntime

        return TensorRtRuntime(weights, flavour=flavour, precision=precision)

    def folded(weights: Weights, threads: int | None, folding: Folding) -> Runtime:
        from smartscope.inference._trt_runtime import TensorRtRuntime

        return TensorRtRuntime(
            weights, flavour=flavour, precision=precision, folding=folding
        )

    module, extra = flavour.replace("-", "_"), f"smartscope[{flavour}]"
    return RuntimeKind(start, module, extra, card=True, folded=folded, **more)


@functools.cache
def _ort_lacks(provider: str) -> str | None:
    import onnxruntime

    if provider in onnxruntime.get_available_providers():
        return None
    return f"this ONNX Runtime has no {provider} (pip install onnxruntime-gpu)"


_ORT = ("onnxruntime", "onnxruntime")
_ORT_GPU = ("onnxruntime", "onnxruntime-gpu")
_OPENVINO = ("openvino", "smartscope[openvino]")
_TORCH_EXTRA = ("torch", "smartscope[torch]")
_GRAPHS = {"device": "cuda", "mode": "cuda_graphs"}

RUNTIMES: Mapping[str, RuntimeKind] = {
    "onnxruntime": RuntimeKind(_ort(), *_ORT),
    "onnxruntime-int8": RuntimeKind(_ort(), *_ORT, precisions=("int8",)),
    "openvino": RuntimeKind(_openvino("fp32"), *_OPENVINO),
    "openvino-bf16": RuntimeKind(
        _openvino("bf16"), *_OPENVINO, lacks=lambda: openvino_lacks("bf16")
    ),
    "openvino-int8": RuntimeKind(
        _openvino("int8"),
        *_OPENVINO,
        precisions=("int8",),
        lacks=lambda: openvino_lacks("int8"),
    ),
    "onnxruntime-cuda": RuntimeKind(
        _ort(provider="cuda"),
        *_ORT_GPU,
        card=True,
        lacks=lambda: _ort_lacks("CUDAExecutionProvider"),
    ),
    "onnxruntime-tensorrt": RuntimeKind(
        _tensorrt_of_ort,
        *_ORT_GPU,
        card=True,
        lacks=lambda: _ort_lacks("TensorrtExecutionProvider"),
    ),
    "tensorrt": _tensorrt("tensorrt"),
    "tensorrt-rtx": _tensorrt("tensorrt-rtx"),
    # Each compiles for minutes, so they are built only when asked for.
    "tensorrt-fp32": _tensorrt("tensorrt", "fp32", auto=False),
    "tensorrt-int8": _tensorrt("tensorrt", "int8", precisions=("int8",), auto=False),
    "tensorrt-rtx-fp32": _tensorrt("tensorrt-rtx", "fp32", auto=False),
    "torch": RuntimeKind(_torch(), *_TORCH_EXTRA, kinds=_TORCH),
    "torch-bf16": RuntimeKind(
        _torch(precision="bf16"),
        *_TORCH_EXTRA,
        kinds=_TORCH,
        lacks=lambda: torch_lacks("bf16", "cpu"),
    ),
    "torch-compiled": RuntimeKind(
        _torch(mode="compiled"),
        *_TORCH_EXTRA,
        kinds=("pytorch_state_dict", "onnx"),
        auto=False,
    ),
    "torch-cuda": RuntimeKind(
        _torch(**_GRAPHS),
        *_TORCH_EXTRA,
        kinds=_TORCH,
        card=True,
        lacks=lambda: torch_lacks("fp32", "cuda"),
    ),
    "torch-cuda-fp16": RuntimeKind(
        _torch(**_GRAPHS, precision="fp16"),
        *_TORCH_EXTRA,
        kinds=_TORCH,
        card=True,
        lacks=lambda: torch_lacks("fp16", "cuda"),
    ),
}
"""All runtimes by the name a configuration uses."""


def available(weights: Sequence[Weights]) -> list[tuple[str, str | None]]:
    """List every runtime, with the reason why it cannot run this model here.

    Parameters
    ----------
    weights : sequence of Weights
        The model's networks.

    Returns
    -------
    list of (str, str or None)
        Name, and the reason; None where it can. Whether it is right is not known yet.
    """
    return [(name, why_not(name, weights)) for name in RUNTIMES]


def why_not(name: str, weights: Sequence[Weights]) -> str | None:
    """Why a runtime cannot run this model here; None where it can.

    Raises
    ------
    ModelError
        There is no such runtime.
    """
    kind = kind_of(name)
    if not any(kind.takes(w) for w in weights):
        wanted = " or ".join(kind.kinds)
        types = " or ".join(kind.precisions)
        return f"the model has no {types} weights as {wanted}"
    return kind.missing()


def kind_of(name: str) -> RuntimeKind:
    """Look up a runtime by its name.

    Raises
    ------
    ModelError
        There is none of this name; the sentence lists all.
    """
    if name.startswith(REMOTE):
        return _remote(name.removeprefix(REMOTE))
    if name not in RUNTIMES:
        raise ModelError(
            f"there is no runtime '{name}'; use one of auto, {', '.join(RUNTIMES)}, "
            f"{REMOTE}HOST:PORT/MODEL"
        )
    return RUNTIMES[name]


def _remote(address: str) -> RuntimeKind:
    scheme, mark, rest = address.rpartition("://")
    host, _, model = rest.partition("/")
    model, _, version = model.partition("/")
    if not host or not model:
        raise ModelError(
            f"runtime '{REMOTE}{address}' does not say which model of which server; "
            f"write {REMOTE}HOST:PORT/MODEL or {REMOTE}grpcs://HOST:PORT/MODEL/VERSION"
        )

    def start(weights: Weights, threads: int | None) -> Runtime:
        from smartscope.inference._remote import RemoteRuntime

        url = f"{scheme}{mark}{host}"
        return RemoteRuntime(url, model, version=version, file=weights.file)

    return RuntimeKind(
        start,
        "grpc",
        "smartscope[remote]",
        kinds=_TORCH,
        precisions=get_args(Precision),
        auto=False,
    )


def open_runtime(
    name: str, weights: Sequence[Weights], *, threads: int | None = None
) -> Runtime:
    """Open one runtime by name, for the first of the weights that it takes.

    Parameters
    ----------
    name : str
        One of `RUNTIMES`, or ``remote:HOST:PORT/MODEL``.
    weights : sequence of Weights
        The model's networks.
    threads : int or None
        Threads for one run; None is half of the cores.

    Raises
    ------
    ModelError
        There is no such runtime, it is not there, or it refuses the model.
    """
    reason = why_not(name, weights)
    if reason is not None:
        file = weights[0].file if weights else ""
        raise refusal(
            f"runtime '{name}' cannot run it: {reason}",
            file=file,
            fix="use runtime 'auto', or install what is missing",
        )
    kind = kind_of(name)
    return kind.start(kind.pick(weights), threads)
