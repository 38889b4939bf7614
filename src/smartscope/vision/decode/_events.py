"""Score maps over time to events in space and time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from smartscope.vision.decode._points import find_peaks, refine

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundEvent:
    """One event as of one frame.

    Attributes
    ----------
    id : int
        Counts from 1, never used again; the same while the event lasts.
    y_px, x_px : float
        Where it is now, full-resolution pixels; where it was last once it ended.
    score : float
        Height of its peak in this frame; 0 in the frame in which it ended.
    state : str
        ``onset`` (first report), ``active`` or ``ended`` (last report).
    onset_s, duration_s : float
        Time of its first frame, and from there to this frame, s.
    peak_score, peak_s : float
        Its greatest score so far, and when that was, s.
    """

    id: int
    y_px: float
    x_px: float
    score: float
    state: str
    onset_s: float
    duration_s: float
    peak_score: float
    peak_s: float


class EventFinder:
    """Follows the peaks of a score map from frame to frame.

    An event begins where a peak rises above `threshold`, and ends in the first frame
    in which no peak above `release` lies within `min_distance_px` of where it was.
    Two events whose peaks run together are one from then on: the one nearer to the
    common peak goes on, of equally near ones the elder, and the other ends. One finder
    for each view; the same frames always give the same events.

    Parameters
    ----------
    threshold : float
    release : float, optional
        At most `threshold`; default half of it.
    min_distance_px : float
        Full-resolution pixels: peaks nearer to each other are one event, and an event
        moves no farther between two frames.
    most : int
        Only so many peaks of a frame, the highest, are looked at: a map gone wild
        costs a bounded time.
    """

    def __init__(
        self,
        *,
        threshold: float,
        release: float | None = None,
        min_distance_px: float,
        most: int = 512,
    ) -> None:
        self._threshold = threshold
        self._release = 0.5 * threshold if release is None else min(release, threshold)
        self._distance_px = min_distance_px
        self._most = most
        self._open: list[FoundEvent] = []
        self._ids = 0

    def update(
        self, score_map: NDArray[np.float32], t_s: float, grid: int = 1
    ) -> list[FoundEvent]:
        """Events of this frame by id, those that ended in it included.

        Parameters
        ----------
        score_map : ndarray (y, x) float32
        t_s : float
            Time of the frame, s; not before the last one.
        grid : int
            Full-resolution pixels per element.
        """
        y, x = find_peaks(
            score_map, self._release, self._distance_px / grid, self._most
        )
        dy, dx = refine(score_map, y, x)
        at = np.column_stack([y + dy, x + dx]) * grid
        score = score_map[y, x].astype(np.float64).tolist()
        follows = self._follow(at)
        going, ended = [], []
        for row, event in enumerate(self._open):
            peak = follows.get(row)
            if peak is None:
                ended.append(_ended(event, t_s))
            else:
                going.append(_moved(event, at[peak], score[peak], t_s))
        new = sorted(set(range(len(score))) - set(follows.values()))
        going.extend(
            self._begun(at[peak], score[peak], t_s)
            for peak in new
            if score[peak] > self._threshold
        )
        self._open = going
        return sorted(going + ended, key=lambda event: event.id)

    def _follow(self, at: NDArray[np.float64]) -> dict[int, int]:
        """Which open event goes on at which peak: the nearest pairs first."""
        if not self._open or len(at) == 0:
            return {}
        was = np.array([(event.y_px, event.x_px) for event in self._open])
        apart = np.hypot(*(was[:, None] - at[None]).transpose(2, 0, 1))
        rows, peaks = np.nonzero(apart <= self._distance_px)
        # The rows are in order of age, and the sort is stable.
        order = np.argsort(apart[rows, peaks], kind="stable")
        follows: dict[int, int] = {}
        taken: set[int] = set()
        for row, peak in zip(rows[order].tolist(), peaks[order].tolist(), strict=True):
            if row not in follows and peak not in taken:
                follows[row] = peak
                taken.add(peak)
        return follows

    def _begun(self, at: NDArray[np.float64], score: float, t_s: float) -> FoundEvent:
        self._ids += 1
        return FoundEvent(
            id=self._ids,
            y_px=float(at[0]),
            x_px=float(at[1]),
            score=score,
            state="onset",
            onset_s=t_s,
            duration_s=0.0,
            peak_score=score,
            peak_s=t_s,
        )


def _moved(
    event: FoundEvent, at: NDArray[np.float64], score: float, t_s: float
) -> FoundEvent:
    higher = score > event.peak_score
    return replace(
        event,
        y_px=float(at[0]),
        x_px=float(at[1]),
        score=score,
        state="active",
        duration_s=t_s - event.onset_s,
        peak_score=score if higher else event.peak_score,
        peak_s=t_s if higher else event.peak_s,
    )


def _ended(event: FoundEvent, t_s: float) -> FoundEvent:
    return replace(event, score=0.0, state="ended", duration_s=t_s - event.onset_s)
