"""The description of a bioimage.io model package, formats 0.4 and 0.5."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from smartscope.inference._card import Card, Decoder, read_card
from smartscope.inference._document import Node
from smartscope.inference._rdf_new import new_tensors
from smartscope.inference._rdf_old import old_tensors
from smartscope.inference._rdf_tensor import Follow, TensorSpec, check_order
from smartscope.inference._weights import Entry, read_entries
from smartscope.inference._weights_onnx import check_onnx

if TYPE_CHECKING:
    from smartscope.inference._axes import Axis
    from smartscope.inference._package import Package
    from smartscope.inference._protocol import Port, Weights

__all__ = [
    "Description",
    "Follow",
    "TensorSpec",
    "check_order",
    "open_description",
    "read_description",
    "read_weights",
]

_MOST_TENSORS = 64


@dataclass(frozen=True, slots=True)
class Description:
    """What a package says about its model.

    Attributes
    ----------
    name : str
    inputs, outputs : tuple of TensorSpec
        In the network's order.
    weights : tuple of Entry
        Networks that can be run, the ONNX file first.
    card : Card
        With the decoder, also where only an operation of the package names it.
    format_version : str
        Of the description, such as ``0.5.4``.
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    weights: tuple[Entry, ...]
    card: Card
    format_version: str = ""

    @property
    def input(self) -> TensorSpec:
        """The first input: the image."""
        return self.inputs[0]

    @property
    def decoder(self) -> Decoder:
        """What the outputs mean."""
        return self.card.decoder


def open_description(package: Package) -> Description:
    """Read the description of a package and its documentation.

    Raises
    ------
    ModelError
        See `read_description`.
    """
    where = f"{package.name}/{package.description}"
    text = package.read(PurePosixPath(package.description).name, "")
    return read_description(Node.parse(text, where), package)


def read_description(node: Node, package: Package | None = None) -> Description:
    """Read a description.

    Parameters
    ----------
    package : Package or None
        Where its documentation is read from.

    Raises
    ------
    ModelError
        It is of another kind or format, or needs what is not supported.
    """
    version, old = _version(node)
    for key in ("inputs", "outputs"):
        count = len(list(node.get(key).items()))
        if not count:
            raise node.get(key).refuse(f"the model has no {key[:-1]}")
        if count > _MOST_TENSORS:
            raise node.get(key).refuse(f"{count} {key} are absurd")
    inputs, outputs = (old_tensors if old else new_tensors)(node)
    for found, key in ((inputs, "inputs"), (outputs, "outputs")):
        names = [spec.name for spec in found]
        if len(set(names)) != len(names):
            raise node.get(key).refuse("two tensors have the same name")
    name = node.get("name")
    entries = read_entries(
        node.get("weights"), node.get("config").get("smartscope").get("weights")
    )
    card = read_card(node, _documentation(node.get("documentation"), package))
    decoder = _found_decoder(node, card.decoder, outputs)
    check_decoder(node, decoder, outputs)
    return Description(
        name=name.text() if name else "model",
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        weights=_present(entries, package),
        card=replace(
            card, decoder=decoder, pixel_um=card.pixel_um or inputs[0].pixel_um
        ),
        format_version=version,
    )


def _present(entries: tuple[Entry, ...], package: Package | None) -> tuple[Entry, ...]:
    """Networks whose files came along; a part of a package often is enough."""
    if package is None:
        return entries
    found = tuple(e for e in entries if e.runnable and package.has(e.source.text()))
    # If nothing is there, reading the first says so.
    return found or tuple(entry for entry in entries if entry.runnable)[:1]


def read_weights(package: Package, description: Description) -> tuple[Weights, ...]:
    """Read every network of a package that can be run.

    Raises
    ------
    ModelError
        One is missing or damaged, or an ONNX file contradicts the description.
    """
    found = []
    for entry in description.weights:
        if not entry.runnable and len(description.weights) > 1:
            continue
        weights = entry.read(package)
        if weights.kind == "onnx":
            facts = check_onnx(weights.content, weights.file)
            _agrees(description.inputs, facts.inputs, entry.source, "input")
            _agrees(description.outputs, facts.outputs, entry.source, "output")
        found.append(weights)
    return tuple(found)


