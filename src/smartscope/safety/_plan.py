"""Planned events and streams against the limits, before and during a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartscope.safety._light import channel_powers, of_objective

if TYPE_CHECKING:
    from useq import MDAEvent

    from smartscope.config import Stream
    from smartscope.core import ConfigError
    from smartscope.safety._actions import Position
    from smartscope.safety._envelope import Envelope

Breach = tuple[str, str]
"""Field of the experiment to change, and the sentence."""

_FIX = "change it, or ask whoever owns the rig file"


def describe(event: MDAEvent) -> str:
    """Name a planned event for a person: ``planned event (t=3, p=1)``."""
    index = ", ".join(f"{axis}={number}" for axis, number in event.index.items())
    return f"planned event ({index})" if index else "planned event"


def event_breach(
    envelope: Envelope,
    event: MDAEvent,
    powers: dict[str, float],
    objective: str | None,
) -> Breach | None:
    """Return what an event breaks and where that is written, or None."""
    refused = _moves(envelope, event) or envelope.stage(event.x_pos, event.y_pos)
    if refused:
        return _position(event), refused
    if refused := envelope.focus(event.z_pos):
        return "acquisition.z_plan" if "z" in event.index else _position(event), refused
    if refused := envelope.exposure(event.exposure):
        return f"acquisition.channels[{event.index.get('c', 0)}].exposure", refused
    if refused := envelope.powers(powers, objective):
        return f"light.{event.channel.config if event.channel else ''}", refused
    refused = _pattern(envelope, event) or _properties(envelope, event, objective)
    return ("acquisition", refused) if refused else None


def _position(event: MDAEvent) -> str:
    return f"acquisition.stage_positions[{event.index.get('p', 0)}]"


def _moves(envelope: Envelope, event: MDAEvent) -> str | None:
    if event.x_pos is not None or event.y_pos is not None:
        if refused := envelope.lacks("stage"):
            return refused
    return envelope.lacks("focus") if event.z_pos is not None else None


def _pattern(envelope: Envelope, event: MDAEvent) -> str | None:
    image, roles = event.slm_image, envelope.rig.roles
    if image is None:
        return None
    if refused := envelope.lacks("slm"):
        return refused
    if roles is not None and image.device not in (None, roles.slm):
        return f"its pattern is for {image.device}, and the SLM here is {roles.slm}"
    if image.exposure is not None:
        return (
            "its pattern has an exposure of its own; how long an SLM stays lit is "
            f"slm.dwell_ms of {envelope.rig_file}"
        )
    return None


def _properties(
    envelope: Envelope, event: MDAEvent, objective: str | None
) -> str | None:
    for device, name, value in event.properties or ():
        if refused := envelope.property(device, name, value, objective):
            return refused
    return None


class PlanCheck:
    """Goes through a plan in order and raises at the first breach.

    Parameters
    ----------
    envelope : Envelope
    home : (x_um, y_um, z_um)
    objective : str or None
    """

    def __init__(
        self, envelope: Envelope, home: Position, objective: str | None
    ) -> None:
        self._envelope = envelope
        self._home = home
        self._objective = objective
        self._powers: dict[str | None, dict[str, float]] = {}
        self._lit_ms = 0.0

    def event(
        self, number: int, event: MDAEvent, offset: tuple[float, float, float]
    ) -> None:
        """Check the next planned event."""
        channel = event.channel.config if event.channel else None
        powers = self._channel(channel)
        shifted = self._shifted(event, offset)
        breach = event_breach(self._envelope, shifted, powers, self._objective)
        self._lit_ms += event.exposure or 0.0
        if breach is None and (held := self._envelope.lit(self._lit_ms)):
            breach = ("acquisition.keep_shutter_open_across", held)
        if not event.keep_shutter_open:
            self._lit_ms = 0.0
        if breach is not None:
            index = describe(event).removeprefix("planned event").strip()
            name = f"planned event {number} {index}".strip()
            raise self._error(breach[0], f"{name}: {breach[1]}")

    def stream(self, stream: Stream) -> None:
        """Check a stream, which is lit from end to end."""
        envelope = self._envelope
        if refused := envelope.exposure(stream.exposure_ms):
            raise self._error("acquisition.stream.exposure_ms", refused)
        if stream.frames is not None:
            lit_ms = stream.frames * stream.exposure_ms
        else:
            lit_ms = (stream.duration_s or 0.0) * 1e3
        powers = self._channel(stream.channel)
        if any(powers.values()) and (refused := envelope.lit(lit_ms)):
            raise self._error("acquisition.stream", refused)
        if refused := envelope.powers(powers, self._objective):
            raise self._error(f"light.{stream.channel}", refused)

    def _channel(self, channel: str | None) -> dict[str, float]:
        if channel not in self._powers:
            envelope = self._envelope
            powers = channel_powers(
                envelope.rig, envelope.experiment, channel, self._objective
            )
            self._powers[channel] = powers
            self._budget(powers)
        return self._powers[channel]

    def _budget(self, powers: dict[str, float]) -> None:
        """Refuse a budget in J/cm2 that nobody could keep account of."""
        safety, lines = self._envelope.experiment.safety, self._envelope.rig.light
        if safety.dose_per_fov_j_cm2 is None:
            return
        for name, percent in powers.items():
            line = lines[name]
            tables = (
                ("calibration", of_objective(line.calibration, self._objective)),
                ("field_um", of_objective(line.field_um, self._objective)),
            )
            for what, table in tables:
                if percent > 0 and table is None:
                    raise self._envelope.experiment.problem(
                        "safety.dose_per_fov_j_cm2",
                        f"line {name} has no {what} for {_named(self._objective)}, so "
                        "its dose is known in relative units only",
                        f"add light.{name}.{what} to {self._envelope.rig_file}, or "
                        "use dose_per_fov_relative",
                    )

    def _shifted(self, event: MDAEvent, offset: tuple[float, float, float]) -> MDAEvent:
        if not any(offset):
            return event
        here = (event.x_pos, event.y_pos, event.z_pos)
        moved: dict[str, float] = {}
        for i, name in enumerate(("x_pos", "y_pos", "z_pos")):
            base = self._home[i] if here[i] is None else here[i]
            if offset[i] and base is not None:
                moved[name] = base + offset[i]
        return event.model_copy(update=moved)

    def _error(self, field: str, problem: str) -> ConfigError:
        return self._envelope.experiment.problem(field, problem, _FIX)


def _named(objective: str | None) -> str:
    return "this rig's objective" if objective is None else f"objective {objective}"
