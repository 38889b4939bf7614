"""Streams of the demo camera that are held up on purpose, and how they are judged.

Stages and policies of the tests are files of their own; they call `visit`, which notes
their thread and does what the test wants done there.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from small_runs import experiment, rig

from smartscope import run
from smartscope.control import Appetite, Subscription

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from smartscope.config import RigConfig
    from smartscope.runs import RunResult
    from smartscope.testing import FaultyCore

PUMP = "smartscope-pump"
SMALL = {"x_px": 0, "y_px": 0, "width_px": 64, "height_px": 64}
PATIENCE_S = 20.0

THREADS: defaultdict[str, set[str]] = defaultdict(set)
"""Names of the threads that ran each kind of user code."""
ACTS: dict[str, Callable[[], object]] = {}
"""What the test wants done by each kind of user code."""


def visit(who: str) -> None:
    """Note whose thread this is, then do what the test wants done here."""
    THREADS[who].add(threading.current_thread().name)
    if (act := ACTS.get(who)) is not None:
        act()


def until(holds: Callable[[], object], what: str) -> None:
    """Wait for something that has to come."""
    deadline = time.perf_counter() + PATIENCE_S
    while not holds():
        assert time.perf_counter() < deadline, what
        time.sleep(0.001)


class Witness:
    """Counts what is published, by never reading it."""

    def __init__(self) -> None:
        self.frames = Subscription("witness", Appetite("lossless"))
        self.gains: list[int] = []

    @property
    def published(self) -> int:
        count = self.frames.counts()["waiting"]
        assert isinstance(count, int)
        return count

    def during(self, hold_up: Callable[[], object]) -> None:
        """Note how many frames are published while somebody is held up."""
        before = self.published
        hold_up()
        self.gains.append(self.published - before)


def film(
    core: FaultyCore,
    output: Path,
    *,
    camera: dict[str, Any] | None = None,
    subscriptions: tuple[Subscription, ...] = (),
    rig_changes: dict[str, Any] | None = None,
    stop: threading.Event | None = None,
    config: RigConfig | None = None,
    **fields: Any,
) -> RunResult:
    """Stream the demo camera; what is no field of an experiment goes to the stream."""
    streamed = {"frames", "duration_s", "exposure_ms", "roi"} & fields.keys()
    stream = {"channel": "FITC", "exposure_ms": 10, "roi": SMALL}
    stream |= {key: fields.pop(key) for key in streamed}
    return run(
        experiment(
            acquisition={"stream": stream},
            **{"rig": "demo_laser_rig.yaml", "vision": ["measure"], **fields},
        ),
        rig=config or rig("demo_laser_rig", camera=camera or {}, **(rig_changes or {})),
        core=core,
        output=output,
        subscriptions=subscriptions,
        stop=stop,
    )


def told_of(result: RunResult) -> dict[str, Any]:
    """The counters at the end of a run, once they agree with all the rest of it."""
    frames = result.folder.frames
    (told,) = result.folder.entries("subscribers")
    published = told["frames"]["published"]
    assert published == result.frames
    ids = [frame.frame_id for frame in frames]
    refused = reader(told, "record")["dropped"]
    assert ids == sorted(set(ids)) and set(ids) <= set(range(published))
    assert len(ids) == published - refused == reader(told, "record")["delivered"]
    for one in told["subscribers"]:
        ways = ("delivered", "skipped", "dropped", "waiting")
        assert sum(one.get(way, 0) for way in ways) == published, one
    lost = [entry for entry in result.folder.entries("lost") if entry["certain"]]
    assert sum(entry["frames"] for entry in lost) == told["frames"]["lost_certain"]
    return told


def reader(told: dict[str, Any], name: str) -> dict[str, Any]:
    """Counters of one subscriber."""
    (found,) = (one for one in told["subscribers"] if one["name"] == name)
    return found


def image_numbers(result: RunResult) -> list[int]:
    """What Micro-Manager called the frames, in order."""
    return [entry["image_number"] for entry in result.folder.entries("frame")]


def gaps(result: RunResult) -> list[int]:
    """Frames missing in the camera's numbers, wherever some are."""
    return [b - a - 1 for a, b in pairwise(image_numbers(result)) if b != a + 1]


def faults(result: RunResult) -> list[tuple[str, str]]:
    """Where each fault of the journal was, and its sentence."""
    return [(e["where"], e["message"]) for e in result.folder.entries("fault")]


def is_dark(core: FaultyCore) -> bool:
    """Camera at rest, shutter closed, power at its safe state; asked of the devices."""
    return (
        not core.isSequenceRunning()
        and not core.getShutterOpen("Shutter")
        and float(core.getProperty("Laser", "Voltage")) == 0
    )


def gone() -> None:
    """Nobody of ours is left behind."""
    until(lambda: not list(ours()), f"still alive: {list(ours())}")


def ours() -> Iterator[str]:
    """Names of the threads of ours that are alive."""
    for thread in threading.enumerate():
        if thread.name.startswith("smartscope-"):
            yield thread.name
