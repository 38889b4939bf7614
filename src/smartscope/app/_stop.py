"""Ctrl-C and SIGTERM: first ask for an orderly end, then insist."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

__all__ = ["Stopper", "orderly_stop"]

PATIENCE_S = 5.0


class Stopper:
    """What a signal does: the first asks, the second raises.

    While the light is being switched off after the second one, further ones within
    `PATIENCE_S` are ignored, so that an impatient hand does not leave it on.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.stop = threading.Event()
        self._say = say
        self._insisted_s: float | None = None

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        """Handle one signal, on the main thread."""
        now_s = time.monotonic()
        if not self.stop.is_set():
            self.stop.set()
            self._say(
                "Ending the run in an orderly way, light off; again to end it now."
            )
        elif self._insisted_s is None or now_s - self._insisted_s > PATIENCE_S:
            self._insisted_s = now_s
            raise KeyboardInterrupt


@contextmanager
def orderly_stop(say: Callable[[str], None]) -> Iterator[threading.Event]:
    """Hand out the event that is set by the first Ctrl-C, SIGTERM or Ctrl-Break.

    Only the main thread may handle signals; elsewhere the event is never set by one.
    """
    stopper = Stopper(say)
    if threading.current_thread() is not threading.main_thread():
        yield stopper.stop
        return
    # SIGBREAK is Windows' Ctrl-Break; SIGTERM is delivered on POSIX only.
    names = ("SIGINT", "SIGTERM", "SIGBREAK")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.signal(number, stopper) for number in numbers}
    try:
        yield stopper.stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
