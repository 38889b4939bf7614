"""The recorder thread: pixels to disk, in order, with a stated backlog."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from smartscope.core import RecordError
from smartscope.record import _layout
from smartscope.record._ngff import (
    LABELS,
    OBJECTS,
    ArraySpec,
    create_image,
    create_labels,
    resize,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from smartscope.config import RecordConfig
    from smartscope.record._journal import Journal

_MB = 1_000_000
_FIRST_BLOCK = 64
_LARGEST_BLOCK = 1024
_MAX_UNDER_WAY = 16
_DISK_CHECK_S = 1.0
_PATIENCE_S = 120.0


class Store:
    """One array on disk; all methods but `open` run on the recorder thread.

    Parameters
    ----------
    image_folder : Path
        ``images/NAME.ome.zarr``.
    spec : ArraySpec
    labels : bool
        The array is the label image under `image_folder`.
    growing : bool
        The first axis is extended in blocks and trimmed by `finish`.
    """

    def __init__(
        self, image_folder: Path, spec: ArraySpec, *, labels: bool, growing: bool
    ) -> None:
        self.image_folder = image_folder
        self.spec = spec
        self.labels = labels
        self.growing = growing
        self.used = 0
        self._length = spec.shape[0]
        self._array: Any = None
        self._lock = threading.Lock()

    def open(self) -> None:
        """Create it on disk unless that was done."""
        with self._lock:
            if self._array is None:
                create = create_labels if self.labels else create_image
                self._array = create(self.image_folder, self.spec)

    def write(self, at: tuple[int, ...], pixels: NDArray[np.generic]) -> Any:
        """Start writing one plane; return tensorstore's future."""
        self.open()
        if self.growing:
            self.used = max(self.used, at[0] + 1)
            if at[0] >= self._length:
                block = min(max(self._length, _FIRST_BLOCK), _LARGEST_BLOCK)
                self._resize(max(at[0] + 1, self._length + block))
        return self._array[at].write(pixels)

    def finish(self, length: int | None = None) -> None:
        """Trim a growing array to `length`, or to what was used."""
        if self.growing and self._array is not None:
            self._resize(self.used if length is None else length)

    @property
    def folder(self) -> Path:
        """Folder of the array's group."""
        here = self.image_folder
        return here / LABELS / OBJECTS if self.labels else here

    def _resize(self, length: int) -> None:
        if length != self._length:
            self._array = resize(self._array, length)
            self._length = length


@dataclass(frozen=True, slots=True)
class _Job:
    store: Store
    at: tuple[int, ...]
    pixels: NDArray[np.generic]
    frame_id: int
    queued_s: float


