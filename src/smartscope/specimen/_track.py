"""The winding track of a crawling animal, drawn just ahead of it at both ends."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from smartscope.specimen._random import mix, normal

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NODES = 64
"""Nodes per body length."""
_SPARE = 2
"""Nodes kept beyond what is asked for."""
_STEER = 3.0
"""How sharply it steers back at the rim: radians per body length."""


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """Evenly spaced nodes of a path; its heading swings around a slowly turning mean.

    The swing is a sine of the place on the track, so the body of an animal that slides
    along it undulates, forward and back.

    Attributes
    ----------
    first : int
        Number of the first node; a node's place is its number times `spacing_um`.
    xy_um : ndarray (n, 2)
    mean_rad : ndarray (n,)
        Mean heading at each node.
    """

    first: int
    spacing_um: float
    xy_um: NDArray[np.float64]
    mean_rad: NDArray[np.float64]
    swing_rad: float
    wave_um: float

    def at(self, place_um: NDArray[np.float64]) -> NDArray[np.float64]:
        """``(x, y)`` at places along the track, (n, 2)."""
        index = place_um / self.spacing_um - self.first
        low = np.clip(np.floor(index).astype(np.int64), 0, len(self.xy_um) - 2)
        share = (index - low)[:, None]
        return np.asarray(self.xy_um[low] * (1 - share) + self.xy_um[low + 1] * share)

    def swing(self, place_um: NDArray[np.float64]) -> NDArray[np.float64]:
        """Heading at places along the track against the mean heading, rad."""
        phase = 2 * math.pi * place_um / self.wave_um
        return np.asarray(self.swing_rad * np.sin(phase))

    def covering(
        self,
        low_um: float,
        high_um: float,
        *,
        key: NDArray[np.uint64],
        bend_per_um: float,
        persistence_um: float,
        half_area_um: tuple[float, float],
    ) -> Track:
        """The track from `low_um` to `high_um`; what lies beyond is forgotten.

        Parameters
        ----------
        key : ndarray (1,) uint64
            Random numbers for new nodes.
        bend_per_um : float
            Additional turn of the mean heading of new nodes in front.
        persistence_um : float
            Way after which the mean heading is forgotten.
        half_area_um : (x, y)
            Beyond, it steers back to the middle.
        """
        low = math.floor(low_um / self.spacing_um) - _SPARE
        high = math.ceil(high_um / self.spacing_um) + _SPARE
        track = self
        for turn in _turns(key, high - track.last, self.spacing_um, persistence_um):
            bent = turn + bend_per_um * self.spacing_um
            track = _longer(track, bent, half_area_um, front=True)
        for turn in _turns(key, track.first - low, self.spacing_um, persistence_um):
            track = _longer(track, turn, half_area_um, front=False)
        keep = slice(low - track.first, high - track.first + 1)
        return replace(
            track, first=low, xy_um=track.xy_um[keep], mean_rad=track.mean_rad[keep]
        )

    @property
    def last(self) -> int:
        """Number of the last node."""
        return self.first + len(self.xy_um) - 1


def begin_track(
    middle_um: tuple[float, float],
    heading_rad: float,
    *,
    length_um: float,
    swing_rad: float,
    wave_um: float,
) -> Track:
    """Track under an animal whose tail is at place 0, its middle at `middle_um`."""
    spacing_um = length_um / _NODES
    places = (np.arange(_NODES) + 0.5) * spacing_um
    heading = heading_rad + swing_rad * np.sin(2 * math.pi * places / wave_um)
    moves = spacing_um * np.column_stack([np.cos(heading), np.sin(heading)])
    xy_um = np.concatenate([np.zeros((1, 2)), np.cumsum(moves, axis=0)])
    xy_um += np.array(middle_um) - xy_um[_NODES // 2]
    means = np.full(len(xy_um), heading_rad)
    return Track(0, spacing_um, xy_um, means, swing_rad, wave_um)


def _longer(
    track: Track, turn: float, half_area_um: tuple[float, float], *, front: bool
) -> Track:
    """One node more, in front of the head or behind the tail."""
    end, way = (-1, 1.0) if front else (0, -1.0)
    mean, (x, y) = float(track.mean_rad[end]), track.xy_um[end].tolist()
    outside = abs(x) > half_area_um[0] or abs(y) > half_area_um[1]
    if outside:
        home = math.atan2(-way * y, -way * x)
        off = (home - mean + math.pi) % (2 * math.pi) - math.pi
        most = _STEER / _NODES
        turn = min(max(off, -most), most)
    mean += turn
    number = track.first + len(track.xy_um) if front else track.first - 1
    # The piece between two nodes points as the track does in its middle.
    place_um = (number - 0.5 * way) * track.spacing_um
    swing = float(track.swing(np.array([place_um]))[0])
    step_um = way * track.spacing_um
    node = np.array(
        [
            [
                x + step_um * math.cos(mean + swing),
                y + step_um * math.sin(mean + swing),
            ]
        ]
    )
    parts = [track.xy_um, node] if front else [node, track.xy_um]
    means = [track.mean_rad, np.array([mean])]
    return replace(
        track,
        first=track.first if front else number,
        xy_um=np.concatenate(parts),
        mean_rad=np.concatenate(means if front else means[::-1]),
    )


def _turns(
    key: NDArray[np.uint64], count: int, spacing_um: float, persistence_um: float
) -> list[float]:
    """Random turns of the mean heading from node to node."""
    if count <= 0:
        return []
    keys = mix(np.asarray(key + np.arange(count, dtype=np.uint64)), 3)
    size = math.sqrt(2 * spacing_um / persistence_um)
    return list((size * normal(keys, 4)).tolist())
