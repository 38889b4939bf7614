"""The actuator: the only code that changes hardware."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from smartscope.config import did_you_mean
from smartscope.core import HardwareError, Roi, SafetyError
from smartscope.rig._geometry import Geometry
from smartscope.rig._issue import Issuer
from smartscope.rig._moves import Mover
from smartscope.rig._pattern import calibration_of, draw, image_to_slm
from smartscope.rig._resources import (
    Exposure,
    Light,
    Region,
    Shutter,
    Turret,
)
from smartscope.rig._settle import Settler
from smartscope.rig._slm import Slm

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from smartscope.config import SlmAffine
    from smartscope.core import HardwareState
    from smartscope.rig._bench import Bench
    from smartscope.rig._commands import Command
    from smartscope.rig._pattern import Polygons
    from smartscope.rig._resources import Resource


class Actuator:
    """Issues commands, and sees them through. Thread-safe.

    Every method but `settle` returns as soon as the device was told; while the camera
    snaps, a device of the camera's own adapter takes no word until the exposure ends.
    They raise `HardwareError` when refused at once (also for a role this rig does not
    fill) and `SafetyError` for what the rig file never allows.
    """

    def __init__(self, bench: Bench, make_safe: Callable[[Resource], None]) -> None:
        self._bench = bench
        self._issuer = Issuer(bench, make_safe)
        self._mover = Mover(bench, self._issuer)
        self._settler = Settler(bench)

    # --------------------------------------------------------------------- moves

    def move_stage(self, x_um: float, y_um: float) -> Command:
        """Send the stage to a place in stage coordinates, um."""
        return self._mover.stage(float(x_um), float(y_um))

    def move_focus(self, z_um: float, *, fine: bool = False) -> Command:
        """Send the focus to a height, um: the sum of coarse and fine focus.

        While the hardware autofocus holds, its offset drive moves instead; a rig
        without one unlocks, moves and locks again.

        Parameters
        ----------
        z_um : float
        fine : bool
            Reach it with the fine focus alone.
        """
        return self._mover.focus(float(z_um), fine=fine)

    def lock_focus(self, on: bool) -> Command:
        """Switch the hardware autofocus on or off; settled once it holds."""
        return self._mover.lock(bool(on))

    def switch_objective(self, objective: str) -> Command:
        """Turn to an objective, named by preset or turret label.

        The focus goes to `objective_escape_um` first where the rig names it, and
        stage and focus then move by the difference of the calibrated offsets. Only
        the first step is issued at once, `settle` does the others.
        """
        return self._mover.objective(objective)

    # --------------------------------------------------------------------- light

    def set_power(self, line: str, percent: float) -> Command:
        """Set a light line, percent of its range (0..100)."""
        light = self._bench.table.need(f"light:{line}", Light)
        if not 0.0 <= percent <= 100.0:
            raise HardwareError(
                f"power goes from 0 to 100 percent, not {percent:g}",
                device=light.scale.device,
            )
        return self._set_light(light, light.scale.value(float(percent)))

    def _set_light(self, light: Light, value: float) -> Command:
        scale, port = light.scale, self._bench.port
        self._check_power(light, scale.percent(value))
        device, prop = scale.device, scale.property
        return self._issuer.issue(
            light,
            value,
            lambda _: port.set_property(device, prop, f"{value:.10g}"),
            touches=self._bench.table.touches(light, device, prop),
        )

    def _check_power(self, light: Light, percent: float) -> None:
        limits, name = self._bench.config.limits, light.scale.name
        highest = limits.power_percent.get(name)
        if highest is not None and percent > highest + 1e-9:
            raise SafetyError(
                f"light {name} {percent:g} % is above the rig's "
                f"limits.power_percent, {highest:g} %"
            )
        highest = limits.power_mw.get(name)
        if highest is None or percent <= 0:
            return
        mw = light.scale.mw(percent, self._bench.objective())
        if mw is None:
            raise SafetyError(
                f"light {name} {percent:g} % cannot be compared with the rig's "
                f"limits.power_mw: its calibration does not reach there"
            )
        if mw > highest + 1e-9:
            raise SafetyError(
                f"light {name} {mw:g} mW is above the rig's limits.power_mw, "
                f"{highest:g} mW"
            )

    def set_shutter(self, is_open: bool) -> Command:
        """Open or close the shutter."""
        table, port = self._bench.table, self._bench.port
        shutter, wanted = table.need("shutter", Shutter), bool(is_open)
        return self._issuer.issue(
            shutter,
            wanted,
            lambda _: port.set_shutter(shutter.device, wanted),
            touches=table.touches(shutter, shutter.device, "State"),
        )

    def show_pattern(self, image: ArrayLike) -> Command:
        """Show an image on the SLM.

        Parameters
        ----------
        image : array-like, (y, x), uint8
            Pixel values of exactly the SLM's shape; one number, or True and False, is
            for all pixels.
        """
        slm = self._bench.table.need("slm", Slm)
        return self._show(slm, slm.checked(image), {})

    def show_regions(
        self, polygons_px: Polygons, seen: HardwareState, intensity: int = 255
    ) -> Command:
        """Light up regions of a camera image through the SLM; none is all dark.

        Parameters
        ----------
        polygons_px : sequence of polygons
            Each a sequence of ``(y, x)`` points in pixels of the image seen.
        seen : HardwareState
            Of that image: its objective, ROI, binning and orientation.
        intensity : int
            0..255 of the light the SLM can let through.

        Raises
        ------
        SafetyError
            If all of it lies outside of the SLM, or where it lies is not known: no
            calibration, or another objective since.
        """
        bench = self._bench
        slm = bench.table.need("slm", Slm)
        if not polygons_px:
            return self._show(slm, slm.dark(), {})
        affine = self._slm_affine(slm, seen)
        to_slm = image_to_slm(affine, seen, bench.geometry.sensor_shape)
        drawn = draw(polygons_px, to_slm, slm.shape, intensity)
        facts = {"outside_percent": round(100 * drawn.outside, 2)}
        return self._show(slm, slm.levels_of(drawn.light), facts)

    def _slm_affine(self, slm: Slm, seen: HardwareState) -> SlmAffine:
        objective = self._bench.objective()
        if seen.objective != objective:
            raise SafetyError(
                f"the pattern was chosen through objective {seen.objective}, and "
                f"{objective} is turned in"
            )
        if (affine := calibration_of(slm.config, objective)) is None:
            raise SafetyError(
                f"the SLM is not calibrated for objective {objective}; run "
                "'smartscope calibrate --slm'"
            )
        return affine

    def _show(
        self, slm: Slm, levels: NDArray[np.uint8], facts: Mapping[str, float]
    ) -> Command:
        number = slm.number(levels, facts)
        return self._issuer.issue(slm, number, lambda _: slm.show(number, levels))

    # -------------------------------------------------------------------- camera

    def set_exposure(self, exposure_ms: float) -> Command:
        """Set the exposure time of the camera, ms."""
        bench, camera = self._bench, self._bench.devices.camera
        if not (math.isfinite(exposure_ms) and exposure_ms > 0):
            # The demo camera, for one, takes a negative exposure without complaint.
            raise HardwareError(
                f"an exposure must be above 0 ms, not {exposure_ms:g}", device=camera
            )
        span = bench.config.limits.exposure_ms
        if span is not None and not span[0] <= exposure_ms <= span[1]:
            raise SafetyError(
                f"exposure {exposure_ms:g} ms lies outside of the rig's "
                f"limits.exposure_ms, {span[0]:g} to {span[1]:g} ms"
            )
        exposure, wanted = bench.table.need("exposure", Exposure), float(exposure_ms)
        return self._issuer.issue(
            exposure,
            wanted,
            lambda _: bench.port.set_exposure(camera, wanted),
            touches=bench.table.touches(exposure, camera, "Exposure"),
        )

    def set_roi(self, roi: Roi | None) -> Command:
        """Read out only `roi` from now on, *sensor* pixels; None is the full chip."""
        bench, camera = self._bench, self._bench.devices.camera
        region = bench.table.need("roi", Region)
        self._refuse_while_running("roi")
        now: Geometry = bench.cache.value("roi")
        height, width = bench.geometry.sensor_shape
        side = now.binning
        full = Roi(0, 0, width // side * side, height // side * side)
        binned = bench.geometry.binned(full if roi is None else roi, side)
        value = Geometry(full if roi is None else roi, side, now.orientation)
        wanted = None if roi is None else binned
        return self._issuer.issue(
            region, value, lambda _: bench.port.set_roi(camera, wanted)
        )

    def _refuse_while_running(self, parameter: str) -> None:
        camera = self._bench.devices.camera
        how = self._bench.config.capabilities.get(parameter, "restart")
        if how == "restart" and self._bench.port.core.isSequenceRunning(camera):
            # It would end the stream without a word.
            raise HardwareError(
                f"{parameter} cannot change while the camera runs; stop the stream, "
                "set it, start again",
                device=camera,
            )

    # ------------------------------------------------------- presets, properties

    def set_channel(self, preset: str, group: str | None = None) -> Command:
        """Apply a preset of the channel group, or of another `group`.

        Every property of it is applied again as soon as any of them is not, or may
        not be, what the preset says; only a preset that holds entirely is left alone.
        """
        bench = self._bench
        channel = bench.table.channel(group)
        if preset not in channel.presets:
            raise HardwareError(
                f"group '{channel.group}' has no preset '{preset}'; "
                f"{did_you_mean(preset, channel.presets)}"
            )
        if (
            bench.cache.value(channel.name) == preset
            and not bench.book.is_pending(channel.name)
            and channel.holds_in_cache(preset)
        ):
            return self._nothing_to_do(channel.name, channel.describe(preset))
        promises: dict[str, object] = {}
        touches = {channel.name}
        for device, prop, text in channel.presets[preset]:
            for other in bench.table.concerned(device, prop):
                if isinstance(other, Turret):
                    self._refuse_turning(other, other.parse(prop, text), preset)
                elif isinstance(other, Light):
                    value = other.parse(prop, text)
                    self._check_power(other, other.scale.percent(value))
                    promises[other.name] = value
                elif isinstance(other, Shutter | Exposure):
                    promises[other.name] = other.parse(prop, text)
                touches.add(other.name)
        return self._issuer.issue(
            channel,
            preset,
            lambda _: bench.port.apply_preset(channel.group, preset),
            promises=promises,
            touches=frozenset(touches),
        )

    def _nothing_to_do(self, name: str, value: Mapping[str, float | str]) -> Command:
        bench = self._bench
        bench.gate.enter()
        try:
            command = bench.book.open(name, value, frozenset({name}))
            bench.book.close(command, value)
            return command
        finally:
            bench.gate.leave()

    def _refuse_turning(self, turret: Turret, label: str, preset: str) -> None:
        if label != self._bench.cache.value("objective"):
            raise HardwareError(
                f"preset '{preset}' would turn the objective without a safe focus "
                "height; switch the objective first",
                device=turret.device,
            )

    def set_property(self, device: str, prop: str, value: str | float) -> Command:
        """Set any property.

        One that belongs to a role goes the way of that role, with its limits.
        """
        bench, text = self._bench, _text(value)
        for other in bench.table.concerned(device, prop):
            try:
                if isinstance(other, Turret):
                    return self.switch_objective(other.parse(prop, text))
                if isinstance(other, Shutter):
                    return self.set_shutter(other.parse(prop, text))
                if isinstance(other, Light):
                    return self._set_light(other, other.parse(prop, text))
                if isinstance(other, Exposure):
                    return self.set_exposure(other.parse(prop, text))
            except (ValueError, IndexError) as error:
                raise HardwareError(
                    f"{prop} does not take '{text}'", device=device
                ) from error
            if isinstance(other, Region):
                self._refuse_while_running(prop.lower())
        at = bench.table.property(device, prop)
        return self._issuer.issue(
            at,
            text,
            lambda _: bench.port.set_property(device, prop, text),
            touches=bench.table.touches(at, device, prop),
        )

    # -------------------------------------------------------------------- settle

    def settle(self, *commands: Command, timeout_s: float | None = None) -> None:
        """Wait for exactly the devices of `commands`, read back, verify.

        All of them are seen through even when one fails. Of several commands on one
        resource only the newest is waited for, also where it is not among `commands`;
        the others end with it, superseded and not verified.

        Parameters
        ----------
        commands : Command
        timeout_s : float, optional
            Wall-clock patience for each; default 10 s.

        Raises
        ------
        HardwareError
            The first failure: still busy, or read back as something else.
        """
        failed: HardwareError | None = None
        for command in commands:
            try:
                self._settler.finish(command, timeout_s)
            except HardwareError as error:
                failed = failed or error
        if failed is not None:
            raise failed


def _text(value: str | float) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return f"{value:.10g}" if isinstance(value, float) else str(value)
