"""The dose ledger: light from what the devices did, not from what was asked of them."""

from __future__ import annotations

import threading
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from smartscope.core import NS_PER_S, value_to_mw, value_to_percent
from smartscope.safety._dose import Dose
from smartscope.safety._dosemap import DoseMap, to_j_cm2
from smartscope.safety._light import of_objective

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from smartscope.config import LightLine, RigConfig
    from smartscope.core import DeviceHistory

_ASSUMED_FIELD_UM = (500.0, 500.0)
"""Lit area where the rig says none: dose is then relative, and its place a guess."""

_GATE_KEY = {"shutter": "shutter", "camera_ttl": "camera"}

Ends = tuple[float, float]


class DoseLedger:
    """Integrates power x lit time / lit area of every line, per place in the sample.

    It reads the traces ``power:LINE``, ``shutter``, ``camera``, ``x_um`` and ``y_um``
    of the device history, so light left on between frames is charged too. Where
    something is unknown it assumes more light: a gate that no device ever reported is
    open, light beyond the calibration rises on. Thread-safe.

    Parameters
    ----------
    rig : RigConfig
    history : DeviceHistory
        Must be complete up to each time given to `advance`.
    start_ns : int
        Nothing before is charged.
    objective : str or None
        Objective preset that is turned in; None on a rig without a turret.
    """

    def __init__(
        self,
        rig: RigConfig,
        history: DeviceHistory,
        *,
        start_ns: int,
        objective: str | None = None,
    ) -> None:
        self._lines = dict(rig.light)
        self._timing = rig.timing
        self._history = history
        self._charged_ns = start_ns
        self._objective = objective
        self._maps: dict[tuple[str, str | None], DoseMap] = {}
        self._lock = threading.RLock()

    @property
    def charged_ns(self) -> int:
        """Run-clock time up to which everything is charged."""
        return self._charged_ns

    def set_objective(self, t_ns: int, objective: str | None) -> None:
        """Charge up to `t_ns`; from there on the light goes through `objective`."""
        with self._lock:
            self.advance(t_ns)
            self._objective = objective

    def advance(self, t_ns: int) -> None:
        """Charge everything since the last call, up to `t_ns`, exactly.

        Costs as much as there were changes in between, whatever the length of the run.
        A time that is charged already does nothing.
        """
        with self._lock:
            if t_ns <= self._charged_ns:
                return
            written = self._history.keys()
            for name, line in self._lines.items():
                self._advance_line(name, line, t_ns, written)
            self._charged_ns = t_ns

    def at(self, x_um: float, y_um: float) -> Dose:
        """Dose so far of a place in the sample (a cell), all lines together."""
        with self._lock:
            return _sum(found.at(x_um, y_um) for found in self._maps.values())

    def charge(self, position_xy: tuple[float | None, float | None]) -> Dose:
        """Dose so far of the field around a stage position, at its most lit place.

        Parameters
        ----------
        position_xy : (x_um, y_um)
            None on a rig without a stage.
        """
        x_um, y_um = position_xy
        with self._lock:
            return _sum(
                found.field(x_um or 0.0, y_um or 0.0) for found in self._maps.values()
            )

    def total(self, line: str | None = None) -> Dose:
        """Light of the whole run summed over places, of one line or of all."""
        with self._lock:
            return _sum(
                found.total
                for (name, _), found in self._maps.items()
                if line in (None, name)
            )

    def forecast(
        self,
        exposure_ms: float,
        powers: Mapping[str, float],
        *,
        frames: int = 1,
        period_ms: float | None = None,
    ) -> Dose:
        """Dose that `frames` planned exposures will give to their field.

        Parameters
        ----------
        exposure_ms : float
        powers : mapping of line to percent of range
        frames : int
        period_ms : float or None
            From one exposure to the next: how long a line without a gate is lit for
            each of them. None is back to back.
        """
        overhead_ms = self._timing.snap_overhead_ms + self._timing.readout_ms
        dose = Dose()
        for name, percent in powers.items():
            line = self._lines.get(name)
            if line is None or percent <= 0:
                continue
            lit_ms = exposure_ms
            if line.gate == "shutter":
                lit_ms += overhead_ms
            elif line.gate == "always":
                lit_ms = max(exposure_ms + overhead_ms, period_ms or 0.0)
            lit_s = frames * lit_ms / 1e3
            dose += self._planned(name, line, percent, lit_s)
        return dose

    def summary(
        self, positions: Mapping[str, tuple[float, float]] | None = None
    ) -> dict[str, Any]:
        """Plain values for journal and report.

        Parameters
        ----------
        positions : mapping of name to (x_um, y_um), optional
            Stage positions whose field's dose is wanted.

        Returns
        -------
        dict
            ``total``, ``lines`` (each with energy, worst field and objectives),
            ``positions`` and ``notes`` (what had to be assumed).
        """
        with self._lock:
            return {
                "charged_ns": self._charged_ns,
                "total": self.total().to_dict(),
                "lines": {name: self._line_summary(name) for name in self._lines},
                "positions": {
                    name: self.charge(place).to_dict()
                    for name, place in (positions or {}).items()
                },
                "notes": list(self._notes()),
            }

    # ------------------------------------------------------------------ charging

    def _advance_line(
        self, name: str, line: LightLine, t_ns: int, written: Sequence[str]
    ) -> None:
        power = f"power:{name}"
        gate = _GATE_KEY.get(line.gate)
        if gate not in written:
            gate = None  # nobody reports it: it counts as open
        keys = (power, "x_um", "y_um") + ((gate,) if gate else ())
        for t0, t1, values in self._history.segments(keys, self._charged_ns, t_ns):
            # A gate that is on its way is open: more light, never less.
            if gate and max(values[gate]) <= 0:
                continue
            percent = values[power]
            if max(percent) > 0 or self._leaks(line):
                self._charge(
                    name, line, (t1 - t0) / NS_PER_S, percent, values["x_um"],
                    values["y_um"],
                )  # fmt: skip

    def _leaks(self, line: LightLine) -> bool:
        """Whether the calibration says that light is left at 0 %."""
        points = of_objective(line.calibration, self._objective)
        return points is not None and _charged_mw(line, points, 0.0) > 0

    def _charge(
        self, name: str, line: LightLine, lit_s: float, percent: Ends, x: Ends, y: Ends
    ) -> None:
        booked = self._map(name, line)
        points = of_objective(line.calibration, self._objective)
        for cell, start, end in booked.path(x, y):
            part = (_between(percent, start), _between(percent, end))
            part_s = lit_s * (end - start)
            booked.book(
                cell,
                percent_s=part_s * (part[0] + part[1]) / 2,
                energy_mj=part_s * _mean_mw(line, points, part) if points else 0.0,
                lit_s=part_s,
            )

    def _map(self, name: str, line: LightLine) -> DoseMap:
        key = (name, self._objective)
        if key not in self._maps:
            field = of_objective(line.field_um, self._objective)
            points = of_objective(line.calibration, self._objective)
            self._maps[key] = DoseMap(
                field or _ASSUMED_FIELD_UM,
                calibrated=field is not None and points is not None,
            )
        return self._maps[key]

    def _planned(
        self, name: str, line: LightLine, percent: float, lit_s: float
    ) -> Dose:
        points = of_objective(line.calibration, self._objective)
        field = of_objective(line.field_um, self._objective)
        j_cm2 = None
        if points is not None and field is not None:
            energy_mj = lit_s * _mean_mw(line, points, (percent, percent))
            j_cm2 = to_j_cm2(energy_mj, field)
        return Dose(percent_s=percent * lit_s, j_cm2=j_cm2, lit_s=lit_s)

    # ------------------------------------------------------------------- summary

    def _line_summary(self, name: str) -> dict[str, Any]:
        found = {o: m for (line, o), m in self._maps.items() if line == name}
        worst = max(
            (hot for m in found.values() if (hot := m.hottest()) is not None),
            key=lambda hot: hot[0].percent_s,
            default=None,
        )
        summary: dict[str, Any] = self.total(name).to_dict()
        calibrated = all(m.calibrated for m in found.values())
        energy_mj = sum(m.total_mj for m in found.values())
        summary["energy_mj"] = energy_mj if calibrated else None
        summary["gate"] = self._lines[name].gate
        if worst is not None:
            dose, x_um, y_um = worst
            summary["worst_field"] = {"x_um": x_um, "y_um": y_um, **dose.to_dict()}
        return summary

    def _notes(self) -> Iterator[str]:
        written = self._history.keys()
        for name, line in self._lines.items():
            if f"power:{name}" not in written:
                yield f"line {name}: no power was ever reported, so none is charged"
            gate = _GATE_KEY.get(line.gate)
            if gate is not None and gate not in written:
                yield f"line {name}: {gate} was never reported, so it counts as open"
        for (name, objective), found in self._maps.items():
            if not found.calibrated:
                where = f" for objective {objective}" if objective else ""
                yield (
                    f"line {name}: no calibration or field_um{where}, so its dose is "
                    "relative (percent of range x seconds)"
                )


