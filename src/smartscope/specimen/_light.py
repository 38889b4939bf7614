"""When light fell on the sample, and where the stage was meanwhile."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from smartscope.core import NS_PER_MS

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping

    from smartscope.core import DeviceHistory
    from smartscope.specimen._biology import Role

Ends = tuple[float, float]
_POWER = "power:"
_SLM = "slm"


@dataclass(frozen=True, slots=True)
class Beam:
    """Light of one role: 1 is one line of full weight at 100 %.

    Attributes
    ----------
    even : float
        Of lines that light the whole field.
    shaped : float
        Of the line that the SLM shapes, while a pattern is shown.
    """

    even: float
    shaped: float = 0.0

    @property
    def whole(self) -> float:
        """Light where the pattern is bright."""
        return self.even + self.shaped


@dataclass(frozen=True, slots=True)
class Lit:
    """A stretch of time with light on, in which every device moves evenly.

    `beams` are means over it, by role; pairs are the values at its start and its end.
    `pattern` is the number of what the SLM shows, None is even light.
    """

    t0_ns: int
    t1_ns: int
    beams: Mapping[str, Beam]
    pattern: int | None
    x_um: Ends
    y_um: Ends
    z_um: Ends
    magnification: float

    def full_ms(self, parts: int = 1) -> dict[str, Beam]:
        """Milliseconds of full light one of `parts` amounts to, by role."""
        length_ns = self.t1_ns - self.t0_ns
        return {
            role: Beam(
                beam.even * length_ns / NS_PER_MS / parts,
                beam.shaped * length_ns / NS_PER_MS / parts,
            )
            for role, beam in self.beams.items()
        }

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
    roles : mapping of role to Role
        How strongly a line acts.
    magnification : float
        Where the history has none.
    slm_line : str or None
        The line that the SLM shapes.
    patterns : container of int
        Numbers of patterns; others are even light.
    """

    gates: Mapping[str, str] = field(default_factory=dict)
    roles: Mapping[str, Role] = field(default_factory=dict)
    magnification: float = 10.0
    slm_line: str | None = None
    patterns: Container[int] = ()

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
        wanted = {"x_um", "y_um", "z_um", "shutter", "camera", "magnification", _SLM}
        keys = tuple(sorted((wanted & known).union(lines)))
        for a, b, exposing in self._by_window(t0_ns, t1_ns, windows):
            for start, end, values in history.segments(keys, a, b):
                pattern = self._pattern(values)
                beams = self._beams(values, lines, exposing, pattern is not None)
                if any(beam.whole > 0 for beam in beams.values()):
                    yield self._stretch(start, end, beams, pattern, values)

    def _by_window(
        self, t0_ns: int, t1_ns: int, windows: Windows
    ) -> Iterator[tuple[int, int, bool]]:
        gated = "camera_ttl" in self.gates.values()
        spans = windows.within(t0_ns, t1_ns) if gated else []
        edges = sorted({t0_ns, t1_ns}.union(*spans))
        for a, b in pairwise(edges):
            yield a, b, any(start <= a and b <= end for start, end in spans)

    def _pattern(self, values: Mapping[str, Ends]) -> int | None:
        if self.slm_line is None or _SLM not in values:
            return None
        # Numbers do not glide: the value inside a segment is that at its start.
        number = round(values[_SLM][0])
        return number if number in self.patterns else None

    def _beams(
        self,
        values: Mapping[str, Ends],
        lines: list[str],
        exposing: bool,
        shaping: bool,
    ) -> dict[str, Beam]:
        shutter = _mean(values.get("shutter"), 1.0)
        if not lines:
            return {role: Beam(shutter * r.other) for role, r in self.roles.items()}
        camera = 1.0 if exposing else _mean(values.get("camera"), 0.0)
        open_by = {"shutter": shutter, "camera_ttl": camera, "always": 1.0}
        even, shaped = dict.fromkeys(self.roles, 0.0), dict.fromkeys(self.roles, 0.0)
        for key in lines:
            line = key.removeprefix(_POWER)
            gate = open_by[self.gates.get(line, "shutter")]
            light = gate * _mean(values[key], 0.0) / 100.0
            into = shaped if shaping and line == self.slm_line else even
            for role, weights in self.roles.items():
                into[role] += light * weights.weight(line)
        return {role: Beam(even[role], shaped[role]) for role in self.roles}

    def _stretch(
        self,
        start: int,
        end: int,
        beams: Mapping[str, Beam],
        pattern: int | None,
        values: Mapping[str, Ends],
    ) -> Lit:
        zero = (0.0, 0.0)
        return Lit(
            start,
            end,
            beams,
            pattern,
            values.get("x_um", zero),
            values.get("y_um", zero),
            values.get("z_um", zero),
            _mean(values.get("magnification"), self.magnification),
        )


def _mean(ends: Ends | None, default: float) -> float:
    return default if ends is None else 0.5 * (ends[0] + ends[1])
