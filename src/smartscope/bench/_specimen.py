"""How fast specimens are drawn, what that depends on, and what it is compared with."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.bench._machine import commit, load, machine, versions
from smartscope.bench._stats import summarise
from smartscope.core import NS_PER_MS, NS_PER_S, DeviceHistory, Roi
from smartscope.specimen import (
    SpecimenView,
    make_specimen,
    specimen_kinds,
    thread_count,
    use_threads,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

SMALL, LARGE = "512, 100 cells", "2048, 1500 cells"
BARS = {SMALL: 100.0, LARGE: 10.0}
"""Frames per second that must be reached, as used."""
_SEED = 5
_PERIOD_MS = 50.0
_EXPOSURE_MS = 20.0
_LONG_S = 3600.0
_WARM_UP = 3
_FRAMES, _FULL_FRAMES = 40, 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Something to draw.

    Attributes
    ----------
    side_px : int
        Of the square image.
    at_s : float
        Specimen time of the first frame.
    threads : int or None
        None is as used.
    """

    name: str
    side_px: int
    kind: str = "dividing_cells"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    at_s: float = 1.0
    threads: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """How long the frames of one scene took.

    Attributes
    ----------
    frame_ms : mapping of statistic to float
        As from `summarise`.
    cpu_ms : float
        Processor time of all threads per frame, mean.
    bar_fps : float or None
        What the median must reach.
    """

    name: str
    side_px: int
    objects: int
    threads: int
    frame_ms: Mapping[str, float]
    cpu_ms: float
    bar_fps: float | None = None

    @property
    def fps(self) -> float:
        """Frames per second, from the median."""
        return 1e3 / self.frame_ms["median"]

    @property
    def met(self) -> bool | None:
        """Whether the bar is reached; None without one."""
        return None if self.bar_fps is None else self.fps >= self.bar_fps


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecimenBench:
    """All that was measured."""

    rows: tuple[Drawn, ...]
    started: str
    took_s: float
    load: float | None
    commit: str | None
    machine: Mapping[str, Any]
    versions: Mapping[str, str]


