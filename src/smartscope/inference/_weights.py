"""Networks inside a package: which there are, and which can be run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from smartscope.inference._document import refusal
from smartscope.inference._protocol import Precision, Weights
from smartscope.inference._weights_onnx import check_onnx

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from smartscope.inference._document import Node
    from smartscope.inference._package import Package

WeightKind = Literal["onnx", "torchscript", "pytorch_state_dict"]
WEIGHT_KINDS: tuple[str, ...] = get_args(WeightKind)
_PRECISIONS = get_args(Precision)
_OTHERS = {
    "keras_hdf5": "Keras HDF5",
    "keras_v3": "Keras",
    "tensorflow_js": "TensorFlow.js",
    "tensorflow_saved_model_bundle": "TensorFlow",
}

_layouts: dict[str, Callable[..., Any]] = {}


def register_layout(name: str, builder: Callable[..., Any]) -> None:
    """Make networks of one architecture loadable from a state dict.

    Parameters
    ----------
    name : str
        The ``callable`` a package names.
    builder : callable
        ``builder(**kwargs)`` gives the `torch.nn.Module`.
    """
    _layouts[name] = builder


def known_layouts() -> tuple[str, ...]:
    """Names of the architectures that can be built."""
    return tuple(sorted(_layouts))


def build_layout(weights: Weights) -> Any:
    """Build the `torch.nn.Module` of a state dict, without its weights.

    Raises
    ------
    ModelError
        The architecture is not one of ours, or refuses its arguments; code inside a
        package is never imported.
    """
    name = str(weights.architecture.get("callable", ""))
    if name not in _layouts:
        raise refusal(
            f"the architecture '{name}' is not known to smartscope "
            f"(known: {', '.join(known_layouts()) or 'none'})",
            file=weights.file,
            fix="export the network to ONNX; programs inside a package are never run",
        )
    try:
        return _layouts[name](**weights.architecture.get("kwargs", {}))
    except (TypeError, ValueError) as error:
        first = str(error).split("\n", maxsplit=1)[0]
        raise refusal(
            f"the architecture '{name}' does not take these arguments ({first})",
            file=weights.file,
            fix="correct 'kwargs' in the description",
        ) from error


@dataclass(frozen=True, slots=True)
class Entry:
    """One network of a package, not read yet.

    Attributes
    ----------
    kind : str
        ``onnx``, ``torchscript`` or ``pytorch_state_dict``.
    source : Node
        Name of the file inside the package.
    sha256 : str
        Of that file, as stated; "" where it is not.
    precision : str
        Type it computes in.
    architecture : mapping
        For ``pytorch_state_dict``: ``{"callable": name, "kwargs": {...}}``.
    external : Node
        File of weights beside an ONNX file; empty for most.
    """

    kind: WeightKind
    source: Node
    sha256: str = ""
    precision: Precision = "fp32"
    architecture: Mapping[str, Any] = field(default_factory=dict)

    def read(self, package: Package) -> Weights:
        """Read the file.

        Raises
        ------
        ModelError
            It is missing, not the file described, cut off, or holds values that are
            not finite.
        """
        source = self.source
        content = package.read(source.text(), source.field)
        digest = hashlib.sha256(content).hexdigest()
        check_sha256(source, self.sha256, digest)
        file = f"{package.name}/{source.text()}"
        if self.kind == "onnx":
            check_onnx(content, file)
        elif self.kind == "pytorch_state_dict":
            self._known()
        return Weights(
            kind=self.kind,
            content=content,
            file=file,
            sha256=digest,
            precision=self.precision,
            architecture=self.architecture,
        )

    @property
    def runnable(self) -> bool:
        """A runtime may take it: its architecture, if it needs one, is known."""
        if self.kind != "pytorch_state_dict":
            return True
        return self.architecture.get("callable") in _layouts

    def _known(self) -> None:
        if not self.runnable:
            raise self.source.refuse(
                f"the architecture '{self.architecture.get('callable')}' is a program "
                "that smartscope does not know and never runs",
                "export the network to ONNX and add it to the package",
            )


def check_sha256(source: Node, stated: str, found: str) -> None:
    """Refuse a file that is not the one described; raises `ModelError`."""
    if stated not in ("", found):
        raise source.refuse(
            f"'{source.value}' is not the file described here (its SHA-256 differs)",
            "fetch the package again",
        )


def read_entries(node: Node, more: Node) -> tuple[Entry, ...]:
    """Networks of a package, in the order of `WEIGHT_KINDS`.

    Parameters
    ----------
    node : Node
        ``weights`` of the description.
    more : Node
        ``config.smartscope.weights``: a list of further ONNX files with their
        ``precision``, such as one that is quantised.

    Raises
    ------
    ModelError
        None of them can be run, or one is written wrongly.
    """
    entries = [
        _entry(node.get(kind), kind)  # type: ignore[arg-type]
        for kind in WEIGHT_KINDS
        if node.get(kind)
    ]
    if not any(entry.runnable for entry in entries):
        raise _nothing(node, entries)
    further = [_further(item) for item in more.items()]
    return (*entries, *further)


def _nothing(node: Node, entries: list[Entry]) -> Exception:
    found = [_OTHERS[key] for key in node.mapping() if key in _OTHERS]
    found += [
        f"a PyTorch state dict of '{entry.architecture['callable']}', an architecture "
        "that smartscope does not know"
        for entry in entries
    ]
    return node.refuse(
        "the package has no weights that smartscope can run (it has "
        f"{', '.join(found) or 'none'})",
        "export the network to ONNX and add it to the package",
    )


def _stated(node: Node) -> str:
    stated = node.get("sha256")
    if not stated:
        return ""
    text = stated.text().lower()
    if len(text) != 64 or set(text) - set("0123456789abcdef"):
        raise stated.wrong("64 hexadecimal digits")
    return text


def _entry(node: Node, kind: WeightKind) -> Entry:
    source = node.get("source")
    source.text()
    if kind == "onnx" and node.get("external_data"):
        raise node.get("external_data").refuse(
            "weights outside of the ONNX file are not supported",
            "save the network as one file",
        )
    architecture = _architecture(node) if kind == "pytorch_state_dict" else {}
    return Entry(kind, source, _stated(node), architecture=architecture)


def _further(node: Node) -> Entry:
    node.only("source", "sha256", "precision")
    node.get("source").text()
    precision = node.get("precision")
    if precision.value not in _PRECISIONS:
        raise precision.wrong(f"one of {', '.join(_PRECISIONS)}")
    return Entry("onnx", node.get("source"), _stated(node), precision.value)


def _architecture(node: Node) -> dict[str, Any]:
    """Name and arguments: a mapping in format 0.5, ``file.py:Name`` in 0.4."""
    architecture = node.get("architecture")
    if isinstance(architecture.value, dict):
        name = architecture.get("callable").text()
        arguments = architecture.get("kwargs").mapping()
    else:
        name = architecture.text().replace(":", ".").rsplit(".", maxsplit=1)[-1]
        arguments = node.get("kwargs").mapping()
    return {"callable": name, "kwargs": arguments}
