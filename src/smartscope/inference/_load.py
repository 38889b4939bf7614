"""From a path to a model that runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from smartscope.inference._bare import learn, read_network, read_steps
from smartscope.inference._card import Card, Decoder
from smartscope.inference._document import refusal
from smartscope.inference._intake import Intake
from smartscope.inference._model import Model, Tests
from smartscope.inference._outcome import Output
from smartscope.inference._package import Package, open_package
from smartscope.inference._rdf import Description, open_description, read_weights
from smartscope.inference._weights_tests import read_test

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from smartscope.inference._protocol import Weights
    from smartscope.inference._rdf_tensor import TensorSpec


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

    A package is only read; `Model.prepare` (or the first `Model.run`) opens the
    runtime. An ``.onnx`` file alone is run on two small images, which tell how its
    outputs follow from its input.

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
        answers = {
            "axes": axes,
            "preprocessing": preprocessing,
            "postprocessing": postprocessing,
            "multiple_of": multiple_of,
        }
        return _bare(path, answers, runtime, threads)
    if axes is not None or preprocessing or postprocessing or multiple_of != 1:
        raise refusal(
            "a package states its own axes, sizes and operations",
            file=str(path),
            fix="leave them out, or give the .onnx file alone",
        )
    if path.suffix.lower() in (".czann", ".pt", ".pth"):
        kind = "ZEISS" if path.suffix.lower() == ".czann" else "TorchScript"
        raise refusal(
            f"a {kind} model has to be imported first",
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
    inputs, outputs = description.inputs, description.outputs
    if weights[0].kind == "onnx":
        inputs = _used(inputs, _count_inputs(weights[0]))
    tests = None
    if all(s.test and package.has(s.test.text()) for s in (*inputs, *outputs)):
        tests = _PackageTests(package, inputs, outputs)
    return Model(
        name=description.name,
        file=file,
        weights=weights,
        card=description.card,
        inputs=tuple(
            Intake(spec.name, spec.layout, spec.operations, file, spec.follows)
            for spec in inputs
        ),
        outputs=tuple(
            Output(spec.name, spec.layout, spec.operations, file) for spec in outputs
        ),
        runtime=runtime,
        threads=threads,
        tests=tests,
    )


def _count_inputs(weights: Weights) -> int:
    """Inputs of an ONNX file, which the reference runtime takes; runs nothing.

    Raises
    ------
    ModelError
        It refuses the file.
    """
    from smartscope.inference._ort import OrtRuntime

    runtime = OrtRuntime(weights, threads=1)
    runtime.close()
    return len(runtime.inputs)


def _used(specs: tuple[TensorSpec, ...], count: int) -> tuple[TensorSpec, ...]:
    """Inputs without optional ones that the network does not have."""
    found = list(specs)
    for spec in reversed(specs):
        if len(found) > count and spec.optional:
            found.remove(spec)
    return tuple(found)


class _PackageTests:
    """Test tensors, read when they are asked for."""

    def __init__(
        self,
        package: Package,
        inputs: tuple[TensorSpec, ...],
        outputs: tuple[TensorSpec, ...],
    ) -> None:
        self._package, self._inputs, self._outputs = package, inputs, outputs

    def __call__(self) -> Tests:
        return Tests(
            tuple(read_test(self._package, spec) for spec in self._inputs),
            tuple(read_test(self._package, spec) for spec in self._outputs),
        )


def _bare(
    path: Path,
    answers: Mapping[str, Any],
    runtime: str | Mapping[str, Any],
    threads: int | None,
) -> Model:
    weights, file = read_network(path), str(path)
    order = "bcyx" if answers["axes"] is None else answers["axes"]
    layout, outputs = learn(weights, order, multiple_of=answers["multiple_of"])
    before, after = (
        read_steps(answers[key], order, file, key)
        for key in ("preprocessing", "postprocessing")
    )
    return Model(
        name=path.stem,
        file=file,
        weights=(weights,),
        card=Card(decoder=Decoder()),
        inputs=(Intake("input", layout, before, file),),
        outputs=tuple(Output(name, out, after, file) for name, out in outputs),
        runtime=runtime,
        threads=threads,
    )
