"""The fields of a bioimage.io description, format 0.5."""

from __future__ import annotations

import re
from importlib import metadata
from typing import TYPE_CHECKING, Any

from smartscope.inference._document import refusal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from smartscope.inference._axes import Axis
    from smartscope.inference._card import Card, Decoder
    from smartscope.inference._operations import Operation
    from smartscope.inference._protocol import Weights
    from smartscope.inference._rdf_tensor import TensorSpec

FORMAT = "0.5.14"
_DOI = re.compile(r"10\.\d{4,9}/[^\s,;]+")
_ADDRESS = re.compile(r"https?://[^\s,;]+")
_TYPES = {"b": "batch", "c": "channel", "t": "time"}


def identifier(name: str, used: Sequence[str] = ()) -> str:
    """Name of a tensor as the format wants it: lower case, letters, digits, ``_``."""
    found = re.sub(r"\W+", "_", name.lower(), flags=re.ASCII).strip("_") or "tensor"
    found = f"t_{found}" if found[0].isdigit() else found
    while found in used:
        found += "_"
    return found


def model_name(name: str) -> str:
    """Name of a model as the format wants it: 5 to 128 plain characters."""
    plain = re.sub(r"[^A-Za-z0-9_+\-() ]+", " ", name).strip()[:128]
    return plain if len(plain) >= 5 else f"{plain} model".strip()


def input_fields(spec: TensorSpec, ids: Mapping[str, str]) -> dict[str, Any]:
    """One entry of ``inputs``."""
    axes = [_input_axis(axis, spec, ids) for axis in spec.layout.axes]
    fields = _common(spec, ids, axes)
    if spec.optional:
        fields["optional"] = True
    fields["preprocessing"] = [
        {"id": "ensure_dtype", "kwargs": {"dtype": "float32"}},
        *map(_operation, spec.operations),
        {"id": "ensure_dtype", "kwargs": {"dtype": spec.dtype}},
    ]
    return fields


def output_fields(
    spec: TensorSpec, given: TensorSpec, ids: Mapping[str, str]
) -> dict[str, Any]:
    """One entry of ``outputs``; `given` is the input its sizes follow."""
    axes = [_output_axis(axis, spec, given, ids) for axis in spec.layout.axes]
    fields = _common(spec, ids, axes)
    steps = [_operation(operation, ids) for operation in spec.operations]
    fields["postprocessing"] = [
        *steps,
        {"id": "ensure_dtype", "kwargs": {"dtype": "float32"}},
    ]
    return fields


def _common(
    spec: TensorSpec, ids: Mapping[str, str], axes: list[dict[str, Any]]
) -> dict[str, Any]:
    data: dict[str, Any] = {"type": spec.dtype}
    if spec.least is not None or spec.most is not None:
        data["range"] = [spec.least, spec.most]
    if spec.unit:
        data["unit"] = spec.unit
    fields: dict[str, Any] = {"id": ids[spec.name], "axes": axes, "data": data}
    if spec.description:
        fields["description"] = spec.description[:128]
    return fields


def _operation(
    operation: Operation, ids: Mapping[str, str] | None = None
) -> dict[str, Any]:
    settings = dict(operation.settings)
    if ids and "reference_tensor" in settings:
        settings["reference_tensor"] = ids[settings["reference_tensor"]]
    return {"id": operation.name, **({"kwargs": settings} if settings else {})}


def _plain_axis(axis: Axis, spec: TensorSpec) -> dict[str, Any]:
    """Type, name, channels and pixel size."""
    if axis.name == "b":
        return {"type": "batch"}
    if axis.name == "c":
        if axis.fixed is None:
            raise refusal(
                f"the number of channels of '{spec.name}' is not known",
                file="package",
                fix="state it",
            )
        names = spec.channels
        if len(names) != axis.fixed:
            names = tuple(f"channel{number}" for number in range(axis.fixed))
        return {"type": "channel", "channel_names": list(names)}
    if axis.name == "t":
        return {"type": "time"}
    found: dict[str, Any] = {"type": "space", "id": axis.name}
    if axis.name in "yx" and spec.pixel_um:
        found |= {"unit": "micrometer", "scale": spec.pixel_um}
    return found


