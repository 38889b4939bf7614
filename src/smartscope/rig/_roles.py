"""Finds the device behind every role and refuses a rig file that does not fit."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from smartscope.config import did_you_mean
from smartscope.core import ConfigError, HardwareError
from smartscope.rig._mmcore import CMMCorePlus, DeviceType, file_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from smartscope.config import PropertyValue, RigConfig, Roles

_KINDS = {
    "camera": (DeviceType.Camera, "a camera"),
    "stage": (DeviceType.XYStage, "an xy stage"),
    "focus": (DeviceType.Stage, "a focus drive"),
    "fine_focus": (DeviceType.Stage, "a focus drive"),
    "autofocus.state": (DeviceType.AutoFocus, "a hardware autofocus"),
    "autofocus.offset": (DeviceType.Stage, "a focus drive"),
    "objective": (DeviceType.State, "an objective turret"),
    "shutter": (DeviceType.Shutter, "a shutter"),
    "slm": (DeviceType.SLM, "a spatial light modulator"),
}
_MAGNIFICATION = re.compile(r"(\d+(?:\.\d+)?)\s*[xX](?![A-Za-z])")


@dataclass(frozen=True, slots=True)
class Devices:
    """The device labels of one opened rig; None where a role is not filled.

    Attributes
    ----------
    autofocus, offset : str or None
        Hardware focus lock, and the drive that sets its offset.
    objectives : mapping of objective name to turret label
        Names are the presets of the objective group, else the labels themselves.
    """

    camera: str
    stage: str | None
    focus: str | None
    fine_focus: str | None
    autofocus: str | None
    offset: str | None
    turret: str | None
    shutter: str | None
    slm: str | None
    channel_group: str | None
    objectives: Mapping[str, str]

    def objective_of(self, label: str) -> str:
        """Name of the objective at turret position `label`."""
        for name, at in self.objectives.items():
            if at == label:
                return name
        return label


def magnification_of(name: str, label: str = "") -> float | None:
    """Magnification in an objective's name, ``10x`` or ``Nikon 10X S Fluor``."""
    for text in (name, label):
        if found := _MAGNIFICATION.search(text):
            return float(found[1])
    return None


