"""Sees issued commands through: waits, reads back, compares."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from smartscope.core import NS_PER_MS, HardwareError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from smartscope.config import RigConfig
    from smartscope.core import Clock
    from smartscope.rig._cache import StateCache
    from smartscope.rig._commands import Command, CommandBook
    from smartscope.rig._port import Port
    from smartscope.rig._resources import Resource

PATIENCE_S = 10.0
"""Longest wait for a device without another timeout, beyond the move itself."""
_POLL_S = 0.0005


class Settler:
    """Waits for exactly the devices of a command and believes only their read-back."""

    def __init__(
        self,
        port: Port,
        clock: Clock,
        config: RigConfig,
        book: CommandBook,
        cache: StateCache,
    ) -> None:
        self._port = port
        self._clock = clock
        self._settle_ms = config.settle_ms
        self._book = book
        self._cache = cache

    def finish(
        self,
        command: Command,
        resource: Resource,
        touched: Callable[[Command], None],
        timeout_s: float | None,
    ) -> None:
        """Settle one command; `touched` refreshes what it changed besides.

        Raises
        ------
        HardwareError
            Still busy at the timeout, or read back as something else.
        """
        patience = PATIENCE_S if timeout_s is None else timeout_s
        deadline = time.perf_counter() + patience
        if not self._book.take(command):
            self._await_other(command, deadline, patience)
            return
        try:
            self._arrive(command, deadline, patience)
            found = self._verify(command, resource, deadline)
            touched(command)
            self._book.close(command, found)
        except HardwareError as error:
            if not command.superseded:
                self._recover(command, resource)
            self._book.close(command, {}, error)
            raise
        finally:
            command.taken = False

    def wait_idle(
        self, devices: tuple[str, ...], deadline: float, patience: float
    ) -> bool:
        """Poll these devices, and no other, until none is busy; True if one was."""
        waited = False
        for device in devices:
            while self._port.busy(device):
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
        if command.error is not None:
            raise command.error

    def _arrive(self, command: Command, deadline: float, patience: float) -> None:
        while True:
            waited = self.wait_idle(command.devices, deadline, patience)
            # Found idle at once, it arrived some time ago, as predicted. A virtual
            # clock lives by the timing table in any case.
            now = self._clock.now_ns()
            if self._clock.kind != "virtual" and (waited or now < command.t_arrival_ns):
                command.t_arrival_ns = now
            self._pass_time(command)
            if command.superseded or not command.steps:
                return
            command.steps.pop(0)(command)

    def _pass_time(self, command: Command) -> None:
        if self._clock.kind == "virtual":
            self._clock.account_ns(max(0, command.t_ready_ns - self._clock.now_ns()))
            return
        rest_ms = max((self._settle_ms.get(d, 0.0) for d in command.devices), default=0)
        if rest_ms:
            self._clock.sleep_ns(int(rest_ms * NS_PER_MS))

    def _verify(
        self, command: Command, resource: Resource, deadline: float
    ) -> Mapping[str, float | str]:
        value = command.value
        grace = min(time.perf_counter() + resource.grace_s, deadline)
        found = resource.read_for(value)
        while not command.superseded and not resource.same(value, found):
            if time.perf_counter() > grace:
                raise HardwareError(
                    f"was told {_words(resource.describe(value))} and is at "
                    f"{_words(resource.describe(found))}",
                    device=command.devices[0] if command.devices else "",
                )
            time.sleep(_POLL_S)
            found = resource.read_for(value)
        if not command.superseded:
            self._cache.put(resource.name, found, self._clock.now_ns(), "read")
            if command.trace is not None:
                command.trace(command.t_arrival_ns, found)
        return resource.describe(found)

    def _recover(self, command: Command, resource: Resource) -> None:
        # It is where it is; what we wanted must not be taken for an outside change.
        command.steps.clear()
        try:
            found = resource.read()
        except HardwareError:
            return
        now = self._clock.now_ns()
        resource.trace(now, found)
        self._cache.put(resource.name, found, now, "read")


def _words(values: Mapping[str, float | str]) -> str:
    return ", ".join(
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in values.items()
    )
