"""Follows objects over time, in sample coordinates, one frame at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import (  # pydantic reads them at run time
    NonNegativeInt,  # noqa: TC002
    PositiveFloat,  # noqa: TC002
    PositiveInt,  # noqa: TC002
)

from smartscope.core import Detections, View
from smartscope.core import Track as TrackSeen
from smartscope.vision._division import find_divisions
from smartscope.vision._flow import common_shift, local_shift
from smartscope.vision._linker import Followed, Objects, link
from smartscope.vision._stage import Stage, StageConfig, Workspace

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Between frames far apart in time a gate must not swallow the field; between fast
# frames it must still cover the noise of segmentation.
_GATE_RANGE = (0.5, 3.0)
_HORIZON_STEPS = 3.0
# A daughter may be seen before she has parted from her sister, and then has a track
# of her own: for this many usual time steps she may still find her mother.
_YOUNG_STEPS = 3.0
# How far, in gates, a shift of the whole field is looked for.
_FAR = 3.0
# Linking again with the neighbours' motion pays twice, and only when they move.
_ROUNDS = 2
_STILL = 0.1


class TrackConfig(StageConfig):
    """Settings of `track`.

    Attributes
    ----------
    max_distance_um : float
        Farthest an object may be from where it is expected, um, after one usual time
        step; it grows with the square root of longer steps and shrinks likewise.
    interval_s : float or None
        The usual time step, s; None takes the first one of the view.
    max_gap_frames : int
        Frames in a row in which an object may be missed before its track ends.
    min_frames : int
        Frames after which a track becomes ``active``.
    division_distance_um : float or None
        Farthest a daughter may be from where its mother was expected, um; None looks
        for no divisions.
    collective : bool
        Expect objects to move along with their neighbours: sheets of cells, drift.
    """

    max_distance_um: PositiveFloat = 15.0
    interval_s: PositiveFloat | None = None
    max_gap_frames: NonNegativeInt = 2
    min_frames: PositiveInt = 3
    division_distance_um: PositiveFloat | None = 15.0
    collective: bool = True


@dataclass(slots=True, eq=False)
class _Memory:
    """What `track` knows of one view."""

    followed: list[Followed] = field(default_factory=list)
    next_id: int = 1
    last_s: float | None = None
    usual_s: float | None = None


class Track(Stage[TrackConfig, _Memory]):
    """Links detections to tracks as each frame comes.

    Gated assignment around constant-velocity predictions in sample coordinates, so a
    moved stage moves no cell. Births are ``tentative`` until `min_frames`; a missed
    track is ``lost`` and predicted, and ``ended`` once after `max_gap_frames` (a
    tentative one after a single gap). A division ends the mother and gives both
    daughters her id as `parent`.

    Frames exposed while the stage moved are not linked: tracks keep their state and
    are shown where they are expected, without a detection.
    """

    Config: ClassVar[type[StageConfig]] = TrackConfig
    needs = ("objects",)
    gives = ("tracks",)

    def features(self) -> frozenset[str]:
        """None."""
        return frozenset()

    def start(self, view: View) -> _Memory:
        """No tracks yet."""
        return _Memory(usual_s=self.config.interval_s)

    def process(self, work: Workspace, state: _Memory) -> None:
        """Fill `work.tracks`, living ones by id, then those that ended."""
        if work.moving:
            for track in state.followed:
                track.detection = None
            work.tracks = tuple(self._seen(t, work, state) for t in state.followed)
            return
        if state.usual_s is None and state.last_s is not None:
            step_s = work.t_s - state.last_s
            state.usual_s = step_s if step_s > 0 else None
        state.last_s = work.t_s
        objects = self._objects(work)
        ended = self._step(work.t_s, objects, state)
        self._remember(work.detections, state)
        living = tuple(self._seen(track, work, state) for track in state.followed)
        work.tracks = living + tuple(
            self._seen(track, work, state, ended=True) for track in ended
        )

    def _objects(self, work: Workspace) -> Objects:
        found = work.detections
        bright = found.features.get(f"mean_{self.input.channel}", found.score)
        return Objects(
            np.column_stack([found.x_um, found.y_um]),
            np.maximum(found.area_um2, 1e-6),
            np.maximum(bright, 1e-6),
        )

    def _step(self, t_s: float, objects: Objects, state: _Memory) -> list[Followed]:
        """Link, divide, end and give birth; returns tracks that ended."""
        tracks, usual_s = state.followed, state.usual_s or 1.0
        predicted = self._predict(t_s, state)
        pairs = self._link(t_s, predicted, objects, state)
        mothers, parent_of = self._divide(t_s, pairs, predicted, objects, state)
        living: list[Followed] = []
        ended: list[Followed] = []
        for row, track in enumerate(tracks):
            if row in pairs:
                track.see(t_s, pairs[row], objects, usual_s)
                track.parent = parent_of.get(pairs[row], track.parent)
            else:
                track.detection = None
                track.missed += 1
            track.active = track.active or track.frames >= self.config.min_frames
            over = row in mothers or track.missed > self._patience(track)
            (ended if over else living).append(track)
        taken = set(pairs.values())
        living.extend(
            self._birth(t_s, row, objects, parent_of, state)
            for row in range(len(objects))
            if row not in taken
        )
        state.followed = living
        return ended

    def _link(
        self,
        t_s: float,
        predicted: NDArray[np.float64],
        objects: Objects,
        state: _Memory,
    ) -> dict[int, int]:
        """Object row of each linked track row.

        Moves `predicted`, in place, along with what the neighbourhood does in this
        frame: cells of a sheet and a drifting sample move together.
        """
        tracks = state.followed
        gap_s = np.array([max(t_s - track.seen_s, 0.0) for track in tracks])
        scale = np.clip(np.sqrt(gap_s / (state.usual_s or 1.0)), *_GATE_RANGE)
        reach_um = self.config.max_distance_um * scale
        if not self.config.collective or len(tracks) < 2 or not len(objects):
            return dict(link(predicted, reach_um, tracks, objects))
        own = predicted.copy()
        gate_um = float(np.median(reach_um))
        predicted += common_shift(own, objects.xy_um, _FAR * gate_um, gate_um / 2)
        pairs = link(predicted, reach_um, tracks, objects)
        for _ in range(_ROUNDS):
            moved = own + local_shift(own, objects.xy_um, pairs) - predicted
            if np.median(np.hypot(moved[:, 0], moved[:, 1])) < _STILL * gate_um:
                break
            predicted += moved
            pairs = link(predicted, reach_um, tracks, objects)
        return dict(pairs)

    def _predict(self, t_s: float, state: _Memory) -> NDArray[np.float64]:
        horizon_s = _HORIZON_STEPS * (state.usual_s or 1.0)
        places = [track.predict(t_s, horizon_s) for track in state.followed]
        return np.array(places, dtype=np.float64).reshape(-1, 2)

    def _patience(self, track: Followed) -> int:
        gap = self.config.max_gap_frames
        return gap if track.active else min(1, gap)

    def _divide(
        self,
        t_s: float,
        pairs: dict[int, int],
        predicted: NDArray[np.float64],
        objects: Objects,
        state: _Memory,
    ) -> tuple[set[int], dict[int, int]]:
        """Rows of mothers that divided, and the mother's id of each daughter's row.

        Takes the mothers' links out of `pairs`.
        """
        distance_um, tracks = self.config.division_distance_um, state.followed
        if distance_um is None:
            return set(), {}
        since_s = t_s - _YOUNG_STEPS * (state.usual_s or 1.0)
        young = {
            row
            for row, track in enumerate(tracks)
            if track.born_s >= since_s and track.parent is None
        }
        claimed = {object_row for row, object_row in pairs.items() if row not in young}
        free = [row for row in range(len(objects)) if row not in claimed]
        rows = [r for r, t in enumerate(tracks) if t.active and r not in young]
        found = find_divisions(
            [(r, tracks[r], pairs.get(r)) for r in rows],
            [(float(predicted[r, 0]), float(predicted[r, 1])) for r in rows],
            free,
            objects,
            distance_um,
        )
        parent_of: dict[int, int] = {}
        for division in found:
            pairs.pop(division.mother, None)
            mother = tracks[division.mother].track_id
            parent_of[division.first] = parent_of[division.second] = mother
        return {division.mother for division in found}, parent_of

    def _birth(
        self,
        t_s: float,
        row: int,
        objects: Objects,
        parent_of: dict[int, int],
        state: _Memory,
    ) -> Followed:
        born = Followed(
            track_id=state.next_id,
            xy_um=objects.xy_um[row],
            seen_s=t_s,
            born_s=t_s,
            area_um2=float(objects.area_um2[row]),
            bright=float(objects.bright[row]),
            parent=parent_of.get(row),
            detection=row,
            active=self.config.min_frames == 1,
        )
        state.next_id += 1
        return born

    def _remember(self, found: Detections, state: _Memory) -> None:
        """Copy the features of each track's detection, for this frame and for gaps."""
        columns = {name: values.tolist() for name, values in found.features.items()}
        columns["area_um2"] = found.area_um2.tolist()
        columns["score"] = found.score.tolist()
        for track in state.followed:
            if (row := track.detection) is not None:
                # A channel that was not taken now keeps its last value.
                track.features = track.features | {
                    name: values[row] for name, values in columns.items()
                }

    def _seen(
        self, track: Followed, work: Workspace, state: _Memory, *, ended: bool = False
    ) -> TrackSeen:
        horizon_s = _HORIZON_STEPS * (state.usual_s or 1.0)
        place = track.xy_um
        if track.detection is None and not ended:
            place = track.predict(work.t_s, horizon_s)
        word = "ended" if ended else "lost" if track.missed else "tentative"
        if word == "tentative" and track.active:
            word = "active"
        return TrackSeen(
            track_id=track.track_id,
            state=word,
            x_um=float(place[0]),
            y_um=float(place[1]),
            parent=track.parent,
            detection=None if ended else track.detection,
            vx_um_s=float(track.v_um_s[0]),
            vy_um_s=float(track.v_um_s[1]),
            frames=track.frames,
            born_s=track.born_s,
            seen_s=track.seen_s,
            features=track.features,
        )
