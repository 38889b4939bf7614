"""Found events against what the simulated sample really did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.core import RecordError
from smartscope.record._report_facts import EventFact, TruthFact
from smartscope.record._report_pictures import frame_entries, place_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from smartscope.record._folder import RunFolder
    from smartscope.record._report_gather import Gatherer

TABLE = "divisions"
WITHIN_S = 15.0
WITHIN_UM = 20.0


@dataclass(frozen=True, slots=True)
class Divisions:
    """True divisions whose onset lies within the run: time s, place um."""

    onset_s: NDArray[np.float64]
    end_s: NDArray[np.float64]
    x_um: NDArray[np.float64]
    y_um: NDArray[np.float64]
    slack_s: float = WITHIN_S

    def near(self, event: EventFact) -> NDArray[np.bool_]:
        """Which of them this event can be: near in place, and at the time."""
        in_time = (event.seen_s >= self.onset_s - self.slack_s) & (
            event.onset_s <= self.end_s + self.slack_s
        )
        away_um = np.hypot(self.x_um - event.x_um, self.y_um - event.y_um)
        return np.asarray(in_time & (away_um <= WITHIN_UM))


def true_divisions(run: RunFolder, got: Gatherer) -> Divisions | None:
    """Divisions the sample made during a run; None where nobody knows."""
    try:
        table = run.table(TABLE)
    except RecordError:
        return None
    columns = [
        np.asarray(table.column(name).to_numpy(zero_copy_only=False), dtype=np.float64)
        for name in ("onset_s", "end_s", "x_um", "y_um")
    ]
    onset_s, end_s, x_um, y_um = columns
    # A division under way when the run ended has no end yet.
    end_s = np.where(np.isfinite(end_s), end_s, got.last_s)
    ours = np.isfinite(onset_s) & (onset_s <= got.last_s)
    return Divisions(
        onset_s=onset_s[ours],
        end_s=end_s[ours],
        x_um=x_um[ours],
        y_um=y_um[ours],
        slack_s=max(WITHIN_S, 2 * _gap_s(got)),
    )


def compare(
    run: RunFolder, got: Gatherer, events: Sequence[EventFact], truth: Divisions
) -> TruthFact:
    """Count how many divisions that were in view were found."""
    in_view = _in_view(run, got, truth)
    found = np.zeros(len(in_view), dtype=bool)
    for event in events:
        found |= truth.near(event)
    return TruthFact(
        kind=", ".join(sorted({event.kind for event in events})),
        happened=int(in_view.sum()),
        found=int((found & in_view).sum()),
        reported=len(events),
    )


def _gap_s(got: Gatherer) -> float:
    gaps = [
        float(np.median(np.diff(np.frombuffer(row.t_s))))
        for row in got.series.values()
        if len(row.t_s) > 1
    ]
    return max(gaps, default=0.0)


def _in_view(run: RunFolder, got: Gatherer, truth: Divisions) -> NDArray[np.bool_]:
    """Which divisions lay in the frame taken nearest to their onset, anywhere."""
    nearest: list[list[int]] = [[] for _ in truth.onset_s]
    for row in got.series.values():
        t_s = np.frombuffer(row.t_s)
        for k, onset_s in enumerate(truth.onset_s):
            nearest[k].append(row.frame_id[int(np.abs(t_s - onset_s).argmin())])
    entries = frame_entries(run, {i for ids in nearest for i in ids})
    return np.array(
        [
            any(
                _holds(entries[i], float(truth.x_um[k]), float(truth.y_um[k]))
                for i in ids
                if i in entries
            )
            for k, ids in enumerate(nearest)
        ],
        dtype=bool,
    )


def _holds(entry: Any, x_um: float, y_um: float) -> bool:
    y_px, x_px, _ = place_of(entry, x_um, y_um)
    height, width = entry["shape"]
    return bool(0 <= y_px < height and 0 <= x_px < width)
