"""When light fell on the sample, and where the stage was meanwhile."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from smartscope.core import NS_PER_MS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from smartscope.core import DeviceHistory

Ends = tuple[float, float]
_POWER = "power:"


@dataclass(frozen=True, slots=True)
class Lit:
    """A stretch of time with light on, in which every device moves evenly.

    `light` is the mean over it, 1 is one line at 100 %; pairs are the values at its
    start and its end.
    """

    t0_ns: int
    t1_ns: int
    light: float
    x_um: Ends
    y_um: Ends
    z_um: Ends
    magnification: float

    @property
    def light_ms(self) -> float:
        """Milliseconds of full light it amounts to."""
        return self.light * (self.t1_ns - self.t0_ns) / NS_PER_MS

    def at(self, fraction: float) -> tuple[float, float, float]:
        """``(x_um, y_um, z_um)`` of stage and focus at a fraction of its time."""
        x, y, z = (
            ends[0] + (ends[1] - ends[0]) * fraction
            for ends in (self.x_um, self.y_um, self.z_um)
        )
        return x, y, z


class Windows:
    """When the camera exposed: spans in order that do not overlap."""

    def __init__(self) -> None:
        self._start: list[int] = []
        self._end: list[int] = []

    def add(self, t0_ns: int, t1_ns: int) -> None:
        """Add an exposure; it starts no earlier than the one before."""
        if self._end and t0_ns <= self._end[-1]:
            self._end[-1] = max(self._end[-1], t1_ns)
        else:
            self._start.append(t0_ns)
            self._end.append(t1_ns)

    def within(self, t0_ns: int, t1_ns: int) -> list[tuple[int, int]]:
        """Exposures cut to ``[t0_ns, t1_ns]``."""
        low, high = bisect_right(self._end, t0_ns), bisect_left(self._start, t1_ns)
        return [
            (max(self._start[i], t0_ns), min(self._end[i], t1_ns))
            for i in range(low, high)
        ]

    def forget_before(self, t_ns: int) -> None:
        """Drop exposures that ended before `t_ns`."""
        gone = bisect_left(self._end, t_ns)
        del self._start[:gone], self._end[:gone]


@dataclass(frozen=True, slots=True)
class LightPath:
    """Which light reaches the sample.

    Attributes
    ----------
    gates : mapping of line to gate
        See `SpecimenView.gates`.
    excitation : mapping of line to float
        How strongly a line acts; 1 where not named.
    magnification : float
        Where the history has none.
    """

    gates: Mapping[str, str] = field(default_factory=dict)
    excitation: Mapping[str, float] = field(default_factory=dict)
    magnification: float = 10.0

    def lit(
        self,
        history: DeviceHistory,
        t0_ns: int,
        t1_ns: int,
        windows: Windows,
    ) -> Iterator[Lit]:
        """Yield every lit stretch of ``[t0_ns, t1_ns]``, in order.

        Parameters
        ----------
        windows : Windows
            When the camera exposed, for lines gated by it.
        """
        known = set(history.keys())
        lines = sorted(key for key in known if key.startswith(_POWER))
        wanted = {"x_um", "y_um", "z_um", "shutter", "camera", "magnification"}
        keys = tuple(sorted((wanted & known).union(lines)))
        for a, b, exposing in self._by_window(t0_ns, t1_ns, windows):
            for start, end, values in history.segments(keys, a, b):
                light = self._light(values, lines, exposing)
                if light > 0:
                    yield self._stretch(start, end, light, values)

    def _by_window(
        self, t0_ns: int, t1_ns: int, windows: Windows
    ) -> Iterator[tuple[int, int, bool]]:
        gated = "camera_ttl" in self.gates.values()
        spans = windows.within(t0_ns, t1_ns) if gated else []
        edges = sorted({t0_ns, t1_ns}.union(*spans))
        for a, b in pairwise(edges):
            yield a, b, any(start <= a and b <= end for start, end in spans)

    def _light(
        self, values: Mapping[str, Ends], lines: list[str], exposing: bool
    ) -> float:
        shutter = _mean(values.get("shutter"), 1.0)
        if not lines:
            return shutter
        camera = 1.0 if exposing else _mean(values.get("camera"), 0.0)
        open_by = {"shutter": shutter, "camera_ttl": camera, "always": 1.0}
        total = 0.0
        for key in lines:
            line = key.removeprefix(_POWER)
            gate = open_by[self.gates.get(line, "shutter")]
            percent = _mean(values[key], 0.0)
            total += gate * percent / 100.0 * self.excitation.get(line, 1.0)
        return total

    def _stretch(
        self, start: int, end: int, light: float, values: Mapping[str, Ends]
    ) -> Lit:
        zero = (0.0, 0.0)
        return Lit(
            start,
            end,
            light,
            values.get("x_um", zero),
            values.get("y_um", zero),
            values.get("z_um", zero),
            _mean(values.get("magnification"), self.magnification),
        )


def _mean(ends: Ends | None, default: float) -> float:
    return default if ends is None else 0.5 * (ends[0] + ends[1])
