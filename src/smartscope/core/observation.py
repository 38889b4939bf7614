"""Everything a policy may look at for one tick."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from smartscope.core.frame import HardwareState, View
from smartscope.core.geometry import UNCALIBRATED, PixelMap
from smartscope.core.objects import NO_DETECTIONS, Detections, Event, Track

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from smartscope.core.actions import Outcome


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pictures:
    """Images behind an observation; not in the journal, read back from the record.

    Attributes
    ----------
    raw : mapping of channel to ndarray (y, x)
        Frames of the group as acquired.
    processed : ndarray (y, x) float32 or None
        What segmentation saw (corrected, denoised).
    labels : ndarray (y, x) int32 or None
        Label image, 0 is background.
    """

    raw: Mapping[str, NDArray[np.uint16]] = field(default_factory=dict)
    processed: NDArray[np.float32] | None = None
    labels: NDArray[np.int32] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Observation:
    """What vision made of one frame, or of one completed group of frames.

    Attributes
    ----------
    number : int
        Counts from 0 in the order in which policies received them.
    frame_ids : tuple of int
        Frames it was made from, in order of exposure.
    t_ns : int
        Exposure start of the last frame, run clock.
    t_s : float
        The same in seconds since the start of the run: the only time a policy has.
    role, cause, index
        As on `Frame`.
    detections, tracks, events
        See `smartscope.core.objects`; empty where no stage makes them.
    measurements : mapping of str to float
        Of the whole frame: ``background``, ``signal_to_noise``, ``count``...
    outcomes : tuple of Outcome
        Final outcomes that arrived since the last observation, of all policies.
    notes : tuple of str
        What went wrong in seeing this frame, or is doubtful about it: a model that
        failed, an image unlike those it was made for. Empty as a rule.
    interlocks : tuple of str
        Names of the interlocks that hold now.
    skipped : int
        Frames of this view that vision left out since the last observation.
    pictures : Pictures
        Images; absent when re-deciding from a journal without pixels.
    """

    number: int
    view: View
    frame_ids: tuple[int, ...]
    t_ns: int
    t_s: float
    role: str = "baseline"
    cause: str = "plan"
    index: Mapping[str, int] = field(default_factory=dict)
    channel: str | None = None
    shape: tuple[int, int] = (0, 0)
    state: HardwareState = field(default_factory=HardwareState)
    pixel_map: PixelMap = UNCALIBRATED
    moving: bool = False
    detections: Detections = NO_DETECTIONS
    tracks: tuple[Track, ...] = ()
    events: tuple[Event, ...] = ()
    measurements: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    interlocks: tuple[str, ...] = ()
    skipped: int = 0
    pictures: Pictures = field(default_factory=Pictures)

    def track(self, track_id: int | None) -> Track | None:
        """Return the track with this id, or None if it is not in this observation."""
        for track in self.tracks:
            if track.track_id == track_id:
                return track
        return None

    def events_of(self, kind: str) -> Iterable[Event]:
        """Events of `kind` in this observation, strongest first."""
        return sorted(
            (event for event in self.events if event.kind == kind),
            key=lambda event: (-event.score, event.event_id),
        )

    def field_centre_um(self) -> tuple[float, float]:
        """Sample coordinates ``(x_um, y_um)`` of the middle of the image.

        Raises
        ------
        ValueError
            If the stage position is unknown.
        """
        if self.state.x_um is None or self.state.y_um is None:
            raise ValueError(
                "the rig has no stage, so the field has no sample position"
            )
        return self.pixel_map.centre_sample(
            self.shape, self.state.x_um, self.state.y_um
        )
