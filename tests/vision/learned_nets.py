"""Packages around networks of one convolution, so that every output is known."""

from __future__ import annotations

import hashlib
import struct
import sys
from pathlib import Path

import numpy as np
import yaml

sys.path.append(str(Path(__file__).parents[1] / "inference"))

from tiny_onnx import _int, _part, _tensor, folder, network

FIRST = [[[[1.0]]]]


def _ints(name, values):
    content = _part(1, name) + _int(20, 7)
    return _part(5, content + b"".join(_int(8, v) for v in values))


def _array(name, array):
    array = np.asarray(array, dtype=np.float32)
    dims = b"".join(_int(1, n) for n in array.shape)
    raw = struct.pack(f"<{array.size}f", *array.ravel())
    return _part(5, dims + _int(2, 1) + _part(8, name) + _part(9, raw))


def _node(op, inputs, output, *attributes):
    names = b"".join(_part(1, name) for name in inputs) + _part(2, output)
    return _part(1, names + _part(4, op) + b"".join(attributes))


def conv(weights, bias=None, *, then=(), stride=1, size=("y", "x")):
    """ONNX bytes of a convolution ``(o, c, 1, 1)``, and of operators after it."""
    weights = np.asarray(weights, dtype=np.float32)
    out, given = weights.shape[:2]
    bias = np.zeros(out) if bias is None else bias
    names = [*(f"at{n}" for n in range(len(then))), "out"]
    strides = _ints("strides", [stride, stride])
    graph = _node("Conv", ["in", "w", "b"], names[0], strides)
    for op, given_name, name in zip(then, names, names[1:], strict=False):
        graph += _node(op, [given_name], name)
    graph += _part(2, "tiny") + _array("w", weights) + _array("b", bias)
    graph += _part(11, _tensor("in", ["b", given, *size], 1))
    ends = ["p", "q"] if stride > 1 else list(size)
    ends = [] if "Flatten" in then else ends
    graph += _part(12, _tensor("out", ["b", out, *ends], 1))
    return _int(1, 8) + _part(7, graph) + _part(8, _int(2, 17))


def identity(channels):
    """As many channels out as in."""
    return np.eye(channels)[:, :, None, None]


def package(path, weights, decoder, *, channels=1, out=1, order="bcyx", **more):
    """Folder of a 0.5 package; `more` goes to ``config.smartscope``.

    ``grid`` is the output's, ``size`` a fixed side or ``{y: , x: }``, ``vector`` an
    output without space.
    """
    grid, size = more.pop("grid", 1), more.pop("size", None)
    vector = more.pop("vector", False)
    kinds = {"b": "batch", "c": "channel", "z": "space", "y": "space", "x": "space"}

    def axes(count, given):
        for name in order if given or not vector else "bc":
            axis = {"type": kinds[name]}
            if name == "c":
                axis["channel_names"] = [f"c{n}" for n in range(count)]
            elif name in "zyx":
                free = {"min": 1, "step": 1}
                fixed = size[name] if isinstance(size, dict) and name != "z" else size
                wanted = fixed or free if name != "z" else free
                follow = {"tensor_id": "raw", "axis_id": name}
                axis |= {"id": name, "size": wanted if given else follow}
                if not given and name != "z" and grid > 1:
                    axis["scale"] = grid
            yield axis

    digest = hashlib.sha256(weights).hexdigest()
    rdf = {
        "format_version": "0.5.4",
        "type": "model",
        "name": path.name,
        "inputs": [{"id": "raw", "axes": list(axes(channels, True))}],
        "outputs": [{"id": "out", "axes": list(axes(out, False))}],
        "weights": {"onnx": {"source": "net.onnx", "sha256": digest}},
        "config": {"smartscope": {"decoder": decoder, **more}},
    }
    text = yaml.safe_dump(rdf).encode()
    folder(path, {"bioimageio.yaml": text, "net.onnx": weights})
    return str(path)


def plain(path, op="Identity", shape=(1, 1, "y", "x")):
    """A bare network of one operator."""
    path.write_bytes(network(op, list(shape)))
    return str(path)
