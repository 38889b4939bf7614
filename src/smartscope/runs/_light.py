"""Keeps the light account of a run and asks it before every exposure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from smartscope.core import SafetyError
from smartscope.safety import DoseLedger, budget_verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from smartscope.config import Experiment, RigConfig
    from smartscope.control import LightPlan, Monitor
    from smartscope.rig import Rig
    from smartscope.safety import Dose, Interlocks


class LightAccount:
    """Charges what was lit and refuses what would pass the budget.

    Used on the acquisition thread.

    Parameters
    ----------
    note : function
        Writes a journal entry of a kind.
    end : function
        Ends the run in order, with the reason.
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
        note: Callable[[str, Mapping[str, Any]], object],
        end: Callable[[SafetyError], None],
    ) -> None:
        now = rig.clock.now_ns()
        self.ledger = DoseLedger(
            config, rig.history, start_ns=now, objective=rig.objective
        )
        self._rig = rig
        self._safety = experiment.safety
        self._lights = lights
        self._interlocks = interlocks
        self._monitor = monitor
        self._note = note
        self._end = end

    def allow(self, powers: Mapping[str, float], exposure_ms: float, n: int) -> bool:
        """Whether `n` exposures may be taken here; False ends the run before them."""
        planned = self.ledger.forecast(exposure_ms, powers, frames=n)
        charged = self.here()
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

    def planned(self, powers: Mapping[str, float], exposure_ms: float, n: int) -> Dose:
        """Dose of `n` exposures, for the intent line."""
        return self.ledger.forecast(exposure_ms, powers, frames=n)

    def charge(self, t_ns: int, position: int) -> None:
        """Charge everything up to `t_ns` and journal it for the field just lit."""
        state = self._rig.state(t_ns)
        self.ledger.set_objective(t_ns, self._rig.objective)
        here, total = self.here(), self.ledger.total()
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

    def here(self) -> Dose:
        """Dose of the field the stage stands at."""
        state = self._rig.state(self._rig.clock.now_ns())
        return self.ledger.charge((state.x_um, state.y_um))
