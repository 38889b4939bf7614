"""What reactions have changed about the events to come, added when one is released."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Literal

from smartscope.control._planned import plus

if TYPE_CHECKING:
    from useq import MDAEvent

    from smartscope.control._planned import Planned
    from smartscope.core import Roi

Offset = tuple[float, float, float]
Position = tuple[float | None, float | None, float | None]


class Amendments:
    """Offsets, exposures and the region asked for. Not thread-safe: the schedule is.

    Parameters
    ----------
    home : (x_um, y_um, z_um), each may be None
        Base of offsets of events that name no position.

    Attributes
    ----------
    explicit_xy, explicit_z : bool
        Once a reaction has moved the stage or the focus, events that name no place of
        their own must say where they belong, or they would stay where it went.
    roi : Roi or "full" or None
        None is as planned.
    """

    def __init__(self, home: tuple[float | None, float | None, float | None]) -> None:
        self._home = home
        self._offsets: dict[int, Offset] = defaultdict(lambda: (0.0, 0.0, 0.0))
        self._exposure_ms: dict[str, float] = {}
        self.explicit_xy = self.explicit_z = False
        self.roi: Roi | Literal["full"] | None = None

    def shift(self, position: int, dx_um: float, dy_um: float, dz_um: float) -> Offset:
        """Amend the offset of a field; returns the new one."""
        self.explicit_xy |= bool(dx_um or dy_um)
        self.explicit_z |= bool(dz_um)
        x, y, z = self._offsets[position]
        self._offsets[position] = (x + dx_um, y + dy_um, z + dz_um)
        return self._offsets[position]

    def offset(self, position: int) -> Offset:
        """Offset added to every planned position of a field, um."""
        return self._offsets[position]

    def base(self, axis: int, planned: float | None) -> float | None:
        """Planned place on axis 0, 1 or 2 (x, y, z), um; home where none is named."""
        return self._home[axis] if planned is None else planned

    def elsewhere(
        self, position: int, event: MDAEvent, place_um: Position
    ) -> dict[str, float]:
        """Whole place of a burst that names one: what it leaves out is as planned.

        Empty where it names none.
        """
        if all(um is None for um in place_um):
            return {}
        self.explicit_xy |= place_um[0] is not None or place_um[1] is not None
        self.explicit_z |= place_um[2] is not None
        planned = (event.x_pos, event.y_pos, event.z_pos)
        found: dict[str, float] = {}
        for axis, name in enumerate(("x_pos", "y_pos", "z_pos")):
            um = place_um[axis]
            if um is None:
                um = plus(self.base(axis, planned[axis]), self._offsets[position][axis])
            if um is not None:
                found[name] = um
        return found

    def set_exposure(self, channel: str | None, exposure_ms: float) -> None:
        """Use this exposure from now on in `channel` (None: in every one)."""
        if channel is None:
            self._exposure_ms.clear()
        self._exposure_ms[channel or "*"] = exposure_ms

    def apply(self, planned: Planned) -> MDAEvent:
        """Return the event with everything added and no start time of its own."""
        event = planned.event
        update: dict[str, Any] = {
            "min_start_time": None,
            "metadata": {
                **event.metadata,
                "smartscope": {"role": planned.role, "cause": planned.cause},
            },
        }
        if (self.explicit_xy or self.explicit_z) and not planned.own_place:
            x, y, z = self._offsets[planned.position]
            if self.explicit_xy:
                update["x_pos"] = plus(self.base(0, event.x_pos), x)
                update["y_pos"] = plus(self.base(1, event.y_pos), y)
            if self.explicit_z:
                update["z_pos"] = plus(self.base(2, event.z_pos), z)
        if self._exposure_ms and not planned.own_exposure:
            channel = event.channel.config if event.channel else "*"
            exposure = self._exposure_ms.get(channel, self._exposure_ms.get("*"))
            if exposure is not None:
                update["exposure"] = exposure
        return event.model_copy(update=update)
