"""What a report tells, as plain values: gathered once, then only drawn."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

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
    backdrop: Backdrop | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TruthFact:
    """Found events against what the simulated sample really did."""

    kind: str
    happened: int
    found: int
    reported: int


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
    decisions: tuple[DecisionFact, ...] = ()
    quiet: tuple[QuietFact, ...] = ()
    dose: tuple[DoseFact, ...] = ()
    budget: float | None = None
    budget_unit: str = ""
    maps: tuple[MapFact, ...] = ()
    latency_ms: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    latency_wall: bool = True
    """False: durations are on the run's scaled or virtual clock."""
    faults: tuple[tuple[float, str], ...] = ()
    interlocks: tuple[tuple[float, str], ...] = ()
    truth: TruthFact | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
