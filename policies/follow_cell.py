"""Keep one cell in the middle of the image by moving the stage."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, PrivateAttr

from smartscope.core import Action, Nothing, Observation, ShiftPosition, Track
from smartscope.policies import Policy

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# A followed daughter may still be too young to be picked.
_IN_SIGHT = ("active", "tentative")
# A shift that no frame has shown after so many is taken for never done.
_FORGET_AFTER_FRAMES = 4


class FollowCell(Policy):
    """Pick a cell and keep it centred; hand over to another one when it is lost.

    The way from the middle of the field to the cell is measured in the sample, through
    the calibrated affine, so neither the turn of the camera nor its binning or region
    matter. What was asked for but does not show in this frame yet is subtracted, so the
    stage never moves twice for the same sight.

    Target following by feedback to the stage as in Rabut & Ellenberg, "Automatic
    real-time three-dimensional cell tracking by fluorescence microscopy", Journal of
    Microscopy 216, 131 (2004), https://doi.org/10.1111/j.0022-2720.2004.01404.x
    """

    requires = ("stage", "affine")

    pick: Literal["centre", "brightest"] = "centre"
    """Which cell is followed first: the one nearest to the centre, or the brightest."""
    track_id: PositiveInt | None = None
    """Follow this track instead, as soon as it is there."""
    brightness: str = "score"
    """Feature of the tracks that `brightest` compares, for example `mean_FITC`."""
    tolerance_um: PositiveFloat = 2.0
    """The stage rests while the cell is closer to the middle than this."""
    gain: float = Field(1.0, gt=0, le=1)
    """Part of the way to go at once; below 1 smooths noisy positions."""
    lead_s: NonNegativeFloat = 0.0
    """Aim where the cell will be after this time, from its velocity."""
    max_step_um: PositiveFloat = 50.0
    """Longest single move."""
    patience_frames: PositiveInt = 3
    """Frames without the cell after which it counts as lost."""
    on_loss: Literal["nearest", "stop"] = "nearest"
    """Then follow the cell nearest to where it was last, or none any more."""

    _followed: int | None = PrivateAttr(None)
    _last_um: tuple[float, float] | None = PrivateAttr(None)
    _missing: int = PrivateAttr(0)
    _over: bool = PrivateAttr(False)
    _stage_um: tuple[float, float] | None = PrivateAttr(None)
    _asked: list[tuple[float, float]] = PrivateAttr(default_factory=list)
    _unseen: int = PrivateAttr(0)

    def react(self, seen: Observation) -> Iterator[Action]:
        """Shift the position towards the cell, or say why not."""
        self._settle(seen)
        if seen.moving:
            yield Nothing(reason="the stage moved during this frame", state="waiting")
            return
        if self._over:
            yield Nothing(reason="the cell was lost, none is followed", state="stopped")
            return
        track, why = self._find(seen)
        if track is None:
            state = "waiting" if self._followed is None else "lost"
            yield Nothing(reason=why, state=state, track_id=self._followed)
            return
        self._last_um = (track.x_um, track.y_um)
        yield self._centre(track, why, seen)

    # ----------------------------------------------------------- what was asked for

    def _settle(self, seen: Observation) -> None:
        """Forget the shifts that this frame shows, and those that were refused."""
        if self.not_done(seen):
            self._asked.clear()
        here = (seen.state.x_um or 0.0, seen.state.y_um or 0.0)
        if self._stage_um is not None and self._asked:
            moved = (here[0] - self._stage_um[0], here[1] - self._stage_um[1])
            done = _shown(self._asked, moved)
            del self._asked[:done]
            self._unseen = 0 if done else self._unseen + 1
            if self._unseen >= _FORGET_AFTER_FRAMES:
                self._asked.clear()
        if not self._asked:
            self._unseen = 0
        self._stage_um = here

    def _centre(self, track: Track, why: str, seen: Observation) -> Action:
        x_um, y_um = seen.field_centre_um()
        dx_um = track.x_um + track.vx_um_s * self.lead_s - x_um
        dy_um = track.y_um + track.vy_um_s * self.lead_s - y_um
        away_um = math.hypot(dx_um, dy_um)
        dx_um -= sum(dx for dx, _ in self._asked)
        dy_um -= sum(dy for _, dy in self._asked)
        left_um = math.hypot(dx_um, dy_um)
        if left_um <= self.tolerance_um:
            on_its_way = f", {away_um:.1f} um of it on the way" if self._asked else ""
            return Nothing(
                reason=f"{why}{left_um:.1f} um from the middle{on_its_way}",
                score=left_um,
                threshold=self.tolerance_um,
                state="centred",
                track_id=track.track_id,
            )
        part = self.gain * min(1.0, self.max_step_um / (self.gain * left_um))
        shift = (dx_um * part, dy_um * part)
        self._asked.append(shift)
        return ShiftPosition(
            dx_um=shift[0],
            dy_um=shift[1],
            reason=f"{why}track {track.track_id} is {left_um:.1f} um from the middle",
            track_id=track.track_id,
        )

    # ------------------------------------------------------------ whom it follows

    def _find(self, seen: Observation) -> tuple[Track | None, str]:
        """Return the cell to follow now and what is worth saying about it."""
        active = [t for t in seen.tracks if t.state == "active"]
        if self._followed is None:
            self._last_um = seen.field_centre_um()
            return self._first(active, len(seen.tracks) - len(active))
        track = seen.track(self._followed)
        if track is not None and track.state in _IN_SIGHT:
            self._missing = 0
            return track, ""
        daughters = [
            t
            for t in seen.tracks
            if t.parent == self._followed and t.state in _IN_SIGHT
        ]
        if daughters and (track is None or track.state == "ended"):
            return self._follow(self._nearest(daughters), "it divided: ")
        self._missing += 1
        gone = track is not None and track.state == "ended"
        if not gone and self._missing < self.patience_frames:
            frames = f"{self._missing} of {self.patience_frames} frames"
            return None, f"track {self._followed} is out of sight for {frames}"
        if self.on_loss == "stop":
            self._over = True
            return None, f"track {self._followed} is lost, none is followed any more"
        if not active:
            return None, f"track {self._followed} is lost and there is no other cell"
        return self._follow(self._nearest(active), f"track {self._followed} is lost: ")

    def _first(self, active: list[Track], others: int) -> tuple[Track | None, str]:
        if not active:
            return None, f"no cell is sure enough yet ({others} tentative)"
        if self.track_id is not None:
            for track in active:
                if track.track_id == self.track_id:
                    return self._follow(track, "")
            return None, f"track {self.track_id} is not there yet"
        if self.pick == "centre":
            return self._follow(self._nearest(active), "picked, nearest to centre: ")
        bright = [t for t in active if self.brightness in t.features]
        if not bright:
            known = ", ".join(sorted(active[0].features)) or "none"
            return (
                None,
                f"no cell has a feature '{self.brightness}' (there are: {known})",
            )
        best = max(bright, key=lambda t: (t.features[self.brightness], -t.track_id))
        return self._follow(best, "picked, the brightest: ")

    def _follow(self, track: Track, why: str) -> tuple[Track, str]:
        self._followed = track.track_id
        self._missing = 0
        return track, why

    def _nearest(self, tracks: Iterable[Track]) -> Track:
        x_um, y_um = self._last_um or (0.0, 0.0)
        return min(
            tracks,
            key=lambda t: (math.hypot(t.x_um - x_um, t.y_um - y_um), t.track_id),
        )


def _shown(asked: list[tuple[float, float]], moved: tuple[float, float]) -> int:
    """How many of the shifts, oldest first, best explain how the stage has moved."""
    best, count = math.hypot(*moved), 0
    x_um = y_um = 0.0
    for number, (dx_um, dy_um) in enumerate(asked, 1):
        x_um, y_um = x_um + dx_um, y_um + dy_um
        off_um = math.hypot(moved[0] - x_um, moved[1] - y_um)
        if off_um < best:
            best, count = off_um, number
    return count
