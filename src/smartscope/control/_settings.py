"""What one planned event asks of the devices, as commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from smartscope.core import NS_PER_S, HardwareError, Roi

if TYPE_CHECKING:
    from collections.abc import Mapping

    from useq import MDAEvent

    from smartscope.control._schedule import Schedule
    from smartscope.control._switch import LightSwitch
    from smartscope.rig import Command, Rig

_BELIEVED_NS = 2 * NS_PER_S
"""How long a value that its device has confirmed is not set again."""


class Settings:
    """Issues the commands that an event needs; who calls it sees to them.

    Parameters
    ----------
    rig : Rig
    schedule : Schedule
        Knows the region that a policy asked for, which goes before the plan's.
    switch : LightSwitch
        Knows which lines nothing gates: these stay at 0 until the light goes on.
    """

    def __init__(self, rig: Rig, schedule: Schedule, switch: LightSwitch) -> None:
        self._rig = rig
        self._schedule = schedule
        self._switch = switch

    def issue(self, event: MDAEvent, powers: Mapping[str, float]) -> list[Command]:
        """Issue every command the event asks for, stage first: it takes longest.

        Raises
        ------
        HardwareError
            If the event moves the stage along one axis and the other is unknown, or a
            device refuses.
        """
        actuator, commands = self._rig.actuator, self._move(event)
        if event.channel is not None:
            commands.append(
                actuator.set_channel(event.channel.config, event.channel.group)
            )
        properties = [
            actuator.set_property(device, name, value)
            for device, name, value in event.properties or ()
        ]
        if event.roi is not None:
            # Binning is a property, and regions count in binned pixels.
            actuator.settle(*properties)
        commands += properties
        commands += self.issue_powers(powers)
        if event.exposure is not None:
            found = self._rig.state(self._rig.clock.now_ns()).exposure_ms
            if not self._holds("exposure", found, event.exposure):
                commands.append(actuator.set_exposure(event.exposure))
        if (roi := self._roi(event)) is not None:
            commands.append(actuator.set_roi(None if roi == "full" else roi))
        if event.slm_image is not None:
            commands.append(actuator.show_pattern(event.slm_image.data))
        return commands

    def issue_powers(self, powers: Mapping[str, float]) -> list[Command]:
        """Issue the powers, percent of range, that may be set in the dark."""
        dark = self._switch.beforehand(powers)
        found = self._rig.state(self._rig.clock.now_ns()).power_percent
        return [
            self._rig.actuator.set_power(line, percent)
            for line, percent in dark.items()
            if not self._holds(f"light:{line}", found.get(line), percent)
        ]

    def _move(self, event: MDAEvent) -> list[Command]:
        actuator, commands = self._rig.actuator, []
        if event.x_pos is not None or event.y_pos is not None:
            state = self._rig.state(self._rig.clock.now_ns())
            commands.append(
                actuator.move_stage(
                    _known(event.x_pos, state.x_um), _known(event.y_pos, state.y_um)
                )
            )
        if event.z_pos is not None:
            commands.append(actuator.move_focus(event.z_pos))
        return commands

    def _roi(self, event: MDAEvent) -> Roi | Literal["full"] | None:
        if self._schedule.roi is not None:
            return self._schedule.roi
        if event.roi is None:
            return None
        # As in Micro-Manager, a region of useq counts in pixels of the binned image.
        planned, binning = event.roi, self._rig.geometry.binning
        return Roi(
            planned.offset_x * binning,
            planned.offset_y * binning,
            planned.width * binning,
            planned.height * binning,
        )

    def _holds(self, name: str, found: float | None, wanted: float) -> bool:
        """Whether the device itself has said so a moment ago, and nobody touched it."""
        now = self._rig.clock.now_ns()
        state = self._rig.state(now)
        if state.pending or state.external or found is None:
            return False
        confirmed_ns = state.confirmed_ns.get(name)
        if confirmed_ns is None or now - confirmed_ns > _BELIEVED_NS:
            return False
        return abs(found - wanted) < 1e-6


def _known(wanted: float | None, present: float | None) -> float:
    if wanted is not None:
        return wanted
    if present is None:
        raise HardwareError("the stage position is unknown, so it cannot be kept")
    return present