class Recorder:
    """Writes planes in the order they were put, on a thread of its own.

    A journal line always reaches the operating system before its pixels do, so that
    no pixels exist that the journal does not explain.

    Parameters
    ----------
    journal : Journal
    folder : Path
        Run folder, for the check of free disk space.
    config : RecordConfig
        ``max_backlog_s``, ``max_backlog_mb`` and ``min_free_mb`` apply.
    now_ns : callable
        Run clock, for the fault line of a failure.
    """

    def __init__(
        self,
        journal: Journal,
        folder: Path,
        config: RecordConfig,
        now_ns: Callable[[], int],
    ) -> None:
        self._now_ns = now_ns
        self._finish: Callable[[], None] = _nothing
        self._journal = journal
        self._folder = folder
        self._config = config
        lock = threading.Lock()
        self._work = threading.Condition(lock)
        self._done = threading.Condition(lock)
        self._queued: deque[_Job] = deque()
        self._unsafe: deque[_Job] = deque()
        self._bytes = 0
        self._closing = False
        self._checked_s = float("-inf")
        self._failure: str | None = None
        self.lost: tuple[int, ...] = ()
        self._thread = threading.Thread(
            target=self._run, name="smartscope-recorder", daemon=True
        )
        self._thread.start()

    @property
    def backlog_bytes(self) -> int:
        """Bytes of pixels that have not reached the disk yet."""
        return self._bytes

    def check_room(self, n_bytes: int, wait_s: float) -> None:
        """Return when `n_bytes` more fit into the backlog.

        Raises
        ------
        RecordError
            If they do not fit within `wait_s`, or an earlier write failed.
        """
        end = time.monotonic() + wait_s
        with self._work:
            while True:
                self._raise_failure()
                full = self._full(n_bytes)
                if not full:
                    return
                # The oldest grows older while we wait, so only its leaving counts.
                if not self._done.wait(max(0.0, end - time.monotonic())):
                    raise RecordError(
                        f"the disk does not keep up: {full}; acquire slower or "
                        "smaller, use a faster disk, or raise the limit in the "
                        "experiment"
                    )

    def put(
        self,
        store: Store,
        at: tuple[int, ...],
        pixels: NDArray[np.generic],
        frame_id: int,
    ) -> None:
        """Queue one plane; its journal line must have been told before.

        Raises
        ------
        RecordError
            If an earlier write failed.
        """
        job = _Job(store, at, pixels, frame_id, time.monotonic())
        with self._work:
            self._raise_failure()
            self._queued.append(job)
            self._unsafe.append(job)
            self._bytes += pixels.nbytes
            self._work.notify()

    def close(self, finish: Callable[[], None]) -> None:
        """Write what is queued, call `finish` on the recorder thread, end it.

        Raises
        ------
        RecordError
            If a plane could not be written.
        """
        self._finish = finish
        self._end()
        with self._work:
            self._raise_failure()

    def abort(self) -> None:
        """Forget what is queued and end the thread."""
        with self._work:
            self._queued.clear()
        self._finish = _nothing
        self._end()

    def _end(self) -> None:
        with self._work:
            self._closing = True
            self._work.notify()
        self._thread.join(_PATIENCE_S)
        if self._thread.is_alive():
            raise RecordError(
                f"the disk of {self._folder} does not answer; check it, then verify "
                "the run with 'smartscope check'"
            )

    def _full(self, n_bytes: int) -> str:
        limit_mb, limit_s = self._config.max_backlog_mb, self._config.max_backlog_s
        if self._unsafe and self._bytes + n_bytes > limit_mb * _MB:
            waiting = f"{self._bytes / _MB:.0f} MB wait"
            return f"{waiting} (record.max_backlog_mb: {limit_mb:g})"
        if self._unsafe:
            age_s = time.monotonic() - self._unsafe[0].queued_s
            if age_s > limit_s:
                waiting = f"the oldest image has waited {age_s:.1f} s"
                return f"{waiting} (record.max_backlog_s: {limit_s:g})"
        return ""

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise RecordError(self._failure)

    def _run(self) -> None:
        under_way: deque[tuple[_Job, Any]] = deque()
        # Nobody above a thread would see what it raises: whatever goes wrong is kept
        # and raised to the next caller.
        try:
            while not self._step(under_way):
                pass
            self._finish()
        except Exception as error:
            self._fail(error)

    def _step(self, under_way: deque[tuple[_Job, Any]]) -> bool:
        with self._work:
            while not self._queued and not under_way and not self._closing:
                self._work.wait()
            jobs = [self._queued.popleft() for _ in range(len(self._queued))]
            ending = self._closing
        if jobs:
            self._check_disk()
            self._journal.flush()
        for job in jobs:
            limit = _MAX_UNDER_WAY
            if any(job.store is o.store and job.at == o.at for o, _ in under_way):
                # Writes to one place end in any order; the newer one must win.
                limit = 1
            while len(under_way) >= limit:
                self._settle(*under_way.popleft())
            under_way.append((job, job.store.write(job.at, job.pixels)))
            while under_way and under_way[0][1].commit.done():
                self._settle(*under_way.popleft())
        if under_way and not jobs:
            self._settle(*under_way.popleft())
        return ending and not jobs and not under_way

    def _settle(self, job: _Job, future: Any) -> None:
        future.commit.result()
        with self._work:
            self._unsafe.popleft()
            self._bytes -= job.pixels.nbytes
            self._done.notify_all()

    def _check_disk(self) -> None:
        now_s = time.monotonic()
        if now_s - self._checked_s < _DISK_CHECK_S:
            return
        self._checked_s = now_s
        free_mb = _layout.free_bytes(self._folder) / _MB
        if free_mb < self._config.min_free_mb:
            raise RecordError(
                f"the disk of {self._folder} has {free_mb:.0f} MB left "
                f"(record.min_free_mb: {self._config.min_free_mb:g}); free space, then "
                "start again"
            )

    def _fail(self, error: Exception) -> None:
        known = isinstance(error, RecordError)
        problem = str(error) if known else _sentence(self._folder, error)
        with self._work:
            lost = [job.frame_id for job in self._unsafe if not job.store.labels]
            self.lost = tuple(lost)
            self._failure = problem
            self._queued.clear()
            self._unsafe.clear()
            self._done.notify_all()
        fault = {"where": "record", "message": problem, "lost_frames": lost}
        # A journal on the same full disk may be unable to take it; verify then finds
        # the missing pixels by itself.
        with contextlib.suppress(RecordError):
            self._journal.write("fault", fault, t_ns=self._now_ns())


def _nothing() -> None:
    pass


def _sentence(folder: Path, error: Exception) -> str:
    reason = str(error).split(" [")[0]
    return (
        f"images could not be written to {folder} ({reason}); check that the disk is "
        "there and has space, then start again"
    )
