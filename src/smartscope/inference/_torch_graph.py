"""An ONNX file as a network of PyTorch, for those who have no other weights.

The file's operators become calls of torch functions, one after the other, for one size
of image. All that follows from sizes alone (shapes, margins, indices) is computed once
while that is written down, so what is left has no Python of its own between two
functions, asks the card for nothing, and can be recorded as a CUDA graph or compiled.
"""

from __future__ import annotations

import operator
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from smartscope.inference._document import refusal
from smartscope.inference._onnx_nodes import BFLOAT16, Node, Tensor, read_network
from smartscope.inference._runtime import not_loaded
from smartscope.inference._torch_layers import LAYERS
from smartscope.inference._torch_operators import OPERATORS
from smartscope.inference._torch_resize import RESIZERS
from smartscope.inference._torch_shapes import SHAPES
from smartscope.inference._weights_onnx import DTYPES, check_onnx

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import torch

    from smartscope.inference._protocol import Weights

_HANDLERS: Mapping[str, Callable[..., Any]] = {
    **OPERATORS,
    **SHAPES,
    **LAYERS,
    **RESIZERS,
}
# Functions that make a tensor of their own, which nobody else reads.
_FRESH = ("conv1d", "conv2d", "conv3d", "batch_norm", "add", "sub", "mul")


class OnnxGraph:
    """The network of an ONNX file, from which `at` makes PyTorch modules.

    Parameters
    ----------
    weights : Weights
        An ONNX file.

    Attributes
    ----------
    inputs, outputs : tuple of Port
        As the file states them.

    Raises
    ------
    ModelError
        It is damaged, or has an operator that is not known here.
    """

    def __init__(self, weights: Weights) -> None:
        import torch

        self._torch = torch
        self._file = weights.file
        title = f"torch {torch.__version__.partition('+')[0]}"
        try:
            facts = check_onnx(weights.content, weights.file)
            network = read_network(weights.content)
        except (ValueError, IndexError) as error:
            raise not_loaded(title, weights.file, error) from error
        self.inputs, self.outputs = facts.inputs, facts.outputs
        self._opset = facts.opset
        self._nodes = network.nodes
        for port in self.inputs:
            if not port.dtype:
                raise unsupported(self._file, f"the type of the input '{port.name}'")
        for node in self._nodes:
            if node.operator not in _HANDLERS:
                raise unsupported(self._file, f"the operator '{node.operator}'")
        self._weights = {
            name: _to_torch(torch, tensor) for name, tensor in network.weights.items()
        }
        self._placed: dict[tuple[str, str], torch.Tensor] = {}

    def at(self, images: Sequence[torch.Tensor]) -> torch.fx.GraphModule:
        """Make the module for one size, by running the network once.

        Parameters
        ----------
        images : sequence of torch.Tensor
            Inputs of this size, on the device where the network is to run; their
            content does not matter.

        Returns
        -------
        torch.fx.GraphModule
            Takes the inputs and gives a tuple of the outputs; the weights are its
            buffers. Modules of several sizes share them.

        Raises
        ------
        ModelError
            An operator does here what is not supported, or what depends on the content
            of the image.
        RuntimeError, ValueError, IndexError
            The network does not take this size.
        """
        device = images[0].device
        trace = Trace(
            self._torch, self._file, self._opset, partial(self._place, device=device)
        )
        known = {
            name: Value(tensor, known=True, name=name)
            for name, tensor in self._weights.items()
        }
        for port, image in zip(self.inputs, images, strict=True):
            known[port.name] = trace.image(image)
        last = {name: at for at, n in enumerate(self._nodes) for name in n.inputs}
        kept = {port.name for port in self.outputs}
        with self._torch.no_grad():
            for at, node in enumerate(self._nodes):
                trace.add(node, known)
                for name in {*node.inputs, *node.outputs} - kept:
                    # Its memory is needed for the next ones.
                    if last.get(name, at) <= at:
                        known.pop(name, None)
        outputs = [trace.found(port.name, known) for port in self.outputs]
        module: torch.fx.GraphModule = trace.finish(outputs)
        return module

    def _place(self, value: Value, device: torch.device) -> torch.Tensor:
        """Bring a constant to a device; those of the file stay for other sizes."""
        key = value.name, str(device)
        if value.name and key in self._placed:
            return self._placed[key]
        # A module may outlive the mode in which it is made.
        with self._torch.inference_mode(False):
            placed = value.tensor.to(device)
            if placed.ndim == 4:
                last = self._torch.channels_last
                placed = placed.contiguous(memory_format=last)
        if value.name:
            self._placed[key] = placed
        return placed


