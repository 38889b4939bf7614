"""Appearance: something is where nothing was in the frame before."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveFloat

from smartscope.vision._course import Course
from smartscope.vision._stage import Stage, StageConfig, Workspace

if TYPE_CHECKING:
    from smartscope.core import PixelMap, View
    from smartscope.core import Track as TrackSeen


class AppearanceConfig(StageConfig):
    """Settings of `appearance`.

    Attributes
    ----------
    kind : str
        What the event is called, for example ``endocytosis``.
    sure_s : float
        The score is 0.5, and the event begins, when the object has been there for so
        long; it is 1 after twice as long.
    margin_um : float
        What appears this close to the edge of the field has moved in, um.
    max_duration_s : float
        The event ends after this long at the latest, s.
    """

    kind: str = Field("appearance", min_length=1)
    sure_s: NonNegativeFloat = 1.0
    margin_um: NonNegativeFloat = 1.0
    max_duration_s: PositiveFloat = 600.0


@dataclass(frozen=True, slots=True)
class _Field:
    """What a frame showed of the sample."""

    pixel_map: PixelMap
    shape: tuple[int, int]
    stage_um: tuple[float, float]

    def shows(self, track: TrackSeen, margin_um: float) -> bool:
        """Whether the place of a track lies in it, not at its edge."""
        place = self.pixel_map.to_image((track.x_um, track.y_um), *self.stage_um)
        margin = margin_um / self.pixel_map.pixel_um - 0.5
        high = np.array(self.shape) - 1 - margin
        return bool(((place >= margin) & (place <= high)).all())


@dataclass(slots=True)
class _Memory:
    before: _Field | None = None
    known: set[int] = field(default_factory=set)
    new: dict[int, Course] = field(default_factory=dict)


class Appearance(Stage[AppearanceConfig, _Memory]):
    """Reports objects that appear in the field, for as long as they are there.

    Only where the frame before showed the place: neither what the first frame shows,
    nor what a moved stage or a larger region brings into view has appeared; nor have
    daughters of a division, or what moves in over the edge. The event ends with the
    track.
    """

    Config: ClassVar[type[StageConfig]] = AppearanceConfig
    needs = ("objects", "tracks")

    def inputs(self) -> tuple[Any, ...]:
        """None: it looks at tracks."""
        return ()

    def features(self) -> frozenset[str]:
        """None."""
        return frozenset()

    def start(self, view: View) -> _Memory:
        """Nothing has been seen yet."""
        return _Memory()

    def process(self, work: Workspace, state: _Memory) -> None:
        """Add the events of this frame, by track."""
        if work.moving:
            return
        now = _Field(work.pixel_map, work.shape, work.stage_um)
        for track in work.tracks:
            if track.track_id not in state.known:
                state.known.add(track.track_id)
                if self._is_new(track, now, state.before):
                    state.new[track.track_id] = Course()
            if track.track_id in state.new:
                self._report(track, work, state)
            if track.state == "ended":
                state.known.discard(track.track_id)
                state.new.pop(track.track_id, None)
        state.before = now

    def _is_new(self, track: TrackSeen, now: _Field, before: _Field | None) -> bool:
        margin_um = self.config.margin_um
        return (
            before is not None
            and track.parent is None
            and before.shows(track, margin_um)
            and now.shows(track, margin_um)
        )

    def _report(self, track: TrackSeen, work: Workspace, state: _Memory) -> None:
        age_s = track.seen_s - track.born_s
        sure_s = self.config.sure_s
        score = min(0.5 * age_s / sure_s, 1.0) if sure_s else 1.0
        event = state.new[track.track_id].step(
            work,
            track,
            kind=self.config.kind,
            score=score,
            begins=score >= 0.5,
            ends=False,
            max_duration_s=self.config.max_duration_s,
            onset_s=track.born_s,
        )
        if event is None:
            return
        work.events.append(event)
        if event.state == "ended":
            del state.new[track.track_id]
