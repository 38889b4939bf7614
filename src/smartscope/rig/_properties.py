"""Presets and plain properties: what is known by the text of device properties."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartscope.rig._resources import STATE_PROPERTIES, TOLERANCE, Resource

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smartscope.rig._port import Port


class Channel(Resource):
    """The present preset of a config group; values are preset names or None."""

    def __init__(self, port: Port, group: str, name: str) -> None:
        self.group = group
        self.presets = {
            str(preset): port.settings_of(group, preset)
            for preset in port.core.getAvailableConfigs(group)
        }
        pairs = {(d, p) for s in self.presets.values() for d, p, _ in s}
        # Turning a wheel by its number changes its label, and the other way round.
        twins = {
            (d, twin)
            for d, p in pairs
            if p in STATE_PROPERTIES
            for twin in STATE_PROPERTIES
        }
        devices = sorted({d for d, _ in pairs} - {"Core"})
        super().__init__(name, tuple(devices), tuple(sorted(pairs | twins)))
        self._port = port
        self.settings = pairs

    def read(self) -> str | None:
        """Ask every device of the group."""
        return self.read_for(None)

    def read_for(self, wanted: str | None) -> str | None:
        """As `read`, but of presets that look alike the wanted one is found."""
        found = {pair: self._port.get_property(*pair) for pair in self.settings}
        if wanted is not None and self.holds(wanted, found):
            return wanted
        return self.match(found)

    def match(self, found: Mapping[tuple[str, str], str]) -> str | None:
        """First preset that agrees with these property values, None without one."""
        for preset in self.presets:
            if self.holds(preset, found):
                return preset
        return None

    def holds(self, preset: str, found: Mapping[tuple[str, str], str]) -> bool:
        """Whether the property values are those of `preset`."""
        return all(
            equal_text(value, found.get((d, p), ""))
            for d, p, value in self.presets.get(preset, ())
        )

    def holds_in_cache(self, preset: str) -> bool:
        """As `holds`, from Micro-Manager's own cache; no device is asked."""
        found = {
            (d, p): self._port.cached_property(d, p)
            for d, p, _ in self.presets.get(preset, ())
        }
        return self.holds(preset, found)

    def describe(self, value: str | None) -> Mapping[str, float | str]:
        """``channel``, or ``GROUP`` for another group."""
        return {"channel" if self.name == "channel" else self.group: value or "none"}


class Property(Resource):
    """Any property that is not a role of its own; values are text."""

    def __init__(self, port: Port, device: str, prop: str) -> None:
        super().__init__(f"property:{device}.{prop}", (device,), ((device, prop),))
        self._port = port
        self._at = (device, prop)

    def read(self) -> str:
        """Ask the device."""
        return self._port.get_property(*self._at)

    def same(self, wanted: str, found: str) -> bool:
        """Equal text, or numbers within a thousandth of the range."""
        if equal_text(wanted, found):
            return True
        core, span = self._port.core, 0.0
        if core.hasPropertyLimits(*self._at):
            span = core.getPropertyUpperLimit(*self._at)
            span -= core.getPropertyLowerLimit(*self._at)
        return equal_text(wanted, found, TOLERANCE * span)

    def parse(self, prop: str, text: str) -> str:
        """The text itself."""
        return text


def equal_text(wanted: str, found: str, tolerance: float = 0.0) -> bool:
    """Whether two property values are the same text or the same number."""
    if wanted == found:
        return True
    try:
        a, b = float(wanted), float(found)
    except ValueError:
        return False
    # Adapters print four decimals; without limits that is all there is to compare.
    return abs(a - b) <= max(tolerance, 1e-3 * abs(a), 5e-5)
