"""Write model packages: bioimage.io format 0.5, as a folder or a zip."""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from smartscope.inference._card import Card
from smartscope.inference._document import refusal
from smartscope.inference._package import open_package
from smartscope.inference._rdf import open_description, read_weights
from smartscope.inference._weights_onnx import check_onnx
from smartscope.inference._weights_tests import read_test
from smartscope.inference._write_rdf import (
    FORMAT,
    card_fields,
    identifier,
    input_fields,
    model_name,
    output_fields,
    weights_fields,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from smartscope.inference._protocol import Weights
    from smartscope.inference._rdf import Description
    from smartscope.inference._rdf_tensor import TensorSpec

_NAMES = {
    "onnx": "weights.onnx",
    "torchscript": "weights_torchscript.pt",
    "pytorch_state_dict": "weights.pt",
}
_LONG_AGO = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Content:
    """All that goes into a package.

    Attributes
    ----------
    name : str
    inputs, outputs : tuple of TensorSpec
        In the network's order; `describe_tensor` makes them.
    weights : tuple of Weights
        One of each kind; further ONNX files differ in precision.
    card : Card
    test_inputs, test_outputs : tuple of ndarray
        In the layouts of the tensors: before pre-processing, after post-processing.
        Empty where there are none.
    files : mapping of str to bytes
        Further files, such as a cover.
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    weights: tuple[Weights, ...]
    card: Card = field(default_factory=Card)
    test_inputs: tuple[NDArray[Any], ...] = ()
    test_outputs: tuple[NDArray[Any], ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)


def write_package(
    path: str | Path, content: Content, *, timestamp: str | None = None
) -> Path:
    """Write a package, and read it back.

    Parameters
    ----------
    path : str or path
        A folder, which may exist (files of the same names are replaced), or a name
        that ends in ``.zip``.
    content : Content
        What goes into it.
    timestamp : str or None
        When the model was made, ISO 8601; None is now.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    ModelError
        The content contradicts itself, or the place cannot be written.
    """
    path = Path(path)
    files = package_files(content, timestamp)
    try:
        if path.suffix.lower() == ".zip":
            _write_zip(path, files)
        else:
            path.mkdir(parents=True, exist_ok=True)
            for name, data in files.items():
                (path / name).write_bytes(data)
    except OSError as error:
        raise refusal(
            f"cannot be written ({error.strerror or error})",
            file=str(path),
            fix="choose another place",
        ) from error
    package = open_package(path)
    description = open_description(package)
    read_weights(package, description)
    for spec in (*description.inputs, *description.outputs):
        if spec.test:
            read_test(package, spec)
    return path


def _write_zip(path: Path, files: Mapping[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            # The same content gives the same bytes, whenever it is written.
            entry = zipfile.ZipInfo(name, _LONG_AGO)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    path.write_bytes(whole.getvalue())


def package_files(content: Content, timestamp: str | None = None) -> dict[str, bytes]:
    """Name and content of every file of a package, the description first."""
    files: dict[str, bytes] = dict(content.files)
    rdf: dict[str, Any] = {
        "type": "model",
        "format_version": FORMAT,
        "name": model_name(content.name),
        "timestamp": timestamp or datetime.now(UTC).isoformat(timespec="seconds"),
    }
    rdf |= card_fields(content.card)
    tensors = _tensors(content)
    for key, specs, tests in (
        ("inputs", content.inputs, content.test_inputs),
        ("outputs", content.outputs, content.test_outputs),
    ):
        if tests and len(tests) != len(specs):
            raise refusal(
                f"{len(tests)} test tensors for {len(specs)} {key}", file=content.name
            )
        rdf[key] = tensors[key]
        for number, array in enumerate(tests):
            name = _test_name(key[:-1], number, len(tests))
            files[name] = _npy(array)
            rdf[key][number]["test_tensor"] = _named(name, files)
    rdf["weights"] = _weights(content, rdf, files)
    documentation = content.card.documentation
    if documentation:
        files["README.md"] = documentation.encode()
        rdf["documentation"] = _named("README.md", files)
    # A cover is shown; anything else is only brought along.
    covers = [name for name in content.files if name.startswith("cover")]
    if covers:
        rdf["covers"] = [_named(name, files) for name in covers]
    more = [name for name in content.files if name not in covers]
    attached = rdf.pop("attachments", []) + [_named(name, files) for name in more]
    if attached:
        rdf["attachments"] = attached
    text = yaml.safe_dump(_plain(rdf), sort_keys=False, allow_unicode=True, width=88)
    return {"bioimageio.yaml": text.encode(), **files}


def _tensors(content: Content) -> dict[str, list[dict[str, Any]]]:
    ids: dict[str, str] = {}
    for spec in (*content.inputs, *content.outputs):
        ids[spec.name] = identifier(spec.name, tuple(ids.values()))
    if len(ids) != len(content.inputs) + len(content.outputs):
        raise refusal("two tensors have the same name", file=content.name)
    given = {spec.name: spec for spec in content.inputs}
    return {
        "inputs": [input_fields(spec, ids) for spec in content.inputs],
        "outputs": [
            output_fields(spec, given.get(spec.reference, content.inputs[0]), ids)
            for spec in content.outputs
        ],
    }


def _weights(
    content: Content, rdf: dict[str, Any], files: dict[str, bytes]
) -> dict[str, Any]:
    """``weights``; what it has no place for goes to ``config.smartscope``."""
    found: dict[str, Any] = {}
    more: list[dict[str, str]] = []
    for weights in content.weights:
        opset = 0
        if weights.kind == "onnx":
            opset = check_onnx(weights.content, weights.file).opset
        if weights.kind not in found:
            name = _NAMES[weights.kind]
            entry = weights_fields(weights, name, opset)
            # All but one say what they were made from.
            parent = next(iter(found), None)
            found[weights.kind] = entry | ({"parent": parent} if parent else {})
        else:
            name = f"weights_{weights.precision}.onnx"
            more.append({**_named_of(name, weights), "precision": weights.precision})
        if name in files:
            raise refusal(f"two files are called '{name}'", file=content.name)
        files[name] = weights.content
    if not found:
        raise refusal("there are no weights", file=content.name)
    if more:
        own = rdf.setdefault("config", {}).setdefault("smartscope", {})
        own["weights"] = more
        rdf["attachments"] = [
            {"source": entry["source"], "sha256": entry["sha256"]} for entry in more
        ]
    return found


def _named_of(name: str, weights: Weights) -> dict[str, str]:
    return {"source": name, "sha256": weights.sha256}


def _named(name: str, files: Mapping[str, bytes]) -> dict[str, str]:
    return {"source": name, "sha256": hashlib.sha256(files[name]).hexdigest()}


def _test_name(kind: str, number: int, count: int) -> str:
    return f"test_{kind}{number if count > 1 else ''}.npy"


def _npy(array: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.ascontiguousarray(array), allow_pickle=False)
    return stream.getvalue()


def _plain(value: Any) -> Any:
    """Only what YAML knows: no NumPy numbers, no tuples, no shared parts."""
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, np.generic):
        return value.item()
    return value


def read_content(path: str | Path) -> Content:
    """Read a whole package, so that it can be written again.

    Weights that cannot be run here are left behind.

    Raises
    ------
    ModelError
        See `open_description`.
    """
    package = open_package(Path(path))
    description: Description = open_description(package)
    tested = all(
        spec.test and package.has(spec.test.text())
        for spec in (*description.inputs, *description.outputs)
    )
    arrays = [
        tuple(read_test(package, spec) for spec in specs) if tested else ()
        for specs in (description.inputs, description.outputs)
    ]
    return Content(
        name=description.name,
        inputs=description.inputs,
        outputs=description.outputs,
        weights=read_weights(package, description),
        card=description.card,
        test_inputs=arrays[0],
        test_outputs=arrays[1],
    )


def export_package(source: str | Path, path: str | Path) -> Path:
    """Write a package again: format 0.4 becomes 0.5, a folder a zip or the other way.

    Raises
    ------
    ModelError
        See `read_content` and `write_package`.
    """
    return write_package(path, read_content(source))
