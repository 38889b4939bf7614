"""What the rig is like now, without asking it: values, their age, who changed them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from smartscope.core import NS_PER_S, HardwareState

if TYPE_CHECKING:
    from smartscope.rig._commands import CommandBook, Stamp


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalChange:
    """Something we did not command: a joystick, a focus knob, another program.

    Attributes
    ----------
    resource : str
        ``stage``, ``focus``, ``light:488``, ``autofocus`` (a lost or found lock)...
    before, now : mapping
        In the words of `Command.readback`.
    t_ns : int
        Run clock when it was noticed; it happened before.
    """

    resource: str
    before: Mapping[str, float | str]
    now: Mapping[str, float | str]
    t_ns: int


_REMEMBERED = 512
"""Past states kept to stamp frames that were exposed before the last changes."""
_RENEWAL_NS = NS_PER_S
"""Confirmations of unchanged values show in a new state this often."""
_Build = Callable[[Mapping[str, Any]], Mapping[str, Any]]
# Values of these are part of no `HardwareState`.
_NOT_SHOWN = ("property:", "preset:")


@dataclass(slots=True, eq=False)
class _Known:
    """All values as they were from `since_ns` on, until the next of these."""

    since_ns: int
    values: Mapping[str, Any]
    confirmed_ns: Mapping[str, int] = field(default_factory=dict)
    fields: Mapping[str, Any] | None = None


@dataclass(slots=True, eq=False)
class _Stamped:
    """A state, and when it may be given again."""

    state: HardwareState
    known: _Known
    changes: int
    commands: int
    since_ns: int
    until_ns: int


class StateCache:
    """Last known value of every resource. Thread-safe; no device is ever asked here.

    A value comes from a command, a read-back, a notification or the idle poll. What is
    *expected* (the target of the last command) is kept beside it, so that an echo of
    our own command is told from a change made by somebody else.
    """

    def __init__(self, book: CommandBook) -> None:
        self._book = book
        self._lock = threading.Lock()
        self._values: dict[str, Any] = {}
        self._sources: dict[str, str] = {}
        self._expected: dict[str, Any] = {}
        self._external: dict[str, ExternalChange] = {}
        self._confirmed: dict[str, int] = {}
        self._unconfirmed: set[str] = set()
        # Confirmed since the present mapping was made: nothing, old values, new ones.
        self._old_news = self._new_news = False
        self._renewed_ns = 0
        self._past: deque[_Known] = deque(maxlen=_REMEMBERED)
        self._changes = 0
        self._last: _Stamped | None = None
        self._build: _Build | None = None

    def build_with(self, build: _Build, t_ns: int) -> None:
        """Say how values become fields of `HardwareState`; once, when all are read."""
        with self._lock:
            self._build = build
            self._past.append(_Known(t_ns, dict(self._values), dict(self._confirmed)))
            self._renewed_ns = t_ns
            self._old_news = self._new_news = False

    def put(self, name: str, value: Any, t_ns: int, source: str) -> None:
        """Store a value that now holds, and is expected to."""
        with self._lock:
            self._expected[name] = value
            self._store(name, value, t_ns, source)

    def glimpse(self, name: str, value: Any, t_ns: int, source: str) -> None:
        """Store what a device says under way or within tolerance; keep expectations."""
        with self._lock:
            self._store(name, value, t_ns, source)

    def _store(self, name: str, value: Any, t_ns: int, source: str) -> None:
        values = self._values
        self._sources[name] = source
        changed = name not in values or values[name] != value
        if changed:
            # An equal value stays the same object, so that readers may compare by it.
            values[name] = value
        if name.startswith(_NOT_SHOWN):
            return
        if changed and self._build is not None:
            self._past.append(_Known(t_ns, dict(values), self._past[-1].confirmed_ns))
            self._changes += 1
        if source == "commanded":
            if changed:
                self._unconfirmed.add(name)
            return
        self._confirmed[name] = t_ns
        self._old_news = True
        if changed or name in self._unconfirmed:
            self._unconfirmed.discard(name)
            self._new_news = True
            self._changes += 1

    def expect(self, name: str, value: Any) -> None:
        """Remember where a resource is going."""
        with self._lock:
            self._expected[name] = value

    # Single look-ups in a dict need no lock: the threads that ask are in a hurry.

    def expected(self, name: str) -> Any:
        """Value this resource should have, None if unknown."""
        return self._expected.get(name)

    def value(self, name: str) -> Any:
        """Last known value, None if unknown; the same object until it changes."""
        return self._values.get(name)

    def source(self, name: str) -> str:
        """Where the last known value comes from; "" if unknown."""
        return self._sources.get(name, "")

    def confirmed_ns(self, name: str) -> int | None:
        """Run clock when its device last confirmed the value, None for never."""
        return self._confirmed.get(name)

    def note_external(self, change: ExternalChange) -> None:
        """Add an external change; a continued one keeps where it began."""
        with self._lock:
            if earlier := self._external.get(change.resource):
                change = replace(change, before=earlier.before)
            self._external[change.resource] = change
            self._changes += 1

    def take_external(self) -> tuple[ExternalChange, ...]:
        """Hand over the external changes since the last call, in order of notice."""
        if not self._external:
            return ()
        with self._lock:
            changes = tuple(sorted(self._external.values(), key=lambda c: c.t_ns))
            self._external.clear()
            self._changes += 1
            return changes

    def state(self, t_ns: int) -> HardwareState:
        """`HardwareState` of an exposure that begins at `t_ns`.

        The same object as long as it would be an equal one.
        """
        last = self._last
        if (
            last is not None
            and last.changes == self._changes
            and last.commands == self._book.changes
            and last.since_ns <= t_ns < last.until_ns
        ):
            return last.state
        # Counted before looking: what changes in between is then looked at again.
        commands, since_ns = self._book.changes, self._book.since_ns
        stamp = self._book.stamp(t_ns)
        with self._lock:
            newest = self._past[-1]
            self._renew(newest, t_ns)
            known = self._known_at(t_ns)
            state = self._stamped(last, known, stamp)
            since_ns = max(since_ns, known.since_ns)
            if known is newest and t_ns >= since_ns:
                is_young = t_ns - self._renewed_ns < _RENEWAL_NS
                until_ns = (self._renewed_ns if is_young else t_ns) + _RENEWAL_NS
                self._last = _Stamped(
                    state, known, self._changes, commands, since_ns, until_ns
                )
            return state

    def _renew(self, newest: _Known, t_ns: int) -> None:
        is_due = self._old_news and t_ns - self._renewed_ns >= _RENEWAL_NS
        if self._new_news or is_due:
            newest.confirmed_ns = dict(self._confirmed)
            self._renewed_ns = max(t_ns, self._renewed_ns)
            self._old_news = self._new_news = False

    def _known_at(self, t_ns: int) -> _Known:
        # A frame that overlaps a change counts as before it.
        for known in reversed(self._past):
            if known.since_ns <= t_ns:
                return known
        return self._past[0]

    def _stamped(
        self, last: _Stamped | None, known: _Known, stamp: Stamp
    ) -> HardwareState:
        epoch, later, pending = stamp
        external = tuple(self._external)
        if last is not None and last.known is known:
            old = last.state
            if (
                old.confirmed_ns is known.confirmed_ns
                and (old.epoch, old.settled_later, old.pending) == stamp
                and old.external == external
            ):
                return old
        if known.fields is None:
            if self._build is None:
                raise RuntimeError("a state was asked for before the rig was read")
            known.fields = self._build(known.values)
        return HardwareState(
            **known.fields,
            epoch=epoch,
            settled_later=later,
            pending=pending,
            confirmed_ns=known.confirmed_ns,
            external=external,
        )
