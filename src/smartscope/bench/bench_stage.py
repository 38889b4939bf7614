"""The vision stage of the bench, loaded by its path as a user's own would be."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from smartscope.bench._analysis import ANALYSES
from smartscope.bench._notes import NOTES
from smartscope.vision import Stage, StageConfig

if TYPE_CHECKING:
    from smartscope.vision import Workspace


class BenchConfig(StageConfig):
    """Which analysis."""

    analysis: str = "mean"


class BenchStage(Stage[BenchConfig, None]):
    """Does the same with a frame as the other peers do, and notes how long it took."""

    Config = BenchConfig

    def process(self, work: Workspace, state: Any) -> None:
        """Analyse the raw pixels."""
        began = time.perf_counter_ns()
        value = ANALYSES[self.config.analysis](work.raw[self.input])
        NOTES.analysed = (began, time.perf_counter_ns())
        work.measurements["value"] = value
