"""The small changes by which a rig is tried out: none of them makes light."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from smartscope.core import Roi
from smartscope.rig._home import preset_without_light
from smartscope.rig._port import Port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from smartscope.rig._commands import Command
    from smartscope.rig._home import Home
    from smartscope.rig._rig import Rig

    Step = Callable[[], Command | None]

_STEP_UM = 1.0
_LEAST_CHANGE = 0.25
_ROI_SIDE = 16
"""Most cameras take regions in steps of 4, 8 or 16 pixels."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A change of one parameter, there and back.

    `steps` are empty where nothing can be tried; `note` then says why.
    """

    parameter: str
    steps: tuple[Step, ...]
    note: str = ""


class Trials:
    """Makes a `Trial` for each parameter that a rig fills.

    Parameters
    ----------
    rig : Rig
    home : Home
        The state to come back to.
    """

    def __init__(self, rig: Rig, home: Home) -> None:
        self._rig, self._home = rig, home
        self._port, self._act = Port(rig.core), rig.actuator
        self._camera = rig.devices.camera
        self._span_ms = self._exposure_span()

    def all(self, *, turn_objective: bool) -> Iterator[Trial]:
        """Everything but the exposure, the safest first."""
        act, can, lights = self._act, self._rig.can, self._rig.lights
        yield self.region()
        yield from self._binning()
        if can("shutter"):
            yield Trial("shutter", (partial(act.set_shutter, False),))
        if lights:
            steps = tuple(partial(act.set_power, line, 0.0) for line in lights)
            yield Trial("power", steps)
        if can("stage"):
            yield self._stage()
        if can("focus"):
            yield self._focus()
        if can("channel"):
            yield self._channel()
        if can("slm"):
            yield self._pattern()
        if can("objective"):
            yield self._objective(turn_objective)

    def exposure_within(self, exposure_ms: float) -> float:
        """The nearest exposure that camera and rig file allow."""
        low, high = self._span_ms
        return max(low, min(high, exposure_ms))

    def other_exposure(self, exposure_ms: float) -> float | None:
        """Twice or half of an exposure, None where the limits leave neither."""
        for other_ms in (2 * exposure_ms, exposure_ms / 2):
            other_ms = self.exposure_within(other_ms)
            if abs(other_ms - exposure_ms) >= _LEAST_CHANGE * exposure_ms:
                return other_ms
        return None

    def _exposure_span(self) -> tuple[float, float]:
        core, at = self._rig.core, (self._camera, "Exposure")
        low, high = 0.01, 10_000.0
        if core.hasProperty(*at) and core.hasPropertyLimits(*at):
            low = max(low, core.getPropertyLowerLimit(*at))
            high = core.getPropertyUpperLimit(*at)
        if (span := self._rig.config.limits.exposure_ms) is not None:
            low, high = max(low, span[0]), min(high, span[1])
        return low, high

    def region(self) -> Trial:
        """A quarter of the present ROI."""
        now = self._port.get_roi(self._camera)
        half = Roi(now.x_px, now.y_px, _half(now.width_px), _half(now.height_px))
        there = partial(self._port.set_roi, self._camera, half)
        return Trial("roi", (there, partial(self._home.restore, "roi")))

    def _binning(self) -> Iterator[Trial]:
        core, at = self._rig.core, (self._camera, "Binning")
        if not core.hasProperty(*at) or core.isPropertyReadOnly(*at):
            return
        now = self._port.get_property(*at)
        others = [v for v in map(str, core.getAllowedPropertyValues(*at)) if v != now]
        if others:
            there = partial(self._port.set_property, *at, others[0])
            back = partial(self._home.restore, "binning")
            yield Trial("binning", (there, back))

    def _stage(self) -> Trial:
        state, move = self._rig.state(self._rig.clock.now_ns()), self._act.move_stage
        x_um, y_um = state.x_um, state.y_um
        if x_um is None or y_um is None:
            return Trial("stage", (), "the stage does not say where it is")
        box = self._rig.config.limits.stage_um
        up = box is None or x_um + _STEP_UM <= box.x[1]
        there_um = x_um + (_STEP_UM if up else -_STEP_UM)
        steps = partial(move, there_um, y_um), partial(move, x_um, y_um)
        return Trial("stage", steps)

    def _focus(self) -> Trial:
        z_um = self._rig.state(self._rig.clock.now_ns()).z_um
        if z_um is None:
            return Trial("focus", (), "the focus does not say where it is")
        direction = self._rig.core.getFocusDirection(str(self._rig.devices.focus))
        # Away from the sample; where nobody said which way that is, most likely down.
        step_um = _STEP_UM if int(direction) < 0 else -_STEP_UM
        low, high = self._rig.config.limits.focus_um or (-np.inf, np.inf)
        there_um = z_um + (step_um if low <= z_um + step_um <= high else -step_um)
        move = self._act.move_focus
        return Trial("focus", (partial(move, there_um), partial(move, z_um)))

    def _channel(self) -> Trial:
        other = preset_without_light(self._rig, self._home)
        if other is None:
            note = "no second preset that turns wheels only, so that no lamp comes on"
            return Trial("channel", (), note)
        there = partial(self._act.set_channel, other)
        return Trial("channel", (there, partial(self._home.restore, "channel")))

    def _pattern(self) -> Trial:
        slm = self._rig.slm
        if slm is None:
            raise RuntimeError("a rig without an SLM has none to try")
        return Trial("slm", (partial(self._act.show_pattern, slm.dark()),))

    def _objective(self, turn: bool) -> Trial:
        now = self._rig.objective
        others = [name for name in self._rig.devices.objectives if name != now]
        if not turn:
            return Trial("objective", (), "not turned; --turn-objective does it")
        if now is None or not others:
            return Trial("objective", (), "there is no other objective to turn to")
        turn_to = self._act.switch_objective
        return Trial("objective", (partial(turn_to, others[0]), partial(turn_to, now)))


def _half(side_px: int) -> int:
    half = side_px // 2
    return max(1, half - half % _ROI_SIDE) if half >= _ROI_SIDE else max(1, half)
