"""Issues one command: numbered, told to the device, traced; never waited for."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from smartscope.core import NS_PER_MS, HardwareError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from smartscope.rig._bench import Bench
    from smartscope.rig._commands import Command
    from smartscope.rig._resources import Resource


class Issuer:
    """The one door through which hardware is changed. Thread-safe.

    One lock per resource keeps number and order of its commands the same; it is held
    only while the device is being told.
    """

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._locks: dict[str, threading.Lock] = {}
        self._locks_lock = threading.Lock()

    def issue(
        self,
        resource: Resource,
        value: object,
        tell: Callable[[Command], None],
        *,
        promises: Mapping[str, object] | None = None,
        touches: frozenset[str] = frozenset(),
        moves: bool = False,
    ) -> Command:
        """Tell a device to become `value`.

        Parameters
        ----------
        resource, value
            What is read back, and what it must then be.
        tell : callable
            Makes the core calls; may set the command's further steps.
        promises : mapping of resource name to value
            What else will have changed; verified too.
        touches : frozenset of str
            What else may change; read back, not verified.
        moves : bool
            The value holds only on arrival; otherwise it holds from now on.

        Raises
        ------
        HardwareError
            If the rig is closed or the device refuses at once.
        """
        bench, promises = self._bench, dict(promises or {})
        with bench.gate.passing(), self._lock(resource.name):
            command = bench.book.open(
                resource.name,
                resource.describe(value),
                touches | frozenset(promises),
            )
            command.devices = resource.devices
            command.value = value
            command.promises = promises
            # Before telling: the device may answer before the call returns.
            bench.cache.expect(resource.name, value)
            try:
                tell(command)
            except HardwareError as error:
                self._refused(command, resource, error)
                raise
            if not moves:
                self._holds(command, resource, value)
            return command

    def _holds(self, command: Command, resource: Resource, value: object) -> None:
        bench = self._bench
        bench.store(resource, value, "commanded")
        for name, promised in command.promises.items():
            if (other := bench.table.get(name)) is not None:
                bench.store(other, promised, "commanded")
        count = 1 + len(command.promises)
        took_ms = bench.config.timing.property_ms * count
        rests = (bench.config.settle_ms.get(d, 0.0) for d in command.devices)
        took_ms += max(rests, default=0.0)
        command.t_arrival_ns = bench.clock.now_ns()
        command.t_ready_ns = command.t_arrival_ns + int(took_ms * NS_PER_MS)

    def _refused(
        self, command: Command, resource: Resource, error: HardwareError
    ) -> None:
        bench = self._bench
        try:
            bench.store(resource, resource.read(), "read")
        except HardwareError:
            # It does not answer at all; the last known value stays, and ages.
            bench.cache.expect(resource.name, bench.cache.value(resource.name))
        bench.book.close(command, {}, error)

    def _lock(self, name: str) -> threading.Lock:
        with self._locks_lock:
            return self._locks.setdefault(name, threading.Lock())
