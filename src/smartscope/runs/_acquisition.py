"""Runs pymmcore-plus on a thread of ours, and gets it to an end whatever happens."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartscope.control import Engine

T = TypeVar("T")
_JOIN_WALL_S = 0.05


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
        self._before = core.mda.set_engine(engine)
        self.failure: BaseException | None = None

    def start(self) -> None:
        """Begin to acquire."""
        self._thread.start()

    def wait(self, each: Callable[[], None]) -> None:
        """Wait for the end; `each` is called many times a second meanwhile."""
        while self._thread.is_alive():
            self._thread.join(_JOIN_WALL_S)
            each()

    def end(self) -> None:
        """Cancel what still runs, wait for it, and give the core its engine back."""
        if self._thread.is_alive():
            self._core.mda.cancel()
        if self._thread.ident is not None:
            self._thread.join()
        if self._before is not None and self._core.mda.engine is not self._before:
            self._core.mda.set_engine(self._before)

    @property
    def cancelled(self) -> bool:
        """Whether somebody cancelled it through pymmcore-plus."""
        return str(self._core.mda.status.finish_reason) == "canceled"

    def _run(self) -> None:
        try:
            self._core.mda.run(self._events())
        except BaseException as error:  # handed to the thread that waits
            self.failure = error


def steadily(step: Callable[[], T]) -> T:
    """Do one step of an ending to its end, however often Ctrl-C is pressed.

    The steps only make safe and let go; each may be done twice.
    """
    while True:
        try:
            return step()
        except KeyboardInterrupt:
            continue
