"""What vision finds: detections, tracks, events."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


_NO_LABELS = np.empty(0, dtype=np.int64)
_NO_NUMBERS = np.empty(0, dtype=np.float64)
for _shared in (_NO_LABELS, _NO_NUMBERS):
    _shared.setflags(write=False)


def _empty() -> NDArray[np.float64]:
    return _NO_NUMBERS


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Detections:
    """Objects found in one frame, one row each.

    Attributes
    ----------
    label : ndarray (n,) int64
        Value of the object in the label image; 1-based row number where there is none.
    y_px, x_px : ndarray (n,) float64
        Centroid in image pixels.
    x_um, y_um : ndarray (n,) float64
        Centroid in sample coordinates, um.
    area_um2 : ndarray (n,) float64
    score : ndarray (n,) float64
        Confidence or strength, larger is surer; classical stages give contrast.
    features : mapping of name to ndarray (n,) float64
        Further measurements, for example ``mean_FITC``, ``eccentricity``.
    """

    label: NDArray[np.int64] = field(default_factory=lambda: _NO_LABELS)
    y_px: NDArray[np.float64] = field(default_factory=_empty)
    x_px: NDArray[np.float64] = field(default_factory=_empty)
    x_um: NDArray[np.float64] = field(default_factory=_empty)
    y_um: NDArray[np.float64] = field(default_factory=_empty)
    area_um2: NDArray[np.float64] = field(default_factory=_empty)
    score: NDArray[np.float64] = field(default_factory=_empty)
    features: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.label)

    def values(self, name: str) -> NDArray[np.float64] | None:
        """Column ``area_um2``, ``score`` or a feature; None where nothing gives it."""
        if name == "area_um2":
            return self.area_um2
        return self.score if name == "score" else self.features.get(name)


NO_DETECTIONS = Detections(features=MappingProxyType({}))
"""Nothing found: one for all, since making one anew for every frame is felt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One object followed over time, as of one frame.

    Attributes
    ----------
    track_id : int
        Unique in its view, counts from 1, never reused.
    state : str
        ``tentative`` (too young to trust), ``active``, ``lost`` (not found in this
        frame, predicted) or ``ended`` (reported once, in the frame it ended).
    parent : int or None
        Track that divided into this one.
    detection : int or None
        Row in the frame's `Detections`; None while lost.
    x_um, y_um : float
        Sample coordinates (predicted while lost).
    vx_um_s, vy_um_s : float
        Velocity in the sample, um/s.
    frames : int
        Frames in which it was found.
    born_s, seen_s : float
        Run time of first and last sight, s.
    features : mapping of str to float
        The detection's features, `area_um2` and `score`; the last known while lost.
    """

    track_id: int
    state: str
    x_um: float
    y_um: float
    parent: int | None = None
    detection: int | None = None
    vx_um_s: float = 0.0
    vy_um_s: float = 0.0
    frames: int = 1
    born_s: float = 0.0
    seen_s: float = 0.0
    features: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something the sample does, as seen by vision.

    Attributes
    ----------
    event_id : int
        Unique in its view; the same event keeps its id while it lasts.
    kind : str
        For example ``mitosis``.
    score : float
        0..1, how sure vision is.
    state : str
        ``onset`` (first report), ``active`` or ``ended`` (last report).
    onset_s : float
        Run time at which it began, s.
    """

    event_id: int
    kind: str
    score: float
    state: str
    onset_s: float
    x_um: float
    y_um: float
    track_id: int | None = None
