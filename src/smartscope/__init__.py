"""smartscope: event-driven control for any Micro-Manager microscope.

>>> from smartscope import Experiment, run, replay
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smartscope.config import Experiment
    from smartscope.control import Appetite, Subscription
    from smartscope.runs import RunResult, check, replay, run

__version__ = "0.1.0"
__all__ = [
    "Appetite",
    "Experiment",
    "RunResult",
    "Subscription",
    "__version__",
    "check",
    "replay",
    "run",
]


def __getattr__(name: str) -> Any:
    # Loaded on first use: importing one room must not pay for all of them.
    if name == "Experiment":
        from smartscope.config import Experiment

        return Experiment
    if name in ("Appetite", "Subscription"):
        from smartscope import control

        return getattr(control, name)
    if name in ("RunResult", "check", "replay", "run"):
        from smartscope import runs

        return getattr(runs, name)
    raise AttributeError(f"module 'smartscope' has no attribute {name!r}")
