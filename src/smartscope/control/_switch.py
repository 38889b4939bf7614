"""The light of a run: one place that puts it on and off."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smartscope.rig import Command, Rig


class LightSwitch:
    """Opens and closes the shutter; lines that nothing gates go by their power.

    Thread-safe. The safe state of the rig does not need it and does not wait for it.
    """

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        roles = rig.config.roles
        self._has_shutter = roles is not None and roles.shutter is not None
        self._bare = [
            n for n, line in rig.config.light.items() if line.gate == "always"
        ]
        self._lock = threading.Lock()
        self._is_on = False
        self.is_barred = False
        self._told_off: list[Command] = []
        self._hand = ThreadPoolExecutor(1, thread_name_prefix="smartscope-light")
        self._shutting: Future[None] | None = None

    def beforehand(self, powers: Mapping[str, float]) -> dict[str, float]:
        """Powers that may be set while the light is still off, percent of range."""
        return {n: 0.0 if n in self._bare else p for n, p in powers.items()}

    def bar(self) -> None:
        """Let no light through any more, whoever asks; waits for nobody."""
        self.is_barred = True

    def on(self, powers: Mapping[str, float]) -> None:
        """Let the light through; raises `HardwareError` if it cannot be had."""
        with self._lock:
            if self.is_barred:
                return
            self._is_on = True
            actuator = self._rig.actuator
            commands = [actuator.set_power(n, powers.get(n, 0.0)) for n in self._bare]
            if self._has_shutter:
                commands.append(actuator.set_shutter(True))
            # The safe state may have come before us; then nobody waits for the devices
            # in the light.
            if not self.is_barred:
                actuator.settle(*commands)
        if self.is_barred:
            self.off()

    def off(self) -> None:
        """Shut the light out and see that it is; nothing to do if it is off already."""
        self.shut()
        self.confirm()

    def close(self) -> None:
        """Let the thread of `shut_meanwhile` go."""
        self._hand.shutdown()

    def shut(self) -> None:
        """Tell the light to go off; `confirm` must follow."""
        with self._lock:
            if not self._is_on:
                return
            actuator = self._rig.actuator
            commands = [actuator.set_shutter(False)] if self._has_shutter else []
            commands += [actuator.set_power(n, 0.0) for n in self._bare]
            self._told_off = commands
            self._is_on = False

    def shut_meanwhile(self) -> None:
        """As `shut`, on a thread of its own: an image can be read out meanwhile."""
        self._shutting = self._hand.submit(self.shut)

    def confirm(self) -> None:
        """Wait until the light is off; raises `HardwareError` if it stays on."""
        if self._shutting is not None:
            shutting, self._shutting = self._shutting, None
            shutting.result()
        with self._lock:
            commands, self._told_off = self._told_off, []
            self._rig.actuator.settle(*commands)
