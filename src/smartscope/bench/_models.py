"""Times models beside the bare call of the runtime's own library."""

from __future__ import annotations

import contextlib
import time
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from typing import TYPE_CHECKING, Any

from smartscope.bench._machine import commit, load, machine, versions
from smartscope.bench._models_decode import decoder_call
from smartscope.bench._stats import percentile, summarise
from smartscope.core import ModelError
from smartscope.inference import (
    RUNTIMES,
    available,
    default_threads,
    deviation,
    is_remote,
    load_model,
    plain_call,
    remote_settings,
    synthetic_image,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from smartscope.inference import Model, Port, Runtime

PACKAGES = ("onnxruntime", "openvino", "torch", "tensorrt", "tensorrt-rtx-cu13")
_WARM_UP = 3
_REFERENCES = ("onnxruntime", "torch")


@dataclass(frozen=True, slots=True)
class Subject:
    """A model to measure: its name for people, and its package."""

    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class Row:
    """One model on one runtime with images of one size.

    Attributes
    ----------
    model, runtime : str
    shape : tuple of int
        ``(y, x)`` or ``(z, y, x)`` of the image.
    threads : int
    full_name, precision : str
        As the runtime says.
    tiles : int
        Calls of the network for one image.
    bare_call : str
        What was called in `bare_ms`.
    bare_ms, whole_ms, decode_ms : mapping
        Statistics of the bare call on the same tensors (times `tiles`), of
        `Model.run` from camera counts to outputs, and of the decoder, which is not in
        `whole_ms`; empty where there is none.
    own_ms, own_percent : float or None
        Median of what `Model.run` took more than the bare call beside it, also as a
        share of the bare median.
    error : float or None
        Relative deviation of the outputs from the reference runtime's in float32.
    problem : str
        Why there are no numbers; empty otherwise.
    """

    model: str
    runtime: str
    shape: tuple[int, ...]
    threads: int
    full_name: str = ""
    precision: str = ""
    tiles: int = 1
    bare_call: str = ""
    bare_ms: Mapping[str, float] = field(default_factory=dict)
    whole_ms: Mapping[str, float] = field(default_factory=dict)
    decode_ms: Mapping[str, float] = field(default_factory=dict)
    own_ms: float | None = None
    own_percent: float | None = None
    error: float | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ModelBench:
    """All rows, and what they were measured on."""

    rows: tuple[Row, ...]
    count: int
    started: str
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    commit: str | None
    load_start: float | None
    load_end: float | None

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return {"format": 1, "work": "models", **asdict(self)}


def bench_models(
    subjects: Sequence[Subject],
    *,
    runtimes: Sequence[str] = (),
    shapes: Sequence[tuple[int, ...]] = ((512, 512),),
    threads: Sequence[int] = (),
    count: int = 100,
    progress: Callable[[str], None] = lambda line: None,
) -> ModelBench:
    """Measure models.

    Bare call, whole model and decoder take turns on the same image, so that whatever
    else the machine does hits all of them.

    Parameters
    ----------
    subjects : sequence of Subject
        Models.
    runtimes : sequence of str
        Names, or addresses ``grpc://HOST:PORT/MODEL``; empty is all that can run the
        model here.
    shapes : sequence of tuple of int
        Sizes of images.
    threads : sequence of int
        Threads of each runtime; empty is what a run would take.
    count : int
        Turns of each.
    progress : callable
        Told what is measured.

    Raises
    ------
    ModelError
        A model cannot be read.
    """
    began, first = time.strftime("%Y-%m-%d %H:%M"), load()
    rows = []
    for subject in subjects:
        names = list(runtimes) or _here(load_model(subject.path))
        for shape in shapes:
            truth = _truth(subject, shape)
            for each in threads or (default_threads(),):
                for name in names:
                    size = "x".join(map(str, shape))
                    progress(f"{subject.name}, {size}, {each} thread(s), {name}")
                    rows.append(_row(subject, name, shape, each, count, truth))
    return ModelBench(
        tuple(rows),
        count,
        began,
        machine(),
        _versions(),
        commit(),
        first,
        load(),
    )


def _versions() -> dict[str, str]:
    found = versions()
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _here(model: Model) -> list[str]:
    return [
        name
        for name, reason in available(model.weights)
        if reason is None and RUNTIMES[name].auto
    ]


def _image(model: Model, shape: tuple[int, ...]) -> list[NDArray[np.uint16]]:
    """Camera counts for every input of a model."""
    images = []
    for intake in model.inputs:
        leading = {"c": intake.channels or 1, "z": 1}
        sizes = [leading[name] for name in intake.layout.image_order[:-2]]
        last = shape if len(shape) < len(sizes) + 2 else shape[-(len(sizes) + 2) :]
        full = (*sizes[: len(sizes) + 2 - len(last)], *last)
        images.append(synthetic_image(full))
    return images


Truth = tuple[str, "list[NDArray[np.float32]] | None"]


def _truth(subject: Subject, shape: tuple[int, ...]) -> Truth:
    """Outputs of the reference runtime; None where there is none."""
    model = load_model(subject.path)
    here = _here(model)
    name = next((n for n in _REFERENCES if n in here), "")
    if not name:
        return "", None
    model = load_model(subject.path, runtime=name)
    try:
        return name, [found.copy() for found in model.run(*_image(model, shape))]
    except ModelError:
        return name, None
    finally:
        model.close()


class _Counted:
    """A runtime that remembers its arrays and how often it ran."""

    def __init__(self, runtime: Runtime) -> None:
        self.inner = runtime
        self.arrays: tuple[NDArray[Any], ...] = ()
        self.runs = 0

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def precision(self) -> Any:
        return self.inner.precision

    @property
    def inputs(self) -> tuple[Port, ...]:
        return self.inner.inputs

    @property
    def outputs(self) -> tuple[Port, ...]:
        return self.inner.outputs

    def prepare(self, shapes: Sequence[tuple[int, ...]]) -> tuple[NDArray[Any], ...]:
        self.arrays = self.inner.prepare(shapes)
        return self.arrays

    def run(self) -> tuple[NDArray[Any], ...]:
        self.runs += 1
        return self.inner.run()

    def close(self) -> None:
        self.inner.close()


def _row(
    subject: Subject,
    name: str,
    shape: tuple[int, ...],
    threads: int,
    count: int,
    truth: Truth,
) -> Row:
    wanted: Any = remote_settings(name) if is_remote(name) else name
    model = load_model(subject.path, runtime=wanted, threads=threads)
    row = Row(subject.name, name, shape, threads)
    try:
        return _measured(row, model, count, truth)
    except ModelError as error:
        return replace(row, problem=str(error))
    finally:
        model.close()


def _measured(row: Row, model: Model, count: int, truth: Truth) -> Row:
    """The row with its numbers."""
    images = _image(model, row.shape)
    sizes = [image.shape for image in images]
    model.prepare(*sizes)
    if model.runtime is None:
        raise ModelError(f"{model.file}: no runtime was opened")
    # Asked once more it has nothing to do but to tell its arrays.
    counted = _Counted(model.runtime)
    model.runtime = counted
    model.prepare(*sizes)
    outputs = model.run(*images)
    tiles, counted.runs = counted.runs, 0
    error = None if truth[1] is None else deviation(outputs, truth[1])
    runtime = model.runtime = counted.inner
    arrays = [array.copy() for array in counted.arrays]
    bare, label = plain_call(row.runtime, runtime, model.weights, arrays, row.threads)
    decode = decoder_call(model, row.shape[-2:])
    times = _turns(model, images, bare, decode, tiles, count)
    extra = sorted(w - b for b, w in zip(times["bare"], times["whole"], strict=True))
    bare_ms = summarise(times["bare"])
    own = percentile(extra, 0.5)
    odd = truth[1] is not None and error is None
    return replace(
        row,
        full_name=runtime.name,
        precision=runtime.precision,
        tiles=tiles,
        bare_call=label,
        bare_ms=bare_ms,
        whole_ms=summarise(times["whole"]),
        decode_ms=summarise(times["decode"]),
        own_ms=own,
        own_percent=100 * own / bare_ms["median"],
        error=error,
        problem="its output has another shape" if odd else "",
    )


def _turns(
    model: Model,
    images: Sequence[NDArray[Any]],
    bare: Callable[[], Any],
    decode: Callable[[Sequence[NDArray[np.float32]]], Any] | None,
    tiles: int,
    count: int,
) -> dict[str, list[float]]:
    """Times in ms of `count` turns, who begins changing from turn to turn."""
    times: dict[str, list[float]] = {"bare": [], "whole": [], "decode": []}
    outputs: list[Any] = []

    def run_bare() -> None:
        for _ in range(tiles):
            bare()

    def run_whole() -> None:
        outputs[:] = model.run(*images)

    for turn in range(_WARM_UP + count):
        taken = {}
        for part in ("bare", "whole") if turn % 2 else ("whole", "bare"):
            taken[part] = _timed_ms(run_bare if part == "bare" else run_whole)
            # At once: the next call overwrites the outputs.
            if part == "whole" and decode is not None:
                taken["decode"] = _timed_ms(lambda: decode(outputs))
        if turn >= _WARM_UP:
            for part, value in taken.items():
                times[part].append(value)
    return times


def _timed_ms(work: Callable[[], Any]) -> float:
    began = time.perf_counter_ns()
    work()
    return (time.perf_counter_ns() - began) / 1e6
