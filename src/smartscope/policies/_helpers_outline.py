"""Where the edge of an object is: for light that is to fall on it and nowhere else."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from smartscope.core import Observation, Track

_DIRECTIONS = 24
_LEAST_UM2, _MOST_UM2 = 1e-3, 1e9


def edge_um(
    seen: Observation, track: Track, angles_rad: ArrayLike
) -> NDArray[np.float64]:
    """Distance of an object's edge from its middle, in these directions.

    As vision outlines it (`Pictures.labels`); where there is no outline, of the disk of
    its area. What is dented is taken as far as it reaches.

    Parameters
    ----------
    seen : Observation
    track : Track
        One of this observation.
    angles_rad : array-like (n,)
        In the sample, from x towards y.

    Returns
    -------
    ndarray (n,), float64
        um.
    """
    angles = np.asarray(angles_rad, dtype=np.float64)
    reach = _outlined(seen, track)
    if reach is None:
        return np.full(len(angles), _disk_um(track))
    turn = 2 * math.pi / _DIRECTIONS
    known = turn * np.arange(_DIRECTIONS)
    return np.asarray(np.interp(angles, known, reach, period=2 * math.pi))


def outline_px(
    seen: Observation, track: Track, *, margin_um: float = 0.0
) -> tuple[tuple[float, float], ...]:
    """Outline of an object for `ShowPattern`: corners (y, x) in pixels of the image.

    Parameters
    ----------
    seen : Observation
    track : Track
        One of this observation.
    margin_um : float
        Widened by so much all around; narrowed if negative.
    """
    angles = 2 * math.pi * np.arange(_DIRECTIONS) / _DIRECTIONS
    reach = np.maximum(edge_um(seen, track, angles) + margin_um, 0.0)
    rays = np.column_stack([np.cos(angles), np.sin(angles)])
    return to_pixels(seen, rays * reach[:, None] + [track.x_um, track.y_um])


def to_pixels(
    seen: Observation, points_um: ArrayLike
) -> tuple[tuple[float, float], ...]:
    """Points (n, 2), (x, y) of the sample, as (y, x) in pixels of the image seen."""
    places = seen.pixel_map.to_image(
        points_um, seen.state.x_um or 0.0, seen.state.y_um or 0.0
    )
    return tuple((float(y), float(x)) for y, x in places)


def _disk_um(track: Track) -> float:
    area = track.features.get("area_um2", math.nan)
    if not math.isfinite(area):
        area = _LEAST_UM2
    return math.sqrt(min(max(area, _LEAST_UM2), _MOST_UM2) / math.pi)


def _outlined(seen: Observation, track: Track) -> NDArray[np.float64] | None:
    """How far the object reaches in each of `_DIRECTIONS` directions, um."""
    labels, row = seen.pictures.labels, track.detection
    if labels is None or row is None or not 0 <= row < len(seen.detections):
        return None
    pixels = np.argwhere(labels == seen.detections.label[row])
    if len(pixels) < _DIRECTIONS:
        return None  # too few for that many directions
    places = seen.pixel_map.to_sample(
        pixels, seen.state.x_um or 0.0, seen.state.y_um or 0.0
    )
    x_um, y_um = (places - [track.x_um, track.y_um]).T
    turn = 2 * math.pi / _DIRECTIONS
    bins = np.rint(np.arctan2(y_um, x_um) / turn).astype(int) % _DIRECTIONS
    reach = np.zeros(_DIRECTIONS)
    np.maximum.at(reach, bins, np.hypot(x_um, y_um))
    return reach
