"""Watches the camera run without keeping a picture: for probing, not for a run."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Self

from smartscope.rig._port import ask, tell

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from smartscope.rig._mmcore import CMMCorePlus

_LOOK_S = 0.0003
_NUMBER, _RECEIVED = "ImageNumber", "TimeReceivedByCore"
_CLOCKS = frozenset({_NUMBER, _RECEIVED, "ElapsedTime-ms"})


class Interrupted(Exception):
    """Somebody asked the probe to end; the microscope is put back first."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One frame that came.

    Attributes
    ----------
    t_s : float
        `time.perf_counter` when it was taken out of the buffer.
    shape : (height, width)
    tags : mapping
        Its metadata.
    """

    t_s: float
    shape: tuple[int, ...]
    tags: Mapping[str, str]


class Film:
    """The camera running continuously; a thread takes every frame as it comes.

    Use it in a ``with``: the camera is stopped at its end, whatever happens.

    Parameters
    ----------
    core : CMMCorePlus
    camera : str
        The current camera of the core.
    stopped : function
        Asked while waiting; True raises `Interrupted`.

    Attributes
    ----------
    frames : list of Seen
    started_s : float
        `time.perf_counter` before the camera was told to start.
    stop_ms : float
        How long stopping took.
    """

    def __init__(
        self, core: CMMCorePlus, camera: str, stopped: Callable[[], bool]
    ) -> None:
        self._core = core
        self._camera = camera
        self._stopped = stopped
        self._over = threading.Event()
        self._thread = threading.Thread(
            target=self._take, name="smartscope-probe", daemon=True
        )
        self.frames: list[Seen] = []
        self.started_s = 0.0
        self.stop_ms = 0.0

    def __enter__(self) -> Self:
        """Start the camera."""
        self.started_s = time.perf_counter()
        tell(
            self._camera,
            "filming",
            lambda: self._core.startContinuousSequenceAcquisition(0.0),
        )
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop it."""
        before = time.perf_counter()
        try:
            if self._core.isSequenceRunning(self._camera):
                tell(
                    self._camera,
                    "stopping",
                    lambda: self._core.stopSequenceAcquisition(self._camera),
                )
        finally:
            self.stop_ms = (time.perf_counter() - before) * 1e3
            self._over.set()
            self._thread.join()

    @property
    def is_running(self) -> bool:
        """Whether the camera says that it films."""
        return ask(
            self._camera,
            "asking whether it films",
            lambda: bool(self._core.isSequenceRunning(self._camera)),
        )

    def wait(self, count: int, patience_s: float) -> bool:
        """Wait for `count` more frames; False if they do not come.

        Raises
        ------
        Interrupted
            If somebody asks the probe to end.
        """
        wanted = len(self.frames) + count
        deadline = time.perf_counter() + patience_s
        while len(self.frames) < wanted:
            if self._stopped():
                raise Interrupted
            ended = not self.is_running and not self._core.getRemainingImageCount()
            if time.perf_counter() > deadline or ended:
                return len(self.frames) >= wanted
            time.sleep(0.001)
        return True

    def _take(self) -> None:
        core = self._core
        while not self._over.is_set():
            try:
                if not core.getRemainingImageCount():
                    time.sleep(_LOOK_S)
                    continue
                pixels, tags = core.popNextImageAndMD()
            except (RuntimeError, IndexError):
                # A change of ROI empties the buffer between the look and the pop.
                time.sleep(_LOOK_S)
                continue
            now = time.perf_counter()
            self.frames.append(Seen(now, pixels.shape, dict(tags)))


def intervals_ms(frames: Sequence[Seen]) -> list[float]:
    """Time from each frame to the next, ms, as Micro-Manager received them."""
    try:
        # Stamped in the camera's own thread: free of our looking only now and then.
        came = [datetime.fromisoformat(seen.tags[_RECEIVED]) for seen in frames]
    except (KeyError, ValueError):
        return [(b.t_s - a.t_s) * 1e3 for a, b in pairwise(frames)]
    return [(b - a).total_seconds() * 1e3 for a, b in pairwise(came)]


def has_numbers(frames: Sequence[Seen]) -> bool:
    """Whether every frame has an ``ImageNumber``."""
    return bool(frames) and all(_whole(s.tags, _NUMBER) is not None for s in frames)


def gaps(frames: Sequence[Seen]) -> int:
    """How many frames are missing by their ``ImageNumber``."""
    numbers = [n for seen in frames if (n := _whole(seen.tags, _NUMBER)) is not None]
    return sum(max(0, b - a - 1) for a, b in pairwise(numbers))


def counters(films: Sequence[Sequence[Seen]]) -> tuple[str, ...]:
    """Metadata tags that count up by one from frame to frame, in every film.

    Micro-Manager's own ``ImageNumber`` is none: it counts what reached the buffer.
    Give films of different exposure times, or a clock in ms may look like a counter.
    """
    films = [frames for frames in films if len(frames) > 2]
    if not films:
        return ()
    names = set(films[0][0].tags) - _CLOCKS
    return tuple(
        sorted(name for name in names if all(_counts(film, name) for film in films))
    )


def _counts(frames: Sequence[Seen], name: str) -> bool:
    values = [_whole(seen.tags, name) for seen in frames]
    return all(
        a is not None and b is not None and b - a == 1 for a, b in pairwise(values)
    )


def _whole(tags: Mapping[str, str], name: str) -> int | None:
    try:
        value = float(tags[name])
    except (KeyError, ValueError):
        return None
    return int(value) if value.is_integer() else None
