"""Issues one command: numbered, told to the device, traced; never waited for."""

from __future__ import annotations

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

    Parameters
    ----------
    bench : Bench
    make_safe : callable
        Applies the part of the safe state that concerns one resource again.
    """

    def __init__(self, bench: Bench, make_safe: Callable[[Resource], None]) -> None:
        self._bench = bench
        self._make_safe = make_safe
        self._settle_ms = bench.config.settle_ms
        self._property_ms = bench.config.timing.property_ms

    def issue(
        self,
        resource: Resource,
        value: object,
        tell: Callable[[Command], None],
        *,
        promises: Mapping[str, object] | None = None,
        touches: frozenset[str] | None = None,
        moves: bool = False,
    ) -> Command:
        """Tell a device to become `value`.

        A command that the safe state overtakes on its way in is not told any more, and
        one that it overtakes while the device is told is undone; both are superseded.

        Parameters
        ----------
        resource, value
            What is read back, and what it must then be.
        tell : callable
            Makes the core calls; may set the command's further steps.
        promises : mapping of resource name to value
            What else will have changed; verified too.
        touches : frozenset of str, optional
            All that may change, `resource` and promises among it; what is not
            promised is read back, not verified.
        moves : bool
            The value holds only on arrival; otherwise it holds from now on.

        Raises
        ------
        HardwareError
            If the rig is closed or the device refuses at once.
        """
        book, cache, gate = self._bench.book, self._bench.cache, self._bench.gate
        overrides = book.overrides(resource.name)
        gate.enter()
        try:
            with resource.lock:
                wanted = resource.describe(value)
                command = book.open(resource.name, wanted, touches or resource.alone)
                command.devices = resource.devices
                command.value = value
                if promises:
                    command.promises = promises
                if overrides != book.overrides(resource.name):
                    command.superseded = True
                    return command
                # Before telling: the device may answer before the call returns.
                cache.expect(resource.name, value)
                try:
                    tell(command)
                except HardwareError as error:
                    self._refused(command, resource, error)
                    raise
                with book.lock:
                    if not moves and not command.superseded:
                        self._holds(command, resource, value)
                if command.superseded:
                    self._make_safe(resource)
                return command
        finally:
            gate.leave()

    def _holds(self, command: Command, resource: Resource, value: object) -> None:
        bench = self._bench
        now = bench.store(resource, value, "commanded")
        for name, promised in command.promises.items():
            if (other := bench.table.get(name)) is not None:
                bench.store(other, promised, "commanded")
        took_ms = self._property_ms * (1 + len(command.promises))
        if self._settle_ms:
            rests = (self._settle_ms.get(d, 0.0) for d in command.devices)
            took_ms += max(rests, default=0.0)
        command.t_arrival_ns = now
        command.t_ready_ns = now + int(took_ms * NS_PER_MS)

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
