"""How frames reach the thread that sees and decides."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smartscope.core import Frame, View


class Inbox:
    """Frames waiting for vision; the sender never waits.

    Parameters
    ----------
    latest : bool
        True keeps the newest group of each view and counts the frames it replaces, so
        vision never falls behind; a group that vision has begun is left whole. False
        keeps all, in order (plans in lockstep, where the next exposure waits for the
        decision anyway).
    """

    def __init__(self, *, latest: bool) -> None:
        self._latest = latest
        self._frames: deque[Frame] = deque()
        self._skipped: dict[View, int] = {}
        self._begun: dict[View, object] = {}
        self._condition = threading.Condition()
        self._busy = False
        self._closed = False
        self.delivered = 0
        self.skipped = 0

    def put(self, frame: Frame) -> list[Frame]:
        """Add a frame; returns those it replaced."""
        with self._condition:
            replaced = self._outdated(frame) if self._latest else []
            for old in replaced:
                self._frames.remove(old)
            if replaced:
                self.skipped += len(replaced)
                count = self._skipped.get(frame.view, 0) + len(replaced)
                self._skipped[frame.view] = count
            self._frames.append(frame)
            self._condition.notify()
            return replaced

    def get(self) -> tuple[Frame, int] | None:
        """Wait for a frame; returns it and how many of its view were skipped before.

        None once closed and empty.
        """
        with self._condition:
            self._busy = False
            while not self._frames and not self._closed:
                self._condition.wait()
            if not self._frames:
                return None
            self._busy = True
            frame = self._frames.popleft()
            self._begun[frame.view] = _group(frame)
            self.delivered += 1
            return frame, self._skipped.pop(frame.view, 0)

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing is being seen or decided."""
        with self._condition:
            return not self._frames and not self._busy

    def close(self) -> None:
        """Let `get` return None once all waiting frames are taken."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def _outdated(self, frame: Frame) -> list[Frame]:
        keep = (_group(frame), self._begun.get(frame.view))
        return [
            waiting
            for waiting in self._frames
            if waiting.view == frame.view and _group(waiting) not in keep
        ]


def _group(frame: Frame) -> object:
    # A frame without a group stands for itself.
    return frame.group or frame.frame_id
