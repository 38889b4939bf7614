"""Which runtime runs a model fastest and right on this machine."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.core import ModelError
from smartscope.inference._document import refusal
from smartscope.inference._registry import RUNTIMES, kind_of, open_runtime, why_not
from smartscope.inference._runtime import default_threads
from smartscope.inference._verdicts import (
    Status,
    Trial,
    Verdict,
    cache_folder,
    read_verdict,
    verdict_key,
    write_verdict,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from smartscope.inference._protocol import Port, Runtime, Weights

Tensors = Sequence["NDArray[Any]"]

_ROUNDS = 30
_LEAST_ROUNDS = 5
_HOPELESS = 2.5
"""Who is this many times slower than the best after the least rounds runs no more."""


def choose(
    weights: Sequence[Weights],
    shapes: Sequence[tuple[int, ...]],
    *,
    reference: tuple[Tensors, Tensors | None] | None = None,
    tolerance: float,
    threads: int | None = None,
    cache: Path | None = None,
    candidates: Sequence[str] | None = None,
    budget_s: float = 5.0,
) -> tuple[Runtime, Verdict]:
    """Pick the fastest runtime that gives the right output.

    Each runtime of this machine runs the model in the real shapes. Its output is held
    against the reference; those that agree are timed in turns, so that whatever else
    the machine does hits all of them, and the smallest median wins. The verdict is
    kept; found again, it costs one run and one comparison.

    Parameters
    ----------
    weights : sequence of Weights
        The model's networks, all for the same inputs and outputs.
    shapes : sequence of tuple of int
        Shape of each input tensor.
    reference : tuple or None
        Input tensors as the network takes them, and the outputs it should give or
        None. Where the inputs have other shapes than `shapes` they are continued by
        reflection. None is a synthetic image. Outputs that are not given for these
        very shapes come from ONNX Runtime in float32 (torch where there is no ONNX);
        that one must itself reproduce what was given.
    tolerance : float
        Largest `deviation` allowed.
    threads : int or None
        Threads of each runtime; None is half of the cores.
    cache : path or None
        Folder for verdicts; None is `cache_folder`.
    candidates : sequence of str or None
        Names of runtimes to try; None is all that fit, without those that only make
        sense when asked for (torch on the CPU beside ONNX weights,
        ``torch-compiled``, remote ones).
    budget_s : float
        Seconds for timing; compiling comes on top.

    Returns
    -------
    Runtime
        Prepared for `shapes`; its input arrays hold the reference input.
    Verdict

    Raises
    ------
    ModelError
        No runtime here runs the model right, or the reference itself fails.
    """
    names = _names(weights, candidates)
    count = default_threads() if threads is None else max(1, threads)
    sizes = tuple(tuple(shape) for shape in shapes)
    folder = cache_folder() if cache is None else cache
    key = verdict_key(
        weights, sizes, threads=count, tolerance=tolerance, candidates=candidates
    )
    contest = _Contest(weights, sizes, count, tolerance, reference)
    notes: list[str] = []
    known = read_verdict(folder, key)
    if known is not None and known.chosen in names:
        trial = contest.enter(known.chosen)
        if trial.status == "slower":
            return contest.hand_over(known.chosen), known
        notes.append(
            f"{known.chosen} was chosen earlier and is not used any more: "
            f"{trial.reason}; the choice was made anew"
        )
        contest.close()
    verdict = contest.decide(names, budget_s, key, notes)
    unkept = write_verdict(folder, verdict)
    if unkept:
        verdict = replace(verdict, notes=(*verdict.notes, unkept))
    return contest.hand_over(verdict.chosen), verdict


def _names(
    weights: Sequence[Weights], candidates: Sequence[str] | None
) -> dict[str, str | None]:
    """Runtimes to try, with the reason for those that are not there."""
    if candidates is not None:
        return {name: why_not(name, weights) for name in candidates}
    onnx = any(w.kind == "onnx" for w in weights)

    def sensible(name: str) -> bool:
        kind = kind_of(name)
        # Importing torch takes a second and 200 MB, which only a card is worth.
        wasteful = onnx and kind.module == "torch" and not kind.card
        return kind.auto and not wasteful and any(kind.takes(w) for w in weights)

    return {name: why_not(name, weights) for name in RUNTIMES if sensible(name)}


@dataclass(frozen=True, slots=True)
class _Truth:
    inputs: Tensors
    outputs: Tensors
    label: str


class _Contest:
    """Runtimes opened side by side for one model and one size."""

    def __init__(
        self,
        weights: Sequence[Weights],
        shapes: tuple[tuple[int, ...], ...],
        threads: int,
        tolerance: float,
        reference: tuple[Tensors, Tensors | None] | None,
    ) -> None:
        self._weights = weights
        self._shapes = shapes
        self._threads = threads
        self._tolerance = tolerance
        self._open: dict[str, Runtime] = {}
        self._truth = self._find_truth(reference)

    def _find_truth(self, reference: tuple[Tensors, Tensors | None] | None) -> _Truth:
        inputs, outputs = reference or (None, None)
        same = inputs is not None and tuple(a.shape for a in inputs) == self._shapes
        if inputs is not None and outputs is not None and same:
            return _Truth(inputs, outputs, "the test output of the model")
        name = self._plainest()
        runtime = open_runtime(name, self._weights, threads=self._threads)
        self._open[name] = runtime
        label = runtime.name
        if inputs is None:
            inputs = _synthetic(runtime.inputs, self._shapes)
            label += " on a synthetic image"
        elif not same:
            if outputs is not None:
                self._check_reference(runtime, inputs, outputs)
            inputs = _continued(inputs, self._shapes, self._weights[0].file)
            label += " on the test input, continued to this size"
        found = [np.array(out) for out in _run_on(runtime, inputs)]
        if deviation(found, found) is None:
            raise refusal(
                f"the network gives values that are not finite in {runtime.name}",
                file=self._weights[0].file,
                fix="the model is damaged or was exported wrongly; fetch it again",
            )
        return _Truth(inputs, found, label)

    def _plainest(self) -> str:
        """The runtime that is believed where the model brings no output itself."""
        for name in ("onnxruntime", "torch", "onnxruntime-int8"):
            if any(kind_of(name).takes(w) for w in self._weights):
                return name
        file = self._weights[0].file if self._weights else ""
        raise refusal("no runtime takes these weights", file=file, fix="export ONNX")

    def _check_reference(
        self, runtime: Runtime, inputs: Tensors, outputs: Tensors
    ) -> None:
        error = deviation(_run_on(runtime, inputs), outputs)
        if error is None or error > self._tolerance:
            raise refusal(
                f"{runtime.name} does not reproduce the model's own test output "
                f"({_off(error)}, {self._tolerance:.3g} is allowed)",
                file=self._weights[0].file,
                fix="check it with: smartscope models check",
            )

    def enter(self, name: str) -> Trial:
        """Open, run and compare; ``slower`` stands for one that agrees."""
        weights = kind_of(name).pick(self._weights)
        try:
            if name not in self._open:
                self._open[name] = open_runtime(
                    name, self._weights, threads=self._threads
                )
            runtime = self._open[name]
            error = deviation(_run_on(runtime, self._truth.inputs), self._truth.outputs)
        except ModelError as failure:
            self.close(name)
            return Trial(name, "failed", str(failure), file=weights.file)
        status: Status = "slower"
        reason = "agrees"
        if error is None or error > self._tolerance:
            self.close(name)
            status = "disagrees"
            reason = (
                f"{_off(error)} from {self._truth.label}, "
                f"{self._tolerance:.3g} is allowed"
            )
        return Trial(
            name,
            status,
            reason,
            runtime=runtime.name,
            precision=runtime.precision,
            file=weights.file,
            error=error,
        )

    def decide(
        self,
        names: Mapping[str, str | None],
        budget_s: float,
        key: str,
        notes: Sequence[str],
    ) -> Verdict:
        """Let all of them run, and close all but the winner."""
        trials = {
            name: self.enter(name) if reason is None else Trial(name, "absent", reason)
            for name, reason in names.items()
        }
        agreeing = [n for n, trial in trials.items() if trial.status == "slower"]
        times, failures = self._race(agreeing, budget_s)
        for name, failure in failures.items():
            self.close(name)
            trials[name] = replace(trials[name], status="failed", reason=failure)
        if not times:
            self.close()
            raise self._nobody(list(trials.values()))
        best = min(times, key=lambda name: times[name][0])
        for name, (median_ms, p95_ms) in times.items():
            ratio = median_ms / times[best][0]
            trials[name] = replace(
                trials[name],
                status="chosen" if name == best else "slower",
                reason=f"{ratio:.2f} times the time of {best}"
                if name != best
                else "the fastest of those that agree",
                median_ms=median_ms,
                p95_ms=p95_ms,
            )
        return Verdict(
            chosen=best,
            shapes=self._shapes,
            threads=self._threads,
            tolerance=self._tolerance,
            reference=self._truth.label,
            trials=tuple(trials.values()),
            key=key,
            notes=tuple(notes),
        )

    def _race(
        self, names: Sequence[str], budget_s: float
    ) -> tuple[dict[str, tuple[float, float]], dict[str, str]]:
        """Time in turns: median and 95th percentile in ms, and what failed."""
        times: dict[str, list[float]] = {name: [] for name in names}
        failures: dict[str, str] = {}
        running = list(names)
        until = time.perf_counter() + budget_s
        for done in range(_ROUNDS):
            if done >= _LEAST_ROUNDS:
                # Alone, it has nobody to be faster than.
                if len(names) == 1 or time.perf_counter() > until:
                    break
                limit = _HOPELESS * min(min(times[name]) for name in running)
                running = [name for name in running if min(times[name]) <= limit]
            for name in list(running):
                began = time.perf_counter()
                try:
                    self._open[name].run()
                except ModelError as failure:
                    failures[name] = str(failure)
                    running.remove(name)
                    continue
                times[name].append((time.perf_counter() - began) * 1e3)
            if not running:
                break
        percentiles = {
            name: (float(np.median(taken)), float(np.percentile(taken, 95)))
            for name, taken in times.items()
            if name not in failures
        }
        return percentiles, failures

    def _nobody(self, trials: Sequence[Trial]) -> ModelError:
        here = [trial for trial in trials if trial.status != "absent"] or trials
        told = "; ".join(f"{trial.name}: {trial.reason}" for trial in here)
        return refusal(
            f"no runtime here runs the model right ({told or 'none fits it'})",
            file=self._weights[0].file,
            fix="check it with: smartscope models check",
        )

    def hand_over(self, name: str) -> Runtime:
        """Give away one runtime and close the others."""
        runtime = self._open.pop(name)
        self.close()
        return runtime

    def close(self, name: str | None = None) -> None:
        """Close one runtime, or all."""
        for each in [name] if name is not None else list(self._open):
            runtime = self._open.pop(each, None)
            if runtime is not None:
                runtime.close()


def _run_on(runtime: Runtime, inputs: Tensors) -> tuple[NDArray[Any], ...]:
    arrays = runtime.prepare([tensor.shape for tensor in inputs])
    for array, tensor in zip(arrays, inputs, strict=True):
        np.copyto(array, tensor, casting="unsafe")
    return runtime.run()


def _off(error: float | None) -> str:
    if error is None:
        return (
            "its output has other shapes or values that are not finite, which differs"
        )
    return f"its output deviates by {error:.3g}"


def deviation(
    found: Sequence[NDArray[Any]], expected: Sequence[NDArray[Any]]
) -> float | None:
    """Largest relative deviation of outputs from a reference.

    RMS of the difference over RMS of the reference about its mean, for each output;
    the largest counts. A reference without contrast is compared with its own RMS.

    Returns
    -------
    float or None
        None where there is nothing to compare: another number of outputs, another
        shape, or values that are not finite.
    """
    if [a.shape for a in found] != [b.shape for b in expected]:
        return None
    worst = 0.0
    for one, other in zip(found, expected, strict=True):
        if one.size == 0:
            continue
        # Infinite values are found below; NumPy need not warn of them.
        with np.errstate(all="ignore"):
            truth = np.asarray(other, np.float64)
            off = _rms(np.asarray(one, np.float64) - truth)
            spread = float(truth.std()) or _rms(truth)
        if not math.isfinite(off) or not math.isfinite(spread):
            return None
        worst = max(worst, off / spread if spread else float(off > 0))
    return worst


def _rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def _continued(
    tensors: Tensors, shapes: Sequence[tuple[int, ...]], file: str
) -> list[NDArray[Any]]:
    """Tensors of other sizes with the same content: the middle, or reflected."""
    if [t.ndim for t in tensors] != [len(shape) for shape in shapes]:
        raise refusal(
            "the test input has other axes than the network",
            file=file,
            fix="correct the test tensors of the package",
        )
    made = []
    for tensor, shape in zip(tensors, shapes, strict=True):
        steps = []
        for old, new in zip(tensor.shape, shape, strict=True):
            # A corner of an image is where there is nothing to see.
            place = (np.arange(new) + max(0, (old - new) // 2)) % (2 * old)
            steps.append(np.where(place < old, place, 2 * old - 1 - place))
        made.append(np.ascontiguousarray(tensor[np.ix_(*steps)]))
    return made


def _synthetic(
    ports: Sequence[Port], shapes: Sequence[tuple[int, ...]]
) -> list[NDArray[Any]]:
    """Spots on uneven ground with noise: mean 0, standard deviation 1; or counts."""
    made = []
    for port, shape in zip(ports, shapes, strict=True):
        random = np.random.default_rng(0)
        image = random.normal(0, 0.3, shape)
        if len(shape) >= 2:
            y, x = np.ogrid[: shape[-2], : shape[-1]]
            image += np.sin(y / 37) * np.cos(x / 53)
            image += 3 * (np.sin(y / 5) * np.sin(x / 5) > 0.7)
        image = (image - image.mean()) / (image.std() or 1)
        kind = np.dtype(port.dtype)
        if kind.kind in "iu":
            top = min(np.iinfo(kind).max, 4095)
            image = np.clip(image * top / 10 + top / 3, 0, top)
        made.append(image.astype(kind))
    return made