def unsupported(file: str, what: str) -> Exception:
    """Error for what an ONNX file has and this cannot do in PyTorch."""
    return refusal(
        f"{what} is not supported in PyTorch",
        file=file,
        fix="use runtime 'onnxruntime'",
    )


def _to_torch(torch: Any, tensor: Tensor) -> Any:
    made = torch.from_numpy(tensor.values)
    return made.view(torch.bfloat16) if tensor.kind == BFLOAT16 else made


class Value:
    """A tensor while the network is written down.

    Attributes
    ----------
    tensor : torch.Tensor
        Its numbers: where they are `known` on the CPU, otherwise those of this image,
        of which only shape and type may be looked at.
    known : bool
        It does not depend on the image.
    name : str
        Of weights in the file.
    """

    __slots__ = ("known", "name", "node", "placed", "tensor")

    def __init__(
        self, tensor: torch.Tensor, *, known: bool, name: str = "", node: Any = None
    ) -> None:
        self.tensor = tensor
        self.known = known
        self.name = name
        self.node = node
        self.placed: torch.Tensor | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of each axis."""
        return tuple(self.tensor.shape)

    @property
    def rank(self) -> int:
        """Number of axes."""
        return self.tensor.ndim


class Trace:
    """Writes a network down: what operators ask for, and what they are asked.

    ``trace(name, *values)`` calls the torch function of this name: at once where all
    values are known, otherwise whenever the network runs. ``F.`` stands for
    ``torch.nn.functional``.

    Attributes
    ----------
    torch : module
    opset : int
        Version of the operators.
    """

    def __init__(
        self,
        torch: Any,
        file: str,
        opset: int,
        place: Callable[[Value], torch.Tensor],
    ) -> None:
        self.torch = torch
        self.opset = opset
        self._file = file
        self._place = place
        self._graph = torch.fx.Graph()
        self._held: dict[str, torch.Tensor] = {}
        self._node: Node = Node("", (), ())
        self._unread: set[str] = set()

    # -- for `OnnxGraph` --------------------------------------------------------------

    def image(self, tensor: torch.Tensor) -> Value:
        """Declare the next input."""
        node = self._graph.placeholder(f"image{len(self._graph.nodes)}")
        return Value(tensor, known=False, node=node)

    def add(self, node: Node, known: dict[str, Value]) -> None:
        """Write one operator down; its outputs come into `known`."""
        self._node = node
        self._unread = set(node.attributes)
        inputs = [self.found(name, known) if name else None for name in node.inputs]
        made = _HANDLERS[node.operator](self, *inputs)
        if self._unread:
            self.refuse(f"with '{min(self._unread)}'")
        outputs = made if isinstance(made, tuple) else (made,)
        wanted = [name for name in node.outputs if name]
        if len(wanted) > len(outputs):
            self.refuse("with more than one output")
        known.update(zip(node.outputs, outputs, strict=False))

    def found(self, name: str, known: Mapping[str, Value]) -> Value:
        """Look up a tensor by its name."""
        if name not in known:
            raise refusal(
                f"the network reads '{name}', which nothing in it gives",
                file=self._file,
                fix="export it again",
            )
        return known[name]

    def finish(self, outputs: Sequence[Value]) -> Any:
        """Make the module."""
        self._graph.output(tuple(self._fx(value) for value in outputs))
        self._graph.eliminate_dead_code()
        _reuse_memory(self.torch, self._graph)
        return self.torch.fx.GraphModule(self._held, self._graph)

    # -- for operators ----------------------------------------------------------------

    @property
    def outputs(self) -> int:
        """Number of outputs of the operator."""
        return len(self._node.outputs)

    def __call__(self, name: str, *args: Any, **more: Any) -> Value:
        function = self._function(name)
        if all(value.known for value in _values((args, more))):
            tensor = function(*_swap(args, _real), **_swap(more, _real))
            return Value(tensor, known=True)
        node = self._graph.call_function(
            function, _swap(args, self._fx), _swap(more, self._fx)
        )
        tensor = function(*_swap(args, _here), **_swap(more, _here))
        return Value(tensor, known=False, node=node)

    def _function(self, name: str) -> Callable[..., Any]:
        if name == "getitem":
            return operator.getitem
        place: Any = self.torch
        for prefix, module in (
            ("F.", self.torch.nn.functional),
            ("Tensor.", self.torch.Tensor),
        ):
            if name.startswith(prefix):
                place = module
        found: Callable[..., Any] = getattr(place, name.rpartition(".")[2])
        return found

    def _fx(self, value: Value) -> Any:
        """The node of a value; a constant becomes a buffer."""
        if value.node is None:
            target = f"constant{len(self._held)}"
            value.placed = self._held[target] = self._place(value)
            value.node = self._graph.get_attr(target)
        return value.node

    def attribute(self, name: str, default: Any = None) -> Any:
        """Attribute of the operator; each has to be asked for."""
        self._unread.discard(name)
        found = self._node.attributes.get(name, default)
        if found is None and name in self._node.attributes:
            self.refuse(f"with this '{name}'")
        return found

    def only(self, name: str, *allowed: Any) -> None:
        """Refuse an attribute that is none of these; the first is the default."""
        found = self.attribute(name, allowed[0])
        if found not in allowed:
            self.refuse(f"with '{name}' {found}")

    def constant(self, values: Any) -> Value:
        """A tensor, array, list or number that does not depend on the image."""
        torch = self.torch
        if isinstance(values, Tensor):
            return Value(_to_torch(torch, values), known=True)
        if isinstance(values, np.ndarray):
            values = torch.from_numpy(np.ascontiguousarray(values))
        return Value(torch.as_tensor(values), known=True)

    def numbers(self, value: Value, what: str) -> list[Any]:
        """Numbers that must not depend on the image, as those of Python."""
        if not value.known:
            self.refuse(f"whose {what} depend on the image")
        found: list[Any] = value.tensor.reshape(-1).tolist()
        return found

    def dtype(self, kind: int) -> torch.dtype:
        """Type of torch for one of ONNX."""
        if kind not in DTYPES:
            self.refuse(f"to numbers of kind {kind}")
        found: torch.dtype = getattr(self.torch, DTYPES[kind])
        return found

    def axis(self, axis: int, rank: int) -> int:
        """Number of an axis, counted from the first."""
        if not -rank <= axis < max(rank, 1):
            self.refuse(f"along axis {axis} of {rank}")
        return axis + rank if axis < 0 else axis

    def refuse(self, problem: str) -> NoReturn:
        """Raise that the operator cannot do this."""
        node = self._node
        name = f" ('{node.name}')" if node.name else ""
        raise unsupported(self._file, f"the operator '{node.operator}'{name} {problem}")


def _values(tree: Any) -> list[Value]:
    if isinstance(tree, Value):
        return [tree]
    if isinstance(tree, dict):
        tree = tuple(tree.values())
    if isinstance(tree, tuple | list):
        return [value for part in tree for value in _values(part)]
    return []


def _swap(tree: Any, change: Callable[[Value], Any]) -> Any:
    """The same arguments with something else in place of each value."""
    if isinstance(tree, Value):
        return change(tree)
    if isinstance(tree, dict):
        return {key: _swap(part, change) for key, part in tree.items()}
    if isinstance(tree, tuple | list):
        return type(tree)(_swap(part, change) for part in tree)
    return tree


def _real(value: Value) -> Any:
    return value.tensor


def _here(value: Value) -> Any:
    return value.tensor if value.placed is None else value.placed


def _reuse_memory(torch: Any, graph: Any) -> None:
    """Let a rectifier write over what only it reads: one pass over memory less."""
    for node in graph.nodes:
        if node.op != "call_function" or node.target is not torch.relu:
            continue
        (source,) = node.args
        name = getattr(source.target, "__name__", "")
        if source.op == "call_function" and name in _FRESH and len(source.users) == 1:
            node.target = torch.relu_
