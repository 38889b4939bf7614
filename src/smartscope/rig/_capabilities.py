"""What this rig can do, and how cheaply each parameter changes while it films."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from smartscope.config import did_you_mean
from smartscope.core import ConfigError
from smartscope.rig._mmcore import file_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smartscope.config import RigConfig
    from smartscope.rig._port import Port
    from smartscope.rig._roles import Devices

How = Literal["live", "restart", "sequenceable"]
"""How a parameter may change while the camera films."""
_ALWAYS = (
    "stage",
    "focus",
    "shutter",
    "power",
    "exposure",
    "channel",
    "objective",
    "slm",
)
_RESTART = ("roi", "binning")


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Roles that are filled, and how each parameter may change.

    Attributes
    ----------
    roles : frozenset of str
        ``camera``, ``stage``, ``focus``, ``fine_focus``, ``autofocus``,
        ``objective``, ``shutter``, ``slm``, ``channel``, ``light``, ``light:LINE``.
    table : mapping of parameter to ``live``, ``restart`` or ``sequenceable``
        ``live`` takes effect while the camera runs, ``restart`` needs it stopped,
        ``sequenceable`` is live and can also follow the camera's trigger. Parameters
        are ``stage``, ``focus``, ``shutter``, ``power``, ``exposure``, ``channel``,
        ``objective``, ``slm``, ``roi``, ``binning`` and ``DEVICE.PROPERTY``.
    """

    roles: frozenset[str]
    table: Mapping[str, How]

    def of(self, parameter: str) -> How:
        """How `parameter` changes; a property nobody spoke of is ``live``."""
        return self.table.get(parameter, "live")

    def can(self, role: str) -> bool:
        """Whether the rig fills `role`."""
        return role in self.roles


def find_capabilities(port: Port, config: RigConfig, devices: Devices) -> Capabilities:
    """Ask the devices what they can follow by hardware; the rig file has the last word.

    What a change does to a running camera cannot be asked, only tried: see
    `smartscope.rig.probe`, whose findings the rig file then holds.

    Raises
    ------
    ConfigError
        If the rig file names a parameter that does not exist.
    """
    table: dict[str, How] = dict.fromkeys(_ALWAYS, "live")
    table.update(dict.fromkeys(_RESTART, "restart"))
    for parameter in sequenceable_parameters(port, config, devices):
        table[parameter] = "sequenceable"
    for section, names in (
        ("capabilities", config.capabilities),
        ("camera.effect_after_frames", config.camera.effect_after_frames),
    ):
        for parameter in names:
            if parameter not in table and not _is_property(port, parameter):
                raise ConfigError(
                    f"there is no parameter '{parameter}'",
                    file=file_of(config),
                    field=f"{section}.{parameter}",
                    fix=did_you_mean(parameter, table),
                )
    table.update(config.capabilities)
    return Capabilities(_roles(config, devices), table)


def sequenceable_parameters(
    port: Port, config: RigConfig, devices: Devices
) -> list[str]:
    """Parameters whose devices say that they can follow the camera's trigger."""
    core, found = port.core, []
    if core.isExposureSequenceable(devices.camera):
        found.append("exposure")
    if devices.stage and core.isXYStageSequenceable(devices.stage):
        found.append("stage")
    if devices.focus and core.isStageSequenceable(devices.focus):
        found.append("focus")
    if devices.shutter and "State" in core.getDevicePropertyNames(devices.shutter):
        if core.isPropertySequenceable(devices.shutter, "State"):
            found.append("shutter")
    lines = [line.power for line in config.light.values()]
    if lines and all(core.isPropertySequenceable(*at) for at in lines):
        found.append("power")
    return found


def _is_property(port: Port, name: str) -> bool:
    device, _, prop = name.partition(".")
    core = port.core
    return device in core.getLoadedDevices() and core.hasProperty(device, prop)


def _roles(config: RigConfig, devices: Devices) -> frozenset[str]:
    filled = {
        "camera": devices.camera,
        "stage": devices.stage,
        "focus": devices.focus,
        "fine_focus": devices.fine_focus,
        "autofocus": devices.autofocus,
        "objective": devices.turret,
        "shutter": devices.shutter,
        "slm": devices.slm,
        "channel": devices.channel_group,
        "light": config.light,
    }
    lines = {f"light:{name}" for name in config.light}
    return frozenset({role for role, device in filled.items() if device} | lines)
