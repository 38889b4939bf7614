"""Which runtime a model gets, and whether it is right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.core import ModelError
from smartscope.inference._document import Node, refusal
from smartscope.inference._intake import write_padded
from smartscope.inference._operations import Context

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from smartscope.inference._fold import Folding
    from smartscope.inference._model import Model, Tests
    from smartscope.inference._protocol import Runtime
    from smartscope.inference._verdicts import Verdict

DEFAULT_TOLERANCE = 0.02
"""Largest relative deviation of a runtime, where the package does not say."""


def open_for(
    model: Model, shapes: Sequence[tuple[int, ...]]
) -> tuple[Runtime, Verdict | None]:
    """Open the runtime a model asks for.

    Parameters
    ----------
    model : Model
        Its `wanted`, `threads` and weights decide.
    shapes : sequence of tuple of int
        Shape of each input tensor.

    Returns
    -------
    Runtime
        Ready for these shapes.
    Verdict or None
        None for a server, which is held against the test tensors alone.

    Raises
    ------
    ModelError
        It is not there, refuses the model, or gives something else than the reference.
    """
    from smartscope.inference._choose import choose

    if not isinstance(model.wanted, str):
        return _remote(model, model.wanted), None
    return choose(
        model.weights,
        shapes,
        reference=_reference(model),
        tolerance=tolerance_of(model),
        threads=model.threads,
        candidates=None if model.wanted == "auto" else [model.wanted],
    )


def reopen(model: Model, folding: Folding | None) -> Runtime:
    """Open the chosen runtime again, with or without the processing inside.

    Raises
    ------
    ModelError
        It does not take the model any more, or not with this processing.
    """
    from smartscope.inference._registry import kind_of, open_runtime

    if model.verdict is None:
        raise refusal("no runtime was chosen yet", file=model.file)
    name = model.verdict.chosen
    kind = kind_of(name)
    if folding is None or kind.folded is None:
        return open_runtime(name, model.weights, threads=model.threads)
    weights = next(w for w in model.weights if kind.takes(w))
    return kind.folded(weights, model.threads, folding)


def tolerance_of(model: Model) -> float:
    """Largest relative deviation a runtime may have."""
    stated = model.card.tolerance
    return DEFAULT_TOLERANCE if stated is None else stated


def _reference(
    model: Model,
) -> tuple[list[NDArray[Any]], list[NDArray[Any]] | None] | None:
    """Test input as the network reads it, and its output where it is the network's."""
    if model.tests is None:
        return None
    tests = model.tests()
    outputs = None
    if not any(output.operations for output in model.outputs):
        outputs = list(tests.outputs)
    return network_inputs(model, tests), outputs


def network_inputs(model: Model, tests: Tests) -> list[NDArray[Any]]:
    """Test inputs after pre-processing, in the network's own layout."""
    tensors = []
    for intake, given in zip(model.inputs, tests.inputs, strict=True):
        try:
            planes = intake.layout.as_image(given)
        except ValueError as error:
            raise refusal(f"a test tensor has {error}", file=model.file) from error
        tensor = np.empty(given.shape, dtype=np.float32)
        corner = dict.fromkeys("zyx", 0)
        write_padded(intake.scaled(planes), corner, intake.layout.as_image(tensor))
        tensors.append(tensor)
    return tensors


def _remote(model: Model, wanted: Mapping[str, Any]) -> Runtime:
    from smartscope.inference._remote import RemoteRuntime

    node = Node(dict(wanted), model.file, "runtime")
    node.only("remote", "model", "version", "timeout_s", "certificate")
    more: dict[str, Any] = {}
    if node.get("timeout_s"):
        more["timeout_s"] = node.get("timeout_s").number()
    if node.get("certificate"):
        more["certificate"] = node.get("certificate").text()
    version = node.get("version")
    runtime: Runtime = RemoteRuntime(
        node.get("remote").text(),
        node.get("model").text() if node.get("model") else model.name,
        version=str(version.value) if version else "",
        file=model.file,
        **more,
    )
    if model.tests is not None:
        try:
            _check_remote(model, runtime, model.tests())
        except ModelError:
            runtime.close()
            raise
    return runtime


def _check_remote(model: Model, runtime: Runtime, tests: Tests) -> None:
    worst, allowed = agreement(model, runtime, tests).relative, tolerance_of(model)
    if worst is None or worst > allowed:
        found = "other shapes" if worst is None else f"deviates by {worst:.3g}"
        raise refusal(
            f"{runtime.name} does not give the model's test output ({found}, "
            f"{allowed:g} is allowed)",
            file=model.file,
            fix="serve the same model and version there",
        )


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far a runtime is from the test outputs of a package.

    Attributes
    ----------
    relative : float or None
        Largest RMS deviation over the contrast of the expected output; None where
        shapes or finiteness differ.
    absolute : float
        Largest deviation of any value; NaN where `relative` is None.
    """

    relative: float | None
    absolute: float


def agreement(model: Model, runtime: Runtime, tests: Tests) -> Agreement:
    """Run the test tensors of a package through a runtime.

    The tensors are given as they are: nothing is padded or cut.

    Raises
    ------
    ModelError
        The test tensors do not fit the model, or the runtime fails on them.
    """
    from smartscope.inference._choose import deviation

    tensors = network_inputs(model, tests)
    arrays = runtime.prepare([tensor.shape for tensor in tensors])
    for array, tensor in zip(arrays, tensors, strict=True):
        array[...] = tensor
    inputs = {
        intake.name: intake.layout.as_image(given)
        for intake, given in zip(model.inputs, tests.inputs, strict=True)
    }
    found, wanted = [], []
    for output, tensor, expected in zip(
        model.outputs, runtime.run(), tests.outputs, strict=False
    ):
        try:
            image = output.layout.as_image(tensor)
            wanted.append(output.layout.as_image(expected).astype(np.float32))
        except ValueError as error:
            raise refusal(f"a test tensor has {error}", file=model.file) from error
        found.append(output.finish(image, Context(inputs)))
    relative = deviation(found, wanted)
    if relative is None:
        return Agreement(None, float("nan"))
    worst = max(float(np.abs(f - w).max()) for f, w in zip(found, wanted, strict=True))
    return Agreement(relative, worst)
