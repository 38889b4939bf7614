"""Watches what of the world a piece of code touches: clock, files, chance."""

from __future__ import annotations

import gc
import random
import sys
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from types import FrameType, TracebackType

_CLOCKS = (
    "time",
    "time_ns",
    "monotonic",
    "monotonic_ns",
    "perf_counter",
    "perf_counter_ns",
    "process_time",
    "process_time_ns",
    "thread_time",
    "sleep",
)
_FILES = ("open", "remove", "unlink", "rename", "replace", "mkdir", "rmdir", "listdir")
_WORLD: dict[tuple[str, str], str] = {
    **{("time", name): f"the clock (time.{name})" for name in _CLOCKS},
    **{("", f"{n}.now"): f"the clock ({n}.now)" for n in ("datetime",)},
    ("", "datetime.utcnow"): "the clock (datetime.utcnow)",
    ("", "date.today"): "the clock (date.today)",
    ("io", "open"): "files (open)",
    ("_io", "open"): "files (open)",
    **{(os, name): f"files (os.{name})" for os in ("posix", "nt") for name in _FILES},
    **{(os, "scandir"): "files (os.scandir)" for os in ("posix", "nt")},
    **{(os, "urandom"): "chance (os.urandom)" for os in ("posix", "nt")},
    **{(os, "system"): "other programs (os.system)" for os in ("posix", "nt")},
    ("_posixsubprocess", "fork_exec"): "other programs (subprocess)",
    ("_winapi", "CreateProcess"): "other programs (subprocess)",
    ("_thread", "start_new_thread"): "threads (threading)",
    ("_thread", "start_joinable_thread"): "threads (threading)",
    ("", "socket.connect"): "the network (socket)",
    ("", "socket.bind"): "the network (socket)",
    ("builtins", "print"): "the terminal (print)",
    ("builtins", "input"): "the terminal (input)",
}
_CHANCE = {
    "random": "chance (the module random)",
    "numpy": "chance (numpy.random without a generator)",
}


class Watch:
    """Context manager that notes what code in it touches of the world outside.

    Calls are seen as they happen, however the functions were imported, and go through;
    only the thread that enters is watched. Shared random numbers are noticed by the
    state of their generators.

    Attributes
    ----------
    touched : frozenset of str
        In words, for example ``the clock (time.time)``; complete after the exit.

    Examples
    --------
    >>> from time import monotonic
    >>> with Watch() as watch:
    ...     _ = monotonic()
    >>> sorted(watch.touched)
    ['the clock (time.monotonic)']
    """

    def __init__(self) -> None:
        self.touched: frozenset[str] = frozenset()
        self._found: set[str] = set()
        self._before: dict[str, str] = {}
        self._profiler: Any = None
        self._collects = True

    def __enter__(self) -> Self:
        self._before = _chance()
        self._profiler = sys.getprofile()
        # Whoever listens to the garbage collector would be heard too.
        self._collects = gc.isenabled()
        gc.disable()
        sys.setprofile(self._called)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        sys.setprofile(self._profiler)
        if self._collects:
            gc.enable()
        now = _chance()
        drawn = {_CHANCE[name] for name in now if now[name] != self._before[name]}
        self.touched = frozenset(self._found | drawn)

    def _called(self, frame: FrameType, event: str, what: Any) -> None:
        if event != "c_call":
            return
        name = (getattr(what, "__module__", None) or "", what.__qualname__)
        # A first import within the code reads files too, and that is no harm.
        imports = frame.f_code.co_filename.startswith("<frozen importlib")
        if name in _WORLD and not imports:
            self._found.add(_WORLD[name])


def _chance() -> dict[str, str]:
    kind, keys, *rest = np.random.get_state(legacy=True)
    return {
        "random": str(hash(random.getstate())),
        "numpy": str((kind, hash(np.asarray(keys).tobytes()), rest)),
    }
