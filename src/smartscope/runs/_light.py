"""Keeps the light account of a run and asks it before every exposure."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from smartscope.core import NS_PER_MS, NS_PER_S, SafetyError
from smartscope.safety import DoseLedger, budget_verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from smartscope.config import Experiment, RigConfig
    from smartscope.control import LightPlan, Monitor, Released, StreamControl
    from smartscope.core import Frame
    from smartscope.rig import Rig
    from smartscope.safety import Dose, Interlocks

_KEPT_NS = 60 * NS_PER_S
_AHEAD_NS = NS_PER_S // 4
"""Most that a look thinks ahead: a late one must not count as light to come."""


class LightAccount:
    """Charges what was lit and refuses what would pass the budget.

    Thread-safe: it is asked by the thread that acquires, and looked after by another
    while a camera streams.

    Parameters
    ----------
    note : function
        Writes a journal entry of a kind; ``flush=True`` waits until it is out.
    end : function
        Ends the run in order, with the reason.
    history_from_ns : function
        Since when a specimen still needs the history of the devices, None for never.
    """

    def __init__(
        self,
        rig: Rig,
        config: RigConfig,
        experiment: Experiment,
        *,
        lights: LightPlan,
        interlocks: Interlocks,
        monitor: Monitor,
        note: Callable[..., object],
        end: Callable[[SafetyError], None],
        history_from_ns: Callable[[], int | None],
    ) -> None:
        now = rig.clock.now_ns()
        self.ledger = DoseLedger(
            config,
            rig.history,
            start_ns=now,
            objective=rig.objective,
            sensor_px=rig.sensor_shape,
        )
        self._rig = rig
        self._safety = safety = experiment.safety
        self._has_budget = bool(
            safety.dose_per_fov_j_cm2 or safety.dose_per_fov_relative
        )
        self._lights = lights
        self._interlocks = interlocks
        self._monitor = monitor
        self._note = note
        self._end = end
        self._history_from_ns = history_from_ns
        self._lock = threading.RLock()
        self._noted_ns = now
        # Unknown until something is lit: setting up is not light.
        self._looked_ns: int | None = None

    def allow(self, powers: Mapping[str, float], exposure_ms: float, n: int) -> bool:
        """Whether `n` exposures may be taken here; False ends the run before them."""
        if not self._has_budget:
            return True
        with self._lock:
            planned = self.ledger.forecast(exposure_ms, powers, frames=n)
            charged = self._here()
        verdict = budget_verdict(self._safety, charged=charged, planned=planned)
        if verdict.do == "ok":
            # Another field may have budget left.
            if self._interlocks.clear("dose_budget"):
                self._note("interlock", {"name": "dose_budget", "cleared": True})
                self._monitor.set(interlocks=self._interlocks.active)
            return True
        if self._interlocks.trip("dose_budget", verdict.reason):
            self._note("interlock", {"name": "dose_budget", "message": verdict.reason})
            self._monitor.set(interlocks=self._interlocks.active)
        if verdict.do == "stop":
            self._end(SafetyError(f"light budget: {verdict.reason}"))
            return False
        if verdict.do == "dark":
            self._lights.go_dark()
        return True

    def intend(
        self,
        released: Released,
        powers: Mapping[str, float],
        exposure_ms: float,
        frames: int,
    ) -> None:
        """Journal what is about to be lit, before it is; returns when that is out."""
        with self._lock:
            dose = self.ledger.forecast(exposure_ms, powers, frames=frames)
        self._note(
            "intent",
            {
                "index": dict(released.event.index),
                "role": released.planned.role,
                "cause": released.planned.cause,
                "position": released.planned.position,
                "frames": frames,
                "exposure_ms": exposure_ms,
                "power_percent": dict(powers),
                "dose": dose.to_dict(),
                "due_s": released.due_s,
                "late_s": released.late_s,
            },
            flush=True,
        )
        self._looked_ns = self._rig.clock.now_ns()

    def look_after(self, stream: StreamControl, frame: Frame | None = None) -> None:
        """Charge a running stream, and end or darken it before the budget is passed.

        Parameters
        ----------
        stream : StreamControl
        frame : Frame or None
            The newest one, of a source that waits for us; None looks at the clock.
        """
        now = self._rig.clock.now_ns() if frame is None else frame.t_received_ns
        since_ns = 0
        if self._looked_ns is not None:
            since_ns = min(now - self._looked_ns, _AHEAD_NS)
            self._looked_ns = now
        if frame is not None or now - self._noted_ns >= NS_PER_S:
            self._noted_ns = now
            self.charge(now, 0)
        else:
            with self._lock:
                self.ledger.set_objective(now, self._rig.objective)
        # What comes until the next look, and once more in case that one is late.
        exposure_ms, powers = stream.exposure_ms, stream.powers()
        coming = 1 + 2 * int(since_ns / NS_PER_MS / exposure_ms) if frame is None else 1
        if not self.allow(powers, exposure_ms, coming):
            stream.stop()
        for line, percent in stream.powers().items():
            if powers[line] != percent:  # the budget went dark
                self._rig.actuator.settle(self._rig.actuator.set_power(line, percent))

    def charge(self, t_ns: int, position: int) -> None:
        """Charge everything up to `t_ns` and journal it for the field just lit."""
        state = self._rig.state(t_ns)
        with self._lock:
            self.ledger.set_objective(t_ns, self._rig.objective)
            here, total = self._here(), self.ledger.total()
            needed = self.ledger.charged_ns
        self._note(
            "dose",
            {
                "position": position,
                "x_um": state.x_um,
                "y_um": state.y_um,
                "field": here.to_dict(),
                "total": total.to_dict(),
            },
        )
        budget = self._safety.dose_per_fov_j_cm2 or self._safety.dose_per_fov_relative
        spent = here.j_cm2 if self._safety.dose_per_fov_j_cm2 else here.percent_s
        fraction = spent / budget if budget and spent is not None else None
        self._monitor.set(dose=str(here), dose_fraction=fraction)
        since = self._history_from_ns()
        # A frame of a stream is dated back, so some of what is charged is kept.
        needed = needed if since is None else min(needed, since)
        self._rig.history.forget_before(needed - _KEPT_NS)

    def _here(self) -> Dose:
        """Dose of the field the stage stands at."""
        state = self._rig.state(self._rig.clock.now_ns())
        return self.ledger.charge((state.x_um, state.y_um))
