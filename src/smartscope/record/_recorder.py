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

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from smartscope.config import RecordConfig
    from smartscope.core import Frame
    from smartscope.record._journal import Journal
    from smartscope.record._store import Hands, Store

_MB = 1_000_000
_MAX_UNDER_WAY = 16
_BATCH = 64
_POLL_S = 0.01
_DISK_CHECK_S = 1.0
_PATIENCE_S = 120.0


@dataclass(slots=True, eq=False)
class Job:
    """One plane on its way to the disk.

    Attributes
    ----------
    frame_id : int
    pixels : ndarray (y, x)
    store, at
        Where it goes; None until it is placed.
    line : int
        Number of the journal entry that says so; -1 until it is placed.
    frame : Frame or None
        What the recorder thread has to place; `array` as for `RunWriter.frame`.
    queued_s : float
        When the recorder got it, monotonic.
    """

    frame_id: int
    pixels: NDArray[np.generic]
    store: Store | None = None
    at: tuple[int, ...] = ()
    line: int = -1
    frame: Frame | None = None
    array: str | None = None
    queued_s: float = 0.0


class Recorder:
    """Writes planes in the order they were put, on a thread of its own.

    A journal line always reaches the operating system before its pixels do, so that
    no pixels exist that the journal does not explain. While frames keep coming its
    thread looks for them by itself: a caller pays for no thread switch.

    Parameters
    ----------
    journal : Journal
    folder : Path
        Run folder, for the check of free disk space.
    config : RecordConfig
        ``max_backlog_s``, ``max_backlog_mb`` and ``min_free_mb`` apply.
    now_ns : callable
        Run clock, for the fault line of a failure.
    place : callable
        Gives a job that has none its place; called on the recorder thread.
    hands : Hands
        Ended with the recorder.
    """

    def __init__(
        self,
        journal: Journal,
        folder: Path,
        config: RecordConfig,
        now_ns: Callable[[], int],
        place: Callable[[Job], None],
        hands: Hands,
    ) -> None:
        self._place = place
        self._hands = hands
        self._now_ns = now_ns
        self._finish: Callable[[], None] = _nothing
        self._journal = journal
        self._folder = folder
        self._config = config
        lock = threading.Lock()
        self._work = threading.Condition(lock)
        self._done = threading.Condition(lock)
        self._queued: deque[Job] = deque()
        self._unsafe: deque[Job] = deque()
        self._bytes = 0
        self._closing = False
        self._asleep = False
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
        with self._work:
            self._raise_failure()
            full = self._full(n_bytes)
            end = time.monotonic() + wait_s if full else 0.0
            while full:
                # The oldest grows older while we wait, so only its leaving counts.
                if not wait_s or not self._done.wait(max(0.0, end - time.monotonic())):
                    raise RecordError(
                        f"the disk of {self._folder} does not keep up: {full}; acquire "
                        "slower or smaller, use a faster disk, or raise the limit in "
                        "the experiment"
                    )
                self._raise_failure()
                full = self._full(n_bytes)

    def put(self, jobs: Sequence[Job]) -> None:
        """Queue planes; the journal lines of those with a place must have been told.

        Raises
        ------
        RecordError
            If an earlier write failed.
        """
        now_s = time.monotonic()
        n_bytes = 0
        for job in jobs:
            job.queued_s = now_s
            n_bytes += job.pixels.nbytes
        with self._work:
            self._raise_failure()
            self._queued.extend(jobs)
            self._unsafe.extend(jobs)
            self._bytes += n_bytes
            if self._asleep:
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
            forgotten = set(map(id, self._queued))
            self._queued.clear()
            # What is under way still ends as usual.
            kept = [job for job in self._unsafe if id(job) not in forgotten]
            self._unsafe = deque(kept)
            self._bytes = sum(job.pixels.nbytes for job in kept)
            self._done.notify_all()
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
        under_way: deque[tuple[Job, Any]] = deque()
        # Nobody above a thread would see what it raises: whatever goes wrong is kept
        # and raised to the next caller.
        try:
            while self._step(under_way):
                pass
            self._finish()
        except Exception as error:
            self._fail(error)
        finally:
            self._hands.close()

    def _step(self, under_way: deque[tuple[Job, Any]]) -> bool:
        batch, left, ending = self._take()
        if batch:
            self._check_disk()
            self._place_all(batch)
            while batch:
                self._start(batch.popleft(), under_way)
        elif under_way:
            self._settle(*under_way.popleft())
        elif not ending:
            self._rest()
        elif left:
            self._journal.flush()
        else:
            return False
        return True

    def _rest(self) -> None:
        with self._work:
            if self._closing:
                return
            # What is queued waits for its line, which nobody announces.
            self._asleep = not self._queued
            self._work.wait(None if self._asleep else _POLL_S)
            self._asleep = False

    def _take(self) -> tuple[deque[Job], int, bool]:
        """Jobs whose lines are written, or that have none yet; how many are left."""
        written = self._journal.written
        batch: deque[Job] = deque()
        with self._work:
            queued = self._queued
            while queued and len(batch) < _BATCH and queued[0].line < written:
                batch.append(queued.popleft())
            return batch, len(queued), self._closing

    def _place_all(self, batch: deque[Job]) -> None:
        homeless = [job for job in batch if job.store is None]
        for job in homeless:
            self._place(job)
        if homeless:
            self._journal.flush()

    def _start(self, job: Job, under_way: deque[tuple[Job, Any]]) -> None:
        # No name may hold on to a job: its pixels lie in a buffer that a camera wants
        # back as soon as they are written.
        limit = _MAX_UNDER_WAY
        if any(job.store is o.store and job.at == o.at for o, _ in under_way):
            # Writes to one place end in any order; the newer one must win.
            limit = 1
        while len(under_way) >= limit:
            self._settle(*under_way.popleft())
        if job.store is None:
            raise RecordError(f"frame {job.frame_id} has no place on the disk")
        under_way.append((job, job.store.write(job.at, job.pixels)))
        while under_way and under_way[0][1].done():
            self._settle(*under_way.popleft())

    def _settle(self, job: Job, future: Any) -> None:
        future.result()
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
            lost = [
                job.frame_id
                for job in self._unsafe
                if job.store is None or not job.store.labels
            ]
            self.lost = tuple(lost)
            self._failure = problem
            self._queued.clear()
            self._unsafe.clear()
            self._bytes = 0
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
