"""The loop with models at a given camera rate, and the same calls by hand.

The demo camera times the frames; what they show are cells (see `_cells`). Each newest
frame is denoised, its objects are found, and a property is set.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import cv2

from smartscope.bench._cells import cell_frames, shown
from smartscope.bench._devices import CHANNEL, LED, Log
from smartscope.bench._floor import PATIENCE_NS, finished, opened, pop
from smartscope.bench._measured import MS, Measured, latencies_ms, mark, missing
from smartscope.bench._models_decode import decoder_call
from smartscope.bench._stats import summarise
from smartscope.inference import default_threads, load_model, plain_call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from smartscope.bench._job import Job
    from smartscope.record import RunFolder

DENOISE, DETECT = "denoise", "segment"
STEPS = (
    "wait",
    "denoise",
    "segment",
    "decode",
    "rest of vision",
    "decision",
    "command",
)
WHOLE = "whole"
_WARM_UP = 3


@dataclass(slots=True)
class Steps:
    """How long each step took in each frame, ms."""

    ms: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, ns: float) -> None:
        """Keep one duration."""
        self.ms.setdefault(name, []).append(ns / MS)

    def summary(self) -> dict[str, dict[str, float]]:
        """Statistics of each step that happened, in the order of the loop."""
        names = [name for name in (*STEPS, WHOLE) if name in self.ms]
        return {name: summarise(self.ms[name]) for name in names}


def measure(job: Job) -> dict[str, Any]:
    """One repetition by ``floor`` or ``smartscope``."""
    return floor(job) if job.peer == "floor" else smartscope(job)


# ------------------------------------------------------------------------ by hand


@dataclass(frozen=True, slots=True)
class Bare:
    """A model as a script has it: tensors filled once, and the runtime's own call."""

    call: Callable[[], Any]
    decode: Callable[[], Any]
    runtime: str

    @classmethod
    def of(cls, path: str, image: NDArray[Any]) -> tuple[Bare, NDArray[np.float32]]:
        """Open what a run would choose; also its output for `image`, to go on with."""
        model = load_model(path)
        found = [output.copy() for output in model.run(image)]
        runtime, verdict = model.runtime, model.verdict
        if runtime is None or verdict is None:
            raise RuntimeError(f"{path}: no runtime was opened")
        # Asked once more it has nothing to do but to tell its arrays.
        arrays = [array.copy() for array in runtime.prepare(verdict.shapes)]
        call, _ = plain_call(
            verdict.chosen, runtime, model.weights, arrays, default_threads()
        )
        decode = decoder_call(model, image.shape[-2:])
        bare = cls(call, lambda: decode and decode(found), told(model.facts()))
        for _ in range(_WARM_UP):
            bare.call()
            bare.decode()
        return bare, found[model.decoder.output][model.decoder.channel]


def floor(job: Job) -> dict[str, Any]:
    """Spin until there is a frame, take the newest, run both models, set the property.

    The models read the same tensors in every frame; nothing is scaled, tracked,
    checked or kept.
    """
    cv2.setNumThreads(1)
    denoise, clean = Bare.of(job.denoiser, cell_frames(job.size_px, 1)[0])
    detect, _ = Bare.of(job.detector, clean)
    log, steps = Log(job.frames), Steps()
    popped: dict[int, int] = {}
    done: dict[int, int] = {}
    took: dict[int, int] = {}
    with opened(job) as core:
        core.startSequenceAcquisition(job.frames, 0.0, True)
        for number in _newest(core, job.frames, log):
            began = popped[number] = time.perf_counter_ns()
            times = [began]
            for work in (denoise.call, detect.call, detect.decode):
                work()
                times.append(time.perf_counter_ns())
            took[number] = times[-1] - began
            core.setProperty(LED, "State", str(len(took) % 2))
            times.append(time.perf_counter_ns())
            done[number] = times[-1]
            for name, first, last in zip(
                ("denoise", "segment", "decode", "command"),
                times,
                times[1:],
                strict=False,
            ):
                steps.add(name, last - first)
        log.marks.closed = mark()
    received = log.received_ns()
    for number, at in popped.items():
        steps.add("wait", at - received[number])
        steps.add(WHOLE, done[number] - received[number])
    got = Measured(
        asked=job.frames,
        published=len(log.pops),
        seen=len(done),
        skipped=len(log.pops) - len(done),
        lost=missing(received, job.frames),
        latency_ms=latencies_ms(received, done),
        more={
            "steps_ms": steps.summary(),
            "models": {DENOISE: denoise.runtime, DETECT: detect.runtime},
        },
    )
    return finished(got, job, log, took)


