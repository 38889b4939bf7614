"""What the light budget says about the next exposure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from smartscope.config import Safety
    from smartscope.safety._dose import Dose


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What to do about the next exposure, and why.

    Attributes
    ----------
    do : str
        ``ok``: take it. ``warn``: take it, the budget is passed. ``stop``: end the run
        before it. ``dark``: take it, and all after it, without light.
    reason : str
        Sentence for journal and report, "" when `do` is ``ok``.
    """

    do: Literal["ok", "warn", "stop", "dark"] = "ok"
    reason: str = ""


_TAKE_IT = Verdict()


def budget_verdict(safety: Safety, *, charged: Dose, planned: Dose) -> Verdict:
    """Decide whether a field may get `planned` on top of what it was `charged`.

    Parameters
    ----------
    safety : Safety
        The experiment's budget, and what to do when it would be passed.
    charged : Dose
        So far, from `DoseLedger.charge`.
    planned : Dose
        Of the next exposure, from `DoseLedger.forecast`.
    """
    if planned.percent_s == 0.0 and planned.lit_s == 0.0:
        return _TAKE_IT  # no light costs nothing, however much was spent
    after = charged + planned
    reason = ""
    relative, absolute = safety.dose_per_fov_relative, safety.dose_per_fov_j_cm2
    if relative is not None and after.percent_s > relative:
        reason = (
            f"{after.percent_s:.4g} percent-seconds would pass the budget of "
            f"{relative:g} (safety.dose_per_fov_relative)"
        )
    elif absolute is not None and after.j_cm2 is None:
        reason = (
            f"the dose is known in relative units only, so the budget of {absolute:g} "
            "J/cm2 cannot be kept (safety.dose_per_fov_j_cm2)"
        )
    elif absolute is not None and after.j_cm2 is not None and after.j_cm2 > absolute:
        reason = (
            f"{after.j_cm2:.4g} J/cm2 would pass the budget of {absolute:g} "
            "(safety.dose_per_fov_j_cm2)"
        )
    return Verdict(do=safety.on_budget, reason=reason) if reason else _TAKE_IT