def _sum(doses: Iterator[Dose]) -> Dose:
    return sum(doses, start=Dose())


def _between(ends: Ends, part: float) -> float:
    return ends[0] + (ends[1] - ends[0]) * part


def _mean_mw(line: LightLine, points: Sequence[Ends], percent: Ends) -> float:
    """Mean power at the sample, mW, while percent goes evenly between its ends.

    Exact: the power is a chain of straight lines over the percent, so the mean over
    each straight piece is that of its ends.
    """
    low, high = sorted(percent)
    if low == high:
        return _charged_mw(line, points, low)
    knots = [value_to_percent(value, *line.range) for value, _ in points]
    edges = [low, *(k for k in (0.0, *knots) if low < k < high), high]
    edges = sorted(set(edges))
    powers = [_charged_mw(line, points, edge) for edge in edges]
    area = sum(
        (b - a) * (pa + pb) / 2
        for a, b, pa, pb in zip(edges, edges[1:], powers, powers[1:], strict=False)
    )
    return area / (high - low)


def _charged_mw(line: LightLine, points: Sequence[Ends], percent: float) -> float:
    """Power that is charged, mW: the calibration, continued where it does not reach.

    Below the first point light goes straight to nothing at 0 %; above the last it
    rises on as steeply as anywhere in the calibration.
    """
    value = line.range[0] + (line.range[1] - line.range[0]) * percent / 100.0
    (v0, p0), (v1, p1) = points[0], points[-1]
    if value > v1:
        steepest = max((pb - pa) / (vb - va) for (va, pa), (vb, pb) in pairwise(points))
        return p1 + max(steepest, 0.0) * (value - v1)
    if value < v0:
        if percent <= 0:
            return 0.0
        return p0 * percent / value_to_percent(v0, *line.range)
    return value_to_mw(value, points)
