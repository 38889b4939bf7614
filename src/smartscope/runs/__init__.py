"""Wires one run and owns its life: preflight, warm-up, run, close; check and replay."""

from smartscope.runs._check import CheckReport, check
from smartscope.runs._replay import ReplayResult, replay
from smartscope.runs._result import RunResult
from smartscope.runs._run import run

__all__ = ["CheckReport", "ReplayResult", "RunResult", "check", "replay", "run"]
