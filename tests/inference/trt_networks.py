"""Small convolutional networks, a host that plays the card, and operations."""

from __future__ import annotations

import ctypes

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from runtime_nets import weights

from smartscope.core import ModelError
from smartscope.inference._document import Node
from smartscope.inference._operations import operation_of

ANY = ("b", 1, "y", "x")


def convolutional(shape=ANY, *, seed=1, width=8, heads=1, opset=17, kind="float32"):
    """ONNX model of a little U-Net: two scales, ReLU, one to three output channels.

    Weights are of the size that keeps the spread of the values.
    """
    rng = np.random.default_rng(seed)
    constants, nodes = [], []

    def constant(name, array):
        constants.append(numpy_helper.from_array(array, name))
        return name

    def conv(name, value, ins, outs, size=3, relu=True):
        scale = np.sqrt(2 / (ins * size * size))
        kernel = rng.normal(0, scale, (outs, ins, size, size)).astype(np.float32)
        bias = rng.normal(0, 0.1, outs).astype(np.float32)
        inputs = [value, constant(f"{name}.w", kernel), constant(f"{name}.b", bias)]
        nodes.append(
            helper.make_node(
                "Conv", inputs, [name], name=f"node_{name}", pads=[size // 2] * 4
            )
        )
        if relu:
            nodes.append(helper.make_node("Relu", [name], [f"{name}.r"]))
        return f"{name}.r" if relu else name

    channels = shape[1] if isinstance(shape[1], int) else 1
    top = conv("c1", "image", channels, width)
    pool = helper.make_node(
        "MaxPool", [top], ["down"], kernel_shape=[2, 2], strides=[2, 2]
    )
    nodes.append(pool)
    deep = conv("c3", conv("c2", "down", width, 2 * width), 2 * width, width)
    double = constant("double", np.array([1, 1, 2, 2], np.float32))
    nodes.append(helper.make_node("Resize", [deep, "", double], ["up"], mode="nearest"))
    nodes.append(helper.make_node("Concat", ["up", top], ["both"], axis=1))
    last = conv("c4", "both", 2 * width, width)
    conv("map", last, width, heads, 1, relu=False)
    end = (*shape[:1], heads, *shape[2:])
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("map", TensorProto.FLOAT, end)],
        constants,
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8
    )


def single(op, *, inputs=1, dtype=TensorProto.FLOAT, constants=(), opset=17, **more):
    """ONNX weights of one node called ``only``."""
    names = [f"in{i}" for i in range(inputs)]
    graph = helper.make_graph(
        [helper.make_node(op, [*names, *(c.name for c in constants)], ["out"], **more)],
        "net",
        [helper.make_tensor_value_info(n, dtype, (1, 1, 8, 8)) for n in names],
        [
            helper.make_tensor_value_info(
                "out", TensorProto.FLOAT, ("d0", "d1", "d2", "d3")
            )
        ],
        list(constants),
    )
    graph.node[0].name = "only"
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8
    )
    return as_weights(model)


def as_weights(model, **more):
    """`Weights` of an ONNX model."""
    return weights(model.SerializeToString(), **more)


def ran(model, *tensors):
    """Outputs of an ONNX model, or its bytes, by ONNX Runtime on the CPU."""
    content = model if isinstance(model, bytes) else model.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        content, options, providers=["CPUExecutionProvider"]
    )
    names = [port.name for port in session.get_inputs()]
    return session.run(None, dict(zip(names, tensors, strict=True)))


def operations(*written, channels=1):
    """Operations as a package writes them."""
    return tuple(
        operation_of(item, "cyx", channels)
        for item in Node(list(written), "net.yaml", "operations").items()
    )


def frame_bytes(frame):
    """Bytes of a frame ``(..., )``, the low one first, as a folded network reads it."""
    plain = np.ascontiguousarray(frame.astype(frame.dtype.newbyteorder("<")))
    return plain.view(np.uint8).reshape(*frame.shape, frame.itemsize)


