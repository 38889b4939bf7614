"""The safe state: one list, applied from any thread, shutters first, then power."""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from smartscope.rig._mmcore import CMMCorePlus, DeviceType
from smartscope.rig._port import words_of
from smartscope.rig._properties import equal_text
from smartscope.rig._slm import DARK, Slm

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartscope.config import RigConfig
    from smartscope.rig._bench import Bench
    from smartscope.rig._port import Port
    from smartscope.rig._resources import Resource
    from smartscope.rig._roles import RoleCheck

_log = logging.getLogger("smartscope.rig")
Entry = tuple[str, str, str]
"""``(device, property, value)``."""
_GROUP, _PRESET = "System", "Shutdown"


def find_safe_state(
    core: CMMCorePlus, config: RigConfig, check: RoleCheck
) -> tuple[Entry, ...]:
    """Entries of the safe state in the order in which they are applied.

    They come from the rig file, else from the ``System/Shutdown`` preset, else every
    light line goes to zero; the shutter role is closed in any case. Shutters go first,
    then light power, then the rest. Devices of the camera's own adapter come after all
    others, since during a snap they take no word until it ends.

    Raises
    ------
    ConfigError
        If an entry does not fit the devices, or leaves a light line on.
    """
    entries, field = _entries(core, config, check)
    shutter = config.roles.shutter if config.roles is not None else None
    for name, line in config.light.items():
        gated = line.gate == "shutter" and shutter is not None
        dark = [
            float(value) <= line.range[0]
            for device, prop, value in entries
            if (device, prop) == line.power
        ]
        if not gated and not (dark and dark[-1]):
            device, prop = line.power
            raise check.error(
                f"it does not switch light line '{name}' off",
                field,
                f"add [{device}, {prop}, {line.range[0]:g}] to safe_state",
            )
    if shutter is not None:
        entries.append((shutter, "State", "0"))
    powers = {line.power for line in config.light.values()}
    camera = core.getDeviceLibrary(config.roles.camera) if config.roles else ""

    def turn(entry: Entry) -> tuple[bool, int]:
        waits = core.getDeviceLibrary(entry[0]) == camera
        if core.getDeviceType(entry[0]) == DeviceType.Shutter:
            return waits, 0
        return waits, 1 if entry[:2] in powers else 2

    return tuple(sorted(dict.fromkeys(entries), key=turn))


def _entries(
    core: CMMCorePlus, config: RigConfig, check: RoleCheck
) -> tuple[list[Entry], str]:
    if config.safe_state:
        for i, entry in enumerate(config.safe_state):
            check.value(entry, f"safe_state[{i}]")
        return [(d, p, str(v)) for d, p, v in config.safe_state], "safe_state"
    if _PRESET in core.getAvailableConfigs(_GROUP):
        preset = core.getConfigData(_GROUP, _PRESET)
        found = [(str(d), str(p), str(v)) for d, p, v in preset]
        return found, f"safe_state (preset {_GROUP}/{_PRESET})"
    dark = [(*line.power, f"{line.range[0]:.10g}") for line in config.light.values()]
    return dark, "safe_state"


class SafeState:
    """Switches everything off, past every queue and lock of ours.

    Only the adapter's own lock remains: a device of the camera's adapter takes no word
    until a snap ends, whichever thread tells it. So those come last, and a command that
    waits for the same lock finds itself superseded and goes dark again.
    """

    def __init__(self, bench: Bench, entries: tuple[Entry, ...]) -> None:
        self._bench = bench
        self.entries = entries

    def apply(self) -> tuple[str, ...]:
        """Apply and verify; return the failures as sentences, never raise."""
        failures: list[str] = []
        for device, prop, _ in self.entries:
            # All at once: while one entry waits for a snap to end, no command that
            # concerns a later one may get past.
            for resource in self._bench.table.concerned(device, prop):
                self._bench.book.abandon(resource.name)
        slm = self._bench.table.find("slm", Slm)
        if slm is not None:
            self._bench.book.abandon(slm.name)
        for entry in self.entries:
            self._try(partial(self._set, entry), failures)
        for entry in self.entries:
            wrong: list[str] = []
            self._try(partial(self._verified, entry), wrong)
            if wrong:
                # A command that waited for the same lock may have come after it.
                self._try(partial(self._set, entry), failures)
                self._try(partial(self._verified, entry), failures)
        if slm is not None:
            # Last: it makes no light, it only lets some through.
            self._try(partial(self._darken, slm), failures)
        for failure in failures:
            _log.error("safe state: %s", failure)
        return tuple(failures)

    def apply_to(self, resource: Resource) -> None:
        """Apply again what concerns one resource; never raises, failures are logged.

        For a command that the device may have taken after the safe state.
        """
        failures: list[str] = []
        concerned = self._bench.table.concerned
        if isinstance(resource, Slm):
            self._try(partial(self._darken, resource), failures)
        for entry in self.entries:
            if resource in concerned(entry[0], entry[1]):
                self._try(partial(self._set, entry), failures)
                self._try(partial(self._verified, entry), failures)
        for failure in failures:
            _log.error("safe state: %s", failure)

    def _try(self, step: Callable[[], str | None], failures: list[str]) -> None:
        try:
            failure = step()
        except Exception as error:
            # Whatever fails here, the next light must still go off.
            failure = words_of(error)
        if failure is not None and failure not in failures:
            failures.append(failure)

    def _darken(self, slm: Slm) -> str | None:
        self._bench.cache.expect(slm.name, DARK)
        slm.force_dark()
        self._bench.store(slm, DARK, "commanded")
        found = slm.read()
        self._bench.store(slm, found, "read")
        return None if found == DARK else f"{slm.device}: the SLM is not dark"

    def _set(self, entry: Entry) -> None:
        concerned = self._expect(entry)
        _switch(self._bench.port, entry)
        for resource, value in concerned:
            self._bench.store(resource, value, "commanded")

    def _expect(self, entry: Entry) -> list[tuple[Resource, object]]:
        """Before the device is told: its answer must not look like somebody else's."""
        device, prop, text = entry
        found: list[tuple[Resource, object]] = []
        for resource in self._bench.table.concerned(device, prop):
            self._bench.book.abandon(resource.name)
            with suppress(NotImplementedError, ValueError, IndexError):
                value = resource.parse(prop, text)
                self._bench.cache.expect(resource.name, value)
                found.append((resource, value))
        return found

    def _verified(self, entry: Entry) -> str | None:
        device, prop, wanted = entry
        bench = self._bench
        found = _look(bench.port, entry)
        for resource in bench.table.concerned(device, prop):
            bench.store(resource, resource.read(), "read")
        if equal_text(wanted, found):
            return None
        if _is_shutter(bench.port, entry):
            return (
                f"{device}: the shutter is not {'open' if wanted == '1' else 'closed'}"
            )
        return f"{device}: {prop} is {found} and should be {wanted}"


def _is_shutter(port: Port, entry: Entry) -> bool:
    # Some shutters (Utilities' State Device Shutter) have no property for it.
    kind = port.core.getDeviceType(entry[0])
    return bool(kind == DeviceType.Shutter and entry[1] == "State")


def _switch(port: Port, entry: Entry) -> None:
    device, prop, value = entry
    if _is_shutter(port, entry):
        port.set_shutter(device, float(value) != 0)
    else:
        port.set_property(device, prop, value)


def _look(port: Port, entry: Entry) -> str:
    device, prop, _ = entry
    if _is_shutter(port, entry):
        return str(int(port.get_shutter(device)))
    return port.get_property(device, prop)
