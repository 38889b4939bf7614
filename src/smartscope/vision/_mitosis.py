"""Mitosis: a nucleus condenses, rounds up, and becomes two."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import exp, hypot, log, pi, sqrt
from statistics import median
from typing import Any, ClassVar

from pydantic import Field, PositiveFloat, PositiveInt

from smartscope.core import Event, View
from smartscope.core import Track as TrackSeen
from smartscope.vision._baseline import Baseline, UsualStep
from smartscope.vision._stage import Stage, StageConfig, Workspace

# With fewer nuclei the median of the field is too much one nucleus of its own.
_FIELD_LEAST = 5
_QUIET = 0.25
# Mean absolute deviations that a sign must leave behind: about four sigma.
_UNUSUAL = 5.0


class MitosisConfig(StageConfig):
    """Settings of `mitosis`.

    Attributes
    ----------
    on : On
        ``channel`` names the chromatin channel, measured before.
    brightness_rise : float
        Brightness over a nucleus's own baseline that counts in full.
    area_fall : float
        Area over its own baseline that counts in full.
    onset_score, release_score : float
        0..1: the event begins at the first and, without a division, ends below the
        second.
    confirm_frames : int
        Frames in a row above `onset_score` (or below `release_score`) it takes; a
        division needs no confirmation.
    division_score : float
        Score of a division that no condensation announced.
    baseline_frames : int
        Length of the running baseline, in frames at the usual rate.
    min_baseline_frames : int
        Frames of a nucleus before its condensation counts.
    separation_diameters : float
        Daughters this many diameters of the mother apart end the event.
    max_duration_s : float
        The event ends after this long at the latest, s.
    """

    brightness_rise: float = Field(1.6, gt=1)
    area_fall: float = Field(0.6, gt=0, lt=1)
    onset_score: float = Field(0.5, gt=0, le=1)
    release_score: float = Field(0.25, ge=0, le=1)
    confirm_frames: PositiveInt = 2
    division_score: float = Field(0.7, gt=0, le=1)
    baseline_frames: PositiveInt = 20
    min_baseline_frames: PositiveInt = 3
    separation_diameters: PositiveFloat = 1.2
    max_duration_s: PositiveFloat = 3600.0


@dataclass(slots=True)
class _Nucleus:
    """One nucleus: usual log brightness, area and roundness, and how it is now."""

    bright: Baseline = field(default_factory=Baseline)
    area: Baseline = field(default_factory=Baseline)
    round: Baseline = field(default_factory=Baseline)
    score: float = 0.0
    above: int = 0
    below: int = 0
    above_since_s: float = 0.0


@dataclass(slots=True)
class _Episode:
    """One mitosis that lasts, from rounding to the parting of the daughters."""

    event_id: int
    mother: int
    onset_s: float
    diameter_um: float
    score: float
    x_um: float
    y_um: float
    divided: bool = False
    fresh: bool = True
    over: bool = False


@dataclass(slots=True)
class _Memory:
    clock: UsualStep = field(default_factory=UsualStep)
    nuclei: dict[int, _Nucleus] = field(default_factory=dict)
    episodes: dict[int, _Episode] = field(default_factory=dict)


class Mitosis(Stage[MitosisConfig, _Memory]):
    """Scores every tracked nucleus for mitosis and reports its course.

    The score is the geometric mean of two signs, each 0..1: brightness per area above
    the nucleus's own running baseline, and area (helped by roundness) below it, both by
    more than they fluctuate anyway. What the whole field does at once (light, focus,
    bleaching) is taken off first, and a nucleus that the border of the image cuts is
    not judged. A division found by `track` makes it certain. One event keeps its id
    from the first sign until the daughters have parted; its track is the mother, its
    place the middle between the daughters after the division.
    """

    Config: ClassVar[type[StageConfig]] = MitosisConfig
    needs = ("objects", "tracks")

    def inputs(self) -> tuple[Any, ...]:
        """None: it looks at tracks."""
        return ()

    def features(self) -> frozenset[str]:
        """None."""
        return frozenset()

    def reads(self) -> frozenset[str]:
        """Brightness of the chromatin channel, and shape."""
        return frozenset({f"mean_{self.input.channel}", "area_um2", "eccentricity"})

    def start(self, view: View) -> _Memory:
        """No nuclei, no episodes."""
        return _Memory()

    def process(self, work: Workspace, state: _Memory) -> None:
        """Add the mitoses of this frame, oldest first."""
        if not work.moving:
            self._score_all(work, state)
            self._begin(work, state)
            self._go_on(work, state)
        for episode in state.episodes.values():
            word = "onset" if episode.fresh else "ended" if episode.over else "active"
            episode.fresh = False
            work.events.append(
                Event(
                    event_id=episode.event_id,
                    kind="mitosis",
                    score=episode.score,
                    state=word,
                    onset_s=episode.onset_s,
                    x_um=episode.x_um,
                    y_um=episode.y_um,
                    track_id=episode.mother,
                )
            )
        state.episodes = {k: e for k, e in state.episodes.items() if not e.over}
        for track in work.tracks:
            if track.state == "ended":
                state.nuclei.pop(track.track_id, None)

    def _score_all(self, work: Workspace, state: _Memory) -> None:
        steps = state.clock.steps(work.t_s)
        now: list[tuple[_Nucleus, TrackSeen, tuple[float, float, float]]] = []
        for track in work.tracks:
            nucleus = state.nuclei.setdefault(track.track_id, _Nucleus())
            signs = None if _cut(work, track, nucleus) else self._signs(track)
            if signs is not None:
                now.append((nucleus, track, signs))
        ready = [
            (nucleus, signs)
            for nucleus, _, signs in now
            if nucleus.area.count >= self.config.min_baseline_frames
        ]
        shift_b = shift_a = 0.0
        if len(ready) >= _FIELD_LEAST:
            shift_b = median(signs[0] - known.bright.value for known, signs in ready)
            shift_a = median(signs[1] - known.area.value for known, signs in ready)
        for nucleus, track, signs in now:
            self._score(nucleus, signs, shift_b, shift_a)
            self._count(nucleus, work.t_s)
            if track.track_id not in state.episodes:
                self._learn(nucleus, signs, steps)

    def _signs(self, track: TrackSeen) -> tuple[float, float, float] | None:
        """Log of brightness, area and axis ratio; None where nothing was seen."""
        if track.detection is None:
            return None
        bright = track.features.get(f"mean_{self.input.channel}", 0.0)
        area = track.features.get("area_um2", 0.0)
        if bright <= 0 or area <= 0:
            return None
        eccentricity = track.features.get("eccentricity", 0.0)
        return log(bright), log(area), 0.5 * log(max(1 - eccentricity**2, 0.01))

    def _score(
        self,
        nucleus: _Nucleus,
        signs: tuple[float, float, float],
        shift_b: float,
        shift_a: float,
    ) -> None:
        if nucleus.area.count < self.config.min_baseline_frames:
            nucleus.score = 0.0
            return
        rise = signs[0] - nucleus.bright.value - shift_b
        fall = nucleus.area.value + shift_a - signs[1]
        flat = nucleus.round.value - signs[2]
        full = -log(self.config.area_fall)
        usual_b, usual_a = nucleus.bright.spread, nucleus.area.spread
        if rise < _UNUSUAL * usual_b or fall < _UNUSUAL * usual_a:
            nucleus.score = 0.0
            return
        bright = min(max(rise / log(self.config.brightness_rise), 0.0), 1.0)
        small = min(max((fall + 0.3 * max(flat, 0.0)) / full, 0.0), 1.0)
        nucleus.score = sqrt(bright * small)

    def _count(self, nucleus: _Nucleus, t_s: float) -> None:
        if nucleus.score >= self.config.onset_score:
            if nucleus.above == 0:
                nucleus.above_since_s = t_s
            nucleus.above += 1
        else:
            nucleus.above = 0
        low = nucleus.score < self.config.release_score
        nucleus.below = nucleus.below + 1 if low else 0

    def _learn(
        self, nucleus: _Nucleus, signs: tuple[float, float, float], steps: float
    ) -> None:
        # A nucleus that begins to change must not teach its baseline to follow.
        slow = 1.0 if nucleus.score < _QUIET else 0.1
        window = float(self.config.baseline_frames)
        baselines = (nucleus.bright, nucleus.area, nucleus.round)
        for baseline, sign in zip(baselines, signs, strict=True):
            baseline.take(sign, steps=steps * slow, window=window)

    def _begin(self, work: Workspace, state: _Memory) -> None:
        mothers = {track.parent for track in work.tracks if track.parent is not None}
        for track in work.tracks:
            if track.track_id in state.episodes:
                continue
            nucleus = state.nuclei[track.track_id]
            divided = track.state == "ended" and track.track_id in mothers
            shown = (
                nucleus.above >= self.config.confirm_frames and track.state == "active"
            )
            if not divided and not shown:
                continue
            area = track.features.get("area_um2", 0.0)
            if nucleus.area.count:
                area = max(area, exp(nucleus.area.value))
            state.episodes[track.track_id] = _Episode(
                event_id=work.new_event_id(),
                mother=track.track_id,
                onset_s=nucleus.above_since_s if nucleus.above else work.t_s,
                diameter_um=2 * sqrt(area / pi),
                score=nucleus.score,
                x_um=track.x_um,
                y_um=track.y_um,
            )

    def _go_on(self, work: Workspace, state: _Memory) -> None:
        by_id = {track.track_id: track for track in work.tracks}
        children: dict[int, list[TrackSeen]] = {}
        for track in work.tracks:
            if track.parent is not None:
                children.setdefault(track.parent, []).append(track)
        for episode in state.episodes.values():
            mother = by_id.get(episode.mother)
            daughters = children.get(episode.mother, [])
            if len(daughters) == 2 and (mother is None or mother.state == "ended"):
                self._parted(episode, daughters)
            elif mother is None or mother.state == "ended":
                episode.over = True
            else:
                self._rounding(episode, mother, state.nuclei[episode.mother])
            late = work.t_s - episode.onset_s > self.config.max_duration_s
            if late and not episode.over:
                episode.over = True
                if not episode.divided:
                    state.nuclei[episode.mother] = _Nucleus()
            # A first report is an onset; the end, if already there, comes next frame.
            episode.over = episode.over and not episode.fresh

    def _rounding(
        self, episode: _Episode, mother: TrackSeen, nucleus: _Nucleus
    ) -> None:
        episode.x_um, episode.y_um = mother.x_um, mother.y_um
        if mother.detection is not None:
            episode.score = nucleus.score
            episode.over = nucleus.below >= self.config.confirm_frames

    def _parted(self, episode: _Episode, daughters: list[TrackSeen]) -> None:
        first, second = daughters
        if not episode.divided:
            episode.divided = True
            announced = episode.score >= self.config.onset_score
            episode.score = 1.0 if announced else self.config.division_score
        episode.x_um = (first.x_um + second.x_um) / 2
        episode.y_um = (first.y_um + second.y_um) / 2
        apart_um = hypot(first.x_um - second.x_um, first.y_um - second.y_um)
        lost = "ended" in (first.state, second.state)
        episode.over = (
            lost or apart_um > self.config.separation_diameters * episode.diameter_um
        )


def _cut(work: Workspace, track: TrackSeen, nucleus: _Nucleus) -> bool:
    """Whether the border of the image cuts off a part of it, by its usual size."""
    row = track.detection
    if row is None:
        return False
    y_px, x_px = work.detections.y_px[row], work.detections.x_px[row]
    height, width = work.shape
    inside_px = min(y_px, x_px, height - 1 - y_px, width - 1 - x_px) + 0.5
    area_um2 = track.features.get("area_um2", 0.0)
    if nucleus.area.count:
        area_um2 = max(area_um2, exp(nucleus.area.value))
    return bool(inside_px < work.px(sqrt(area_um2 / pi)))
