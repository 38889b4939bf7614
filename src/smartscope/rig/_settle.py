"""Sees issued commands through: waits, reads back, compares."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from smartscope.core import NS_PER_MS, HardwareError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smartscope.rig._bench import Bench
    from smartscope.rig._commands import Command
    from smartscope.rig._resources import Resource

PATIENCE_S = 10.0
"""Longest wait for a device without another timeout, beyond the move itself."""
_POLL_S = 0.0005


class Settler:
    """Waits for exactly the devices of a command and believes only their read-back.

    A command that was superseded is not asked about: the one in its place is seen
    through, and both end. Where that one is superseded in its turn while it is waited
    for, they end at once, so that a resource that never rests holds nobody up.
    """

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._port = bench.port
        self._clock = bench.clock
        self._book = bench.book
        self._settle_ms = bench.config.settle_ms
        self._is_virtual = bench.clock.kind == "virtual"

    def finish(self, command: Command, timeout_s: float | None) -> None:
        """Settle one command.

        Raises
        ------
        HardwareError
            Still busy at the timeout, or read back as something else.
        """
        patience = PATIENCE_S if timeout_s is None else timeout_s
        deadline = time.perf_counter() + patience
        if not command.is_over:
            resource = self._bench.table.get(command.resource)
            if resource is None:
                raise HardwareError(f"command {command.number} is not of this rig")
            present = self._book.newest(command) if command.superseded else command
            if self._book.take(present):
                self._see_through(command, present, resource, deadline, patience)
            else:
                self._await_other(command, deadline, patience)
        if command.error is not None:
            raise command.error

    def _see_through(
        self,
        command: Command,
        present: Command,
        resource: Resource,
        deadline: float,
        patience: float,
    ) -> None:
        """Settle `present`, which is `command` or has taken its place."""
        try:
            self._arrive(present, deadline, patience)
            found = self._verify(present, resource, deadline)
            self._see_touched(present)
            self._book.close(present, found)
        except HardwareError as error:
            # This caller's patience must not fail what another caller asked for.
            is_late = present is not command and time.perf_counter() > deadline
            failed = command if is_late else present
            if not failed.superseded:
                self._recover(failed, resource)
            self._book.close(failed, {}, error)
        finally:
            present.taken = False

    def _wait_idle(self, command: Command, deadline: float, patience: float) -> bool:
        """Poll its devices, and no other, until none is busy; True if one was."""
        waited, busy = False, self._port.busy
        for device in command.devices:
            while not command.superseded and busy(device):
                waited = True
                if time.perf_counter() > deadline:
                    raise HardwareError(
                        f"is still busy after {patience:g} s; look at its power and "
                        "for something in its way",
                        device=device,
                    )
                # Not a timed lock: those wake every 15 ms on Windows.
                time.sleep(_POLL_S)
        return waited

    def _await_other(self, command: Command, deadline: float, patience: float) -> None:
        while not command.is_over:
            if time.perf_counter() > deadline:
                raise HardwareError(
                    f"command {command.number} ({command.resource}) has not settled "
                    f"after {patience:g} s"
                )
            time.sleep(_POLL_S)

    def _arrive(self, command: Command, deadline: float, patience: float) -> None:
        while not command.superseded:
            waited = self._wait_idle(command, deadline, patience)
            if command.superseded:
                return
            # Found idle at once, it arrived some time ago, as predicted. A virtual
            # clock lives by the timing table in any case.
            if not self._is_virtual:
                now = self._clock.now_ns()
                if waited or now < command.t_arrival_ns:
                    command.t_arrival_ns = now
            self._pass_time(command)
            if command.superseded or not command.steps:
                return
            command.steps.pop(0)(command)

    def _pass_time(self, command: Command) -> None:
        if self._is_virtual:
            self._clock.account_ns(max(0, command.t_ready_ns - self._clock.now_ns()))
        elif self._settle_ms:
            rests = (self._settle_ms.get(d, 0.0) for d in command.devices)
            if rest_ms := max(rests, default=0.0):
                self._clock.sleep_ns(int(rest_ms * NS_PER_MS))

    def _verify(
        self, command: Command, resource: Resource, deadline: float
    ) -> Mapping[str, float | str]:
        if command.superseded:
            return {}
        value = command.value
        found = resource.read_for(value)
        if not resource.same(value, found):
            found = self._give_grace(command, resource, found, deadline)
        with self._book.lock:
            if not command.superseded:
                now = self._clock.now_ns()
                self._bench.cache.put(resource.name, found, now, "read")
                if command.trace is not None:
                    command.trace(command.t_arrival_ns, found)
        return resource.describe(found)

    def _give_grace(
        self, command: Command, resource: Resource, found: object, deadline: float
    ) -> object:
        """Look again: some devices report idle a moment before they are there."""
        value = command.value
        until = min(time.perf_counter() + resource.grace_s, deadline)
        while not command.superseded and not resource.same(value, found):
            if time.perf_counter() > until:
                raise HardwareError(
                    f"was told {_words(resource.describe(value))} and is at "
                    f"{_words(resource.describe(found))}",
                    device=command.devices[0] if command.devices else "",
                )
            time.sleep(_POLL_S)
            found = resource.read_for(value)
        return found

    def _see_touched(self, command: Command) -> None:
        """Read back what the command, and those that end with it, changed besides."""
        touched = self._book.touched_by(command)
        if len(touched) == 1:
            return
        for name in sorted(touched - {command.resource}):
            resource = self._bench.table.get(name)
            if resource is None:
                continue
            promised = command.promises.get(name)
            found = resource.read_for(promised)
            self._bench.store(resource, found, "read")
            if command.superseded or name not in command.promises:
                continue
            if not resource.same(promised, found):
                raise HardwareError(
                    f"{resource.describe(promised)} was asked for and "
                    f"{resource.describe(found)} was found",
                    device=resource.devices[0] if resource.devices else "",
                )

    def _recover(self, command: Command, resource: Resource) -> None:
        # It is where it is; what we wanted must not be taken for an outside change.
        command.steps.clear()
        try:
            found = resource.read()
        except HardwareError:
            return
        now = self._clock.now_ns()
        resource.trace(now, found)
        self._bench.cache.put(resource.name, found, now, "read")


def _words(values: Mapping[str, float | str]) -> str:
    return ", ".join(
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in values.items()
    )
