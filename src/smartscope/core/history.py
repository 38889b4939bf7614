"""What the devices did, as piecewise-linear traces over time.

The rig writes it at each change; the dose ledger and the simulated specimen read it.
It knows nothing of frames or stamps, so a specimen rendered from it is an independent
witness of when a change took effect.

Keys in use: ``x_um``, ``y_um``, ``z_um``, ``shutter`` (0 or 1), ``power:LINE``
(percent of the line's range, 0..100), ``magnification`` (objective), ``camera`` (1
while the camera exposes), ``slm`` (number of the pattern shown; what it looks like is
kept beside the trace, see `DeviceHistory.set_pattern`).
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


_NOTHING: frozenset[str] = frozenset()
_CAMERA, _SLM = "camera", "slm"


@dataclass(slots=True)
class _Trace:
    t_ns: list[int] = field(default_factory=list)
    value: list[float] = field(default_factory=list)


class DeviceHistory:
    """Time-stamped values of everything that shapes an exposure. Thread-safe.

    It grows by two points a change; call `forget_before` now and then.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._traces: dict[str, _Trace] = {}
        self._patterns: dict[int, Any] = {}
        # No trace but the camera's has a point after this.
        self._newest_ns: int | None = None

    def keys(self) -> tuple[str, ...]:
        """Names of all traces written so far."""
        with self._lock:
            return tuple(self._traces)

    def set(self, key: str, t_ns: int, value: float) -> None:
        """Record that `key` jumped to `value` at `t_ns`."""
        with self._lock:
            trace = self._trace(key)
            self._cut_after(trace, t_ns)
            if trace.value:
                last = self._at(trace, t_ns)
                if last == value and trace.value[-1] == value:
                    return
                self._append(trace, t_ns, last)
            self._append(trace, t_ns, float(value))
            self._note_time(key, t_ns)

    def ramp(self, key: str, t0_ns: int, t1_ns: int, value: float) -> None:
        """Record that `key` moves evenly from its value at `t0_ns` to `value`.

        A change still under way at `t0_ns` is cut off there.
        """
        with self._lock:
            trace = self._trace(key)
            self._cut_after(trace, t0_ns)
            start = self._at(trace, t0_ns) if trace.value else float(value)
            if trace.value and start == value:
                return
            self._append(trace, t0_ns, start)
            self._append(trace, max(t0_ns, t1_ns), float(value))
            self._note_time(key, max(t0_ns, t1_ns))

    def set_pattern(self, t_ns: int, number: int, pattern: Any) -> None:
        """Record that the SLM shows `pattern` since `t_ns`: ``slm`` jumps to `number`.

        A number stands for one pattern for good; it is forgotten with the last point
        of the trace that names it.
        """
        with self._lock:
            self._patterns[number] = pattern
            self.set(_SLM, t_ns, number)

    def pattern(self, number: int) -> Any:
        """Return the pattern of this number, or None."""
        return self._patterns.get(number)

    def patterns(self, t0_ns: int, t1_ns: int) -> dict[int, Any]:
        """Patterns shown at any time in ``[t0_ns, t1_ns]``, by number."""
        with self._lock:
            trace = self._traces.get(_SLM)
            if trace is None:
                return {}
            low = max(0, bisect_right(trace.t_ns, t0_ns) - 1)
            high = max(low + 1, bisect_right(trace.t_ns, t1_ns))
            numbers = {int(value) for value in trace.value[low:high]}
            return {n: self._patterns[n] for n in numbers if n in self._patterns}

    def at(self, key: str, t_ns: int, default: float = 0.0) -> float:
        """Value of `key` at `t_ns`; `default` if it was never written."""
        with self._lock:
            trace = self._traces.get(key)
            return self._at(trace, t_ns) if trace and trace.value else default

    def changes(self, t0_ns: int, t1_ns: int) -> frozenset[str]:
        """Keys whose value is not the same all through ``[t0_ns, t1_ns)``.

        A jump at `t0_ns` holds from the start and a jump at `t1_ns` comes after the
        end, so neither counts; ``camera`` is left out. Costs next to nothing where
        nothing has changed since `t0_ns`.
        """
        newest = self._newest_ns
        if newest is None or newest <= t0_ns or t1_ns <= t0_ns:
            return _NOTHING
        with self._lock:
            return frozenset(
                key
                for key, trace in self._traces.items()
                if trace.t_ns[-1] > t0_ns
                and key != _CAMERA
                and self._changes(trace, t0_ns, t1_ns)
            )

    def segments(
        self, keys: tuple[str, ...], t0_ns: int, t1_ns: int
    ) -> Iterator[tuple[int, int, dict[str, tuple[float, float]]]]:
        """Cut ``[t0_ns, t1_ns]`` wherever any of `keys` changes slope.

        Yields
        ------
        (start_ns, end_ns, {key: (value at start, value at end)})
            In order, without gaps; values are those *inside* the segment, so a jump
            at its end belongs to the next one. Zero-length segments are left out.
        """
        with self._lock:
            cuts = {t0_ns, t1_ns}
            for key in keys:
                if trace := self._traces.get(key):
                    low = bisect_right(trace.t_ns, t0_ns)
                    high = bisect_left(trace.t_ns, t1_ns)
                    cuts.update(trace.t_ns[low:high])
            edges = sorted(cuts)
            rows = [
                (a, b, {key: self._inside(key, a, b) for key in keys})
                for a, b in pairwise(edges)
            ]
        yield from rows

    def forget_before(self, t_ns: int) -> None:
        """Drop what is older than `t_ns`, keeping the value that holds there."""
        with self._lock:
            for trace in self._traces.values():
                keep = bisect_right(trace.t_ns, t_ns) - 1
                if keep > 0:
                    del trace.t_ns[:keep], trace.value[:keep]
            if (shown := self._traces.get(_SLM)) is not None:
                kept = set(map(int, shown.value))
                for number in self._patterns.keys() - kept:
                    del self._patterns[number]

    def _trace(self, key: str) -> _Trace:
        trace = self._traces.get(key)
        if trace is None:
            trace = self._traces[key] = _Trace()
        return trace

    def _note_time(self, key: str, t_ns: int) -> None:
        if key != _CAMERA and (self._newest_ns is None or self._newest_ns < t_ns):
            self._newest_ns = t_ns

    def _append(self, trace: _Trace, t_ns: int, value: float) -> None:
        if trace.t_ns and trace.t_ns[-1] == t_ns and trace.value[-1] == value:
            return
        trace.t_ns.append(t_ns)
        trace.value.append(value)

    def _changes(self, trace: _Trace, t0_ns: int, t1_ns: int) -> bool:
        """Whether the value differs from that at `t0_ns` anywhere before `t1_ns`."""
        times, values = trace.t_ns, trace.value
        start = self._at(trace, t0_ns)
        i = bisect_right(times, t0_ns)
        while i < len(times):
            # Arriving at the first point of this time, straight from the last one...
            if values[i] != start:
                return True
            t_ns = times[i]
            if t_ns >= t1_ns:
                return False
            # ...and leaving from its last point, if it jumps there.
            i = bisect_right(times, t_ns, i)
            if values[i - 1] != start:
                return True
        return False

    def _cut_after(self, trace: _Trace, t_ns: int) -> None:
        if trace.t_ns and trace.t_ns[-1] > t_ns:
            here = self._at(trace, t_ns)
            cut = bisect_right(trace.t_ns, t_ns)
            del trace.t_ns[cut:], trace.value[cut:]
            self._append(trace, t_ns, here)

    def _at(self, trace: _Trace, t_ns: int) -> float:
        i = bisect_right(trace.t_ns, t_ns)
        if i == 0:
            return trace.value[0]
        if i == len(trace.t_ns):
            return trace.value[-1]
        return self._between(trace, i, t_ns)

    def _between(self, trace: _Trace, i: int, t_ns: int) -> float:
        ta, tb = trace.t_ns[i - 1], trace.t_ns[i]
        va, vb = trace.value[i - 1], trace.value[i]
        return va if tb == ta else va + (vb - va) * (t_ns - ta) / (tb - ta)

    def _inside(self, key: str, a: int, b: int) -> tuple[float, float]:
        trace = self._traces.get(key)
        if trace is None or not trace.value:
            return 0.0, 0.0
        start = self._at(trace, a)
        # A jump at b is two points at b: the first is the value just before.
        j = bisect_left(trace.t_ns, b)
        if j < len(trace.t_ns) and trace.t_ns[j] == b:
            return start, trace.value[j]
        return start, self._at(trace, b)
