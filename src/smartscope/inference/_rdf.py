"""The description of a bioimage.io model package, formats 0.4 and 0.5."""

from __future__ import annotations

import re
from dataclasses import dataclass

from smartscope.inference._axes import KNOWN, Axis, Layout
from smartscope.inference._document import Node
from smartscope.inference._model import KINDS, Decoder
from smartscope.inference._operations import Operation, operation_of

_TYPES = {"batch": "b", "channel": "c"}


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output: layout, operations, and where its test tensor is.

    Attributes
    ----------
    test : Node
        Name of the file inside the package; empty if there is none.
    """

    layout: Layout
    operations: tuple[Operation, ...]
    test: Node


@dataclass(frozen=True, slots=True)
class Description:
    """What a package says about its model.

    Attributes
    ----------
    weights : Node
        Name of the ONNX file inside the package.
    sha256 : str
        Of that file, as stated; "" where it is not.
    """

    name: str
    input: TensorSpec
    outputs: tuple[TensorSpec, ...]
    weights: Node
    sha256: str
    decoder: Decoder


def read_description(node: Node) -> Description:
    """Read a description.

    Raises
    ------
    ModelError
        It is of another kind or format, or needs what is not supported.
    """
    old = _is_old(node)
    tensors = _tensor_old if old else _tensor_new
    inputs = [
        tensors(part, "preprocessing", node.get("test_inputs"), number)
        for number, part in enumerate(node.get("inputs").items())
    ]
    outputs = [
        tensors(part, "postprocessing", node.get("test_outputs"), number)
        for number, part in enumerate(node.get("outputs").items())
    ]
    if len(inputs) != 1:
        raise node.get("inputs").refuse(
            f"the model has {len(inputs)} inputs", "use a model with one input image"
        )
    if not outputs:
        raise node.get("outputs").refuse("the model has no output")
    weights, sha256 = _weights(node.get("weights"))
    name = node.get("name")
    return Description(
        name=name.text() if name else "model",
        input=inputs[0],
        outputs=tuple(outputs),
        weights=weights,
        sha256=sha256,
        decoder=_decoder(node.get("config").get("smartscope").get("decoder")),
    )


def _is_old(node: Node) -> bool:
    kind = node.get("type")
    if kind and kind.value != "model":
        raise kind.refuse(f"this describes a {kind.value}", "give a model package")
    version = node.get("format_version")
    match = re.fullmatch(r"(\d+)\.(\d+)(\.\d+)*", str(version.value))
    if match is None:
        raise version.wrong("a format version such as 0.5.4")
    at = int(match[1]), int(match[2])
    if at not in ((0, 4), (0, 5)):
        later = at > (0, 5)
        raise version.refuse(
            f"format {version.value} is {'newer' if later else 'older'} than what "
            "smartscope reads (0.4 and 0.5)",
            "update smartscope" if later else "export the model again",
        )
    return at == (0, 4)


def _weights(node: Node) -> tuple[Node, str]:
    onnx = node.get("onnx")
    if not onnx:
        found = ", ".join(node.value) if isinstance(node.value, dict) else "none"
        raise node.refuse(
            f"the package has no ONNX weights (it has {found})",
            "export the model to ONNX and add it to the package",
        )
    source = onnx.get("source")
    source.text()
    stated = onnx.get("sha256")
    return source, stated.text().lower() if stated else ""


def _decoder(node: Node) -> Decoder:
    if not node:
        return Decoder()
    if isinstance(node.value, str):
        kind, more = node, None
    else:
        kind, more = node.get("kind"), node
    if kind.value not in KINDS:
        raise kind.wrong(f"one of {', '.join(KINDS)}")
    if more is None:
        return Decoder(kind=kind.value)
    threshold = more.get("threshold")
    return Decoder(
        kind=kind.value,
        output=more.get("output").index() if more.get("output") else 0,
        channel=more.get("channel").index() if more.get("channel") else 0,
        threshold=threshold.number() if threshold else None,
    )


def _operations(node: Node) -> tuple[Operation, ...]:
    return tuple(operation_of(item) for item in node.items())


def _tensor_old(part: Node, key: str, tests: Node, number: int) -> TensorSpec:
    letters = part.get("axes").text()
    check_order(part.get("axes"), letters)
    axes = [Axis(letter) for letter in letters]
    shape = part.get("shape")
    if key == "preprocessing":
        axes = _sizes_old(shape, letters)
    elif isinstance(shape.value, list):
        axes = [
            Axis(n, s.size())
            for n, s in zip(letters, _all(shape, letters), strict=True)
        ]
    files = list(tests.items())
    none = Node(None, tests.file, tests.field)
    test = files[number] if number < len(files) else none
    return TensorSpec(Layout(tuple(axes)), _operations(part.get(key)), test)


def _all(node: Node, letters: str) -> list[Node]:
    sizes = list(node.items())
    if len(sizes) != len(letters):
        raise node.wrong(f"one number for each of the axes '{letters}'")
    return sizes


def _sizes_old(shape: Node, letters: str) -> list[Axis]:
    if isinstance(shape.value, list):
        sizes = _all(shape, letters)
        return [Axis(n, s.size()) for n, s in zip(letters, sizes, strict=True)]
    least = _all(shape.get("min"), letters)
    steps = _all(shape.get("step"), letters)
    return [
        Axis(name, low.size(), step.index())
        for name, low, step in zip(letters, least, steps, strict=True)
    ]


def _tensor_new(part: Node, key: str, tests: Node, number: int) -> TensorSpec:
    axes = [_axis(axis, key == "preprocessing") for axis in part.get("axes").items()]
    check_order(part.get("axes"), "".join(axis.name for axis in axes))
    test = part.get("test_tensor")
    if isinstance(test.value, dict):
        test = test.get("source")
    return TensorSpec(Layout(tuple(axes)), _operations(part.get(key)), test)


def _axis(node: Node, is_input: bool) -> Axis:
    kind = node.get("type").text()
    name = _TYPES.get(kind) or (node.get("id").value if node.get("id") else "x")
    if kind not in (*_TYPES, "space") or name not in KNOWN:
        raise node.refuse(
            f"the axis '{name}' ({kind}) is not supported",
            "use a model for single planes (batch, channel, y, x)",
        )
    size = node.get("size")
    if kind == "channel":
        channels = list(node.get("channel_names").items())
        return Axis(name, len(channels)) if channels else Axis(name)
    if kind == "batch" or not size:
        return Axis(name)
    if isinstance(size.value, dict):
        if "step" in size.value:
            return Axis(name, size.get("min").size(), size.get("step").size())
        if is_input:
            raise size.refuse(
                "a size that follows another axis is not supported",
                "give a number, or min and step",
            )
        return Axis(name)
    return Axis(name, size.size())


def check_order(node: Node, letters: str) -> None:
    """Refuse axes an image of one plane does not have; raises `ModelError`."""
    unknown = [letter for letter in letters if letter not in KNOWN]
    if unknown or len(set(letters)) != len(letters) or not {"y", "x"} <= set(letters):
        raise node.refuse(
            f"the axes '{letters}' are not supported",
            "y and x are needed; b (batch) and c (channel) may be there, in any order",
        )
