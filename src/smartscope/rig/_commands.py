"""Commands to the hardware: numbered, issued, settled; and the epoch they make."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from smartscope.core import Clock, HardwareError

_REMEMBERED = 4096
"""Settled commands kept to date frames that were exposed before the last ones."""


@dataclass(slots=True, eq=False, kw_only=True)
class Command:
    """One change of the hardware, under way or over.

    Attributes
    ----------
    number : int
        Counts 1, 2, 3... over the life of a rig.
    resource : str
        What it changes: ``stage``, ``focus``, ``light:488``...
    wanted, readback : mapping
        What was asked for, and what the devices said once settled.
    t_issued_ns : int
        Run clock, just before the device was told.
    t_settled_ns : int or None
        Run clock; None while under way.
    error : HardwareError or None
        Set when it was refused or did not arrive; it is then over too.
    superseded : bool
        A later command on the same resource took its place; it is not verified.
    """

    number: int
    resource: str
    wanted: Mapping[str, float | str]
    t_issued_ns: int
    touches: frozenset[str] = frozenset()
    t_settled_ns: int | None = None
    readback: Mapping[str, float | str] = field(default_factory=dict)
    error: HardwareError | None = None
    superseded: bool = False
    # The rest belongs to the actuator.
    devices: tuple[str, ...] = ()
    value: object = None
    promises: Mapping[str, object] = field(default_factory=dict)
    t_arrival_ns: int = 0
    t_ready_ns: int = 0
    steps: list[Callable[[Command], None]] = field(default_factory=list)
    trace: Callable[[int, Any], None] | None = None
    taken: bool = False

    @property
    def is_over(self) -> bool:
        """Whether it has settled or failed."""
        return self.t_settled_ns is not None


class CommandBook:
    """Numbers commands and knows which had settled when. Thread-safe."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last = 0
        self._pending: dict[int, Command] = {}
        self._over: deque[Command] = deque(maxlen=_REMEMBERED)
        self._versions: dict[str, int] = {}

    def open(
        self,
        resource: str,
        wanted: Mapping[str, float | str],
        touches: frozenset[str] = frozenset(),
    ) -> Command:
        """Number a new command; pending ones on its resource are superseded."""
        with self._lock:
            self._last += 1
            command = Command(
                number=self._last,
                resource=resource,
                wanted=wanted,
                t_issued_ns=self._clock.now_ns(),
                touches=touches | {resource},
            )
            for other in self._pending.values():
                if other.resource == resource:
                    other.superseded = True
            self._pending[command.number] = command
            for name in command.touches:
                self._versions[name] = self._versions.get(name, 0) + 1
            return command

    def close(
        self,
        command: Command,
        readback: Mapping[str, float | str],
        error: HardwareError | None = None,
    ) -> None:
        """Note that a command is over, and with it those it had superseded."""
        with self._lock:
            if command.is_over:
                return
            now = self._clock.now_ns()
            ending = [
                other
                for other in self._pending.values()
                if other.number <= command.number
                and other.resource == command.resource
                and (other is command or other.superseded)
            ]
            for each in ending:
                each.readback = readback
                each.t_settled_ns = now
                del self._pending[each.number]
                self._over.append(each)
                for name in each.touches:
                    self._versions[name] = self._versions.get(name, 0) + 1
            command.error = error

    def take(self, command: Command) -> bool:
        """Whether the caller is the one to see this command through."""
        with self._lock:
            if command.taken or command.is_over:
                return False
            command.taken = True
            return True

    def abandon(self, resource: str) -> None:
        """Supersede everything pending on `resource`: the safe state overrode it."""
        with self._lock:
            self._versions[resource] = self._versions.get(resource, 0) + 1
            for command in self._pending.values():
                if resource in command.touches:
                    command.superseded = True

    def is_pending(self, resource: str) -> bool:
        """Whether a command that may change `resource` is under way."""
        with self._lock:
            return any(resource in c.touches for c in self._pending.values())

    def version(self, resource: str) -> int:
        """Changes whenever a command on `resource` begins or ends."""
        with self._lock:
            return self._versions.get(resource, 0)

    def if_unchanged(self, resource: str, version: int, do: Callable[[], None]) -> bool:
        """Run `do` unless a command on `resource` began, ended or is under way."""
        with self._lock:
            if self._versions.get(resource, 0) != version:
                return False
            if any(resource in c.touches for c in self._pending.values()):
                return False
            do()
            return True

    def any_pending(self) -> bool:
        """Whether any command is under way."""
        with self._lock:
            return bool(self._pending)

    def stamp(self, t_ns: int) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
        """``(epoch, settled_later, pending)`` as of `t_ns`; see `HardwareState`."""
        with self._lock:
            unsettled = list(self._pending.values())
            for command in reversed(self._over):
                if command.t_settled_ns is not None and command.t_settled_ns <= t_ns:
                    break
                unsettled.append(command)
            if not unsettled:
                return self._last, (), ()
            numbers = {command.number for command in unsettled}
            first = min(numbers)
            later = (n for n in range(first + 1, self._last + 1) if n not in numbers)
            pending = sorted(c.number for c in unsettled if c.t_issued_ns <= t_ns)
            return first - 1, tuple(later), tuple(pending)
