"""The dose ledger: light from what the devices did, not from what was asked of them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from smartscope.core import NS_PER_S
from smartscope.safety._dose import Dose
from smartscope.safety._dosemap import DoseMap, to_j_cm2
from smartscope.safety._lamp import GATE_KEY, Lamp
from smartscope.safety._patterned import PatternMap, slm_to_sample

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from smartscope.config import RigConfig
    from smartscope.core import DeviceHistory
    from smartscope.safety._lamp import Ends

_SLM = "slm"
_ASSUMED_FIELD_UM = (500.0, 500.0)
"""Lit area where the rig says none: dose is then relative, and its place a guess."""


class DoseLedger:
    """Integrates power x lit time / lit area of every line, per place in the sample.

    It reads the traces ``power:LINE``, ``shutter``, ``camera``, ``x_um``, ``y_um`` and
    ``slm`` of the device history, so light left on between frames is charged too. Where
    something is unknown it assumes more light: a gate that no device ever reported is
    open, light beyond the calibration rises on, an SLM that nobody calibrated lights
    the whole field. Thread-safe.

    Parameters
    ----------
    rig : RigConfig
    history : DeviceHistory
        Must be complete up to each time given to `advance`.
    start_ns : int
        Nothing before is charged.
    objective : str or None
        Objective preset that is turned in; None on a rig without a turret.
    sensor_px : (height, width) or None
        Whole sensor, unbinned; without it, patterns of the SLM count as even light.
    """

    def __init__(
        self,
        rig: RigConfig,
        history: DeviceHistory,
        *,
        start_ns: int,
        objective: str | None = None,
        sensor_px: tuple[int, int] | None = None,
    ) -> None:
        self._rig = rig
        self._sensor_px = sensor_px
        self._shaped = None if rig.slm is None else rig.slm.line
        self._lines = dict(rig.light)
        self._overhead_ms = rig.timing.snap_overhead_ms + rig.timing.readout_ms
        self._history = history
        self._charged_ns = start_ns
        self._objective = objective
        self._made: dict[str | None, tuple[Lamp, ...]] = {}
        self._maps: dict[tuple[str, str | None, str], DoseMap | PatternMap] = {}
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
            lit: dict[str | None, list[tuple[int, int]]] = {}
            for lamp in self._lamps():
                # A gate that nobody reports counts as open.
                gate = lamp.gate if lamp.gate in written else None
                if gate not in lit:
                    lit[gate] = self._open(gate, t_ns)
                for t0, t1 in lit[gate]:
                    self._shine(lamp, t0, t1)
            self._charged_ns = t_ns

    def at(self, x_um: float, y_um: float) -> Dose:
        """Dose so far of a place in the sample (a cell), all lines together."""
        with self._lock:
            return _sum([found.at(x_um, y_um) for found in self._maps.values()])

    def charge(self, position_xy: tuple[float | None, float | None]) -> Dose:
        """Dose so far of the field around a stage position, at its most lit place.

        Parameters
        ----------
        position_xy : (x_um, y_um)
            None on a rig without a stage.
        """
        x_um, y_um = position_xy
        with self._lock:
            maps = self._maps.values()
            return _sum([found.field(x_um or 0.0, y_um or 0.0) for found in maps])

    def total(self, line: str | None = None) -> Dose:
        """Light of the whole run summed over places, of one line or of all."""
        with self._lock:
            return _sum(
                [
                    found.total
                    for (name, _, _), found in self._maps.items()
                    if line in (None, name)
                ]
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
        gated = exposure_ms
        shuttered = exposure_ms + self._overhead_ms
        always = max(shuttered, period_ms or 0.0)
        lit_ms_by_gate = {"shutter": shuttered, "always": always}
        doses = []
        with self._lock:
            for lamp in self._lamps():
                percent = powers.get(lamp.name, 0.0)
                if percent > 0:
                    lit_ms = lit_ms_by_gate.get(lamp.line.gate, gated)
                    doses.append(_planned(lamp, percent, frames * lit_ms / 1e3))
        return _sum(doses)

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

    def _lamps(self) -> tuple[Lamp, ...]:
        """All lines through the objective that is turned in."""
        lamps = self._made.get(self._objective)
        if lamps is None:
            lamps = self._made[self._objective] = tuple(
                Lamp(name, line, self._objective) for name, line in self._lines.items()
            )
        return lamps

    def _open(self, gate: str | None, t_ns: int) -> list[tuple[int, int]]:
        """When light came through since the last call; None is always."""
        since_ns = self._charged_ns
        if gate is None:
            return [(since_ns, t_ns)]
        # A gate that is on its way is open: more light, never less.
        return [
            (t0, t1)
            for t0, t1, values in self._history.segments((gate,), since_ns, t_ns)
            if max(values[gate]) > 0
        ]

    def _shine(self, lamp: Lamp, t0_ns: int, t1_ns: int) -> None:
        """Charge the light of one line while nothing is in its way."""
        power, x, y = lamp.keys
        shaped = lamp.name == self._shaped and _SLM in self._history.keys()
        keys = (*lamp.keys, _SLM) if shaped else lamp.keys
        for t0, t1, values in self._history.segments(keys, t0_ns, t1_ns):
            percent = values[power]
            if max(percent) > 0 or lamp.leaks:
                lit_s = (t1 - t0) / NS_PER_S
                number = int(values[_SLM][0]) if shaped else None
                booked = self._map_of(lamp, number)
                self._charge(booked, lamp, lit_s, percent, values[x], values[y])

    def _charge(
        self,
        booked: DoseMap | PatternMap,
        lamp: Lamp,
        lit_s: float,
        percent: Ends,
        x: Ends,
        y: Ends,
    ) -> None:
        if x[0] == x[1] and y[0] == y[1]:
            booked.book(
                booked.cell(x[0], y[0]),
                percent_s=lit_s * (percent[0] + percent[1]) / 2,
                energy_mj=lit_s * lamp.mean_mw(percent),
                lit_s=lit_s,
            )
            return
        for cell, start, end in booked.path(x, y):
            part = (_between(percent, start), _between(percent, end))
            part_s = lit_s * (end - start)
            booked.book(
                cell,
                percent_s=part_s * (part[0] + part[1]) / 2,
                energy_mj=part_s * lamp.mean_mw(part),
                lit_s=part_s,
            )

    def _map_of(self, lamp: Lamp, number: int | None) -> DoseMap | PatternMap:
        """Where light of a line is booked now; `number` is what the SLM shows."""
        light = None if number is None else self._history.pattern(number)
        if number is not None and light is not None:
            patterned = lamp.patterned or self._start_patterns(lamp)
            if patterned is not None:
                patterned.shine(number, light)
                return patterned
        return lamp.booked or self._start_map(lamp)

    def _start_map(self, lamp: Lamp) -> DoseMap:
        booked = DoseMap(lamp.field_um or _ASSUMED_FIELD_UM, calibrated=lamp.calibrated)
        self._maps[lamp.name, self._objective, "even"] = lamp.booked = booked
        return booked

    def _start_patterns(self, lamp: Lamp) -> PatternMap | None:
        to_sample = slm_to_sample(self._rig, self._objective, self._sensor_px)
        if to_sample is None:
            return None
        patterned = PatternMap(
            lamp.field_um or _ASSUMED_FIELD_UM, to_sample, calibrated=lamp.calibrated
        )
        self._maps[lamp.name, self._objective, _SLM] = lamp.patterned = patterned
        return patterned

    # ------------------------------------------------------------------- summary

    def _line_summary(self, name: str) -> dict[str, Any]:
        found = [m for (line, _, _), m in self._maps.items() if line == name]
        worst = max(
            (hot for m in found if (hot := m.hottest()) is not None),
            key=lambda hot: hot[0].percent_s,
            default=None,
        )
        summary: dict[str, Any] = self.total(name).to_dict()
        calibrated = all(m.calibrated for m in found)
        energy_mj = sum(m.total_mj for m in found)
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
            gate = GATE_KEY.get(line.gate)
            if gate is not None and gate not in written:
                yield f"line {name}: {gate} was never reported, so it counts as open"
        for (name, objective, kind), found in self._maps.items():
            where = f" for objective {objective}" if objective else ""
            if name == self._shaped and kind == "even" and _SLM in written:
                yield (
                    f"line {name}: where the SLM sent its light was not known{where} "
                    "some of the time, which counts as light on the whole field"
                )
            if not found.calibrated:
                yield (
                    f"line {name}: no calibration or field_um{where}, so its dose is "
                    "relative (percent of range x seconds)"
                )


def _sum(doses: Sequence[Dose]) -> Dose:
    """All of them together, in order."""
    if len(doses) == 1:
        return doses[0]
    percent_s = j_cm2 = lit_s = 0.0
    known = True
    for dose in doses:
        percent_s += dose.percent_s
        lit_s += dose.lit_s
        if dose.j_cm2 is None:
            known = False
        else:
            j_cm2 += dose.j_cm2
    return Dose(percent_s=percent_s, j_cm2=j_cm2 if known else None, lit_s=lit_s)


def _planned(lamp: Lamp, percent: float, lit_s: float) -> Dose:
    j_cm2 = None
    if lamp.calibrated and lamp.field_um is not None:
        j_cm2 = to_j_cm2(lit_s * lamp.mean_mw((percent, percent)), lamp.field_um)
    return Dose(percent_s=percent * lit_s, j_cm2=j_cm2, lit_s=lit_s)


def _between(ends: Ends, part: float) -> float:
    return ends[0] + (ends[1] - ends[0]) * part
