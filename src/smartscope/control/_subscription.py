"""Who gets which frames: declared appetites, counted skips, an unhurried sender."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from smartscope.core import Frame, View


@dataclass(frozen=True, slots=True)
class Appetite:
    """How a subscriber takes frames that come faster than it reads.

    Attributes
    ----------
    kind : str
        ``latest``: the newest group of each view, older ones are skipped, so it never
        falls behind; a group once begun is left whole. ``bounded``: all, in order, as
        long as no more than `backlog` wait; then the oldest is dropped. ``lossless``:
        all, in order; when `backlog` is full the run ends and names the subscriber.
    backlog : int or None
        Most frames that may wait; None is without a bound, for senders that wait.
    """

    kind: Literal["latest", "bounded", "lossless"]
    backlog: int | None = None

    def __post_init__(self) -> None:
        if self.backlog is not None and self.backlog < 1:
            raise ValueError(f"a backlog is 1 frame or more, not {self.backlog}")
        if self.kind == "bounded" and self.backlog is None:
            raise ValueError("a bounded appetite needs a backlog")

    def __str__(self) -> str:
        return f"{self.kind}({self.backlog})" if self.backlog else self.kind


LATEST = Appetite("latest")


class Subscription:
    """Frames on their way to one reader. Thread-safe; the sender never waits.

    Parameters
    ----------
    name : str
        Of the reader, for journal and report.
    appetite : Appetite

    Attributes
    ----------
    offered, delivered, skipped, dropped : int
        All frames, those the reader took, those replaced by newer ones as ``latest``
        asks, and those lost because it did not read.
    """

    def __init__(self, name: str, appetite: Appetite = LATEST) -> None:
        self.name = name
        self.appetite = appetite
        self.offered = 0
        self.delivered = 0
        self.skipped = 0
        self.dropped = 0
        self._frames: deque[Frame] = deque()
        self._skips: dict[View, int] = {}
        self._begun: dict[View, object] = {}
        # Held for the few steps below only, never while the reader works.
        self._lock = threading.Lock()
        # A lock as a bell: far cheaper to ring than a condition, for every frame.
        self._bell = threading.Lock()
        self._bell.acquire()
        self._rest = threading.Event()
        self._rest.set()
        self._catching_up = False
        self._closed = False

    # ------------------------------------------------------------------- sending

    def put(self, frame: Frame) -> tuple[list[Frame], bool]:
        """Add a frame.

        Returns
        -------
        tuple
            The frames that will not be delivered for it, and False if a lossless
            reader's backlog is full (the frame is dropped then).
        """
        with self._lock:
            if self._closed:
                return [], True
            self.offered += 1
            gone, taken = self._make_room(frame)
            if taken:
                self._frames.append(frame)
                self._rest.clear()
        if taken:
            self._ring()
        return gone, taken

    def _make_room(self, frame: Frame) -> tuple[list[Frame], bool]:
        kind, backlog = self.appetite.kind, self.appetite.backlog
        if kind == "latest" or self._catching_up:
            gone = self._outdated(frame) if self._frames else []
            for old in gone:
                self._frames.remove(old)
            if gone:
                self.skipped += len(gone)
                view = frame.view
                self._skips[view] = self._skips.get(view, 0) + len(gone)
            return gone, True
        if backlog is None or len(self._frames) < backlog:
            return [], True
        self.dropped += 1
        if kind == "lossless":
            return [], False
        old = self._frames.popleft()
        self._skips[old.view] = self._skips.get(old.view, 0) + 1
        return [old], True

    def _outdated(self, frame: Frame) -> list[Frame]:
        keep = (_group(frame), self._begun.get(frame.view))
        return [
            waiting
            for waiting in self._frames
            if waiting.view == frame.view and _group(waiting) not in keep
        ]

    def catch_up(self) -> None:
        """Take the newest frame only, until nothing waits any more."""
        with self._lock:
            self._catching_up = True

    def close(self) -> None:
        """Let `get` return None once all waiting frames are taken."""
        with self._lock:
            self._closed = True
        self._ring()

    # ------------------------------------------------------------------- reading

    def get(self) -> tuple[Frame, int] | None:
        """Wait for a frame; returns it and how many of its view were left out before.

        None once closed and empty.
        """
        while True:
            with self._lock:
                if self._frames:
                    frame = self._frames.popleft()
                    self._begun[frame.view] = _group(frame)
                    self.delivered += 1
                    return frame, self._skips.pop(frame.view, 0)
                self._catching_up = False
                self._rest.set()
                if self._closed:
                    return None
            self._bell.acquire()

    def __iter__(self) -> Iterator[Frame]:
        """Frames as they come, until the run is over."""
        while (item := self.get()) is not None:
            yield item[0]

    @property
    def idle(self) -> bool:
        """Nothing waits, and the reader has come back for more."""
        return self._rest.is_set()

    def wait_idle(self, timeout_s: float) -> bool:
        """Wait until `idle`, at most `timeout_s` of wall time; whether it is."""
        return self._rest.wait(timeout_s)

    def counts(self) -> dict[str, object]:
        """Name, appetite and counters, for journal and report."""
        with self._lock:
            return {
                "name": self.name,
                "appetite": str(self.appetite),
                "delivered": self.delivered,
                "skipped": self.skipped,
                "dropped": self.dropped,
                "waiting": len(self._frames),
            }

    def _ring(self) -> None:
        # Only one bell for any number of frames; a reader takes all there are.
        try:
            self._bell.release()
        except RuntimeError:
            pass


class Hub:
    """Hands every frame to every subscriber; waits for none of them.

    Parameters
    ----------
    full : function
        Called with the name of a lossless subscriber whose backlog is full.
    left_out : function
        Called with the name of a subscriber and the frame it will not get.
    """

    def __init__(
        self,
        full: Callable[[str], None],
        left_out: Callable[[str, Frame], None],
    ) -> None:
        self._full = full
        self._left_out = left_out
        self._subscriptions: tuple[Subscription, ...] = ()

    def add(self, subscription: Subscription) -> Subscription:
        """Give it every frame from now on."""
        self._subscriptions = (*self._subscriptions, subscription)
        return subscription

    def publish(self, frame: Frame) -> None:
        """Offer `frame` to all; called by the thread that acquires."""
        for subscription in self._subscriptions:
            gone, taken = subscription.put(frame)
            for old in gone:
                self._left_out(subscription.name, old)
            if not taken:
                self._full(subscription.name)

    def close(self) -> None:
        """Tell all readers that no more frames come."""
        for subscription in self._subscriptions:
            subscription.close()

    def counts(self) -> list[dict[str, object]]:
        """Counters of every subscriber, in order of subscription."""
        return [subscription.counts() for subscription in self._subscriptions]


def _group(frame: Frame) -> object:
    # A frame without a group stands for itself.
    return frame.group or frame.frame_id
