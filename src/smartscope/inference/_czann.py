"""ZEISS ``.czann`` models: a zip of ``model.json`` and an ONNX file.

The format (2.1.0) is described by czmodel on PyPI: ``Type``, ``InputShape`` and
``OutputShape`` as ([planes,] rows, columns, channels) without the batch,
``MinOverlap`` of tiles, names of ``Classes``, ``Scaling`` in metres per pixel. Tensors
are (batch, [planes,] rows, columns, channels), float32 from 0 to 1.
"""

from __future__ import annotations

import hashlib
import io
import json
import uuid
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smartscope.inference._axes import Axis, Layout
from smartscope.inference._card import Card, Decoder
from smartscope.inference._document import Node, refusal
from smartscope.inference._operations import operation_of
from smartscope.inference._package import names_in_zip, read_from_zip
from smartscope.inference._protocol import Weights
from smartscope.inference._rdf_tensor import TensorSpec, as_output
from smartscope.inference._weights_onnx import check_onnx
from smartscope.inference._write import Content

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smartscope.inference._protocol import Port

_VERSION = "2.1.0"
_SPEC, _NETWORK = "model.json", "model.model"
_SINGLE = "SingleClassSemanticSegmentation"
_MULTIPLE = "MultiClassSemanticSegmentation"
_REGRESSION = "Regression"
_READ = (_SINGLE, _MULTIPLE, _REGRESSION)
_LARGEST_SPEC = 1_000_000
_UM = 1e-6


def read_czann(path: str | Path, *, full_scale: float | None = None) -> Content:
    """Read a model, ready to be written as a package.

    Parameters
    ----------
    path : str or path
    full_scale : float or None
        Camera counts that become 1, such as 65535; None scales every image from its
        smallest to its largest value.

    Returns
    -------
    Content
        Segmentation gets the decoder ``mask`` on the last class (the first ones are
        background, by convention), regression ``restored``.

    Raises
    ------
    ModelError
        It is none, of another type or version, or contradicts its network.
    """
    path = Path(path)
    names = names_in_zip(path)
    for name in (_SPEC, _NETWORK):
        if name not in names:
            raise refusal(
                f"there is no '{name}' in it",
                file=str(path),
                fix="export the model from arivis or ZEN again",
            )
    node = _spec(read_from_zip(path, _SPEC, str(path), ""), f"{path}/{_SPEC}")
    content = read_from_zip(path, _NETWORK, str(path), "")
    file = f"{path}/{_NETWORK}"
    if content[:2] == b"PK":
        raise refusal(
            "the network is a PyTorch or TensorFlow archive",
            file=file,
            fix="export the model as ONNX",
        )
    facts = check_onnx(content, file)
    if len(facts.inputs) != 1:
        raise refusal(f"the network has {len(facts.inputs)} inputs", file=file)
    if full_scale is None:
        scaling: dict[str, Any] = {"id": "scale_range"}
    else:
        scaling = {"id": "scale_linear", "kwargs": {"gain": 1.0 / full_scale}}
    given, out = _tensors(node, facts.inputs[0], scaling, facts.outputs[0].name)
    digest = hashlib.sha256(content).hexdigest()
    called = node.get("ModelName")
    return Content(
        name=called.text() if called else path.stem,
        inputs=(given,),
        outputs=(out,),
        weights=(Weights("onnx", content, file, digest),),
        card=_card(node, given, out),
    )


def _spec(text: bytes, file: str) -> Node:
    """``model.json``, its type and version checked."""
    if len(text) > _LARGEST_SPEC:
        raise refusal("far too large for a description", file=file)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise refusal(f"not readable as JSON ({error})", file=file) from error
    node = Node(value, file)
    node.mapping()
    kind = node.get("Type")
    if kind.value not in _READ:
        raise kind.wrong(
            f"one of {', '.join(_READ)}", "objects and classes are not read from .czann"
        )
    version = node.get("FormatVersion").text()
    first = version.split(".", maxsplit=1)[0]
    if not first.isdigit() or int(first) > 2:
        raise node.get("FormatVersion").refuse(
            f"format {version} is newer than what smartscope reads ({_VERSION})",
            "update smartscope",
        )
    return node


