"""Small networks as weights, for the tests of runtimes."""

from __future__ import annotations

import hashlib
import io
import warnings

from tiny_onnx import _int, _part, _tensor, network

from smartscope.inference._protocol import Weights

ANY = ["b", "c", "y", "x"]


def weights(content, *, file="net.onnx", kind="onnx", precision="fp32", **more):
    """`Weights` of some bytes."""
    digest = hashlib.sha256(content).hexdigest()
    return Weights(kind, content, file, digest, precision, **more)


def one(op, shape=ANY, **more):
    """ONNX weights of ``out = op(in0)``."""
    precision = more.pop("precision", "fp32")
    return weights(network(op, shape, **more), precision=precision)


def sum_and_product():
    """ONNX weights of ``total = in0 + in1, product = in0 * in1``."""

    def node(op, out):
        ports = [_part(1, "in0"), _part(1, "in1"), _part(2, out), _part(4, op)]
        return _part(1, b"".join(ports))

    graph = node("Add", "total") + node("Mul", "product") + _part(2, "two")
    graph += b"".join(_part(11, _tensor(name, ANY, 1)) for name in ("in0", "in1"))
    graph += b"".join(_part(12, _tensor(name, ANY, 1)) for name in ("total", "product"))
    return weights(_int(1, 8) + _part(7, graph) + _part(8, _int(2, 17)))


def found_pixels():
    """ONNX bytes of ``out = indices of the pixels above 0``."""
    node = _part(1, "in0") + _part(2, "out") + _part(4, "NonZero")
    graph = _part(1, node) + _part(2, "found") + _part(11, _tensor("in0", ANY, 1))
    graph += _part(12, _tensor("out", [4, "n"], 7))
    return _int(1, 8) + _part(7, graph) + _part(8, _int(2, 17))


def torchscript(module):
    """TorchScript weights of a module."""
    import torch

    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(module.eval()), stream)
    return weights(stream.getvalue(), file="net.pt", kind="torchscript")


def torch_sum_and_product():
    """TorchScript weights of the same as `sum_and_product`."""
    import torch

    class Two(torch.nn.Module):
        def forward(self, in0: torch.Tensor, in1: torch.Tensor):
            return in0 + in1, in0 * in1

    return torchscript(Two())
