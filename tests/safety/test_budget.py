from __future__ import annotations

import pytest

from smartscope.config import Safety
from smartscope.safety import INTERLOCKS, Dose, Interlocks, Verdict, budget_verdict

PLANNED = Dose(percent_s=2, j_cm2=1, lit_s=0.1)


def verdict(charged: Dose, planned: Dose = PLANNED, **safety) -> Verdict:
    return budget_verdict(Safety(**safety), charged=charged, planned=planned)


def test_no_budget():
    assert verdict(Dose(percent_s=1e9, j_cm2=None, lit_s=1)) == Verdict()


@pytest.mark.parametrize("on_budget", ["stop", "warn", "dark"])
def test_the_exposure_that_would_pass_the_budget(on_budget):
    budget = {"dose_per_fov_j_cm2": 10, "on_budget": on_budget}
    assert verdict(Dose(j_cm2=9), **budget) == Verdict()
    assert verdict(Dose(j_cm2=9.001), **budget) == Verdict(
        do=on_budget,
        reason="10 J/cm2 would pass the budget of 10 (safety.dose_per_fov_j_cm2)",
    )


def test_a_relative_budget():
    budget = {"dose_per_fov_relative": 100}
    unknown = Dose(percent_s=98, j_cm2=None)
    assert verdict(unknown, **budget) == Verdict()
    assert verdict(Dose(percent_s=99, j_cm2=None), **budget) == Verdict(
        do="stop",
        reason="101 percent-seconds would pass the budget of 100 "
        "(safety.dose_per_fov_relative)",
    )


def test_of_two_budgets_the_one_that_is_passed_holds():
    budget = {"dose_per_fov_relative": 100, "dose_per_fov_j_cm2": 10}
    assert "percent-seconds" in verdict(Dose(percent_s=99, j_cm2=0), **budget).reason
    assert "J/cm2" in verdict(Dose(percent_s=0, j_cm2=10), **budget).reason


def test_a_dose_that_is_not_known_passes_every_budget():
    found = verdict(Dose(j_cm2=None), dose_per_fov_j_cm2=10)
    assert found.do == "stop"
    assert "cannot be kept" in found.reason


def test_without_light_nothing_is_passed():
    spent = Dose(percent_s=1e9, j_cm2=1e9, lit_s=1e9)
    assert verdict(spent, Dose(), dose_per_fov_j_cm2=10) == Verdict()


def test_interlocks():
    locks = Interlocks()
    assert locks.active == ()
    assert locks.trip("disk", "100 MB left") is True
    assert locks.trip("disk", "90 MB left") is False
    assert locks.trip("dose_budget", "spent") is True
    assert locks.active == ("disk", "dose_budget")
    assert locks.reason("disk") == "90 MB left"
    assert locks.clear("disk") is True
    assert locks.clear("disk") is False
    assert (locks.active, locks.reason("disk")) == (("dose_budget",), "")


def test_an_interlock_that_is_none():
    for call in (Interlocks().reason, Interlocks().clear):
        with pytest.raises(ValueError, match="no interlock 'dosis'; there are stale"):
            call("dosis")
    assert set(INTERLOCKS) == {
        *("stale_frames", "disk", "dose_budget", "hardware", "unfamiliar")
    }
