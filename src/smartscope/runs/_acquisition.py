"""Runs pymmcore-plus on a thread of ours, and gets it to an end whatever happens."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartscope.control import Engine

T = TypeVar("T")
_LOOK_WALL_S = 0.01


class Acquisition:
    """One call of ``core.mda.run`` with our engine, on a thread named for it.

    Parameters
    ----------
    core : CMMCorePlus
    engine : Engine
    events : function
        Gives what the runner is to be handed.
    """

    def __init__(self, core: Any, engine: Engine, events: Callable[[], Any]) -> None:
        self._core = core
        self._events = events
        self._thread = threading.Thread(target=self._run, name="smartscope-run")
        # Not the thread's own end: a Ctrl-C in `Thread.join` or `is_alive` makes Python
        # before 3.13 call a thread dead that is not.
        self._over = threading.Event()
        self._before = core.mda.set_engine(engine)
        self.failure: BaseException | None = None

    def start(self) -> None:
        """Begin to acquire."""
        self._thread.start()

    def wait(self, each: Callable[[], None]) -> None:
        """Wait for the end; `each` is called many times a second meanwhile."""
        while not self._over.wait(_LOOK_WALL_S):
            each()

    def end(self) -> None:
        """Cancel what still runs, wait for it, and give the core its engine back."""
        if self._thread.ident is not None:
            if not self._over.is_set():
                self._core.mda.cancel()
            self._over.wait()
            self._thread.join()
        if self._before is not None and self._core.mda.engine is not self._before:
            self._core.mda.set_engine(self._before)

    @property
    def cancelled(self) -> bool:
        """Whether somebody cancelled it through pymmcore-plus."""
        status = self._core.mda.status
        return bool(status.cancel_requested or str(status.finish_reason) == "canceled")

    @property
    def paused(self) -> bool:
        """Whether somebody wants the present event to pause."""
        return bool(self._core.mda.status.pause_requested)

    def _run(self) -> None:
        try:
            self._core.mda.run(self._events())
        except BaseException as error:  # handed to the thread that waits
            self.failure = error
        finally:
            self._over.set()


def steadily(step: Callable[[], T]) -> T:
    """Do an ending to its end, however often Ctrl-C is pressed.

    On a thread of its own, because Ctrl-C strikes the main thread wherever it is, also
    half-way through closing a file.
    """
    claim, over = threading.Lock(), threading.Event()
    results: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        if not claim.acquire(blocking=False):
            return  # the first attempt to start us was interrupted, but not in vain
        try:
            results.append(step())
        except BaseException as error:  # raised below
            errors.append(error)
        finally:
            over.set()

    while not over.is_set():
        try:
            if not claim.locked():
                threading.Thread(target=work, name="smartscope-ending").start()
            over.wait()
        except KeyboardInterrupt:
            continue
    if errors:
        raise errors[0]
    return results[0]
