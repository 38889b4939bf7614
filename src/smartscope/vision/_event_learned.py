"""Events that a model sees in the last frames."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field, PositiveFloat

from smartscope.core import ConfigError, Event
from smartscope.vision._learned import LearnedConfig
from smartscope.vision._learned_run import Answer, Learned, LearnedStage, LearnedView

if TYPE_CHECKING:
    from smartscope.core import View
    from smartscope.vision._stage import StageConfig, StageContext, Workspace
    from smartscope.vision.decode import EventFinder, FoundEvent

_APART_PX = 10.0


class LearnedEventConfig(LearnedConfig):
    """Settings of `event` with a model.

    Attributes
    ----------
    model : ModelUse
        A model that gives ``events``: a score map of the newest frame.
    kind : str or None
        What the event is called; None is what the model's package says.
    threshold : float or None
        0..1: an event begins above this score; None is what the package says, or 0.5.
    release : float or None
        It ends below this score; None is what the package says, or half of the
        threshold.
    max_distance_um : float
        The nearest track at most so far away is the event's.
    """

    kind: str | None = Field(None, min_length=1)
    threshold: float | None = Field(None, gt=0, le=1)
    release: float | None = Field(None, gt=0, le=1)
    max_distance_um: PositiveFloat = 10.0


@dataclass(slots=True, eq=False)
class _Memory:
    """Events under way in one view."""

    finder: EventFinder
    going: dict[int, Event] = field(default_factory=dict)


class LearnedEvent(LearnedStage[LearnedEventConfig]):
    """Reports what a model sees happen in the last frames, with place and duration.

    A frame exposed while the stage moved is not looked at. When the field jumps, what
    was going on there ends.
    """

    Config: ClassVar[type[StageConfig]] = LearnedEventConfig

    def __init__(self, config: LearnedEventConfig, context: StageContext) -> None:
        super().__init__(config, context)
        self.learned: Learned = Learned(
            config, context, stage="event", kinds=("events",), inputs=self.inputs()
        )
        kind = config.kind or self.learned.option("kind")
        if kind is None:
            raise ConfigError(
                f"{self.learned.model.file}: the model does not say what its events "
                "are called",
                field="kind",
                fix="give 'kind'",
            )
        self._kind = str(kind)

    def features(self) -> frozenset[str]:
        """None."""
        return frozenset()

    def start(self, view: View) -> LearnedView:
        """Nothing is going on yet."""
        return self.learned.start(_Memory(self._finder()))

    def _finder(self) -> EventFinder:
        from smartscope.vision.decode import EventFinder

        release = self.config.release
        return EventFinder(
            threshold=self.learned.threshold(self.config.threshold),
            release=self.learned.option("release") if release is None else release,
            min_distance_px=self.learned.option("min_distance_px", _APART_PX),
        )

    def process(self, work: Workspace, state: LearnedView) -> None:
        """Add the events of this frame."""
        answer = self.learned.see(work, state)
        if answer is None or work.moving:
            return
        memory: _Memory = state.own
        with work.timed(f"{self.learned.stage}.decode"):
            if answer.jumped:
                work.events.extend(_over(event) for event in memory.going.values())
                memory = state.own = _Memory(self._finder())
            output = answer.outputs[self.learned.output]
            grid = max(1, round(answer.shape[0] / output.shape[-2]))
            found = memory.finder.update(
                output[self.learned.channel],
                work.t_s,
                self.learned.option("grid", grid),
            )
            for one in found:
                event = self._event(one, work, answer, memory)
                work.events.append(event)
                memory.going[one.id] = event
                if one.state == "ended":
                    del memory.going[one.id]

    def _event(
        self, found: FoundEvent, work: Workspace, answer: Answer, memory: _Memory
    ) -> Event:
        before = memory.going.get(found.id)
        point = answer.points(np.array([found.y_px]), np.array([found.x_px]))
        x_um, y_um = work.pixel_map.to_sample(point, *work.stage_um)[0].tolist()
        return Event(
            event_id=work.new_event_id() if before is None else before.event_id,
            kind=self._kind,
            score=min(max(found.score, 0.0), 1.0),
            state=found.state,
            onset_s=found.onset_s,
            x_um=x_um,
            y_um=y_um,
            track_id=self._nearest(work, x_um, y_um),
        )

    def _nearest(self, work: Workspace, x_um: float, y_um: float) -> int | None:
        """The nearest living track within reach."""
        living = [track for track in work.tracks if track.state != "ended"]
        if not living:
            return None
        ways = np.hypot(
            [track.x_um - x_um for track in living],
            [track.y_um - y_um for track in living],
        )
        best = int(np.argmin(ways))
        near = ways[best] <= self.config.max_distance_um
        return living[best].track_id if near else None


def _over(event: Event) -> Event:
    return replace(event, state="ended", score=0.0)
