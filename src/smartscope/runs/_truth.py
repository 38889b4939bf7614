"""Ground truth of a simulated run, sampled while it goes and saved beside it."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from smartscope.core import NS_PER_S
from smartscope.specimen import truth_rows

if TYPE_CHECKING:
    from smartscope.specimen import Specimen

_MOST_SAMPLES = 1000


class TruthLog:
    """Samples the truth at frames, at most about a thousand times in a run.

    Parameters
    ----------
    specimen : Specimen
    duration_s : float
        Expected length of the run; samples are spread over it.
    """

    def __init__(self, specimen: Specimen, duration_s: float) -> None:
        self._specimen = specimen
        self._step_ns = int(max(duration_s / _MOST_SAMPLES, 0.5) * NS_PER_S)
        self._next_ns = 0
        self._columns: dict[str, list[Any]] = defaultdict(list)
        self._last_ns: int | None = None

    def sample(self, t_ns: int) -> None:
        """Look at the truth at `t_ns` if the last look is long enough ago."""
        self._last_ns = t_ns
        if t_ns < self._next_ns:
            return
        self._next_ns = t_ns + self._step_ns
        for name, values in truth_rows(self._specimen.truth(t_ns)).items():
            self._columns[name].extend(values)

    def tables(self) -> dict[str, dict[str, list[Any]]]:
        """``truth``, a row per cell and look, and ``divisions``."""
        if self._last_ns is None:
            return {}
        divisions = self._specimen.truth(self._last_ns).divisions
        return {
            "truth": dict(self._columns),
            "divisions": {
                "parent_id": [d.parent_id for d in divisions],
                "daughters": [list(d.daughters) for d in divisions],
                "onset_s": [d.onset_s for d in divisions],
                "split_s": [d.split_s for d in divisions],
                "end_s": [d.end_s for d in divisions],
                "x_um": [d.x_um for d in divisions],
                "y_um": [d.y_um for d in divisions],
            },
        }
