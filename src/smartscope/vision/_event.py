"""Events of one feature: something of a tracked object leaves its own baseline."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from smartscope.vision._baseline import Baseline, UsualStep
from smartscope.vision._course import Course
from smartscope.vision._event_learned import LearnedEvent
from smartscope.vision._stage import Stage, StageConfig, Workspace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smartscope.core import Event, View
    from smartscope.core import Track as TrackSeen


class FeatureEventConfig(StageConfig):
    """Settings of `event`.

    Attributes
    ----------
    kind : str
        What the event is called, for example ``calcium_spike``.
    feature : str
        Object feature that is watched, for example ``mean_FITC``.
    above, below : float or None
        The event begins when the feature is more (less) than this many times its own
        baseline; exactly one of them.
    release : float
        0..1: it ends when the feature has come back to this share of the way from
        baseline to threshold.
    baseline_frames : int
        Length of the running baseline, in frames at the usual rate.
    min_baseline_frames : int
        Frames of an object before its events count.
    max_duration_s : float
        After this long it ends, and the baseline starts anew: it was no event but a
        change for good, s.
    """

    kind: str = Field(min_length=1)
    feature: str
    above: float | None = Field(None, gt=1)
    below: float | None = Field(None, gt=0, lt=1)
    release: float = Field(0.5, ge=0, lt=1)
    baseline_frames: PositiveInt = 20
    min_baseline_frames: PositiveInt = 3
    max_duration_s: PositiveFloat = 600.0

    @model_validator(mode="after")
    def _one_side(self) -> FeatureEventConfig:
        if (self.above is None) == (self.below is None):
            raise ValueError("give exactly one of 'above' and 'below'")
        return self


@dataclass(slots=True)
class _Watch:
    baseline: Baseline = field(default_factory=Baseline)
    course: Course = field(default_factory=Course)
    score: float = 0.0


@dataclass(slots=True)
class _Memory:
    clock: UsualStep = field(default_factory=UsualStep)
    watched: dict[int, _Watch] = field(default_factory=dict)


class FeatureEvent(Stage[FeatureEventConfig, _Memory]):
    """Reports objects whose feature leaves their own running baseline.

    With `model` the events are those that a model sees, see `LearnedEvent`.

    The score is 0.5 at the threshold and 1 at twice as far from the baseline. The
    baseline stands still while an event lasts.
    """

    Config: ClassVar[type[StageConfig]] = FeatureEventConfig
    needs = ("objects", "tracks")

    @classmethod
    def chosen(cls, values: Mapping[str, Any]) -> type[Stage[Any, Any]]:
        """With a model, the stage that runs it."""
        return LearnedEvent if "model" in values else cls

    def inputs(self) -> tuple[Any, ...]:
        """None: it looks at tracks."""
        return ()

    def features(self) -> frozenset[str]:
        """None."""
        return frozenset()

    def reads(self) -> frozenset[str]:
        """The watched feature."""
        return frozenset({self.config.feature})

    def start(self, view: View) -> _Memory:
        """Watch nothing yet."""
        return _Memory()

    def process(self, work: Workspace, state: _Memory) -> None:
        """Add the events of this frame, by track."""
        steps = state.clock.steps(work.t_s) if not work.moving else 0.0
        for track in work.tracks:
            watch = state.watched.setdefault(track.track_id, _Watch())
            event = self._look(track, watch, work, steps)
            if event is not None:
                work.events.append(event)
            if track.state == "ended":
                del state.watched[track.track_id]

    def _look(
        self, track: TrackSeen, watch: _Watch, work: Workspace, steps: float
    ) -> Event | None:
        """Update one track; its event, if it has one."""
        value = track.features.get(self.config.feature)
        fresh = track.detection is not None and value is not None and not work.moving
        if fresh and value is not None:
            watch.score = self._score(value, watch.baseline)
        release = 0.5 * self.config.release
        event = watch.course.step(
            work,
            track,
            kind=self.config.kind,
            score=watch.score,
            begins=fresh and watch.score >= 0.5,
            ends=watch.score < release,
            max_duration_s=self.config.max_duration_s,
        )
        if event is not None and event.state == "ended" and watch.score >= release:
            watch.baseline = Baseline()
        if fresh and value is not None and watch.course.event_id is None:
            watch.baseline.take(
                value, steps=steps, window=float(self.config.baseline_frames)
            )
        return event

    def _score(self, value: float, baseline: Baseline) -> float:
        if baseline.count < self.config.min_baseline_frames or baseline.value <= 0:
            return 0.0
        factor = self.config.above or self.config.below or 1.0
        way = (value / baseline.value - 1.0) / (factor - 1.0)
        return min(max(0.5 * way, 0.0), 1.0)
