"""Ground truth of a simulated run, sampled while it goes and saved beside it."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from smartscope.core import NS_PER_S
from smartscope.specimen import truth_rows

if TYPE_CHECKING:
    from smartscope.specimen import Specimen, Truth

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
        self._sample: dict[str, list[float]] = defaultdict(list)
        self._last_ns: int | None = None

    def sample(self, t_ns: int) -> None:
        """Look at the truth at `t_ns` if the last look is long enough ago."""
        self._last_ns = t_ns
        if t_ns < self._next_ns:
            return
        self._next_ns = t_ns + self._step_ns
        truth = self._specimen.truth(t_ns)
        for name, values in truth_rows(truth).items():
            self._columns[name].extend(values)
        for name, value in _of_sample(truth).items():
            self._sample[name].append(value)

    def tables(self) -> dict[str, dict[str, list[Any]]]:
        """What is saved, column by column.

        ``truth`` has a row per object and look, the kind's measures among its columns;
        ``true_sample`` has one per look, with focus plane, drift and the kind's
        scalars; ``true_events`` and ``divisions`` have one per event.
        """
        if self._last_ns is None:
            return {}
        truth = self._specimen.truth(self._last_ns)
        divisions, events = truth.divisions, truth.events
        return {
            "truth": dict(self._columns),
            "true_sample": dict(self._sample),
            "true_events": {
                "kind": [e.kind for e in events],
                "object_id": [e.object_id for e in events],
                "onset_s": [e.onset_s for e in events],
                "peak_s": [e.peak_s for e in events],
                "end_s": [e.end_s for e in events],
                "x_um": [e.x_um for e in events],
                "y_um": [e.y_um for e in events],
            },
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


def _of_sample(truth: Truth) -> dict[str, float]:
    x_um, y_um, z_um = truth.drift_um
    return {
        "t_s": truth.t_s,
        "focus_plane_um": truth.focus_plane_um,
        "drift_x_um": x_um,
        "drift_y_um": y_um,
        "drift_z_um": z_um,
        **truth.scalars,
    }
