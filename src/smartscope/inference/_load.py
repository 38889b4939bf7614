"""From a path to a model that runs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smartscope.inference._axes import Axis, Layout
from smartscope.inference._card import Card, Decoder
from smartscope.inference._document import Node, refusal
from smartscope.inference._intake import Intake
from smartscope.inference._model import Model, Tests
from smartscope.inference._operations import operation_of
from smartscope.inference._outcome import Output
from smartscope.inference._package import Package, open_package, read_bytes
from smartscope.inference._protocol import Weights
from smartscope.inference._rdf import Description, open_description, read_weights
from smartscope.inference._rdf_tensor import check_order
from smartscope.inference._weights_onnx import check_onnx
from smartscope.inference._weights_tests import read_test

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def load_model(
    path: str | Path,
    *,
    runtime: str | Mapping[str, Any] = "auto",
    threads: int | None = None,
    axes: str | None = None,
    preprocessing: Sequence[Any] = (),
    postprocessing: Sequence[Any] = (),
    multiple_of: int = 1,
) -> Model:
    """Load a model.

    Nothing is run: `Model.prepare` (or the first `Model.run`) opens the runtime.

    Parameters
    ----------
    path : str or path
        A bioimage.io package of format 0.4 or 0.5 (folder, its description, or zip),
        or an ``.onnx`` file. Nothing is fetched.
    runtime : str or mapping
        ``auto`` takes the fastest runtime here that gives the right output; a name
        takes that one, and refuses if it is not right; ``{remote: host:port, model:
        NAME}`` a server that speaks KServe's protocol.
    threads : int or None
        Threads of the runtime; None is half of the cores.
    axes : str or None
        For an ``.onnx`` file: order of its axes; None is ``bcyx``.
    preprocessing, postprocessing : sequence
        For an ``.onnx`` file: operations as in a package, ``{scale_linear: {gain: 2}}``
        for short; `postprocessing` goes to every output.
    multiple_of : int
        For an ``.onnx`` file: images are padded to multiples of this many pixels.

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
        answers = _Answers(axes, preprocessing, postprocessing, multiple_of)
        return _bare(path, answers, runtime, threads)
    if axes is not None or preprocessing or postprocessing or multiple_of != 1:
        raise refusal(
            "a package states its own axes, sizes and operations",
            file=str(path),
            fix="leave them out, or give the .onnx file alone",
        )
    if path.suffix.lower() == ".czann":
        raise refusal(
            "a ZEISS model has to be imported first",
            file=str(path),
            fix="smartscope models import FILE, then give its name",
        )
    package = open_package(path)
    return _packaged(package, open_description(package), runtime, threads)


def _packaged(
    package: Package,
    description: Description,
    runtime: str | Mapping[str, Any],
    threads: int | None,
) -> Model:
    file = package.name
    weights = read_weights(package, description)
    if weights[0].kind == "onnx":
        _try_to_open(weights[0])
    specs = (*description.inputs, *description.outputs)
    tests = None
    if all(spec.test and package.has(spec.test.text()) for spec in specs):
        tests = _PackageTests(package, description)
    return Model(
        name=description.name,
        file=file,
        weights=weights,
        card=description.card,
        inputs=tuple(
            Intake(spec.name, spec.layout, spec.operations, file)
            for spec in description.inputs
        ),
        outputs=tuple(
            Output(spec.name, spec.layout, spec.operations, file)
            for spec in description.outputs
        ),
        runtime=runtime,
        threads=threads,
        tests=tests,
    )


def _try_to_open(weights: Weights) -> None:
    """Refuse an ONNX file that the reference runtime does not take; runs nothing."""
    from smartscope.inference._ort import OrtRuntime

    OrtRuntime(weights, threads=1).close()


class _PackageTests:
    """Test tensors, read when they are asked for."""

    def __init__(self, package: Package, description: Description) -> None:
        self._package = package
        self._description = description

    def __call__(self) -> Tests:
        package, description = self._package, self._description
        return Tests(
            tuple(read_test(package, spec) for spec in description.inputs),
            tuple(read_test(package, spec) for spec in description.outputs),
        )


@dataclass(frozen=True, slots=True)
class _Answers:
    """What the user says about an ``.onnx`` file."""

    axes: str | None
    preprocessing: Sequence[Any]
    postprocessing: Sequence[Any]
    multiple_of: int


def _bare(
    path: Path,
    answers: _Answers,
    runtime: str | Mapping[str, Any],
    threads: int | None,
) -> Model:
    file = str(path)
    order = "bcyx" if answers.axes is None else answers.axes
    check_order(Node(order, file, "axes"), order)
    content = read_bytes(path)
    facts = check_onnx(content, file)
    digest = hashlib.sha256(content).hexdigest()
    weights = Weights(kind="onnx", content=content, file=file, sha256=digest)
    _try_to_open(weights)
    ranks = [len(port.shape) for port in facts.inputs]
    if ranks != [len(order)]:
        raise refusal(
            f"the network takes {' and '.join(map(str, ranks))} axes, not '{order}'",
            file=file,
            field="axes",
            fix="name them in its order, for example bcyx",
        )
    layout = _found_layout(order, facts.inputs[0].shape, answers.multiple_of)
    plain = Layout(tuple(Axis(letter) for letter in order))
    before, after = (
        tuple(
            operation_of(item, layout.image_order, None)
            for item in Node(list(written), file, key).items()
        )
        for written, key in (
            (answers.preprocessing, "preprocessing"),
            (answers.postprocessing, "postprocessing"),
        )
    )
    return Model(
        name=path.stem,
        file=file,
        weights=(weights,),
        card=Card(decoder=Decoder()),
        inputs=(Intake("input", layout, before, file),),
        outputs=tuple(Output(port.name, plain, after, file) for port in facts.outputs),
        runtime=runtime,
        threads=threads,
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