def _newest(core: Any, frames: int, log: Log) -> Iterator[int]:
    """Numbers of the frames that were the newest when somebody had time."""
    got, seen_ns = 0, time.perf_counter_ns()
    while got < frames:
        number = None
        while core.getRemainingImageCount():
            number, _, seen_ns = pop(core, log)
            got += 1
        if number is not None:
            yield number
        elif time.perf_counter_ns() - seen_ns > PATIENCE_NS:
            return


# ----------------------------------------------------------------------- smartscope


def smartscope(job: Job) -> dict[str, Any]:
    """A stream with both models, tracking and a policy, as users have it."""
    from smartscope.bench import _smartscope as peer

    images = cell_frames(job.size_px)
    camera = {
        "channel": CHANNEL,
        "exposure_ms": job.exposure_ms,
        "frames": job.frames,
    }
    experiment = peer.bench_experiment(
        job, {"stream": camera}, ask="property", vision=vision(job)
    )
    log = Log(job.frames, picture=lambda number: shown(images, number))
    with peer.measured(job, experiment, log) as (result, log, peak):
        folder = result.folder
        numbers = {
            entry["frame_id"]: entry["image_number"]
            for entry in folder.entries("frame")
        }
        by_number = log.received_ns()
        received = {f: by_number[n] for f, n in numbers.items() if n in by_number}
        applied = peer.applied_ns(folder)
        steps, took = _steps(folder, received, applied)
        got = Measured(
            asked=job.frames,
            published=len(numbers),
            seen=len(took),
            skipped=peer.skipped(folder),
            lost=missing(numbers.values(), job.frames),
            latency_ms=latencies_ms(received, applied),
            peak_rss_mib=peak,
            # What is decided when the camera has stopped is refused.
            more={
                "not_applied": len(took) - len(applied),
                "objects": _objects(folder),
                "steps_ms": steps.summary(),
                "models": {e["stage"]: told(e) for e in folder.entries("model")},
            },
        )
        return finished(got, job, log, took)


def vision(job: Job) -> list[dict[str, Any]]:
    """The stages: the second is the one that takes what the detector gives."""
    stage = "detect" if load_model(job.detector).decoder.kind == "spots" else DETECT
    return [
        {"use": "denoise", "parameters": {"model": job.denoiser}},
        {"use": stage, "parameters": {"model": job.detector}},
        {"use": "track", "parameters": {}},
    ]


def told(facts: Mapping[str, Any]) -> str:
    """Which model it is and what runs it."""
    version = f" {facts['version']}" if facts["version"] else ""
    return f"{facts['name']}{version} on {facts['runtime']}"


def _steps(
    folder: RunFolder, received: Mapping[int, int], applied: Mapping[int, int]
) -> tuple[Steps, dict[int, int]]:
    """The steps of a run, and how long vision took for each frame, ns."""
    steps, took = Steps(), {}
    frame_of: dict[int, int] = {}
    seen_ns: dict[int, int] = {}
    for entry in folder.entries("observation"):
        seen, stamps = entry["observation"], entry["stamps"]
        frame = seen["frame_ids"][-1]
        frame_of[seen["number"]] = frame
        seen_ns[frame] = stamps["seen"]
        took[frame] = stamps["seen"] - stamps["taken"]
        if frame in received:
            steps.add("wait", stamps["taken"] - received[frame])
        rest = float(took[frame])
        for name, ms in entry.get("costs", {}).items():
            steps.add(_step_of(name), ms * MS)
            rest -= ms * MS
        steps.add("rest of vision", rest)
    for decision in folder.decisions:
        frame = frame_of[decision.observation]
        for request in decision.requests:
            steps.add("decision", request.t_decided_ns - seen_ns[frame])
            if frame in applied:
                steps.add("command", applied[frame] - request.t_decided_ns)
    for frame, at in applied.items():
        if frame in received:
            steps.add(WHOLE, at - received[frame])
    return steps, took


def _step_of(cost: str) -> str:
    stage, _, part = cost.rpartition(".")
    if part == "decode":
        return "decode"
    return DENOISE if stage == DENOISE else DETECT


def _objects(folder: RunFolder) -> float:
    counts = sorted(len(seen.detections) for seen in folder.observations())
    return float(counts[len(counts) // 2]) if counts else 0.0