class RoleCheck:
    """Compares one rig file with the devices a core has loaded.

    Every method raises `ConfigError` naming file, field and what to do.
    """

    def __init__(self, core: CMMCorePlus, config: RigConfig) -> None:
        self._core = core
        self._config = config
        self._loaded = [d for d in core.getLoadedDevices() if d != "Core"]
        opened = config.micromanager
        named = opened and (opened.config or opened.factory)
        self._where = Path(named or core.systemConfigurationFile() or "this core").name

    def devices(self) -> Devices:
        """Resolve all roles and check everything the file says about devices."""
        roles = self._config.roles
        if roles is None:
            raise self.error("it fills no roles", "roles", "fill at least 'camera'")
        self._check_roles(roles)
        objectives = self._objectives(roles.objective)
        autofocus = roles.autofocus
        devices = Devices(
            camera=roles.camera,
            stage=roles.stage,
            focus=roles.focus,
            fine_focus=roles.fine_focus,
            autofocus=autofocus.state if autofocus else None,
            offset=autofocus.offset if autofocus else None,
            turret=roles.objective,
            shutter=roles.shutter,
            slm=roles.slm,
            channel_group=self._channel_group(roles),
            objectives=objectives,
        )
        self._check_camera(roles.camera)
        self._check_lights()
        self._check_keys(devices)
        self._check_limits(devices)
        return devices

    def error(self, problem: str, field: str, fix: str = "") -> ConfigError:
        """Make a `ConfigError` about this rig file."""
        return ConfigError(problem, file=file_of(self._config), field=field, fix=fix)

    def property(self, device: str, prop: str, field: str) -> None:
        """Check that a property exists and can be set."""
        self.device(device, field)
        names = self._core.getDevicePropertyNames(device)
        if prop not in names:
            raise self.error(
                f"device '{device}' has no property '{prop}'",
                field,
                did_you_mean(prop, names),
            )
        if self._core.isPropertyReadOnly(device, prop):
            raise self.error(f"{device}.{prop} can only be read", field)

    def value(self, entry: PropertyValue, field: str) -> None:
        """Check that a property takes a value."""
        device, prop, value = entry
        self.device(device, field)
        if prop == "State" and self._core.getDeviceType(device) == DeviceType.Shutter:
            if str(value) not in ("0", "1"):
                raise self.error(f"shutter {device} takes 0 or 1, not {value}", field)
            return
        self.property(device, prop, field)
        allowed = self._core.getAllowedPropertyValues(device, prop)
        if allowed and str(value) not in allowed:
            raise self.error(
                f"{device}.{prop} does not take '{value}'",
                field,
                did_you_mean(str(value), allowed),
            )
        if self._core.hasPropertyLimits(device, prop):
            low = self._core.getPropertyLowerLimit(device, prop)
            high = self._core.getPropertyUpperLimit(device, prop)
            if not _is_within(value, low, high):
                raise self.error(
                    f"{device}.{prop} takes {low:g} to {high:g}, not {value}", field
                )

    def device(self, label: str, field: str) -> None:
        """Check that a device is loaded."""
        if label not in self._loaded:
            raise self.error(
                f"device '{label}' is not in {self._where}",
                field,
                did_you_mean(label, self._loaded),
            )

    def _check_roles(self, roles: Roles) -> None:
        autofocus = roles.autofocus
        labels = {
            "camera": roles.camera,
            "stage": roles.stage,
            "focus": roles.focus,
            "fine_focus": roles.fine_focus,
            "autofocus.state": autofocus.state if autofocus else None,
            "autofocus.offset": autofocus.offset if autofocus else None,
            "objective": roles.objective,
            "shutter": roles.shutter,
            "slm": roles.slm,
        }
        for role, label in labels.items():
            if label is None:
                continue
            field = f"roles.{role}"
            self.device(label, field)
            kind, words = _KINDS[role]
            if self._core.getDeviceType(label) != kind:
                fitting = self._core.getLoadedDevicesOfType(kind)
                raise self.error(
                    f"device '{label}' is not {words}",
                    field,
                    did_you_mean(label, fitting),
                )
        if roles.fine_focus is not None and roles.focus is None:
            raise self.error("a fine focus needs a focus too", "roles.focus")
        if roles.fine_focus is not None and roles.fine_focus == roles.focus:
            raise self.error("focus and fine focus are one device", "roles.fine_focus")

    def _check_camera(self, camera: str) -> None:
        channels, components = self._image_parts(camera)
        field = "roles.camera"
        if channels > 1:
            # Its frames would be taken for one camera's, every other one wrongly.
            cameras = set(self._core.getLoadedDevicesOfType(DeviceType.Camera))
            single = ", ".join(sorted(cameras - {camera}))
            raise self.error(
                f"camera '{camera}' joins {channels} cameras into one, and smartscope "
                "films with one camera at a time",
                field,
                f"name one of its cameras: {single}",
            )
        if components > 1:
            raise self.error(
                f"camera '{camera}' delivers colour pictures, and smartscope measures "
                "in grey values",
                field,
                f"set its pixel type to a grey one (8 or 16 bit) in {self._where}, "
                "preset System/Startup",
            )

    def _image_parts(self, camera: str) -> tuple[int, int]:
        """Channels of a camera and components of its pixels."""
        core, before = self._core, self._core.getCameraDevice()
        try:
            # Both can be asked of the current camera only.
            if before != camera:
                core.setCameraDevice(camera)
            try:
                return core.getNumberOfCameraChannels(), core.getNumberOfComponents()
            finally:
                if before != camera:
                    core.setCameraDevice(before)
        except RuntimeError as error:
            raise HardwareError(
                f"it does not say what its pictures are like: {error}", device=camera
            ) from error

    def _channel_group(self, roles: Roles) -> str | None:
        group = roles.channel_group
        if group is None:
            return None
        groups = self._core.getAvailableConfigGroups()
        if group in groups:
            return group
        if "channel_group" not in roles.model_fields_set:
            return None
        raise self.error(
            f"there is no config group '{group}' in {self._where}",
            "roles.channel_group",
            did_you_mean(group, groups),
        )

    def _objectives(self, turret: str | None) -> dict[str, str]:
        if turret is None:
            return {}
        labels = list(self._core.getStateLabels(turret))
        for group in self._core.getAvailableConfigGroups():
            named: dict[str, str] = {}
            for preset in self._core.getAvailableConfigs(group):
                for device, prop, value in self._core.getConfigData(group, preset):
                    if device == turret:
                        at = value if prop == "Label" else labels[int(value)]
                        named[preset] = at
            presets = self._core.getAvailableConfigs(group)
            # A System/Startup preset sets the turret too but names no objectives.
            if len(named) > 1 and len(named) == len(presets):
                return named
        return {label: label for label in labels}

    def _check_lights(self) -> None:
        for name, line in self._config.light.items():
            field = f"light.{name}"
            self.property(*line.power, f"{field}.power")
            for end in line.range:
                self.value((*line.power, end), f"{field}.range")
            for objective, points in line.calibration.items():
                powers = [p[1] for p in points]
                if powers != sorted(set(powers)):
                    raise self.error(
                        "the power at the sample must rise with the property value",
                        f"{field}.calibration.{objective}",
                    )

    def _check_keys(self, devices: Devices) -> None:
        config = self._config
        for section in ("settle_ms", "backlash_um", "tolerance_um"):
            for label in getattr(config, section):
                self.device(label, f"{section}.{label}")
        self._check_objectives("calibration", config.calibration, devices)
        for name, line in config.light.items():
            for part in ("calibration", "field_um"):
                self._check_objectives(
                    f"light.{name}.{part}", getattr(line, part), devices
                )
        if config.slm is not None:
            self._check_objectives("slm.calibration", config.slm.calibration, devices)
        if config.objective_escape_um is not None and devices.focus is None:
            raise self.error("an escape height needs a focus", "objective_escape_um")

    def _check_objectives(
        self, field: str, names: Iterable[str], devices: Devices
    ) -> None:
        names = list(names)
        if devices.turret is None:
            if len(names) > 1:
                raise self.error(
                    f"{len(names)} objectives are named but no turret fills the role",
                    field,
                    "fill roles.objective, or keep the objective that is mounted",
                )
            return
        for name in names:
            if name not in devices.objectives:
                raise self.error(
                    f"there is no objective '{name}'",
                    f"{field}.{name}",
                    did_you_mean(name, devices.objectives),
                )

    def _check_limits(self, devices: Devices) -> None:
        limits = self._config.limits
        if limits.stage_um is not None and devices.stage is None:
            raise self.error("no stage fills the role it limits", "limits.stage_um")
        if limits.focus_um is not None and devices.focus is None:
            raise self.error("no focus fills the role it limits", "limits.focus_um")


def _is_within(value: str | float, low: float, high: float) -> bool:
    try:
        return low <= float(value) <= high
    except ValueError:
        return False
