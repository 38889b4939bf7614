"""The parts of one open rig that its rooms share, and the table of resources."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar, cast

from smartscope.config import did_you_mean
from smartscope.core import HardwareError
from smartscope.rig._properties import Channel, Property
from smartscope.rig._resources import (
    FOCUS_TOLERANCE_UM,
    STAGE_TOLERANCE_UM,
    Drive,
    Exposure,
    FocusLock,
    Light,
    Offset,
    Region,
    Resource,
    Shutter,
    Stage,
    Turret,
)
from smartscope.rig._slm import Slm

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from smartscope.config import RigConfig
    from smartscope.core import Clock, DeviceHistory
    from smartscope.rig._cache import StateCache
    from smartscope.rig._commands import CommandBook
    from smartscope.rig._geometry import CameraGeometry
    from smartscope.rig._light import LightScale
    from smartscope.rig._port import Port
    from smartscope.rig._roles import Devices

R = TypeVar("R", bound=Resource)
_FIELDS = {"channel": "channel_group"}


@dataclass(frozen=True, slots=True)
class Bench:
    """What actuator, watcher and safe state all work on."""

    port: Port
    clock: Clock
    config: RigConfig
    history: DeviceHistory
    devices: Devices
    lights: Mapping[str, LightScale]
    geometry: CameraGeometry
    book: CommandBook
    cache: StateCache
    table: ResourceTable
    gate: Gate

    def objective(self) -> str | None:
        """Name of the objective in use; without a turret, the one calibrated."""
        return self.objective_in(self.cache.value("objective"))

    def objective_in(self, label: str | None) -> str | None:
        """Name of the objective at this turret label."""
        if self.devices.turret is not None:
            return self.devices.objective_of(label) if label is not None else None
        only = list(self.config.calibration)
        return only[0] if only else None

    def store(self, resource: Resource, value: object, source: str) -> int:
        """Put a value into cache and history; returns when, run clock."""
        now = self.clock.now_ns()
        resource.trace(now, value)
        self.cache.put(resource.name, value, now, source)
        return now


class ResourceTable:
    """Every resource of a rig by name, and which of them a property concerns.

    Looked up for every command and notification, so without a lock: dicts of it only
    ever grow, and their values never change in place.
    """

    def __init__(
        self,
        port: Port,
        config: RigConfig,
        history: DeviceHistory,
        devices: Devices,
        lights: Mapping[str, LightScale],
        geometry: CameraGeometry,
        cache: StateCache,
    ) -> None:
        self._port = port
        self._lock = threading.Lock()
        self._by_name: dict[str, Resource] = {}
        self._by_property: dict[tuple[str, str], tuple[Resource, ...]] = {}
        self._touches: dict[tuple[str, str, str], frozenset[str]] = {}
        tolerance = config.tolerance_um
        if at := devices.stage:
            self._add(Stage(port, at, tolerance.get(at, STAGE_TOLERANCE_UM), history))
        for name, at in (("focus", devices.focus), ("fine_focus", devices.fine_focus)):
            if at:
                near = tolerance.get(at, FOCUS_TOLERANCE_UM)
                self._add(Drive(port, name, at, near, history, cache))
        if at := devices.offset:
            self._add(Offset(port, at, tolerance.get(at, FOCUS_TOLERANCE_UM)))
        if at := devices.autofocus:
            self._add(FocusLock(port, at))
        if devices.turret:
            self._add(Turret(port, devices, history))
        if at := devices.shutter:
            self._add(Shutter(port, at, history))
        if at := devices.slm:
            self._add(Slm(port, at, config.slm, history))
        for scale in lights.values():
            self._add(Light(port, scale, history))
        self._add(Exposure(port, devices.camera))
        self._add(Region(geometry, devices.camera))
        if group := devices.channel_group:
            self._add(Channel(port, group, "channel"))
        self._group = devices.channel_group

    def __iter__(self) -> Iterator[Resource]:
        with self._lock:
            return iter(list(self._by_name.values()))

    def get(self, name: str) -> Resource | None:
        """Resource of this name, or None."""
        return self._by_name.get(name)

    def find(self, name: str, kind: type[R]) -> R | None:
        """Resource of this name and kind, or None."""
        resource = self._by_name.get(name)
        return resource if isinstance(resource, kind) else None

    def need(self, name: str, kind: type[R]) -> R:
        """Resource of this name and kind.

        Raises
        ------
        HardwareError
            If no device of the rig fills the role.
        """
        if (resource := self.find(name, kind)) is not None:
            return resource
        role, _, line = name.partition(":")
        if role == "light":
            with self._lock:
                known = [n[6:] for n in self._by_name if n.startswith("light:")]
            raise HardwareError(
                f"this rig has no light line '{line}'; {did_you_mean(line, known)}"
            )
        raise HardwareError(
            f"this rig has no {role}: fill roles.{_FIELDS.get(role, role)} in the rig "
            "file, or do without"
        )

    def channel(self, group: str | None) -> Channel:
        """Presets of `group`; None means the rig's channel group."""
        if group is None or group == self._group:
            return self.need("channel", Channel)
        name = f"preset:{group}"
        if (found := self.find(name, Channel)) is not None:
            return found
        groups = self._port.core.getAvailableConfigGroups()
        if group not in groups:
            raise HardwareError(
                f"there is no config group '{group}'; {did_you_mean(group, groups)}"
            )
        return self._add(Channel(self._port, group, name))

    def property(self, device: str, prop: str) -> Property:
        """Plain property of a device; looked up once, then remembered."""
        name = f"property:{device}.{prop}"
        if (found := self.find(name, Property)) is not None:
            return found
        core = self._port.core
        known = core.getLoadedDevices()
        if device not in known:
            raise HardwareError(
                f"there is no device '{device}'; {did_you_mean(device, known)}"
            )
        if not core.hasProperty(device, prop):
            names = core.getDevicePropertyNames(device)
            raise HardwareError(
                f"it has no property '{prop}'; {did_you_mean(prop, names)}",
                device=device,
            )
        return self._add(Property(self._port, device, prop))

    def concerned(self, device: str, prop: str) -> tuple[Resource, ...]:
        """Resources that a change of this property may change."""
        return self._by_property.get((device, prop), ())

    def touches(self, resource: Resource, device: str, prop: str) -> frozenset[str]:
        """Everything that a command on `resource` through this property may change."""
        key = (resource.name, device, prop)
        found = self._touches.get(key)
        if found is None:
            with self._lock:
                others = {other.name for other in self.concerned(device, prop)}
                found = self._touches[key] = resource.alone | others
        return found

    def _add(self, resource: R) -> R:
        with self._lock:
            known = self._by_name.setdefault(resource.name, resource)
            if known is resource:
                for at in resource.watches:
                    self._by_property[at] = (*self._by_property.get(at, ()), resource)
                self._touches = {}
            # Two threads may have made the same one; both use the first.
            return cast("R", known)


class Gate:
    """Lets commands through while the rig is open, and knows how many are inside."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._shut = False

    def enter(self) -> None:
        """Hold the rig open while a command is issued, until `leave`.

        Raises
        ------
        HardwareError
            If the rig is closed: nothing may switch light on after the safe state.
        """
        with self._lock:
            if self._shut:
                raise HardwareError("the rig is closed")
            self._inside += 1

    def leave(self) -> None:
        """Let the rig close again."""
        with self._lock:
            self._inside -= 1

    def shut(self) -> bool:
        """Let nobody in any more; True if nobody is inside."""
        with self._lock:
            self._shut = True
            return self._inside == 0

    @property
    def is_shut(self) -> bool:
        """Whether the rig is closed."""
        with self._lock:
            return self._shut
