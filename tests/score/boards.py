"""Scoreboards made by hand."""

from __future__ import annotations

from smartscope.config import load_experiment, shipped
from smartscope.score import Course, Film, Scenario, Scoreboard

FILE = shipped("demo_configs") / "scenarios" / "rate_switch_cells.yaml"
DOSE = {"policy": 1.0, "fixed_fast": 6.0, "fixed_slow": 0.6, "random": 1.0}
FOUND = {"policy": 4.0, "fixed_fast": 4.0, "fixed_slow": 4.0, "random": 3.0}
COVERED = {"policy": 2.8, "fixed_fast": 4.0, "fixed_slow": 0.4, "random": 0.8}


def made_by_hand(seeds: int = 20, scale: float = 1.0, problem: str = "") -> Scoreboard:
    films = []
    for arm in DOSE:
        for seed in range(seeds):
            varied = 1 + 0.05 * (seed % 5)
            parts = {
                "recall": (FOUND[arm], 4.0),
                "precision": (FOUND[arm], 5.0),
                "coverage": (COVERED[arm], 4.0),
                "dose": (DOSE[arm] * varied * (scale if arm == "policy" else 1.0), 1.0),
            }
            course = Course(((100.0, 160.0),), (True,), ((110.0, 160.0),), 1000.0)
            films.append(Film(arm, seed, "", parts, "J/cm2", course))
    if problem:
        films[0] = Film("policy", 0, problem)
    experiment = load_experiment(FILE)
    scenario = Scenario(FILE, experiment, tuple(range(seeds)), tuple(films))
    return Scoreboard((scenario,), "2026-01-01 12:00", 3.0)
