"""Measures how the SLM lies to the camera: shows spots and finds them in the image."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from smartscope.core import HardwareError, image_to_sensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from smartscope.config import SlmAffine
    from smartscope.rig._rig import Rig
    from smartscope.rig._slm import Slm

    Grab = Callable[[], NDArray[np.generic]]
    Points = NDArray[np.float64]

_GRIDS = (5, 9)
"""Spots along one side of the SLM: few first, more where the camera sees none."""
_CLOSER = 3.0
"""How much closer spots are shown around those seen, where too few were."""
_ROUNDS = 4
_FEWEST = 6
_NOISE = 6.0
"""How far above the noise light counts, in its standard deviations."""
_LEAST_KNOWN = 0.8
_MOST_OFF_PX = 1.0
_MOST_TRIPLES = 400


@dataclass(frozen=True, slots=True)
class SlmCalibration:
    """A measured calibration of the SLM, through the objective in use.

    Attributes
    ----------
    objective : str or None
        Name in the rig file.
    affine : 2 x 3
        Unbinned sensor pixels ``(x, y)`` to SLM pixels ``(x, y)``.
    residual_px : float
        Root mean square distance of the spots from the affine, sensor pixels.
    spots : int
        Number of spots it rests on.
    shown : int
        Number of spots that were shown.
    """

    objective: str | None
    affine: SlmAffine
    residual_px: float
    spots: int
    shown: int

    def rounded(self) -> SlmAffine:
        """The affine as it is written into a rig file."""
        (a, b, c), (d, e, f) = self.affine
        return (
            (round(a, 6), round(b, 6), round(c, 3)),
            (round(d, 6), round(e, 6), round(f, 3)),
        )


def calibrate_slm(rig: Rig, grab: Grab) -> SlmCalibration:
    """Measure where the SLM's pixels fall on the sensor, with the objective in use.

    Spots are shown one after the other. Each image is divided by one with all of the
    SLM lit, so that what the sample looks like does not matter where it is bright at
    all; a spot's place is the centre of mass of what is brighter than half its peak.
    Spots that do not fit the others are left out (least median of squares, Rousseeuw
    1984). The SLM is dark afterwards.

    Parameters
    ----------
    rig : Rig
        Light, camera and shutter are the caller's to set.
    grab : callable
        Takes a picture, ``(y, x)``.

    Raises
    ------
    HardwareError
        If the rig has no SLM, the camera sees nothing of it or too little, or what it
        sees is no affine image of what was shown.
    """
    slm = rig.slm
    if slm is None:
        raise HardwareError("this rig has no SLM (roles.slm) to calibrate")
    finder = _Finder(rig, slm, grab)
    try:
        finder.look_at_all()
        shown, found = finder.spots()
    finally:
        rig.actuator.settle(rig.actuator.show_pattern(slm.dark()))
    sensor = _to_sensor(rig, found)
    kept, affine = _fit(sensor, shown)
    residual = _off(affine, sensor[kept], shown[kept]) / _scale(affine)
    rms = float(np.sqrt(np.mean(residual**2)))
    if kept.sum() < _FEWEST or rms > _MOST_OFF_PX:
        raise HardwareError(
            f"the spots do not lie as on a flat SLM ({int(kept.sum())} of {len(kept)} "
            f"agree, to {rms:.1f} sensor pixels); focus on an evenly fluorescent "
            "slide, and keep other light out"
        )
    (a, b, c), (d, e, f) = affine.tolist()
    return SlmCalibration(
        objective=rig.objective,
        affine=((a, b, c), (d, e, f)),
        residual_px=rms,
        spots=int(kept.sum()),
        shown=finder.shown,
    )


class _Finder:
    """Shows spots and finds them, first all over the SLM, then where they are seen."""

    def __init__(self, rig: Rig, slm: Slm, grab: Grab) -> None:
        self._act = rig.actuator
        self._slm = slm
        self._grab = grab
        self.shown = 0

    def look_at_all(self) -> None:
        """Take the image without light and the one with all of it."""
        full = np.full(self._slm.shape, 255, np.uint8)
        self._dark = self._image(np.zeros_like(full))
        again = self._image(np.zeros_like(full))
        self._bright = _smooth(self._image(full) - self._dark)
        self._noise = max(float(np.std(again - self._dark)), 1e-6)
        # Smoothing over 3 x 3 pixels leaves a third of the noise.
        self._seen = self._bright > _NOISE * self._noise / 2
        if np.count_nonzero(self._seen) < 0.001 * self._seen.size:
            raise HardwareError(
                "the camera sees no difference between all of the SLM on and off; is "
                "its light line on (--light LINE=PERCENT), the right filter in "
                "(--channel), and something fluorescent in focus?",
                device=self._slm.device,
            )

    def spots(self) -> tuple[Points, Points]:
        """``(x, y)`` of the spots on the SLM, and in the image, each ``(n, 2)``."""
        height, width = self._slm.shape
        size = np.array([width, height], dtype=np.float64)
        centre, side = (size - 1) / 2, size
        shown: list[Points] = []
        found: list[Points] = []
        for step in range(_ROUNDS):
            for count in _GRIDS:
                for at, radius in self._grid(centre, side, count):
                    if (place := self._find(at, radius)) is not None:
                        shown.append(at)
                        found.append(place)
                if found:
                    break
            if len(found) >= _FEWEST:
                return np.array(shown), np.array(found)
            if not found:
                break
            centre = np.mean(shown, axis=0)
            side = size / _CLOSER ** (step + 1)
        raise HardwareError(
            f"the camera saw {len(found)} of {self.shown} spots on the SLM, and "
            f"{_FEWEST} are needed; more light or a longer exposure, an evenly "
            "fluorescent slide, or an objective that sees more of the SLM",
            device=self._slm.device,
        )

    def _grid(
        self, centre: Points, side: Points, count: int
    ) -> list[tuple[Points, float]]:
        """Places and the radius of spots on a grid over a part of the SLM."""
        height, width = self._slm.shape
        radius = max(1.5, float(side.min()) / 40)
        steps = (np.arange(count) + 0.5) / count - 0.5
        places = [centre + side * (dx, dy) for dy in steps for dx in steps]
        # The grid may begin anywhere; a spot has a whole pixel for its middle.
        edge = np.array([width, height]) - 1 - radius
        return [
            (np.rint(at), radius)
            for at in places
            if (at >= radius).all() and (at <= edge).all()
        ]

    def _find(self, at: Points, radius: float) -> Points | None:
        height, width = self._slm.shape
        y, x = np.ogrid[:height, :width]
        disc = (x - at[0]) ** 2 + (y - at[1]) ** 2 <= radius**2
        self.shown += 1
        light = self._image(np.where(disc, 255, 0).astype(np.uint8)) - self._dark
        return locate(light, self._bright, self._seen, self._noise)

    def _image(self, light: NDArray[np.uint8]) -> NDArray[np.float32]:
        levels = self._slm.levels_of(light)
        self._act.settle(self._act.show_pattern(levels))
        return self._grab().astype(np.float32)


def locate(
    light: NDArray[np.float32],
    bright: NDArray[np.float32],
    seen: NDArray[np.bool_],
    noise: float,
) -> Points | None:
    """Find the one spot of light in an image, with sub-pixel accuracy.

    Parameters
    ----------
    light, bright : ndarray, (y, x), float32
        Light of the spot, and of all of the SLM.
    seen : ndarray, (y, x), bool
        Where `bright` is well above the noise.
    noise : float
        Standard deviation of a pixel of `light`.

    Returns
    -------
    ndarray, (2,) or None
        ``(x, y)``; None if there is no spot, if it touches the edge of the image, or
        if too much of it falls on a sample that does not light up.
    """
    import cv2

    calm = np.where(seen, _smooth(light), 0.0)
    if calm.max() < _NOISE * noise / 2:
        return None
    share = np.where(seen, calm / np.where(seen, bright, 1.0), 0.0)
    # The brightest pixel of few photons may be far off: ask where light is widespread.
    wide = cv2.blur(share.astype(np.float32), (5, 5))
    peak = np.unravel_index(int(np.argmax(wide)), wide.shape)
    level = float(wide[peak]) / 2
    _, labels = cv2.connectedComponents((wide >= level).astype(np.uint8))
    blob = labels == labels[peak]
    ys, xs = np.nonzero(blob)
    height, width = light.shape
    if min(ys.min(), xs.min()) == 0 or ys.max() == height - 1 or xs.max() == width - 1:
        return None
    hull = cv2.convexHull(np.column_stack([xs, ys]).astype(np.int32))
    whole = np.zeros(light.shape, np.uint8)
    cv2.fillConvexPoly(whole, hull, 1)
    if seen[whole > 0].mean() < _LEAST_KNOWN:
        return None
    weight = np.maximum(wide[ys, xs] - level, 0.0).astype(np.float64)
    total = weight.sum()
    return np.array([(xs * weight).sum() / total, (ys * weight).sum() / total])


def _smooth(image: NDArray[np.float32]) -> NDArray[np.float32]:
    import cv2

    return np.asarray(cv2.blur(image, (3, 3)), dtype=np.float32)


def _to_sensor(rig: Rig, points_xy: Points) -> Points:
    at = rig.geometry
    matrix, shift = image_to_sensor(
        roi=at.roi, binning=at.binning, orientation=at.orientation
    )
    return np.asarray(points_xy @ matrix.T + shift)


def _fit(sensor: Points, slm: Points) -> tuple[NDArray[np.bool_], Points]:
    """Which spots agree, and the affine ``(2, 3)`` through those."""
    best, least = None, np.inf
    triples = list(combinations(range(len(sensor)), 3))
    for triple in triples[:: len(triples) // _MOST_TRIPLES + 1]:
        some = list(triple)
        if abs(np.linalg.det(np.column_stack([sensor[some], np.ones(3)]))) < 100:
            continue  # on one line
        affine = _affine(sensor[some], slm[some])
        middle = float(np.median(_off(affine, sensor, slm)))
        if middle < least:
            best, least = affine, middle
    if best is None:
        raise HardwareError("the spots that the camera sees lie on one line")
    off = _off(best, sensor, slm) / _scale(best)
    kept = off <= max(3 * 1.4826 * least / _scale(best), 0.5)
    return kept, _affine(sensor[kept], slm[kept])


def _affine(sensor: Points, slm: Points) -> Points:
    known = np.column_stack([sensor, np.ones(len(sensor))])
    solution, *_ = np.linalg.lstsq(known, slm, rcond=None)
    return np.asarray(solution.T)


def _off(affine: Points, sensor: Points, slm: Points) -> Points:
    """Distance of each spot from where the affine has it, SLM pixels."""
    there = sensor @ affine[:, :2].T + affine[:, 2]
    return np.asarray(np.linalg.norm(there - slm, axis=1))


def _scale(affine: Points) -> float:
    """SLM pixels per sensor pixel."""
    return float(np.sqrt(abs(np.linalg.det(affine[:, :2]))))
