"""The light of a run: one place that puts it on and off."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smartscope.rig import Rig


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

    def beforehand(self, powers: Mapping[str, float]) -> dict[str, float]:
        """Powers that may be set while the light is still off, percent of range."""
        return {n: 0.0 if n in self._bare else p for n, p in powers.items()}

    def on(self, powers: Mapping[str, float]) -> None:
        """Let the light through; raises `HardwareError` if it cannot be had."""
        with self._lock:
            self._is_on = True
            actuator = self._rig.actuator
            commands = [actuator.set_power(n, powers.get(n, 0.0)) for n in self._bare]
            if self._has_shutter:
                commands.append(actuator.set_shutter(True))
            actuator.settle(*commands)

    def off(self) -> None:
        """Shut the light out; does nothing if it is off already."""
        with self._lock:
            if not self._is_on:
                return
            actuator = self._rig.actuator
            commands = [actuator.set_shutter(False)] if self._has_shutter else []
            commands += [actuator.set_power(n, 0.0) for n in self._bare]
            actuator.settle(*commands)
            self._is_on = False
