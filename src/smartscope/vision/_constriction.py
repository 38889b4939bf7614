"""Constriction: a thin line narrows where a marker has gathered, before it parts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field, PositiveFloat  # pydantic reads them at run time
from scipy import ndimage

from smartscope.vision._course import Course
from smartscope.vision._stage import Stage, StageConfig, Workspace

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from smartscope.core import Event, View
    from smartscope.core import Track as TrackSeen

# Half a turn of directions; the next ones lie closer than a line is wide.
_HALF_TURN = 12
# A line may bend by two directions at the spot; the first one is straight.
_BENDS = (0, -2, -1, 1, 2)
_SMOOTH = 0.13
"""Sigma of the smoothing, of `reach_um`."""
_REACHES = (0.63, 1.0)
"""Of `reach_um`: a short line ends before the whole of it."""


class ConstrictionConfig(StageConfig):
    """Settings of `constriction`.

    Attributes
    ----------
    on : On
        ``channel`` names the one that shows the lines.
    kind : str
        What the event is called.
    reach_um : float
        So far from the spot a line has its whole width again, um; a short one nearly
        so at two thirds of it.
    least_contrast : float
        Brightness of the line over its sides, in sigmas of the pixel noise, without
        which the score is 0.
    onset_score, release_score : float
        0..1: the event begins at the first and ends below the second.
    max_duration_s : float
        The event ends after this long at the latest, s.
    """

    kind: str = Field("fission", min_length=1)
    reach_um: PositiveFloat = 0.8
    least_contrast: PositiveFloat = 5.0
    onset_score: float = Field(0.6, gt=0, le=1)
    release_score: float = Field(0.3, ge=0, le=1)
    max_duration_s: PositiveFloat = 300.0


@dataclass(slots=True)
class _Spot:
    course: Course = field(default_factory=Course)
    score: float = 0.0
    spent: bool = False


@dataclass(slots=True)
class _Memory:
    spots: dict[int, _Spot] = field(default_factory=dict)


class Constriction(Stage[ConstrictionConfig, _Memory]):
    """Reports tracked spots at which a thin line narrows.

    The score is the share of the line's brightness that is missing at the spot: 0 for
    an even line, 1 for a gap. It compares the spot with two places `reach_um` to both
    sides along the line, and with the darkest ones across it, so neither an end nor a
    crossing of lines counts; the same at two thirds of it, for short lines.

    That a constriction together with its marker announces a fission is what Mahecic
    et al., Nature Methods 19, 1262 (2022), taught a network.
    """

    Config: ClassVar[type[StageConfig]] = ConstrictionConfig
    needs = ("objects", "tracks")

    def features(self) -> frozenset[str]:
        """None."""
        return frozenset()

    def start(self, view: View) -> _Memory:
        """Watch nothing yet."""
        return _Memory()

    def process(self, work: Workspace, state: _Memory) -> None:
        """Add the events of this frame, by track."""
        scores = np.empty(0) if work.moving else self._scores(work)
        for track in work.tracks:
            spot = state.spots.setdefault(track.track_id, _Spot())
            if track.detection is not None and not work.moving:
                spot.score = float(scores[track.detection])
            event = self._look(track, spot, work)
            if event is not None:
                work.events.append(event)
            if track.state == "ended":
                del state.spots[track.track_id]

    def _scores(self, work: Workspace) -> NDArray[np.float64]:
        found = work.detections
        image = work.flat(self.input)
        return narrowing(
            image,
            np.column_stack([found.y_px, found.x_px]),
            work.px(self.config.reach_um),
            self.config.least_contrast,
        )

    def _look(self, track: TrackSeen, spot: _Spot, work: Workspace) -> Event | None:
        """Update one spot; its event, if it has one."""
        config = self.config
        wide = spot.score < config.release_score
        event = spot.course.step(
            work,
            track,
            kind=config.kind,
            score=spot.score,
            begins=spot.score >= config.onset_score and not spot.spent,
            ends=wide,
            max_duration_s=config.max_duration_s,
        )
        if wide:
            spot.spent = False
        elif event is not None and event.state == "ended":
            # What stays narrow for so long is no event; it may be one again later.
            spot.spent = True
        return event


def narrowing(
    image: NDArray[np.float32],
    points_yx: NDArray[np.float64],
    reach_px: float,
    least_contrast: float,
) -> NDArray[np.float64]:
    """Share of a line's brightness that is missing at each point, 0..1.

    Parameters
    ----------
    image : ndarray (y, x) float32
    points_yx : ndarray (n, 2)
        Places on lines, px.
    reach_px : float
        Distance along the line at which it is whole.
    least_contrast : float
        Of line over sides, in sigmas of the pixel noise; with less it is 0.
    """
    if not len(points_yx):
        return np.empty(0)
    smooth = ndimage.gaussian_filter(image, max(_SMOOTH * reach_px, 0.7))
    least = least_contrast * _noise(image)
    shares = [_share(smooth, points_yx, part * reach_px, least) for part in _REACHES]
    return np.asarray(np.max(shares, axis=0))


def _share(
    smooth: NDArray[np.float32],
    points_yx: NDArray[np.float64],
    reach_px: float,
    least: float,
) -> NDArray[np.float64]:
    """As `narrowing`, at one distance; `least` contrast is in counts."""
    turn = np.pi * np.arange(2 * _HALF_TURN) / _HALF_TURN
    around = reach_px * np.stack([np.sin(turn), np.cos(turn)], axis=1)
    ring = _at(smooth, points_yx[:, None] + around)
    # The line is where both of two opposite places are bright, its sides where both
    # are dark.
    opposite = [np.roll(ring, -_HALF_TURN + bend, axis=1) for bend in _BENDS]
    along = np.max([np.minimum(ring, other) for other in opposite], axis=(0, 2))
    across = np.maximum(ring, opposite[0]).min(axis=1)
    contrast = along - across
    missing = along - _at(smooth, points_yx)
    share = missing / np.where(contrast >= least, contrast, np.inf)
    return np.asarray(np.clip(share, 0.0, 1.0))


def _at(
    image: NDArray[np.float32], points_yx: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Brightness at points ``(..., 2)``, between pixels linearly."""
    y, x = np.moveaxis(points_yx, -1, 0)
    return np.asarray(
        ndimage.map_coordinates(image, [y, x], np.float64, order=1, mode="nearest")
    )


def _noise(image: NDArray[np.float32]) -> float:
    """Sigma of the pixel noise, from differences between neighbours."""
    step = np.diff(image[:: max(1, image.shape[0] // 256)], axis=1)
    return max(float(1.4826 * np.median(np.abs(step)) / np.sqrt(2)), 0.29)
