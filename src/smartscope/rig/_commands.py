"""Commands to the hardware: numbered, issued, settled; and the epoch they make."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from smartscope.core import Clock, HardwareError

_REMEMBERED = 4096
"""Settled commands kept to date frames that were exposed before the last ones."""
WINDOW = 256
"""Newest commands that a stamp lists; the epoch alone speaks for older ones."""
_NOTHING: Mapping[str, Any] = MappingProxyType({})
Stamp = tuple[int, tuple[int, ...], tuple[int, ...]]


def _nothing() -> Mapping[str, Any]:
    return _NOTHING


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
        What was asked for, and what the devices said once settled; empty where
        nobody asked them, since a later command had taken its place.
    t_issued_ns : int
        Run clock, just before the device was told.
    t_settled_ns : int or None
        Run clock; None while under way.
    error : HardwareError or None
        Set when it was refused or did not arrive; it is then over too.
    superseded : bool
        A later command on the same resource, or the safe state, took its place; it is
        not verified.
    """

    number: int
    resource: str
    wanted: Mapping[str, float | str]
    t_issued_ns: int
    touches: frozenset[str] = frozenset()
    t_settled_ns: int | None = None
    readback: Mapping[str, float | str] = field(default_factory=_nothing)
    error: HardwareError | None = None
    superseded: bool = False
    # The rest belongs to the actuator.
    devices: tuple[str, ...] = ()
    value: object = None
    promises: Mapping[str, object] = field(default_factory=_nothing)
    t_arrival_ns: int = 0
    t_ready_ns: int = 0
    steps: list[Callable[[Command], None]] = field(default_factory=list)
    trace: Callable[[int, Any], None] | None = None
    taken: bool = False

    @property
    def is_over(self) -> bool:
        """Whether it has settled, failed, or was superseded and seen off."""
        return self.t_settled_ns is not None


class CommandBook:
    """Numbers commands and knows which had settled when. Thread-safe.

    Every method costs the same however many commands are under way.

    Attributes
    ----------
    lock : Lock
        Held while a command begins or ends. Whoever stores what a command has done
        holds it too, so that it cannot be superseded meanwhile; it comes before the
        locks of cache and history.
    changes : int
        Counts beginnings and ends, for readers that keep a stamp.
    since_ns : int
        Run clock of the last beginning or end: from there on all stamps are equal.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.lock = threading.Lock()
        self.changes = 0
        self.since_ns = clock.now_ns()
        self._last = 0
        self._all_settled: Stamp = (0, (), ())
        self._pending: dict[int, Command] = {}
        # By resource, oldest first; all but the last of each are superseded.
        self._lines: dict[str, deque[Command]] = {}
        self._over: deque[Command] = deque(maxlen=_REMEMBERED)
        self._busy: dict[str, int] = {}
        self._versions: dict[str, int] = {}
        self._overrides: dict[str, int] = {}

    def open(
        self, resource: str, wanted: Mapping[str, float | str], touches: frozenset[str]
    ) -> Command:
        """Number a new command; pending ones on its resource are superseded.

        Parameters
        ----------
        resource : str
        wanted : mapping
        touches : frozenset of str
            Everything it may change, `resource` among them.
        """
        with self.lock:
            self._last += 1
            now = self._clock.now_ns()
            command = Command(
                number=self._last,
                resource=resource,
                wanted=wanted,
                t_issued_ns=now,
                touches=touches,
            )
            line = self._lines.get(resource)
            if line is None:
                line = self._lines[resource] = deque()
            if line:
                line[-1].superseded = True
            line.append(command)
            self._pending[command.number] = command
            for name in touches:
                self._versions[name] = self._versions.get(name, 0) + 1
                self._busy[name] = self._busy.get(name, 0) + 1
            self.since_ns = now
            self.changes += 1
            return command

    def close(
        self,
        command: Command,
        readback: Mapping[str, float | str],
        error: HardwareError | None = None,
    ) -> None:
        """Note that a command is over, and with it those it had superseded."""
        with self.lock:
            if command.is_over:
                return
            # First, since whoever sees that it is over looks for it next.
            command.error = error
            now, line = self._clock.now_ns(), self._lines[command.resource]
            while line and line[0].number <= command.number:
                each = line.popleft()
                del self._pending[each.number]
                each.readback = readback
                each.t_settled_ns = now
                self._over.append(each)
                for name in each.touches:
                    self._versions[name] += 1
                    self._busy[name] -= 1
            if not self._pending:
                self._all_settled = (self._last, (), ())
            self.since_ns = now
            self.changes += 1

    def newest(self, command: Command) -> Command:
        """The command that took the place of this one and is under way, or itself."""
        with self.lock:
            line = self._lines[command.resource]
            return line[-1] if line and line[-1].number > command.number else command

    def touched_by(self, command: Command) -> frozenset[str]:
        """What this command and those that end with it may have changed."""
        with self.lock:
            touches = command.touches
            for each in self._lines[command.resource]:
                if each.number >= command.number:
                    break
                if each.touches is not touches:
                    touches = touches | each.touches
            return touches

    def take(self, command: Command) -> bool:
        """Whether the caller is the one to see this command through."""
        with self.lock:
            if command.taken or command.is_over:
                return False
            command.taken = True
            return True

    def abandon(self, resource: str) -> None:
        """Supersede everything pending on `resource`: the safe state overrode it."""
        with self.lock:
            self._versions[resource] = self._versions.get(resource, 0) + 1
            self._overrides[resource] = self._overrides.get(resource, 0) + 1
            for command in self._pending.values():
                if resource in command.touches:
                    command.superseded = True

    def overrides(self, resource: str) -> int:
        """How often the safe state overrode `resource`."""
        return self._overrides.get(resource, 0)

    def is_pending(self, resource: str) -> bool:
        """Whether a command that may change `resource` is under way."""
        return self._busy.get(resource, 0) > 0

    def version(self, resource: str) -> int:
        """Changes whenever a command on `resource` begins or ends."""
        return self._versions.get(resource, 0)

    def if_unchanged(self, resource: str, version: int, do: Callable[[], None]) -> bool:
        """Run `do` unless a command on `resource` began, ended or is under way."""
        with self.lock:
            if self._versions.get(resource, 0) != version:
                return False
            if self._busy.get(resource, 0):
                return False
            do()
            return True

    def any_pending(self) -> bool:
        """Whether any command is under way."""
        return bool(self._pending)

    def stamp(self, t_ns: int) -> Stamp:
        """``(epoch, settled_later, pending)`` as of `t_ns`; see `HardwareState`.

        The two tuples list the newest `WINDOW` commands only.
        """
        with self.lock:
            over = self._over
            if not self._pending and (not over or _settled_ns(over[-1]) <= t_ns):
                return self._all_settled
            unsettled: dict[int, Command] = {}
            for command in reversed(over):
                if _settled_ns(command) <= t_ns:
                    break
                unsettled[command.number] = command
            return self._partly_settled(t_ns, unsettled)

    def _partly_settled(self, t_ns: int, unsettled: dict[int, Command]) -> Stamp:
        last, pending = self._last, self._pending
        first = min(unsettled, default=last)
        first = min(first, next(iter(pending), last))
        later: list[int] = []
        under_way: list[int] = []
        for number in range(max(first, last - WINDOW + 1), last + 1):
            command = pending.get(number) or unsettled.get(number)
            if command is None:
                later.append(number)
            elif command.t_issued_ns <= t_ns:
                under_way.append(number)
        return first - 1, tuple(later), tuple(under_way)


def _settled_ns(command: Command) -> int:
    """When a command that is over settled."""
    return command.t_settled_ns or 0
