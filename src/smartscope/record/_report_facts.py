"""What a report tells, as plain values: gathered once, then only drawn."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from smartscope.record._report_together import TogetherFact

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from smartscope.record._report_models import ModelFact

DONE = ("applied", "scheduled", "noted")
IMAGINED = ("shadow", "replay")
"""Outcomes of a run that decides and acts on nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameTimes:
    """When frames of one stage position were exposed, seconds of run time, rising."""

    position: int
    baseline_s: NDArray[np.float64]
    reaction_s: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What became of the frames; `planned` is None for a stream without an end."""

    planned: int | None = None
    taken: int = 0
    reactions: int = 0
    superseded: int = 0
    failed: int = 0
    unfinished: int = 0
    """Announced, then neither taken nor failed: the run ended within."""
    skipped: int = 0
    """Taken, but left out by vision."""
    lost_certain: int = 0
    """Exposed and gone: the camera's or the buffer's own count says so."""
    lost_possible: int = 0
    """Estimated from when frames arrived."""
    stream: bool = False
    """Frames came from a running camera, not from a plan."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumb:
    """A cut-out of one frame, 8 bit, with its time relative to the event."""

    pixels: NDArray[np.uint8]
    after_s: float
    reaction: bool
    centred: bool
    """False when the place of the event lies outside this frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFact:
    """One event of the sample, over all observations that reported it."""

    number: int
    kind: str
    position: int
    score: float
    onset_s: float
    seen_s: float
    last_s: float
    x_um: float
    y_um: float
    track_id: int | None = None
    true: bool | None = None
    """Whether the simulated sample really did this; None where nobody knows."""
    strip: tuple[Thumb, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionFact:
    """One action somebody asked for, and what became of it."""

    t_s: float
    policy: str
    position: int
    action: str
    detail: str
    reason: str
    status: str
    message: str = ""

    @property
    def done(self) -> bool:
        """Whether it was carried out."""
        return self.status in DONE

    @property
    def imagined(self) -> bool:
        """Whether this run acts on nothing, and would have carried it out."""
        return self.status in IMAGINED

    @property
    def verdict(self) -> str:
        """``done``, ``imagined``, or the status of what was not carried out."""
        return "done" if self.done else "imagined" if self.imagined else self.status


@dataclass(frozen=True, slots=True, kw_only=True)
class AlikeFact:
    """Decisions of one policy in a row that differ in nothing but numbers."""

    first: tuple[DecisionFact, ...]
    count: int
    last: DecisionFact


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkFact:
    """One mark of the timeline: a decision, and how many more beside it."""

    decision: DecisionFact
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class DecidedFact:
    """Everything that was asked for; what is kept is bounded, what is counted is not.

    `deeds` counts by ``(policy, verdict, action, back)``: the verdict is ``done``,
    ``imagined`` or a status; `back` marks a return to the plan.
    """

    total: int = 0
    done: int = 0
    alike: tuple[AlikeFact, ...] = ()
    left_out: int = 0
    """Decisions that are in none of `alike`."""
    deeds: Mapping[tuple[str, str, str, bool], int] = field(default_factory=dict)
    marks: Mapping[str, tuple[MarkFact, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuietFact:
    """Why one policy did nothing, over all observations with the same answer."""

    policy: str
    why: str
    times: int
    first_s: float
    last_s: float
    best_score: float | None = None
    threshold: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DoseFact:
    """Light one stage position got over time."""

    name: str
    t_s: NDArray[np.float64]
    dose: NDArray[np.float64]
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackFact:
    """One track in sample coordinates, um, in order of time."""

    position: int
    track_id: int
    x_um: NDArray[np.float64]
    y_um: NDArray[np.float64]
    parent: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Backdrop:
    """One frame laid under the sample map.

    `matrix` is SVG's ``(a, b, c, d, e, f)``: picture pixels to um.
    """

    pixels: NDArray[np.uint8]
    matrix: tuple[float, float, float, float, float, float]
    t_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MapFact:
    """Tracks and events of one stage position on the sample."""

    position: int
    tracks: tuple[TrackFact, ...] = ()
    left_out: int = 0
    """Tracks that are not in `tracks`."""
    backdrop: Backdrop | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PatternFact:
    """Regions lit through the SLM, on the frame they were decided on.

    `polygons_px` are of ``(y, x)`` in pixels of the frame, of which `pixels` keeps
    every `step`-th.
    """

    t_s: float
    policy: str
    reason: str
    status: str
    pixels: NDArray[np.uint8]
    step: int
    polygons_px: tuple[Sequence[Sequence[float]], ...]
    lit_percent: float | None = None
    """Share of the SLM that is lit."""
    outside_percent: float | None = None
    """Share of the regions that lies outside of the SLM."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TruthFact:
    """Found events against what the simulated sample really did."""

    kind: str
    happened: int
    found: int
    reported: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFact:
    """How long one step took, ms; `bins` counts by `EDGES_MS` of `_report_timing`."""

    name: str
    what: str
    count: int
    p50: float
    p95: float
    p99: float
    max: float
    bins: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class OverrunFact:
    """Observations of a stream that were decided on late."""

    observations: int
    late: int
    interval_ms: float
    """Median time from one frame to the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeFact:
    """Something that was told, over all times it was told with other numbers."""

    words: str
    times: int
    first_s: float
    last_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LossFact:
    """Frames that were lost in one place, `certain` or possible.

    `times` is 0 where nobody knows when.
    """

    by: str
    certain: bool
    frames: int
    times: int = 0
    first_s: float = 0.0
    last_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriberFact:
    """Who wanted frames, and how many it got."""

    name: str
    appetite: str
    delivered: int
    skipped: int
    dropped: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartFact:
    """Times the camera was stopped and started to set something, and what it cost."""

    what: str
    times: int
    dead_ms: float
    p50_ms: float
    max_ms: float
    first_s: float
    last_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptFact:
    """Frames from before an event that were put on disk."""

    frames: int
    from_s: float
    to_s: float
    reason: str
    missing_s: float = 0.0
    """What was asked for and no longer in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryFact:
    """What became of the frames on their way, and what disturbed the camera."""

    subscribers: tuple[SubscriberFact, ...] = ()
    losses: tuple[LossFact, ...] = ()
    restarts: tuple[RestartFact, ...] = ()
    external: tuple[NoticeFact, ...] = ()
    kept: tuple[KeptFact, ...] = ()
    kept_more: int = 0
    buffers: int = 0
    """Frames the memory set aside for them holds."""
    misses: int = 0
    """Frames that found it full and got memory of their own."""
    pauses: int = 0
    paused_s: float = 0.0
    pacing: str = ""
    deadlines: Mapping[str, int] = field(default_factory=dict)
    """How often a decision came too late, by what was done then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything the report tells about one run."""

    name: str
    description: str = ""
    folder: str = ""
    started: str = ""
    duration_s: float = 0.0
    outcome: str = ""
    """``""`` when the run has no end: it crashed, or is still going on."""
    message: str = ""
    setting: str = ""
    counts: Counts = Counts()
    frames: tuple[FrameTimes, ...] = ()
    events: tuple[EventFact, ...] = ()
    more_events: Mapping[str, int] = field(default_factory=dict)
    """Further events by kind, of which nothing but the number was kept."""
    decided: DecidedFact = DecidedFact()
    together: TogetherFact = field(default_factory=TogetherFact)
    quiet: tuple[QuietFact, ...] = ()
    dose: tuple[DoseFact, ...] = ()
    budget: float | None = None
    budget_unit: str = ""
    maps: tuple[MapFact, ...] = ()
    patterns: tuple[PatternFact, ...] = ()
    steps: tuple[StepFact, ...] = ()
    wall: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Percentiles of real time, ms, where `steps` are on a virtual clock."""
    clock_kind: str = "real"
    speed: float = 1.0
    """Seconds of the run in one second; `steps` are divided by it already."""
    overruns: OverrunFact | None = None
    delivery: DeliveryFact = DeliveryFact()
    faults: tuple[NoticeFact, ...] = ()
    interlocks: tuple[NoticeFact, ...] = ()
    truth: TruthFact | None = None
    models: tuple[ModelFact, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
