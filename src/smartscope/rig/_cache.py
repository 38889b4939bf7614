"""What the rig is like now, without asking it: values, their age, who changed them."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from smartscope.core import NS_PER_S, HardwareState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from smartscope.rig._commands import CommandBook


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


@dataclass(slots=True)
class _Reading:
    value: Any
    t_ns: int
    source: str


class StateCache:
    """Last known value of every resource, with time and source. Thread-safe.

    Sources are ``read`` (asked for it), ``commanded`` (accepted, not yet read back) and
    ``notified`` (the device said so).
    """

    def __init__(self, book: CommandBook) -> None:
        self._book = book
        self._lock = threading.Lock()
        self._readings: dict[str, _Reading] = {}
        self._expected: dict[str, Any] = {}
        self._external: dict[str, ExternalChange] = {}
        self._states: deque[tuple[int, HardwareState]] = deque(maxlen=_REMEMBERED)
        self._build: Callable[[Mapping[str, Any]], HardwareState] | None = None

    def build_with(
        self, build: Callable[[Mapping[str, Any]], HardwareState], t_ns: int
    ) -> None:
        """Say how values become a `HardwareState`; called once, when all are read."""
        with self._lock:
            self._build = build
            self._changed(t_ns)

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
        old = self._readings.get(name)
        self._readings[name] = _Reading(value, t_ns, source)
        if old is None or old.value != value:
            self._changed(t_ns)

    def _changed(self, t_ns: int) -> None:
        if self._build is not None:
            values = {name: r.value for name, r in self._readings.items()}
            self._states.append((t_ns, self._build(values)))

    def _known_at(self, t_ns: int) -> HardwareState:
        # A frame that overlaps a change counts as before it.
        for since, state in reversed(self._states):
            if since <= t_ns:
                return state
        return self._states[0][1]

    def expect(self, name: str, value: Any) -> None:
        """Remember where a resource is going."""
        with self._lock:
            self._expected[name] = value

    def expected(self, name: str) -> Any:
        """Value this resource should have, None if unknown."""
        with self._lock:
            return self._expected.get(name)

    def value(self, name: str) -> Any:
        """Last known value, None if unknown."""
        with self._lock:
            reading = self._readings.get(name)
            return reading.value if reading is not None else None

    def source(self, name: str) -> str:
        """Where the last known value comes from; "" if unknown."""
        with self._lock:
            reading = self._readings.get(name)
            return reading.source if reading is not None else ""

    def note_external(self, change: ExternalChange) -> None:
        """Add an external change; a continued one keeps where it began."""
        with self._lock:
            if earlier := self._external.get(change.resource):
                change = replace(change, before=earlier.before)
            self._external[change.resource] = change

    def take_external(self) -> tuple[ExternalChange, ...]:
        """Hand over the external changes since the last call, in order of notice."""
        with self._lock:
            changes = tuple(sorted(self._external.values(), key=lambda c: c.t_ns))
            self._external.clear()
            return changes

    def state(self, t_ns: int) -> HardwareState:
        """`HardwareState` of an exposure that begins at `t_ns`."""
        epoch, later, pending = self._book.stamp(t_ns)
        with self._lock:
            known = self._known_at(t_ns)
            ages = {
                name: max(0, t_ns - reading.t_ns) / NS_PER_S
                for name, reading in self._readings.items()
            }
            external = tuple(self._external)
        return HardwareState(
            x_um=known.x_um,
            y_um=known.y_um,
            z_um=known.z_um,
            channel=known.channel,
            objective=known.objective,
            exposure_ms=known.exposure_ms,
            power_percent=known.power_percent,
            power_mw=known.power_mw,
            shutter_open=known.shutter_open,
            roi_px=known.roi_px,
            binning=known.binning,
            epoch=epoch,
            settled_later=later,
            pending=pending,
            age_s=ages,
            external=external,
        )
