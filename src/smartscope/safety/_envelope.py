"""Single values against the limits; each answer names the limit and who wrote it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from smartscope.config import did_you_mean
from smartscope.core import value_to_percent
from smartscope.safety._light import (
    file_of,
    of_objective,
    percent_to_mw,
    reach_percent,
    rig_file,
)
from smartscope.safety._limits import merge_limits

if TYPE_CHECKING:
    from smartscope.config import Experiment, RigConfig

# Positions come out of sums; this is rounding, no travel.
_SLACK_UM = 1e-6

_NOT_BY_HAND = ("stage", "focus", "fine_focus", "objective", "shutter")
_ROLES = ("camera", *_NOT_BY_HAND, "autofocus", "slm")
_NOWHERE = (1.0, 0.0)


class Envelope:
    """Everything a single value can break, without knowing who asks.

    Every check returns None, or a sentence without subject ("stage x 6000 um is...").

    Parameters
    ----------
    rig : RigConfig
    experiment : Experiment

    Raises
    ------
    ConfigError
        See `merge_limits`.
    """

    def __init__(self, rig: RigConfig, experiment: Experiment) -> None:
        self.rig = rig
        self.experiment = experiment
        self.limits = merge_limits(rig, experiment)
        self.rig_file = rig_file(rig)
        roles = rig.roles
        self._filled = frozenset(role for role in _ROLES if self._fills(role))
        # Of several entries for the same thing the first one is named.
        self._lines = {line.power: name for name, line in reversed(rig.light.items())}
        self._camera = None if roles is None else (roles.camera, "Exposure")
        self._role_of = {
            getattr(roles, role, None): role for role in reversed(_NOT_BY_HAND)
        }
        self._guarded = frozenset((entry[0], entry[1]) for entry in rig.safe_state)
        self._sure: dict[tuple[str, str | None], tuple[float, float]] = {}

    def where(self, field: str) -> str:
        """Say where a limit is written: ``limits.focus_um of rig.yaml``.

        Parameters
        ----------
        field : str
            Dotted below the section, for example ``power_mw.488``.
        """
        name, _, key = field.partition(".")
        ours = getattr(self.experiment.safety, name)
        if isinstance(ours, dict):
            ours = ours.get(key)
        if name == "actions_per_s":
            ours = name in self.experiment.safety.model_fields_set or None
        if ours is None:
            return f"limits.{field} of {self.rig_file}"
        return f"safety.{field} of {file_of(self.experiment)}"

    # ------------------------------------------------------------------- roles

    def _fills(self, role: str) -> bool:
        if getattr(self.rig.roles, role, None) is not None:
            return True
        recording = self.rig.recording
        return role == "stage" and recording is not None and recording.mosaic

    def lacks(self, role: str) -> str | None:
        """Say that a role is unfilled, None if it is filled."""
        if role in self._filled:
            return None
        return f"the rig fills no {role} role (roles.{role} of {self.rig_file})"

    # ------------------------------------------------------------------ values

    def stage(self, x_um: float | None, y_um: float | None) -> str | None:
        """Check an absolute stage position; None on an axis is "stays"."""
        box = self.limits.stage_um
        for axis, value in (("x", x_um), ("y", y_um)):
            if value is None:
                continue
            if not math.isfinite(value):
                return f"stage {axis} {value} is no position"
            if box is None:
                continue
            low, high = box.x if axis == "x" else box.y
            if not low - _SLACK_UM <= value <= high + _SLACK_UM:
                return (
                    f"stage {axis} {value:g} um is outside of {low:g} to {high:g} um "
                    f"({self.where(f'stage_um.{axis}')})"
                )
        return None

    def focus(self, z_um: float | None) -> str | None:
        """Check an absolute focus position; None is "stays"."""
        if z_um is None:
            return None
        if not math.isfinite(z_um):
            return f"focus {z_um} is no position"
        span = self.limits.focus_um
        if span is None or span[0] - _SLACK_UM <= z_um <= span[1] + _SLACK_UM:
            return None
        return (
            f"focus {z_um:g} um is outside of {span[0]:g} to {span[1]:g} um "
            f"({self.where('focus_um')})"
        )

    def exposure(self, exposure_ms: float | None, frames: int = 1) -> str | None:
        """Check an exposure, and the light of `frames` of them without a pause."""
        if exposure_ms is None:
            return None
        if not math.isfinite(exposure_ms) or exposure_ms <= 0:
            return f"exposure {exposure_ms:g} ms is no exposure"
        span = self.limits.exposure_ms
        if span is not None and not span[0] <= exposure_ms <= span[1]:
            return (
                f"exposure {exposure_ms:g} ms is outside of {span[0]:g} to "
                f"{span[1]:g} ms ({self.where('exposure_ms')})"
            )
        return self.lit(exposure_ms * frames)

    def lit(self, lit_ms: float) -> str | None:
        """Check how long light stays on without a pause."""
        longest = self.limits.max_lit_ms
        if longest is None or lit_ms <= longest:
            return None
        return (
            f"light would stay on for {lit_ms:g} ms, longer than {longest:g} ms "
            f"({self.where('max_lit_ms')})"
        )

    def power(self, line: str, percent: float, objective: str | None) -> str | None:
        """Check the power of a light line, percent of its range."""
        # A frame is not to wait for sums that come out the same each time.
        low, high = self._sure.get((line, objective)) or self._surely(line, objective)
        if low <= percent <= high:
            return None
        return self._power(line, percent, objective)

    def _surely(self, line: str, objective: str | None) -> tuple[float, float]:
        """Percents between which a line breaks nothing; beyond, `_power` can tell."""
        config = self.rig.light.get(line)
        if config is None:
            return _NOWHERE
        low, high = 0.0, min(100.0, self.limits.power_percent.get(line, 100.0))
        limit_mw = self.limits.power_mw.get(line)
        if limit_mw is not None:
            points = of_objective(config.calibration, objective)
            if points is None:
                low, high = _NOWHERE
            else:
                low = max(low, value_to_percent(points[0][0], *config.range))
                high = min(high, reach_percent(config, limit_mw, objective))
        for end in (low, high):
            # Where rounding decides, `_power` has the only say.
            if self._power(line, end, objective):
                low, high = _NOWHERE
        self._sure[line, objective] = low, high
        return low, high

    def _power(self, line: str, percent: float, objective: str | None) -> str | None:
        if line not in self.rig.light:
            hint = did_you_mean(line, self.rig.light)
            return f"the rig has no light line {line}; {hint}"
        if not math.isfinite(percent) or not 0.0 <= percent <= 100.0:
            return f"power {percent:g} % of line {line} is not between 0 and 100 %"
        highest = self.limits.power_percent.get(line)
        if highest is not None and percent > highest + 1e-9:
            return (
                f"power {percent:g} % of line {line} is above {highest:g} % "
                f"({self.where(f'power_percent.{line}')})"
            )
        return self._power_mw(line, percent, objective) if percent > 0 else None

    def highest_percent(self, objective: str | None) -> dict[str, float]:
        """Highest power allowed of every light line, percent of its range."""
        highest: dict[str, float] = {}
        for name, line in self.rig.light.items():
            highest[name] = self.limits.power_percent.get(name, 100.0)
            power_mw = self.limits.power_mw.get(name)
            if power_mw is None:
                continue
            reached = reach_percent(line, power_mw, objective)
            highest[name] = min(highest[name], reached)
        return highest

    def powers(self, powers: dict[str, float], objective: str | None) -> str | None:
        """Check the power of several light lines."""
        for line, percent in powers.items():
            if refused := self.power(line, percent, objective):
                return refused
        return None

    def _power_mw(self, line: str, percent: float, objective: str | None) -> str | None:
        highest = self.limits.power_mw.get(line)
        if highest is None:
            return None
        limit = f"{highest:g} mW ({self.where(f'power_mw.{line}')})"
        try:
            power_mw = percent_to_mw(self.rig.light[line], percent, objective)
        except ValueError as error:
            return f"power of line {line} cannot be compared with {limit}: {error}"
        if power_mw <= highest * (1 + 1e-9):
            return None
        return (
            f"power {power_mw:.3g} mW of line {line} at {percent:g} % is above {limit}"
        )

    def reserved(self, device: str, name: str) -> str | None:
        """Say why a policy may not set this property, None if it may."""
        if (line := self._lines.get((device, name))) is not None:
            return f"{device}.{name} is the power of line {line}: use SetPower"
        if (device, name) == self._camera:
            return f"{device}.{name} has an action of its own: use SetExposure"
        if role := self._role_of.get(device):
            return f"{device} is the rig's {role}: its properties are not set by hand"
        if device == "Core" or (device, name) in self._guarded:
            return f"{device}.{name} keeps the rig safe and is not set by a policy"
        return None

    def property(
        self, device: str, name: str, value: object, objective: str | None
    ) -> str | None:
        """Check a planned property: a light line's power must stay within its limit."""
        line = self._lines.get((device, name))
        if line is None:
            return None
        try:
            number = float(str(value))
        except ValueError:
            return f"{device}.{name} {value!r} is no power for line {line}"
        percent = value_to_percent(number, *self.rig.light[line].range)
        return self.power(line, percent, objective)
