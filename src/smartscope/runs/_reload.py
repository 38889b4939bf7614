"""Watches the experiment and the policies' files while a run goes on.

On a thread of its own: it reads, loads and checks what was edited; the run takes what
came of it between two sights. Polling needs nothing beyond the standard library and
does not care how an editor saves, in place or by replacing the file.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from smartscope.config import Experiment, load_experiment
from smartscope.control import Reload
from smartscope.core import ConfigError, SmartscopeError
from smartscope.policies import (
    policy_file,
    policy_from_source,
    remake,
    source_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from smartscope.config import PolicyUse
    from smartscope.control import Monitor
    from smartscope.policies import PolicyFactory
    from smartscope.runs._files import Files

    Note = Callable[[str, Mapping[str, Any]], None]

_LOOK_WALL_S = 0.25
_YOUNG_WALL_S = 3.0
"""A file touched so lately may change again without its time of change changing."""
_PATIENCE_WALL_S = 5.0


class _Watched:
    """One file: whether it was edited, and has been written to its end."""

    def __init__(self, path: Path, source: bytes | None = None) -> None:
        self.path = path
        self._stamp: tuple[int, int] | None = None
        self._known = _digest(self._read() if source is None else source)
        self._seen = self._known

    def edited(self) -> bytes | None:
        """The file's new content, once it is the same at two looks; else None."""
        try:
            found = self.path.stat()
        except OSError:
            return None  # an editor is just replacing it
        stamp = (found.st_mtime_ns, found.st_size)
        young = time.time() - found.st_mtime < _YOUNG_WALL_S
        if stamp == self._stamp and self._seen == self._known and not young:
            return None
        self._stamp = stamp
        content = self._read()
        digest = _digest(content)
        before, self._seen = self._seen, digest
        if content is None or digest == self._known or digest != before:
            return None
        self._known = digest
        return content

    def _read(self) -> bytes | None:
        try:
            return self.path.read_bytes()
        except OSError:
            return None


def _digest(content: bytes | None) -> bytes:
    return b"" if content is None else hashlib.sha256(content).digest()


class Reloads:
    """Hands over what was edited; starts to look when it is started.

    Parameters
    ----------
    files : Files
    policies : sequence of PolicyFactory
        As the run began with them.
    note : function
        Journals an entry; from the thread that watches.
    monitor : Monitor
    """

    def __init__(
        self,
        files: Files,
        policies: Sequence[PolicyFactory],
        note: Note,
        monitor: Monitor,
    ) -> None:
        self._note = note
        self._monitor = monitor
        self._written: Experiment | None = None
        self._factories = {policy.name: policy for policy in policies}
        self._uses = {use.called: use for use in files.experiment.policies}
        self._classes = {policy.name: policy.policy for policy in policies}
        self._ready: deque[Reload] = deque()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._file: _Watched | None = None
        if (source := files.experiment.source_file) is not None:
            self._file = _Watched(source)
        self._sources: dict[Path, _Watched] = {}
        self._names: dict[Path, list[str]] = {}
        for name, use in self._uses.items():
            if (path := policy_file(use.use, files.base_dir)) is not None:
                self._names.setdefault(path, []).append(name)
                held = source_of(self._classes[name])
                self._sources.setdefault(path, _Watched(path, held))

    def start(self) -> None:
        """Begin to look, on a thread of its own."""
        if self._file is None and not self._sources:
            return
        self._thread = threading.Thread(
            target=self._watch, name="smartscope-reload", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._over.set()
        if self._thread is not None:
            # A policy's own code may be running there, and may never come back.
            self._thread.join(_PATIENCE_WALL_S)

    def take(self) -> tuple[Reload, ...]:
        """Hand over what is ready; from the thread that decides, never waits."""
        taken = []
        while self._ready:
            taken.append(self._ready.popleft())
        return tuple(taken)

    # ------------------------------------------------------------------- looking

    def _watch(self) -> None:
        if self._file is not None:
            # What Python code has changed of the experiment is no edit of the file.
            with suppress(ConfigError):
                self._written = load_experiment(self._file.path)
        while not self._over.wait(_LOOK_WALL_S):
            self._look()

    def _look(self) -> None:
        for path, watched in self._sources.items():
            if (source := watched.edited()) is not None:
                self._new_source(path, source)
        if self._file is not None and self._file.edited() is not None:
            self._new_experiment(self._file.path)

    def _new_source(self, path: Path, source: bytes) -> None:
        for name in self._names[path]:
            use = self._uses[name].use
            try:
                self._classes[name] = policy_from_source(use, source, path)
                self._make(name)
            except SmartscopeError as error:
                self._refuse(name, error)

    def _new_experiment(self, path: Path) -> None:
        before = self._written
        try:
            new = load_experiment(path)
        except ConfigError as error:
            self._refuse("", error)
            return
        self._written = new
        if before is None:
            return
        parameters = {use.called: use.parameters for use in before.policies}
        for use in new.policies:
            name = use.called
            if name in self._uses and parameters.get(name) != use.parameters:
                update = {"parameters": use.parameters}
                self._uses[name] = self._uses[name].model_copy(update=update)
                try:
                    self._make(name)
                except ConfigError as error:
                    self._refuse(name, new.located(error))
        if others := _others(before, new):
            words = (
                f"{', '.join(others)} changed in {path.name}, which counts from the "
                "next run on; only parameters of policies change while a run goes on"
            )
            self._say("", words)

    def _make(self, name: str) -> None:
        number = list(self._uses).index(name)
        made = remake(
            self._factories[name],
            self._uses[name],
            self._classes[name],
            f"policies[{number}]",
        )
        self._ready.append(Reload(made))

    # ------------------------------------------------------------------- telling

    def _refuse(self, name: str, error: SmartscopeError) -> None:
        self._say(name, f"not reloaded, the run goes on as it was: {error}")

    def _say(self, name: str, words: str) -> None:
        self._note("reload", {"policy": name, "refused": words, "message": words})
        self._monitor.fault(f"{name}: {words}" if name else words)


def _others(old: Experiment, new: Experiment) -> list[str]:
    """What was changed and is not taken over."""
    names = [
        name
        for name in Experiment.model_fields
        if name not in ("policies", "source_file")
        and getattr(old, name) != getattr(new, name)
    ]
    entries = [[_entry(use) for use in each.policies] for each in (old, new)]
    if entries[0] != entries[1]:
        names.append("policies (other than parameters)")
    return names


def _entry(use: PolicyUse) -> dict[str, Any]:
    return use.model_dump(exclude={"parameters"})