class HostCard:
    """Plays the card in memory of the host, and notes every call.

    Parameters
    ----------
    fail : str
        Name of the call that fails, at its `at`-th time.
    """

    def __init__(self, fail="", at=1):
        self.calls = []
        self._fail, self._at = fail, at
        self._memory = {}
        self._recording = None
        self.streams = set()
        self.graphs = set()

    def _note(self, name, *more):
        self.calls.append((name, *more))
        count = sum(call[0] == name for call in self.calls)
        if name == self._fail and count == self._at:
            raise ModelError(f"net.onnx: the card failed in {name}; restart")

    @property
    def names(self):
        """Names of all calls in order."""
        return [call[0] for call in self.calls]

    @property
    def held(self):
        """Everything that was taken and not given back."""
        return len(self._memory) + len(self.streams) + len(self.graphs)

    def about(self):
        return "Host, driver for CUDA 0"

    def capability(self):
        return 86

    def _allocate(self, size):
        block = (ctypes.c_ubyte * size)(*([255] * min(size, 64)))
        address = ctypes.addressof(block)
        self._memory[address] = block
        return address

    def allocate(self, size):
        self._note("allocate", size)
        return self._allocate(size)

    def allocate_pinned(self, size):
        self._note("allocate_pinned", size)
        return self._allocate(size)

    def free(self, address):
        del self._memory[address]
        self._note("free")

    def free_pinned(self, address):
        del self._memory[address]
        self._note("free_pinned")

    def open_stream(self):
        self._note("open_stream")
        self.streams.add(7)
        return 7

    def close_stream(self, stream):
        self.streams.remove(stream)
        self._note("close_stream")

    def queue(self, work):
        """Do it, or note it down while recording."""
        if self._recording is None:
            work()
        else:
            self._recording.append(work)

    def _copy(self, to, source, size):
        assert {to, source} <= set(self._memory)
        assert size == len(self._memory[to]) == len(self._memory[source])
        self.queue(lambda: ctypes.memmove(to, source, size))

    def upload(self, to, source, size, stream):
        self._note("upload", size)
        self._copy(to, source, size)

    def download(self, to, source, size, stream):
        self._note("download", size)
        self._copy(to, source, size)

    def record(self, stream):
        self._note("record")
        self._recording = []

    def recorded(self, stream):
        self._note("recorded")
        work, self._recording = self._recording, None
        graph = tuple(work)
        self.graphs.add(graph)
        return graph

    def launch(self, graph, stream):
        self._note("launch")
        for work in graph:
            work()

    def free_graph(self, graph):
        self.graphs.remove(graph)
        self._note("free_graph")

    def wait(self, stream):
        self._note("wait")


class ScriptedContext:
    """Execution context that computes by ONNX Runtime at the addresses it is told."""

    def __init__(self, model, card, *, capturable=True, refuses=""):
        self._content = model.SerializeToString()
        self._card, self._refuses = card, refuses
        self._capturable = capturable
        self._addresses = {}
        self._shapes = {}
        self.calls = card.calls
        self._outputs = [port.name for port in model.graph.output]
        self._inputs = [port.name for port in model.graph.input]

    def _note(self, name, *more):
        self.calls.append((name, *more))
        return name != self._refuses

    def is_stream_capturable(self, stream):
        return self._capturable

    def set_input_shape(self, name, shape):
        self._shapes[name] = tuple(shape)
        return self._note("set_input_shape", name)

    def infer_shapes(self):
        return ["image"] if self._refuses == "infer_shapes" else []

    def get_tensor_shape(self, name):
        zeros = [np.zeros(self._shapes[n], np.float32) for n in self._inputs]
        results = dict(zip(self._outputs, ran(self._content, *zeros), strict=True))
        return (-1,) if self._refuses == "get_tensor_shape" else results[name].shape

    def set_tensor_address(self, name, address):
        self._addresses[name] = address
        return self._note("set_tensor_address", name)

    def execute_async_v3(self, stream):
        self._card.queue(self._compute)
        return self._note("execute_async_v3", stream)

    def _compute(self):
        given = [self._read(name) for name in self._inputs]
        for name, result in zip(self._outputs, ran(self._content, *given), strict=True):
            whole = np.ascontiguousarray(result)
            ctypes.memmove(self._addresses[name], whole.ctypes.data, whole.nbytes)

    def _read(self, name):
        shape = self._shapes[name]
        size = int(np.prod(shape)) * 4
        memory = (ctypes.c_ubyte * size).from_address(self._addresses[name])
        return np.frombuffer(memory, np.float32).reshape(shape).copy()


def onnx_nodes(content, kind):
    """Nodes of a kind in an ONNX file."""
    model = onnx.load_model_from_string(content)
    return [node for node in model.graph.node if node.op_type == kind]