def _tensors(
    node: Node, port: Port, scaling: dict[str, Any], out_name: str
) -> tuple[TensorSpec, TensorSpec]:
    given = [size.size() for size in node.get("InputShape").items()]
    out = [size.size() for size in node.get("OutputShape").items()]
    if len(given) not in (3, 4) or len(out) != len(given):
        raise node.get("InputShape").wrong("3 or 4 sizes, as many as OutputShape")
    stated = port.shape[1:]
    if port.shape and (
        len(stated) != len(given)
        or any(a not in (None, b) for a, b in zip(stated, given, strict=True))
    ):
        shown = " x ".join(str(size or "any") for size in port.shape)
        raise node.get("InputShape").refuse(
            f"the network takes {shown}, not {given} and a batch",
            "export the model again",
        )
    order = "byxc" if len(given) == 3 else "bzyxc"
    halos = [size.index() // 2 for size in node.get("MinOverlap").items()]
    halos = [*halos, *[0] * len(given)][: len(given)]
    layout = Layout(
        tuple(Axis(n, size) for n, size in zip(order, (1, *given), strict=True))
    )
    axes = [Axis("b")]
    for name, size, halo in zip(order[1:], out, halos, strict=True):
        border = halo if name != "c" else 0
        axes.append(as_output(Axis(name, size, halo=border), layout))
    classes = tuple(item.text() for item in node.get("Classes").items())
    if classes and len(classes) != out[-1]:
        raise node.get("Classes").refuse(
            f"{len(classes)} names for {out[-1]} channels of the output"
        )
    none = Node(None, node.file)
    step = operation_of(Node(scaling, node.file, "InputShape"), layout.image_order)
    pixel_um = _pixel_um(node.get("Scaling"))
    return (
        TensorSpec(layout, (step,), none, port.name or "input", pixel_um=pixel_um),
        TensorSpec(
            Layout(tuple(axes)),
            (),
            none,
            out_name or "output",
            channels=classes,
            reference=port.name or "input",
        ),
    )


def _pixel_um(node: Node) -> float | None:
    sizes = [size.number() for size in node.items()]
    if not sizes:
        return None
    if len(sizes) not in (2, 3) or min(sizes) <= 0:
        raise node.wrong("two or three pixel sizes in metres")
    return sizes[0] / _UM


def _card(node: Node, given: TensorSpec, out: TensorSpec) -> Card:
    kind = str(node.get("Type").value)
    axis = out.layout.axis("c")
    channels = 1 if axis is None or axis.fixed is None else axis.fixed
    if kind == _REGRESSION:
        decoder = Decoder(kind="restored")
    else:
        decoder = Decoder(kind="mask", channel=channels - 1, threshold=0.5)
    return Card(
        version=str(node.get("Id").value or ""),
        pixel_um=given.pixel_um,
        decoder=decoder,
        tags=("czann", kind),
        description=f"ZEISS model ({kind})",
    )


def write_czann(path: str | Path, content: Content) -> Path:
    """Write a model as ``.czann``.

    The network must be ONNX with one input and one output of fixed sizes and the axes
    (batch, [planes,] rows, columns, channels): ZEISS software knows no other order.
    Its pre-processing is not written: there it gets images from 0 to 1.

    Parameters
    ----------
    path : str or path
        Ends in ``.czann``.
    content : Content

    Raises
    ------
    ModelError
        The network cannot be one of ZEISS's.
    """
    path = Path(path)
    given, out = content.inputs[0], content.outputs[0]
    weights = next((w for w in content.weights if w.kind == "onnx"), None)
    if weights is None or len(content.inputs) + len(content.outputs) != 2:
        raise refusal(
            "a .czann holds one ONNX network with one input and one output",
            file=content.name,
            fix="export the model as a package instead",
        )
    spec: dict[str, Any] = {
        "FormatVersion": _VERSION,
        "Id": _identifier(content.card.version, weights.sha256),
        "Type": _kind(content.card.decoder, out),
        "InputShape": _shape(given, None, content.name),
        "OutputShape": _shape(out, given, content.name),
        "ModelName": content.name,
    }
    halos = [axis.halo for axis in out.layout.axes if axis.name in "zyx"]
    if any(halos):
        spec["MinOverlap"] = [2 * halo for halo in halos]
    if spec["Type"] != _REGRESSION:
        spec["Classes"] = _classes(out, spec["OutputShape"][-1])
    pixel_um = content.card.pixel_um or given.pixel_um
    if pixel_um:
        spec["Scaling"] = [pixel_um * _UM] * 2
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr(zipfile.ZipInfo(_SPEC), json.dumps(spec))
        archive.writestr(zipfile.ZipInfo(_NETWORK), weights.content)
    try:
        path.write_bytes(whole.getvalue())
    except OSError as error:
        raise refusal(
            f"cannot be written ({error.strerror or error})", file=str(path)
        ) from error
    return path


def _identifier(version: str, sha256: str) -> str:
    """The UUID it had, or one that the same network always gets."""
    try:
        return str(uuid.UUID(version))
    except ValueError:
        return str(uuid.UUID(sha256[:32]))


def _kind(decoder: Decoder, out: TensorSpec) -> str:
    if decoder.kind == "restored":
        return _REGRESSION
    if decoder.kind != "mask":
        raise refusal(
            f"the decoder '{decoder.kind}' has no counterpart in .czann",
            file=out.name,
            fix="export the model as a package instead",
        )
    return _SINGLE


def _classes(out: TensorSpec, count: int) -> Sequence[str]:
    if count < 2:
        raise refusal(
            "a .czann for segmentation needs a channel for the background too",
            file=out.name,
            fix="export the model as a package instead",
        )
    if len(out.channels) == count:
        return list(out.channels)
    return ["background", *(f"class{number}" for number in range(1, count))]


def _shape(spec: TensorSpec, given: TensorSpec | None, name: str) -> list[int]:
    order = spec.layout.order
    if order not in ("byxc", "bzyxc"):
        raise refusal(
            f"the axes '{order}' are not those of a .czann (byxc)",
            file=name,
            fix="export the network again with channels last",
        )
    sizes = []
    for axis in spec.layout.axes[1:]:
        own = given.layout.axis(axis.name) if given is not None else None
        size = axis.fixed
        if size is None and own is not None and own.fixed is not None:
            size = axis.size_for(own.fixed)
        if size is None:
            raise refusal(
                f"the size of the axis '{axis.name}' is not fixed",
                file=name,
                fix="export the network again for one size of image",
            )
        sizes.append(size)
    return sizes