def _agrees(
    specs: tuple[TensorSpec, ...], ports: tuple[Port, ...], source: Node, what: str
) -> None:
    """Refuse a description that the network contradicts."""
    needed = sum(not spec.optional for spec in specs)
    if not needed <= len(ports) <= max(len(specs), needed):
        names = ", ".join(port.name for port in ports)
        raise source.refuse(
            f"the network has {len(ports)} {what}s ({names}), the description "
            f"{len(specs)}",
            "correct the description",
        )
    for spec, port in zip(specs, ports, strict=False):
        if not port.dtype:
            raise source.refuse(
                f"the {what} '{port.name}' of the network is no tensor of numbers",
                "export the network again",
            )
        axes = spec.layout.axes
        # Where an exporter does not state a shape nothing can be compared.
        if port.shape and not (
            len(port.shape) == len(axes)
            and all(map(_size_agrees, axes, port.shape, [what] * len(axes)))
        ):
            shown = " x ".join(str(size or "any") for size in port.shape)
            raise source.refuse(
                f"the {what} '{port.name}' of the network is {shown}, the description "
                f"says otherwise (axes '{spec.layout.order}')",
                "correct the sizes in the description",
            )


def _size_agrees(axis: Axis, size: int | None, what: str) -> bool:
    if size is None:
        return True
    if axis.name == "b":
        return size == 1
    if what == "input":
        return axis.fixed == size
    return axis.fixed in (None, size)


def _version(node: Node) -> tuple[str, bool]:
    """Version of the format, and whether it is 0.4."""
    kind = node.get("type")
    if kind and kind.value != "model":
        raise kind.refuse(f"this describes a {kind.value}", "give a model package")
    version = node.get("format_version")
    match = re.fullmatch(r"(\d{1,4})\.(\d{1,4})(\.\d{1,4})*", str(version.value))
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
    return str(version.value), at == (0, 4)


def _documentation(node: Node, package: Package | None) -> str:
    """Text of the documentation; "" where the package does not bring it along."""
    source = node.get("source") if isinstance(node.value, dict) else node
    if package is None or not isinstance(source.value, str):
        return ""
    # A model can be run without its manual.
    if "://" in source.value or not package.has(source.value):
        return ""
    content = package.read(source.value, source.field)
    return content.decode("utf-8", errors="replace")


def _found_decoder(node: Node, stated: Decoder, outputs: list[TensorSpec]) -> Decoder:
    """Decoder the card states, an operation asks for, or StarDist's own section."""
    if stated.kind is not None:
        return stated
    for number, spec in enumerate(outputs):
        if spec.decoder is not None:
            return replace(spec.decoder, output=number)
    section = node.get("config").get("stardist")
    thresholds: Any = None
    if isinstance(section.value, dict):
        thresholds = section.get("thresholds")
    if not thresholds or len(outputs) != 1:
        return stated
    axis = outputs[0].layout.axis("y")
    grid = round(1 / axis.scale) if axis is not None and 0 < axis.scale <= 1 else 1
    return Decoder(
        kind="stardist",
        threshold=thresholds.get("prob").number(),
        options={"grid": grid, "nms": thresholds.get("nms").number()},
    )


def check_decoder(node: Node, decoder: Decoder, outputs: list[TensorSpec]) -> None:
    """Refuse a decoder that names outputs or channels that are not there."""
    place = node.get("config").get("smartscope").get("decoder")
    if decoder.output >= len(outputs):
        raise Node(None, node.file, "config.smartscope.decoder.output").refuse(
            f"there is no output {decoder.output}", f"the model has {len(outputs)}"
        )
    rays = decoder.options.get("rays_output", 0)
    if rays >= len(outputs):
        raise place.get("rays_output").refuse(
            f"there is no output {rays}", f"the model has {len(outputs)}"
        )
    axis = outputs[decoder.output].layout.channel_axis
    count = 1 if axis is None else axis.fixed
    if count is None or decoder.kind is None:
        return
    wanted = {"channel": decoder.channel}
    for key in ("border_channel", "distance_channel"):
        wanted[key] = decoder.options.get(key, 0)
    wanted["offset_channels"] = max(decoder.options.get("offset_channels", (0,)))
    for key, channel in wanted.items():
        if channel >= count:
            raise Node(None, node.file, f"config.smartscope.decoder.{key}").refuse(
                f"there is no channel {channel}", f"the output has {count}"
            )
