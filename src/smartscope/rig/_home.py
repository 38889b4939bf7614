"""Remembers how a rig was and puts it back; the light stays off."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from smartscope.core import HardwareError, SmartscopeError
from smartscope.rig._mmcore import DeviceType
from smartscope.rig._port import Port, ask, words_of
from smartscope.rig._properties import equal_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartscope.core import Roi
    from smartscope.rig._rig import Rig

_log = logging.getLogger("smartscope.rig")
Setting = tuple[str, str, str]
"""``(device, property, value)``."""


class Home:
    """State of a rig before it is tried out.

    Light is no part of it: nothing here ever opens a shutter or raises a power.

    Parameters
    ----------
    rig : Rig

    Attributes
    ----------
    exposure_ms : float
    lamps : frozenset of str
        Devices that make light or let it through, and so are left alone.
    """

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._port = Port(rig.core)
        self.lamps = _lamps(rig, self._port)
        camera = rig.devices.camera
        self.exposure_ms = self._port.get_exposure(camera)
        roi = self._port.get_roi(camera)
        self._steps: dict[str, Callable[[], None]] = {}
        if rig.core.hasProperty(camera, "Binning"):
            binning = self._port.get_property(camera, "Binning")
            self._steps["binning"] = partial(self._binning, binning)
        # After the binning: many cameras read out the whole chip when that changes.
        self._steps["roi"] = partial(self._roi, roi)
        self._steps["exposure"] = partial(
            self._port.set_exposure, camera, self.exposure_ms
        )
        self._remember_moves()
        self._steps["channel"] = partial(self._settings, self._channel_settings())

    def _remember_moves(self) -> None:
        rig, act = self._rig, self._rig.actuator
        state = rig.state(rig.clock.now_ns())
        if (objective := rig.objective) is not None and rig.can("objective"):
            # First: it may take stage and focus with it.
            self._steps = {
                "objective": lambda: act.settle(act.switch_objective(objective)),
                **self._steps,
            }
        x_um, y_um, z_um = state.x_um, state.y_um, state.z_um
        if rig.can("stage") and x_um is not None and y_um is not None:
            self._steps["stage"] = lambda: act.settle(act.move_stage(x_um, y_um))
        if rig.can("focus") and z_um is not None:
            self._steps["focus"] = lambda: act.settle(act.move_focus(z_um))

    def _channel_settings(self) -> tuple[Setting, ...]:
        group = self._rig.devices.channel_group
        if group is None:
            return ()
        pairs = {
            (device, prop)
            for preset in self._rig.core.getAvailableConfigs(group)
            for device, prop, _ in self._port.settings_of(group, preset)
        }
        return tuple(
            (device, prop, self._port.get_property(device, prop))
            for device, prop in sorted(pairs)
            if device not in self.lamps
        )

    def _binning(self, binning: str) -> None:
        camera = self._rig.devices.camera
        if self._port.get_property(camera, "Binning") != binning:
            self._port.set_property(camera, "Binning", binning)

    def _roi(self, roi: Roi) -> None:
        camera = self._rig.devices.camera
        if self._port.get_roi(camera) != roi:
            self._port.set_roi(camera, roi)

    def _settings(self, settings: tuple[Setting, ...]) -> None:
        for device, prop, value in settings:
            if not equal_text(value, self._port.get_property(device, prop)):
                self._port.set_property(device, prop, value)
                ask(device, "waiting for it", partial(self._await, device))

    def _await(self, device: str) -> None:
        if device != "Core":
            self._rig.core.waitForDevice(device)

    def restore(self, parameter: str) -> None:
        """Put one parameter back.

        Raises
        ------
        HardwareError, SafetyError
            If it does not go.
        """
        if (step := self._steps.get(parameter)) is not None:
            step()

    def restore_all(self, touched: set[str]) -> tuple[str, ...]:
        """Switch the light off and put back what was `touched`; return what failed."""
        failures = list(self._rig.apply_safe_state())
        if "objective" in touched:
            touched = touched | {"stage", "focus"}
        for parameter in self._steps:
            if parameter not in touched:
                continue
            try:
                self.restore(parameter)
            except SmartscopeError as error:
                failures.append(f"{parameter} is not as it was: {words_of(error)}")
        try:
            self._rig.poll()
        except HardwareError as error:
            failures.append(words_of(error))
        self._rig.take_external()
        for failure in failures:
            _log.error("after the probe: %s", failure)
        return tuple(failures)


def preset_without_light(rig: Rig, home: Home) -> str | None:
    """Another channel preset that surely makes no light, None without one.

    It may turn wheels and nothing else: what a preset does to any other device may be
    to switch a lamp on.
    """
    group = rig.devices.channel_group
    if group is None:
        return None
    port = Port(rig.core)
    present = rig.state(rig.clock.now_ns()).channel
    for preset in rig.core.getAvailableConfigs(group):
        settings = port.settings_of(group, preset)
        if preset != present and all(_is_harmless(rig, home, s) for s in settings):
            return str(preset)
    return None


def _is_harmless(rig: Rig, home: Home, setting: Setting) -> bool:
    device, prop, value = setting
    if device in home.lamps or device == rig.devices.turret:
        return False
    if rig.core.getDeviceType(device) == DeviceType.State:
        return True
    return equal_text(value, Port(rig.core).get_property(device, prop))


def _lamps(rig: Rig, port: Port) -> frozenset[str]:
    core = rig.core
    shutters = {str(d) for d in core.getLoadedDevicesOfType(DeviceType.Shutter)}
    found = shutters | {device for device, _, _ in rig.safe_state}
    found |= {scale.device for scale in rig.lights.values()}
    loaded = {str(device) for device in core.getLoadedDevices()}
    for shutter in shutters:
        # A shutter of Utilities names in its properties what it switches.
        names = core.getDevicePropertyNames(shutter)
        found |= {port.get_property(shutter, name) for name in names} & loaded
    return frozenset(found - {"Core", rig.devices.camera})