def bench_specimen(
    *,
    frames: int | None = None,
    full: bool = False,
    scenes: Sequence[Scene] | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> SpecimenBench:
    """Draw scenes, then what they are compared with.

    Parameters
    ----------
    frames : int, optional
        Of each scene; 40, or 200 if `full`.
    scenes : sequence of Scene, optional
        None is all of `default_scenes`.
    progress : callable
        Gets a line before each scene.
    """
    count = frames or (_FULL_FRAMES if full else _FRAMES)
    began = time.perf_counter()
    started, busy = datetime.now(UTC).isoformat(timespec="seconds"), load()
    rows = []
    for scene in default_scenes() if scenes is None else scenes:
        progress(scene.name)
        rows.append(draw(scene, count))
    for side_px in sorted({row.side_px for row in rows if row.bar_fps}):
        progress(f"noise alone, {side_px}")
        rows += noise_alone(side_px, count)
    progress("pymmcore-plus")
    rows += _peer(count)
    return SpecimenBench(
        rows=tuple(rows),
        started=started,
        took_s=time.perf_counter() - began,
        load=busy,
        commit=commit(),
        machine=machine(),
        versions=versions(),
    )


def default_scenes() -> list[Scene]:
    """What `bench specimen` draws."""
    small, large = _cells(100, 512), _cells(1500, 2048)
    scenes = [
        Scene(name=SMALL, side_px=512, parameters=small),
        Scene(name=LARGE, side_px=2048, parameters=large),
        Scene(name=f"{SMALL}, 1 thread", side_px=512, parameters=small, threads=1),
        Scene(name=f"{LARGE}, 1 thread", side_px=2048, parameters=large, threads=1),
        Scene(
            name=f"{SMALL}, after {_LONG_S:g} s",
            side_px=512,
            parameters=small,
            at_s=_LONG_S,
        ),
    ]
    scenes += [
        Scene(
            name=f"512, {cells} cells in view",
            side_px=512,
            parameters=_cells(cells, 512),
        )
        for cells in (0, 200, 400)
    ]
    scenes += [
        Scene(
            name=f"512, {100 * ratio**2} cells, 100 in view",
            side_px=512,
            parameters=_cells(100 * ratio**2, 512 * ratio),
        )
        for ratio in (2, 4)
    ]
    scenes += [
        Scene(name=f"{side}, no cells", side_px=side, parameters=_cells(0, side))
        for side in (1024, 2048)
    ]
    return scenes + [
        Scene(name=f"{kind}, default", side_px=512, kind=kind)
        for kind in specimen_kinds()
    ]


def _cells(count: int, extent_um: float) -> dict[str, Any]:
    # Nobody divides, fades or dies, so that the work stays what the name says.
    return {
        "cells": count,
        "bleach_half_dose": 1e12,
        "harm_dose": 1e12,
        "area_um": (extent_um, extent_um),
        "max_cells": max(count, 1),
    }


def draw(scene: Scene, frames: int) -> Drawn:
    """Expose a scene some times, 20 times per second of specimen time."""
    specimen = make_specimen(scene.kind, seed=_SEED, parameters=scene.parameters)
    history = DeviceHistory()
    for key in ("x_um", "y_um", "z_um"):
        history.set(key, 0, 0.0)
    side = scene.side_px
    view = SpecimenView(
        shape=(side, side), roi=Roi(0, 0, side, side), sensor_shape=(side, side)
    )
    specimen.start(0)

    def expose(number: int) -> None:
        t0_ns = round(scene.at_s * NS_PER_S + number * _PERIOD_MS * NS_PER_MS)
        specimen.expose(view, history, t0_ns, t0_ns + round(_EXPOSURE_MS * NS_PER_MS))

    use_threads(scene.threads)
    try:
        times, cpu_ms = _timed(expose, frames)
        threads = thread_count()
    finally:
        use_threads(None)
    return Drawn(
        name=scene.name,
        side_px=side,
        objects=len(specimen.truth(round(scene.at_s * NS_PER_S))),
        threads=threads,
        frame_ms=summarise(times),
        cpu_ms=cpu_ms,
        bar_fps=BARS.get(scene.name),
    )


def noise_alone(side_px: int, frames: int) -> list[Drawn]:
    """Floors: numpy making as many random numbers as the image has pixels."""
    rng = np.random.Generator(np.random.SFC64(_SEED))
    shape = (side_px, side_px)
    mean = np.full(shape, 20.0)
    floors: dict[str, Callable[[int], object]] = {
        "normal float32": lambda _: rng.standard_normal(shape, dtype=np.float32),
        "Poisson": lambda _: rng.poisson(mean),
    }
    rows = []
    for name, make in floors.items():
        times, cpu_ms = _timed(make, frames)
        rows.append(
            Drawn(
                name=f"numpy: {side_px}, {name} noise alone",
                side_px=side_px,
                objects=0,
                threads=1,
                frame_ms=summarise(times),
                cpu_ms=cpu_ms,
            )
        )
    return rows


def _peer(frames: int) -> list[Drawn]:
    """Draw 100 still ellipses at 512 with the simulator of pymmcore-plus."""
    try:
        from pymmcore_plus.experimental.simulate import Ellipse
        from pymmcore_plus.experimental.simulate._render import RenderEngine
    except ImportError:
        return []
    from smartscope.rig import create_core

    rng = np.random.default_rng(_SEED)
    places = rng.uniform(-256, 256, size=(100, 2)).tolist()
    engine = RenderEngine([Ellipse((x, y), 8, 6, fill=True) for x, y in places])
    core = create_core()
    try:
        core.loadSystemConfiguration()
        core.setExposure(_EXPOSURE_MS)
        state = core.state()
        times, cpu_ms = _timed(lambda _: engine.render(state), frames)
    finally:
        core.unloadAllDevices()
    return [
        Drawn(
            name="pymmcore-plus: 512, 100 still ellipses",
            side_px=512,
            objects=100,
            threads=1,
            frame_ms=summarise(times),
            cpu_ms=cpu_ms,
        )
    ]


def _timed(work: Callable[[int], object], count: int) -> tuple[list[float], float]:
    """Milliseconds of each call but the first few, and mean processor time."""
    for number in range(_WARM_UP):
        work(number)
    times = []
    cpu = time.process_time()
    for number in range(_WARM_UP, _WARM_UP + count):
        began = time.perf_counter()
        work(number)
        times.append((time.perf_counter() - began) * 1e3)
    return times, (time.process_time() - cpu) * 1e3 / count
