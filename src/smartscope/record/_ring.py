"""The pre-trigger ring: the newest frames in memory, until somebody asks for them."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from smartscope.core import NS_PER_S

if TYPE_CHECKING:
    from smartscope.record._recorder import Job

_MB = 1_000_000

_Span = tuple[int, int]


class Ring:
    """Frames of the last seconds, and the windows of time that were asked for.

    All times are exposure starts on the run clock, ns. A frame exposed within a window
    that was asked for belongs on disk: the ring gives out those it holds, and says of
    each new one whether it is wanted. Not thread-safe.

    Parameters
    ----------
    keep_s : float
        Frames older than the newest by more than this are let go.
    keep_mb : float
        So are the oldest when all pixels together pass this.
    """

    def __init__(self, keep_s: float, keep_mb: float) -> None:
        self._keep_ns = int(keep_s * NS_PER_S)
        self._keep_bytes = keep_mb * _MB
        self._held: deque[tuple[_Span, Job]] = deque()
        self._bytes = 0
        self._newest: _Span | None = None
        self._windows: deque[_Span] = deque()
        self._lost: deque[_Span] = deque()

    @property
    def n_bytes(self) -> int:
        """Bytes of the pixels it holds."""
        return self._bytes

    def arrive(self, t_ns: int) -> bool:
        """Take note of a new frame; whether a window that was asked for wants it."""
        # A frame stands for the time since the one before it.
        since = t_ns if self._newest is None else min(self._newest[1], t_ns)
        self._newest = (since, t_ns)
        windows = self._windows
        while windows and windows[0][1] < since:
            windows.popleft()
        return any(start <= t_ns <= end for start, end in windows)

    def put(self, job: Job) -> None:
        """Hold the frame that arrived last."""
        if self._newest is None:
            raise ValueError("a frame must arrive before it is put")
        self._held.append((self._newest, job))
        self._bytes += job.pixels.nbytes
        oldest = self._newest[1] - self._keep_ns
        while self._held and (
            self._held[0][0][1] < oldest or self._bytes > self._keep_bytes
        ):
            self._lose()
        while self._lost and self._lost[0][1] < oldest:
            self._lost.popleft()

    def held_since(self, from_ns: int) -> tuple[int, int]:
        """How many of its frames were exposed since then, and the bytes they take."""
        count = n_bytes = 0
        for (_, t_ns), job in reversed(self._held):
            if t_ns < from_ns:
                break
            count += 1
            n_bytes += job.pixels.nbytes
        return count, n_bytes

    def take(self, count: int, window: _Span) -> list[Job]:
        """Give out the newest `count` frames, in order, and open a window for more."""
        jobs = [self._held.pop()[1] for _ in range(count)]
        jobs.reverse()
        self._bytes -= sum(job.pixels.nbytes for job in jobs)
        start, end = window
        if self._windows and start <= self._windows[-1][1]:
            before = self._windows.pop()
            start, end = min(start, before[0]), max(end, before[1])
        self._windows.append((start, end))
        return jobs

    def lost_since(self, from_ns: int) -> int:
        """Time since then of which the frames are gone without having been kept, ns."""
        return sum(
            end - max(start, from_ns) for start, end in self._lost if end > from_ns
        )

    def _lose(self) -> None:
        (start, end), job = self._held.popleft()
        self._bytes -= job.pixels.nbytes
        if self._lost and self._lost[-1][1] == start:
            start, _ = self._lost.pop()
        self._lost.append((start, end))