def _input_axis(axis: Axis, spec: TensorSpec, ids: Mapping[str, str]) -> dict[str, Any]:
    found = _plain_axis(axis, spec)
    if axis.name == "b":
        return found | ({"size": 1} if axis.fixed == 1 else {})
    if axis.name == "c":
        return found
    follow = spec.follows.get(axis.name)
    if follow is not None:
        found["size"] = {
            "tensor_id": ids[follow.tensor],
            "axis_id": _TYPES.get(follow.axis, follow.axis),
            "offset": follow.offset,
        }
        found["scale"] = found.get("scale", 1.0) / follow.scale
    elif axis.least is None:
        found["size"] = {"min": 1, "step": 1}
    elif axis.step:
        found["size"] = {"min": axis.least, "step": axis.step}
    else:
        found["size"] = axis.least
    return found


def _output_axis(
    axis: Axis, spec: TensorSpec, given: TensorSpec, ids: Mapping[str, str]
) -> dict[str, Any]:
    found = _plain_axis(axis, spec)
    if axis.name in "bc":
        return found
    own = given.layout.axis(axis.name)
    if own is None or not axis.scale:
        found["size"] = axis.least or 1
        return found
    found["size"] = {
        "tensor_id": ids[given.name],
        "axis_id": _TYPES.get(axis.name, axis.name),
        "offset": axis.offset,
    }
    base = 1.0
    if axis.name in "yx" and given.pixel_um:
        base = given.pixel_um
        found["unit"] = "micrometer"
    follow = given.follows.get(axis.name)
    if follow is not None:
        # Sizes tied to one another are written with scales; so the one of the input.
        base /= follow.scale
    found["scale"] = base / axis.scale
    if axis.halo:
        found["halo"] = axis.halo
    return found


def weights_fields(weights: Weights, name: str, opset: int) -> dict[str, Any]:
    """One entry of ``weights``."""
    fields: dict[str, Any] = {"source": name, "sha256": weights.sha256}
    if weights.kind == "onnx":
        return fields | {"opset_version": max(opset, 7)}
    fields["pytorch_version"] = _torch_version()
    if weights.kind == "pytorch_state_dict":
        fields["architecture"] = {
            "import_from": "smartscope.training",
            "callable": weights.architecture["callable"],
            "kwargs": dict(weights.architecture.get("kwargs", {})),
        }
    return fields


def _torch_version() -> str:
    try:
        return metadata.version("torch").split("+", maxsplit=1)[0]
    except metadata.PackageNotFoundError:
        return "2.0"


def card_fields(card: Card) -> dict[str, Any]:
    """Fields of the description that come from a card, with ``config``."""
    own: dict[str, Any] = {
        "version": card.version,
        "pixel_um": card.pixel_um,
        "object_px": card.object_px,
        "window": card.window if card.window > 1 else None,
        "tolerance": card.tolerance,
        "domain": dict(card.domain),
        "training": dict(card.training),
        "decoder": decoder_fields(card.decoder),
    }
    stated = {key: value for key, value in own.items() if value}
    fields: dict[str, Any] = {
        "description": card.description[:1024],
        "authors": [{"name": name.replace("/", " ")} for name in card.authors],
        "cite": [_citation(text) for text in card.cite],
        "tags": list(card.tags),
        "license": card.licence,
        "config": {"smartscope": stated} if stated else {},
    }
    if re.fullmatch(r"\d+(\.\d+)*", card.version):
        fields["version"] = card.version
    return {key: value for key, value in fields.items() if value}


def decoder_fields(decoder: Decoder) -> dict[str, Any]:
    """``config.smartscope.decoder``; empty where nothing is known."""
    if decoder.kind is None:
        return {}
    found: dict[str, Any] = {
        "kind": decoder.kind,
        "output": decoder.output,
        "channel": decoder.channel,
    }
    if decoder.threshold is not None:
        found["threshold"] = decoder.threshold
    options = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in decoder.options.items()
    }
    # The kind of an event would take the place of the kind of the decoder.
    return found | ({"options": options} if "kind" in options else options)


def _citation(text: str) -> dict[str, str]:
    doi, address = _DOI.search(text), _ADDRESS.search(text)
    if doi is None and address is None:
        raise refusal(
            f"the citation '{text[:60]}' names no DOI and no address",
            file="package",
            field="cite",
            fix="add one",
        )
    found = {"text": text}
    if doi is not None:
        found["doi"] = doi[0].rstrip(".")
    if address is not None and doi is None:
        found["url"] = address[0]
    return found
