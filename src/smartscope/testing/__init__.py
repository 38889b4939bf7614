"""What policy authors and our own tests share.

Sights made by hand (`sight`, `cell`, `event`), the rules that every policy keeps
(`check_policy`, `PolicyConformance`), runs in virtual time with their ground truth
(`run_experiment`), and faults on real demo devices (`FaultyCore`).
"""

from smartscope.testing._closed_loop import SimulatedRun, run_experiment
from smartscope.testing._conformance import (
    CONTEXT,
    Conformance,
    PolicyConformance,
    check_policy,
)
from smartscope.testing._faults import FaultyCore, fails
from smartscope.testing._rules import Finding
from smartscope.testing._sights import cell, event, sight

__all__ = [
    "CONTEXT",
    "Conformance",
    "FaultyCore",
    "Finding",
    "PolicyConformance",
    "SimulatedRun",
    "cell",
    "check_policy",
    "event",
    "fails",
    "run_experiment",
    "sight",
]
