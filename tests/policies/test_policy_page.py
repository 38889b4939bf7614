"""The policy that the documentation shows works, in a stream."""

from __future__ import annotations

import re
from pathlib import Path

from smartscope import replay, run
from smartscope.config import Experiment, load_rig
from smartscope.policies import (
    PID,
    BangBang,
    Cooldown,
    Debounce,
    Forecast,
    Hysteresis,
    Policy,
    RateLimiter,
    TrackDebounce,
)
from smartscope.testing import check_policy
from smartscope.testing._rules import RULES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "policies.md").read_text(encoding="utf-8")


def test_the_policy_of_the_page_waits_for_what_it_did(tmp_path) -> None:
    (tmp_path / "brighten.py").write_text(PAGE.split("```python\n")[1].split("```")[0])
    result = run(
        Experiment(
            name="page",
            rig="specimen_rig.yaml",
            acquisition={"stream": {"channel": "FITC", "exposure_ms": 20, "frames": 8}},
            light={"FITC": {"488": {"power_percent": 10}}},
            vision=["segment", "measure"],
            policies=[
                {
                    "use": str(tmp_path / "brighten.py"),
                    "line": "488",
                    "wanted": 1000,
                    "factor": 1.5,
                }
            ],
        ),
        rig=load_rig(ROOT / "demo_configs" / "specimen_rig.yaml"),
        output=tmp_path,
        clock="virtual",
    )
    assert result.outcome == "completed", result.message
    powers = [f.state.power_percent["488"] for f in result.folder.frames]
    assert powers[:3] == [10.0, 15.0, 22.5]
    assert powers[-1] == 100.0
    kept = [o for o in result.folder.outcomes if o.status == "noted"]
    assert len(kept) == 1, "asked to keep once in ten seconds"
    assert replay(result.path).identical


def test_the_page_names_the_helpers_as_they_are() -> None:
    helpers = (Hysteresis, Debounce, Cooldown, RateLimiter, TrackDebounce)
    helpers += (PID, BangBang, Forecast)
    for name, given in re.findall(r"`(\w+)\(([^)]*)\)`", PAGE.split("## Helpers")[1]):
        if found := next((h for h in helpers if h.__name__ == name), None):
            assert set(given.split(", ")) <= set(found.__init__.__annotations__)
    assert "fresh" in vars(Policy)


def test_the_policy_of_the_page_keeps_to_the_rules_of_the_page(tmp_path) -> None:
    file = tmp_path / "brighten.py"
    file.write_text(PAGE.split("```python\n")[1].split("```")[0], encoding="utf-8")
    found = check_policy(file, {"line": "488"})
    assert (found.faults, found.advice) == ((), ()), f"\n{found}"
    assert {"SetPower", "Keep"} <= set(found.acted)
    assert all(f"`{rule}`" in PAGE for rule in (*RULES, "imports"))
