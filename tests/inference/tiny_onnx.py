"""Networks of one operator, written byte by byte, and packages around them."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
import yaml

MODELS = Path(__file__).parents[1] / "data/models"
UNET = MODELS / "unet2d_nuclei_broad"
UFISH = MODELS / "ufish/ufish_c32.onnx"


def _int(field, value):
    return _varint(field << 3) + _varint(value)


def _varint(value):
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def _part(field, content):
    content = content.encode() if isinstance(content, str) else content
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _tensor(name, shape, kind):
    dims = [_part(1, _int(1, n) if isinstance(n, int) else _part(2, n)) for n in shape]
    tensor = _int(1, kind) + _part(2, b"".join(dims))
    return _part(1, name) + _part(2, _part(1, tensor))


def network(op, shape, *, out=None, inputs=1, kind=1):
    """ONNX bytes of ``out = op(in0, in1, ...)``; a text in `shape` is any size."""
    names = [f"in{i}" for i in range(inputs)]
    node = b"".join(_part(1, name) for name in names)
    node += _part(2, "out") + _part(4, op)
    graph = _part(1, node) + _part(2, "tiny")
    graph += b"".join(_part(11, _tensor(name, shape, kind)) for name in names)
    graph += _part(12, _tensor("out", out or shape, kind))
    return _int(1, 8) + _part(7, graph) + _part(8, _int(2, 17))


def npy(array):
    """The bytes of an .npy file."""
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def package_05(sizes, order, **changes):
    """Files of a 0.5 package of an Abs network; `sizes` of y and x as in its RDF."""
    kinds = {"b": "batch", "c": "channel", "y": "space", "x": "space"}

    def axes(of):
        for name in order:
            axis = {"type": kinds[name]}
            if name == "c":
                axis["channel_names"] = ["a"]
            elif name in "yx":
                axis |= {"id": name, "size": of[name]}
            yield axis

    fixed = {"b": 1, "c": 1} | {k: v for k, v in sizes.items() if isinstance(v, int)}
    weights = network("Abs", [fixed.get(name, name) for name in order])
    follow = {n: {"tensor_id": "raw", "axis_id": n} for n in "yx"}
    rdf = {
        "format_version": "0.5.4",
        "type": "model",
        "name": "absolute",
        "inputs": [{"id": "raw", "axes": list(axes(sizes))}],
        "outputs": [{"id": "out", "axes": list(axes(follow))}],
        "weights": {
            "onnx": {
                "source": "net.onnx",
                "sha256": hashlib.sha256(weights).hexdigest(),
            }
        },
    }
    return files(rdf | changes, weights)


def package_04(order="bcyx", **changes):
    """Files of a 0.4 package of an Abs network for sizes 8 + 4n, with its tests."""
    size = {"b": (1, 0), "c": (1, 0), "y": (8, 4), "x": (8, 4)}
    shape = [{"b": 1, "c": 1, "y": 12, "x": 16}[name] for name in order]
    given = np.linspace(-3, 3, 192, dtype=np.float32).reshape(shape)
    tensor = {"name": "raw", "axes": order, "data_type": "float32"}
    steps = {"min": [size[n][0] for n in order], "step": [size[n][1] for n in order]}
    follow = {"reference_tensor": "raw", "scale": [1] * 4, "offset": [0] * 4}
    rdf = {
        "format_version": "0.4.9",
        "type": "model",
        "name": "absolute",
        "inputs": [tensor | {"shape": steps}],
        "outputs": [tensor | {"name": "out", "shape": follow}],
        "test_inputs": ["in.npy"],
        "test_outputs": ["out.npy"],
        "weights": {"onnx": {"source": "net.onnx"}},
    }
    weights = network("Abs", ["b", *[n if n in "yx" else 1 for n in order[1:]]])
    more = {"in.npy": npy(given), "out.npy": npy(np.abs(given))}
    return files(rdf | changes, weights, "rdf.yaml") | more


def files(rdf, weights, name="bioimageio.yaml"):
    """Name and content of description and weights."""
    return {name: yaml.safe_dump(rdf).encode(), "net.onnx": weights}


def folder(path, content):
    """Write a package as a folder."""
    path.mkdir(parents=True, exist_ok=True)
    for name, data in content.items():
        (path / name).write_bytes(data)
    return path


def zipped(path, content):
    """Write a package as a zip."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path
