"""From a path to a model that runs."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.inference._axes import Axis, Layout
from smartscope.inference._document import Node, refusal
from smartscope.inference._model import Decoder, Model, Output
from smartscope.inference._operations import operation_of
from smartscope.inference._package import Package, open_package, read_bytes
from smartscope.inference._rdf import Description, check_order, read_description
from smartscope.inference._runtime import OnnxRuntime

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def load_model(
    path: str | Path,
    *,
    axes: str | None = None,
    preprocessing: Sequence[Any] = (),
    postprocessing: Sequence[Any] = (),
    multiple_of: int = 1,
    threads: int | None = None,
) -> Model:
    """Load a model.

    Parameters
    ----------
    path : str or path
        A bioimage.io package of format 0.4 or 0.5 with ONNX weights (folder, its
        description, or zip), or an ``.onnx`` file. Nothing is fetched.
    axes : str or None
        For an ``.onnx`` file: order of its axes; None is ``bcyx``.
    preprocessing, postprocessing : sequence
        For an ``.onnx`` file: operations as in a package, ``{scale_linear: {gain: 2}}``
        for short; `postprocessing` goes to every output.
    multiple_of : int
        For an ``.onnx`` file: images are padded to multiples of this many pixels.
    threads : int or None
        Threads of the runtime; None is half of the cores.

    Returns
    -------
    Model

    Raises
    ------
    ModelError
        One sentence: which file, which field, what to do.
    """
    path = Path(path)
    if path.suffix.lower() == ".onnx":
        return _bare(path, axes, preprocessing, postprocessing, multiple_of, threads)
    if axes is not None or preprocessing or postprocessing or multiple_of != 1:
        raise refusal(
            "a package states its own axes, sizes and operations",
            file=str(path),
            fix="leave them out, or give the .onnx file alone",
        )
    package = open_package(path)
    where = f"{package.name}/{package.description}"
    text = package.read(Path(package.description).name, "")
    description = read_description(Node.parse(text, where))
    return _packaged(package, description, threads)


def _packaged(package: Package, description: Description, threads: int | None) -> Model:
    source = description.weights
    weights = package.read(source.text(), source.field)
    sha256 = hashlib.sha256(weights).hexdigest()
    if description.sha256 not in ("", sha256):
        raise source.refuse(
            f"'{source.text()}' is not the file described here (its SHA-256 differs)",
            "fetch the package again",
        )
    runtime = OnnxRuntime(
        weights, file=f"{package.name}/{source.text()}", threads=threads
    )
    outputs = description.outputs
    ranks = tuple(len(output.layout.axes) for output in outputs)
    # Where an exporter does not state a shape its rank is 0.
    known = tuple(map(bool, runtime.output_ranks))
    if tuple(r * k for r, k in zip(ranks, known, strict=False)) != runtime.output_ranks:
        raise source.refuse(
            f"the network has outputs of {runtime.output_ranks} axes, the "
            f"description of {ranks}",
            "correct the description",
        )
    layout = description.input.layout
    _check_input(layout, runtime, source)
    tests = None
    if description.input.test and all(output.test for output in outputs):
        tests = _Tests(package, description)
    return Model(
        name=description.name,
        file=package.name,
        sha256=sha256,
        runtime=runtime,
        decoder=_checked(description.decoder, len(outputs), source),
        layout=layout,
        preprocessing=description.input.operations,
        outputs=tuple(Output(o.layout, o.operations) for o in outputs),
        tests=tests,
    )


def _check_input(layout: Layout, runtime: OnnxRuntime, source: Node) -> None:
    """Refuse a description that the network contradicts."""
    shape = runtime.input_shape
    fits = len(shape) == len(layout.axes) and all(
        size is None or axis.name == "b" or axis.fixed == size
        for size, axis in zip(shape, layout.axes, strict=True)
    )
    if not fits:
        shown = " x ".join(str(size or "any") for size in shape)
        raise source.refuse(
            f"the network takes {shown}, the description says otherwise "
            f"(axes '{layout.order}')",
            "correct the sizes in the description",
        )


def _checked(decoder: Decoder, outputs: int, source: Node) -> Decoder:
    if decoder.output >= outputs:
        raise Node(None, source.file, "config.smartscope.decoder.output").refuse(
            f"there is no output {decoder.output}", f"the model has {outputs}"
        )
    return decoder


class _Tests:
    """Test tensors, read when they are asked for."""

    def __init__(self, package: Package, description: Description) -> None:
        self._package = package
        self._input = description.input.test
        self._outputs = [output.test for output in description.outputs]

    def __call__(self) -> tuple[NDArray[Any], list[NDArray[Any]]]:
        return self._read(self._input), [self._read(node) for node in self._outputs]

    def _read(self, node: Node) -> NDArray[Any]:
        content = self._package.read(node.text(), node.field)
        try:
            array = np.load(io.BytesIO(content), allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise node.refuse(f"is no NumPy array ({error})") from error
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "buif":
            raise node.refuse("holds no single array of numbers")
        return array


def _bare(
    path: Path,
    axes: str | None,
    preprocessing: Sequence[Any],
    postprocessing: Sequence[Any],
    multiple_of: int,
    threads: int | None,
) -> Model:
    file = str(path)
    order = "bcyx" if axes is None else axes
    check_order(Node(order, file, "axes"), order)
    before = Node(list(preprocessing), file, "preprocessing")
    after = Node(list(postprocessing), file, "postprocessing")
    first = tuple(operation_of(item) for item in before.items())
    last = tuple(operation_of(item) for item in after.items())
    weights = read_bytes(path)
    runtime = OnnxRuntime(weights, file=file, threads=threads)
    shape = runtime.input_shape
    if len(shape) != len(order):
        raise refusal(
            f"the network takes {len(shape)} axes, not '{order}'",
            file=file,
            field="axes",
            fix="name them in its order, for example bcyx",
        )
    layout = _found_layout(order, shape, multiple_of)
    plain = Layout(tuple(Axis(letter) for letter in order))
    return Model(
        name=path.stem,
        file=file,
        sha256=hashlib.sha256(weights).hexdigest(),
        runtime=runtime,
        decoder=Decoder(),
        layout=layout,
        preprocessing=first,
        outputs=tuple(Output(plain, last) for _ in runtime.output_ranks),
    )


def _found_layout(
    order: str, shape: tuple[int | None, ...], multiple_of: int
) -> Layout:
    """Layout of a network that only its own input shape describes."""
    axes = []
    for name, size in zip(order, shape, strict=True):
        if size is not None:
            axes.append(Axis(name, size))
        elif name in "yx":
            axes.append(Axis(name, multiple_of, multiple_of))
        else:
            axes.append(Axis(name))
    return Layout(tuple(axes))
